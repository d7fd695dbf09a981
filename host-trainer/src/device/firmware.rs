//! Building the firmware, and looking into what was built.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use smidgen::checksum::crc32c;
use smidgen::model::Header;
use smidgen::ops::{Operator, OperatorSet};
use smidgen_protocol::machine::{Machine, Region};

use super::{DeviceError, firmware_folder};

/// How the firmware's code is optimized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Optimize {
    /// As the firmware's profile says.
    #[default]
    Default,
    /// For speed (`opt-level = 3`).
    Speed,
    /// For size (`opt-level = "s"`).
    Size,
}

impl Optimize {
    /// What suits an application with this model. Layers whose weights are packed spend their time in assembly, and the rest of the code is better small. Fully connected layers of a Cortex-M55
    /// alone are so fast that what is around them counts.
    pub fn of(model: &[u8]) -> Self {
        let operators = Header::read(model).map_or(OperatorSet::EMPTY, |header| header.operators);
        let is_packed = |operator: Operator| {
            operator.is_packed()
                && operator != Operator::FullyConnectedEightsI8
                && operators.contains(operator as u8)
        };
        if Operator::ALL.iter().copied().any(is_packed) { Self::Size } else { Self::Default }
    }
}

/// Which image a model is built into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variant {
    /// With what feeds it and measures it, without logs.
    Measured,
    /// With logs, too.
    Logged,
    /// It learns what the host gives it.
    Learner,
    /// It learns, and shows how.
    Example(&'static str),
    /// It computes features of sound.
    Features,
    /// It listens.
    Listener,
    /// It looks for anomalies.
    Watcher,
    /// The model, its front end and a loop.
    ListeningApplication,
    /// The model, its memory and a loop.
    Application,
    /// As [`Application`](Self::Application). It does not link if anything in it can panic.
    NoPanic {
        /// The device validates the model, as one that it loads.
        load: bool,
        /// Something in it can panic: it must not link.
        control: bool,
    },
}

impl Variant {
    /// The binary and its features.
    fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Measured => ("qemu-embedded", ""),
            Self::Logged => ("qemu-embedded", "defmt"),
            Self::Learner => ("qemu-learner", ""),
            Self::Example(name) => (name, ""),
            Self::Features => ("qemu-features", ""),
            Self::Listener => ("qemu-listener", ""),
            Self::Watcher => ("qemu-watcher", ""),
            Self::ListeningApplication => ("listening-application", "application"),
            Self::Application => ("application", "application"),
            Self::NoPanic { load: false, control: false } => ("application", "application,prove-no-panic"),
            Self::NoPanic { load: true, control: false } => {
                ("application", "application,prove-no-panic,load")
            }
            Self::NoPanic { load: false, control: true } => {
                ("application", "application,prove-no-panic,panic-on-purpose")
            }
            Self::NoPanic { load: true, control: true } => {
                ("application", "application,prove-no-panic,load,panic-on-purpose")
            }
        }
    }
}

/// Lengths of an image's sections in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeSize {
    /// Instructions.
    pub text_bytes: usize,
    /// Constants, without the model.
    pub rodata_bytes: usize,
}

impl CodeSize {
    /// Both together.
    pub fn bytes(&self) -> usize {
        self.text_bytes + self.rodata_bytes
    }
}

/// The image that runs any model, with all operators of inference at least. In a small flash they have room if they are small themselves.
pub(super) fn runner(machine: &'static Machine) -> Result<PathBuf, DeviceError> {
    const SMALL: u32 = 512 * 1024;
    let optimize = if machine.flash.bytes <= SMALL { Optimize::Size } else { Optimize::Default };
    build(machine, ["qemu-runner", "qemu-runner", ""], optimize, None)
}

/// The image that holds kernels against the plain operators.
pub(super) fn kernels(machine: &'static Machine) -> Result<PathBuf, DeviceError> {
    build(machine, ["qemu-kernels", "qemu-kernels", ""], Optimize::Default, None)
}

/// The image with this model built in.
pub(super) fn embedded(
    machine: &'static Machine,
    model: &[u8],
    variant: Variant,
    optimize: Optimize,
) -> Result<PathBuf, DeviceError> {
    let (binary, features) = variant.parts();
    let package = match variant {
        Variant::Learner | Variant::Example(_) => "qemu-learner",
        Variant::Features | Variant::Listener | Variant::Watcher | Variant::ListeningApplication => {
            "qemu-listener"
        }
        _ => "qemu-embedded",
    };
    build(machine, [package, binary, features], optimize, Some(model))
}

/// Builds a binary of a package of the firmware and returns the ELF file, in a place of its own for machine, features, optimization and model: another
/// build does not write over it.
fn build(
    machine: &'static Machine,
    [package, binary, features]: [&str; 3],
    optimize: Optimize,
    model: Option<&[u8]>,
) -> Result<PathBuf, DeviceError> {
    let folder = firmware_folder();
    if !folder.join("Cargo.toml").is_file() {
        return Err(DeviceError::FirmwareMissing { folder });
    }
    let target = folder.join("target");
    let images = target.join("images").join(machine.name);
    fs::create_dir_all(&images).map_err(DeviceError::file(&images))?;
    // cargo writes all of a package's images to one place: hold it until the image is copied.
    let lock_path = target.join("images/.lock");
    let lock = File::create(&lock_path).map_err(DeviceError::file(&lock_path))?;
    lock.lock().map_err(DeviceError::file(&lock_path))?;

    let mut name = binary.to_owned();
    let mut command = cargo_build(&folder);
    command
        .args(["--package", package, "--bin", binary, "--target", machine.triple])
        .arg("--target-dir")
        .arg(&target);
    if !features.is_empty() {
        command.args(["--features", features]);
        name = format!("{name}-{features}");
    }
    let level = match optimize {
        Optimize::Default => None,
        Optimize::Speed => Some("3"),
        Optimize::Size => Some("s"),
    };
    if let Some(level) = level {
        command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", level);
        name = format!("{name}-{level}");
    } else {
        command.env_remove("CARGO_PROFILE_RELEASE_OPT_LEVEL");
    }
    if machine.dsp {
        command.args(["--features", "dsp"]);
    }
    let mut flags = vec![format!("--cfg=smidgen_machine={:?}", machine.name)];
    flags.extend(machine.cpu.map(|cpu| format!("-Ctarget-cpu={cpu}")));
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    if let Some(model) = model {
        name = format!("{name}-{:08x}-{}", crc32c(model), model.len());
        command.env("SMIDGEN_MODEL", model_file(&images, model)?);
    }
    run(command, machine.name, machine.triple)?;
    let built = target.join(machine.triple).join("release").join(binary);
    let image = images.join(name);
    replace(&built, &image)?;
    Ok(image)
}

/// A build in `folder`. Flags of whoever calls are not meant for the firmware.
pub(super) fn cargo_build(folder: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder).args(["build", "--release", "--locked", "--quiet", "--color=never"]);
    for variable in
        ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR", "DEFMT_LOG"]
    {
        command.env_remove(variable);
    }
    command
}

/// The absolute path of a file among `images` that holds this model. Its name is that of the content: cargo sees a change by the name.
pub(super) fn model_file(images: &Path, model: &[u8]) -> Result<PathBuf, DeviceError> {
    let path = images.join(format!("{:08x}-{}.smg", crc32c(model), model.len()));
    if fs::read(&path).ok().as_deref() != Some(model) {
        fs::write(&path, model).map_err(DeviceError::file(&path))?;
    }
    path.canonicalize().map_err(DeviceError::file(&path))
}

/// Builds for `machine`, whose target is `triple`.
pub(super) fn run(
    mut command: Command,
    machine: &'static str,
    triple: &'static str,
) -> Result<(), DeviceError> {
    let output = command.output().map_err(DeviceError::CargoNotStarted)?;
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.contains("target may not be installed") {
        Err(DeviceError::RustTargetMissing { triple })
    } else if output.contains("linker `flip-link` not found") {
        Err(DeviceError::FlipLinkMissing)
    } else {
        Err(DeviceError::Build { machine, output })
    }
}

/// Makes `image` a copy of `built`. Whoever runs the image meanwhile keeps the one that they opened.
pub(super) fn replace(built: &Path, image: &Path) -> Result<(), DeviceError> {
    let bytes = fs::read(built).map_err(DeviceError::file(built))?;
    if fs::read(image).ok().as_ref() == Some(&bytes) {
        return Ok(());
    }
    let fresh = image.with_extension("new");
    fs::write(&fresh, bytes).map_err(DeviceError::file(&fresh))?;
    fs::rename(&fresh, image).map_err(DeviceError::file(image))
}

/// The size of an image with a model of `model_bytes` in its constants.
pub(super) fn code_size(image: &Path, model_bytes: usize) -> Result<CodeSize, DeviceError> {
    let error = |message: &str| DeviceError::Image { image: image.to_owned(), message: message.to_owned() };
    let bytes = fs::read(image).map_err(DeviceError::file(image))?;
    let elf = object::File::parse(bytes.as_slice()).map_err(|_| error("not an ELF file"))?;
    let size = |name: &str| elf.section_by_name(name).map(|section| section.size() as usize);
    let (text, rodata) =
        size(".text").zip(size(".rodata")).ok_or_else(|| error("it has no .text or no .rodata"))?;
    let rodata_bytes =
        rodata.checked_sub(model_bytes).ok_or_else(|| error("the model is not in its constants"))?;
    Ok(CodeSize { text_bytes: text, rodata_bytes })
}

/// The lengths of an image's functions by their mangled names, without the hashes at the ends of these.
pub(super) fn functions(image: &Path) -> Result<BTreeMap<String, usize>, DeviceError> {
    let bytes = fs::read(image).map_err(DeviceError::file(image))?;
    let not_elf = |_| DeviceError::Image { image: image.to_owned(), message: "not an ELF file".to_owned() };
    let elf = object::File::parse(bytes.as_slice()).map_err(not_elf)?;
    let mut lengths = BTreeMap::new();
    for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        let name = symbol.name().unwrap_or_default();
        let name = name.rsplit_once("17h").map_or(name, |(name, _)| name);
        *lengths.entry(name.to_owned()).or_default() += symbol.size() as usize;
    }
    Ok(lengths)
}

/// Bytes that an image takes of the flash and, as statics, of the RAM. What has first values takes both.
pub(super) fn footprint(
    image: &Path,
    flash_region: Region,
    ram_region: Region,
) -> Result<[usize; 2], DeviceError> {
    let error = |message: &str| DeviceError::Image { image: image.to_owned(), message: message.to_owned() };
    let bytes = fs::read(image).map_err(DeviceError::file(image))?;
    let elf = object::File::parse(bytes.as_slice()).map_err(|_| error("not an ELF file"))?;
    let (mut flash, mut ram) = (0, 0);
    for section in elf.sections() {
        let (start, size) = (section.address(), section.size() as usize);
        let within = |region: Region| (start.wrapping_sub(region.start.into())) < u64::from(region.bytes);
        let is_stored = !matches!(section.kind(), SectionKind::UninitializedData);
        match section.kind() {
            SectionKind::Text | SectionKind::ReadOnlyData | SectionKind::ReadOnlyString
                if within(flash_region) =>
            {
                flash += size;
            }
            SectionKind::Data | SectionKind::UninitializedData if within(ram_region) => {
                ram += size;
                flash += if is_stored { size } else { 0 };
            }
            _ => {}
        }
    }
    if flash == 0 { Err(error("nothing of it is in the flash")) } else { Ok([flash, ram]) }
}
