//! From bytes to owned tables.
//!
//! The file is taken for hostile. planus checks every access; here every index is checked once, and a budget tied to the file's length bounds what is
//! copied, because tables of a flatbuffer can be named any number of times.

use std::borrow::Cow;
use std::mem::size_of;

use smidgen_tflite_schema::planus::{self, ReadAsRoot, Vector, errors::ErrorKind};
use smidgen_tflite_schema::{
    BufferRef, BuiltinOperator, ModelRef, OperatorCodeRef, OperatorRef, Place, QuantizationParametersRef,
    SubGraphRef, TensorRef,
};

use super::error::ImportError;
use super::net::{MAX_RANK, Net, NetOperator, NetQuantization, NetTensor, Subgraph};

/// The version of the schema.
const SCHEMA_VERSION: u32 = 3;

/// Bytes in memory for each byte of the file. The tables of a file that nothing shares take less than a tenth of it.
const GROWTH: usize = 32;
/// Bytes in memory that any file may take.
const ALLOWANCE: usize = 1 << 16;

/// What is left of the bytes that a file may take in memory.
#[derive(Debug)]
struct Budget {
    file_bytes: usize,
    left: usize,
}

/// Where in the file something is read.
#[derive(Clone, Copy, Debug)]
struct At {
    table: &'static str,
    field: &'static str,
    offset: usize,
}

impl At {
    fn error(self, problem: String) -> ImportError {
        let Self { table, field, offset } = self;
        ImportError::Malformed { table, field, offset, problem }
    }
}

impl Budget {
    const fn limit(file_bytes: usize) -> usize {
        file_bytes.saturating_mul(GROWTH).saturating_add(ALLOWANCE)
    }

    fn take(&mut self, bytes: usize, at: At) -> Result<(), ImportError> {
        let At { table, field, offset } = at;
        let (file_bytes, limit) = (self.file_bytes, Self::limit(self.file_bytes));
        let too_large = ImportError::TooLarge { table, field, offset, file_bytes, limit };
        self.left = self.left.checked_sub(bytes).ok_or(too_large)?;
        Ok(())
    }

    fn string(&mut self, text: Option<&str>, at: At) -> Result<String, ImportError> {
        let text = text.unwrap_or_default();
        self.take(text.len(), at)?;
        Ok(text.to_owned())
    }

    /// A place for each element of a vector.
    fn list<T, V>(&mut self, vector: &Vector<'_, V>, at: At) -> Result<Vec<T>, ImportError> {
        self.take(vector.len().saturating_mul(size_of::<T>()), at)?;
        Ok(Vec::with_capacity(vector.len()))
    }
}

impl<'f> Net<'f> {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ImportError::NotTflite`], [`ImportError::Malformed`], [`ImportError::TooLarge`].
    pub fn read(file: &'f [u8]) -> Result<Self, ImportError> {
        let identifier = file.get(4..8).unwrap_or_default();
        if identifier != b"TFL3" {
            return Err(ImportError::NotTflite { found: String::from_utf8_lossy(identifier).into_owned() });
        }
        let model = ModelRef::read_as_root(file)?;
        let mut budget = Budget { file_bytes: file.len(), left: Budget::limit(file.len()) };
        let at = |field| At { table: "Model", field, offset: model.byte_offset() };
        let version = model.version()?;
        if version != SCHEMA_VERSION {
            let problem = format!("the schema has version {version}, expected {SCHEMA_VERSION}");
            return Err(at("version").error(problem));
        }
        let buffers = buffers(&model, &mut budget)?;
        let codes = codes(&model, &mut budget)?;
        let subgraphs = model.subgraphs()?.unwrap_or(Vector::new_empty());
        if subgraphs.is_empty() {
            return Err(at("subgraphs").error("there are none, expected one or more".to_owned()));
        }
        let mut found: Vec<Subgraph<'f>> = budget.list(&subgraphs, at("subgraphs"))?;
        for subgraph in subgraphs {
            let reader = SubgraphReader { buffers: &buffers, codes: &codes, subgraph: subgraph? };
            found.push(reader.read(&mut budget)?);
        }
        let metadata_tables = model.metadata()?.unwrap_or(Vector::new_empty());
        let mut metadata = budget.list(&metadata_tables, at("metadata"))?;
        for table in metadata_tables {
            let table = table?;
            let at = |field| At { table: "Metadata", field, offset: table.byte_offset() };
            let name = budget.string(table.name()?, at("name"))?;
            let index = in_range(table.buffer()?.into(), buffers.len(), "buffer", at("buffer"))?;
            metadata.push((name, buffers[index]));
        }
        let description = budget.string(model.description()?, at("description"))?;
        Ok(Self { subgraphs: found, buffers, description, metadata, file_bytes: file.len() })
    }
}

/// `index` as an index into something of `count` elements.
fn in_range(index: i64, count: usize, what: &str, at: At) -> Result<usize, ImportError> {
    let found = usize::try_from(index).ok().filter(|&index| index < count);
    found.ok_or_else(|| at.error(format!("there is no {what} {index}, expected below {count}")))
}

fn buffers<'f>(model: &ModelRef<'f>, budget: &mut Budget) -> Result<Vec<&'f [u8]>, ImportError> {
    let at = At { table: "Model", field: "buffers", offset: model.byte_offset() };
    let tables = model.buffers()?.unwrap_or(Vector::new_empty());
    let mut buffers = budget.list(&tables, at)?;
    for buffer in tables {
        let buffer: BufferRef<'f> = buffer?;
        if buffer.offset()? > 1 {
            let at = At { table: "Buffer", field: "offset", offset: buffer.byte_offset() };
            return Err(
                at.error("the data lies behind the tables, as in a file of more than 2 GB".to_owned())
            );
        }
        buffers.push(buffer.data()?.unwrap_or_default());
    }
    Ok(buffers)
}

#[derive(Clone, Copy, Debug)]
struct Code<'f> {
    code: i32,
    custom: Option<&'f str>,
    version: i32,
}

fn codes<'f>(model: &ModelRef<'f>, budget: &mut Budget) -> Result<Vec<Code<'f>>, ImportError> {
    let at = At { table: "Model", field: "operator_codes", offset: model.byte_offset() };
    let tables = model.operator_codes()?.unwrap_or(Vector::new_empty());
    let mut codes = budget.list(&tables, at)?;
    for code in tables {
        let code: OperatorCodeRef<'f> = code?;
        // A number from 127 on does not fit the older field, which then says 127; older files have the older field only.
        let number = code.builtin_code()?.max(code.deprecated_builtin_code()?.into());
        let custom = if number == BuiltinOperator::Custom as i32 { code.custom_code()? } else { None };
        codes.push(Code { code: number, custom, version: code.version()? });
    }
    Ok(codes)
}

struct SubgraphReader<'a, 'f> {
    buffers: &'a [&'f [u8]],
    codes: &'a [Code<'f>],
    subgraph: SubGraphRef<'f>,
}

impl<'f> SubgraphReader<'_, 'f> {
    fn read(&self, budget: &mut Budget) -> Result<Subgraph<'f>, ImportError> {
        let at = |field| At { table: "SubGraph", field, offset: self.subgraph.byte_offset() };
        let tables = self.subgraph.tensors()?.unwrap_or(Vector::new_empty());
        let mut tensors = budget.list(&tables, at("tensors"))?;
        for tensor in tables {
            tensors.push(self.tensor(&tensor?, budget)?);
        }
        let operators = self.subgraph.operators()?.unwrap_or(Vector::new_empty());
        let mut found = budget.list(&operators, at("operators"))?;
        for operator in operators {
            found.push(self.operator(&operator?, tensors.len(), budget)?);
        }
        Ok(Subgraph {
            name: budget.string(self.subgraph.name()?, at("name"))?,
            inputs: indices(self.subgraph.inputs()?, tensors.len(), budget, at("inputs"))?,
            outputs: indices(self.subgraph.outputs()?, tensors.len(), budget, at("outputs"))?,
            tensors,
            operators: found,
        })
    }

    fn tensor(&self, tensor: &TensorRef<'f>, budget: &mut Budget) -> Result<NetTensor<'f>, ImportError> {
        let offset = tensor.byte_offset();
        let at = |field| At { table: "Tensor", field, offset };
        let shape = tensor.shape()?.unwrap_or(Vector::new_empty());
        if shape.len() > MAX_RANK {
            let problem = format!("it has {} dimensions, expected at most {MAX_RANK}", shape.len());
            return Err(at("shape").error(problem));
        }
        let mut dims = budget.list(&shape, at("shape"))?;
        for dim in shape {
            let dim = usize::try_from(dim);
            dims.push(dim.map_err(|_| at("shape").error("it has a negative dimension".to_owned()))?);
        }
        let index = in_range(tensor.buffer()?.into(), self.buffers.len().max(1), "buffer", at("buffer"))?;
        if tensor.external_buffer()? != 0 {
            return Err(at("external_buffer").error("the elements are in another file".to_owned()));
        }
        let quantization = match tensor.quantization()? {
            Some(quantization) => read_quantization(&quantization, dims.len(), budget)?,
            None => None,
        };
        Ok(NetTensor {
            offset,
            name: budget.string(tensor.name()?, at("name"))?,
            dims,
            element_type: tensor.type_()?,
            // An empty buffer is what every tensor that is computed has, whichever its number.
            data: self.buffers.get(index).copied().filter(|data| !data.is_empty()).map(Cow::Borrowed),
            quantization,
            is_variable: tensor.is_variable()?,
            is_sparse: tensor.sparsity()?.is_some(),
        })
    }

    fn operator(
        &self,
        operator: &OperatorRef<'f>,
        tensors: usize,
        budget: &mut Budget,
    ) -> Result<NetOperator<'f>, ImportError> {
        let offset = operator.byte_offset();
        let at = |field| At { table: "Operator", field, offset };
        let code =
            in_range(operator.opcode_index()?.into(), self.codes.len(), "operator code", at("opcode_index"))?;
        let Code { code, custom, version } = self.codes[code];
        let inputs = operator.inputs()?.unwrap_or(Vector::new_empty());
        let mut read = budget.list(&inputs, at("inputs"))?;
        for index in inputs {
            read.push(match index {
                -1 => None,
                index => Some(in_range(index.into(), tensors, "tensor", at("inputs"))?),
            });
        }
        let options = match operator.builtin_options() {
            Ok(options) => options,
            // Options of an operator from the future: its code is refused by name.
            Err(planus::Error { error_kind: ErrorKind::UnknownUnionTag { .. }, .. }) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(NetOperator {
            offset,
            code,
            custom,
            version,
            inputs: read,
            outputs: indices(operator.outputs()?, tensors, budget, at("outputs"))?,
            intermediates: indices(operator.intermediates()?, tensors, budget, at("intermediates"))?,
            options,
        })
    }
}

fn indices(
    vector: Option<Vector<'_, i32>>,
    tensors: usize,
    budget: &mut Budget,
    at: At,
) -> Result<Vec<usize>, ImportError> {
    let vector = vector.unwrap_or(Vector::new_empty());
    let mut found = budget.list(&vector, at)?;
    for index in vector {
        found.push(in_range(index.into(), tensors, "tensor", at)?);
    }
    Ok(found)
}

fn read_quantization(
    table: &QuantizationParametersRef<'_>,
    rank: usize,
    budget: &mut Budget,
) -> Result<Option<NetQuantization>, ImportError> {
    let at = |field| At { table: "QuantizationParameters", field, offset: table.byte_offset() };
    match table.details() {
        Ok(None) => {}
        Err(error) if !matches!(error.error_kind, ErrorKind::UnknownUnionTag { .. }) => {
            return Err(error.into());
        }
        _ => {
            let problem = "custom, blockwise and multi-axis quantization are not supported".to_owned();
            return Err(at("details").error(problem));
        }
    }
    let scales = table.scale()?.unwrap_or(Vector::new_empty());
    if scales.is_empty() {
        // Only a range that was seen in training, or nothing at all.
        return Ok(None);
    }
    let zero_points = table.zero_point()?.unwrap_or(Vector::new_empty());
    if !zero_points.is_empty() && zero_points.len() != scales.len() {
        let problem = format!("there are {} for {} scales", zero_points.len(), scales.len());
        return Err(at("zero_point").error(problem));
    }
    let axis = match scales.len() {
        1 => 0,
        _ => in_range(table.quantized_dimension()?.into(), rank, "dimension", at("quantized_dimension"))?,
    };
    let mut quantization = NetQuantization {
        scales: budget.list(&scales, at("scale"))?,
        zero_points: budget.list(&scales, at("zero_point"))?,
        axis,
    };
    quantization.scales.extend(scales);
    quantization.zero_points.extend(zero_points);
    quantization.zero_points.resize(scales.len(), 0);
    if let Some(scale) = quantization.scales.iter().find(|scale| !(scale.is_finite() && **scale >= 0.0)) {
        return Err(at("scale").error(format!("a scale is {scale}, expected a finite number from 0 on")));
    }
    Ok(Some(quantization))
}
