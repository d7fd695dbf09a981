//! The keys that a recipe may have.

use super::{Recipe, RecipeError};
use crate::nearest::nearest;

/// The keys of the optional top-level tables and values, from a recipe with every default written out.
fn known() -> toml::Table {
    let text = "name = ''";
    toml::from_str::<Recipe>(text).map(|recipe| recipe.to_table()).unwrap_or_default()
}

/// Checks that `table` has no key that a recipe does not have.
pub(super) fn check_keys(table: &toml::Table, origin: &str) -> Result<(), RecipeError> {
    let known = paths(&known(), "");
    for key in paths(table, "") {
        if !known.contains(&key) {
            let nearest = nearest(&key, known.iter().map(String::as_str)).map(str::to_owned);
            return Err(RecipeError::UnknownKey { origin: origin.into(), key, nearest });
        }
    }
    Ok(())
}

/// The paths of all values, tables joined by dots.
fn paths(table: &toml::Table, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => found.extend(paths(inner, &format!("{path}."))),
            toml::Value::Table(_) => {}
            _ => found.push(path),
        }
    }
    found
}
