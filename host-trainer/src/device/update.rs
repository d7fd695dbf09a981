//! A new model for a board that listens, over its serial line. `firmware/boards/application/src/update.rs` is the other side, and has the protocol.

use std::io::{ErrorKind, Read, Write};

use ed25519_compact::{PublicKey, SecretKey};
use smidgen_update::Package;

/// The kind of model that boards which listen take.
const KIND: u32 = u32::from_le_bytes(*b"EARS");

const WANTED: &[u8] = b"\0SMGU";
/// How often a board is asked before it counts as absent, once for each time that a read waits in vain.
const ATTEMPTS: usize = 10;
/// In vain, too: erasing a slot takes a chip some seconds.
const PATIENCE: usize = 20;
/// A text that a board ends with is not longer.
const LONGEST_TEXT: usize = 400;

/// Why a board did not take a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The serial line.
    #[error("the serial line: {0}")]
    Line(#[from] std::io::Error),
    /// Nothing answers.
    #[error("nothing answers: is it a board with the application that listens, and is this its serial line?")]
    NoAnswer,
    /// It answered and then stopped.
    #[error(
        "the board fell silent after {sent} of {bytes} bytes; send the model again, it goes on where it was"
    )]
    Silence {
        /// Bytes that it took.
        sent: usize,
        /// Bytes of the package.
        bytes: usize,
    },
    /// It asked for what is not there.
    #[error("the board asked for {found}, expected 0 to 64 bytes, and not more than the package has")]
    Unexpected {
        /// What it asked for.
        found: u8,
    },
    /// It does not take the model.
    #[error("the board says: {0}")]
    Refused(String),
}

/// Not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Of who sends models.
    #[error(
        "not a private key of ed25519 in PEM; `openssl genpkey -algorithm ed25519 -out private.pem` makes one"
    )]
    Private,
    /// Of who takes them.
    #[error(
        "not a public key of ed25519 in PEM; `openssl pkey -in private.pem -pubout -out public.pem` makes one of a private key"
    )]
    Public,
}

/// The key in a file as openssl writes it.
///
/// # Errors
/// [`KeyError::Private`].
pub fn private_key(file: &[u8]) -> Result<SecretKey, KeyError> {
    let text = str::from_utf8(file).map_err(|_| KeyError::Private)?;
    SecretKey::from_pem(text).map_err(|_| KeyError::Private)
}

/// Whether a file is a public key as openssl writes it.
///
/// # Errors
/// [`KeyError::Public`].
pub fn check_public_key(file: &[u8]) -> Result<(), KeyError> {
    let text = str::from_utf8(file).map_err(|_| KeyError::Public)?;
    PublicKey::from_pem(text).map(drop).map_err(|_| KeyError::Public)
}

/// The package of a model file, signed if there is a key.
pub fn package(file: &[u8], version: u32, key: Option<&SecretKey>) -> Vec<u8> {
    let mut head = Package::of(file, KIND, version);
    if let Some(key) = key {
        head.signature = *key.sign([&head.signed_bytes()[..], file].concat(), None);
    }
    [&head.to_bytes()[..], file].concat()
}

/// Sends a package over a line whose reads give up after about a second: they return nothing, or that they timed out. Returns what the board says.
///
/// # Errors
/// See [`SendError`].
pub fn send<L: Read + Write>(
    line: &mut L,
    package: &[u8],
    mut progress: impl FnMut(usize),
) -> Result<String, SendError> {
    let mut seen = 0;
    let mut attempts = 0;
    while seen < WANTED.len() {
        match byte(line)? {
            // What comes before is what the board says otherwise.
            Some(byte) => seen = if byte == WANTED[seen] { seen + 1 } else { usize::from(byte == WANTED[0]) },
            None if attempts == ATTEMPTS => return Err(SendError::NoAnswer),
            None => {
                attempts += 1;
                line.write_all(b"U")?;
                line.flush()?;
            }
        }
    }
    let mut rest = package;
    loop {
        let sent = package.len() - rest.len();
        let silence = SendError::Silence { sent, bytes: package.len() };
        let wanted = patient(line)?.ok_or(silence)?;
        if wanted == 0 {
            break;
        }
        let asked = (wanted <= 64).then(|| rest.split_at_checked(wanted.into())).flatten();
        let (block, after) = asked.ok_or(SendError::Unexpected { found: wanted })?;
        line.write_all(block)?;
        line.flush()?;
        rest = after;
        progress(package.len() - rest.len());
    }
    let mut text = Vec::new();
    while let Some(byte) = patient(line)?.filter(|&byte| byte != b'\n' && text.len() < LONGEST_TEXT) {
        text.push(byte);
    }
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if text.starts_with("version ") { Ok(text) } else { Err(SendError::Refused(text)) }
}

/// The next byte; `None` if none comes for a time.
fn byte<L: Read>(line: &mut L) -> Result<Option<u8>, SendError> {
    let mut byte = [0];
    match line.read(&mut byte) {
        Ok(0) => Ok(None),
        Ok(_) => Ok(Some(byte[0])),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// The next byte, of a board that may be busy.
fn patient<L: Read>(line: &mut L) -> Result<Option<u8>, SendError> {
    for _ in 0..PATIENCE {
        if let Some(byte) = byte(line)? {
            return Ok(Some(byte));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// A board that does what `board` does with the other end of the line.
    fn with(
        board: impl FnOnce(&mut UnixStream) + Send + 'static,
        package: &[u8],
    ) -> Result<String, SendError> {
        let (mut here, mut there) = UnixStream::pair().unwrap();
        here.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let board = thread::spawn(move || board(&mut there));
        let said = send(&mut here, package, |_| {});
        drop(here);
        board.join().unwrap();
        said
    }

    fn answer(line: &mut UnixStream) {
        let mut byte = [0];
        while byte != *b"U" {
            line.read_exact(&mut byte).unwrap();
        }
        // A line of its log, which ends as the answer begins.
        line.write_all(b"heard 7 (93 %)\r\n\0\0SMGU").unwrap();
    }

    #[test]
    fn a_board_gets_the_bytes_that_it_asks_for() {
        let package = package(&(0..200).collect::<Vec<u8>>(), 3, None);
        let expected = package.clone();
        let said = with(
            move |line| {
                answer(line);
                let mut found = Vec::new();
                for wanted in [64, 24, 64, 1, 64, 64, 7] {
                    line.write_all(&[wanted]).unwrap();
                    let mut block = vec![0; wanted.into()];
                    line.read_exact(&mut block).unwrap();
                    found.extend(block);
                }
                assert_eq!(found, expected);
                line.write_all(b"\0version 3 is there\r\n").unwrap();
            },
            &package,
        );
        assert_eq!(said.unwrap(), "version 3 is there");
        let head = Package::from_bytes(package.first_chunk().unwrap()).unwrap();
        assert_eq!((head.kind, head.version, head.length), (0x5352_4145, 3, 200));
        assert_eq!(head.signature, [0; 64]);
    }

    /// Made by `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout`.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ0fD59c5ey5iUPgqkUTU/rUbfVnhVxIeZzpvQ3t4xy4\n-----END PRIVATE KEY-----";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAcUKFdhJZ7q9DuUo9N0+t8s1IqcpzkE+3yw8sm1RPatw=\n-----END PUBLIC KEY-----";

    #[test]
    fn a_package_is_signed_with_the_key_of_openssl() {
        let file = [7; 100];
        let package = package(&file, 3, Some(&private_key(PRIVATE.as_bytes()).unwrap()));
        let head = Package::from_bytes(package.first_chunk().unwrap()).unwrap();
        let key = PublicKey::from_pem(PUBLIC).unwrap();
        let signature = ed25519_compact::Signature::new(head.signature);
        let signed = [&head.signed_bytes()[..], &file].concat();
        key.verify(&signed, &signature).unwrap();
        assert!(key.verify(&signed[1..], &signature).is_err());
        check_public_key(PUBLIC.as_bytes()).unwrap();
        assert_eq!(check_public_key(PRIVATE.as_bytes()), Err(KeyError::Public));
        assert_eq!(private_key(PUBLIC.as_bytes()).unwrap_err(), KeyError::Private);
        assert_eq!(private_key(&[0xff; 30]).unwrap_err(), KeyError::Private);
    }

    #[test]
    fn what_goes_wrong_is_said() {
        let refused = with(
            |line| {
                answer(line);
                line.write_all(b"\0refused: version 1 is not above the present 1\r\n").unwrap();
            },
            b"package",
        );
        let text = refused.unwrap_err().to_string();
        assert_eq!(text, "the board says: refused: version 1 is not above the present 1");
        for wanted in [65, 8] {
            let asked = with(
                move |line| {
                    answer(line);
                    line.write_all(&[wanted]).unwrap();
                },
                b"package",
            );
            assert!(matches!(asked, Err(SendError::Unexpected { found }) if found == wanted), "{asked:?}");
        }
        let silent = with(
            |line| {
                answer(line);
                line.write_all(&[4]).unwrap();
                line.read_exact(&mut [0; 4]).unwrap();
                thread::sleep(Duration::from_millis(20 * (PATIENCE as u64 + 5)));
            },
            b"package",
        );
        assert!(matches!(silent, Err(SendError::Silence { sent: 4, bytes: 7 })), "{silent:?}");
        let absent = with(|line| drop(line.read_to_end(&mut Vec::new())), b"package");
        assert!(matches!(absent, Err(SendError::NoAnswer)), "{absent:?}");
    }
}
