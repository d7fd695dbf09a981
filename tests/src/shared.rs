//! Files that the repository does not have: networks of others and data sets, in the directory that `SMIDGEN_SHARED` names.

use std::io::Write;
use std::path::PathBuf;

/// `part` of that directory. Without the variable, says that `test` did not run, and panics under `CI=true`.
///
/// # Panics
/// If the variable is missing under `CI=true`.
#[must_use]
pub fn shared(test: &str, part: &str) -> Option<PathBuf> {
    if let Some(shared) = std::env::var_os("SMIDGEN_SHARED") {
        return Some(PathBuf::from(shared).join(part));
    }
    let message = format!("SKIPPED {test}: set SMIDGEN_SHARED to the directory that holds {part}\n");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{message}");
    // Not by eprintln, which the harness would swallow.
    std::io::stderr().write_all(message.as_bytes()).expect("stderr is open");
    None
}
