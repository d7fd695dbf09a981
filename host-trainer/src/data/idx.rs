//! The IDX format of MNIST and its relatives: a big-endian magic number `0x000008RR` (bytes, of rank `RR`), one `u32` per dimension,
//! the bytes. Source: Y. LeCun, C. Cortes, C. J. C. Burges, *The MNIST database of handwritten digits*, "File formats".
//!
//! A file is hostile until it is read: memory grows with the bytes that really come, never with what a header announces.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::{DataError, Dataset, Split};

/// The greatest number of elements that one file may hold, in bytes: 1 GiB, twenty times MNIST.
const LIMIT: u64 = 1 << 30;

/// What a file is expected to hold.
struct Kind {
    magic: u32,
    name: &'static str,
    dimensions: &'static [&'static str],
}

const IMAGES: Kind = Kind {
    magic: 0x0000_0803,
    name: "IDX images of bytes",
    dimensions: &["number of images", "height", "width"],
};
const LABELS: Kind =
    Kind { magic: 0x0000_0801, name: "IDX labels of bytes", dimensions: &["number of labels"] };

/// Grey images of one size, as an IDX file holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Images {
    /// How many there are, at least 1.
    pub count: u32,
    /// Rows of each, at least 1.
    pub height: u32,
    /// Columns of each, at least 1.
    pub width: u32,
    /// `[count, height, width]`, 0 is background.
    pub pixels: Vec<u8>,
}

/// Reads a file of images, plain or gzipped (the content tells, not the name).
///
/// # Errors
/// The file cannot be read, or one of [`parse_images`].
pub fn read_images(path: &Path) -> Result<Images, DataError> {
    let file = path.display().to_string();
    parse_images(&file, &read(&file, path)?)
}

/// Reads a file of labels, plain or gzipped (the content tells, not the name).
///
/// # Errors
/// The file cannot be read, or one of [`parse_labels`].
pub fn read_labels(path: &Path) -> Result<Vec<u8>, DataError> {
    let file = path.display().to_string();
    parse_labels(&file, &read(&file, path)?)
}

/// Parses the bytes of a file of images (magic number `0x00000803`), plain or gzipped. `file` is its name in messages.
///
/// # Errors
/// The file is empty, of another kind, truncated, longer than its header says, corrupt as gzip; a dimension is zero; more than 1 GiB is announced.
pub fn parse_images(file: &str, bytes: &[u8]) -> Result<Images, DataError> {
    let (dimensions, pixels) = parse(file, bytes, &IMAGES)?;
    let [count, height, width] = dimensions[..] else {
        unreachable!("one number per name of IMAGES.dimensions")
    };
    Ok(Images { count, height, width, pixels })
}

/// Parses the bytes of a file of labels (magic number `0x00000801`), plain or gzipped. `file` is its name in messages.
///
/// # Errors
/// As [`parse_images`].
pub fn parse_labels(file: &str, bytes: &[u8]) -> Result<Vec<u8>, DataError> {
    parse(file, bytes, &LABELS).map(|(_, labels)| labels)
}

/// Loads the four files of MNIST, or of a set that follows it with ten classes of grey images, from a directory.
///
/// Each may be plain or gzipped and named with a hyphen or a dot: `train-images-idx3-ubyte`, `train-images.idx3-ubyte`, either with
/// `.gz`, and so `train-labels…idx1-ubyte`, `t10k-images…idx3-ubyte`, `t10k-labels…idx1-ubyte`. The first of them that exists is read.
///
/// # Errors
/// The directory or a file is missing; a file is bad (see [`parse_images`]); images and labels differ in number; a label is not a
/// digit; training and test images differ in size.
pub fn load_mnist_dir(directory: &Path) -> Result<Split, DataError> {
    if !directory.is_dir() {
        return Err(DataError::MissingDirectory { directory: directory.to_owned() });
    }
    let load = |name: &str, prefix: &str| {
        // Both are looked for before the large one is read.
        let images = find(directory, &format!("{prefix}-images"), "idx3-ubyte")?;
        let labels = find(directory, &format!("{prefix}-labels"), "idx1-ubyte")?;
        let (images_from, labels_from) = (images.display().to_string(), labels.display().to_string());
        let images = (images_from.as_str(), read(&images_from, &images)?);
        let labels = (labels_from.as_str(), read(&labels_from, &labels)?);
        load_pair(name, &Pair { images: (images.0, &images.1), labels: (labels.0, &labels.1) })
    };
    Split::new(load("MNIST train", "train")?, load("MNIST test", "t10k")?)
}

/// Two files that belong together: the name of each in messages, and its bytes.
pub(super) struct Pair<'a> {
    pub(super) images: (&'a str, &'a [u8]),
    pub(super) labels: (&'a str, &'a [u8]),
}

/// A dataset of ten classes, from the files of its images and labels.
pub(super) fn load_pair(name: &str, pair: &Pair<'_>) -> Result<Dataset, DataError> {
    let (images_from, images) = pair.images;
    let (labels_from, labels) = pair.labels;
    let labels = parse_labels(labels_from, labels)?;
    let Images { height, width, pixels, .. } = parse_images(images_from, images)?;
    Dataset::from_files(
        name.to_owned(),
        (images_from, pixels),
        [height as usize, width as usize, 1],
        (labels_from, labels.into_iter().map(u32::from).collect()),
        (0..10).map(|digit| digit.to_string()).collect(),
    )
}

/// The first that exists of the names that a file may have.
fn find(directory: &Path, stem: &str, suffix: &str) -> Result<PathBuf, DataError> {
    let names: Vec<String> = ["-", "."]
        .iter()
        .flat_map(|joint| ["", ".gz"].map(|extension| format!("{stem}{joint}{suffix}{extension}")))
        .collect();
    names
        .iter()
        .map(|name| directory.join(name))
        .find(|path| path.exists())
        .ok_or_else(|| DataError::MissingFile { directory: directory.to_owned(), names: names.clone() })
}

/// The bytes of a file, up to just more than a file within the limit can have.
fn read(file: &str, path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|opened| opened.take(LIMIT + 4096).read_to_end(&mut bytes))
        .map_err(|cause| DataError::Unreadable { file: file.to_owned(), cause })?;
    Ok(bytes)
}

/// The dimensions and the elements of an IDX file, `dimensions.len()` and their product in number.
fn parse(file: &str, bytes: &[u8], kind: &Kind) -> Result<(Vec<u32>, Vec<u8>), DataError> {
    if bytes.starts_with(&[0x1F, 0x8B]) {
        parse_stream(
            file,
            Stream { file, length: bytes.len(), decoded: 0, input: MultiGzDecoder::new(bytes) },
            kind,
        )
    } else {
        parse_stream(file, Stream { file, length: bytes.len(), decoded: 0, input: bytes }, kind)
    }
}

fn parse_stream<R: Read>(
    file: &str,
    mut stream: Stream<'_, R>,
    kind: &Kind,
) -> Result<(Vec<u32>, Vec<u8>), DataError> {
    let header_length = 4 + 4 * kind.dimensions.len() as u64;
    let header = stream.read_up_to(header_length)?;
    if header.is_empty() {
        return Err(DataError::EmptyFile { file: file.to_owned(), expected: kind.name });
    }
    let mut numbers = header
        .chunks_exact(4)
        .map(|bytes| bytes.iter().fold(0, |number, &byte| number << 8 | u32::from(byte)));
    let magic = numbers.next();
    if let Some(found) = magic.filter(|&found| found != kind.magic) {
        return Err(DataError::WrongMagic {
            file: file.to_owned(),
            found,
            expected: kind.magic,
            expected_kind: kind.name,
            looks_like: guess(found),
        });
    }
    let dimensions: Vec<u32> = numbers.collect();
    if dimensions.len() < kind.dimensions.len() {
        return Err(DataError::Truncated {
            file: file.to_owned(),
            what: "the header".to_owned(),
            expected: header_length,
            found: header.len() as u64,
        });
    }
    if let Some(index) = dimensions.iter().position(|&dimension| dimension == 0) {
        let offset = 4 + 4 * index as u64;
        return Err(DataError::ZeroDimension {
            file: file.to_owned(),
            dimension: kind.dimensions[index],
            offset,
        });
    }
    let product = dimensions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ");
    // Three numbers of 32 bits: the product fits into 96.
    let elements: u128 = dimensions.iter().map(|&dimension| u128::from(dimension)).product();
    let Some(elements) = u64::try_from(elements).ok().filter(|&elements| elements <= LIMIT) else {
        return Err(DataError::TooLarge {
            file: file.to_owned(),
            what: product,
            found: elements,
            limit: LIMIT,
        });
    };
    // One more than expected, to see the end of the file; in gzip that also verifies the checksum.
    let mut data = stream.read_up_to(elements + 1)?;
    let what = format!("a header of {header_length} bytes and {product} bytes of data");
    let expected = header_length + elements;
    let found = data.len() as u64;
    if found < elements {
        return Err(DataError::Truncated {
            file: file.to_owned(),
            what,
            expected,
            found: header_length + found,
        });
    }
    if found > elements {
        return Err(DataError::TrailingBytes { file: file.to_owned(), what, expected });
    }
    data.shrink_to_fit();
    Ok((dimensions, data))
}

/// The bytes of a file in memory, decompressed as they are read.
struct Stream<'a, R> {
    file: &'a str,
    /// Of the file, compressed.
    length: usize,
    /// How many bytes have been read.
    decoded: u64,
    input: R,
}

impl<R: Read> Stream<'_, R> {
    /// The next `limit` bytes, or fewer where the file ends.
    fn read_up_to(&mut self, limit: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let result = (&mut self.input).take(limit).read_to_end(&mut bytes);
        self.decoded += bytes.len() as u64;
        let file = self.file.to_owned();
        // A plain file is in memory already: only the gzip decoder fails.
        match result {
            Ok(_) => Ok(bytes),
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
                Err(DataError::GzipTruncated { file, length: self.length as u64, decoded: self.decoded })
            }
            Err(cause) => Err(DataError::GzipCorrupt { file, decoded: self.decoded, cause }),
        }
    }
}

/// What a file with this wrong magic number seems to be.
fn guess(magic: u32) -> &'static str {
    const SWAPPED_IMAGES: u32 = IMAGES.magic.swap_bytes();
    const SWAPPED_LABELS: u32 = LABELS.magic.swap_bytes();
    match magic {
        _ if magic == IMAGES.magic => "a file of IDX images",
        _ if magic == LABELS.magic => "a file of IDX labels",
        SWAPPED_IMAGES | SWAPPED_LABELS => "an IDX file with its bytes in the wrong order",
        0 => "a block of zeros",
        _ => match magic.to_be_bytes() {
            [0, 0, 0x08 | 0x09 | 0x0B..=0x0E, _] => "an IDX file of another rank or element type",
            [0x1F, 0x8B, ..] => "a file that was gzipped twice",
            [b'P', b'K', ..] => "a ZIP archive",
            [0x89, b'P', b'N', b'G'] => "a PNG image",
            [b'<', ..] => "a web page",
            _ => "no IDX file at all",
        },
    }
}

#[cfg(test)]
mod tests;
