use std::fmt;
use std::str::FromStr;

use smidgen_protocol::machine::{self, Machine};

use crate::compile::Packing;

/// Where a model can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// This machine.
    Host,
    /// An emulated Cortex-M0, the nRF51 of a micro:bit.
    CortexM0,
    /// An emulated Cortex-M3, Arm's MPS2 AN385.
    CortexM3,
    /// An emulated Cortex-M4F, Arm's MPS2 AN386.
    CortexM4,
    /// An emulated Cortex-M7, Arm's MPS2 AN500.
    CortexM7,
    /// An emulated Cortex-M33, Arm's MPS2 AN505.
    CortexM33,
    /// An emulated Cortex-M55 with Helium, Arm's MPS3 AN547.
    CortexM55,
    /// An emulated Netduino Plus 2: a Cortex-M4F with 128 KB of memory.
    NetduinoPlus2,
}

impl Target {
    /// All targets.
    pub const ALL: [Self; 8] = [
        Self::Host,
        Self::CortexM0,
        Self::CortexM3,
        Self::CortexM4,
        Self::CortexM7,
        Self::CortexM33,
        Self::CortexM55,
        Self::NetduinoPlus2,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::CortexM0 => "cortex-m0",
            Self::CortexM3 => "cortex-m3",
            Self::CortexM4 => "cortex-m4",
            Self::CortexM7 => "cortex-m7",
            Self::CortexM33 => "cortex-m33",
            Self::CortexM55 => "cortex-m55",
            Self::NetduinoPlus2 => "netduinoplus2",
        }
    }

    /// The packing of int8 weights that its kernels are fastest with.
    pub const fn packing(self) -> Packing {
        match self {
            Self::CortexM4 | Self::CortexM7 | Self::CortexM33 | Self::NetduinoPlus2 => Packing::Dsp,
            Self::CortexM0 => Packing::Armv6m,
            Self::CortexM3 => Packing::Armv7m,
            Self::CortexM55 => Packing::Helium,
            Self::Host => Packing::Plain,
        }
    }

    /// The machine that is emulated for it, unless a model needs a larger one.
    pub(super) const fn machine(self) -> Option<&'static Machine> {
        machine::find(self.name())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No target has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no target {found:?}; the targets are {}", Target::ALL.map(Target::name).join(", "))]
pub struct UnknownTarget {
    /// The name.
    pub found: String,
}

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(name: &str) -> Result<Self, UnknownTarget> {
        let found = Self::ALL.into_iter().find(|target| target.name() == name);
        found.ok_or_else(|| UnknownTarget { found: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_every_device_has_a_machine() {
        for target in Target::ALL {
            assert_eq!(target.name().parse(), Ok(target));
            assert_eq!(target.machine().is_some(), target != Target::Host);
        }
        let larger = machine::MACHINES.iter().filter(|machine| machine.larger.is_some()).count();
        assert_eq!(machine::MACHINES.len() - larger, Target::ALL.len() - 1);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = "cortex-m5".parse::<Target>().unwrap_err().to_string();
        assert!(error.contains("\"cortex-m5\"") && error.contains("host, cortex-m0"), "{error}");
    }
}
