//! What training begins from, and what of it stays as it is.

use std::collections::BTreeSet;
use std::path::Path;

use safetensors::SafeTensors;

use super::PipelineError;
use crate::graph::{Graph, Value};
use crate::nearest::nearest;
use crate::recipe::FineTuning;
use crate::train::files::read_file;

/// Takes the values of a file of weights for the tensors of the same names and shapes. Gives the names of the parameters that are not in it or have
/// another shape there.
pub(super) fn load_weights(graph: &mut Graph, path: &Path) -> Result<Vec<String>, PipelineError> {
    let malformed = |message: String| PipelineError::Weights { path: path.into(), message };
    let file = read_file(path)?;
    let tensors = SafeTensors::deserialize(&file)
        .map_err(|error| malformed(format!("not a safetensors file: {error}")))?;
    let (mut taken, mut left) = (0, Vec::new());
    for tensor in &mut graph.tensors {
        let Some(Value::F32(values)) = &mut tensor.value else { continue };
        match tensors.tensor(&tensor.name) {
            Ok(found) if found.shape() == tensor.shape.dims() && found.dtype() == safetensors::Dtype::F32 => {
                for (value, bytes) in values.iter_mut().zip(found.data().as_chunks::<4>().0) {
                    *value = f32::from_le_bytes(*bytes);
                }
                taken += 1;
            }
            _ => left.push(tensor.name.clone()),
        }
    }
    if taken == 0 {
        return Err(malformed("no tensor in it has the name and shape of one of the network's".to_owned()));
    }
    Ok(left)
}

/// The names of the parameters that do not learn.
pub(super) fn frozen(graph: &Graph, recipe: &FineTuning) -> Result<BTreeSet<String>, PipelineError> {
    let mut frozen = BTreeSet::new();
    let names = || graph.trained_parameters().map(|id| graph.tensor(id).name.as_str());
    for pattern in &recipe.freeze {
        let fits = |name: &str| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => {
                name == pattern
                    || name.strip_prefix(pattern.as_str()).is_some_and(|rest| rest.starts_with('/'))
            }
        };
        let found: Vec<String> = names().filter(|name| fits(name)).map(str::to_owned).collect();
        if found.is_empty() {
            let layers: BTreeSet<&str> = names().filter_map(|name| Some(name.split_once('/')?.0)).collect();
            let nearest = nearest(pattern, layers.into_iter()).map(str::to_owned);
            return Err(PipelineError::NothingToFreeze { pattern: pattern.clone(), nearest });
        }
        frozen.extend(found);
    }
    Ok(frozen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Network;

    fn graph() -> Graph {
        let network = Network::new("n", [4, 4, 1]).conv_2d(2, 3).batch_norm().relu().conv_2d(3, 3);
        network.global_average_pool_2d().fully_connected(2).build().unwrap()
    }

    #[test]
    fn layers_parameters_and_patterns_are_frozen() {
        let names = |freeze: &[&str]| {
            let freeze = freeze.iter().map(|&name| name.to_owned()).collect();
            frozen(&graph(), &FineTuning { freeze, ..FineTuning::default() })
        };
        let found = names(&["conv_2d_1", "conv_2d_2/bias"]).unwrap();
        assert!(found.iter().eq(["conv_2d_1/weights", "conv_2d_2/bias"]), "{found:?}");
        assert_eq!(names(&["conv_2d_*"]).unwrap().len(), 3);
        let error = names(&["conv_3d_1"]).unwrap_err().to_string();
        assert!(error.contains("conv_3d_1") && error.contains("did you mean `conv_2d_1`"), "{error}");
    }
}
