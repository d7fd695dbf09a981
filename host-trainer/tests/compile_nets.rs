//! Every known network compiles, for training and for inference, to a model that the runtime accepts.

use smidgen::model::Metadata;
use smidgen::{AllOperators, EntryKind, Model, Schedule, Space};
use smidgen_trainer::buffer::AlignedBytes;
use smidgen_trainer::compile::{
    Assembled, Loss, LowerOptions, Optimizer, TrainingOptions, compile_inference, compile_training,
    fold_batch_norm, fuse_activation,
};
use smidgen_trainer::graph::nets;

fn options(loss: Loss) -> TrainingOptions {
    let optimizer = Optimizer::Sgd { momentum: 0.9, weight_decay: 1e-4, nesterov: true };
    TrainingOptions { chunk_samples: 4, chunks: 2, loss, optimizer, ..TrainingOptions::default() }
}

fn load(assembled: &Assembled) {
    let file = assembled
        .to_file(&Metadata {
            name: "n",
            labels: "",
            step_names: "",
            provenance: "",
            preprocessing: Default::default(),
        })
        .unwrap();
    let file = AlignedBytes::copy_of(&file);
    let model = Model::<AllOperators>::from_bytes(file.as_slice()).unwrap();
    assert_eq!(model.header().memory, assembled.memory);
    if let Some(parameters) = model.initial_parameters() {
        assert_eq!(parameters, assembled.parameters);
    }
    if let Some(state) = model.initial_state() {
        assert_eq!(state, assembled.state);
    }
}

fn phase_count(assembled: &Assembled, kind: EntryKind) -> usize {
    let schedules: Vec<Schedule> = assembled.steps_of(kind).iter().map(|step| step.schedule).collect();
    schedules.chunk_by(|left, right| left == right).count()
}

#[test]
fn every_network_trains() {
    for name in nets::NAMES {
        let loss = match name {
            "autoencoder" => Loss::MeanSquaredError,
            _ => Loss::SoftmaxCrossEntropy { label_smoothing: 0.1 },
        };
        let graph = nets::by_name(name).unwrap().build().unwrap();
        let assembled =
            compile_training(&graph, &options(loss)).unwrap_or_else(|error| panic!("{name}: {error}"));
        load(&assembled);
        let batch_norms = graph.nodes.iter().filter(|node| node.op.name() == "batch_norm").count();
        // Each batch norm ends a phase per chunk and needs one that runs once, forward and backward; one more pair ends the pass.
        // Batch norms of ResNet-8 are all in a row, too: its shortcuts have none.
        assert_eq!(phase_count(&assembled, EntryKind::Train), 4 * batch_norms + 2, "{name}");
        assert_eq!(phase_count(&assembled, EntryKind::Update), 1, "{name}");
        assert_eq!(phase_count(&assembled, EntryKind::Evaluate), 2, "{name}");
        assert_eq!(phase_count(&assembled, EntryKind::Infer), 1, "{name}");
        for space in [Space::Arena, Space::Chunk] {
            let usage = assembled.spaces[space as usize];
            println!("{name} {space:?} {usage:?}");
            assert!(usage.bytes >= usage.lower_bound);
            assert!(usage.bytes <= usage.lower_bound + usage.lower_bound / 10, "{name}: {space:?} {usage:?}");
        }
    }
}

#[test]
fn every_network_infers() {
    for name in nets::NAMES {
        let graph = nets::by_name(name).unwrap().build().unwrap();
        let graph = fold_batch_norm(fuse_activation(graph));
        assert!(graph.nodes.iter().all(|node| node.op.name() != "batch_norm"));
        let assembled = compile_inference(&graph, &LowerOptions::default()).unwrap();
        load(&assembled);
        assert!(assembled.parameters.is_empty() && assembled.state.is_empty());
        let arena = assembled.spaces[Space::Arena as usize];
        println!("{name} {arena:?}");
        assert_eq!(arena.bytes, arena.lower_bound, "{name}");
    }
}
