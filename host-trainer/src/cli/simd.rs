//! The instruction set of the f32 kernels.

use std::error::Error;

use clap::ValueEnum;
use smidgen::kernels::isa::{self, Isa};

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Simd {
    Off,
    Avx2,
    Avx512,
    Neon,
}

impl Simd {
    fn isa(self) -> Isa {
        match self {
            Self::Off => Isa::Scalar,
            Self::Avx2 => Isa::Avx2,
            Self::Avx512 => Isa::Avx512,
            Self::Neon => Isa::Neon,
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Makes the kernels use what was asked for.
pub(super) fn choose(asked: Option<Simd>) -> Result<(), Box<dyn Error>> {
    let Some(asked) = asked else { return Ok(()) };
    isa::choose(asked.isa()).map_err(|_| {
        let there = Simd::value_variants().iter().filter(|simd| simd.isa().is_available());
        let there: Vec<_> = there.map(|simd| simd.name()).collect();
        format!("--simd {}: this processor does not have it, expected {}", asked.name(), there.join(" or "))
            .into()
    })
}
