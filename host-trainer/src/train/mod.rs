//! Training: programs run over chunks of a batch on all cores, the loop around them, and what it writes.

mod average;
mod checkpoint;
mod executor;
mod feed;
pub mod files;
mod fit;
mod rate_finder;
mod teacher;
mod team;
mod tensorboard;

pub use average::{RunningTensor, running_tensors};
pub use checkpoint::{Checkpoint, CheckpointError, EpochRecord, Progress, Snapshot};
pub use executor::{Driver, Executor, ExecutorError, Feed, LossSum, Pass, Targets};
pub use feed::{ImageFeed, Values};
pub use fit::{Ending, Fit, FitError, Fitted, StepReport, Watch, fit, held_out, hold_out};
pub use rate_finder::{RateSearch, RateTrial, find_rate};
pub use teacher::Teacher;
pub use tensorboard::EventFile;
