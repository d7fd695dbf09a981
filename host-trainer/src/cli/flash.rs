//! `smidgen flash`.

use std::path::PathBuf;

use smidgen::Preprocessing;
use smidgen_trainer::compile::repack;
use smidgen_trainer::device::{Board, check_public_key};

use super::{Outcome, parse_model, print, print_json, read_file, read_model};

/// Build a model that listens into the application for a board, and flash it through a debug probe (with probe-rs). Its weights are packed for the board's core.
///
/// The boards are microbit-v2, nrf52840-dk, nucleo-f446re, pico and pico-2; `firmware/boards/README.md` says what each needs and where the microphone goes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flash {
    /// The model file
    #[arg(value_name = "MODEL.smg")]
    model: PathBuf,
    /// The board
    #[arg(long, value_name = "BOARD")]
    board: Board,
    /// Take only updates that are signed with the other half of this public key of ed25519 (PEM, as openssl writes it)
    #[arg(long, value_name = "PUBLIC.pem")]
    public_key: Option<PathBuf>,
    /// Build only: needs no board and no probe-rs
    #[arg(long, conflicts_with = "log")]
    build: bool,
    /// Show what the board logs, until it is interrupted
    #[arg(long)]
    log: bool,
    /// Print one JSON object on stdout
    #[arg(long, conflicts_with = "log")]
    json: bool,
}

impl Flash {
    pub(crate) fn run(&self) -> Outcome {
        let file = read_model(&self.model)?;
        let model = parse_model(&self.model, &file)?;
        let board = self.board;
        if !matches!(model.metadata().preprocessing, Preprocessing::Audio(audio) if audio.config.axes == 1) {
            let model = self.model.display();
            return Err(format!(
                "{model}: the model takes no sound, and boards listen; train one with data.dataset = \"audio\""
            )
            .into());
        }
        let packed = repack(&model, board.core.packing())?;
        let packed = packed.as_deref().unwrap_or(file.as_slice());
        if let Some(path) = &self.public_key {
            let key = read_file(path)?;
            check_public_key(&key).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        if !self.build {
            // What is missing shows at once, not after a build.
            board.check_probe()?;
        }
        eprintln!("building for the {} (the first time takes some minutes)", board.title);
        let image = board.build(Some(packed), self.public_key.as_deref())?;
        let footprint = board.footprint(&image)?;
        let (flash, ram) = (board.flash.bytes, board.ram.bytes);
        if !self.build && !self.log {
            board.flash(&image)?;
        }
        if self.json {
            print_json(&serde_json::json!({
                "board": board.name,
                "chip": board.chip,
                "image": image.display().to_string(),
                "flash_bytes": footprint.flash_bytes,
                "flash_available_bytes": flash,
                "static_bytes": footprint.static_bytes,
                "ram_available_bytes": ram,
                "flashed": !self.build,
            }))?;
        } else {
            print(&format!(
                "image  {}\nflash  {} of {flash} bytes\nRAM    {} of {ram} bytes, the rest is for the stack\n",
                image.display(),
                footprint.flash_bytes,
                footprint.static_bytes,
            ))?;
        }
        if self.log {
            board.flash_and_log(&image)?;
        } else if !self.build {
            eprintln!("flashed and started; speak");
        }
        Ok(std::process::ExitCode::SUCCESS)
    }
}
