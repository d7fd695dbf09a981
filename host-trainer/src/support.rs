//! Which operators there are, in which forms: what `docs/operator-support.md` is made of.

use std::fmt::{self, Write};

use smidgen::Operator;

use crate::graph::{Graph, GraphOp, Role, TensorId, Value};
use crate::tflite;

/// An operator of the core and its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreOperator {
    /// The name of the form that is neither int8 nor a gradient.
    pub name: &'static str,
    /// The form in f32, or of any element type.
    pub plain: Option<Operator>,
    /// The int8 form.
    pub int8: Option<Operator>,
    /// The gradients.
    pub gradients: Vec<Operator>,
}

/// The operators of the core by their names: `conv_2d`, `conv_2d_i8` and `conv_2d_grad_input` are one.
pub fn core_operators() -> Vec<CoreOperator> {
    let mut found: Vec<CoreOperator> = Vec::new();
    for &operator in Operator::ALL {
        let name = operator.name();
        let base = name.split_once("_grad").map_or(name, |(base, _)| base);
        let base = base.strip_suffix("_i8").unwrap_or(base);
        let index = found.iter().position(|row| row.name == base).unwrap_or_else(|| {
            found.push(CoreOperator { name: base, plain: None, int8: None, gradients: Vec::new() });
            found.len() - 1
        });
        let row = &mut found[index];
        if name.ends_with("_i8") {
            row.int8 = Some(operator);
        } else if name == base {
            row.plain = Some(operator);
        } else {
            row.gradients.push(operator);
        }
    }
    found
}

/// The instruction sets for which an operator has a kernel of its own. On every other one its portable kernel runs, with the same bits.
pub fn fast_kernels(operator: Operator) -> &'static [&'static str] {
    use Operator as Op;
    match operator {
        // One source for all of them, compiled for each: `core/src/kernels/isa.rs`.
        Op::Conv2d
        | Op::DepthwiseConv2d
        | Op::FullyConnected
        | Op::TransposeConv
        | Op::Conv2dGradInput
        | Op::Conv2dGradWeights
        | Op::DepthwiseConv2dGradInput
        | Op::DepthwiseConv2dGradWeights
        | Op::FullyConnectedGradInput
        | Op::FullyConnectedGradWeights
        | Op::TransposeConvGradInput
        | Op::TransposeConvGradWeights
        | Op::GradBias
        | Op::MaxPool2d
        | Op::MaxPool2dGrad
        | Op::AveragePool2d
        | Op::AveragePool2dGrad
        | Op::BatchNorm
        | Op::BatchNormStatistics
        | Op::BatchNormNormalize
        | Op::BatchNormGradStatistics
        | Op::BatchNormGradInput
        | Op::SoftmaxGrad
        | Op::ActivationF32
        | Op::ActivationGrad
        | Op::AddF32
        | Op::Sgd
        | Op::Adam => &["AVX2", "AVX-512", "NEON"],
        // `core/src/kernels/int8/helium/`.
        Op::Conv2dVectorPairsI8
        | Op::FullyConnectedVectorPairsI8
        | Op::FullyConnectedEightsI8
        | Op::DepthwiseConv2dSixteensI8 => &["Helium"],
        // `core/src/kernels/int8/sums.rs`.
        Op::AveragePool2dI8 | Op::MeanBandI8 => &["Helium", "Armv7E-M", "Armv8-M with DSP"],
        // `core/src/kernels/int8/dsp/`.
        Op::Conv2dPairsI8
        | Op::FullyConnectedPairsI8
        | Op::FullyConnectedDoublePairsI8
        | Op::DepthwiseConv2dQuadsI8 => &["Armv7E-M", "Armv8-M with DSP"],
        // `core/src/kernels/int8/armv7m/` and `armv6m/`; `blocks.rs`.
        Op::Conv2dRowsI8 | Op::FullyConnectedFoursI8 | Op::FullyConnectedI8 => &["Armv7-M", "Armv6-M"],
        Op::DepthwiseConv2dTapsI8 => &["Armv7-M", "Armv7E-M", "Armv8-M with DSP", "Armv6-M"],
        _ => &[],
    }
}

/// In which forms an operator of TensorFlow Lite's is there, as far as the examples show that were shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forms {
    /// An int8 example is imported.
    pub int8: bool,
    /// A float32 example is imported.
    pub float: bool,
    /// Training goes back through a float32 example.
    pub backward: bool,
}

/// `graph` with a trained parameter added to its f32 inputs: to train it, the gradient has to come back through everything.
///
/// `None` if no input is f32.
pub fn with_trained_inputs(mut graph: Graph) -> Option<Graph> {
    let inputs: Vec<TensorId> = graph
        .inputs
        .iter()
        .copied()
        .filter(|&input| graph.tensor(input).element_type == smidgen::ElementType::F32)
        .collect();
    let readers = graph.nodes.clone();
    graph.nodes.clear();
    for &input in &inputs {
        let shape = graph.tensor(input).shape;
        let value = Value::F32(vec![0.5; shape.elements()?]);
        let name = format!("trained_{}", input.0);
        let parameter = graph.add_value(format!("{name}/weights"), shape, Role::Weights, value);
        let sum = graph.add_activation(name.clone(), shape);
        let activation = smidgen::ops::activation::Activation::None;
        graph.add_node(name, GraphOp::Add { activation }, vec![input, parameter], sum);
    }
    let sums: Vec<TensorId> = graph.nodes.iter().map(|node| node.output).collect();
    for mut node in readers {
        for read in &mut node.inputs {
            if let Some(index) = inputs.iter().position(|input| input == read) {
                *read = sums[index];
            }
        }
        graph.nodes.push(node);
    }
    (!inputs.is_empty()).then_some(graph)
}

/// The page, of the operators of TensorFlow Lite's with their forms.
///
/// # Errors
/// None: text can always be written.
pub fn page(forms: impl Fn(&str) -> Forms) -> Result<String, fmt::Error> {
    let mut page = String::from(INTRODUCTION);
    let mut names = tflite::operator_names();
    names.sort();
    for name in names {
        let Forms { int8, float, backward } = forms(&name);
        writeln!(page, "| `{name}` | {} | {} | {} |", mark(int8), mark(float), mark(backward))?;
    }
    page.push_str(CORE);
    for CoreOperator { name, plain, int8, gradients } in core_operators() {
        let codes = |operators: &[Operator]| {
            let codes: Vec<String> = operators.iter().map(|&operator| (operator as u8).to_string()).collect();
            codes.join(", ")
        };
        let all: Vec<Operator> = plain.into_iter().chain(int8).chain(gradients.iter().copied()).collect();
        writeln!(
            page,
            "| `{name}` | {} | {} | {} | {} |",
            codes(&Vec::from_iter(plain)),
            codes(&Vec::from_iter(int8)),
            codes(&gradients),
            kernels(&all)
        )?;
    }
    Ok(page)
}

fn mark(there: bool) -> &'static str {
    if there { "yes" } else { "" }
}

/// The instruction sets of a row's fast kernels, with the codes that have them where not all do.
fn kernels(operators: &[Operator]) -> String {
    let mut sets: Vec<(&'static [&'static str], Vec<Operator>)> = Vec::new();
    for &operator in operators {
        let fast = fast_kernels(operator);
        match sets.iter_mut().find(|(found, _)| *found == fast) {
            Some((_, of)) => of.push(operator),
            None => sets.push((fast, vec![operator])),
        }
    }
    sets.retain(|(fast, _)| !fast.is_empty());
    let texts = sets.into_iter().map(|(fast, of)| {
        let codes: Vec<String> = of.iter().map(|&operator| (operator as u8).to_string()).collect();
        let all = of.len() == operators.len();
        if all { fast.join(", ") } else { format!("{} ({})", fast.join(", "), codes.join(", ")) }
    });
    texts.collect::<Vec<_>>().join("; ")
}

const INTRODUCTION: &str = "# Which operators there are

This page is made from the code and held against it by the test `host-trainer/tests/operator_support.rs`, which also writes it:
`SMIDGEN_WRITE=1 cargo test -p smidgen-trainer --test operator_support`. [operators.md](operators.md) says what each operator of the core computes.

## Operators of TensorFlow Lite

What `smidgen import` takes. \"yes\" means that a file of `tests/tflite` with this operator in this type is imported, and gives what TensorFlow Lite Micro gives; under
\"backward\", that training goes back through one of the float32 files to its inputs. Every operator runs on every target.

| operator | int8 | float32 | backward |
|---|---|---|---|
";

const CORE: &str = "
## Operators of the core

Numbers are the operators' codes. Every form has a portable kernel, for every target; the last column names the instruction sets that have a kernel of their own, with the
same bits.

| operator | f32 or any type | int8 | backward | fast kernels |
|---|---|---|---|---|
";
