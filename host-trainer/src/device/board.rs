//! Boards that people own: building an application that listens, and flashing it through a debug probe.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;

use smidgen::checksum::crc32c;
use smidgen_protocol::machine::Region;

use super::firmware::{cargo_build, footprint, model_file, replace, run};
use super::{DeviceError, Footprint, Target, firmware_folder};

/// A board, and the crate in `firmware/boards/` that knows it.
#[derive(Clone, Copy, Debug)]
pub struct Board {
    /// Its name on the command line, and of its crate.
    pub name: &'static str,
    /// What it is called.
    pub title: &'static str,
    /// Rust's target.
    pub triple: &'static str,
    /// probe-rs's name of its chip.
    pub chip: &'static str,
    /// The chip's flash, or that beside it.
    pub flash: Region,
    /// Read-write memory: the stack, then statics.
    pub ram: Region,
    /// The emulated core that is the nearest to its own.
    pub core: Target,
    /// What is needed to flash it, beside a cable.
    probe: &'static str,
}

const KIB: u32 = 1024;

/// What an application takes of the stack, with room: an inference takes 1.1 KB, an interrupt on top of it less.
const STACK_BYTES: usize = 8 * 1024;

/// The boards.
pub const BOARDS: [Board; 5] = [
    Board {
        name: "microbit-v2",
        title: "BBC micro:bit v2",
        triple: "thumbv7em-none-eabihf",
        chip: "nRF52833_xxAA",
        core: Target::CortexM4,
        flash: Region { start: 0, bytes: 512 * KIB },
        ram: Region { start: 0x2000_0000, bytes: 128 * KIB },
        probe: "",
    },
    Board {
        name: "nrf52840-dk",
        title: "Nordic nRF52840-DK",
        triple: "thumbv7em-none-eabihf",
        chip: "nRF52840_xxAA",
        core: Target::CortexM4,
        flash: Region { start: 0, bytes: 1024 * KIB },
        ram: Region { start: 0x2000_0000, bytes: 256 * KIB },
        probe: "",
    },
    Board {
        name: "nucleo-f446re",
        title: "ST Nucleo-F446RE",
        triple: "thumbv7em-none-eabihf",
        chip: "STM32F446RETx",
        core: Target::CortexM4,
        flash: Region { start: 0x0800_0000, bytes: 512 * KIB },
        ram: Region { start: 0x2000_0000, bytes: 128 * KIB },
        probe: "",
    },
    Board {
        name: "pico",
        title: "Raspberry Pi Pico",
        triple: "thumbv6m-none-eabi",
        chip: "RP2040",
        core: Target::CortexM0,
        flash: Region { start: 0x1000_0000, bytes: 2048 * KIB },
        ram: Region { start: 0x2000_0000, bytes: 264 * KIB },
        probe: " and by a Raspberry Pi Debug Probe (or another one for SWD)",
    },
    Board {
        name: "pico-2",
        title: "Raspberry Pi Pico 2",
        triple: "thumbv8m.main-none-eabihf",
        chip: "RP235x",
        core: Target::CortexM33,
        flash: Region { start: 0x1000_0000, bytes: 4096 * KIB },
        ram: Region { start: 0x2000_0000, bytes: 512 * KIB },
        probe: " and by a Raspberry Pi Debug Probe (or another one for SWD)",
    },
];

impl Board {
    /// Builds the application with this model, or with the one that is in the repository, and returns the ELF file. With a public key (a PEM file) it takes only models that are
    /// signed with its other half.
    ///
    /// # Errors
    /// See [`DeviceError`]: among others, that Rust's target or flip-link is missing, or that the model takes no sound.
    pub fn build(&self, model: Option<&[u8]>, public_key: Option<&Path>) -> Result<PathBuf, DeviceError> {
        let folder = firmware_folder().join("boards");
        let crate_folder = folder.join(self.name);
        if !crate_folder.join("Cargo.toml").is_file() {
            return Err(DeviceError::FirmwareMissing { folder });
        }
        if let Some(model) = model {
            super::listen::check(model)?;
        }
        let target = folder.join("target");
        let images = target.join("images").join(self.name);
        fs::create_dir_all(&images).map_err(DeviceError::file(&images))?;
        // cargo writes the images of all models to one place: hold it until the image is copied.
        let lock_path = target.join("images/.lock");
        let lock = File::create(&lock_path).map_err(DeviceError::file(&lock_path))?;
        lock.lock().map_err(DeviceError::file(&lock_path))?;
        // The folder's configuration has the target and the linker.
        let mut command = cargo_build(&crate_folder);
        command.arg("--target-dir").arg(&target);
        let mut suffix = String::new();
        if let Some(path) = public_key {
            let key = fs::read(path).map_err(DeviceError::file(path))?;
            command.args(["--features", "signed"]);
            command.env("SMIDGEN_PUBLIC_KEY", path.canonicalize().map_err(DeviceError::file(path))?);
            suffix = format!("-signed-{:08x}", crc32c(&key));
        }
        let name = match model {
            Some(model) => {
                command.env("SMIDGEN_MODEL", model_file(&images, model)?);
                format!("{}-{:08x}-{}", self.name, crc32c(model), model.len())
            }
            None => {
                command.env_remove("SMIDGEN_MODEL");
                self.name.to_owned()
            }
        };
        run(command, self.name, self.triple)?;
        let image = images.join(name + &suffix);
        replace(&target.join(self.triple).join("release").join(self.name), &image)?;
        Ok(image)
    }

    /// What an image takes of the chip, without its stack.
    ///
    /// # Errors
    /// [`DeviceError::BoardTooSmall`] if it takes more than there is, 8 KB of stack included. Otherwise see [`DeviceError`].
    pub fn footprint(&self, image: &Path) -> Result<Footprint, DeviceError> {
        let [flash_bytes, static_bytes] = footprint(image, self.flash, self.ram)?;
        let needs = [
            ("flash", flash_bytes, self.flash.bytes as usize),
            ("RAM, with the stack", static_bytes + STACK_BYTES, self.ram.bytes as usize),
        ];
        for (memory, found, available) in needs {
            if found > available {
                return Err(DeviceError::BoardTooSmall { board: self.name, memory, found, available });
            }
        }
        Ok(Footprint { flash_bytes, static_bytes })
    }

    /// Whether probe-rs and a debug probe are there.
    ///
    /// # Errors
    /// [`DeviceError::ProbeRsMissing`], [`DeviceError::NoProbe`].
    pub fn check_probe(&self) -> Result<(), DeviceError> {
        let output = probe_rs().arg("list").output().map_err(|_| DeviceError::ProbeRsMissing)?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() || said.contains("No debug probes") {
            let output = format!("{said}{}", String::from_utf8_lossy(&output.stderr)).trim().to_owned();
            return Err(DeviceError::NoProbe { hint: self.probe, output });
        }
        Ok(())
    }

    /// Writes an image into the board's flash, reads it back, and starts it.
    ///
    /// # Errors
    /// As [`check_probe`](Self::check_probe); [`DeviceError::Flashing`].
    pub fn flash(&self, image: &Path) -> Result<(), DeviceError> {
        self.check_probe()?;
        let mut download = probe_rs();
        ask(download.args(["download", "--chip", self.chip, "--verify"]).arg(image))?;
        ask(probe_rs().args(["reset", "--chip", self.chip]))
    }

    /// Flashes an image, starts it and shows its log until it is interrupted.
    ///
    /// # Errors
    /// As [`flash`](Self::flash).
    pub fn flash_and_log(&self, image: &Path) -> Result<(), DeviceError> {
        self.check_probe()?;
        let status = probe_rs().args(["run", "--chip", self.chip]).arg(image).status();
        let status = status.map_err(|_| DeviceError::ProbeRsMissing)?;
        let failed = |output| DeviceError::Flashing { command: "run".into(), output };
        if status.success() { Ok(()) } else { Err(failed(status.to_string())) }
    }
}

fn probe_rs() -> Command {
    let mut command = Command::new("probe-rs");
    command.stdin(Stdio::null());
    command
}

fn ask(command: &mut Command) -> Result<(), DeviceError> {
    let output = command.output().map_err(|_| DeviceError::ProbeRsMissing)?;
    if output.status.success() {
        return Ok(());
    }
    let command = command.get_args().next().unwrap_or_default().to_string_lossy().into_owned();
    let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(DeviceError::Flashing { command, output })
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// No board has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no board {found:?}; the boards are {}", BOARDS.map(|board| board.name).join(", "))]
pub struct UnknownBoard {
    /// The name.
    pub found: String,
}

impl FromStr for Board {
    type Err = UnknownBoard;

    fn from_str(name: &str) -> Result<Self, UnknownBoard> {
        let found = BOARDS.into_iter().find(|board| board.name == name);
        found.ok_or_else(|| UnknownBoard { found: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The linker reads the memory map beside each crate, and this table is what is reported and flashed.
    #[test]
    fn the_table_says_what_the_crates_say() {
        let read = |path: PathBuf| fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        for board in BOARDS {
            let folder = firmware_folder().join("boards").join(board.name);
            let config = read(folder.join(".cargo/config.toml"));
            assert!(config.contains(&format!("[target.{}]", board.triple)), "{board}: {config}");
            assert!(config.contains(&format!("\"--chip\", \"{}\"", board.chip)), "{board}: {config}");
            let map = read(folder.join("memory.x"));
            let regions = map.lines().filter_map(|line| line.split_once(" : ORIGIN = "));
            let (mut flash, mut ram) = (0, 0);
            for (name, rest) in regions {
                let (start, length) = rest.split_once(", LENGTH = ").expect("an origin and a length");
                let number = |text: &str| {
                    let text = text.trim();
                    let hex = text.strip_prefix("0x").map(|hex| u32::from_str_radix(hex, 16).unwrap());
                    let kib = || text.strip_suffix('K').map(|n| n.parse::<u32>().unwrap() * KIB);
                    hex.or_else(kib).unwrap_or_else(|| panic!("{board}: {text}"))
                };
                let length = length.split(" - ").map(number).reduce(|a, b| a - b).unwrap();
                if name.trim() == "RAM" {
                    assert_eq!(number(start), board.ram.start, "{board}");
                    ram += length;
                } else {
                    assert!(number(start) - board.flash.start == flash, "{board}: {name}");
                    flash += length;
                }
            }
            assert_eq!((flash, ram), (board.flash.bytes, board.ram.bytes), "{board}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = "microbit".parse::<Board>().unwrap_err().to_string();
        assert!(error.contains("\"microbit\"") && error.contains("microbit-v2, nrf52840-dk"), "{error}");
    }
}
