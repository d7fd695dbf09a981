use super::*;

const ACTIVATIONS: [Activation; 6] = [
    Activation::None,
    Activation::Relu,
    Activation::Relu6,
    Activation::LeakyRelu { alpha: 0.3 },
    Activation::LeakyRelu { alpha: 0.0 },
    Activation::ReluN1To1,
];

fn functions() -> impl Iterator<Item = TableFunction> {
    let functions = Function::ALL.into_iter().map(TableFunction::Function);
    ACTIVATIONS.into_iter().map(TableFunction::Activation).chain(functions)
}

/// A quantization of many.
fn quantization(seed: i32) -> Quantization {
    let scale = (1 + seed * 37 % 1000) as f32 / 4000.0;
    Quantization { scale, zero_point: [-128, 127, 0, -20, 45][seed as usize % 5] }
}

#[test]
fn tables_are_the_functions() {
    for (function, seed) in functions().flat_map(|function| (0..40).map(move |seed| (function, seed))) {
        let from = quantization(seed);
        let to = match function {
            TableFunction::Function(Function::Logistic) => LOGISTIC_OUTPUT,
            TableFunction::Function(Function::Tanh) => TANH_OUTPUT,
            _ => quantization(seed + 13),
        };
        let Some(found) = table(function, from, to) else {
            assert_eq!(function, TableFunction::Function(Function::HardSwish), "{from:?} {to:?}");
            continue;
        };
        for (found, x) in found.into_iter().zip(-128i8..=127) {
            let real = from.scale * (i32::from(x) - from.zero_point) as f32;
            let value = match function {
                TableFunction::Activation(activation) => activation.apply(real),
                TableFunction::Function(Function::Sqrt | Function::Rsqrt) if real <= 0.0 => continue,
                TableFunction::Function(function) => function.apply(real),
            };
            let expected = (value / to.scale + to.zero_point as f32).clamp(-128.0, 127.0);
            // Roundings of a half each; `hard_swish` computes in 16 bits.
            let tolerance = match function {
                TableFunction::Function(Function::HardSwish) => 1.01 + 0.01 * (expected.abs() + 128.0),
                _ => 1.01,
            };
            let error = (f32::from(found) - expected).abs();
            assert!(error <= tolerance, "{function:?} {from:?} {to:?} {x}: {found}, not {expected}");
        }
    }
}

#[test]
fn activations_round_as_tensorflow_lite_micro() {
    let from = Quantization { scale: 0.1, zero_point: 3 };
    let to = Quantization { scale: 0.07, zero_point: -20 };
    let expected = |factor: f64, x: i8, [low, high]: [i32; 2]| {
        let factor = Multiplier::from_real(factor).unwrap();
        (factor.apply(i32::from(x) - 3) - 20).clamp(low, high) as i8
    };
    let of_f32 = |alpha: f32| f64::from(0.1f32 * alpha / 0.07f32);
    let of_f64 = f64::from(0.1f32) / f64::from(0.07f32);
    assert_ne!(of_f32(1.0), of_f64);
    let of = |activation| table(TableFunction::Activation(activation), from, to).unwrap();
    let (leaky, relu6) = (of(Activation::LeakyRelu { alpha: 0.2 }), of(Activation::Relu6));
    for (x, (leaky, relu6)) in (-128i8..=127).zip(leaky.into_iter().zip(relu6)) {
        let factor = if x < 3 { of_f32(0.2) } else { of_f32(1.0) };
        assert_eq!(leaky, expected(factor, x, [-128, 127]));
        // Six is 86 steps of 0.07.
        assert_eq!(relu6, expected(of_f64, x, [-20, 66]));
    }
    for (x, found) in (-128i8..=127).zip(clamped_relu6(from).unwrap()) {
        assert_eq!(found, x.clamp(3, 63));
    }
}

#[test]
fn what_has_no_table() {
    let q = Quantization { scale: 0.1, zero_point: 0 };
    let tiny = Quantization { scale: 1e-30, zero_point: 0 };
    assert_eq!(table(TableFunction::Function(Function::Logistic), q, q), None);
    assert_eq!(table(TableFunction::Function(Function::HardSwish), q, tiny), None);
    assert_eq!(table(TableFunction::Function(Function::Tanh), tiny, TANH_OUTPUT), None);
    assert_eq!(table(TableFunction::Activation(Activation::Relu), q, tiny), None);
}
