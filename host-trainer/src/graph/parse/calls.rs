//! The calls of the notation: which there are, what each takes, and what it does to a network.

use std::fmt::{self, Display, Formatter};
use std::sync::LazyLock;

use smidgen::ops::function::Function;

use crate::graph::build::{Kernel, Network, Padding};
use crate::nearest::nearest;

/// An argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Argument {
    Number(f64),
    List(Vec<f64>),
    Name(String),
}

/// What a call takes, and what it does.
#[derive(Clone, Copy)]
enum Effect {
    Nothing(fn(Network) -> Network),
    Function(Function),
    /// A whole number.
    Count(fn(Network, usize) -> Network),
    Counts(fn(Network, usize, usize) -> Network),
    /// One number, or two in a list.
    Kernel(fn(Network, Kernel) -> Network),
    CountAndKernel(fn(Network, usize, Kernel) -> Network),
    Real(fn(Network, f32) -> Network),
    Name(fn(Network, String) -> Network),
    /// Three whole numbers in a list.
    Three(fn(Network, [usize; 3]) -> Network),
    /// Four whole numbers in a list.
    Four(fn(Network, [usize; 4]) -> Network),
}

/// How each call is written, and what it does.
const CALLS: [(&str, Effect); 68] = {
    use Effect::{Count, CountAndKernel, Counts, Four, Function as Of, Kernel, Name, Nothing, Real, Three};
    [
        ("conv_2d(filters, kernel)", CountAndKernel(super::super::build::Network::conv_2d)),
        ("depthwise_conv_2d(kernel)", Kernel(super::super::build::Network::depthwise_conv_2d)),
        (
            "conv_2d_transpose(filters, kernel)",
            CountAndKernel(super::super::build::Network::conv_2d_transpose),
        ),
        ("fully_connected(units)", Count(Network::fully_connected)),
        ("lstm(units)", Count(Network::lstm)),
        ("gru(units)", Count(Network::gru)),
        ("max_pool_2d(kernel)", Kernel(super::super::build::Network::max_pool_2d)),
        ("average_pool_2d(kernel)", Kernel(super::super::build::Network::average_pool_2d)),
        ("global_average_pool_2d()", Nothing(Network::global_average_pool_2d)),
        ("global_max_pool_2d()", Nothing(Network::global_max_pool_2d)),
        ("batch_norm()", Nothing(Network::batch_norm)),
        ("layer_norm()", Nothing(Network::layer_norm)),
        ("instance_norm()", Nothing(Network::instance_norm)),
        ("group_norm(groups)", Count(Network::group_norm)),
        ("relu()", Nothing(Network::relu)),
        ("relu6()", Nothing(Network::relu6)),
        ("leaky_relu(alpha)", Real(Network::leaky_relu)),
        ("relu_n1_to_1()", Nothing(Network::relu_n1_to_1)),
        ("prelu()", Nothing(Network::prelu)),
        ("maxout(pieces)", Count(Network::maxout)),
        ("sigmoid()", Of(Function::Logistic)),
        ("logistic()", Of(Function::Logistic)),
        ("tanh()", Of(Function::Tanh)),
        ("elu()", Of(Function::Elu)),
        ("hard_swish()", Of(Function::HardSwish)),
        ("gelu()", Of(Function::Gelu)),
        ("gelu_tanh()", Of(Function::GeluTanh)),
        ("abs()", Of(Function::Abs)),
        ("neg()", Of(Function::Neg)),
        ("exp()", Of(Function::Exp)),
        ("sqrt()", Of(Function::Sqrt)),
        ("rsqrt()", Of(Function::Rsqrt)),
        ("dropout(rate)", Real(Network::dropout)),
        ("softmax()", Nothing(Network::softmax)),
        ("log_softmax()", Nothing(Network::log_softmax)),
        ("reshape([height, width, channels])", Three(Network::reshape)),
        ("flatten()", Nothing(Network::flatten)),
        ("tap(\"name\")", Name(super::super::build::Network::tap)),
        ("from(\"name\")", Name(super::super::build::Network::from)),
        ("add(\"name\")", Name(super::super::build::Network::add)),
        ("sub(\"name\")", Name(super::super::build::Network::sub)),
        ("mul(\"name\")", Name(super::super::build::Network::mul)),
        ("maximum(\"name\")", Name(super::super::build::Network::maximum)),
        ("minimum(\"name\")", Name(super::super::build::Network::minimum)),
        ("concat(\"name\")", Name(super::super::build::Network::concat)),
        (
            "pad([top, bottom, left, right])",
            Four(|network, [top, bottom, left, right]| network.pad(top, bottom, left, right)),
        ),
        (
            "crop([top, bottom, left, right])",
            Four(|network, [top, bottom, left, right]| network.crop(top, bottom, left, right)),
        ),
        ("upsample(n)", Kernel(super::super::build::Network::upsample)),
        ("upsample_bilinear(n)", Kernel(super::super::build::Network::upsample_bilinear)),
        ("depth_to_space(n)", Count(Network::depth_to_space)),
        ("channel_shuffle(groups)", Count(Network::channel_shuffle)),
        ("squeeze_excite(units)", Count(Network::squeeze_excite)),
        ("residual(filters)", Count(Network::residual)),
        ("pre_activation(filters)", Count(Network::pre_activation)),
        ("bottleneck(filters)", Count(Network::bottleneck)),
        ("inverted_residual(filters, expansion)", Counts(Network::inverted_residual)),
        ("shuffle_unit(filters, groups)", Counts(Network::shuffle_unit)),
        ("fire(squeeze, expand)", Counts(Network::fire)),
        ("stride(n)", Kernel(super::super::build::Network::stride)),
        ("dilation(n)", Kernel(super::super::build::Network::dilation)),
        ("valid()", Nothing(Network::valid)),
        (
            "padding([top, bottom, left, right])",
            Four(|network, [top, bottom, left, right]| {
                network.padding(Padding::Explicit { top, bottom, left, right })
            }),
        ),
        ("groups(n)", Count(Network::groups)),
        ("channel_multiplier(n)", Count(Network::channel_multiplier)),
        ("no_bias()", Nothing(Network::no_bias)),
        ("with_bias()", Nothing(Network::with_bias)),
        ("epsilon(x)", Real(Network::epsilon)),
        ("momentum(x)", Real(Network::momentum)),
    ]
};

/// All calls, as an error says them.
pub(super) static EXPECTED: LazyLock<String> = LazyLock::new(|| {
    let calls: Vec<&str> = CALLS.iter().map(|&(usage, _)| usage).collect();
    format!("the layers and modifiers: {}", calls.join(", "))
});

/// The greatest whole number that a call takes.
const GREATEST: f64 = 1e6;

/// Applies one call; else what was found and what was expected.
pub(super) fn apply(
    network: Network,
    name: &str,
    arguments: &[Argument],
) -> Result<Network, (String, String)> {
    let found = || {
        let arguments: Vec<String> = arguments.iter().map(Argument::to_string).collect();
        format!("`{name}({})`", arguments.join(", "))
    };
    let names = || CALLS.iter().filter_map(|(usage, _)| Some(usage.split_once('(')?.0));
    match names().zip(CALLS).find(|&(call, _)| call == name) {
        Some((_, (usage, effect))) => effect.of(network, arguments).ok_or_else(|| {
            let numbers = match effect {
                Effect::Nothing(_) | Effect::Function(_) | Effect::Name(_) => "",
                Effect::Real(_) => " with a number",
                _ => " with whole numbers up to 1000000",
            };
            (found(), format!("`{usage}`{numbers}"))
        }),
        None => {
            let meant = nearest(name, names());
            let meant = meant.map_or_else(String::new, |meant| format!("`{meant}`, or another one of "));
            Err((found(), format!("{meant}{}", EXPECTED.as_str())))
        }
    }
}

impl Effect {
    /// What it makes of the network; `None` if the arguments are others.
    fn of(self, network: Network, arguments: &[Argument]) -> Option<Network> {
        use Argument::{Name, Number};
        match (self, arguments) {
            (Self::Nothing(change), []) => Some(change(network)),
            (Self::Function(function), []) => Some(network.function(function)),
            (Self::Count(change), [count]) => Some(change(network, count.count()?)),
            (Self::Counts(change), [first, second]) => Some(change(network, first.count()?, second.count()?)),
            (Self::Kernel(change), [kernel]) => Some(change(network, kernel.kernel()?)),
            (Self::CountAndKernel(change), [count, kernel]) => {
                Some(change(network, count.count()?, kernel.kernel()?))
            }
            (Self::Real(change), &[Number(value)]) => Some(change(network, value as f32)),
            (Self::Name(change), [Name(name)]) => Some(change(network, name.clone())),
            (Self::Three(change), [list]) => Some(change(network, list.counts()?)),
            (Self::Four(change), [list]) => Some(change(network, list.counts()?)),
            _ => None,
        }
    }
}

impl Display for Argument {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) => write!(f, "{value}"),
            Self::List(values) => write!(f, "{values:?}"),
            Self::Name(name) => write!(f, "{name:?}"),
        }
    }
}

impl Argument {
    fn count(&self) -> Option<usize> {
        if let &Self::Number(value) = self { whole(value) } else { None }
    }

    fn kernel(&self) -> Option<Kernel> {
        self.count().map(Kernel::from).or_else(|| self.counts::<2>().map(Kernel::from))
    }

    fn counts<const N: usize>(&self) -> Option<[usize; N]> {
        let Self::List(values) = self else { return None };
        let values: Option<Vec<usize>> = values.iter().map(|&value| whole(value)).collect();
        values?.try_into().ok()
    }
}

fn whole(value: f64) -> Option<usize> {
    (value >= 0.0 && value.fract() == 0.0 && value <= GREATEST).then_some(value as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_a_call() {
        for function in Function::ALL {
            assert!(apply(Network::new("n", [1, 1, 1]), function.name(), &[]).is_ok(), "{}", function.name());
        }
    }

    #[test]
    fn calls_have_different_names() {
        let mut names: Vec<&str> =
            CALLS.iter().filter_map(|(usage, _)| Some(usage.split_once('(')?.0)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CALLS.len());
    }
}
