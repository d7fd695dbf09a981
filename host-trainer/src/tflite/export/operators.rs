//! Steps as operators of TensorFlow Lite.

use smidgen::geometry::{Axis, Window};
use smidgen::ops::activation::Activation;
use smidgen::ops::function::Function;
use smidgen::ops::int8::Channel;
use smidgen::{ElementType, Model, Operand, Operator as Op, Quantization, Shape, Space, Step};
use smidgen_tflite_schema as schema;
use smidgen_tflite_schema::{ActivationFunctionType as Fused, BuiltinOperator, BuiltinOptions};

use super::scales::{Product, weight_scale};
use super::write::{NewOperator, NewQuantization, NewTensor, Tables};
use crate::graph::Range;
use crate::int8::{TableFunction, table as table_of};
use crate::tflite::import::fused_range;

/// Slopes that a table of leaky `ReLU` is looked for with.
const SLOPES: [f32; 8] = [0.01, 0.05, 0.1, 0.125, 0.2, 0.25, 0.3, 0.5];

/// A file in the making.
pub(super) struct Exporter<'m> {
    model: &'m Model<'m>,
    tables: Tables,
    /// What lies in memory: the operand as it was written, and its tensor.
    live: Vec<(Operand, usize)>,
}

type Outcome<T> = Result<T, String>;

impl<'m> Exporter<'m> {
    pub(super) fn new(model: &'m Model<'m>) -> Self {
        Self { model, tables: Tables::default(), live: Vec::new() }
    }

    pub(super) fn input(&mut self, position: usize, operand: &Operand) {
        let tensor = self.activation(operand, dims(operand, is_vector(operand)), format!("input_{position}"));
        self.tables.inputs.push(tensor);
        self.live.push((*operand, tensor));
    }

    pub(super) fn output(&mut self, position: usize, operand: &Operand) -> Outcome<()> {
        let rank = if is_vector(operand) { 2 } else { 4 };
        let tensor = self.read(operand, rank).or_else(|_| self.read(operand, 6 - rank))?;
        let name = &mut self.tables.tensors[tensor].name;
        *name = format!("output_{position}");
        self.tables.outputs.push(tensor);
        Ok(())
    }

    pub(super) fn finish(self) -> Tables {
        self.tables
    }

    pub(super) fn step(&mut self, step: &Step<'_>) -> Outcome<()> {
        match Op::from_code(step.operator) {
            Some(Op::Conv2dI8) => self.convolution(step, false),
            Some(Op::DepthwiseConv2dI8) => self.convolution(step, true),
            Some(Op::FullyConnectedI8) => self.fully_connected(step),
            Some(Op::MaxPool2dI8) => self.pool(step, BuiltinOperator::MaxPool2d),
            Some(Op::AveragePool2dI8) => self.pool(step, BuiltinOperator::AveragePool2d),
            Some(Op::AddI8 | Op::WeightedSumI8) => self.add(step),
            Some(Op::SoftmaxI8) => {
                let options = BuiltinOptions::SoftmaxOptions(Box::new(schema::SoftmaxOptions { beta: 1.0 }));
                self.unary(step, BuiltinOperator::Softmax, Some(options))
            }
            Some(Op::LookupI8) => self.lookup(step),
            Some(Op::Quantize) => self.unary(step, BuiltinOperator::Quantize, None),
            Some(Op::Dequantize) => self.unary(step, BuiltinOperator::Dequantize, None),
            Some(Op::Reshape) => {
                let ([input], [output]) = operands(step)?;
                let from = self.any(input)?;
                let to = self.write(output, dims(output, is_vector(output)))?;
                self.reshape(from, to);
                Ok(())
            }
            _ => Err("TensorFlow Lite has no such operator in int8, or it is not exported".to_owned()),
        }
    }

    fn convolution(&mut self, step: &Step<'_>, depthwise: bool) -> Outcome<()> {
        let ([input, filter, channels], [output]) = operands(step)?;
        let (window, range) = window_and_range(step)?;
        let (read, input_quantization) = (self.read(input, 4)?, input.quantization);
        let in_shape = self.tables.tensors[read].dims.clone();
        let (input, padding) = match padding(&window, &in_shape) {
            Ok(padding) => (read, padding),
            // The importer makes a pad of zeros part of the convolution behind it.
            Err(_) => (self.padded(input, read, &window)?, schema::Padding::Valid),
        };
        let fused = fused(range, output.quantization)?;
        let weights = self.constant(filter)?.to_vec();
        let records = self.records(channels)?;
        let out_c = records.len();
        let sums: Vec<i64> = if depthwise {
            (0..out_c).map(|c| sum(weights.iter().skip(c).step_by(out_c.max(1)))).collect()
        } else {
            weights.chunks_exact((weights.len() / out_c.max(1)).max(1)).map(|row| sum(row.iter())).collect()
        };
        let scales = scales(Product::F64, &records, input_quantization, output.quantization)?;
        let axis = if depthwise { 3 } else { 0 };
        let filter = self.weights(filter, weights, &scales, axis);
        let bias = self.bias(&records, &sums, input_quantization, &scales)?;
        let to = self.write(output, dims(output, false))?;
        let [stride_h, stride_w, dilation_h_factor, dilation_w_factor] =
            [window.y.stride, window.x.stride, window.y.dilation, window.x.dilation]
                .map(|value| value as i32);
        let quantized_bias_type = schema::TensorType::Float32;
        let (code, options) = if depthwise {
            let depth_multiplier = (out_c / (in_shape[3] as usize).max(1)) as i32;
            let options = schema::DepthwiseConv2DOptions {
                padding,
                stride_w,
                stride_h,
                depth_multiplier,
                fused_activation_function: fused,
                dilation_w_factor,
                dilation_h_factor,
            };
            (BuiltinOperator::DepthwiseConv2d, BuiltinOptions::DepthwiseConv2DOptions(Box::new(options)))
        } else {
            let options = schema::Conv2DOptions {
                padding,
                stride_w,
                stride_h,
                fused_activation_function: fused,
                dilation_w_factor,
                dilation_h_factor,
                quantized_bias_type,
            };
            (BuiltinOperator::Conv2d, BuiltinOptions::Conv2DOptions(Box::new(options)))
        };
        self.operator(code, 3, vec![input, filter, bias], to, Some(options));
        Ok(())
    }

    /// The tensor `read` of an image, with the window's padding around it.
    fn padded(&mut self, operand: &Operand, read: usize, window: &Window) -> Outcome<usize> {
        let dims = self.tables.tensors[read].dims.clone();
        let &[n, h, w, c] = dims.as_slice() else { return Err("its input is no image".to_owned()) };
        let amounts = [window.y, window.x].map(|axis| [axis.pad_before as i32, axis.pad_after as i32]);
        let [rows, columns] = amounts;
        let words = [[0, 0], rows, columns, [0, 0]].concat().into_iter().flat_map(i32::to_le_bytes);
        let index = self.tables.operators.len();
        let paddings = self.tables.add(NewTensor {
            name: format!("paddings_{index}"),
            dims: vec![4, 2],
            element_type: schema::TensorType::Int32,
            data: Some(words.collect()),
            quantization: None,
        });
        let dims = vec![n, h + rows.iter().sum::<i32>(), w + columns.iter().sum::<i32>(), c];
        let to = self.activation(operand, dims, format!("padded_{index}"));
        let options = BuiltinOptions::PadOptions(Box::new(schema::PadOptions {}));
        self.operator(BuiltinOperator::Pad, 2, vec![read, paddings], to, Some(options));
        Ok(to)
    }

    fn fully_connected(&mut self, step: &Step<'_>) -> Outcome<()> {
        let ([input, weights, channels], [output]) = operands(step)?;
        let &[min, max] = step.attributes else { return Err(packed()) };
        let fused = fused(to_range(min, max)?, output.quantization)?;
        let quantization = input.quantization;
        let from = self.any(input)?;
        let values = self.constant(weights)?.to_vec();
        let records = self.records(channels)?;
        let sums: Vec<i64> = values
            .chunks_exact((values.len() / records.len().max(1)).max(1))
            .map(|row| sum(row.iter()))
            .collect();
        // One scale is what every version of TensorFlow Lite takes.
        let factor = |record: &Channel| record.multiplier;
        let one = match records.split_first() {
            Some((first, rest)) if rest.iter().all(|record| factor(record) == factor(first)) => {
                weight_scale(Product::F32, quantization.scale, output.quantization.scale, first.multiplier)
            }
            _ => None,
        };
        let scales = match one {
            Some(scale) => vec![scale],
            None => scales(Product::F64, &records, quantization, output.quantization)?,
        };
        let bias = self.bias(&records, &sums, quantization, &scales)?;
        let filter = self.weights(weights, values, &scales, 0);
        let [out_c, _, _, in_c] = weights.shape.0;
        self.tables.tensors[filter].dims = vec![out_c as i32, in_c as i32];
        let [n, ..] = output.shape.0;
        let to = self.write(output, vec![n as i32, out_c as i32])?;
        let options = schema::FullyConnectedOptions {
            fused_activation_function: fused,
            weights_format: 0,
            keep_num_dims: false,
            asymmetric_quantize_inputs: false,
            quantized_bias_type: schema::TensorType::Float32,
        };
        let version = if scales.len() == 1 { 4 } else { 12 };
        let options = BuiltinOptions::FullyConnectedOptions(Box::new(options));
        self.operator(BuiltinOperator::FullyConnected, version, vec![from, filter, bias], to, Some(options));
        Ok(())
    }

    fn pool(&mut self, step: &Step<'_>, code: BuiltinOperator) -> Outcome<()> {
        let ([input], [output]) = operands(step)?;
        let (window, range) = window_and_range(step)?;
        if (window.y.dilation, window.x.dilation) != (1, 1) {
            return Err("its window is dilated, which pools of TensorFlow Lite are not".to_owned());
        }
        let from = self.read(input, 4)?;
        let padding = padding(&window, &self.tables.tensors[from].dims.clone())?;
        let fused = fused(range, output.quantization)?;
        let to = self.write(output, dims(output, false))?;
        let options = schema::Pool2DOptions {
            padding,
            stride_w: window.x.stride as i32,
            stride_h: window.y.stride as i32,
            filter_width: window.x.kernel as i32,
            filter_height: window.y.kernel as i32,
            fused_activation_function: fused,
        };
        self.operator(code, 2, vec![from], to, Some(BuiltinOptions::Pool2DOptions(Box::new(options))));
        Ok(())
    }

    /// What the sum's multipliers are follows from the scales; the comparison in the end would find another sum.
    fn add(&mut self, step: &Step<'_>) -> Outcome<()> {
        let ([left, right], [output]) = operands(step)?;
        let Some(&[min, max]) = step.attributes.last_chunk() else { return Err(packed()) };
        let fused = fused(to_range(min, max)?, output.quantization)?;
        let from = self.any(left)?;
        let rank = self.tables.tensors[from].dims.len();
        let other = self.read(right, rank)?;
        let to = self.write(output, dims(output, rank == 2))?;
        let options = schema::AddOptions { fused_activation_function: fused, pot_scale_int16: true };
        let options = BuiltinOptions::AddOptions(Box::new(options));
        self.operator(BuiltinOperator::Add, 2, vec![from, other], to, Some(options));
        Ok(())
    }

    fn lookup(&mut self, step: &Step<'_>) -> Outcome<()> {
        let (Some(input), Some(table), Some(output)) =
            (step.reads.first(), step.reads.get(1), step.writes.first())
        else {
            return Err(packed());
        };
        let (from, to) = (input.quantization, output.quantization);
        let bytes = self.constant(table)?;
        if [input, output].iter().any(|operand| operand.element_type != ElementType::I8) {
            return self.unary_of(input, output, BuiltinOperator::Quantize, None);
        }
        let is = |function: &TableFunction| {
            let found = table_of(*function, from, to);
            found.is_some_and(|found| found.iter().zip(bytes).all(|(a, &b)| a.cast_unsigned() == b))
        };
        let activations = [Activation::None, Activation::Relu, Activation::Relu6, Activation::ReluN1To1];
        let slopes = SLOPES.map(|alpha| Activation::LeakyRelu { alpha });
        let known = activations.into_iter().chain(slopes).map(TableFunction::Activation);
        let functions = Function::ALL.iter().copied().map(TableFunction::Function);
        let mut candidates = known.chain(functions);
        let found = candidates.find(is).and_then(operator_of);
        let (code, options) =
            found.ok_or("its table is that of no activation that TensorFlow Lite has in int8")?;
        self.unary_of(input, output, code, options)
    }

    fn unary(
        &mut self,
        step: &Step<'_>,
        code: BuiltinOperator,
        options: Option<BuiltinOptions>,
    ) -> Outcome<()> {
        let ([input], [output]) = operands(step)?;
        self.unary_of(input, output, code, options)
    }

    fn unary_of(
        &mut self,
        input: &Operand,
        output: &Operand,
        code: BuiltinOperator,
        options: Option<BuiltinOptions>,
    ) -> Outcome<()> {
        let from = self.any(input)?;
        let rank = self.tables.tensors[from].dims.len();
        let to = self.write(output, dims(output, rank == 2))?;
        self.operator(code, 2, vec![from], to, options);
        Ok(())
    }

    /// Adds an operator with one output.
    fn operator(
        &mut self,
        code: BuiltinOperator,
        version: i32,
        inputs: Vec<usize>,
        output: usize,
        options: Option<BuiltinOptions>,
    ) {
        self.tables.operators.push(NewOperator { code, version, inputs, output, options });
    }

    fn reshape(&mut self, from: usize, to: usize) {
        let new_shape = Some(self.tables.tensors[to].dims.clone());
        let words = self.tables.tensors[to].dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
        let rank = self.tables.tensors[to].dims.len();
        let shape = self.tables.add(NewTensor {
            name: format!("shape_{}", self.tables.operators.len()),
            dims: vec![rank as i32],
            element_type: schema::TensorType::Int32,
            data: Some(words),
            quantization: None,
        });
        let options = BuiltinOptions::ReshapeOptions(Box::new(schema::ReshapeOptions { new_shape }));
        self.operator(BuiltinOperator::Reshape, 1, vec![from, shape], to, Some(options));
    }

    /// The tensor that an operand reads, of whatever rank.
    fn any(&mut self, operand: &Operand) -> Outcome<usize> {
        let found = self.live.iter().find(|(live, _)| live.same_place(operand));
        let &(written, tensor) = found.ok_or("it reads what no step before it has written")?;
        if (written.shape, written.quantization) == (operand.shape, operand.quantization) {
            return Ok(tensor);
        }
        Ok(self.viewed(operand, tensor, dims(operand, is_vector(operand))))
    }

    /// The tensor that an operand reads, with two or four dimensions.
    fn read(&mut self, operand: &Operand, rank: usize) -> Outcome<usize> {
        let tensor = self.any(operand)?;
        if self.tables.tensors[tensor].dims.len() == rank {
            return Ok(tensor);
        }
        if rank == 2 && !is_vector(operand) {
            return Err("it works on pixels, where a vector is expected".to_owned());
        }
        Ok(self.viewed(operand, tensor, dims(operand, rank == 2)))
    }

    /// The same elements in other dimensions or with another quantization.
    fn viewed(&mut self, operand: &Operand, from: usize, dims: Vec<i32>) -> usize {
        let name = format!("reshape_{}", self.tables.operators.len());
        let to = self.activation(operand, dims, name);
        self.reshape(from, to);
        to
    }

    /// The tensor that an operand writes.
    fn write(&mut self, operand: &Operand, dims: Vec<i32>) -> Outcome<usize> {
        if !matches!(operand.space, Space::Arena) {
            return Err("it writes a state, or something that is trained".to_owned());
        }
        self.live.retain(|(live, _)| !live.overlaps(operand));
        let tensor = self.activation(operand, dims, format!("tensor_{}", self.tables.operators.len()));
        self.live.push((*operand, tensor));
        Ok(tensor)
    }

    fn activation(&mut self, operand: &Operand, dims: Vec<i32>, name: String) -> usize {
        let quantization = operand.quantization.some().map(|Quantization { scale, zero_point }| {
            NewQuantization { scales: vec![scale], zero_point: zero_point.into(), axis: 0 }
        });
        let element_type = match operand.element_type {
            ElementType::I8 => schema::TensorType::Int8,
            ElementType::U8 => schema::TensorType::Uint8,
            ElementType::I16 => schema::TensorType::Int16,
            ElementType::I32 => schema::TensorType::Int32,
            ElementType::F32 => schema::TensorType::Float32,
        };
        self.tables.add(NewTensor { name, dims, element_type, data: None, quantization })
    }

    /// The bytes of a constant.
    fn constant(&self, operand: &Operand) -> Outcome<&'m [u8]> {
        let range = operand.range().filter(|_| operand.space == Space::Constant);
        let bytes = range.and_then(|(start, end)| self.model.constant().get(start..end));
        bytes.ok_or_else(|| "its weights are no constants".to_owned())
    }

    /// The records of the output channels.
    fn records(&self, operand: &Operand) -> Outcome<Vec<Channel>> {
        if operand.shape.0[3] != 3 {
            return Err(packed());
        }
        let words = self.constant(operand)?.as_chunks().0.iter().map(|&word| i32::from_le_bytes(word));
        let words: Vec<i32> = words.collect();
        Ok(words.as_chunks().0.iter().map(|&record| Channel::from_words(record)).collect())
    }

    /// The weights' tensor, in the shape of the operand.
    fn weights(&mut self, operand: &Operand, values: Vec<u8>, scales: &[f32], axis: i32) -> usize {
        let quantization = NewQuantization { scales: scales.to_vec(), zero_point: 0, axis };
        self.tables.add(NewTensor {
            name: format!("weights_{}", self.tables.operators.len()),
            dims: operand.shape.0.map(|dim| dim as i32).to_vec(),
            element_type: schema::TensorType::Int8,
            data: Some(values),
            quantization: Some(quantization),
        })
    }

    /// The biases' tensor, without the input's zero point.
    fn bias(
        &mut self,
        records: &[Channel],
        sums: &[i64],
        input: Quantization,
        scales: &[f32],
    ) -> Outcome<usize> {
        let mut bytes = Vec::with_capacity(records.len() * 4);
        for (channel, (record, sum)) in records.iter().zip(sums).enumerate() {
            let bias = i64::from(record.bias) + i64::from(input.zero_point) * sum;
            let bias = i32::try_from(bias)
                .map_err(|_| format!("the bias of output channel {channel} has more than 32 bits"))?;
            bytes.extend(bias.to_le_bytes());
        }
        let scales = scales.iter().map(|scale| input.scale * scale).collect();
        Ok(self.tables.add(NewTensor {
            name: format!("bias_{}", self.tables.operators.len()),
            dims: vec![records.len() as i32],
            element_type: schema::TensorType::Int32,
            data: Some(bytes),
            quantization: Some(NewQuantization { scales, zero_point: 0, axis: 0 }),
        }))
    }
}

fn packed() -> String {
    "its weights are packed for a target; export the model as it was before".to_owned()
}

fn operands<'s, const R: usize>(step: &Step<'s>) -> Outcome<(&'s [Operand; R], &'s [Operand; 1])> {
    match (step.reads(), step.writes()) {
        (Ok(reads), Ok(writes)) => Ok((reads, writes)),
        _ => Err(packed()),
    }
}

fn sum<'a>(weights: impl Iterator<Item = &'a u8>) -> i64 {
    weights.map(|weight| i64::from(weight.cast_signed())).sum()
}

/// Whether an operand is a vector, which has two dimensions in TensorFlow Lite, the batch and the channels.
fn is_vector(operand: &Operand) -> bool {
    let Shape([_, h, w, _]) = operand.shape;
    (h, w) == (1, 1)
}

fn dims(operand: &Operand, as_vector: bool) -> Vec<i32> {
    let [n, h, w, c] = operand.shape.0.map(|dim| dim as i32);
    if as_vector { vec![n, c] } else { vec![n, h, w, c] }
}

fn window_and_range(step: &Step<'_>) -> Outcome<(Window, Range)> {
    match Window::read(step.attributes) {
        Ok((window, &[min, max])) => Ok((window, to_range(min, max)?)),
        _ => Err(packed()),
    }
}

fn to_range(min: i32, max: i32) -> Outcome<Range> {
    match (i8::try_from(min), i8::try_from(max)) {
        (Ok(min), Ok(max)) => Ok(Range { min, max }),
        _ => Err(packed()),
    }
}

/// SAME or VALID.
fn padding(window: &Window, input: &[i32]) -> Outcome<schema::Padding> {
    let &[_, height, width, _] = input else { return Err("its input is no image".to_owned()) };
    let axes = [(window.y, height as usize), (window.x, width as usize)];
    let same = |&(axis, length): &(Axis, usize)| {
        Axis::same(axis.kernel, axis.stride, axis.dilation, length) == Some(axis)
    };
    let valid = |(axis, _): &(Axis, usize)| (axis.pad_before, axis.pad_after) == (0, 0);
    if axes.iter().all(same) {
        Ok(schema::Padding::Same)
    } else if axes.iter().all(valid) {
        Ok(schema::Padding::Valid)
    } else {
        Err("its padding is neither TensorFlow's SAME nor VALID".to_owned())
    }
}

/// The activation that leaves this range.
fn fused(range: Range, output: Quantization) -> Outcome<Fused> {
    let found = [Fused::None, Fused::Relu, Fused::Relu6, Fused::ReluN1To1]
        .into_iter()
        .find(|&fused| fused_range(fused, output) == Some(range));
    found.ok_or_else(|| format!("the range {}..={} is that of no activation", range.min, range.max))
}

/// The operator of a function of one int8, with its options.
fn operator_of(function: TableFunction) -> Option<(BuiltinOperator, Option<BuiltinOptions>)> {
    let gelu = |approximate| BuiltinOptions::GeluOptions(Box::new(schema::GeluOptions { approximate }));
    Some(match function {
        TableFunction::Activation(Activation::None) => (BuiltinOperator::Quantize, None),
        TableFunction::Activation(Activation::Relu) => (BuiltinOperator::Relu, None),
        TableFunction::Activation(Activation::Relu6) => (BuiltinOperator::Relu6, None),
        TableFunction::Activation(Activation::ReluN1To1) => (BuiltinOperator::ReluN1To1, None),
        TableFunction::Activation(Activation::LeakyRelu { alpha }) => {
            let options = BuiltinOptions::LeakyReluOptions(Box::new(schema::LeakyReluOptions { alpha }));
            (BuiltinOperator::LeakyRelu, Some(options))
        }
        TableFunction::Function(Function::Logistic) => (BuiltinOperator::Logistic, None),
        TableFunction::Function(Function::Tanh) => (BuiltinOperator::Tanh, None),
        TableFunction::Function(Function::Elu) => (BuiltinOperator::Elu, None),
        TableFunction::Function(Function::HardSwish) => (BuiltinOperator::HardSwish, None),
        TableFunction::Function(Function::Gelu) => (BuiltinOperator::Gelu, Some(gelu(false))),
        TableFunction::Function(Function::GeluTanh) => (BuiltinOperator::Gelu, Some(gelu(true))),
        TableFunction::Function(Function::Abs) => (BuiltinOperator::Abs, None),
        TableFunction::Function(Function::Exp) => (BuiltinOperator::Exp, None),
        TableFunction::Function(Function::Rsqrt) => (BuiltinOperator::Rsqrt, None),
        TableFunction::Function(_) => return None,
    })
}

/// A scale for each channel.
fn scales(
    product: Product,
    records: &[Channel],
    input: Quantization,
    output: Quantization,
) -> Outcome<Vec<f32>> {
    let found = records.iter().enumerate().map(|(channel, record)| {
        let scale = weight_scale(product, input.scale, output.scale, record.multiplier);
        scale.ok_or_else(|| format!("no weight scale gives the multiplier of output channel {channel}"))
    });
    found.collect()
}
