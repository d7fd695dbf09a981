//! Some random cases of each int8 kernel; `examples/random_cases.rs` goes through as many as one likes.

use smidgen_tests::random_cases::{KERNELS, Outputs, Random, Tally, run};

const CASES: u64 = 20_000;

#[test]
fn kernels_equal_the_reference() {
    for &(name, problem) in KERNELS {
        let Tally { cases, different, saturated, refused: [refused, all], first } = run(problem, CASES, 1);
        assert_eq!(different, 0, "{name}: {first:?}");
        assert!(
            cases >= CASES && saturated.iter().all(|&count| count > CASES / 100),
            "{name}: {saturated:?}"
        );
        // Few problems are more than a layout can hold.
        assert!(refused <= all * 3 / 4, "{name}: {refused} of {all} problems refused");
    }
}

#[test]
fn a_difference_is_noticed() {
    fn wrong(random: &mut Random) -> Option<Outputs> {
        let (_, problem) = KERNELS[0];
        let mut outputs = problem(random)?;
        let last = outputs.found.last_mut()?;
        *last = last.wrapping_add(1);
        Some(outputs)
    }
    let Tally { cases, different, first, .. } = run(wrong, 1000, 2);
    assert!(different > 0 && different < cases && first.is_some());
}
