//! The f32 steps of layers that have weights: how a convolution's, a depthwise convolution's and a fully connected layer's operands are
//! read and checked is the same.

use super::activation::Activation;
use super::call::{CallError, Tensor, holds, unchecked};
use super::operands::{all_are, reads_with_bias};
use crate::geometry::Window;
use crate::memory::{Memory, Views, elements, elements_mut};
use crate::operand::{ElementType, Shape};
use crate::step::{Step, StepError};

/// Shapes of a layer with weights: input, filter, output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shapes {
    pub(super) input: Shape,
    pub(super) filter: Shape,
    pub(super) output: Shape,
}

impl Shapes {
    /// Checks what all convolutions ask of their shapes; whether the filter's fits `window` and the channels is the caller's to know. A window
    /// that does not fit the input once counts as an output of a wrong shape.
    pub(super) fn check_convolution(&self, window: Window, filter_fits: bool) -> Result<(), Tensor> {
        let ([n, ..], [.., c_out], [out_n, .., out_c]) = (self.input.0, self.filter.0, self.output.0);
        if self.input.has_zero() || self.input.elements().is_none() {
            return Err(Tensor::Input);
        }
        if !filter_fits || self.filter.has_zero() || self.filter.elements().is_none() {
            return Err(Tensor::Filter);
        }
        let Window { y, x } = window;
        let output_fits = out_n == n
            && out_c == c_out
            && y.dilation > 0
            && x.dilation > 0
            && window.fits(self.input, self.output);
        if output_fits && self.output.elements().is_some() { Ok(()) } else { Err(Tensor::Output) }
    }
}

/// Computes a layer's output from input, filter and bias.
pub(super) type Forward<L> = fn(&L, &[f32], &[f32], Option<&[f32]>, &mut [f32]) -> Result<(), CallError>;
/// Computes a gradient from two tensors.
pub(super) type Gradient<L> = fn(&L, &[f32], &[f32], &mut [f32]) -> Result<(), CallError>;

/// A layer with weights, in f32.
pub(super) trait Weighted: Sized {
    /// Whether the attributes of its steps begin with a window.
    const HAS_WINDOW: bool;
    /// The output, from input, filter and bias.
    const FORWARD: Forward<Self>;
    /// The gradient with respect to the input, from that of the output and the filter.
    const GRAD_INPUT: Gradient<Self>;
    /// The gradient with respect to the filter, from the input and the gradient of the output.
    const GRAD_WEIGHTS: Gradient<Self>;

    /// The layer with these parameters.
    fn new(shapes: Shapes, window: Window, activation: Activation) -> Self;

    /// Its shapes.
    fn shapes(&self) -> Shapes;

    /// Whether the shapes follow from each other; if not, one that does not.
    fn check(&self) -> Result<(), Tensor>;

    /// The layer of a step with these attributes. Those of a gradient's step have no activation.
    fn read(shapes: Shapes, attributes: &[i32], is_forward: bool) -> Result<Self, StepError> {
        let (window, rest) =
            if Self::HAS_WINDOW { Window::read(attributes)? } else { (Window::ONE, attributes) };
        let first = attributes.len().saturating_sub(rest.len()) as u8;
        let (activation, rest) =
            if is_forward { Activation::read(rest, first)? } else { (Activation::None, rest) };
        nothing_more(attributes, rest)?;
        Ok(Self::new(shapes, window, activation))
    }

    /// Checks the shapes, and that slices of these lengths hold them.
    fn check_call(&self, input: usize, filter: usize, output: usize) -> Result<(), CallError> {
        self.check().map_err(|tensor| CallError::Shape { tensor })?;
        let shapes = self.shapes();
        holds(Tensor::Input, shapes.input, input)?;
        holds(Tensor::Filter, shapes.filter, filter)?;
        holds(Tensor::Output, shapes.output, output)
    }

    /// Checks that a bias of this length is one per output channel.
    fn check_bias(&self, bias: Option<&[f32]>) -> Result<(), CallError> {
        let [.., channels] = self.shapes().output.0;
        bias.map_or(Ok(()), |bias| holds(Tensor::Bias, Shape::vector(channels), bias.len()))
    }
}

/// Checks that `rest` of the attributes is empty.
pub(super) fn nothing_more(attributes: &[i32], rest: &[i32]) -> Result<(), StepError> {
    let (expected, found) = (attributes.len().saturating_sub(rest.len()), attributes.len());
    if rest.is_empty() {
        Ok(())
    } else {
        Err(StepError::AttributeCount { expected: expected as u8, found: found as u8 })
    }
}

fn forward_layer<L: Weighted>(step: Step<'_>) -> Result<L, StepError> {
    let ((input, filter, _), [output]) = (reads_with_bias(step)?, step.writes()?);
    let shapes = Shapes { input: input.shape, filter: filter.shape, output: output.shape };
    L::read(shapes, step.attributes, true)
}

fn grad_input_layer<L: Weighted>(step: Step<'_>) -> Result<L, StepError> {
    let ([grad_output, filter], [grad_input]) = (step.reads()?, step.writes()?);
    let shapes = Shapes { input: grad_input.shape, filter: filter.shape, output: grad_output.shape };
    L::read(shapes, step.attributes, false)
}

fn grad_weights_layer<L: Weighted>(step: Step<'_>) -> Result<L, StepError> {
    let ([input, grad_output], [grad_weights]) = (step.reads()?, step.writes()?);
    let shapes = Shapes { input: input.shape, filter: grad_weights.shape, output: grad_output.shape };
    L::read(shapes, step.attributes, false)
}

/// Checks types and shapes; `operands` are the places of input, filter and output among the step's operands.
fn check_layer<L: Weighted>(layer: &L, step: Step<'_>, operands: [u8; 3]) -> Result<(), StepError> {
    all_are(step, ElementType::F32)?;
    let [input, filter, output] = operands;
    layer.check().map_err(|tensor| StepError::Shape {
        operand: match tensor {
            Tensor::Input => input,
            Tensor::Filter => filter,
            Tensor::Bias | Tensor::Output => output,
        },
    })
}

pub(super) fn check<L: Weighted>(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    let layer = forward_layer::<L>(step)?;
    check_layer(&layer, step, [0, 1, step.reads.len() as u8])?;
    let (_, _, bias) = reads_with_bias(step)?;
    let [.., channels] = layer.shapes().output.0;
    match bias {
        Some(bias) if bias.shape != Shape::vector(channels) => Err(StepError::Shape { operand: 2 }),
        _ => Ok(()),
    }
}

pub(super) fn check_grad_input<L: Weighted>(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    check_layer(&grad_input_layer::<L>(step)?, step, [2, 1, 0])
}

pub(super) fn check_grad_weights<L: Weighted>(step: Step<'_>, _constant: &[u8]) -> Result<(), StepError> {
    check_layer(&grad_weights_layer::<L>(step)?, step, [0, 2, 1])
}

pub(super) fn run<L: Weighted>(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let layer = forward_layer::<L>(step)?;
    let ((input, filter, bias), [output]) = (reads_with_bias(step)?, step.writes()?);
    if let Some(bias) = bias {
        let Views { reads: [input, filter, bias], writes: [output] } =
            memory.views([input, filter, bias], [output])?;
        let bias = Some(elements(bias)?);
        L::FORWARD(&layer, elements(input)?, elements(filter)?, bias, elements_mut(output)?)
            .map_err(unchecked)
    } else {
        let Views { reads: [input, filter], writes: [output] } = memory.views([input, filter], [output])?;
        L::FORWARD(&layer, elements(input)?, elements(filter)?, None, elements_mut(output)?)
            .map_err(unchecked)
    }
}

pub(super) fn run_grad_input<L: Weighted>(step: Step<'_>, memory: &mut Memory<'_>) -> Result<(), StepError> {
    let ([grad_output, filter], [grad_input]) = (step.reads()?, step.writes()?);
    let Views { reads: [grad_output, filter], writes: [grad_input] } =
        memory.views([grad_output, filter], [grad_input])?;
    let layer = grad_input_layer::<L>(step)?;
    L::GRAD_INPUT(&layer, elements(grad_output)?, elements(filter)?, elements_mut(grad_input)?)
        .map_err(unchecked)
}

pub(super) fn run_grad_weights<L: Weighted>(
    step: Step<'_>,
    memory: &mut Memory<'_>,
) -> Result<(), StepError> {
    let ([input, grad_output], [grad_weights]) = (step.reads()?, step.writes()?);
    let Views { reads: [input, grad_output], writes: [grad_weights] } =
        memory.views([input, grad_output], [grad_weights])?;
    let layer = grad_weights_layer::<L>(step)?;
    L::GRAD_WEIGHTS(&layer, elements(input)?, elements(grad_output)?, elements_mut(grad_weights)?)
        .map_err(unchecked)
}
