//! What does not fit is refused with an error that says what.

use smidgen::learn::Policy;
use smidgen::{AllOperators, ElementType, EntryKind, LearnError, Learner, Model, Session, SessionError};
use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::personalize::PersonalizeError;

use crate::models::{
    CLASSES, ELEMENTS, OPTIMIZERS, bytes, floats, int8_net, learning, options, try_learning,
};

#[test]
fn a_sample_that_does_not_fit_is_refused_and_changes_nothing() {
    let file = AlignedBytes::copy_of(&learning(&int8_net(), &options("head", OPTIMIZERS[0], 1)));
    let model = Model::<AllOperators>::from_bytes(file.as_slice()).unwrap();
    let mut memory = AlignedBytes::zeroed(model.arena_bytes());
    let session = Session::new(model, memory.as_mut_slice()).unwrap();
    let mut learner = Learner::new(session, Policy::default()).unwrap();
    let (before, input) = (learner.parameters().to_vec(), bytes(0));
    for label in [CLASSES, u32::MAX] {
        let error = LearnError::Label { classes: CLASSES, found: label };
        assert_eq!(learner.step(&input, label).unwrap_err(), error);
        assert_eq!(learner.evaluate(&input, label).unwrap_err(), error);
    }
    for found in [0, ELEMENTS - 1, ELEMENTS + 1] {
        let error = LearnError::InputLength { expected: ELEMENTS, found };
        assert_eq!(learner.step(&vec![0i8; found], 0).unwrap_err(), error);
        assert_eq!(learner.infer(&vec![0i8; found]).unwrap_err(), error);
    }
    let error = LearnError::InputType { expected: ElementType::I8, found: ElementType::F32 };
    assert_eq!(learner.step(&floats(0), 0).unwrap_err(), error);
    for found in [-0.1, 11.0, f32::INFINITY] {
        assert_eq!(learner.set_learning_rate(found).unwrap_err(), LearnError::LearningRate { found });
    }
    assert!(matches!(learner.set_learning_rate(f32::NAN), Err(LearnError::LearningRate { .. })));
    let expected = before.len();
    let error = LearnError::ParameterLength { expected, found: expected - 1 };
    assert_eq!(learner.load_parameters(&before[1..]).unwrap_err(), error);
    let mut bad = before.clone();
    bad[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(learner.load_parameters(&bad).unwrap_err(), LearnError::NotFinite { index: 2 });
    assert_eq!((learner.parameters(), learner.counts().steps), (&before[..], 0));
    learner.step(&input, CLASSES - 1).unwrap();
    assert_ne!(learner.parameters(), before);
}

#[test]
fn a_model_that_does_not_learn_is_refused() {
    let file = AlignedBytes::copy_of(&int8_net());
    let model = Model::<AllOperators>::from_bytes(file.as_slice()).unwrap();
    let mut memory = AlignedBytes::zeroed(model.arena_bytes());
    let session = Session::new(model, memory.as_mut_slice()).unwrap();
    let error = Learner::new(session, Policy::default()).unwrap_err();
    assert_eq!(error, LearnError::Session(SessionError::NoEntry { kind: EntryKind::Train }));
}

#[test]
fn what_cannot_be_personalized_says_why() {
    let net = int8_net();
    let learner = learning(&net, &options("head", OPTIMIZERS[0], 1));
    let error = try_learning(&learner, &options("head", OPTIMIZERS[0], 1)).unwrap_err();
    assert!(matches!(error, PersonalizeError::Lasting { .. }), "{error}");
    let error = try_learning(&net, &options("layers:nothing", OPTIMIZERS[0], 1)).unwrap_err();
    assert!(error.to_string().contains("conv_2d_1, depthwise_conv_2d_1"), "{error}");
    let error = try_learning(&net, &options("block:9", OPTIMIZERS[0], 1)).unwrap_err();
    assert!(matches!(error, PersonalizeError::Layer { .. }), "{error}");
}
