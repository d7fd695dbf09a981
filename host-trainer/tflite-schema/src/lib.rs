//! TensorFlow Lite's file format, as much of it as smidgen needs: `schema.fbs`, and what planus generates from it.
//!
//! A crate of its own, because generated code has `unsafe` (implementations of planus's traits, no pointers) and is not held to the workspace's lints, and so that it
//! is compiled once. Every accessor of a `…Ref` checks its bounds and returns an error with the table, the field and the byte offset; it reads nothing
//! before it is called. After a change of the schema: `make tflite-schema`.
#![allow(clippy::all, clippy::pedantic, dead_code, unreachable_pub)]

pub use planus;

mod generated;
mod operator_names;

pub use generated::tflite::*;
pub use operator_names::OPERATOR_NAMES;

/// The bytes of a file.
pub fn to_file(model: &Model) -> Vec<u8> {
    let mut file = planus::Builder::new().finish(model, Some(IDENTIFIER)).to_vec();
    // planus 1.3 puts the identifier before the root's offset, the format behind it.
    if let Some([identifier, offset]) =
        file.as_chunks_mut().0.get_mut(..2).and_then(|head| head.as_mut_array())
    {
        if *identifier == IDENTIFIER {
            *identifier = (u32::from_le_bytes(*offset) + 4).to_le_bytes();
            *offset = IDENTIFIER;
        }
    }
    file
}

/// What stands at byte 4 of every file.
pub const IDENTIFIER: [u8; 4] = *b"TFL3";

/// A table that knows where it is.
pub trait Place {
    /// Offset of the table in the file, in bytes.
    fn byte_offset(&self) -> usize;
}

/// A field that no table has: a vtable has at most 65,535 bytes, two for each field.
const NO_FIELD: usize = 1 << 16;

macro_rules! place {
    ($($table:ident)*) => {$(
        impl Place for $table<'_> {
            fn byte_offset(&self) -> usize {
                // planus tells a table's place in errors only.
                let absent = self.0.access_required::<u8>(NO_FIELD, stringify!($table), "");
                absent.err().map_or(0, |error| error.source_location.byte_offset)
            }
        }
    )*};
}

place!(ModelRef SubGraphRef TensorRef OperatorRef OperatorCodeRef BufferRef QuantizationParametersRef MetadataRef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_with_the_roots_offset_and_the_identifier() {
        use planus::ReadAsRoot;
        let model = Model { version: 3, description: Some("empty".to_owned()), ..Model::default() };
        let file = to_file(&model);
        assert_eq!(file[4..8], IDENTIFIER);
        let found = ModelRef::read_as_root(&file).unwrap();
        assert_eq!(found.description().unwrap(), Some("empty"));
        assert_eq!(found.version().unwrap(), 3);
    }

    #[test]
    fn names_are_in_the_order_of_the_numbers() {
        assert_eq!(OPERATOR_NAMES.len(), BuiltinOperator::ENUM_VALUES.len());
        for (name, operator) in [
            ("ADD", BuiltinOperator::Add),
            ("DELEGATE", BuiltinOperator::Delegate),
            ("GELU", BuiltinOperator::Gelu),
            ("STABLEHLO_CASE", BuiltinOperator::StablehloCase),
        ] {
            assert_eq!(OPERATOR_NAMES[operator as usize], name);
        }
    }
}
