use crate::compile::calibrate::CalibrationError;
use crate::graph::GraphError;

/// Why a graph was not quantized.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The ranges of the activations were not found.
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    /// Not a valid graph, before or after.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An operator that has no int8 form here.
    #[error("layer {layer}: {operator} has no int8 form; {advice}")]
    Unsupported {
        /// Name of the layer.
        layer: String,
        /// Name of the operator.
        operator: &'static str,
        /// What to do about it.
        advice: &'static str,
    },
    /// No range, or one that is no range, for an activation.
    #[error("tensor {tensor:?} has no range of finite numbers; calibrate this very graph")]
    NoRange {
        /// Name of the tensor.
        tensor: String,
    },
    /// Weights or a bias with an infinity or a NaN in them, or that are no constants.
    #[error("tensor {tensor:?} has no finite constant values")]
    NotFinite {
        /// Name of the tensor.
        tensor: String,
    },
    /// The scales of a layer are too far apart.
    #[error(
        "layer {layer}: its output's scale {scale:e} is too small for what it can compute; the samples of the calibration hardly excite it"
    )]
    Scale {
        /// Name of the layer.
        layer: String,
        /// The output's scale.
        scale: f32,
    },
}
