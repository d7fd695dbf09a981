//! Training: programs run over chunks of a batch on all cores, the loop around them, and what it writes.

mod checkpoint;
mod executor;
mod feed;
pub mod files;
mod fit;
mod team;

pub use checkpoint::{Checkpoint, CheckpointError, EpochRecord, Progress, Snapshot};
pub use executor::{Driver, Executor, ExecutorError, Feed, LossSum, Pass, Targets};
pub use feed::ImageFeed;
pub use fit::{Ending, Fit, FitError, StepReport, Watch, fit, hold_out};
