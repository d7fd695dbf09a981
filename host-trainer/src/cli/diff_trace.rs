//! `smidgen diff-trace`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;
use smidgen_trainer::trace::{Difference, Trace};
use smidgen_trainer::train::files::read_file;

use super::table::printable;
use super::{Outcome, print, print_json};

/// Exit code of an error: 1 says that the traces differ, as `diff` and `cmp` do.
const TROUBLE: u8 = 2;

/// Name the first step at which two traces of `run --trace` differ.
///
/// The exit code is 0 if all hashes are the same, 1 if one differs, 2 if the traces cannot be compared: they are of different models or
/// of different numbers of samples, or are no traces.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffTrace {
    /// A trace
    #[arg(value_name = "A")]
    left: PathBuf,
    /// A trace of the same model
    #[arg(value_name = "B")]
    right: PathBuf,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Comparison {
    same: bool,
    /// Hashes of each trace.
    hashes: usize,
    /// Null if there is none.
    first_difference: Option<Difference>,
}

impl DiffTrace {
    pub(crate) fn run(&self) -> Outcome {
        match self.compare() {
            Ok(comparison) => {
                if self.json {
                    print_json(&comparison)?;
                } else {
                    print(&self.text(&comparison))?;
                }
                Ok(if comparison.same { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
            Err(error) => {
                eprintln!("error: {error}");
                Ok(ExitCode::from(TROUBLE))
            }
        }
    }

    fn compare(&self) -> Result<Comparison, Box<dyn Error>> {
        let (left, right) = (read(&self.left)?, read(&self.right)?);
        let first_difference = left.first_difference(&right);
        let first_difference = first_difference.map_err(|error| {
            printable(&format!("{}, {}: {error}", self.left.display(), self.right.display()))
        })?;
        Ok(Comparison { same: first_difference.is_none(), hashes: left.steps.len(), first_difference })
    }

    fn text(&self, comparison: &Comparison) -> String {
        match &comparison.first_difference {
            None => format!("all {} hashes are the same\n", comparison.hashes),
            Some(Difference { step, other_hash }) => {
                let (left, right) = (self.left.display(), self.right.display());
                let place = printable(&step.to_string());
                format!(
                    "first difference: {place}: {:08x} in {left}, {other_hash:08x} in {right}\n",
                    step.hash
                )
            }
        }
    }
}

fn read(path: &Path) -> Result<Trace, Box<dyn Error>> {
    let bytes = read_file(path)?;
    let text =
        String::from_utf8(bytes).map_err(|_| format!("{}: not a trace: it is not text", path.display()))?;
    Ok(Trace::parse(&text).map_err(|error| format!("{}: {error}", path.display()))?)
}
