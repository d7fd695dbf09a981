//! Holds the int8 kernels of this processor against 64-bit arithmetic: `random_cases CASES [KERNEL] [SEED]`. A case is one output element; without a kernel, all of
//! them have as many. Prints a line for each, and fails if one output differs.

use std::process::ExitCode;
use std::{env, thread};

use smidgen_tests::random_cases::{KERNELS, Problem, Tally, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number =
        |index: usize, default: u64| arguments.get(index).map_or(Some(default), |text| text.parse().ok());
    let kernels: Vec<&(&str, Problem)> =
        KERNELS.iter().filter(|(name, _)| arguments.get(1).is_none_or(|wanted| wanted == name)).collect();
    let (Some(cases), Some(seed)) = (number(0, 1_000_000), number(2, 1)) else {
        eprintln!("usage: random_cases CASES [KERNEL] [SEED]");
        return ExitCode::FAILURE;
    };
    if kernels.is_empty() {
        eprintln!("the kernels are {}", KERNELS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "));
        return ExitCode::FAILURE;
    }
    let threads = thread::available_parallelism().map_or(1, usize::from).min(kernels.len());
    let mut failed = false;
    for kernels in kernels.chunks(threads) {
        let tallies: Vec<Tally> = thread::scope(|scope| {
            let running: Vec<_> =
                kernels.iter().map(|&&(_, problem)| scope.spawn(move || run(problem, cases, seed))).collect();
            running.into_iter().map(|thread| thread.join().unwrap_or_default()).collect()
        });
        for ((name, _), tally) in kernels.iter().zip(tallies) {
            let Tally { cases: compared, different, saturated: [low, high], refused: [refused, all], first } =
                tally;
            println!(
                "{name}: {compared} cases, {different} differ; {low} are -128, {high} are 127; {refused} of {all} problems refused"
            );
            if let Some(first) = first {
                println!("  first: {first}");
            }
            failed |= different > 0 || compared < cases;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
