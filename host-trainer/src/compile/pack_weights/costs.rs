//! What a layer costs in a layout: instructions, and bytes of code. The numbers are in `costs.toml`, which a tool measures and writes; `docs/layout-costs.md` says how.
//!
//! The instructions of a layer are a sum of [`TERMS`], each of them a number that follows from the layer's shape and from the blocks in which the layout's kernel computes it, times
//! a coefficient of the layout on the processor.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use serde::Deserialize;
use smidgen::geometry::{Axis, Window};
use smidgen::kernels::int8::sixteens;
use smidgen::{Operator, Shape};

use super::Packing;

/// What a layer's instructions are the sum of.
///
/// A *tile* is a block of pixels of a block of channels, a *round* of a tile is a block of its weights.
pub const TERMS: [&str; TERM_COUNT] = [
    // The layer itself.
    "call",
    // Rows of windows that are gathered, one for each row of the window and each pixel, or rows of the input that are copied.
    "row",
    // Elements that are gathered or expanded.
    "element",
    // Pixels whose window reaches into the padding.
    "edge",
    // Blocks of pixels.
    "block",
    "tile",
    "round",
    // The same of pixels that are left over from blocks and are computed one by one.
    "single_tile",
    "single_round",
];
const TERM_COUNT: usize = 9;

/// Each of the [`TERMS`] of a layer.
pub type Terms = [f64; TERM_COUNT];

/// The blocks in which a kernel computes.
struct Blocks {
    /// Neighbouring pixels; those that are left over are computed one by one, or fill up a block.
    pixels: usize,
    one_by_one: bool,
    channels: usize,
    weights: usize,
}

impl Blocks {
    /// Those of a layout; `None` for an operator that is no layer with weights.
    fn of(operator: Operator) -> Option<Self> {
        use Operator as Op;
        let blocks = |pixels, channels, weights| Self { pixels, one_by_one: false, channels, weights };
        Some(match operator {
            Op::Conv2dI8 | Op::FullyConnectedI8 | Op::DepthwiseConv2dI8 => blocks(1, 1, 1),
            Op::Conv2dPairsI8 => Self { one_by_one: true, ..blocks(4, 2, 4) },
            Op::FullyConnectedPairsI8 => blocks(1, 2, 4),
            Op::FullyConnectedDoublePairsI8 => blocks(1, 4, 8),
            // All nine taps in one round.
            Op::DepthwiseConv2dQuadsI8 => blocks(1, 4, 9),
            Op::Conv2dRowsI8 => blocks(4, 1, 8),
            Op::FullyConnectedFoursI8 => blocks(1, 4, 1),
            Op::DepthwiseConv2dTapsI8 => blocks(4, 1, 1),
            Op::Conv2dVectorPairsI8 => blocks(3, 2, 16),
            Op::FullyConnectedVectorPairsI8 => blocks(1, 2, 16),
            Op::FullyConnectedEightsI8 => blocks(1, 8, 16),
            Op::DepthwiseConv2dSixteensI8 => blocks(1, 16, 2),
            _ => return None,
        })
    }
}

/// The shape of a layer, as far as instructions depend on it.
#[derive(Clone, Copy, Debug)]
pub struct LayerShape<'a> {
    /// The operator, packed or not.
    pub operator: Operator,
    /// Its attributes.
    pub attributes: &'a [i32],
    /// Shapes of the input and of the output.
    pub tensors: [Shape; 2],
    /// Weights of an output channel.
    pub weights: usize,
}

impl LayerShape<'_> {
    /// Its terms; `None` if it is no layer with weights.
    pub fn terms(&self) -> Option<Terms> {
        let blocks = Blocks::of(self.operator)?;
        let [[n, in_h, in_w, in_c], [_, out_h, out_w, out_c]] = self.tensors.map(Shape::dims);
        let is_depthwise = self.operator.name().starts_with("depthwise");
        let is_row = self.operator.name().starts_with("fully_connected");
        let window = if is_row { Window::ONE } else { Window::read(self.attributes).ok()?.0 };
        let Window { y, x } = window;
        let pixels = out_h * out_w;
        // Depthwise kernels walk over rows, others over all pixels.
        let (runs, run) = if is_depthwise { (out_h, out_w) } else { (1, pixels) };
        let (whole, left) = (run / blocks.pixels, run % blocks.pixels);
        let (whole, singles) =
            if blocks.one_by_one { (whole, left) } else { (whole + usize::from(left > 0), 0) };
        let groups = match self.operator {
            // Sixteen lanes may be channels of several pixels.
            Operator::DepthwiseConv2dSixteensI8 if sixteens::channel_of(&window, out_c, out_c).is_some() => {
                (out_w * out_c).div_ceil(sixteens::LANES) as f64 / out_w as f64
            }
            _ => out_c.div_ceil(blocks.channels) as f64,
        };
        let rounds = self.weights.div_ceil(blocks.weights) as f64;
        let (rows, elements) = if is_depthwise {
            (out_h * y.stride.min(y.kernel), in_h * in_w * in_c)
        } else {
            let is_gathered = window != Window::ONE;
            (if is_gathered { pixels * y.kernel } else { 0 }, pixels * self.weights)
        };
        let inside = inner(y, in_h, out_h) * inner(x, in_w, out_w);
        let block = (runs * whole) as f64;
        let (tile, single) = (block * groups, (runs * singles) as f64 * groups);
        let edge = (pixels - inside) as f64;
        let counts =
            [rows as f64, elements as f64, edge, block, tile, tile * rounds, single, single * rounds];
        let mut terms = [1.0; TERM_COUNT];
        for (term, count) in terms.iter_mut().skip(1).zip(counts) {
            *term = n as f64 * count;
        }
        Some(terms)
    }
}

/// How many of `outputs` have no tap in the padding of an input of this length.
fn inner(axis: Axis, input: usize, outputs: usize) -> usize {
    (0..outputs).filter(|&output| axis.taps(output, input).count() == axis.kernel).count()
}

/// The costs of all layouts on one kind of processor.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Costs {
    /// For each layout, by its operator's name, the coefficients that are not 0, by the names of their terms.
    pub instructions: BTreeMap<String, BTreeMap<String, f64>>,
    /// Code in pieces.
    #[serde(default)]
    pub code: Vec<Code>,
}

/// A piece of code.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Code {
    /// Its length.
    pub bytes: usize,
    /// It is linked into an image that has any of these layouts.
    pub layouts: Vec<String>,
}

impl Costs {
    /// Those of the processors that `packing` is for. There are none without packing.
    pub fn of(packing: Packing) -> Option<&'static Self> {
        static TABLE: OnceLock<BTreeMap<String, Costs>> = OnceLock::new();
        let table = TABLE.get_or_init(|| {
            toml::from_str(include_str!("costs.toml")).expect("the table is as the tool writes it")
        });
        table.get(packing.name())
    }

    /// The instructions of a layer with these terms; `None` for a layout that this kind of processor has no kernel for.
    pub fn instructions(&self, operator: Operator, terms: &Terms) -> Option<f64> {
        let coefficients = self.instructions.get(operator.name())?;
        let products =
            TERMS.iter().zip(terms).map(|(&name, term)| coefficients.get(name).unwrap_or(&0.0) * term);
        Some(products.sum())
    }

    /// The bytes of code that an image with these layouts has for them.
    pub fn code_bytes(&self, has: impl Fn(&str) -> bool) -> usize {
        let linked = self.code.iter().filter(|piece| piece.layouts.iter().any(|layout| has(layout)));
        linked.map(|piece| piece.bytes).sum()
    }

    /// As a part of `costs.toml`.
    pub fn to_toml(&self, packing: Packing) -> String {
        let name = packing.name();
        let mut text = format!("[{name}.instructions]\n");
        for (layout, coefficients) in &self.instructions {
            let known = TERMS.iter().filter_map(|&term| Some((term, coefficients.get(term)?)));
            let terms: Vec<String> = known.map(|(term, value)| format!("{term} = {value}")).collect();
            writeln!(text, "{layout} = {{ {} }}", terms.join(", ")).unwrap_or_default();
        }
        for Code { bytes, layouts } in &self.code {
            write!(text, "\n[[{name}.code]]\nbytes = {bytes}\nlayouts = {layouts:?}\n").unwrap_or_default();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: [i32; 12] = [3, 3, 1, 1, 1, 1, 1, 1, 1, 1, -128, 127];

    fn terms(operator: Operator, tensors: [[u32; 4]; 2], weights: usize) -> BTreeMap<&'static str, f64> {
        let shape = LayerShape { operator, attributes: &WINDOW, tensors: tensors.map(Shape), weights };
        let terms = TERMS.into_iter().zip(shape.terms().unwrap());
        terms.filter(|(_, count)| *count > 0.0).collect()
    }

    #[test]
    fn the_terms_count_blocks() {
        // 25 pixels are six fours and one, 5 channels three pairs, 18 weights five fours. 9 pixels are not at the edge.
        let found = terms(Operator::Conv2dPairsI8, [[1, 5, 5, 2], [1, 5, 5, 5]], 18);
        let expected = [
            ("call", 1.0),
            ("row", 75.0),
            ("element", 450.0),
            ("edge", 16.0),
            ("block", 6.0),
            ("tile", 18.0),
            ("round", 90.0),
            ("single_tile", 3.0),
            ("single_round", 15.0),
        ];
        assert_eq!(found, expected.into());
        // A row of five pixels is a four and one, which fills up another; seven channels one by one.
        let found = terms(Operator::DepthwiseConv2dTapsI8, [[2, 5, 5, 7], [2, 5, 5, 7]], 9);
        assert_eq!([found["block"], found["tile"], found["round"]], [20.0, 140.0, 1260.0]);
        // Four pixels of four channels in a vector.
        let found = terms(Operator::DepthwiseConv2dSixteensI8, [[1, 5, 5, 4], [1, 5, 5, 4]], 9);
        assert_eq!([found["tile"], found["round"]], [10.0, 50.0]);
    }

    #[test]
    fn the_table_has_all_processors_and_is_as_it_is_written() {
        for packing in Packing::ALL {
            let costs = Costs::of(packing).unwrap();
            assert!(costs.instructions.len() >= 6 && !costs.code.is_empty(), "{packing:?}");
            let read: BTreeMap<String, Costs> = toml::from_str(&costs.to_toml(packing)).unwrap();
            assert_eq!(read.get(packing.name()), Some(costs));
        }
        assert!(Costs::of(Packing::Plain).is_none());
    }

    #[test]
    fn code_that_layouts_share_counts_once() {
        let piece = |bytes, layouts: &[&str]| Code {
            bytes,
            layouts: layouts.iter().map(|&layout| layout.to_owned()).collect(),
        };
        let code = vec![piece(100, &["a", "b"]), piece(20, &["a"]), piece(3, &["b"]), piece(7, &["c"])];
        let costs = Costs { code, ..Costs::default() };
        assert_eq!(costs.code_bytes(|name| name == "a" || name == "b"), 123);
        assert_eq!(costs.code_bytes(|name| name == "c"), 7);
    }
}
