//! What a model takes and gives: any number of arrays, a row for each sample.

use smidgen::{ElementType, EntryKind, Model, Operand, Preprocessing};

use crate::npy::{Array, ElementKind};

/// An input or an output of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Its name in the network that the model was imported from; else `input_0`, `output_0` and so on.
    pub name: String,
    /// Where it is, for all samples of a run.
    pub operand: Operand,
}

/// The inputs and outputs of a model's inference, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Ports<'m> {
    /// The inputs, at least one.
    pub inputs: Vec<Port>,
    /// The outputs, at least one.
    pub outputs: Vec<Port>,
    /// What is done to a raw byte before it is an input.
    pub preprocessing: Preprocessing<'m>,
    /// Samples in one run.
    pub batch: usize,
}

/// Why arrays are no samples of a model. Arrays are named by their index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// The model cannot infer, or not from one batch to one batch.
    #[error("the model has no inference, or one of inputs and outputs with different numbers of samples")]
    NoInference,
    /// A wrong number of arrays.
    #[error("the model has {expected} inputs ({names}), found {found} arrays")]
    Count {
        /// Inputs of the model.
        expected: usize,
        /// Their names.
        names: String,
        /// Arrays given.
        found: usize,
    },
    /// A number instead of an array.
    #[error("a single number, expected an array [samples, ...] of {row:?} each")]
    NoArray {
        /// The array.
        index: usize,
        /// Dimensions of a row.
        row: Vec<usize>,
    },
    /// No whole number of runs.
    #[error("it has {found} samples, expected a positive multiple of {batch}")]
    Samples {
        /// The array.
        index: usize,
        /// Samples in it.
        found: usize,
        /// Samples in a run.
        batch: usize,
    },
    /// As many rows as another array.
    #[error("it has {found} samples, the first array {expected}")]
    Rows {
        /// The array.
        index: usize,
        /// Samples of the first array.
        expected: usize,
        /// Samples in it.
        found: usize,
    },
    /// Rows of another length.
    #[error(
        "the shape {shape:?} has {found} elements a row, expected {expected} ({row:?}), which the model takes"
    )]
    Row {
        /// The array.
        index: usize,
        /// Its shape.
        shape: Vec<usize>,
        /// Elements of a row.
        found: usize,
        /// Elements of the input.
        expected: usize,
        /// Dimensions of the input.
        row: Vec<usize>,
    },
    /// Elements that cannot become the input's.
    #[error("{found} samples are only for a model with such an input, this one's is {expected}")]
    Kind {
        /// The array.
        index: usize,
        /// What its elements are.
        found: &'static str,
        /// What the input's are.
        expected: &'static str,
    },
}

impl PortError {
    /// The array that it is about.
    pub fn index(&self) -> Option<usize> {
        match *self {
            Self::NoInference | Self::Count { .. } => None,
            Self::NoArray { index, .. }
            | Self::Samples { index, .. }
            | Self::Rows { index, .. }
            | Self::Row { index, .. }
            | Self::Kind { index, .. } => Some(index),
        }
    }
}

impl<'m> Ports<'m> {
    /// Those of a model.
    ///
    /// # Errors
    /// [`PortError::NoInference`].
    pub fn of(model: &Model<'m>) -> Result<Self, PortError> {
        let entry = model.entry(EntryKind::Infer).ok_or(PortError::NoInference)?;
        let provenance: serde_json::Value =
            serde_json::from_str(model.metadata().provenance).unwrap_or_default();
        let named = |operands: &[Operand], list: &str, word: &str| -> Vec<Port> {
            let names = &provenance["tflite"][list];
            let port = |(index, &operand): (usize, &Operand)| {
                let name = names[index].as_str().filter(|name| !name.is_empty());
                Port { name: name.map_or_else(|| format!("{word}_{index}"), str::to_owned), operand }
            };
            operands.iter().enumerate().map(port).collect()
        };
        let (inputs, outputs) =
            (named(entry.inputs, "inputs", "input"), named(entry.outputs, "outputs", "output"));
        let batch = |port: &Port| port.operand.shape.dims()[0];
        let first = inputs.first().map_or(0, batch);
        if first == 0 || outputs.is_empty() || inputs.iter().chain(&outputs).any(|port| batch(port) != first)
        {
            return Err(PortError::NoInference);
        }
        Ok(Self { inputs, outputs, preprocessing: model.metadata().preprocessing, batch: first })
    }

    /// Bytes of all inputs of a run.
    pub fn run_bytes(&self) -> usize {
        self.inputs.iter().filter_map(|port| port.operand.bytes()).sum()
    }

    /// The samples in arrays, one array for each input, as the bytes that [`Device::run`](crate::device::Device::run) takes; and how many they are.
    ///
    /// Elements of the input's own type are taken as they are. For an input of int8 or f32, f32 are quantized, and raw bytes go through the model's preprocessing.
    ///
    /// # Errors
    /// See [`PortError`].
    pub fn rows(&self, arrays: &[Array]) -> Result<(usize, Vec<u8>), PortError> {
        if arrays.len() != self.inputs.len() {
            let names: Vec<&str> = self.inputs.iter().map(|port| port.name.as_str()).collect();
            let (expected, found) = (self.inputs.len(), arrays.len());
            return Err(PortError::Count { expected, names: names.join(", "), found });
        }
        let mut columns = Vec::with_capacity(arrays.len());
        let mut samples = None;
        for (index, (port, array)) in self.inputs.iter().zip(arrays).enumerate() {
            let found = self.samples(index, port, array)?;
            match samples {
                None => samples = Some(found),
                Some(expected) if expected != found => {
                    return Err(PortError::Rows { index, expected, found });
                }
                Some(_) => {}
            }
            columns.push(self.column(index, port, array)?);
        }
        let samples = samples.unwrap_or(0);
        let [column] = columns.as_slice() else {
            let mut rows = Vec::with_capacity(columns.iter().map(Vec::len).sum());
            for run in 0..samples / self.batch {
                for (port, column) in self.inputs.iter().zip(&columns) {
                    let bytes = port.operand.bytes().unwrap_or(0);
                    rows.extend_from_slice(column.get(run * bytes..(run + 1) * bytes).unwrap_or_default());
                }
            }
            return Ok((samples, rows));
        };
        Ok((samples, column.clone()))
    }

    /// How many samples an array is for an input.
    fn samples(&self, index: usize, port: &Port, array: &Array) -> Result<usize, PortError> {
        let row = row_dims(&port.operand);
        let Some((&count, found_row)) = array.shape.split_first() else {
            return Err(PortError::NoArray { index, row });
        };
        // An array without samples may have rows of any length, even of one that does not fit 64 bits.
        if count == 0 || !count.is_multiple_of(self.batch) {
            return Err(PortError::Samples { index, found: count, batch: self.batch });
        }
        let expected = port.operand.shape.elements().unwrap_or(0) / self.batch;
        let found = found_row.iter().product::<usize>();
        if found != expected {
            return Err(PortError::Row { index, shape: array.shape.clone(), found, expected, row });
        }
        Ok(count)
    }

    /// The elements of an array as those of an input.
    fn column(&self, index: usize, port: &Port, array: &Array) -> Result<Vec<u8>, PortError> {
        let element_type = port.operand.element_type;
        let expected = kind_of(element_type);
        let quantization = port.operand.quantization.some();
        let quantize =
            |value: f32| quantization.map(|quantization| quantization.quantize(value).cast_unsigned());
        match (array.kind, element_type) {
            (kind, _) if kind == expected => Ok(array.bytes.clone()),
            (ElementKind::U8, ElementType::I8 | ElementType::F32) => {
                let value = |byte: u8| self.preprocessing.apply(byte);
                match quantization {
                    Some(quantization) => {
                        let table: Vec<u8> = (0..=255)
                            .map(|byte| quantization.quantize(value(byte)).cast_unsigned())
                            .collect();
                        Ok(array.bytes.iter().map(|&byte| table[usize::from(byte)]).collect())
                    }
                    None => Ok(array.bytes.iter().flat_map(|&byte| value(byte).to_le_bytes()).collect()),
                }
            }
            (ElementKind::F32, ElementType::I8) if quantization.is_some() => {
                let values = array.bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
                Ok(values.filter_map(quantize).collect())
            }
            (found, _) => Err(PortError::Kind { index, found: found.word(), expected: expected.word() }),
        }
    }

    /// The outputs of `samples` samples, an array for each.
    pub fn arrays(&self, samples: usize, outputs: &[u8]) -> Vec<Array> {
        let run_bytes: usize = self.outputs.iter().filter_map(|port| port.operand.bytes()).sum();
        let mut start = 0;
        let mut array = |port: &Port| {
            let bytes = port.operand.bytes().unwrap_or(0);
            let part = start..start + bytes;
            start += bytes;
            let runs = outputs.chunks_exact(run_bytes.max(1));
            let shape = std::iter::once(samples).chain(row_dims(&port.operand)).collect();
            let bytes = runs.flat_map(|run| run.get(part.clone()).unwrap_or_default()).copied().collect();
            Array { kind: kind_of(port.operand.element_type), shape, bytes }
        };
        self.outputs.iter().map(&mut array).collect()
    }
}

/// The kind of array that has elements of this type.
fn kind_of(element_type: ElementType) -> ElementKind {
    match element_type {
        ElementType::I8 => ElementKind::I8,
        ElementType::U8 => ElementKind::U8,
        ElementType::I16 => ElementKind::I16,
        ElementType::I32 => ElementKind::I32,
        ElementType::F32 => ElementKind::F32,
    }
}

/// The dimensions of one sample without the ones that stand before lower ranks.
fn row_dims(operand: &Operand) -> Vec<usize> {
    let [_, h, w, c] = operand.shape.dims();
    match (h, w) {
        (1, 1) => vec![c],
        (1, _) => vec![w, c],
        _ => vec![h, w, c],
    }
}

#[cfg(test)]
mod tests {
    use smidgen::{Quantization, Shape, Space};

    use super::*;

    fn port(name: &str, element_type: ElementType, shape: [u32; 4]) -> Port {
        let quantization = match element_type {
            ElementType::I8 => Quantization { scale: 0.5, zero_point: 3 },
            _ => Quantization::NONE,
        };
        let (space, offset, shape) = (Space::Arena, 0, Shape(shape));
        Port { name: name.to_owned(), operand: Operand { space, element_type, offset, shape, quantization } }
    }

    fn ports() -> Ports<'static> {
        Ports {
            inputs: vec![
                port("left", ElementType::I8, [1, 1, 1, 2]),
                port("right", ElementType::F32, [1; 4]),
            ],
            outputs: vec![port("a", ElementType::I32, [1; 4]), port("b", ElementType::I8, [1, 1, 2, 1])],
            preprocessing: Preprocessing::None,
            batch: 1,
        }
    }

    fn array(kind: ElementKind, shape: &[usize], bytes: &[u8]) -> Array {
        Array { kind, shape: shape.to_vec(), bytes: bytes.to_vec() }
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn rows_of_several_arrays_are_interleaved() {
        let left = array(ElementKind::I8, &[2, 2], &[1, 2, 3, 4]);
        let right = array(ElementKind::F32, &[2, 1], &floats(&[1.0, 2.0]));
        let expected = [&[1, 2][..], &floats(&[1.0]), &[3, 4], &floats(&[2.0])].concat();
        assert_eq!(ports().rows(&[left.clone(), right.clone()]), Ok((2, expected.clone())));
        // Real numbers are quantized for an int8 input: two steps each.
        let real = array(ElementKind::F32, &[2, 2], &floats(&[-1.0, -0.5, 0.0, 0.5]));
        assert_eq!(ports().rows(&[real, right]), Ok((2, expected)));
    }

    #[test]
    fn outputs_become_an_array_each() {
        let bytes = [&7i32.to_le_bytes()[..], &[1, 2], &(-8i32).to_le_bytes(), &[3, 4]].concat();
        let found = ports().arrays(2, &bytes);
        let first = [7i32, -8].map(i32::to_le_bytes).concat();
        assert_eq!(found[0], array(ElementKind::I32, &[2, 1], &first));
        assert_eq!(found[1], array(ElementKind::I8, &[2, 2, 1], &[1, 2, 3, 4]));
    }

    #[test]
    fn each_error_is_named() {
        let left = array(ElementKind::I8, &[2, 2], &[0; 4]);
        let error = |right: Array| ports().rows(&[left.clone(), right]).unwrap_err();
        let count = ports().rows(std::slice::from_ref(&left)).unwrap_err();
        let names = "left, right".to_owned();
        assert_eq!(count, PortError::Count { expected: 2, names, found: 1 });
        let found = error(array(ElementKind::F32, &[1, 1], &[0; 4]));
        assert_eq!(found, PortError::Rows { index: 1, expected: 2, found: 1 });
        let found = error(array(ElementKind::I8, &[2, 1], &[0; 2]));
        assert_eq!(found, PortError::Kind { index: 1, found: "int8", expected: "float32" });
        let found = error(array(ElementKind::F32, &[0, 1], &[]));
        assert_eq!(found, PortError::Samples { index: 1, found: 0, batch: 1 });
        assert!(matches!(error(array(ElementKind::F32, &[], &[0; 4])), PortError::NoArray { index: 1, .. }));
        let found = error(array(ElementKind::F32, &[2, 3], &[0; 24]));
        assert!(matches!(found, PortError::Row { index: 1, found: 3, expected: 1, .. }), "{found}");
        assert_eq!(found.index(), Some(1));
    }
}
