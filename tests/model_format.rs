//! The documents in `docs/` that specify, against the code: a model file is one postcard message and the worked example of `model-format.md`
//! is what is written; `operators.md` has every operator.

use std::fmt::Write as _;
use std::{env, fs};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smidgen::model::{EntryKind, HEADER_BYTES, Header, Model};
use smidgen::{AllOperators, ElementType, InPlace, Metadata, NewStep, Operator, Schedule, Space};
use smidgen_tests::faults::sample;

/// A whole model file as one serde type. This is the format: postcard's encoding of `File` is a file of smidgen.
#[derive(Debug, Serialize, Deserialize)]
struct File<'a> {
    magic: [u8; 4],
    version: (u8, u8),
    reserved_1: [u8; 2],
    checksum: Fixed32,
    file_bytes: Fixed32,
    /// Parameter, state, gradient, chunk, arena.
    memory: [Fixed32; 5],
    input_bytes: Fixed32,
    output_bytes: Fixed32,
    metadata_offset: Fixed32,
    entries_offset: Fixed32,
    steps_offset: Fixed32,
    weights_offset: Fixed32,
    initial_parameters: Fixed32,
    initial_state: Fixed32,
    steps_end: Fixed32,
    front_end_bytes: Fixed32,
    reserved_2: Fixed32,
    operators: [Fixed64; 4],
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(with = "bytes")]
    padding_1: &'a [u8],
    /// Entries and steps.
    #[serde(with = "bytes")]
    program: &'a [u8],
    #[serde(with = "bytes")]
    padding_2: &'a [u8],
    #[serde(with = "bytes")]
    weights: &'a [u8],
}

/// Four bytes, the least significant first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Fixed32(#[serde(with = "postcard::fixint::le")] u32);

/// Eight bytes, the least significant first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Fixed64(#[serde(with = "postcard::fixint::le")] u64);

/// Slices of bytes as serde's bytes: a length, then the bytes in place.
mod bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<&'de [u8], D::Error> {
        Deserialize::deserialize(deserializer)
    }
}

#[test]
fn a_file_is_one_postcard_message() {
    for parts in sample::all() {
        let bytes = parts.write();
        let file: File<'_> = postcard::from_bytes(&bytes).unwrap();
        let header = Header::read(&bytes).unwrap();
        assert_eq!(file.magic, smidgen::model::MAGIC);
        assert_eq!((file.version, file.file_bytes.0), (header.version, header.file_bytes));
        assert_eq!(file.operators.map(|word| word.0), header.operators.0);
        assert_eq!(file.metadata.name, parts.name);
        assert_eq!(file.program.len(), (header.steps_end - header.entries_offset) as usize);
        let steps = &file.program[(header.steps_offset - header.entries_offset) as usize..];
        assert_eq!(steps, program_of(&parts.steps));
        assert_eq!(file.weights, parts.weights);
        assert_eq!(
            [file.padding_1, file.padding_2].concat(),
            vec![0; file.padding_1.len() + file.padding_2.len()]
        );

        let mut buffer = vec![0; bytes.len()];
        assert_eq!(postcard::to_slice(&file, &mut buffer).unwrap(), &*bytes, "{}", parts.name);
    }
}

/// The steps as `model-format.md` says that they stand in a file.
fn program_of(steps: &[NewStep]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for step in steps {
        bytes.extend([step.operator, step.schedule as u8]);
        let counts = [step.attributes.len(), step.reads.len(), step.writes.len()];
        bytes.extend(counts.into_iter().flat_map(|count| (count as u16).to_le_bytes()));
        bytes.extend(step.attributes.iter().flat_map(|attribute| attribute.to_le_bytes()));
        for operand in step.reads.iter().chain(&step.writes) {
            bytes.extend((operand.space as u16).to_le_bytes());
            bytes.extend((operand.element_type as u16).to_le_bytes());
            let numbers = [&[operand.offset], operand.shape.0.as_slice()].concat();
            bytes.extend(numbers.into_iter().flat_map(u32::to_le_bytes));
            bytes.extend(operand.quantization.scale.to_le_bytes());
            bytes.extend(operand.quantization.zero_point.to_le_bytes());
        }
    }
    bytes
}

/// A dump of a file, a line for each field.
struct Dump<'a> {
    file: &'a [u8],
    at: usize,
    text: String,
}

impl<'a> Dump<'a> {
    /// The next `length` bytes, sixteen a line.
    fn bytes(&mut self, length: usize, meaning: &str) -> &'a [u8] {
        let bytes = &self.file[self.at..][..length];
        let mut meaning = Some(meaning);
        for line in bytes.chunks(16) {
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let line_text =
                format!("{:04x}  {:47}  {}", self.at, hex.join(" "), meaning.take().unwrap_or(""));
            writeln!(self.text, "{}", line_text.trim_end()).unwrap();
            self.at += line.len();
        }
        bytes
    }

    fn number(&mut self, meaning: &str) {
        let value = u32::from_le_bytes(self.file[self.at..][..4].try_into().unwrap());
        let value = if value == u32::MAX { "none".to_owned() } else { value.to_string() };
        self.bytes(4, &format!("{meaning}: {value}"));
    }

    /// The next field of postcard's encoding.
    fn field<T: DeserializeOwned>(&mut self, meaning: impl FnOnce(&T) -> String) -> T {
        let rest = &self.file[self.at..];
        let (value, after) = postcard::take_from_bytes::<T>(rest).unwrap();
        self.bytes(rest.len() - after.len(), &meaning(&value));
        value
    }

    fn string(&mut self, meaning: &str) {
        let length = postcard::take_from_bytes::<&str>(&self.file[self.at..]).unwrap().0.len();
        self.bytes(1 + length, meaning);
    }

    /// A number of `length` bytes.
    fn fixed(&mut self, length: usize, meaning: impl FnOnce(u32) -> String) -> u32 {
        let bytes = &self.file[self.at..][..length];
        let value = bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte));
        self.bytes(length, &meaning(value));
        value
    }

    fn operands(&mut self, what: &str, count: u32) {
        for _ in 0..count {
            self.fixed(2, |space| format!("  {what}: {:?}", Space::ALL[space as usize]));
            self.fixed(2, |code| {
                let types = [ElementType::I8, ElementType::I32, ElementType::F32];
                format!("    {:?}", types.into_iter().find(|&known| known as u32 == code).unwrap())
            });
            self.fixed(4, |offset| format!("    offset {offset}"));
            let shape = self.file[self.at..][..16].chunks(4);
            let shape: Vec<u32> = shape.map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect();
            self.bytes(16, &format!("    shape {shape:?}"));
            self.bytes(8, "    no quantization");
        }
    }
}

/// The dump of the sample that the document explains.
fn dump() -> String {
    let file = sample::sum().write();
    Model::<AllOperators>::from_bytes(&file).unwrap();
    let header = Header::read(&file).unwrap();
    let mut d = Dump { file: &file, at: 0, text: String::new() };
    d.bytes(4, "magic \"SMDG\"");
    d.bytes(2, "version 1.0");
    d.bytes(2, "reserved");
    d.bytes(4, "checksum");
    for meaning in [
        "length of the file",
        "memory: parameter",
        "memory: state",
        "memory: gradient",
        "memory: chunk",
        "memory: arena",
        "input of an inference, bytes",
        "output of an inference, bytes",
        "metadata begin at",
        "entries begin at",
        "steps begin at",
        "weights begin at",
        "initial parameters",
        "initial state",
    ] {
        d.number(meaning);
    }
    d.number("steps end at");
    d.number("memory of a front end");
    d.bytes(4, "reserved");
    d.bytes(32, "operators: bit 30");
    assert_eq!(d.at, HEADER_BYTES);

    assert_eq!(d.at, header.metadata_offset as usize);
    for meaning in ["name \"sum\"", "labels \"\"", "step names \"\"", "provenance \"\""] {
        d.string(meaning);
    }
    d.field::<u8>(|_| "preprocessing: None".to_owned());

    let padding = d.field::<u8>(|length| format!("padding: {length}"));
    d.bytes(padding.into(), "");
    d.field::<u32>(|length| format!("entries and steps: {length}"));

    assert_eq!(d.at, header.entries_offset as usize);
    d.fixed(2, |_| format!("entry 0: {:?}", EntryKind::Infer));
    let inputs = d.fixed(1, |count| format!("  inputs: {count}"));
    let outputs = d.fixed(1, |count| format!("  outputs: {count}"));
    d.fixed(4, |step| format!("  first step: {step}"));
    d.fixed(4, |count| format!("  steps: {count}"));
    d.fixed(4, |offset| format!("  bytes before its first step: {offset}"));
    d.operands("input", inputs);
    d.operands("output", outputs);

    assert_eq!(d.at, header.steps_offset as usize);
    for step in 0.. {
        if d.at == header.steps_end as usize {
            break;
        }
        d.fixed(1, |code| format!("step {step}: {}", Operator::from_code(code as u8).unwrap().name()));
        d.fixed(1, |_| format!("  schedule: {:?}", Schedule::PerChunk));
        let counts = ["attributes", "reads", "writes"].map(|what| d.fixed(2, |n| format!("  {what}: {n}")));
        for _ in 0..counts[0] {
            d.fixed(4, |attribute| format!("  attribute: {}", attribute.cast_signed()));
        }
        d.operands("read", counts[1]);
        d.operands("write", counts[2]);
    }
    let padding = d.field::<u8>(|length| format!("padding: {length}"));
    d.bytes(padding.into(), "");
    d.field::<u32>(|length| format!("weights: {length}"));
    assert_eq!(d.at, header.weights_offset as usize);
    d.bytes(16, "the constant -1.0, -0.75, -0.5, -0.25");
    assert_eq!(d.at, file.len());
    d.text
}

#[test]
fn the_worked_example_is_what_is_written() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/model-format.md");
    let document = fs::read_to_string(path).unwrap();
    let (begin, end) = ("```text worked-example\n", "```\n");
    let start = document.find(begin).expect("the worked example") + begin.len();
    let length = document[start..].find(end).expect("its end");
    let dump = dump();
    if env::var_os("SMIDGEN_UPDATE_DOCS").is_some() {
        let (before, after) = (&document[..start], &document[start + length..]);
        fs::write(path, [before, &dump, after].concat()).unwrap();
    } else {
        assert_eq!(
            &document[start..][..length],
            dump,
            "SMIDGEN_UPDATE_DOCS=1 writes the dump into the document"
        );
    }
}

/// What the rows of the tables of a document begin with, if that is a number: it, the name after it, and the last cell.
fn numbered_rows(document: &str) -> Vec<(u8, &str, &str)> {
    let rows = document.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let (&[code, name, ..], &last) = (cells.as_slice(), cells.last()?) else { return None };
        Some((code.parse().ok()?, name.split('`').nth(1)?, last))
    });
    rows.collect()
}

/// What `operators.md` says wrongly of the operators, in words.
fn mistakes(document: &str) -> Vec<String> {
    let rows = numbered_rows(document);
    let mut mistakes = Vec::new();
    for &(code, name, _) in &rows {
        if Operator::from_code(code).is_none_or(|operator| operator.name() != name) {
            mistakes.push(format!("there is no operator {code} `{name}`"));
        }
    }
    for operator in Operator::ALL {
        let (code, name) = (*operator as u8, operator.name());
        let of_it: Vec<_> = rows.iter().filter(|&&(found, ..)| found == code).collect();
        let &[&(_, _, in_place)] = of_it.as_slice() else {
            mistakes.push(format!("{code} `{name}` stands there {} times", of_it.len()));
            continue;
        };
        // Losses and updates have no column for it.
        let expected = match operator.in_place() {
            InPlace::Never => "never",
            InPlace::First => "first",
            InPlace::Any => "any",
        };
        if !(60..100).contains(&code) && !in_place.starts_with(expected) {
            mistakes.push(format!("{code} `{name}` works in place {in_place:?}, it should be {expected:?}"));
        }
    }
    mistakes
}

#[test]
fn every_operator_stands_in_its_document() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operators.md");
    let document = fs::read_to_string(path).unwrap();
    assert_eq!(mistakes(&document), [""; 0], "{path}");
    // It sees a name, a code and a place that are wrong, and a row that is missing.
    for (from, to) in [("| `add_i8` |", "| `add` |"), ("| 105 |", "| 104 |"), ("| any |", "| first |")] {
        assert!(document.contains(from), "{from}");
        assert_ne!(mistakes(&document.replacen(from, to, 1)), [""; 0], "{from} to {to}");
    }
    let without: String =
        document.lines().filter(|line| !line.starts_with("| 8 |")).collect::<Vec<_>>().join("\n");
    assert_eq!(mistakes(&without), ["8 `reshape` stands there 0 times"]);
}

/// The codes that have ever had a meaning, and which: a line for each. A new operator is appended by `SMIDGEN_UPDATE_DOCS=1`; what stands there stays.
#[test]
fn no_operator_code_changes_its_meaning() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens/operator_codes.txt");
    let committed = fs::read_to_string(path).unwrap();
    let line = |operator: &Operator| format!("{} {}", *operator as u8, operator.name());
    let today: Vec<String> = Operator::ALL.iter().map(line).collect();
    let changed = |committed: &str| -> Vec<String> {
        let code = |line: &str| line.split(' ').next().map(str::to_owned);
        let is_kept = |line: &&str| today.iter().all(|now| code(now) != code(line) || now == line);
        committed.lines().filter(|line| !is_kept(line)).map(str::to_owned).collect()
    };
    assert_eq!(changed(&committed), [""; 0], "a code is never used again for something else");
    assert_eq!(changed(&committed.replace("145 gru_i8", "145 svdf_i8")), ["145 svdf_i8"]);
    let missing: Vec<&String> =
        today.iter().filter(|now| !committed.lines().any(|line| line == *now)).collect();
    if env::var_os("SMIDGEN_UPDATE_DOCS").is_some() {
        let added: String = missing.iter().map(|line| format!("{line}\n")).collect();
        fs::write(path, committed + &added).unwrap();
    } else {
        assert!(missing.is_empty(), "SMIDGEN_UPDATE_DOCS=1 writes {missing:?} into {path}");
    }
}
