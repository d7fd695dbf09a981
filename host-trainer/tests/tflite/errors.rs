//! Every kind of error, and what it says.

use smidgen_tflite_schema::{BuiltinOperator as Op, TensorType};
use smidgen_trainer::tflite::{ImportError, Net, import};

use crate::networks::Tables;

/// A network that is right: two activations.
fn right() -> Tables {
    Tables::new(&[1, 2, 3]).then(Op::Relu, None, &[1, 2, 3]).then(Op::Relu6, None, &[1, 2, 3])
}

fn outcome(file: &[u8]) -> Result<(), ImportError> {
    import(&Net::read(file)?, "test").map(|_| ())
}

/// The error of a network that was changed.
#[track_caller]
fn error(change: impl FnOnce(&mut Tables)) -> ImportError {
    let mut tables = right();
    change(&mut tables);
    outcome(&tables.file()).unwrap_err()
}

/// The error names this table and field at a place in the file, and says this.
#[track_caller]
fn malformed(error: &ImportError, expected_table: &str, expected_field: &str, says: &str) {
    let ImportError::Malformed { table, field, offset, problem } = error else { panic!("{error}") };
    assert_eq!((*table, *field), (expected_table, expected_field), "{error}");
    assert!(*offset > 0 && problem.contains(says), "{error}");
    assert!(error.to_string().starts_with(&format!("{table}.{field} at byte {offset}: ")), "{error}");
}

#[test]
fn a_network_that_is_right_is_imported() {
    outcome(&right().file()).unwrap();
}

#[test]
fn something_else_than_a_tflite_file() {
    for file in [&b""[..], b"TFL3", b"\x93NUMPY\x01\x00 and more"] {
        let error = outcome(file).unwrap_err();
        assert!(matches!(error, ImportError::NotTflite { .. }), "{error}");
    }
}

#[test]
fn every_truncation_is_an_error() {
    let file = right().file();
    for end in 0..file.len() {
        // The file's end may be padding.
        if outcome(&file[..end]).is_ok() {
            assert!(end + 16 > file.len(), "{end} of {}", file.len());
        }
    }
}

#[test]
fn an_offset_out_of_the_file_names_its_table() {
    let file = right().file();
    let mut named = 0;
    for place in 8..file.len() - 4 {
        let mut changed = file.clone();
        changed[place..place + 4].copy_from_slice(&0x7fff_fff0u32.to_le_bytes());
        if let Err(ImportError::Malformed { table, field, offset, .. }) = outcome(&changed) {
            assert!(!table.is_empty() && !field.is_empty() && offset < file.len());
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
}

#[test]
fn indices_are_checked() {
    let tensor = error(|tables| tables.operator(1).inputs = Some(vec![3]));
    malformed(&tensor, "Operator", "inputs", "there is no tensor 3, expected below 3");
    let negative = error(|tables| tables.operator(1).inputs = Some(vec![-2]));
    malformed(&negative, "Operator", "inputs", "there is no tensor -2");
    let missing = error(|tables| tables.operator(1).inputs = Some(vec![-1]));
    malformed(&missing, "Operator", "inputs", "operator 1 (RELU6): input 0 is missing");
    let output = error(|tables| tables.operator(0).outputs = Some(vec![]));
    malformed(&output, "Operator", "outputs", "output 0 is missing");
    let code = error(|tables| tables.operator(0).opcode_index = 2);
    malformed(&code, "Operator", "opcode_index", "there is no operator code 2");
    let buffer = error(|tables| tables.tensor(1).buffer = 1);
    malformed(&buffer, "Tensor", "buffer", "there is no buffer 1");
    let input = error(|tables| tables.subgraph().inputs = Some(vec![9]));
    malformed(&input, "SubGraph", "inputs", "there is no tensor 9");
}

#[test]
fn order_is_checked() {
    let early = error(|tables| tables.subgraph().operators.as_mut().unwrap().swap(0, 1));
    malformed(&early, "Operator", "inputs", "before anything computes it");
    let twice = error(|tables| tables.operator(1).outputs = Some(vec![1]));
    malformed(&twice, "Operator", "outputs", "which is there already");
}

#[test]
fn tensors_are_checked() {
    let negative = error(|tables| tables.tensor(1).shape = Some(vec![1, -2, 3]));
    malformed(&negative, "Tensor", "shape", "negative dimension");
    let rank = error(|tables| tables.tensor(1).shape = Some(vec![1; 9]));
    malformed(&rank, "Tensor", "shape", "9 dimensions");
    let external = error(|tables| tables.tensor(1).external_buffer = 1);
    malformed(&external, "Tensor", "external_buffer", "another file");
    let scale = error(|tables| tables.tensor(1).quantization.as_mut().unwrap().scale = Some(vec![f32::NAN]));
    malformed(&scale, "QuantizationParameters", "scale", "NaN");
    let zero_points =
        error(|tables| tables.tensor(1).quantization.as_mut().unwrap().zero_point = Some(vec![0, 0]));
    malformed(&zero_points, "QuantizationParameters", "zero_point", "there are 2 for 1 scales");
}

#[test]
fn versions_are_checked() {
    let version = error(|tables| tables.0.version = 4);
    malformed(&version, "Model", "version", "version 4, expected 3");
    let none = error(|tables| tables.0.subgraphs = Some(vec![]));
    malformed(&none, "Model", "subgraphs", "there are none");
}

#[test]
fn tables_that_are_used_over_and_over_are_too_large() {
    // A subgraph in which every one of many operators names the same list of many inputs.
    let mut tables = right();
    let operator = tables.operator(0).clone();
    tables.operator(0).inputs = Some(vec![0; 4000]);
    tables.subgraph().operators.as_mut().unwrap().extend(vec![operator; 4000]);
    let mut file = tables.file();
    // Point all vectors of one input to the long one: the offsets of the tables differ, the list is the same.
    let long = 4000u32.to_le_bytes();
    let target = file.windows(4).position(|bytes| bytes == long).unwrap();
    let short = 1u32.to_le_bytes();
    let lists: Vec<usize> = (8..file.len() - 8)
        .step_by(4)
        .filter(|&at| file[at..at + 4] == short && file[at + 4..at + 8] == [0; 4])
        .collect();
    for at in (8..target).step_by(4) {
        let offset = u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        if lists.contains(&(at + offset)) {
            file[at..at + 4].copy_from_slice(&((target - at) as u32).to_le_bytes());
        }
    }
    let error = outcome(&file).unwrap_err();
    assert!(matches!(error, ImportError::TooLarge { table: "Operator", .. }), "{error}");
}

#[test]
fn all_unsupported_operators_are_listed_at_once() {
    let tables = Tables::new(&[1, 4]).then(Op::Atan2, None, &[1, 4]).then(Op::Relu, None, &[1, 4]).then(
        Op::StablehloAdd,
        None,
        &[1, 4],
    );
    let error = outcome(&tables.file()).unwrap_err();
    let ImportError::Unsupported { unsupported, operators } = &error else { panic!("{error}") };
    assert_eq!((unsupported.len(), *operators), (2, 3));
    let expected = "2 of 3 operators cannot be imported:\n  operator 0, ATAN2 version 2: there is no such \
                    operator here; it reads \"input\" INT8[1, 4] and computes \"tensor_1\" INT8[1, 4]\n  \
                    operator 2, STABLEHLO_ADD version 2: there is no such operator here; it reads \
                    \"tensor_2\" INT8[1, 4] and computes \"tensor_3\" INT8[1, 4]";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_operator_from_the_future_has_a_number() {
    let mut tables = right();
    tables.0.operator_codes.as_mut().unwrap()[0].builtin_code = 5000;
    let error = outcome(&tables.file()).unwrap_err().to_string();
    assert!(error.contains("operator 0, operator code 5000 version 2"), "{error}");
}

#[test]
fn reasons_are_said() {
    let reason = |change: fn(&mut Tables)| match error(change) {
        ImportError::Unsupported { unsupported, .. } => unsupported[0].reason.clone(),
        error => panic!("{error}"),
    };
    let shape = reason(|tables| tables.tensor(1).shape = Some(vec![1, 2, 4]));
    assert!(shape.contains("[1, 1, 2, 4]") && shape.contains("expected [1, 1, 2, 3]"), "{shape}");
    let scale = reason(|tables| tables.tensor(1).quantization = None);
    assert!(scale.contains("needs one positive scale"), "{scale}");
    let element_type = reason(|tables| tables.tensor(1).type_ = TensorType::Float64);
    assert!(element_type.contains("FLOAT64"), "{element_type}");
}

#[test]
fn networks_that_cannot_run_are_refused() {
    let text = |change: fn(&mut Tables)| match error(change) {
        ImportError::Network { problem } => problem,
        error => panic!("{error}"),
    };
    let no_output = text(|tables| tables.subgraph().outputs = Some(vec![]));
    assert!(no_output.contains("no inputs or no outputs"), "{no_output}");
    let twice = text(|tables| tables.subgraph().inputs = Some(vec![0, 0]));
    assert!(twice.contains("is an input twice"), "{twice}");
    let strings = text(|tables| tables.tensor(0).type_ = TensorType::String);
    assert!(strings.contains("input 0") && strings.contains("STRING"), "{strings}");
}
