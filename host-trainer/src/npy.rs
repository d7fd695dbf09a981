//! NumPy's file format for one array: `\x93NUMPY`, a version, a header in Python's syntax, the elements (NumPy documentation,
//! `numpy.lib.format`).
//!
//! Read are the element types that a model can take, in C order. A file is hostile until it is read: every number in it is checked against what
//! is really there.

/// What an array's elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementKind {
    /// Signed bytes, `|i1`.
    I8,
    /// Unsigned bytes, `|u1`.
    U8,
    /// Little-endian 16-bit integers, `<i2`.
    I16,
    /// Little-endian 32-bit integers, `<i4`.
    I32,
    /// Little-endian binary32, `<f4`.
    F32,
}

impl ElementKind {
    const ALL: [Self; 5] = [Self::I8, Self::U8, Self::I16, Self::I32, Self::F32];

    /// NumPy's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::I8 => "|i1",
            Self::U8 => "|u1",
            Self::I16 => "<i2",
            Self::I32 => "<i4",
            Self::F32 => "<f4",
        }
    }

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::I16 => "int16",
            Self::I32 => "int32",
            Self::F32 => "float32",
        }
    }

    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::F32 => 4,
        }
    }
}

/// An array in C order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// What the elements are.
    pub kind: ElementKind,
    /// The dimensions; none for a single number.
    pub shape: Vec<usize>,
    /// The elements, little-endian.
    pub bytes: Vec<u8>,
}

/// Why bytes are not an array that can be used; the offsets are the file's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
    /// Another kind of file.
    #[error(
        "byte 0: found {found:02x?}, expected {MAGIC:02x?} (\"\\x93NUMPY\"); save the array with numpy.save"
    )]
    Magic {
        /// The first bytes.
        found: Vec<u8>,
    },
    /// A version that nobody knows.
    #[error("byte 6: version {0}.{1} of the format, expected 1.0, 2.0 or 3.0")]
    Version(u8, u8),
    /// The file ends too early.
    #[error("the file ends at byte {found}, expected {expected} bytes ({what})")]
    Truncated {
        /// What the expected length is made of.
        what: String,
        /// The length that was expected.
        expected: usize,
        /// The length that was found.
        found: usize,
    },
    /// The file goes on after the last element.
    #[error("the file has {found} bytes, expected {expected} ({what})")]
    TrailingBytes {
        /// What the expected length is made of.
        what: String,
        /// The length that was expected.
        expected: usize,
        /// The length that was found.
        found: usize,
    },
    /// The header is not what NumPy writes.
    #[error("byte {offset}: found {found:?}, expected {expected}")]
    Header {
        /// Where in the file.
        offset: usize,
        /// What is there.
        found: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A type of elements that no model takes.
    #[error(
        "the elements are {found:?}, expected '|i1' (int8), '|u1' (uint8), '<i2' (int16), '<i4' (int32) or '<f4' (float32); convert with .astype"
    )]
    ElementType {
        /// NumPy's name of the type.
        found: String,
    },
    /// Columns first.
    #[error("the array is in Fortran order, expected C order; convert with numpy.ascontiguousarray")]
    FortranOrder,
    /// More elements than a computer can hold.
    #[error("the shape {found:?} has too many elements")]
    TooLarge {
        /// The shape.
        found: Vec<usize>,
    },
}

const MAGIC: [u8; 6] = *b"\x93NUMPY";

/// Reads an array from the bytes of a file.
///
/// # Errors
/// See [`NpyError`].
pub fn parse(file: &[u8]) -> Result<Array, NpyError> {
    let magic = &file[..file.len().min(MAGIC.len())];
    if magic != MAGIC {
        return Err(NpyError::Magic { found: magic.to_vec() });
    }
    let short = |what: &str, expected| NpyError::Truncated { what: what.into(), expected, found: file.len() };
    let &[major, minor] = file.get(6..8).ok_or_else(|| short("the version", 8))? else {
        return Err(short("the version", 8));
    };
    let (start, length): (usize, usize) = match (major, minor) {
        (1, 0) => {
            let bytes =
                file.get(8..10).and_then(<[u8]>::as_array).ok_or_else(|| short("the header's length", 10))?;
            (10, usize::from(u16::from_le_bytes(*bytes)))
        }
        (2 | 3, 0) => {
            let bytes =
                file.get(8..12).and_then(<[u8]>::as_array).ok_or_else(|| short("the header's length", 12))?;
            (12, u32::from_le_bytes(*bytes) as usize)
        }
        _ => return Err(NpyError::Version(major, minor)),
    };
    let end = start.saturating_add(length);
    let header = file.get(start..end).ok_or_else(|| short(&format!("a header of {length} bytes"), end))?;
    let (kind, shape) = Header { bytes: header, place: 0, start }.read()?;
    let elements = shape.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
    let bytes = elements.and_then(|elements| elements.checked_mul(kind.bytes()));
    let Some(expected) = bytes.and_then(|bytes| bytes.checked_add(end)) else {
        return Err(NpyError::TooLarge { found: shape });
    };
    let (found, what) = (file.len(), format!("the header and {shape:?} elements of type {}", kind.name()));
    match found.cmp(&expected) {
        std::cmp::Ordering::Less => Err(NpyError::Truncated { what, expected, found }),
        std::cmp::Ordering::Greater => Err(NpyError::TrailingBytes { what, expected, found }),
        std::cmp::Ordering::Equal => Ok(Array { kind, shape, bytes: file[end..].to_vec() }),
    }
}

/// The header, a Python dictionary of three keys.
struct Header<'a> {
    bytes: &'a [u8],
    place: usize,
    /// Where in the file the header begins.
    start: usize,
}

impl Header<'_> {
    fn read(mut self) -> Result<(ElementKind, Vec<usize>), NpyError> {
        let (mut kind, mut fortran, mut shape) = (None, None, None);
        self.take(b'{', "'{'")?;
        while !self.next_is(b'}') {
            let at = self.place;
            match self.string("a key in quotes, or '}'")?.as_str() {
                "descr" => {
                    self.take(b':', "':'")?;
                    let name = self.string("the name of an element type in quotes")?;
                    // One byte has no order; NumPy writes `|`.
                    let found = ElementKind::ALL.into_iter().find(|kind| kind.name() == name);
                    kind = Some(found.ok_or(NpyError::ElementType { found: name })?);
                }
                "fortran_order" => {
                    self.take(b':', "':'")?;
                    fortran = Some(self.boolean()?);
                }
                "shape" => {
                    self.take(b':', "':'")?;
                    shape = Some(self.tuple()?);
                }
                _ => {
                    self.place = at;
                    return Err(self.error("one of the keys 'descr', 'fortran_order', 'shape'"));
                }
            }
            if !self.next_is(b',') {
                self.take(b'}', "',' or '}'")?;
                break;
            }
        }
        let (Some(kind), Some(fortran), Some(shape)) = (kind, fortran, shape) else {
            return Err(
                self.error("the keys 'descr', 'fortran_order' and 'shape' before the end of the header")
            );
        };
        self.skip_space();
        if self.place < self.bytes.len() {
            return Err(self.error("nothing but spaces after '}'"));
        }
        // With one dimension or none both orders are the same.
        let order_matters = shape.iter().filter(|&&extent| extent > 1).count() > 1;
        if fortran && order_matters { Err(NpyError::FortranOrder) } else { Ok((kind, shape)) }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.place..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.place += self.rest().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    }

    /// Takes `byte` if it comes next, after spaces.
    fn next_is(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.rest().first() == Some(&byte);
        self.place += usize::from(found);
        found
    }

    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), NpyError> {
        if self.next_is(byte) { Ok(()) } else { Err(self.error(expected)) }
    }

    fn string(&mut self, expected: &'static str) -> Result<String, NpyError> {
        self.skip_space();
        let quoted = match self.rest() {
            [quote @ (b'\'' | b'"'), rest @ ..] => {
                rest.iter().position(|byte| byte == quote).map(|end| &rest[..end])
            }
            _ => None,
        };
        let quoted = quoted.ok_or_else(|| self.error(expected))?;
        let text = String::from_utf8_lossy(quoted).into_owned();
        self.place += quoted.len() + 2;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, NpyError> {
        self.skip_space();
        for (word, value) in [("False", false), ("True", true)] {
            if self.rest().starts_with(word.as_bytes()) {
                self.place += word.len();
                return Ok(value);
            }
        }
        Err(self.error("True or False"))
    }

    fn tuple(&mut self) -> Result<Vec<usize>, NpyError> {
        self.take(b'(', "'('")?;
        let mut shape = Vec::new();
        while !self.next_is(b')') {
            let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
            let number = std::str::from_utf8(&self.rest()[..digits]).ok().and_then(|text| text.parse().ok());
            shape.push(number.ok_or_else(|| self.error("a dimension that fits 64 bits, or ')'"))?);
            self.place += digits;
            if !self.next_is(b',') {
                self.take(b')', "',' or ')'")?;
                break;
            }
        }
        Ok(shape)
    }

    fn error(&self, expected: &'static str) -> NpyError {
        let rest = self.rest();
        let found = String::from_utf8_lossy(&rest[..rest.len().min(16)]).into_owned();
        NpyError::Header { offset: self.start + self.place, found, expected }
    }
}

impl Array {
    /// The bytes of a file.
    pub fn to_file(&self) -> Vec<u8> {
        let comma = if self.shape.len() == 1 { "," } else { "" };
        let shape = self.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let header = format!(
            "{{'descr': '{}', 'fortran_order': False, 'shape': ({shape}{comma}), }}",
            self.kind.name()
        );
        // The elements begin at a multiple of 64 bytes.
        let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
        let mut file = MAGIC.to_vec();
        file.extend([1, 0]);
        file.extend(u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
        file.extend(format!("{header:<width$}\n", width = length - 1).as_bytes());
        file.extend(&self.bytes);
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array() -> Array {
        Array { kind: ElementKind::F32, shape: vec![2, 3], bytes: (0..24).collect() }
    }

    #[test]
    fn round_trips_and_is_what_numpy_writes() {
        for shape in [vec![], vec![24], vec![2, 3, 4], vec![0, 5]] {
            let elements = shape.iter().product();
            let array = Array { kind: ElementKind::I8, shape, bytes: (0..24).take(elements).collect() };
            assert_eq!(parse(&array.to_file()), Ok(array));
        }
        // numpy.save(file, numpy.arange(3, dtype='i1')), NumPy 2.3.
        let mut numpy =
            b"\x93NUMPY\x01\x00\x76\x00{'descr': '|i1', 'fortran_order': False, 'shape': (3,), }".to_vec();
        numpy.resize(127, b' ');
        numpy.extend(b"\n\x00\x01\x02");
        assert_eq!(Array { kind: ElementKind::I8, shape: vec![3], bytes: vec![0, 1, 2] }.to_file(), numpy);
    }

    #[test]
    fn every_truncation_and_every_byte_changed_is_an_error_or_an_array() {
        let file = array().to_file();
        for end in 0..file.len() {
            assert!(parse(&file[..end]).is_err(), "{end}");
        }
        for place in 0..file.len() {
            for value in [0, b'\'', b'(', b'9', b'}', 255] {
                let mut changed = file.clone();
                changed[place] = value;
                if let Ok(found) = parse(&changed) {
                    let elements: usize = found.shape.iter().product();
                    assert_eq!(found.bytes.len(), elements * found.kind.bytes());
                }
            }
        }
    }

    #[test]
    fn errors_name_the_place() {
        let error = |from: &str, to: &str| {
            let file: Vec<char> = array().to_file().iter().map(|&byte| char::from(byte)).collect();
            let text = String::from_iter(file).replacen(from, to, 1);
            parse(&text.chars().map(|char| char as u8).collect::<Vec<_>>()).unwrap_err().to_string()
        };
        assert!(error("NUMPY", "numpy").starts_with("byte 0: found"));
        assert!(error("<f4", "<f8").contains("\"<f8\", expected '|i1'"));
        assert!(error("False", "True ").contains("Fortran order"));
        assert!(error("(2, 3)", "(2, 9)").contains("ends at byte 152, expected 200 bytes"));
        assert!(error("(2, 3)", "(2, 1)").contains("152 bytes, expected 136"));
        assert!(error("(2, 3)", "(2, -)").contains("byte 64: found \"-), }"));
        assert!(error("'shape'", "'shade'").contains("expected one of the keys"));
        let huge = "(99999999999999, 99999999999999), }";
        assert!(error("(2, 3), }                         ", huge).contains("too many elements"));
    }
}
