//! `docs/operator-support.md` says what the code can do, as the files of `tests/tflite` show it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use smidgen_trainer::compile::{Loss, Optimizer, TrainingOptions, compile_training};
use smidgen_trainer::graph::{Graph, GraphOp, Node, Role};
use smidgen_trainer::support::{self, Forms};
use smidgen_trainer::tflite::{self, Net, import};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// `graph` with its first output only, and views of its first input for the others, as far as they have as many elements: training takes
/// one input and one output.
fn with_one_input(mut graph: Graph) -> Graph {
    let elements = |id| graph.tensor(id).shape.elements();
    let (first, others) = graph.inputs.split_first().expect("a network has inputs");
    let views: Vec<Node> = others
        .iter()
        .filter(|&&other| elements(other) == elements(*first))
        .map(|&other| Node {
            name: format!("view_{}", other.0),
            op: GraphOp::Reshape,
            inputs: vec![*first],
            output: other,
            updates: Vec::new(),
        })
        .collect();
    graph.inputs.retain(|input| views.iter().all(|view| view.output != *input));
    graph.outputs.truncate(1);
    graph.nodes.splice(0..0, views);
    graph
}

/// Whether training goes back through all of it.
fn is_trained_through(graph: Graph) -> bool {
    let graph = with_one_input(graph);
    let options = TrainingOptions {
        chunk_samples: 1,
        chunks: 1,
        loss: Loss::MeanSquaredError,
        optimizer: Optimizer::Sgd { momentum: 0.0, weight_decay: 0.0, nesterov: false },
        ..TrainingOptions::default()
    };
    let name = graph.name.clone();
    support::with_trained_inputs(graph).is_some_and(|graph| match compile_training(&graph, &options) {
        Ok(_) => true,
        Err(error) => {
            // To be seen with `--nocapture`.
            println!("{name}: {error}");
            false
        }
    })
}

/// What the files show of each operator.
fn forms() -> BTreeMap<String, Forms> {
    let manifest = fs::read(folder("tests/tflite/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let mut forms: BTreeMap<String, Forms> = BTreeMap::new();
    for file in manifest["files"].as_array().unwrap() {
        let name = file["name"].as_str().unwrap();
        let path = folder(&format!("tests/tflite/{name}.tflite"));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let Ok(imported) = Net::read(&bytes).and_then(|net| import(&net, name)) else { continue };
        // What a network keeps from run to run is not trained through.
        let has_state = imported.graph.tensors.iter().any(|tensor| tensor.role == Role::State);
        let is_float = name.ends_with("_f32");
        let is_trained = is_float && !has_state && is_trained_through(imported.graph);
        for operator in file["operators"].as_array().unwrap() {
            let found = forms.entry(operator.as_str().unwrap().to_owned()).or_default();
            found.int8 |= name.ends_with("_i8");
            found.float |= is_float;
            found.backward |= is_trained;
        }
    }
    forms
}

#[test]
fn the_page_says_what_the_code_can_do() {
    let forms = forms();
    let page = support::page(|name| forms.get(name).copied().unwrap_or_default()).unwrap();
    let path = folder("docs/operator-support.md");
    if std::env::var_os("SMIDGEN_WRITE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    for (line, (written, expected)) in (1..).zip(written.lines().zip(page.lines())) {
        assert_eq!(
            written,
            expected,
            "line {line} of {}: see its first lines for how to renew it",
            path.display()
        );
    }
    assert_eq!(written.lines().count(), page.lines().count());
}

#[test]
fn every_operator_that_is_imported_is_shown_by_a_file() {
    let forms = forms();
    // No file has these: REDUCE_MAX and ARG_MAX the other way around, and what is known at import. The page leaves them blank.
    let known = |name: &str| forms.contains_key(name) || ["REDUCE_MIN", "ARG_MIN", "SHAPE"].contains(&name);
    let unseen: Vec<String> = tflite::operator_names().into_iter().filter(|name| !known(name)).collect();
    assert!(unseen.is_empty(), "no file of tests/tflite has {unseen:?}");
}

#[test]
fn what_has_no_gradient_is_noticed() {
    // The negative control: quantized and back, which nothing comes back through.
    let bytes = fs::read(folder("tests/tflite/conv_2d_valid_odd_i8.tflite")).unwrap();
    let graph = import(&Net::read(&bytes).unwrap(), "conv").unwrap().graph;
    assert!(!is_trained_through(graph));
    let bytes = fs::read(folder("tests/tflite/conv_2d_valid_odd_f32.tflite")).unwrap();
    let graph = import(&Net::read(&bytes).unwrap(), "conv").unwrap().graph;
    assert!(is_trained_through(graph));
}
