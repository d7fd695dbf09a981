//! NaN and infinity, at every input and in every gradient: weights stay finite, and what happened is counted.

use smidgen::learn::Policy;
use smidgen::{
    AllOperators, ElementType, EntryKind, Learner, Memory, Model, Observer, Operator, Outcome, Session, Step,
};
use smidgen_trainer::buffer::AlignedBytes;

use crate::models::{
    ELEMENTS, OPTIMIZERS, bytes, float_net, floats, int8_net, int8_net_with_mean, learning, options,
};

const BAD: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// Puts a number into what a step of `train` wrote.
struct Inject {
    step: u32,
    element: usize,
    value: f32,
    entry_steps: u32,
    seen: u32,
}

impl Observer for Inject {
    fn after(&mut self, index: u32, step: Step<'_>, memory: &mut Memory<'_>) {
        let is_train = self.seen < self.entry_steps;
        self.seen += 1;
        if index == self.step
            && is_train
            && let Ok(bytes) = memory.write(&step.writes[0])
        {
            bytes[self.element * 4..][..4].copy_from_slice(&self.value.to_le_bytes());
        }
    }
}

fn are_finite(parameters: &[u8]) -> bool {
    parameters.as_chunks().0.iter().all(|&bytes| f32::from_le_bytes(bytes).is_finite())
}

/// What is injected for each step of `train`: where it is a gradient of a parameter, whether it is f32 in the arena, and its elements.
fn steps(model: &Model<'_>) -> Vec<(u32, bool, usize)> {
    let entry = model.entry(EntryKind::Train).unwrap();
    let decoded: Vec<Step<'_>> = model.steps(&entry).flatten().collect();
    let is_f32 = |step: &Step<'_>| step.writes[0].element_type == ElementType::F32;
    let in_arena = |step: &Step<'_>| step.writes[0].space == smidgen::Space::Arena;
    let mut found = Vec::new();
    for (index, step) in decoded.iter().enumerate() {
        // What a guard reads next is the gradient of a parameter, or of the loss.
        let guarded = decoded[index + 1..].iter().find(|other| {
            other.reads.iter().chain(other.writes).any(|operand| operand.same_place(&step.writes[0]))
        });
        let is_guarded = guarded.is_some_and(|other| other.operator == Operator::Guard as u8);
        if is_f32(step) && in_arena(step) && step.operator != Operator::Guard as u8 {
            found.push((index as u32, is_guarded, step.writes[0].shape.elements().unwrap()));
        }
    }
    found
}

#[test]
fn what_is_not_finite_never_reaches_a_weight() {
    let (mut injected, mut counted, mut guarded_seen) = (0, 0, 0);
    for (net, tier, optimizer) in [
        (int8_net(), "block:1", OPTIMIZERS[0]),
        (int8_net(), "full", OPTIMIZERS[1]),
        (int8_net(), "full", OPTIMIZERS[2]),
        (int8_net_with_mean(), "bias", OPTIMIZERS[0]),
        (int8_net_with_mean(), "block:1", OPTIMIZERS[0]),
    ] {
        let file = AlignedBytes::copy_of(&learning(&net, &options(tier, optimizer, 1)));
        let model = Model::<AllOperators>::from_bytes(file.as_slice()).unwrap();
        let entry_steps = model.entry(EntryKind::Train).unwrap().step_count;
        let steps = steps(&model);
        let mut memory = AlignedBytes::zeroed(model.arena_bytes());
        let input = bytes(1);
        // What a step without a fault does.
        let session = Session::new(model, memory.as_mut_slice()).unwrap();
        let mut learner = Learner::new(session, Policy { patience: 0 }).unwrap();
        learner.step(&input, 2).unwrap();
        let clean = learner.parameters().to_vec();
        for (step, is_guarded, elements) in steps {
            guarded_seen += usize::from(is_guarded);
            for (element, value) in (0..elements).flat_map(|element| BAD.map(|value| (element, value))) {
                learner.factory_reset().unwrap();
                let before = learner.counts().skipped;
                let mut inject = Inject { step, element, value, entry_steps, seen: 0 };
                let loss = learner.step_observed(&input, 2, &mut inject).unwrap();
                injected += 1;
                assert!(
                    are_finite(learner.parameters()),
                    "{tier}: {value} in element {element} of step {step}"
                );
                let was_counted = loss.outcome == Outcome::Skipped;
                assert_eq!(learner.counts().skipped - before, u32::from(was_counted));
                counted += usize::from(was_counted);
                // What is not counted has met an activation that lets nothing pass, and has done nothing.
                if !was_counted && is_guarded {
                    panic!("{tier}: {value} in element {element} of gradient {step} is not counted");
                }
                if !was_counted && step > entry_steps / 2 && loss.value.is_finite() {
                    assert_eq!(
                        learner.parameters(),
                        clean,
                        "{tier}: {value} in element {element} of step {step}"
                    );
                }
                // And the step after it learns again.
                assert_eq!(learner.step(&input, 2).unwrap().outcome, Outcome::Learned);
                assert!(are_finite(learner.parameters()));
            }
        }
    }
    println!("{injected} injected, {counted} counted");
    assert!(injected > 20_000 && guarded_seen > 30 && counted > injected / 3);
}

#[test]
fn an_input_that_is_not_finite_is_skipped_and_counted() {
    for tier in ["head", "full"] {
        let file = AlignedBytes::copy_of(&learning(&float_net(), &options(tier, OPTIMIZERS[0], 1)));
        let model = Model::<AllOperators>::from_bytes(file.as_slice()).unwrap();
        let mut memory = AlignedBytes::zeroed(model.arena_bytes());
        let session = Session::new(model, memory.as_mut_slice()).unwrap();
        let mut learner = Learner::new(session, Policy { patience: 0 }).unwrap();
        let before = learner.parameters().to_vec();
        for (place, value) in (0..ELEMENTS).flat_map(|place| BAD.map(|value| (place, value))) {
            let mut input = floats(0);
            input[place] = value;
            assert_eq!(learner.step(&input, 1).unwrap().outcome, Outcome::Skipped);
        }
        let bad = 3 * ELEMENTS as u32;
        assert_eq!((learner.counts().skipped, learner.counts().steps), (bad, bad));
        assert_eq!(learner.parameters(), before);
        assert_eq!(learner.step(&floats(0), 1).unwrap().outcome, Outcome::Learned);
        assert_ne!(learner.parameters(), before);
    }
}

#[test]
fn several_in_a_row_go_back_to_the_last_good_parameters() {
    let file = AlignedBytes::copy_of(&learning(&float_net(), &options("full", OPTIMIZERS[1], 1)));
    let model = Model::<AllOperators>::from_bytes(file.as_slice()).unwrap();
    let mut memory = AlignedBytes::zeroed(model.arena_bytes());
    let mut good = vec![0; model.header().memory.parameter as usize];
    let session = Session::new(model, memory.as_mut_slice()).unwrap();
    let factory = session.parameters().to_vec();
    let learner = Learner::new(session, Policy { patience: 3 }).unwrap();
    let mut learner = learner.keep_good(&mut good).unwrap();
    let learn = |learner: &mut Learner<'_, '_, _>, count: usize| {
        for seed in 0..count {
            learner.step(&floats(seed), 1).unwrap();
        }
    };
    learn(&mut learner, 5);
    learner.mark_good();
    let marked = learner.parameters().to_vec();
    learn(&mut learner, 5);
    assert_ne!(learner.parameters(), marked);
    let bad = [f32::NAN; ELEMENTS];
    // A good one in between: it does not come to three in a row.
    for outcome in [Outcome::Skipped, Outcome::Skipped] {
        assert_eq!(learner.step(&bad, 0).unwrap().outcome, outcome);
    }
    learn(&mut learner, 1);
    for outcome in [Outcome::Skipped, Outcome::Skipped, Outcome::RolledBack] {
        assert_eq!(learner.step(&bad, 0).unwrap().outcome, outcome);
    }
    assert_eq!(learner.parameters(), marked);
    assert_eq!((learner.counts().rollbacks, learner.learning_rate().unwrap()), (1, 0.01));
    learner.factory_reset().unwrap();
    assert_eq!(learner.parameters(), factory);
}

#[test]
fn the_gate_keeps_what_is_no_worse() {
    let file = AlignedBytes::copy_of(&learning(&float_net(), &options("full", OPTIMIZERS[0], 1)));
    let model = Model::<AllOperators>::from_bytes(file.as_slice()).unwrap();
    let mut memory = AlignedBytes::zeroed(model.arena_bytes());
    let mut good = vec![0; model.header().memory.parameter as usize];
    let session = Session::new(model, memory.as_mut_slice()).unwrap();
    let learner = Learner::new(session, Policy::default()).unwrap();
    let mut learner = learner.keep_good(&mut good).unwrap();
    let samples: Vec<(Vec<f32>, u32)> = (0..10).map(|seed| (floats(seed), (seed % 5) as u32)).collect();
    let held_out = || samples.iter().map(|(input, label)| (input.as_slice(), *label));
    let before = learner.score(held_out()).unwrap();
    for _ in 0..200 {
        for (input, label) in &samples {
            learner.step(input, *label).unwrap();
        }
    }
    let after = learner.score(held_out()).unwrap();
    assert!(after.correct > before.correct, "{before:?} {after:?}");
    let learned = learner.parameters().to_vec();
    assert!(learner.gate(&before, &after).unwrap());
    // Wrong labels make it worse.
    for _ in 0..200 {
        for (input, label) in &samples {
            learner.step(input, (*label + 1) % 5).unwrap();
        }
    }
    let worse = learner.score(held_out()).unwrap();
    assert!(worse.correct < after.correct, "{after:?} {worse:?}");
    assert!(!learner.gate(&after, &worse).unwrap());
    assert_eq!(learner.parameters(), learned);
}
