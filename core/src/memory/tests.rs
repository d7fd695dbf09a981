//! Tests of views.

use super::*;
use crate::operand::{ElementType, Quantization, Shape};

fn bytes_at(space: Space, offset: u32, length: u32) -> Operand {
    Operand {
        space,
        element_type: ElementType::I8,
        offset,
        shape: Shape::vector(length),
        quantization: Quantization::NONE,
    }
}

fn with_memory<T>(run: impl FnOnce(Memory<'_>) -> T) -> T {
    let constant: [u8; 8] = core::array::from_fn(|i| i as u8);
    let mut chunk = [0u8; 8];
    let mut arena: [u8; 32] = core::array::from_fn(|i| 100 + i as u8);
    run(Memory {
        constant: &constant,
        arena: &mut arena,
        elsewhere: &mut OtherSpaces {
            chunks: Chunks::One(Bytes::Exclusive(&mut chunk)),
            ..OtherSpaces::empty()
        },
    })
}

#[test]
fn views_are_the_right_bytes_in_any_order() {
    with_memory(|mut memory| {
        let [low, high, both] = [(16, 4), (24, 8), (0, 16)].map(|(o, n)| bytes_at(Space::Arena, o, n));
        let constant = bytes_at(Space::Constant, 2, 3);
        let Views { reads, writes } = memory.views([&both, &constant, &both], [&high, &low]).unwrap();
        assert_eq!(reads[0].first(), Some(&100));
        assert_eq!(reads[1], [2, 3, 4]);
        assert_eq!(reads[0], reads[2]);
        assert_eq!((writes[0].len(), writes[0].first()), (8, Some(&124)));
        assert_eq!((writes[1].len(), writes[1].first()), (4, Some(&116)));
    });
}

#[test]
fn what_overlaps_or_lies_outside_is_not_there() {
    with_memory(|mut memory| {
        let operand = |o, n| bytes_at(Space::Arena, o, n);
        let error = |memory: &mut Memory<'_>, read, write| memory.views([&read], [&write]).unwrap_err();
        assert_eq!(error(&mut memory, operand(0, 8), operand(7, 2)), StepError::Memory);
        assert_eq!(error(&mut memory, operand(30, 3), operand(0, 2)), StepError::Memory);
        assert_eq!(error(&mut memory, operand(0, 2), operand(30, 3)), StepError::Memory);
        let writes = memory.views([], [&operand(0, 8), &operand(4, 8)]).unwrap_err();
        assert_eq!(writes, StepError::Memory);
        let constant = bytes_at(Space::Constant, 0, 1);
        assert_eq!(memory.views([], [&constant]).unwrap_err(), StepError::Memory);
    });
}

#[test]
fn output_over_input_is_one_region() {
    with_memory(|mut memory| {
        let [input, output, scratch] = [(8, 8), (4, 6), (16, 4)].map(|(o, n)| bytes_at(Space::Arena, o, n));
        let constant = bytes_at(Space::Constant, 1, 2);
        let (mut both, views) = memory.over([&input, &constant], [&output, &scratch]).unwrap();
        assert!(matches!(both, InOut::Over { .. }));
        assert_eq!((views.reads[1], views.writes[1].first()), ([1, 2].as_slice(), Some(&116)));
        assert_eq!(both.input(), [108, 109, 110, 111, 112, 113, 114, 115]);
        both.output().fill(0);
        assert_eq!(both.input(), [0, 0, 110, 111, 112, 113, 114, 115]);
        let (mut both, _) = memory.over([&scratch], [&output]).unwrap();
        assert!(matches!(both, InOut::Apart { .. }));
        assert_eq!(both.input().first(), Some(&116));
        assert_eq!(both.output().len(), 6);
        // The scratch lies between them, and over them.
        let between = bytes_at(Space::Arena, 9, 1);
        let found = memory.over([&input], [&output, &between]).unwrap_err();
        assert_eq!(found, StepError::Memory);
    });
}

/// The short way to a layer's operands and the long one end at the same bytes, wherever they lie in the arena.
#[test]
fn layers_have_their_views_in_any_order() {
    let places = [(0, 8), (4, 8), (8, 4), (12, 8), (16, 8), (24, 8), (28, 8)];
    let triples = places.into_iter().flat_map(|input| {
        places.into_iter().flat_map(move |output| {
            let scratches = places.into_iter().map(Some).chain([None]);
            scratches.map(move |scratch| [Some(input), Some(output), scratch])
        })
    });
    let (mut apart, mut over, mut refused) = (0, 0, 0);
    for operands in triples {
        with_memory(|mut memory| {
            let constant = bytes_at(Space::Constant, 2, 3);
            let [input, output, scratch] =
                operands.map(|place| place.map(|(offset, length)| bytes_at(Space::Arena, offset, length)));
            let (input, output) = (input.unwrap(), output.unwrap());
            let bytes = |views: LayerViews<'_>| {
                let (mut both, constant, scratch) = views;
                let is_over = matches!(both, InOut::Over { .. });
                let [input, output] = [both.input().to_vec(), both.output().to_vec()];
                (is_over, input, output, constant.to_vec(), scratch.to_vec())
            };
            let found = memory.layer_views([&input, &constant], &output, scratch.as_ref()).map(bytes);
            let expected =
                memory.reborrow().layer_anywhere([&input, &constant], &output, scratch.as_ref()).map(bytes);
            assert_eq!(found, expected, "{operands:?}");
            match found {
                Ok((true, ..)) => over += 1,
                Ok(_) => apart += 1,
                Err(error) => {
                    assert_eq!(error, StepError::Memory);
                    refused += 1;
                }
            }
        });
    }
    assert!(apart > 50 && over > 50 && refused > 50, "{apart} {over} {refused}");
}

#[test]
fn one_chunk_is_a_list_of_one() {
    with_memory(|mut memory| {
        let partial = bytes_at(Space::Chunk, 4, 4);
        let sum = bytes_at(Space::Arena, 0, 4);
        let (partials, [out]) = memory.reduce(&partial, [&sum]).unwrap();
        assert_eq!(partials.count(), 1);
        for instance in partials.iter::<u8>() {
            out.copy_from_slice(instance.unwrap());
        }
    });
}
