//! Faults of steps and their operands.

use smidgen::model::LoadError;
use smidgen::ops::Operator;
use smidgen::{ElementType, EntryKind, Quantization, Schedule, Shape, Space, StepError};
use smidgen_tests::faults::sample::Builder;
use smidgen_tests::faults::{Parts, sample};

use super::{in_step, load, load_changed};

/// The index of the first step with this operator in [`sample::int8`].
fn int8_step(operator: Operator) -> usize {
    sample::int8().steps.iter().position(|step| step.operator == operator as u8).unwrap()
}

#[test]
fn operand_out_of_range() {
    // Each space ends with its own length.
    for space in Space::ALL {
        let found = load_changed(sample::sum(), |parts| {
            let operand = &mut parts.steps[0].reads[1];
            (operand.space, operand.offset) = (space, 64);
        });
        assert_eq!(found, Err(LoadError::OperandOutOfRange { place: in_step(0, 1) }), "{space:?}");
    }
    let write = load_changed(sample::sum(), |parts| parts.steps[1].writes[0].offset = 20);
    assert_eq!(write, Err(LoadError::OperandOutOfRange { place: in_step(1, 2) }), "one element too far");
    let far = load_changed(sample::sum(), |parts| parts.steps[1].writes[0].offset = 0xffff_fffc);
    assert_eq!(far, Err(LoadError::OperandOutOfRange { place: in_step(1, 2) }));
}

#[test]
fn operand_misaligned() {
    for offset in 1..4 {
        let found = load_changed(sample::sum(), |parts| parts.steps[0].reads[1].offset = offset);
        assert_eq!(found, Err(LoadError::OperandMisaligned { place: in_step(0, 1) }));
    }
}

#[test]
fn zero_dimension() {
    for dimension in 0..4 {
        let found = load_changed(sample::sum(), |parts| parts.steps[0].reads[0].shape.0[dimension] = 0);
        assert_eq!(found, Err(LoadError::ZeroDimension { place: in_step(0, 0) }));
    }
}

#[test]
fn shape_overflow() {
    for shape in [[1, 1, 1, 0x8000_0000], [0x1_0000, 0x1_0000, 1, 1], [u32::MAX; 4], [2, 2, 0x4000_0000, 1]] {
        let found = load_changed(sample::sum(), |parts| parts.steps[0].reads[0].shape = Shape(shape));
        assert_eq!(found, Err(LoadError::ShapeOverflow { place: in_step(0, 0) }), "{shape:?}");
    }
    // Fits 31 bits as a count of elements; as bytes it lies in no space.
    let found =
        load_changed(sample::sum(), |parts| parts.steps[0].reads[0].shape = Shape([1, 1, 1, 0x7fff_ffff]));
    assert_eq!(found, Err(LoadError::OperandOutOfRange { place: in_step(0, 0) }));
}

#[test]
fn bad_quantization() {
    let step = int8_step(Operator::Conv2dI8);
    for (scale, zero_point) in
        [(0.0, 0), (-0.5, 0), (f32::NAN, 0), (f32::INFINITY, 0), (0.5, 128), (0.5, -129), (0.5, i32::MIN)]
    {
        let quantization = Quantization { scale, zero_point };
        let found =
            load_changed(sample::int8(), |parts| parts.steps[step].writes[0].quantization = quantization);
        assert_eq!(found, Err(LoadError::BadQuantization { place: in_step(step as u32, 3) }));
    }
    let missing =
        load_changed(sample::int8(), |parts| parts.steps[step].reads[0].quantization = Quantization::NONE);
    assert_eq!(missing, Err(LoadError::BadQuantization { place: in_step(step as u32, 0) }));
}

#[test]
fn bad_requantization() {
    let step = int8_step(Operator::FullyConnectedI8);
    let records = sample::int8().steps[step].reads[2].offset as usize;
    // A record is bias, multiplier, shift.
    for (word, value) in [(1, -1), (1, 1), (2, 31), (2, -32), (2, i32::MIN)] {
        let found = load_changed(sample::int8(), |parts| {
            parts.weights[records + 4 * word..][..4].copy_from_slice(&i32::to_le_bytes(value));
        });
        assert_eq!(
            found,
            Err(LoadError::BadQuantization { place: in_step(step as u32, 2) }),
            "{word} {value}"
        );
    }
}

#[test]
fn accumulator_overflow() {
    let step = int8_step(Operator::FullyConnectedI8);
    let records = sample::int8().steps[step].reads[2].offset as usize;
    let found = load_changed(sample::int8(), |parts| {
        parts.weights[records + 12..][..4].copy_from_slice(&i32::MAX.to_le_bytes());
    });
    let error = StepError::Accumulator { channel: 1 };
    assert_eq!(found, Err(LoadError::Step { step: step as u32, error }));
}

#[test]
fn zero_stride() {
    for operator in [Operator::Conv2dI8, Operator::MaxPool2dI8, Operator::AveragePool2dI8] {
        let step = int8_step(operator);
        for (attribute, value) in [0, 1, 2, 3, 8, 9].into_iter().zip([0, -1, 0, i32::MIN, 0, -7]) {
            let found = load_changed(sample::int8(), |parts| parts.steps[step].attributes[attribute] = value);
            let error = LoadError::ZeroStride { step: step as u32, attribute: attribute as u8 };
            assert_eq!(found, Err(error), "{operator:?}");
        }
    }
}

#[test]
fn bad_attribute() {
    let found = load_changed(sample::sum(), |parts| parts.steps[1].attributes[0] = 5);
    let error = StepError::Attribute { index: 0, found: 5 };
    assert_eq!(found, Err(LoadError::Step { step: 1, error }));
    let found = load_changed(sample::sum(), |parts| parts.steps[1].attributes.truncate(1));
    let error = StepError::AttributeCount { expected: 2, found: 1 };
    assert_eq!(found, Err(LoadError::Step { step: 1, error }));
}

#[test]
fn wrong_operand_count() {
    let found = load_changed(sample::sum(), |parts| parts.steps[0].reads.truncate(1));
    let error = StepError::ReadCount { expected: 2, found: 1 };
    assert_eq!(found, Err(LoadError::Step { step: 0, error }));
    let found = load_changed(sample::sum(), |parts| parts.steps[0].writes.clear());
    let error = StepError::WriteCount { expected: 1, found: 0 };
    assert_eq!(found, Err(LoadError::Step { step: 0, error }));
}

#[test]
fn wrong_element_type() {
    let found = load_changed(sample::sum(), |parts| parts.steps[0].reads[1].element_type = ElementType::I32);
    let error = StepError::ElementType { operand: 1 };
    assert_eq!(found, Err(LoadError::Step { step: 0, error }));
}

#[test]
fn wrong_shape() {
    let found = load_changed(sample::sum(), |parts| parts.steps[0].reads[1].shape = Shape([1, 1, 2, 2]));
    let error = StepError::Shape { operand: 1 };
    assert_eq!(found, Err(LoadError::Step { step: 0, error }));
}

#[test]
fn unknown_operator() {
    for code in [0, 255] {
        let found = load_changed(sample::sum(), |parts| parts.steps[1].operator = code);
        assert_eq!(found, Err(LoadError::UnknownOperator { step: 1, code }));
    }
}

#[test]
fn overlapping_write() {
    // A write may lie in exactly the place of a read, where the operator allows it, but not run over a part of it.
    let found = load_changed(sample::sum(), |parts| parts.steps[1].writes[0].offset = 4);
    assert_eq!(found, Err(LoadError::OverlappingWrite { place: in_step(1, 2) }));

    // An operator that does not work in place.
    let step = int8_step(Operator::MaxPool2dI8);
    let found = load_changed(sample::int8(), |parts| {
        parts.steps[step].writes[0].offset = parts.steps[step].reads[0].offset;
    });
    assert_eq!(found, Err(LoadError::OverlappingWrite { place: in_step(step as u32, 1) }));
}

#[test]
fn overlapping_writes_of_one_step() {
    let found = load_changed(sample::sum(), |parts| {
        let write = parts.steps[1].writes[0];
        parts.steps[1].writes.push(write).unwrap();
    });
    assert_eq!(found, Err(LoadError::OverlappingWrite { place: in_step(1, 3) }));
}

#[test]
fn forbidden_write() {
    let found = |schedule, space| {
        load_changed(sample::sum(), |parts| {
            let memory = &mut parts.memory;
            for length in [&mut memory.parameter, &mut memory.state, &mut memory.gradient, &mut memory.chunk]
            {
                *length = 32;
            }
            let step = &mut parts.steps[1];
            step.schedule = schedule;
            (step.writes[0].space, step.writes[0].offset) = (space, 0);
        })
    };
    for space in Space::ALL {
        let forbidden = Err(LoadError::ForbiddenWrite { place: in_step(1, 2) });
        let is_own = matches!(space, Space::Chunk | Space::Arena);
        assert_eq!(found(Schedule::PerChunk, space), if is_own { Ok(()) } else { forbidden }, "{space:?}");
        let is_fixed = matches!(space, Space::Constant | Space::Chunk);
        assert_eq!(found(Schedule::Once, space), if is_fixed { forbidden } else { Ok(()) }, "{space:?}");
    }
}

#[test]
fn forbidden_read() {
    let found = load_changed(sample::sum(), |parts| {
        parts.memory.chunk = 16;
        parts.steps[1].schedule = Schedule::Once;
        (parts.steps[1].reads[1].space, parts.steps[1].reads[1].offset) = (Space::Chunk, 0);
    });
    assert_eq!(found, Err(LoadError::ForbiddenRead { place: in_step(1, 1) }));
}

#[test]
fn a_step_that_does_not_decode() {
    let parts = sample::sum();
    let mut file = parts.write();
    let header = smidgen::model::Header::read(&file).unwrap();
    // A head of 8 bytes, two attributes, three operands.
    let second = header.steps_offset as usize + 8 + 2 * 4 + 3 * 32;
    assert_eq!(file[second], Operator::AddF32 as u8);
    // The schedule, which is 0 or 1.
    file[second + 1] = 2;
    smidgen_tests::faults::repair(&mut file);
    assert_eq!(load(&file), Err(LoadError::Malformed { offset: second }));
}

/// A model of one step.
fn one_step(build: impl FnOnce(&mut Builder)) -> Parts {
    let mut builder = Builder::new("one");
    build(&mut builder);
    builder.entry(EntryKind::Train, &[], &[]);
    builder.finish()
}

#[test]
fn an_output_over_its_input_goes_no_further_than_its_operator_allows() {
    let parts = one_step(|b| {
        let (input, output) = (b.i8([1, 4, 4, 2], 0.5, 3), b.i8([1, 4, 4, 4], 0.5, -3));
        let (filter, channels) = (b.constant_i8([4, 1, 1, 2]), b.channels(4));
        let attributes = [1, 1, 1, 1, 0, 0, 0, 0, 1, 1, -128, 127];
        b.step(Operator::Conv2dI8, &attributes, &[input, filter, channels], &[output]);
    });
    let at = |input: u32, output: u32| {
        load_changed(parts.clone(), |parts| {
            (parts.steps[0].reads[0].offset, parts.steps[0].writes[0].offset) = (input, output);
        })
    };
    // Sixteen pixels widen by two channels each; all but the last of them have to be ahead.
    let refused = Err(LoadError::OverlappingWrite { place: in_step(0, 3) });
    assert_eq!([at(30, 0), at(64, 0), at(0, 32)], [Ok(()); 3]);
    assert_eq!([at(29, 0), at(0, 0), at(0, 8), at(24, 0)], [refused; 4]);
}

#[test]
fn a_read_may_stand_twice() {
    let parts = one_step(|b| {
        let x = b.f32(Space::Arena, [1, 1, 1, 4]);
        b.step(Operator::AddF32, &[0, 0], &[x, x], &[x]);
    });
    assert_eq!(load(&parts.write()), Ok(()));
}
