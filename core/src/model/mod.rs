//! The model file: one postcard message that is read in place.
//!
//! [`Model::from_bytes`] validates everything once, whatever the bytes are; what runs after it trusts the result.
//! `docs/model-format.md` specifies the format byte by byte.

mod entry;
mod error;
mod header;
mod include;
mod metadata;
mod validate;
mod write;

use core::marker::PhantomData;

pub use entry::{Entries, Entry, EntryKind, MAX_ENTRY_OPERANDS, Steps};
pub use error::{LoadError, Place};
pub use header::{ALIGNMENT, CHECKSUM_START, HEADER_BYTES, Header, MAGIC, MemoryLengths, VERSION, ZEROS};
pub use metadata::{Metadata, Preprocessing};
pub use write::{ModelParts, NewEntry, WriteError, write};

use crate::ops::{AllOperators, Operators};

/// A validated model: a view of the file's bytes that can be run.
///
/// `O` is the set of operators that are linked: [`AllOperators`] for files loaded at run time, the type that
/// [`include_model!`](crate::include_model) makes for a file that is built in.
pub struct Model<'m, O = AllOperators> {
    header: Header,
    metadata: &'m [u8],
    entries: &'m [u8],
    steps: &'m [u8],
    weights: &'m [u8],
    operators: PhantomData<fn() -> O>,
}

impl<O> Clone for Model<'_, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Model<'_, O> {}

impl<O> core::fmt::Debug for Model<'_, O> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Model").field("header", &self.header).finish_non_exhaustive()
    }
}

impl<'m, O: Operators> Model<'m, O> {
    /// Validates a model file.
    ///
    /// `file` must lie at an address that is a multiple of 16 (see [`Aligned`](crate::Aligned)). Takes time in proportion to the
    /// file, and no memory but stack.
    ///
    /// # Errors
    /// The first thing that is wrong; see [`LoadError`].
    pub fn from_bytes(file: &'m [u8]) -> Result<Self, LoadError> {
        validate::validate(file)
    }

    /// A view of a model file that is taken for what it says it is: nothing is checked but that there is a header and that the sections lie
    /// in the file.
    ///
    /// For a file whose origin vouches for it, as one that is built into the program ([`include_model!`](crate::include_model)).
    /// It needs a tenth of the code and none of the time of [`from_bytes`](Self::from_bytes). Memory safety does not depend on the file: one
    /// that is not valid gives wrong results, or an error of [`Session::run`](crate::Session::run), but no panic.
    ///
    /// # Errors
    /// As [`Header::read`]; [`LoadError::Section`].
    pub const fn trusted(file: &'m [u8]) -> Result<Self, LoadError> {
        let header = match Header::read(file) {
            Ok(header) => header,
            Err(error) => return Err(error),
        };
        macro_rules! section {
            ($start:ident..$end:ident) => {{
                let (start, end) = (header.$start as usize, header.$end as usize);
                let error = Err(LoadError::Section { offset: start });
                let Some((bytes, _)) = file.split_at_checked(end) else { return error };
                let Some((_, bytes)) = bytes.split_at_checked(start) else { return error };
                bytes
            }};
        }
        Ok(Self {
            header,
            metadata: section!(metadata_offset..entries_offset),
            entries: section!(entries_offset..steps_offset),
            steps: section!(steps_offset..steps_end),
            weights: section!(weights_offset..file_bytes),
            operators: PhantomData,
        })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the file says about itself.
    pub fn metadata(&self) -> Metadata<'m> {
        // A validated file's metadata do decode.
        postcard::from_bytes(self.metadata).unwrap_or_default()
    }

    /// The entries.
    pub fn entries(&self) -> Entries<'m> {
        Entries::new(self.entries)
    }

    /// The entry of this kind.
    pub fn entry(&self, kind: EntryKind) -> Option<Entry<'m>> {
        self.entries().flatten().find(|entry| entry.kind == kind)
    }

    /// The steps of an entry, read in place one at a time.
    pub fn steps(&self, entry: &Entry<'_>) -> Steps<'m> {
        let start = usize::try_from(entry.steps_offset).unwrap_or(usize::MAX);
        Steps::new(self.steps.get(start..).unwrap_or_default(), entry.step_count)
    }

    /// The weights block: the constant space.
    pub fn constant(&self) -> &'m [u8] {
        self.weights
    }

    /// The first values of the parameters, if they are not zeros.
    pub fn initial_parameters(&self) -> Option<&'m [u8]> {
        self.initial(self.header.initial_parameters, self.header.memory.parameter)
    }

    /// The first values of the state, if they are not zeros.
    pub fn initial_state(&self) -> Option<&'m [u8]> {
        self.initial(self.header.initial_state, self.header.memory.state)
    }

    fn initial(&self, offset: u32, length: u32) -> Option<&'m [u8]> {
        if offset == ZEROS { None } else { range(self.weights, offset, length) }
    }

    /// Bytes of memory that a [`Session`](crate::Session) of this model needs.
    pub fn arena_bytes(&self) -> usize {
        self.header.memory.total().map_or(usize::MAX, |total| total as usize)
    }
}

/// `bytes[offset..][..length]`, if it is there.
fn range(bytes: &[u8], offset: u32, length: u32) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(length).ok()?)?)
}
