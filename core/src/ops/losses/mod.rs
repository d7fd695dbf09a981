//! Losses: each gives the chunk's sum and the gradient with respect to its input in one pass.

pub mod mean_squared_error;
pub mod softmax_cross_entropy;
