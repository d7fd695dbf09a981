//! Faults of lengths, entries and initial values, and of the caller's memory.

use smidgen::model::{EntryKind, Header, LoadError, Model};
use smidgen::{AllOperators, Quantization, Session, SessionError, Shape, Space};
use smidgen_tests::faults::{AlignedBytes, Parts, edit_header, repair, sample};

use super::{in_entry, load, load_changed};

#[test]
fn memory_lengths() {
    let lengths = |change: fn(&mut Parts)| load_changed(sample::sum(), change);
    assert_eq!(lengths(|parts| parts.memory.arena += 8), Err(LoadError::MemoryLengths));
    assert_eq!(lengths(|parts| parts.memory.gradient = 1), Err(LoadError::MemoryLengths));
    assert_eq!(lengths(|parts| parts.memory.chunk = 0x8000_0000), Err(LoadError::MemoryLengths));
    let too_many = lengths(|parts| {
        parts.memory.state = 0xffff_fff0;
        parts.memory.gradient = 0xffff_fff0;
    });
    assert_eq!(too_many, Err(LoadError::MemoryLengths));
    assert_eq!(lengths(|parts| parts.memory.arena = 0x7fff_fff0), Ok(()), "the most there can be");
}

#[test]
fn arena_too_small() {
    let file = sample::sum().write();
    let model = Model::<AllOperators>::from_bytes(&file).unwrap();
    let expected = model.arena_bytes();
    let mut memory = AlignedBytes::zeroed(expected);
    for found in 0..expected {
        let error = Session::new(model, &mut memory[..found]).unwrap_err();
        assert_eq!(error, SessionError::ArenaTooSmall { expected, found });
    }
    assert!(Session::new(model, &mut memory).is_ok());
}

#[test]
fn arena_misaligned() {
    let file = sample::sum().write();
    let model = Model::<AllOperators>::from_bytes(&file).unwrap();
    let mut memory = AlignedBytes::zeroed(model.arena_bytes() + 16);
    for shift in 1..16 {
        let error = Session::new(model, &mut memory[shift..]).unwrap_err();
        assert_eq!(error, SessionError::ArenaMisaligned);
    }
}

#[test]
fn initial_values() {
    let parameters = |place| {
        load_changed(sample::sum(), |parts| {
            parts.memory.parameter = 16;
            parts.initial_parameters = place;
        })
    };
    assert_eq!(parameters(None), Ok(()));
    assert_eq!(parameters(Some(0)), Ok(()));
    assert_eq!(parameters(Some(1)), Err(LoadError::InitialValues), "the block has 16 bytes");
    assert_eq!(parameters(Some(u32::MAX - 1)), Err(LoadError::InitialValues));
    let state = load_changed(sample::sum(), |parts| {
        parts.memory.state = 32;
        parts.initial_state = Some(0);
    });
    assert_eq!(state, Err(LoadError::InitialValues));
}

#[test]
fn initial_values_reach_the_session() {
    let parts = Parts {
        memory: smidgen::model::MemoryLengths { parameter: 16, ..sample::sum().memory },
        initial_parameters: Some(0),
        ..sample::sum()
    };
    let file = parts.write();
    let model = Model::<AllOperators>::from_bytes(&file).unwrap();
    let mut memory = AlignedBytes::zeroed(model.arena_bytes());
    memory.fill(0xff);
    assert_eq!(Session::new(model, &mut memory).unwrap().parameters(), &parts.weights[..16]);
}

#[test]
fn entry_range() {
    // The writer refuses an entry whose first step is not there, so that only its length can be wrong.
    let error = Err(LoadError::Entry { entry: 0 });
    assert_eq!(load_changed(sample::sum(), |parts| parts.entries[0].step_count = 3), error);
    assert_eq!(load_changed(sample::sum(), |parts| parts.entries[0].step_count = u32::MAX), error);
    assert_eq!(load_changed(sample::sum(), |parts| parts.entries[0].first_step = 1), error);
    assert_eq!(
        load_changed(sample::sum(), |parts| (parts.entries[0].first_step, parts.entries[0].step_count) =
            (2, 0)),
        Ok(()),
        "an entry without steps, at the end"
    );
}

#[test]
fn entry_that_begins_inside_a_step() {
    let mut file = sample::sum().write();
    let entry = Header::read(&file).unwrap().entries_offset as usize;
    let head = [EntryKind::Infer as u8, 0, 1, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(file[entry..][..16], head, "kind, inputs, outputs, first step, steps, offset");
    for offset in [1, 4, 8] {
        file[entry + 12] = offset;
        repair(&mut file);
        assert_eq!(load(&file), Err(LoadError::Entry { entry: 0 }));
    }
}

#[test]
fn duplicate_entry() {
    let found = load_changed(sample::sum(), |parts| parts.entries.push(parts.entries[0].clone()));
    assert_eq!(found, Err(LoadError::Entry { entry: 1 }));
}

#[test]
fn unknown_entry_kind() {
    let file = sample::sum().write();
    let entry = Header::read(&file).unwrap().entries_offset as usize;
    for (byte, value) in [(0, 4), (1, 1)] {
        let mut file = file.clone();
        file[entry + byte] = value;
        repair(&mut file);
        assert_eq!(load(&file), Err(LoadError::Malformed { offset: entry }));
    }
}

#[test]
fn infer_lengths() {
    for edit in [|h: &mut Header| h.input_bytes += 4, |h: &mut Header| h.output_bytes = 0] {
        let mut file = sample::sum().write();
        edit_header(&mut file, edit);
        assert_eq!(load(&file), Err(LoadError::InferLengths));
    }
}

#[test]
fn entry_operands() {
    let found = |change: fn(&mut Parts)| load_changed(sample::sum(), change);
    let (input, output) = (in_entry(0, 0), in_entry(0, 1));
    assert_eq!(
        found(|parts| parts.entries[0].outputs[0].offset = 32),
        Err(LoadError::OperandOutOfRange { place: output })
    );
    assert_eq!(
        found(|parts| parts.entries[0].inputs[0].shape = Shape([1, 0, 1, 4])),
        Err(LoadError::ZeroDimension { place: input })
    );
    assert_eq!(
        found(|parts| {
            let quantization = Quantization { scale: f32::NAN, zero_point: 0 };
            parts.entries[0].outputs[0].quantization = quantization;
        }),
        Err(LoadError::BadQuantization { place: output })
    );
    assert_eq!(
        found(|parts| (parts.entries[0].inputs[0].space, parts.entries[0].inputs[0].offset) =
            (Space::Constant, 0)),
        Err(LoadError::ForbiddenWrite { place: input })
    );
}
