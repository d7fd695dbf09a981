//! Bad TensorFlow Lite files: made of good ones by changes to their bytes or to their tables.

use std::path::Path;
use std::{fs, io};

use smidgen_tflite_schema::planus::ReadAsRoot;
use smidgen_tflite_schema::{
    Model, ModelRef, OPERATOR_NAMES, Operator, QuantizationParameters, SubGraph, Tensor, to_file,
};
use smidgen_trainer::tflite::{ConvertError, ImportError, convert};

use super::Choices;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TfliteOutcome {
    /// It became a model.
    Converted,
    /// It is no TensorFlow Lite file.
    NotTflite,
    /// It is broken.
    Malformed,
    /// It would take too much memory.
    TooLarge,
    /// It has operators that cannot be imported.
    Unsupported,
    /// Its network cannot run at all.
    Network,
    /// Its graph was refused.
    Graph,
    /// It did not compile.
    Compile,
}

/// The good files: the goldens, with their names.
///
/// # Errors
/// If they cannot be read.
pub fn tflite_seeds() -> io::Result<Vec<(String, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tflite");
    let mut seeds = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tflite") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            seeds.push((name, fs::read(&path)?));
        }
    }
    // The order of a folder is nobody's.
    seeds.sort();
    Ok(seeds)
}

/// Makes a model of a file, all the way to the model file.
pub fn convert_tflite(file: &[u8]) -> TfliteOutcome {
    match convert(file, "mutated", None) {
        Ok(_) => TfliteOutcome::Converted,
        Err(ConvertError::Import(error)) => match error {
            ImportError::NotTflite { .. } => TfliteOutcome::NotTflite,
            ImportError::Malformed { .. } => TfliteOutcome::Malformed,
            ImportError::TooLarge { .. } => TfliteOutcome::TooLarge,
            ImportError::Unsupported { .. } => TfliteOutcome::Unsupported,
            ImportError::Network { .. } => TfliteOutcome::Network,
            _ => TfliteOutcome::Graph,
        },
        Err(_) => TfliteOutcome::Compile,
    }
}

/// A few changes to a file: to its bytes, or to its tables.
pub fn mutate_tflite(file: &[u8], choices: &mut impl Choices) -> Vec<u8> {
    let model = ModelRef::read_as_root(file).and_then(Model::try_from);
    match model {
        Ok(mut model) if choices.below(4) != 0 => {
            for _ in 0..=choices.below(3) {
                mutate_model(&mut model, choices);
            }
            to_file(&model)
        }
        _ => mutate_bytes(file, choices),
    }
}

fn mutate_bytes(file: &[u8], choices: &mut impl Choices) -> Vec<u8> {
    let mut changed = file.to_vec();
    for _ in 0..=choices.below(6) {
        let place = choices.below(changed.len());
        match choices.below(8) {
            0 => changed.truncate(place),
            1 => changed.insert(place, choices.next() as u8),
            2 => {
                let from = choices.below(changed.len());
                let length = choices.below(16).min(changed.len() - from.max(place));
                changed.copy_within(from..from + length, place);
            }
            3 | 4 => {
                // A word, as offsets and lengths are.
                let word = number(choices).to_le_bytes();
                let place = place & !3;
                changed.iter_mut().skip(place).zip(word).for_each(|(byte, new)| *byte = new);
            }
            _ => {
                if let Some(byte) = changed.get_mut(place) {
                    *byte ^= 1 << choices.below(8);
                }
            }
        }
    }
    changed
}

/// A number that is likely to be at the edge of something.
fn number(choices: &mut impl Choices) -> i32 {
    const EDGES: [i32; 20] =
        [0, 1, 2, 3, 4, 5, 7, 8, 16, 31, 127, 128, 255, 256, 1 << 16, 1 << 30, i32::MAX, i32::MIN, -1, -2];
    match choices.below(8) {
        0 => choices.next().cast_signed(),
        1 => (choices.next() % 100).cast_signed(),
        _ => choices.one_of(&EDGES),
    }
}

fn real(choices: &mut impl Choices) -> f32 {
    const EDGES: [f32; 14] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        1e-9,
        1e-30,
        1e-45,
        1e9,
        1e30,
        f32::MAX,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        0.003_906_25,
    ];
    match choices.below(4) {
        0 => f32::from_bits(choices.next()),
        _ => choices.one_of(&EDGES),
    }
}

/// One of a list that may be absent.
fn pick<'a, T>(list: &'a mut Option<Vec<T>>, choices: &mut impl Choices) -> Option<&'a mut T> {
    let list = list.as_mut()?;
    let index = choices.below(list.len());
    list.get_mut(index)
}

/// Changes the elements or the length of a list of numbers.
fn mutate_list<T: Copy>(list: &mut Option<Vec<T>>, choices: &mut impl Choices, value: T) {
    let list = list.get_or_insert_default();
    let place = choices.below(list.len());
    match choices.below(8) {
        0 => list.push(value),
        1 => list.truncate(place),
        2 => list.clear(),
        3 => list.insert(place.min(list.len()), value),
        _ => list.iter_mut().skip(place).take(1).for_each(|element| *element = value),
    }
}

fn mutate_model(model: &mut Model, choices: &mut impl Choices) {
    match choices.below(16) {
        0 => {
            if let Some(code) = pick(&mut model.operator_codes, choices) {
                code.builtin_code = choices.below(OPERATOR_NAMES.len() + 2) as i32;
                code.deprecated_builtin_code = code.builtin_code.clamp(0, 127) as i8;
            }
        }
        1 => {
            if let Some(code) = pick(&mut model.operator_codes, choices) {
                code.version = number(choices);
            }
        }
        2..=4 => {
            if let Some(data) = pick(&mut model.buffers, choices).and_then(|buffer| buffer.data.as_mut()) {
                mutate_data(data, choices);
            }
        }
        _ => {
            if let Some(subgraph) = pick(&mut model.subgraphs, choices) {
                mutate_subgraph(subgraph, choices);
            }
        }
    }
}

fn mutate_data(data: &mut Vec<u8>, choices: &mut impl Choices) {
    let place = choices.below(data.len());
    match choices.below(6) {
        0 => data.truncate(place),
        1 => data.extend([0; 4]),
        2 => data.iter_mut().skip(place).take(1).for_each(|byte| *byte = choices.next() as u8),
        // Axes, dimensions, paddings and biases are words.
        _ => {
            let word = number(choices).to_le_bytes();
            data.iter_mut().skip(place & !3).zip(word).for_each(|(byte, new)| *byte = new);
        }
    }
}

fn mutate_subgraph(subgraph: &mut SubGraph, choices: &mut impl Choices) {
    let tensors = subgraph.tensors.as_ref().map_or(0, Vec::len);
    let index = match choices.below(6) {
        0 => number(choices),
        _ => choices.below(tensors) as i32,
    };
    match choices.below(20) {
        0 => mutate_list(&mut subgraph.inputs, choices, index),
        1 => mutate_list(&mut subgraph.outputs, choices, index),
        2 | 3 => {
            if let Some(operators) = &mut subgraph.operators {
                reorder(operators, choices);
            }
        }
        4..=9 => {
            let donor = pick(&mut subgraph.operators, choices).cloned();
            if let (Some(operator), Some(donor)) = (pick(&mut subgraph.operators, choices), donor) {
                mutate_operator(operator, &donor, index, choices);
            }
        }
        _ => {
            let donor = pick(&mut subgraph.tensors, choices).cloned();
            if let (Some(tensor), Some(donor)) = (pick(&mut subgraph.tensors, choices), donor) {
                mutate_tensor(tensor, &donor, choices);
            }
        }
    }
}

fn reorder(operators: &mut Vec<Operator>, choices: &mut impl Choices) {
    if operators.is_empty() {
        return;
    }
    let (from, to) = (choices.below(operators.len()), choices.below(operators.len()));
    match choices.below(3) {
        0 => operators.swap(from, to),
        1 => drop(operators.remove(from)),
        _ => operators.insert(to, operators[from].clone()),
    }
}

fn mutate_operator(operator: &mut Operator, donor: &Operator, index: i32, choices: &mut impl Choices) {
    match choices.below(8) {
        0 => operator.opcode_index = number(choices).cast_unsigned(),
        1 => operator.opcode_index = donor.opcode_index,
        2 => operator.builtin_options = donor.builtin_options.clone(),
        3 => operator.builtin_options = None,
        4 => mutate_list(&mut operator.outputs, choices, index),
        5 => mutate_list(&mut operator.intermediates, choices, index),
        _ => mutate_list(&mut operator.inputs, choices, index),
    }
}

fn mutate_tensor(tensor: &mut Tensor, donor: &Tensor, choices: &mut impl Choices) {
    match choices.below(12) {
        0 => tensor.type_ = donor.type_,
        1 => tensor.buffer = number(choices).cast_unsigned(),
        2 => tensor.buffer = donor.buffer,
        3 => tensor.quantization.clone_from(&donor.quantization),
        4 => tensor.is_variable = !tensor.is_variable,
        5 => tensor.shape.clone_from(&donor.shape),
        6..=8 => {
            let dimension = number(choices);
            mutate_list(&mut tensor.shape, choices, dimension);
        }
        _ => {
            let quantization = tensor.quantization.get_or_insert_default();
            mutate_quantization(quantization, choices);
        }
    }
}

fn mutate_quantization(quantization: &mut QuantizationParameters, choices: &mut impl Choices) {
    match choices.below(5) {
        0 => quantization.quantized_dimension = number(choices),
        1 | 2 => {
            let zero_point = i64::from(number(choices));
            mutate_list(&mut quantization.zero_point, choices, zero_point);
        }
        _ => {
            let scale = real(choices);
            mutate_list(&mut quantization.scale, choices, scale);
        }
    }
}

/// What a fuzzer does with its bytes: they are a file.
pub fn fuzz_tflite(bytes: &[u8]) {
    convert_tflite(bytes);
}
