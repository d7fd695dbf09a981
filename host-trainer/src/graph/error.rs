use smidgen::{ElementType, Shape};

/// Why a graph is not one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A layer does not fit what stands before it, or was described wrongly.
    #[error("{network}: layer {layer}: {problem}")]
    Layer {
        /// Name of the network.
        network: String,
        /// Name of the layer.
        layer: String,
        /// What is wrong.
        problem: Problem,
    },
    /// Something about the graph as a whole.
    #[error("{network}: {problem}")]
    Graph {
        /// Name of the network.
        network: String,
        /// What is wrong.
        problem: Problem,
    },
}

/// What is wrong with a layer or a graph.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// An operator with a wrong number of inputs.
    #[error("it has {found} inputs, expected {expected}")]
    InputCount {
        /// What the operator takes.
        expected: &'static str,
        /// What the node has.
        found: usize,
    },
    /// The window is larger than the padded input.
    #[error(
        "a window of {extent_y}x{extent_x} does not fit the input of {height}x{width} (height x width) even once; use a smaller kernel or dilation, or pad"
    )]
    WindowTooLarge {
        /// Extent of the window over the height, less the padding.
        extent_y: usize,
        /// Extent of the window over the width, less the padding.
        extent_x: usize,
        /// Input height.
        height: usize,
        /// Input width.
        width: usize,
    },
    /// A kernel, stride, dilation, filter count or dimension of zero, or a padding as large as the window.
    #[error("{what} is {found}, expected {expected}")]
    Number {
        /// Which number.
        what: &'static str,
        /// Its value.
        found: usize,
        /// What it may be.
        expected: &'static str,
    },
    /// A rate out of its range.
    #[error("{what} is {found}, expected {expected}")]
    Rate {
        /// Which rate.
        what: &'static str,
        /// Its value.
        found: f32,
        /// What it may be.
        expected: &'static str,
    },
    /// A shape that does not follow from the others.
    #[error("{what} has shape {}, expected {}", dims(*.found), dims(*.expected))]
    Shape {
        /// Which tensor.
        what: &'static str,
        /// Its shape.
        found: Shape,
        /// What it has to be.
        expected: Shape,
    },
    /// A fully connected layer or a softmax on something that is not a vector.
    #[error(
        "the input has shape {}, expected a vector [1, 1, 1, C]; put flatten() or global_average_pool_2d() before it",
        dims(*.found)
    )]
    NotAVector {
        /// The input's shape.
        found: Shape,
    },
    /// A reshape that changes the number of elements.
    #[error("{} has {} elements, {} has {}", dims(*.input), .input.elements().unwrap_or(0), dims(*.output), .output.elements().unwrap_or(0))]
    Elements {
        /// The input's shape.
        input: Shape,
        /// The wanted shape.
        output: Shape,
    },
    /// A tensor with more elements than a 32-bit device can address.
    #[error("{what} of shape {} has more than {} elements", dims(*.shape), i32::MAX)]
    TooLarge {
        /// Which tensor.
        what: &'static str,
        /// Its shape.
        shape: Shape,
    },
    /// Elements that go from or to places that are not there.
    #[error("it moves elements from {} to {}, beyond the end of one of them", dims(*.input), dims(*.output))]
    Movement {
        /// The input's shape.
        input: Shape,
        /// The output's shape.
        output: Shape,
    },
    /// A tensor of the wrong element type.
    #[error("{what} is {found:?}, expected {expected:?}")]
    ElementType {
        /// Which tensor.
        what: &'static str,
        /// Its type.
        found: ElementType,
        /// What it has to be.
        expected: ElementType,
    },
    /// A tensor that lacks its quantization, its value or its producer, or has more than it should.
    #[error("tensor {tensor:?} {what}")]
    Tensor {
        /// Name of the tensor.
        tensor: String,
        /// What it lacks.
        what: &'static str,
    },
    /// A modifier after a layer that does not have it.
    #[error("{modifier} does not apply to it; it modifies {applies_to}")]
    Modifier {
        /// Name of the modifier.
        modifier: &'static str,
        /// What it modifies.
        applies_to: &'static str,
    },
    /// A modifier before any layer.
    #[error("{modifier} stands before the first layer; it modifies {applies_to}")]
    NoLayer {
        /// Name of the modifier.
        modifier: &'static str,
        /// What it modifies.
        applies_to: &'static str,
    },
    /// `add` or `from` of a tap that was not made.
    #[error("there is no tap {tap:?} before it; the taps are {}", list(.known))]
    NoTap {
        /// The name that was looked for.
        tap: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// Two taps of one name.
    #[error("tap {tap:?} was made before")]
    TapTwice {
        /// The name.
        tap: String,
    },
    /// A layer of a block.
    #[error("its {layer}: {problem}")]
    Inside {
        /// Name of the layer in the block.
        layer: String,
        /// What is wrong.
        problem: Box<Problem>,
    },
    /// A network without layers.
    #[error("the network has no layers")]
    Empty,
}

fn dims(shape: Shape) -> String {
    format!("{:?}", shape.0)
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
