//! What is wrong with a recipe.

use std::path::PathBuf;

use crate::nearest::suggestion;

/// What is wrong with a recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// No built-in recipe and no file has this name.
    #[error("{name}: neither a file nor a built-in recipe ({}){}", known.join(", "), suggestion(nearest))]
    Unknown {
        /// The name.
        name: String,
        /// The built-in recipes.
        known: Vec<&'static str>,
        /// The one with the most similar name.
        nearest: Option<String>,
    },
    /// The file cannot be read.
    #[error("{}: cannot be read: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        cause: std::io::Error,
    },
    /// Not TOML, or a value of the wrong type.
    #[error("{origin}: {message}")]
    Malformed {
        /// The file, or the command line.
        origin: String,
        /// Line, column, what was found and what was expected.
        message: String,
    },
    /// A key that no recipe has.
    #[error("{origin}: unknown key `{key}`{}", suggestion(nearest))]
    UnknownKey {
        /// The file, or the command line.
        origin: String,
        /// The key, with its tables.
        key: String,
        /// The known key that is most similar.
        nearest: Option<String>,
    },
    /// A value out of its range.
    #[error("{key} is {found}, expected {expected}")]
    Value {
        /// The key, with its table.
        key: &'static str,
        /// The value.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// What a search is to vary, not in its notation.
    #[error("{found}: expected key=a,b,c or, with --samples, key=low..high")]
    Axis {
        /// What was given.
        found: String,
    },
    /// An assignment without an equals sign.
    #[error("--set {found}: expected key=value, for example training.epochs=3")]
    Assignment {
        /// What was given.
        found: String,
    },
}
