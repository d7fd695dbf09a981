//! The application of all boards on an emulated one: a model comes over its serial line, and the board starts with it.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use smidgen_trainer::device::{Target, firmware_folder, package, private_key, send};

use crate::emulator;
use crate::recordings::recordings;

/// QEMU's MPS2 AN386, with its serial line at a socket.
struct Board {
    emulator: Child,
    line: UnixStream,
}

impl Drop for Board {
    fn drop(&mut self) {
        self.emulator.kill().ok();
        self.emulator.wait().ok();
    }
}

/// Builds the image, which takes what is signed with the key for tests.
fn image() -> PathBuf {
    let boards = firmware_folder().join("boards");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(boards.join("mps2-an386"));
    cargo.args(["build", "--release", "--quiet", "--locked", "--features", "signed"]);
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "SMIDGEN_MODEL"] {
        cargo.env_remove(variable);
    }
    let key = boards.join("application/test-keys/public.pem").canonicalize().unwrap();
    let target = boards.join("target").canonicalize().unwrap_or_else(|_| boards.join("target"));
    let output = cargo.env("SMIDGEN_PUBLIC_KEY", key).arg("--target-dir").arg(&target).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("thumbv7em-none-eabihf/release/mps2-an386")
}

impl Board {
    /// Starts in a folder, where the image finds its recording.
    fn start(folder: &Path) -> Self {
        let socket = folder.join("line");
        fs::remove_file(&socket).ok();
        let mut qemu = Command::new("qemu-system-arm");
        qemu.args(["-M", "mps2-an386", "-display", "none", "-monitor", "none"]);
        qemu.args(["-semihosting-config", "enable=on,target=native", "-serial"]);
        qemu.arg("unix:line,server=on,wait=off").arg("-kernel").arg(image()).current_dir(folder);
        let emulator = qemu.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let since = Instant::now();
        let line = loop {
            match UnixStream::connect(&socket) {
                Ok(line) => break line,
                Err(error) => assert!(since.elapsed() < Duration::from_secs(20), "{error}"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        // As the command waits; a busy machine is slow.
        line.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        Self { emulator, line }
    }

    /// What the board says to a package.
    fn offered(&mut self, package: &[u8]) -> Result<String, String> {
        send(&mut self.line, package, |_| {}).map_err(|error| error.to_string())
    }
}

#[test]
fn a_board_takes_a_signed_model_over_its_serial_line_and_no_other() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("update-board");
    fs::create_dir_all(&folder).unwrap();
    fs::remove_file(folder.join("samples.raw")).ok();
    let mut board = Board::start(&folder);
    let application = firmware_folder().join("boards/application");
    let model = fs::read(application.join("digits.smg")).unwrap();
    let key = private_key(&fs::read(application.join("test-keys/private.pem")).unwrap()).unwrap();
    let signed = |version| package(&model, version, Some(&key));
    let refused = |said: Result<String, String>, reason: &str| {
        let error = said.unwrap_err();
        assert!(error.starts_with("the board says: refused: ") && error.contains(reason), "{error}");
    };
    refused(board.offered(&package(&model, 2, None)), "the signature is not that of this device's key");
    // A bit of the head, of the signature and of the file.
    for (bit, reason) in [(70, "head is damaged"), (8 * 30 + 5, "signature"), (8 * 20_000, "announces")] {
        let mut bad = signed(2);
        bad[bit / 8] ^= 1 << (bit % 8);
        refused(board.offered(&bad), reason);
    }
    assert_eq!(board.offered(&signed(2)).unwrap(), "version 2 is there");
    // It has started anew, with the second version; and from there on with the third.
    refused(board.offered(&signed(2)), "version 2 is not above the present 2");
    assert_eq!(board.offered(&signed(3)).unwrap(), "version 3 is there");
    refused(board.offered(&signed(1)), "version 1 is not above the present 3");
}

#[test]
fn a_board_says_what_it_hears() {
    let Some(recordings) = recordings("heard_on_a_board") else { return };
    if !emulator(Target::CortexM4) {
        return;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hearing-board");
    fs::create_dir_all(&folder).unwrap();
    let mut samples: Vec<u8> = vec![0; 8_000];
    // The first seven of the second speaker.
    samples.extend(recordings[17].iter().flat_map(|sample| sample.to_le_bytes()));
    samples.extend([0; 16_000]);
    fs::write(folder.join("samples.raw"), samples).unwrap();
    let mut board = Board::start(&folder);
    let (mut said, mut part, since) = (Vec::new(), [0; 64], Instant::now());
    while !said.ends_with(b"%)\r\n") {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", String::from_utf8_lossy(&said));
        match board.line.read(&mut part) {
            Ok(length) => said.extend_from_slice(&part[..length]),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
            }
        }
    }
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("heard 7 ("), "{said}");
}
