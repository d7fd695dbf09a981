//! A model file built into the program.

/// Builds a model file into the program and makes a type for it.
///
/// The type has the file's numbers as constants, so that the caller's memory is a `static` of just the right length, and is
/// its own set of [`Operators`](crate::Operators): code of operators that the model does not use is not linked.
///
/// ```ignore
/// smidgen::include_model!(pub Digits = "../models/digits.smg");
///
/// static ARENA: StaticCell<Aligned<[u8; Digits::ARENA_BYTES]>> = StaticCell::new();
/// let mut session = Session::new(Digits::model(), &mut arena.0)?;
/// ```
///
/// The path is relative to the source file, as for `include_bytes!`. A file that is not a model does not compile,
/// nor does one with operators that this version of the crate does not have.
#[macro_export]
macro_rules! include_model {
    ($(#[$meta:meta])* $visibility:vis $name:ident = $path:expr) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug)]
        $visibility struct $name;

        impl $name {
            const LENGTH: usize = include_bytes!($path).len();

            const HEADER: $crate::model::Header = match $crate::model::Header::read(Self::file()) {
                Ok(header) if header.has_known_operators() => header,
                Ok(_) => panic!("the model uses operators that this version of smidgen does not have"),
                Err(_) => panic!("not a model file of this version"),
            };

            /// Bytes of memory that a session of this model needs.
            pub const ARENA_BYTES: usize = match Self::HEADER.memory.total() {
                Some(total) => total as usize,
                None => panic!("the model's memory does not fit 31 bits"),
            };

            /// Length of the input of one inference in bytes.
            pub const INPUT_BYTES: usize = Self::HEADER.input_bytes as usize;

            /// Length of the output of one inference in bytes.
            pub const OUTPUT_BYTES: usize = Self::HEADER.output_bytes as usize;

            /// Bytes of memory that its front end needs, 0 without one.
            pub const FRONT_END_BYTES: usize = Self::HEADER.front_end_bytes as usize;

            /// The model file, aligned.
            #[must_use]
            pub const fn file() -> &'static [u8] {
                static FILE: $crate::Aligned<[u8; $name::LENGTH]> = $crate::Aligned(*include_bytes!($path));
                &FILE.0
            }

            /// The model. What its header says was read by the compiler; the rest is trusted, as the program itself is: see
            /// [`Model::trusted`]($crate::model::Model::trusted).
            pub fn model() -> $crate::model::Model<'static, Self> {
                const {
                    match $crate::model::Model::trusted(Self::file()) {
                        Ok(model) => model,
                        Err(_) => panic!("the sections of the model file do not lie in it"),
                    }
                }
            }

            /// Validates the file as if it had been loaded: it may have been damaged in flash.
            ///
            /// # Errors
            /// What is wrong with it.
            pub fn validated() -> Result<$crate::model::Model<'static, Self>, $crate::model::LoadError> {
                $crate::model::Model::from_bytes(Self::file())
            }
        }

        impl $crate::Operators for $name {
            const SET: $crate::OperatorSet = Self::HEADER.operators;
            const ARENA_ONLY: bool = Self::HEADER.memory.arena_only();
        }
    };
}
