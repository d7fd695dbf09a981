//! The keys that a recipe may have, and the one that was probably meant.

use super::{Recipe, RecipeError};

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
            let nearest = nearest(&key, known.iter().map(String::as_str));
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

/// The known name most similar to `name`, if one is at all similar.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    // A key given without its table is compared with the last part of the known ones as well.
    let score = |candidate: &str| {
        let last = candidate.rsplit('.').next().unwrap_or(candidate);
        strsim::jaro_winkler(name, candidate).max(strsim::jaro_winkler(name, last))
    };
    let best = known.max_by(|a, b| score(a).total_cmp(&score(b)))?;
    (score(best) > 0.75).then(|| best.to_owned())
}
