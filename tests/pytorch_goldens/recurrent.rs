//! Layers that remember, and layers that are made of others.

use smidgen::Shape;
use smidgen::ops::fully_connected::{self, FullyConnected};
use smidgen::ops::lstm::Order;
use smidgen::ops::lstm::float::{Lstm, Weights};
use smidgen::ops::{activation::Activation, grad_bias, gru, lstm};
use smidgen_trainer::compile::calibrate::GraphRun;
use smidgen_trainer::graph::{Graph, Network, Value};

use crate::goldens::{Golden, Goldens, TOLERANCE, assert_close};

/// As [`TOLERANCE`], after up to six steps of time.
const RECURRENT_TOLERANCE: f32 = 5e-6;
/// As [`TOLERANCE`], after a division by a deviation of few elements.
const NORM_TOLERANCE: f32 = 5e-6;

const ORDER: Order = Order { time_major: false, from_zero: true };

/// The layer before the gates, and its gradients, as a fully connected layer has them.
struct Pointwise {
    params: FullyConnected,
    gates: Shape,
}

impl Pointwise {
    fn new(input: &Golden, weights: &Golden) -> Self {
        let Shape([n, h, w, _]) = input.shape();
        let Shape([.., columns]) = weights.shape();
        let gates = Shape([n, h, w, columns]);
        let params = FullyConnected {
            input: input.shape(),
            weights: weights.shape(),
            output: gates,
            activation: Activation::None,
        };
        Self { params, gates }
    }

    fn assert_gradients(&self, goldens: &Goldens, case: &str, grad_gates: &[f32]) {
        let (input, weights) = (goldens.get(case, "input"), goldens.get(case, "weights"));
        let mut found = vec![f32::NAN; weights.values.len()];
        fully_connected::grad_weights(&self.params, &input.values, grad_gates, &mut found).unwrap();
        assert_close(goldens, case, "grad_weights", &found, RECURRENT_TOLERANCE);
        let mut found = vec![f32::NAN; input.values.len()];
        fully_connected::grad_input(&self.params, grad_gates, &weights.values, &mut found).unwrap();
        assert_close(goldens, case, "grad_input", &found, RECURRENT_TOLERANCE);
        assert_close(goldens, case, "grad_bias", &self.summed(grad_gates), RECURRENT_TOLERANCE);
    }

    fn summed(&self, grad_gates: &[f32]) -> Vec<f32> {
        let mut found = vec![f32::NAN; self.gates.dims()[3]];
        grad_bias::backward(self.gates, grad_gates, &mut found).unwrap();
        found
    }
}

#[test]
fn grus() {
    let goldens = Goldens::load("recurrent.safetensors");
    for case in goldens.cases("gru") {
        let get = |name| goldens.get(&case, name);
        let (input, weights, recurrent, output) =
            (get("input"), get("weights"), get("recurrent"), get("output"));
        let (bias, recurrent_bias) = (get("bias").values, get("recurrent_bias").values);
        let pointwise = Pointwise::new(&input, &weights);
        let [steps, units] = [pointwise.gates.elements().unwrap(), output.shape().dims()[3]];
        let mut gates = vec![f32::NAN; steps];
        fully_connected::forward(&pointwise.params, &input.values, &weights.values, Some(&bias), &mut gates)
            .unwrap();
        let (mut hidden, mut found) = (vec![f32::NAN; units], vec![f32::NAN; output.values.len()]);
        let mut cache = vec![f32::NAN; output.values.len() * gru::float::CACHED];
        gru::float::forward(
            ORDER,
            (pointwise.gates, &gates),
            &recurrent.values,
            &recurrent_bias,
            &mut hidden,
            (output.shape(), &mut found),
            Some(&mut cache),
        )
        .unwrap();
        assert_close(&goldens, &case, "output", &found, RECURRENT_TOLERANCE);
        let (mut grad_gates, mut grad_sums) = (vec![f32::NAN; steps], vec![f32::NAN; steps]);
        gru::gradient::grad_gates(
            ORDER,
            (output.shape(), &get("grad_output").values),
            &found,
            &cache,
            &recurrent.values,
            (&mut grad_gates, &mut grad_sums),
            &mut vec![f32::NAN; units],
        )
        .unwrap();
        pointwise.assert_gradients(&goldens, &case, &grad_gates);
        assert_close(
            &goldens,
            &case,
            "grad_recurrent_bias",
            &pointwise.summed(&grad_sums),
            RECURRENT_TOLERANCE,
        );
        let mut of_recurrent = vec![f32::NAN; recurrent.values.len()];
        lstm::gradient::grad_recurrent(
            ORDER,
            (output.shape(), &found),
            (pointwise.gates, &grad_sums),
            &mut of_recurrent,
        )
        .unwrap();
        assert_close(&goldens, &case, "grad_recurrent", &of_recurrent, RECURRENT_TOLERANCE);
    }
}

#[test]
fn lstms() {
    let goldens = Goldens::load("recurrent.safetensors");
    for case in goldens.cases("lstm") {
        let get = |name| goldens.get(&case, name);
        let (input, weights, recurrent, output) =
            (get("input"), get("weights"), get("recurrent"), get("output"));
        let bias = get("bias").values;
        let pointwise = Pointwise::new(&input, &weights);
        let units = output.shape().dims()[3];
        let params = Lstm { order: ORDER, cell_clip: 0.0 };
        let (mut hidden, mut cell) = (vec![f32::NAN; units], vec![f32::NAN; units]);
        let mut found = vec![f32::NAN; output.values.len()];
        let mut cache = vec![f32::NAN; output.values.len() * lstm::float::CACHED];
        lstm::float::forward(
            &params,
            &Weights { input: &weights.values, recurrent: &recurrent.values, bias: &bias },
            (input.shape(), &input.values),
            (&mut hidden, &mut cell),
            (output.shape(), &mut found),
            Some(&mut cache),
        )
        .unwrap();
        assert_close(&goldens, &case, "output", &found, RECURRENT_TOLERANCE);
        let mut grad_gates = vec![f32::NAN; pointwise.gates.elements().unwrap()];
        lstm::gradient::grad_gates(
            &params,
            (output.shape(), &get("grad_output").values),
            &cache,
            &recurrent.values,
            &mut grad_gates,
            &mut vec![f32::NAN; 2 * units],
        )
        .unwrap();
        pointwise.assert_gradients(&goldens, &case, &grad_gates);
        let mut of_recurrent = vec![f32::NAN; recurrent.values.len()];
        lstm::gradient::grad_recurrent(
            ORDER,
            (output.shape(), &found),
            (pointwise.gates, &grad_gates),
            &mut of_recurrent,
        )
        .unwrap();
        assert_close(&goldens, &case, "grad_recurrent", &of_recurrent, RECURRENT_TOLERANCE);
    }
}

/// What a layer makes of a golden's input, its parameters being the golden's of the same names.
fn composed(case: &str, layer: impl FnOnce(Network) -> Network, tolerance: f32) {
    let goldens = Goldens::load("composed.safetensors");
    let input = goldens.get(case, "input");
    let [_, height, width, channels] = input.shape().dims();
    let mut graph: Graph = layer(Network::new("layer", [height, width, channels])).build().unwrap();
    for tensor in &mut graph.tensors {
        let parameter = tensor.name.rsplit_once('/').and_then(|(_, name)| goldens.find(case, name));
        if let Some(parameter) = parameter.filter(|_| tensor.value.is_some()) {
            tensor.value = Some(Value::F32(parameter.values));
        }
    }
    let mut run = GraphRun::new(&graph).unwrap();
    run.activation_mut::<f32>(graph.inputs[0]).copy_from_slice(&input.values);
    run.run();
    assert_close(&goldens, case, "output", run.activation(graph.outputs[0]), tolerance);
}

#[test]
fn layers_that_are_made_of_others() {
    composed("layer_norm.plain", Network::layer_norm, NORM_TOLERANCE);
    composed("instance_norm.plain", Network::instance_norm, NORM_TOLERANCE);
    composed("group_norm.plain", |network| network.group_norm(3), NORM_TOLERANCE);
    composed("channel_shuffle.plain", |network| network.channel_shuffle(3), 0.0);
    composed("maxout.plain", |network| network.maxout(3), TOLERANCE);
}
