//! The builder's own notation as text, so that a recipe can describe a network:
//!
//! ```text
//! conv_2d(8, 3).stride(2).batch_norm().relu()
//! .depthwise_conv_2d(3).batch_norm().relu()
//! .conv_2d(16, 1).batch_norm().relu()
//! .global_average_pool_2d().fully_connected(10)
//! ```
//!
//! A kernel, a stride or a dilation is one number, or two as `[height, width]`. A name is in quotes: `.tap("before")`. White space and line
//! ends may stand anywhere between words; `#` begins a comment that ends with its line.

use smidgen::ops::function::Function;

use super::build::{Kernel, Network, Padding};

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}, column {column} of the layers: found {found}, expected {expected}")]
pub struct ParseError {
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1.
    pub column: usize,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: String,
}

const LAYERS: &str = "a layer or modifier: conv_2d(filters, kernel), depthwise_conv_2d(kernel), conv_2d_transpose(filters, kernel), fully_connected(units), lstm(units), max_pool_2d(kernel), \
    average_pool_2d(kernel), global_average_pool_2d(), batch_norm(), relu(), relu6(), leaky_relu(alpha), relu_n1_to_1(), prelu(), \
    sigmoid(), tanh(), elu(), hard_swish(), gelu(), gelu_tanh(), dropout(rate), abs(), neg(), exp(), sqrt(), rsqrt(), softmax(), log_softmax(), reshape([h, w, c]), \
    flatten(), tap(\"name\"), add(\"name\"), sub(\"name\"), mul(\"name\"), maximum(\"name\"), minimum(\"name\"), concat(\"name\"), from(\"name\"), pad([top, bottom, left, right]), upsample(n), \
    upsample_bilinear(n), depth_to_space(n), global_max_pool_2d(), stride(n), dilation(n), valid(), padding([top, bottom, left, right]), \
    groups(n), channel_multiplier(n), no_bias(), with_bias(), epsilon(x), momentum(x)";

/// An argument.
#[derive(Clone, Debug, PartialEq)]
enum Argument {
    Number(f64),
    List(Vec<f64>),
    Name(String),
}

impl Network {
    /// Appends the layers that `text` describes in the builder's notation.
    ///
    /// # Errors
    /// [`ParseError`], with the place in the text. Shapes that do not fit come out of [`Network::build`], as ever.
    pub fn layers(self, text: &str) -> Result<Self, ParseError> {
        let mut reader = Reader { text, position: 0 };
        let mut network = self;
        reader.skip_space();
        reader.take('.');
        while !reader.rest().is_empty() {
            let start = reader.position;
            let (name, arguments) = reader.call()?;
            network = apply(network, name, &arguments)
                .map_err(|(network_name, expected)| reader.error_at(start, network_name, expected))?;
            reader.skip_space();
            if !reader.rest().is_empty() && !reader.take('.') {
                return Err(reader.error("`.` or the end"));
            }
        }
        Ok(network)
    }
}

/// Applies one call; else what was found and what was expected.
fn apply(network: Network, name: &str, arguments: &[Argument]) -> Result<Network, (String, &'static str)> {
    use Argument::{List, Name, Number};
    let shown = || format!("`{name}` with {} arguments", arguments.len());
    let whole = |value: f64| (value >= 0.0 && value.fract() == 0.0 && value <= 1e6).then_some(value as usize);
    let count = |index: usize| match arguments.get(index) {
        Some(&Number(value)) => whole(value),
        _ => None,
    };
    let wholes = |index: usize| match arguments.get(index) {
        Some(List(values)) => values.iter().map(|&value| whole(value)).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    let kernel = |index: usize| match (count(index), wholes(index).as_deref()) {
        (Some(both), _) => Some(Kernel::from(both)),
        (None, Some(&[y, x])) => Some(Kernel::from([y, x])),
        _ => None,
    };
    let real = || match arguments {
        &[Number(value)] => Some(value as f32),
        _ => None,
    };
    let text = || match arguments {
        [Name(name)] => Some(name.clone()),
        _ => None,
    };
    let need = |found: Option<Network>, expected| found.ok_or_else(|| (shown(), expected));
    let arity = |expected: usize| arguments.len() == expected;
    match name {
        "conv_2d" if arity(2) => {
            let pair = count(0).zip(kernel(1));
            need(pair.map(|(filters, kernel)| network.conv_2d(filters, kernel)), "conv_2d(filters, kernel)")
        }
        "conv_2d_transpose" if arity(2) => {
            let pair = count(0).zip(kernel(1));
            let network = pair.map(|(filters, kernel)| network.conv_2d_transpose(filters, kernel));
            need(network, "conv_2d_transpose(filters, kernel)")
        }
        "depthwise_conv_2d" if arity(1) => {
            need(kernel(0).map(|kernel| network.depthwise_conv_2d(kernel)), "depthwise_conv_2d(kernel)")
        }
        "fully_connected" if arity(1) => {
            need(count(0).map(|units| network.fully_connected(units)), "fully_connected(units)")
        }
        "lstm" if arity(1) => need(count(0).map(|units| network.lstm(units)), "lstm(units)"),
        "max_pool_2d" if arity(1) => {
            need(kernel(0).map(|kernel| network.max_pool_2d(kernel)), "max_pool_2d(kernel)")
        }
        "average_pool_2d" if arity(1) => {
            need(kernel(0).map(|kernel| network.average_pool_2d(kernel)), "average_pool_2d(kernel)")
        }
        "global_average_pool_2d" if arity(0) => Ok(network.global_average_pool_2d()),
        "batch_norm" if arity(0) => Ok(network.batch_norm()),
        "relu" if arity(0) => Ok(network.relu()),
        "relu6" if arity(0) => Ok(network.relu6()),
        "leaky_relu" => need(real().map(|alpha| network.leaky_relu(alpha)), "leaky_relu(alpha)"),
        "dropout" => need(real().map(|rate| network.dropout(rate)), "dropout(rate)"),
        "relu_n1_to_1" if arity(0) => Ok(network.relu_n1_to_1()),
        "prelu" if arity(0) => Ok(network.prelu()),
        "sigmoid" if arity(0) => Ok(network.sigmoid()),
        _ if arity(0) && Function::ALL.iter().any(|function| function.name() == name) => {
            let function = Function::ALL.into_iter().find(|function| function.name() == name);
            need(function.map(|function| network.function(function)), LAYERS)
        }
        "softmax" if arity(0) => Ok(network.softmax()),
        "log_softmax" if arity(0) => Ok(network.log_softmax()),
        "flatten" if arity(0) => Ok(network.flatten()),
        "reshape" if arity(1) => match wholes(0).as_deref() {
            Some(&[h, w, c]) => Ok(network.reshape([h, w, c])),
            _ => Err((shown(), "reshape([height, width, channels])")),
        },
        "tap" => need(text().map(|name| network.tap(name)), "tap(\"name\")"),
        "add" => need(text().map(|name| network.add(name)), "add(\"name\")"),
        "concat" => need(text().map(|name| network.concat(name)), "concat(\"name\")"),
        "pad" if arity(1) => match wholes(0).as_deref() {
            Some(&[top, bottom, left, right]) => Ok(network.pad(top, bottom, left, right)),
            _ => Err((shown(), "pad([top, bottom, left, right])")),
        },
        "upsample" if arity(1) => need(kernel(0).map(|scale| network.upsample(scale)), "upsample(n)"),
        "upsample_bilinear" if arity(1) => {
            need(kernel(0).map(|scale| network.upsample_bilinear(scale)), "upsample_bilinear(n)")
        }
        "depth_to_space" if arity(1) => {
            need(count(0).map(|block| network.depth_to_space(block)), "depth_to_space(n)")
        }
        "global_max_pool_2d" if arity(0) => Ok(network.global_max_pool_2d()),
        "sub" => need(text().map(|name| network.sub(name)), "sub(\"name\")"),
        "mul" => need(text().map(|name| network.mul(name)), "mul(\"name\")"),
        "maximum" => need(text().map(|name| network.maximum(name)), "maximum(\"name\")"),
        "minimum" => need(text().map(|name| network.minimum(name)), "minimum(\"name\")"),
        "from" => need(text().map(|name| network.from(name)), "from(\"name\")"),
        "stride" if arity(1) => need(kernel(0).map(|stride| network.stride(stride)), "stride(n)"),
        "dilation" if arity(1) => need(kernel(0).map(|dilation| network.dilation(dilation)), "dilation(n)"),
        "valid" if arity(0) => Ok(network.valid()),
        "padding" if arity(1) => match wholes(0).as_deref() {
            Some(&[top, bottom, left, right]) => {
                Ok(network.padding(Padding::Explicit { top, bottom, left, right }))
            }
            _ => Err((shown(), "padding([top, bottom, left, right])")),
        },
        "groups" if arity(1) => need(count(0).map(|groups| network.groups(groups)), "groups(n)"),
        "channel_multiplier" if arity(1) => {
            need(count(0).map(|multiplier| network.channel_multiplier(multiplier)), "channel_multiplier(n)")
        }
        "no_bias" if arity(0) => Ok(network.no_bias()),
        "with_bias" if arity(0) => Ok(network.with_bias()),
        "epsilon" => need(real().map(|epsilon| network.epsilon(epsilon)), "epsilon(x)"),
        "momentum" => need(real().map(|momentum| network.momentum(momentum)), "momentum(x)"),
        _ => Err((shown(), LAYERS)),
    }
}

struct Reader<'t> {
    text: &'t str,
    position: usize,
}

impl<'t> Reader<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.position..]
    }

    /// Skips white space and comments.
    fn skip_space(&mut self) {
        loop {
            let trimmed = self.rest().trim_start();
            self.position = self.text.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.position += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    /// Takes `wanted` if it comes next, and the white space behind it.
    fn take(&mut self, wanted: char) -> bool {
        let there = self.rest().starts_with(wanted);
        if there {
            self.position += wanted.len_utf8();
            self.skip_space();
        }
        there
    }

    fn expect(&mut self, wanted: char) -> Result<(), ParseError> {
        if self.take(wanted) { Ok(()) } else { Err(self.error(format!("`{wanted}`"))) }
    }

    /// The longest run of characters of a word or a number.
    fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || "_-+".contains(c))).unwrap_or(rest.len());
        self.position += end;
        let word = &rest[..end];
        self.skip_space();
        word
    }

    fn call(&mut self) -> Result<(&'t str, Vec<Argument>), ParseError> {
        let name = self.word();
        if name.is_empty() {
            return Err(self.error(LAYERS));
        }
        self.expect('(')?;
        let mut arguments = Vec::new();
        while !self.take(')') {
            if !arguments.is_empty() {
                self.expect(',')?;
            }
            arguments.push(self.argument()?);
        }
        Ok((name, arguments))
    }

    fn argument(&mut self) -> Result<Argument, ParseError> {
        if self.take('[') {
            let mut values = Vec::new();
            while !self.take(']') {
                if !values.is_empty() {
                    self.expect(',')?;
                }
                values.push(self.number()?);
            }
            return Ok(Argument::List(values));
        }
        if let Some(rest) = self.rest().strip_prefix('"') {
            let end = rest.find('"').ok_or_else(|| self.error("a closing quote"))?;
            self.position += end + 2;
            self.skip_space();
            return Ok(Argument::Name(rest[..end].to_owned()));
        }
        self.number().map(Argument::Number)
    }

    fn number(&mut self) -> Result<f64, ParseError> {
        let (start, rest) = (self.position, self.rest());
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || ".-+".contains(c))).unwrap_or(rest.len());
        match rest[..end].parse::<f64>() {
            Ok(value) if value.is_finite() => {
                self.position += end;
                self.skip_space();
                Ok(value)
            }
            _ => Err(self.error_at(
                start,
                None,
                "a number, a list of numbers in brackets, or a name in quotes",
            )),
        }
    }

    fn error(&self, expected: impl Into<String>) -> ParseError {
        self.error_at(self.position, None, expected)
    }

    fn error_at(
        &self,
        position: usize,
        found: impl Into<Option<String>>,
        expected: impl Into<String>,
    ) -> ParseError {
        let (before, after) = self.text.split_at(position);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let found = found.into().unwrap_or_else(|| match after.split_whitespace().next() {
            Some(word) => format!("`{}`", word.chars().take(30).collect::<String>()),
            None => "the end".to_owned(),
        });
        ParseError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            found,
            expected: expected.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Network, ParseError> {
        Network::new("net", [28, 28, 1]).layers(text)
    }

    #[test]
    fn text_and_builder_give_the_same_network() {
        let text = "conv_2d(8, [3, 5]).stride(2).batch_norm().relu() # a comment. with (signs)\n
            .tap(\"a b\").depthwise_conv_2d(3) .batch_norm().leaky_relu(0.1)
            .add(\"a b\").global_average_pool_2d().fully_connected(10)";
        let built = Network::new("net", [28, 28, 1])
            .conv_2d(8, [3, 5])
            .stride(2)
            .batch_norm()
            .relu()
            .tap("a b")
            .depthwise_conv_2d(3)
            .batch_norm()
            .leaky_relu(0.1)
            .add("a b")
            .global_average_pool_2d()
            .fully_connected(10);
        assert_eq!(parse(text).unwrap().build().unwrap(), built.build().unwrap());
    }

    #[test]
    fn errors_have_a_place() {
        let place = |text: &str| {
            let error = parse(text).unwrap_err();
            (error.line, error.column, error.found)
        };
        assert_eq!(place("conv_2d(8, 3)\n.con_2d(8, 3)"), (2, 2, "`con_2d` with 2 arguments".into()));
        assert_eq!(place("conv_2d(8 3)"), (1, 11, "`3)`".into()));
        assert_eq!(place("relu("), (1, 6, "the end".into()));
        assert_eq!(place("relu() relu()"), (1, 8, "`relu()`".into()));
        assert_eq!(place("conv_2d(8, 2.5)"), (1, 1, "`conv_2d` with 2 arguments".into()));
        assert_eq!(place(".tap(\"x"), (1, 6, "`\"x`".into()));
        assert!(parse("relu6(1)").unwrap_err().to_string().contains("relu6()"));
    }
}
