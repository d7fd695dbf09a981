//! Traces of runs: a hash per step, as text that two runs can be compared by.
//!
//! ```text
//! # smidgen trace 1: digits on cortex-m4
//! row  step  operator    writes         hash      name
//! 0    -     input       i8[1,8,8,1]    1c291ca3
//! 0    0     conv_2d_i8  i8[1,8,8,16]   8e3a9f07  conv_0
//! ```
//!
//! Columns are separated by tabs, which stand here as spaces. A row's first line is its input. The hash is
//! [`smidgen_protocol::job::hash`], of the bytes that the step wrote; an input's is the CRC-32C of its bytes. Two models of one
//! structure, or one model on two targets, give traces that differ from the first step on whose output differs.

use std::fmt;

use serde::Serialize;
use smidgen::checksum::crc32c;
use smidgen::{ElementType, EntryKind, Model};

use crate::device::Report;
use crate::inspect::{EntryInspection, Tensor, inspect};

/// First words of a trace: what it is, and the version of its format.
const MAGIC: &str = "# smidgen trace 1: ";
const COLUMNS: &str = "row\tstep\toperator\twrites\thash\tname";

/// The trace of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// Name of the network.
    pub model: String,
    /// Where it ran.
    pub target: String,
    /// The steps in the order in which they ran, with each row's input before them.
    pub steps: Vec<TracedStep>,
}

/// A line of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TracedStep {
    /// The sample, counted from 0. Of a model that takes several in a run, their first.
    pub row: u32,
    /// The step's index; `None` for the input.
    pub step: Option<u32>,
    /// The operator's name; `input` for the input.
    pub operator: String,
    /// Types and shapes of what is written.
    pub writes: String,
    /// Hash of what is written.
    #[serde(serialize_with = "as_hex")]
    pub hash: u32,
    /// The step's name; empty if the model names none.
    pub name: String,
}

/// Why there is no trace, or no answer to how two differ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The report is not one of this model's inference.
    #[error("the report has steps that the model has not")]
    Report,
    /// The text does not begin as a trace.
    #[error("not a trace: line 1 does not begin with {MAGIC:?}")]
    NoTrace,
    /// A line is not one of a trace.
    #[error("line {line}: the column {column} is missing or wrong")]
    Line {
        /// The line, counted from 1.
        line: usize,
        /// Title of the first column that is wrong.
        column: &'static str,
    },
    /// The traces are of different models.
    #[error(
        "these are traces of different models: line {index} of the steps is {left} in one and {right} in the other"
    )]
    DifferentModels {
        /// Index of the line, counted from 1 without the header.
        index: usize,
        /// What one trace has there.
        left: String,
        /// What the other has there.
        right: String,
    },
    /// One trace goes on where the other ends.
    #[error("all {common} lines that both have are the same, but one has {left} and the other {right}")]
    DifferentLengths {
        /// Lines that both have.
        common: usize,
        /// Lines of one.
        left: usize,
        /// Lines of the other.
        right: usize,
    },
}

/// The first line at which two traces differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The line of the first trace.
    #[serde(flatten)]
    pub step: TracedStep,
    /// The other trace's hash.
    #[serde(serialize_with = "as_hex")]
    pub other_hash: u32,
}

impl Trace {
    /// The trace of a run of `model`'s inference, of which `report` has the steps and `inputs` are the bytes.
    ///
    /// # Errors
    /// [`TraceError::Report`].
    pub fn new(model: &Model<'_>, report: &Report, inputs: &[u8]) -> Result<Self, TraceError> {
        let inspection = inspect(model);
        let entry = inspection.entries.into_iter().find(|entry| entry.kind == EntryKind::Infer);
        let entry = entry.ok_or(TraceError::Report)?;
        let bytes: usize = entry.inputs.iter().map(Tensor::bytes).sum();
        let samples = entry.inputs.first().map_or(1, |input| input.shape[0]);
        let mut steps = Vec::with_capacity(report.steps.len());
        for step in &report.steps {
            let row = step.round.saturating_mul(samples);
            if step.index == 0 {
                let of_row = inputs.get(step.round as usize * bytes..).and_then(|rest| rest.get(..bytes));
                steps.push(input(row, of_row.ok_or(TraceError::Report)?, &entry));
            }
            let inspected = entry.steps.get(step.index as usize).ok_or(TraceError::Report)?;
            steps.push(TracedStep {
                row,
                step: Some(step.index),
                operator: inspected.op.to_owned(),
                writes: tensors(&inspected.outputs),
                hash: step.hash,
                // What stands in a line cannot end it.
                name: inspected.name.replace(char::is_control, " "),
            });
        }
        let name = inspection.name.replace(char::is_control, " ");
        Ok(Self { model: name, target: report.target.name().to_owned(), steps })
    }

    /// Reads a trace.
    ///
    /// # Errors
    /// [`TraceError::NoTrace`], [`TraceError::Line`].
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut lines = (1..).zip(text.lines());
        let header = lines.next().and_then(|(_, header)| header.strip_prefix(MAGIC));
        let (model, target) =
            header.and_then(|header| header.rsplit_once(" on ")).ok_or(TraceError::NoTrace)?;
        match lines.next() {
            Some((_, COLUMNS)) => {}
            _ => return Err(TraceError::Line { line: 2, column: "row" }),
        }
        let steps = lines
            .map(|(line, text)| TracedStep::parse(text).map_err(|column| TraceError::Line { line, column }));
        let steps = steps.collect::<Result<_, _>>()?;
        Ok(Self { model: model.to_owned(), target: target.to_owned(), steps })
    }

    /// The first line at which the hashes differ; `None` if there is none.
    ///
    /// # Errors
    /// [`TraceError::DifferentModels`], [`TraceError::DifferentLengths`].
    pub fn first_difference(&self, other: &Self) -> Result<Option<Difference>, TraceError> {
        for (index, (left, right)) in (1..).zip(self.steps.iter().zip(&other.steps)) {
            if !left.is_of_the_same_step_as(right) {
                let (left, right) = (left.to_string(), right.to_string());
                return Err(TraceError::DifferentModels { index, left, right });
            }
            if left.hash != right.hash {
                return Ok(Some(Difference { step: left.clone(), other_hash: right.hash }));
            }
        }
        let (left, right) = (self.steps.len(), other.steps.len());
        if left != right {
            return Err(TraceError::DifferentLengths { common: left.min(right), left, right });
        }
        Ok(None)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{MAGIC}{} on {}\n{COLUMNS}", self.model, self.target)?;
        for TracedStep { row, step, operator, writes, hash, name } in &self.steps {
            let step = step.map_or_else(|| "-".to_owned(), |step| step.to_string());
            let line = format!("{row}\t{step}\t{operator}\t{writes}\t{hash:08x}\t{name}");
            writeln!(f, "{}", line.trim_end_matches('\t'))?;
        }
        Ok(())
    }
}

impl TracedStep {
    /// Reads a line; an error is the title of the first column that is wrong.
    fn parse(line: &str) -> Result<Self, &'static str> {
        let mut cells = line.splitn(6, '\t');
        let mut cell = |column| cells.next().filter(|cell| !cell.is_empty()).ok_or(column);
        let row = cell("row")?.parse().map_err(|_| "row")?;
        let step = match cell("step")? {
            "-" => None,
            step => Some(step.parse().map_err(|_| "step")?),
        };
        let (operator, writes) = (cell("operator")?.to_owned(), cell("writes")?.to_owned());
        let hash = cell("hash")?;
        let is_hash = hash.len() == 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let hash = u32::from_str_radix(hash, 16).ok().filter(|_| is_hash).ok_or("hash")?;
        let name = cells.next().unwrap_or_default().to_owned();
        Ok(Self { row, step, operator, writes, hash, name })
    }

    /// Whether both stand for the same step of one model: all but the hash is the same, and the names, which are only names.
    fn is_of_the_same_step_as(&self, other: &Self) -> bool {
        (self.row, self.step, &self.operator, &self.writes)
            == (other.row, other.step, &other.operator, &other.writes)
    }
}

impl fmt::Display for TracedStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, step, operator, writes, name, .. } = self;
        write!(f, "row {row}, ")?;
        match step {
            Some(step) => write!(f, "step {step}, {operator}")?,
            None => f.write_str("the input")?,
        }
        write!(f, " {writes}")?;
        if name.is_empty() { Ok(()) } else { write!(f, " ({name})") }
    }
}

fn input(row: u32, bytes: &[u8], entry: &EntryInspection) -> TracedStep {
    let (operator, writes) = ("input".to_owned(), tensors(&entry.inputs));
    TracedStep { row, step: None, operator, writes, hash: crc32c(bytes), name: String::new() }
}

/// Types and shapes, as `i8[1,8,8,16]`; several are joined by `+`.
fn tensors(tensors: &[Tensor]) -> String {
    let one = |tensor: &Tensor| {
        let element_type = match tensor.element_type {
            ElementType::I8 => "i8",
            ElementType::U8 => "u8",
            ElementType::I16 => "i16",
            ElementType::I32 => "i32",
            ElementType::F32 => "f32",
        };
        let [n, h, w, c] = tensor.shape;
        format!("{element_type}[{n},{h},{w},{c}]")
    };
    tensors.iter().map(one).collect::<Vec<_>>().join("+")
}

fn as_hex<S: serde::Serializer>(hash: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{hash:08x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(row: u32, index: u32, hash: u32) -> TracedStep {
        let (operator, writes) = ("add_i8".to_owned(), "i8[1,2,3,4]".to_owned());
        TracedStep { row, step: Some(index), operator, writes, hash, name: format!("add {index}") }
    }

    fn trace(steps: Vec<TracedStep>) -> Trace {
        Trace { model: "a model on ice".to_owned(), target: "host".to_owned(), steps }
    }

    fn example() -> Trace {
        let input =
            TracedStep { step: None, operator: "input".to_owned(), name: String::new(), ..step(0, 0, 7) };
        trace(vec![input, step(0, 0, 0xffff_ffff), step(0, 1, 0)])
    }

    #[test]
    fn text_round_trips() {
        let (trace, text) = (example(), example().to_string());
        assert_eq!(Trace::parse(&text), Ok(trace));
        assert!(text.ends_with("0\t1\tadd_i8\ti8[1,2,3,4]\t00000000\tadd 1\n"), "{text}");
    }

    #[test]
    fn what_is_no_trace_is_refused_with_its_line() {
        assert_eq!(Trace::parse("hello\n"), Err(TraceError::NoTrace));
        assert_eq!(Trace::parse(""), Err(TraceError::NoTrace));
        let text = example().to_string();
        for (from, to, line, column) in [
            ("row\tstep", "row\tpets", 2, "row"),
            ("\t00000007", "\t7", 3, "hash"),
            ("\t00000007", "\t+0000007", 3, "hash"),
            ("0\t0\tadd", "0\tx\tadd", 4, "step"),
            ("0\t1\tadd_i8\ti8[1,2,3,4]\t00000000\tadd 1", "0\t1\tadd_i8", 5, "writes"),
        ] {
            assert!(text.contains(from), "{from}");
            assert_eq!(Trace::parse(&text.replacen(from, to, 1)), Err(TraceError::Line { line, column }));
        }
    }

    #[test]
    fn the_first_difference_is_found() {
        let one = example();
        assert_eq!(one.first_difference(&one), Ok(None));
        let mut other = one.clone();
        other.steps[2].hash = 1;
        let found = one.first_difference(&other).unwrap().unwrap();
        assert_eq!((found.step.step, found.step.hash, found.other_hash), (Some(1), 0, 1));
        other.steps[1].hash = 1;
        let found = other.first_difference(&one).unwrap().unwrap();
        assert_eq!((found.step.step, found.step.hash, found.other_hash), (Some(0), 1, 0xffff_ffff));
    }

    #[test]
    fn other_models_and_lengths_are_errors_but_other_names_are_not() {
        let one = example();
        let mut other = one.clone();
        other.steps[1].name = "another".to_owned();
        assert_eq!(one.first_difference(&other), Ok(None));
        other.steps[1].operator = "mul_i8".to_owned();
        assert!(matches!(one.first_difference(&other), Err(TraceError::DifferentModels { index: 2, .. })));
        other = one.clone();
        other.steps.pop();
        let error = TraceError::DifferentLengths { common: 2, left: 2, right: 3 };
        assert_eq!(other.first_difference(&one), Err(error));
    }
}
