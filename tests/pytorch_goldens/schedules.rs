//! Learning rates, over twenty steps.

use smidgen_trainer::recipe::{Schedule, ScheduleKind};

use crate::goldens::{Goldens, assert_close};

/// Relative to 1; rates are at most 0.3 and rounded to f32 once, and PyTorch multiplies them step by step in f64.
const RATE_TOLERANCE: f32 = 3e-8;
const KINDS: [ScheduleKind; 5] = [
    ScheduleKind::Constant,
    ScheduleKind::Step,
    ScheduleKind::Exponential,
    ScheduleKind::Cosine,
    ScheduleKind::OneCycle,
];

#[test]
fn learning_rates() {
    let goldens = Goldens::load("schedules.safetensors");
    let cases = goldens.cases("");
    for kind in KINDS {
        let index = KINDS.iter().position(|&other| other == kind).unwrap() as i32;
        assert!(
            cases.iter().any(|case| goldens.get(case, "kind").integers == [index]),
            "no case of {kind:?}"
        );
    }
    for case in cases {
        let number = |name| goldens.scalar(&case, name);
        let schedule = Schedule {
            cycles: goldens.get(&case, "cycles").integers[0].cast_unsigned(),
            kind: KINDS[goldens.get(&case, "kind").integers[0] as usize],
            learning_rate: number("learning_rate"),
            warm_up_epochs: number("warm_up_epochs"),
            initial_fraction: number("initial_fraction"),
            final_fraction: number("final_fraction"),
            step_epochs: number("step_epochs"),
            step_factor: number("step_factor"),
        };
        let rates: Vec<f32> = (0..20).map(|step| schedule.learning_rate(step, 20, 5)).collect();
        assert_close(&goldens, &case, "rates", &rates, RATE_TOLERANCE);
    }
}
