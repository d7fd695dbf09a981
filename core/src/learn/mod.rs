//! Learning on a device: one sample at a time, in the memory that the file says.
//!
//! `smidgen personalize` makes a file with the entries `train`, `update`, `evaluate` and `infer`; a [`Learner`] runs them. A sample whose loss or gradient is not
//! a finite number changes nothing and is counted; after several in a row the parameters go back to the last good ones. A [`Replay`] keeps
//! a few of the samples seen, so that new ones do not displace what was learned before. `docs/on-device-learning.md` has the whole story.

mod learner;
mod log;
mod replay;
#[cfg(feature = "storage")]
mod store;

pub use learner::{Counts, LearnError, Learner, Loss, Outcome, Policy, Score};
pub use log::{Log, LogRecord};
pub use replay::{Replay, Sample};
#[cfg(feature = "storage")]
pub use store::{Saved, Store, StoreError};
