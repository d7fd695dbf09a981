//! A network layer by layer.

use super::{escaped, grouped};
use crate::compile::Assembled;
use crate::compile::quantize::{LayerSensitivity, Sensitivity};
use crate::cost::macs;
use crate::graph::{Graph, GraphOp, Reduce, Role};
use crate::inspect::MemoryMap;

/// The figures of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerFigures {
    /// Its name.
    pub name: String,
    /// Its operator.
    pub operator: &'static str,
    /// Height, width and channels of its output.
    pub output: [usize; 3],
    /// Multiply-accumulates for one sample.
    pub macs: u64,
    /// Weights and other constants.
    pub parameters: usize,
    /// Height and width of the part of the input that one output depends on, at most all of it.
    pub receptive_field: [usize; 2],
    /// Bytes of the arena in use while it runs, if it is a step of its own.
    pub live_bytes: Option<usize>,
}

/// The layers of `graph`, whose program is `program`; `map` is its arena over the steps of inference, whose names are the program's.
pub fn layer_figures(graph: &Graph, program: &Assembled, map: &MemoryMap) -> Vec<LayerFigures> {
    let fields = receptive_fields(graph);
    let layer = |index: usize| {
        let node = &graph.nodes[index];
        let is_its = |name: &str| {
            name.strip_prefix(node.name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let steps =
            || program.step_names.iter().enumerate().filter(|(_, name)| is_its(name)).map(|(step, _)| step);
        let constants = node.inputs.iter().filter(|&&id| graph.tensor(id).role != Role::Activation);
        let [_, h, w, c] = graph.tensor(node.output).shape.dims();
        LayerFigures {
            name: node.name.clone(),
            operator: node.op.name(),
            output: [h, w, c],
            macs: steps().filter_map(|step| program.steps.get(step)).map(|step| macs(step.step())).sum(),
            parameters: constants.filter_map(|&id| graph.tensor(id).shape.elements()).sum(),
            receptive_field: fields[index],
            live_bytes: steps()
                .filter_map(|step| map.moments.get(step))
                .map(|moment| moment.live_bytes)
                .max(),
        }
    };
    (0..graph.nodes.len()).map(layer).collect()
}

/// Height and width that one element sees, and the distance between what neighbours see.
#[derive(Clone, Copy)]
struct Field {
    size: [usize; 2],
    step: [usize; 2],
}

/// The receptive field of each node's output.
fn receptive_fields(graph: &Graph) -> Vec<[usize; 2]> {
    let [_, height, width, _] = graph.inputs.first().map_or([1; 4], |&id| graph.tensor(id).shape.dims());
    let whole = Field { size: [height, width], step: [1, 1] };
    let mut fields: Vec<Option<Field>> = vec![None; graph.tensors.len()];
    for input in &graph.inputs {
        fields[input.0] = Some(Field { size: [1, 1], step: [1, 1] });
    }
    let mut found = Vec::new();
    for node in &graph.nodes {
        let before = node.inputs.iter().filter_map(|id| fields[id.0]).reduce(|a, b| Field {
            size: [a.size[0].max(b.size[0]), a.size[1].max(b.size[1])],
            step: [a.step[0].max(b.step[0]), a.step[1].max(b.step[1])],
        });
        let before = before.unwrap_or(Field { size: [1, 1], step: [1, 1] });
        let mixes = match node.op {
            GraphOp::Reshape => {
                graph.tensor(node.inputs[0]).shape.dims()[1..3]
                    != graph.tensor(node.output).shape.dims()[1..3]
            }
            GraphOp::Reduce(Reduce { axes: [y, x, _], .. }) => y || x,
            GraphOp::Lstm { .. }
            | GraphOp::LstmI8 { .. }
            | GraphOp::Gru { .. }
            | GraphOp::GruI8 { .. }
            | GraphOp::ResizeBilinear(_)
            | GraphOp::Gather(_) => true,
            _ => false,
        };
        let field = match node.op.window() {
            _ if mixes => whole,
            None => before,
            Some(window) => {
                let axes = [window.y, window.x];
                let size = |axis: usize| {
                    let extent = (axes[axis].kernel.max(1) - 1) * axes[axis].dilation;
                    before.size[axis].saturating_add(extent.saturating_mul(before.step[axis]))
                };
                let step = |axis: usize| before.step[axis].saturating_mul(axes[axis].stride);
                Field { size: [size(0), size(1)], step: [step(0), step(1)] }
            }
        };
        fields[node.output.0] = Some(field);
        found.push([field.size[0].min(height), field.size[1].min(width)]);
    }
    found
}

/// The layers with what quantization costs them.
pub(super) fn table(layers: &[LayerFigures], sensitivity: &Sensitivity) -> String {
    let Sensitivity { samples, float_loss, .. } = sensitivity;
    let percent = |accuracy: f64| format!("{:.2} %", accuracy * 100.0);
    let float = sensitivity.float_accuracy.map_or_else(String::new, |accuracy| percent(accuracy) + ", ");
    let int8 = sensitivity
        .int8_accuracy
        .map_or_else(String::new, |accuracy| format!(" All in int8: {}.", percent(accuracy)));
    let nothing = if sensitivity.float_accuracy.is_some() {
        "<td></td><td></td><td></td>"
    } else {
        "<td></td><td></td>"
    };
    let mut rows = String::new();
    if let Some(input) = sensitivity.layers.iter().find(|layer| layer.layer == "input") {
        rows += &format!(
            "<tr><td>input</td><td>quantize</td><td></td><td></td><td></td><td></td><td></td>{}</tr>\n",
            cost(input, sensitivity)
        );
    }
    for layer in layers {
        let [h, w, c] = layer.output;
        let [field_h, field_w] = layer.receptive_field;
        let found = sensitivity.layers.iter().find(|found| found.layer == layer.name);
        let cost = found.map_or_else(|| nothing.to_owned(), |found| cost(found, sensitivity));
        let live = layer.live_bytes.map(|bytes| grouped(bytes as u64)).unwrap_or_default();
        let number = |number: u64| if number == 0 { String::new() } else { grouped(number) };
        rows += &format!(
            "<tr><td>{}</td><td>{}</td><td>{h}×{w}×{c}</td><td>{}</td><td>{}</td><td>{field_h}×{field_w}</td><td>{live}</td>{cost}</tr>\n",
            escaped(&layer.name),
            layer.operator,
            number(layer.macs),
            number(layer.parameters as u64),
        );
    }
    let (columns, what, head) = match sensitivity.float_accuracy {
        Some(_) => ("three", "the accuracy, and the mean loss,", "<th>accuracy</th>"),
        None => ("two", "the mean loss", ""),
    };
    format!(
        "<p>The last {columns} columns, on {samples} samples: signal to noise of the layer's output with all layers in int8; what {what} \
         of the network in f32 ({float}{float_loss:.4}) change by with this layer alone in int8.{int8}</p>\n\
         <table>\n<tr><th>layer</th><th>operator</th><th>output</th><th>MACs</th><th>constants</th><th>sees</th><th>RAM, bytes</th>\
         <th>signal/noise</th>{head}<th>loss</th></tr>\n{rows}</table>\n"
    )
}

fn cost(layer: &LayerSensitivity, sensitivity: &Sensitivity) -> String {
    let ratio = layer.signal_to_noise_db.map_or_else(|| "exact".to_owned(), |ratio| format!("{ratio:.1} dB"));
    let points = layer.accuracy.zip(sensitivity.float_accuracy);
    let points =
        points.map_or_else(String::new, |(own, float)| format!("<td>{:+.2}</td>", (own - float) * 100.0));
    let loss = layer.loss - sensitivity.float_loss;
    // The more it costs, the redder.
    let shade = (loss.max(0.0) / sensitivity.float_loss.max(1e-3) * 4.0).min(0.6);
    format!("<td>{ratio}</td>{points}<td style=\"background: rgb(214 48 49 / {shade:.2})\">{loss:+.4}</td>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Network;

    #[test]
    fn receptive_fields_are_those_by_hand() {
        let network = Network::new("n", [32, 32, 3]).conv_2d(2, 3).conv_2d(2, 3).stride(2).max_pool_2d(2);
        let graph = network.conv_2d(4, 3).global_average_pool_2d().fully_connected(2).build().unwrap();
        let fields = receptive_fields(&graph);
        // 3; 3 + 2; 5 + 1 * 2; 7 + 2 * 4; then all.
        assert_eq!(fields[..4], [[3, 3], [5, 5], [7, 7], [15, 15]]);
        assert_eq!(fields.last(), Some(&[32, 32]));
    }
}
