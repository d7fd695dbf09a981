//! smidgen: neural networks that fit in a smidgen of memory.
//!
//! This crate is what runs: on a microcontroller, and in the trainer that made the model, with the same bits. It has no heap, no `std` unless
//! asked for, and no panic: a network is a list of [steps](Step) over fixed memory, and everything hard was decided before, on the host, by
//! the crate `smidgen-trainer`.
//!
//! - A model file becomes a [`Model`] once, or an error: [`Model::from_bytes`] checks every byte, and what runs after it trusts it. Its weights
//!   stay where they are, in flash. [`include_model!`] builds a file into the program, with only those operators that it uses.
//! - A [`Session`] is a model and a block of the caller's memory, of [`Model::arena_bytes`] bytes. It runs the model's [entries](EntryKind):
//!   inference and, if the file has them, training, update and evaluation.
//! - The [operators](ops) are functions on slices too, to be called without any of that.
//!
//! ```
//! use smidgen::{Aligned, EntryKind, Model, Session};
//!
//! /// The place of the largest output for `input`.
//! fn classify(file: &[u8], memory: &mut [u8], input: &[f32]) -> Result<usize, Box<dyn std::error::Error>> {
//!     let model: Model<'_> = Model::from_bytes(file)?;
//!     let mut session = Session::new(model, memory)?;
//!     session.input_mut::<f32>(EntryKind::Infer, 0)?.copy_from_slice(input);
//!     session.run(EntryKind::Infer)?;
//!     let scores = session.output::<f32>(EntryKind::Infer, 0)?;
//!     Ok((0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b])).unwrap_or(0))
//! }
//!
//! # use smidgen::{ElementType, Metadata, NewStep, Operand, Operator, Preprocessing, Quantization, Schedule, Shape, Space};
//! # use smidgen::model::{MemoryLengths, ModelParts, NewEntry, write};
//! # let logits = Operand {
//! #     space: Space::Arena, element_type: ElementType::F32, offset: 0, shape: Shape::vector(3), quantization: Quantization::NONE,
//! # };
//! # let softmax = NewStep {
//! #     operator: Operator::Softmax as u8, schedule: Schedule::PerChunk, attributes: Default::default(),
//! #     reads: [logits].into_iter().collect(), writes: [logits].into_iter().collect(),
//! # };
//! # let parts = ModelParts {
//! #     metadata: Metadata {
//! #         name: "softmax", labels: "", step_names: "", provenance: "", preprocessing: Preprocessing::None,
//! #     },
//! #     entries: &[NewEntry {
//! #         kind: EntryKind::Infer, first_step: 0, step_count: 1, inputs: &[logits], outputs: &[logits],
//! #     }],
//! #     steps: &[softmax],
//! #     memory: MemoryLengths { arena: 16, ..MemoryLengths::default() },
//! #     weights: &[], initial_parameters: None, initial_state: None,
//! # };
//! # let mut file = Aligned([0; 512]);
//! # let length = write(&parts, &mut file.0)?;
//! # let file = &file.0[..length];
//! // A file lies at a multiple of 16 bytes, and so does the memory. This model needs 16 bytes of it.
//! let mut memory = Aligned([0; 16]);
//! assert_eq!(classify(file, &mut memory.0, &[0.5, 2.0, -1.0])?, 1);
//! assert!(classify(&file[1..], &mut memory.0, &[0.5, 2.0, -1.0]).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Begin reading at [`Step`] and [`Memory`], then [`Session`]; `ARCHITECTURE.md` is the map, `docs/` has the contracts.
//!
//! Features, all off by default: `simd` (the host's vector instructions, needs `std`), `defmt` (`defmt::Format` for the public types), `micromath`
//! (shorter `exp` and `ln`, not the same bits any more).
#![no_std]
#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)
)]

#[cfg(any(feature = "std", test))]
extern crate std;

pub mod checksum;
pub mod frontend;
pub mod geometry;
pub mod kernels;
pub mod learn;
mod memory;
pub mod model;
mod operand;
pub mod ops;
pub mod quantization;
mod session;
mod step;

// A model, and running it.
pub use model::{EntryKind, LoadError, Metadata, Model, Preprocessing};
pub use session::{Element, Observer, Session, SessionError};

// Learning on the device.
pub use learn::{LearnError, Learner, Loss, Outcome};

// What a model is made of.
pub use operand::{ElementType, Operand, Quantization, Shape, Space};
pub use ops::{AllOperators, CallError, InPlace, Operator, OperatorSet, Operators, Tensor};
pub use step::{MAX_ATTRIBUTES, MAX_READS, MAX_WRITES, NewStep, Schedule, Step, StepError};

// The memory that steps run over, for executors other than `Session`.
pub use memory::{
    Aligned, Bytes, ChunkList, Chunks, Elsewhere, HasSpaces, InOut, LayerViews, Memory, OtherSpaces,
    Partials, Views, elements, elements_mut,
};
