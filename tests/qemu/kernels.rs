//! The kernels in assembly give the bytes of the plain operators, and these those of their definition.

use smidgen_trainer::device::{Device, KernelCheck, Target};

use crate::emulator;

/// Random layers of each kind; `SMIDGEN_KERNEL_LAYERS` asks for more of them, `SMIDGEN_KERNEL_SEED` for others.
fn from_environment(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[test]
fn random_layers_give_the_bytes_of_the_plain_operators() {
    let layers = from_environment("SMIDGEN_KERNEL_LAYERS", 1000);
    let seed = from_environment("SMIDGEN_KERNEL_SEED", 1);
    let targets = [Target::CortexM0, Target::CortexM3, Target::CortexM4, Target::CortexM7, Target::CortexM33];
    for target in targets.into_iter().chain([Target::CortexM55]) {
        if !emulator(target) {
            return;
        }
        let KernelCheck { compared, different } =
            Device::new(target).check_kernels(seed, layers, false).unwrap();
        println!("{target}: {compared} layers compared, {different} differ");
        assert_eq!(different, 0);
        // Few are more than the layouts can hold.
        assert!(compared > layers * 5 / 2, "{compared}");
    }
}

#[test]
fn a_weight_that_is_changed_is_noticed() {
    for target in [Target::CortexM4, Target::CortexM55].into_iter().filter(|&target| emulator(target)) {
        let KernelCheck { compared, different } = Device::new(target).check_kernels(2, 100, true).unwrap();
        // One weight of many does not always change an output.
        assert!(different > compared / 3, "{different} of {compared}");
    }
}
