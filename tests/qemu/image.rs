//! What is in an image: of the operators only those that its model uses, nothing that can panic, and no more bytes than were agreed on.

use std::fs;
use std::path::Path;

use object::{Object, ObjectSymbol};
use smidgen_trainer::device::{Device, DeviceError, NoPanic, Optimize, Target};

use crate::emulator;
use crate::models::{float_net, int8_net, sum};

/// Names of the image's functions, with their paths.
fn functions(image: &Path) -> Vec<String> {
    let bytes = fs::read(image).unwrap();
    let elf = object::File::parse(bytes.as_slice()).unwrap();
    let names = elf.symbols().filter(ObjectSymbol::is_definition);
    names.filter_map(|symbol| Some(format!("{:#}", rustc_demangle::demangle(symbol.name().ok()?)))).collect()
}

/// Whether the image has code of the module `conv_2d` of the operators.
fn has_convolution(image: &Path) -> bool {
    functions(image)
        .iter()
        .any(|name| name.contains("ops::conv_2d") || name.contains("ops::depthwise_conv_2d"))
}

#[test]
fn unused_operators_are_not_linked() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let device = Device::new(Target::CortexM4);
    let [sums, with_relu, float, int8] = [sum(false), sum(true), float_net(), int8_net()].map(|model| {
        let size = device.code_size(&model).unwrap();
        (size, has_convolution(&device.application_image(&model).unwrap()))
    });
    println!("sums {sums:?}\nwith ReLU {with_relu:?}\nfloat {float:?}\nint8 {int8:?}");
    assert!(sums.0.text_bytes < with_relu.0.text_bytes);
    assert!(with_relu.0.text_bytes + 2000 < float.0.text_bytes.min(int8.0.text_bytes));
    assert_eq!([sums.1, with_relu.1, float.1, int8.1], [false, false, true, true]);
}

/// The most bytes of code and constants, without the model, that an image for the Cortex-M4 may have: about 5 % more than it had when
/// this was written.
const TWO_SUMS_BUDGET: usize = 12_900;
/// As [`TWO_SUMS_BUDGET`].
const INT8_BUDGET: usize = 25_400;

#[test]
fn images_keep_to_their_budgets() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let budgets = [("two sums", sum(false), TWO_SUMS_BUDGET), ("the int8 network", int8_net(), INT8_BUDGET)];
    for (name, model, budget) in budgets {
        let size = Device::new(Target::CortexM4).code_size(&model).unwrap();
        let found = size.bytes();
        println!("{name}: {found} of {budget} bytes");
        assert!(
            found <= budget,
            "the image of {name} has {found} bytes of code ({size:?}), its budget is {budget}. Flash is what a device has least of: find what \
             grew (`cargo bloat`, or the symbols of the image under firmware/target/images) and shrink it, or raise the budget \
             and say in the commit what the bytes buy"
        );
        // A budget that nothing comes near to bounds nothing.
        assert!(
            found > budget * 4 / 5,
            "the image of {name} has only {found} bytes now: lower its budget of {budget}"
        );
    }
}

#[test]
fn an_inference_image_links_no_panic() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let device = Device::new(Target::CortexM4);
    for (name, model) in [("two sums", sum(true)), ("f32", float_net()), ("int8", int8_net())] {
        for optimize in [Optimize::Speed, Optimize::Size] {
            for load in [false, true] {
                let proof = NoPanic { optimize, load, control: false };
                if let Err(error) = device.prove_no_panic(&model, proof) {
                    panic!("the image of {name}, {proof:?}: {error}");
                }
            }
        }
    }
}

#[test]
fn an_image_that_can_panic_does_not_link() {
    if !emulator(Target::CortexM4) {
        return;
    }
    let device = Device::new(Target::CortexM4);
    for (optimize, load) in [(Optimize::Speed, false), (Optimize::Size, true)] {
        match device.prove_no_panic(&sum(true), NoPanic { optimize, load, control: true }) {
            Err(DeviceError::Build { output, .. }) => {
                assert!(output.contains("smidgen_can_panic"), "{output}");
            }
            other => panic!("{other:?}"),
        }
    }
}
