//! `smidgen update`.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use smidgen_trainer::compile::repack;
use smidgen_trainer::device::{Board, package, private_key, send};

use super::{Outcome, parse_model, print, read_file, read_model};

/// Send a new model to a board that listens, over its serial line: it goes into flash beside the application, and the board starts with it.
///
/// The model has to listen at the same rate as the one that was flashed, with no more memory and no other operators. `docs/model-update.md` says what happens when the power goes.
#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    /// The model file
    #[arg(value_name = "MODEL.smg")]
    model: PathBuf,
    /// The board, for whose core the weights are packed
    #[arg(long, value_name = "BOARD")]
    board: Board,
    /// Its serial line, such as /dev/ttyACM0
    #[arg(long, value_name = "FILE")]
    port: PathBuf,
    /// Version of the model, above that which the board has; the one that was flashed is 1
    #[arg(long = "model-version", value_name = "N")]
    version: u32,
    /// Sign it with this private key of ed25519 (PEM, as openssl writes it), for boards that were flashed with the public one
    #[arg(long, value_name = "PRIVATE.pem")]
    sign: Option<PathBuf>,
}

impl Update {
    pub(crate) fn run(&self) -> Outcome {
        let file = read_model(&self.model)?;
        let model = parse_model(&self.model, &file)?;
        let packed = repack(&model, self.board.core.packing())?;
        let mut key = None;
        if let Some(path) = &self.sign {
            let found = private_key(&read_file(path)?);
            key = Some(found.map_err(|error| format!("{}: {error}", path.display()))?);
        }
        let file = packed.as_deref().unwrap_or(file.as_slice());
        let package = package(file, self.version, key.as_ref());
        let port = self.port.display();
        self.prepare()?;
        let opened = OpenOptions::new().read(true).write(true).open(&self.port);
        let mut line = opened.map_err(|error| format!("{port}: {error}"))?;
        let said = send(&mut line, &package, |sent| {
            if sent.is_multiple_of(4_096) {
                eprintln!("{sent} of {} bytes", package.len());
            }
        });
        let said = said.map_err(|error| format!("{port}: {error}"))?;
        print(&format!("{said}; the board starts with it\n"))
    }

    /// 115,200 baud, bytes as they are, and reads that give up after a second.
    fn prepare(&self) -> Result<(), String> {
        let option = if cfg!(target_os = "macos") { "-f" } else { "-F" };
        let mut stty = Command::new("stty");
        stty.arg(option).arg(&self.port).args(["115200", "raw", "-echo", "min", "0", "time", "10"]);
        let output = stty.stdin(Stdio::null()).output().map_err(|error| format!("stty: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(said.trim().to_owned()) }
    }
}
