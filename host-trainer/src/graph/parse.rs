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

mod calls;

use self::calls::{Argument, EXPECTED, apply};
use super::build::Network;

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

impl Network {
    /// Appends the layers that `text` describes in the builder's notation.
    ///
    /// # Errors
    /// [`ParseError`], with the place in the text. Shapes that do not fit come out of [`Network::build`], as ever.
    pub fn layers(self, text: &str) -> Result<Self, ParseError> {
        self.read_layers(Reader { text, position: 0, classes: None })
    }

    /// As [`layers`](Self::layers), where the word `classes` stands for a number.
    ///
    /// # Errors
    /// [`ParseError`].
    pub fn layers_for_classes(self, text: &str, classes: usize) -> Result<Self, ParseError> {
        self.read_layers(Reader { text, position: 0, classes: Some(classes) })
    }

    fn read_layers(self, mut reader: Reader<'_>) -> Result<Self, ParseError> {
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

struct Reader<'t> {
    text: &'t str,
    position: usize,
    /// What the word `classes` stands for, if for something.
    classes: Option<usize>,
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
            return Err(self.error(EXPECTED.as_str()));
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
        let value = match (&rest[..end], self.classes) {
            ("classes", Some(classes)) => Ok(classes as f64),
            (word, _) => word.parse::<f64>(),
        };
        match value {
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
    fn classes_are_a_number_where_there_are_some() {
        let text = "flatten().fully_connected( classes ).reshape([1, 1, classes])";
        let network = Network::new("net", [28, 28, 1]);
        let numbers = parse("flatten().fully_connected(7).reshape([1, 1, 7])").unwrap().build().unwrap();
        assert_eq!(network.layers_for_classes(text, 7).unwrap().build().unwrap(), numbers);
        assert_eq!(parse(text).unwrap_err().found, "`classes`");
    }

    #[test]
    fn errors_have_a_place() {
        let place = |text: &str| {
            let error = parse(text).unwrap_err();
            (error.line, error.column, error.found)
        };
        assert_eq!(place("conv_2d(8, 3)\n.con_2d(8, 3)"), (2, 2, "`con_2d(8, 3)`".into()));
        assert_eq!(place("conv_2d(8 3)"), (1, 11, "`3)`".into()));
        assert_eq!(place("relu("), (1, 6, "the end".into()));
        assert_eq!(place("relu() relu()"), (1, 8, "`relu()`".into()));
        assert_eq!(place("conv_2d(8, 2.5)"), (1, 1, "`conv_2d(8, 2.5)`".into()));
        assert_eq!(place(".tap(\"x"), (1, 6, "`\"x`".into()));
        let expected = |text: &str| parse(text).unwrap_err().expected;
        assert_eq!(expected("relu6(1)"), "`relu6()`");
        assert!(
            expected("fully_conected(10)").starts_with("`fully_connected`, or another one of the layers")
        );
        assert!(expected("zzz()").starts_with("the layers and modifiers: conv_2d(filters, kernel), "));
        assert!(expected("conv_2d(100000000, 3)").ends_with("with whole numbers up to 1000000"));
    }
}
