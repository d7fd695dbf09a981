//! Which parameters learn.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::PersonalizeError;
use crate::graph::{Graph, GraphOp};

/// What learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The last layer with weights.
    Head,
    /// The last layer with weights, and the biases of so many layers before it.
    Bias(usize),
    /// The last so many convolutions that mix channels, and the last layer.
    Block(usize),
    /// These layers.
    Layers(Vec<String>),
    /// Everything.
    Full,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::Bias(1) => f.write_str("bias"),
            Self::Bias(count) => write!(f, "bias:{count}"),
            Self::Block(count) => write!(f, "block:{count}"),
            Self::Layers(names) => write!(f, "layers:{}", names.join(",")),
            Self::Full => f.write_str("full"),
        }
    }
}

impl FromStr for Tier {
    type Err = PersonalizeError;

    fn from_str(text: &str) -> Result<Self, PersonalizeError> {
        let error = || PersonalizeError::Tier { found: text.to_owned() };
        match text.split_once(':') {
            None => match text {
                "head" => Ok(Self::Head),
                "bias" => Ok(Self::Bias(1)),
                "full" => Ok(Self::Full),
                _ => Err(error()),
            },
            Some((tier @ ("block" | "bias"), count)) => match count.parse() {
                Ok(0) | Err(_) => Err(error()),
                Ok(count) if tier == "bias" => Ok(Self::Bias(count)),
                Ok(count) => Ok(Self::Block(count)),
            },
            Some(("layers", names)) if !names.is_empty() => {
                Ok(Self::Layers(names.split(',').map(str::to_owned).collect()))
            }
            Some(_) => Err(error()),
        }
    }
}

/// A layer with weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its name.
    pub name: String,
    /// Whether each output channel sees one input channel only.
    pub depthwise: bool,
}

/// What learns, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learning {
    /// The layers in which something learns.
    pub layers: BTreeSet<String>,
    /// The parameters that learn.
    pub parameters: BTreeSet<String>,
}

/// The layers with weights, in order.
pub fn layers(graph: &Graph) -> Vec<Layer> {
    let layer = |node: &crate::graph::Node| {
        let depthwise = match node.op {
            GraphOp::DepthwiseConv2d { .. } | GraphOp::DepthwiseConv2dI8 { .. } => true,
            GraphOp::Conv2d { .. }
            | GraphOp::Conv2dI8 { .. }
            | GraphOp::FullyConnected { .. }
            | GraphOp::FullyConnectedI8 { .. } => false,
            _ => return None,
        };
        Some(Layer { name: node.name.clone(), depthwise })
    };
    graph.nodes.iter().filter_map(layer).collect()
}

impl Tier {
    /// The layers and parameters of `graph` that learn.
    ///
    /// # Errors
    /// [`PersonalizeError::Layer`].
    pub fn learning(&self, graph: &Graph) -> Result<Learning, PersonalizeError> {
        let all = layers(graph);
        let error = || {
            let known: Vec<&str> = all.iter().map(|layer| layer.name.as_str()).collect();
            PersonalizeError::Layer { found: self.to_string(), known: known.join(", ") }
        };
        let (head, body) = all.split_last().ok_or_else(error)?;
        let chosen: Vec<&str> = match self {
            Self::Head => vec![&head.name],
            Self::Full => all.iter().map(|layer| layer.name.as_str()).collect(),
            Self::Bias(count) => {
                let first = body.len().checked_sub(*count).ok_or_else(error)?;
                all[first..].iter().map(|layer| layer.name.as_str()).collect()
            }
            Self::Block(count) => {
                let mixing = body.iter().rev().filter(|layer| !layer.depthwise).take(*count);
                let mut chosen: Vec<&str> = mixing.map(|layer| layer.name.as_str()).collect();
                if chosen.len() < *count {
                    return Err(error());
                }
                chosen.push(&head.name);
                chosen
            }
            Self::Layers(names) => {
                if names.iter().any(|name| !all.iter().any(|layer| layer.name == *name)) {
                    return Err(error());
                }
                names.iter().map(String::as_str).collect()
            }
        };
        let parameters = chosen.iter().flat_map(|name| {
            let is_frozen = matches!(self, Self::Bias(_)) && *name != head.name;
            let weights = (!is_frozen).then(|| format!("{name}/weights"));
            weights.into_iter().chain([format!("{name}/bias")])
        });
        let parameters = parameters.collect();
        Ok(Learning { layers: chosen.into_iter().map(str::to_owned).collect(), parameters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Network;

    #[test]
    fn tiers_have_names() {
        for text in ["head", "bias", "bias:3", "full", "block:2", "layers:a,b"] {
            assert_eq!(text.parse::<Tier>().unwrap().to_string(), text);
        }
        for text in ["", "heads", "bias:0", "block", "block:0", "block:x", "layers:", "full:1"] {
            assert!(text.parse::<Tier>().is_err(), "{text}");
        }
    }

    #[test]
    fn tiers_choose_layers() {
        let net = Network::new("n", [8, 8, 1]).conv_2d(4, 3).relu().depthwise_conv_2d(3).relu().conv_2d(6, 1);
        let graph = net.relu().global_average_pool_2d().fully_connected(3).build().unwrap();
        let chosen = |tier: &str| {
            let learning = tier.parse::<Tier>().unwrap().learning(&graph)?;
            Ok::<_, PersonalizeError>(learning.parameters.into_iter().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(chosen("head").unwrap(), "fully_connected_1/bias fully_connected_1/weights");
        let block = "conv_2d_2/bias conv_2d_2/weights fully_connected_1/bias fully_connected_1/weights";
        assert_eq!(chosen("block:1").unwrap(), block);
        let head = "fully_connected_1/bias fully_connected_1/weights";
        assert_eq!(chosen("bias").unwrap(), format!("conv_2d_2/bias {head}"));
        let biases = "conv_2d_1/bias conv_2d_2/bias depthwise_conv_2d_1/bias";
        assert_eq!(chosen("bias:3").unwrap(), format!("{biases} {head}"));
        assert!(chosen("bias:4").is_err());
        assert_eq!(chosen("full").unwrap().split(' ').count(), 8);
        assert_eq!(chosen("layers:conv_2d_1").unwrap(), "conv_2d_1/bias conv_2d_1/weights");
        let error = chosen("block:3").unwrap_err().to_string();
        assert_eq!(
            error,
            "block:3: there is no such layer, or there are not so many; the network has conv_2d_1, depthwise_conv_2d_1, conv_2d_2, fully_connected_1"
        );
        assert!(chosen("layers:conv_2d_9").is_err());
    }
}
