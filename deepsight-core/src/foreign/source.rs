//! The tensors of a file, and the networks that its names show.

use std::collections::BTreeMap;

use half::{bf16, f16};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::checkpoint::Checkpoint;
use super::pickle::Id;
use super::{Candidate, Naming};
use crate::Error;
use crate::state_dict::Weight;

/// The tensor by which a network is found. Every EfficientNet has one.
const STEM: &str = "conv_stem.weight";

/// Returns the prefix and the naming of a vision transformer if the tensor is a class token, by which one is found.
fn transformer(name: &str) -> Option<(&str, Naming)> {
    const TOKENS: [(&str, Naming); 4] = [
        ("embeddings.class_embedding", Naming::Transformers),
        ("embeddings.cls_token", Naming::Transformers),
        ("class_embedding", Naming::OpenClip),
        ("cls_token", Naming::Timm),
    ];
    let mut found = TOKENS.iter().filter_map(|(token, naming)| Some((name.strip_suffix(token)?, *naming)));
    found.next().filter(|(prefix, _)| prefix.is_empty() || prefix.ends_with('.'))
}

/// Largest number of networks that are looked for in a file.
const MAX_NETWORKS: usize = 16;

/// A file of tensors.
pub(crate) enum Source<'a> {
    Torch(Checkpoint<'a>),
    /// Dictionaries, each with its keys joined by dots. A file is one dictionary without keys.
    Safetensors(Vec<(String, BTreeMap<String, TensorView<'a>>)>),
}

impl<'a> Source<'a> {
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, Error> {
        if !is_safetensors(bytes) {
            return Checkpoint::read(bytes).map(Self::Torch);
        }
        Self::of_dictionaries([("", bytes)])
    }

    /// Opens dictionaries, each by its keys and the content of a safetensors file.
    pub(super) fn of_dictionaries<'k>(
        dictionaries: impl IntoIterator<Item = (&'k str, &'a [u8])>,
    ) -> Result<Self, Error> {
        let mut opened = Vec::new();
        for (keys, bytes) in dictionaries {
            let tensors =
                SafeTensors::deserialize(bytes).map_err(|error| Error::not_safetensors(bytes.len(), &error))?;
            opened.push((keys.to_owned(), tensors.tensors().into_iter().collect()));
        }
        Ok(Self::Safetensors(opened))
    }

    pub(super) fn architecture(&self) -> Option<&str> {
        match self {
            Self::Torch(checkpoint) => checkpoint.architecture(),
            Self::Safetensors(_) => None,
        }
    }

    /// Returns the networks of the file. Where none is found, the first dictionary counts as one, so that its names can
    /// be compared with those of a network.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let (mut found, mut last_layers) = (Vec::new(), Vec::new());
        self.each_name(|dictionary, keys, name| {
            if let Some(holder) = name.strip_suffix("last_layer.weight").filter(|_| last_layers.len() < MAX_NETWORKS) {
                last_layers.push((dictionary, format!("{holder}efficientnet.")));
            }
            if let Some((prefix, naming)) = transformer(name).filter(|_| found.len() < MAX_NETWORKS) {
                let mut candidate = Candidate::new(dictionary, keys, prefix, naming);
                candidate.is_transformer = true;
                found.push(candidate);
            }
            let Some(prefix) = name.strip_suffix(STEM).filter(|_| found.len() < MAX_NETWORKS) else { return };
            let (prefix, naming) = match prefix.strip_suffix('_') {
                Some(prefix) => (prefix, Naming::EfficientNetPytorch),
                None => (prefix, Naming::Timm),
            };
            if prefix.is_empty() || prefix.ends_with('.') {
                found.push(Candidate::new(dictionary, keys, prefix, naming));
            }
        });
        for candidate in &mut found {
            let Candidate { dictionary, prefix, naming, .. } = &*candidate;
            let is_beside = last_layers.iter().any(|(number, network)| number == dictionary && network == prefix);
            candidate.is_deepfakebench = *naming == Naming::EfficientNetPytorch && is_beside;
        }
        if found.is_empty() {
            found.push(Candidate::new(0, "", "", Naming::Timm));
        }
        found
    }

    /// Calls `visit` with each tensor: the number and the keys of its dictionary, and its name.
    fn each_name(&self, mut visit: impl FnMut(usize, &str, &str)) {
        match self {
            Self::Torch(checkpoint) => {
                for (number, keys) in checkpoint.dictionaries().enumerate() {
                    checkpoint.names(number).for_each(|name| visit(number, keys, name));
                }
            }
            Self::Safetensors(dictionaries) => {
                for (number, (keys, views)) in dictionaries.iter().enumerate() {
                    views.keys().for_each(|name| visit(number, keys, name));
                }
            }
        }
    }

    pub(crate) fn tensors(&self, dictionary: usize) -> Result<Tensors<'_, 'a>, Error> {
        Ok(match self {
            Self::Torch(checkpoint) => Tensors::Torch(checkpoint, checkpoint.tensors(dictionary)?),
            Self::Safetensors(dictionaries) => Tensors::Safetensors(&dictionaries[dictionary].1),
        })
    }
}

/// The tensors of one dictionary of a file.
pub(crate) enum Tensors<'s, 'a> {
    Torch(&'s Checkpoint<'a>, BTreeMap<String, Id>),
    Safetensors(&'s BTreeMap<String, TensorView<'a>>),
}

impl Tensors<'_, '_> {
    pub(crate) fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        match self {
            Self::Torch(checkpoint, ids) => {
                ids.iter().map(|(name, id)| (name.clone(), checkpoint.shape(*id))).collect()
            }
            Self::Safetensors(views) => {
                views.iter().map(|(name, view)| (name.clone(), view.shape().to_vec())).collect()
            }
        }
    }

    /// Reads the values of one tensor. The caller must check the shape first, because it determines the memory used.
    pub(crate) fn weight(&self, name: &str) -> Result<Weight, Error> {
        match self {
            Self::Torch(checkpoint, ids) => checkpoint.weight(name, ids[name]),
            Self::Safetensors(views) => safetensors_weight(name, &views[name]),
        }
    }
}

fn safetensors_weight(name: &str, view: &TensorView<'_>) -> Result<Weight, Error> {
    let data = view.data();
    let values = match view.dtype() {
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::BF16 => data.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::F64 => data.as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes) as f32).collect(),
        other => {
            let (name, found) = (name.into(), format!("{other:?}"));
            return Err(Error::TensorType { name, found, expected: "F32, F16, BF16 or F64" });
        }
    };
    Ok(Weight { shape: view.shape().to_vec(), values })
}

/// Relatives of known networks that are not supported, each with a part of a name that only its tensors have.
const UNSUPPORTED_RELATIVES: [(&str, &str); 10] = [
    ("attconv.", "EfficientNet with attention (EfficientNetAutoAtt of icpr2020dfdc)"),
    ("adjust_channel.", "EfficientNet with an additional convolution (`adjust_channel` of DeepfakeBench)"),
    ("blocks.0.0.conv.weight", "EfficientNetV2"),
    (".lora_A.", "a network with LoRA adapters that are not merged (merge them by `merge_and_unload()` of peft first)"),
    ("relative_position_bias_table", "a Swin transformer or BEiT"),
    ("embeddings.patch_embeddings.weight", "DINOv3"),
    ("blocks.0.gamma_1", "a vision transformer with rotary positions (DINOv3 or EVA)"),
    ("attn_pool.", "a vision transformer with attention pooling (Perception Encoder or SigLIP)"),
    ("blocks.0.mlp.w12.", "DINOv2 ViT-g, whose MLP is another"),
    ("encoder.layer.0.mlp.weights_in.", "DINOv2 ViT-g, whose MLP is another"),
];

/// Other networks that are not supported.
const UNSUPPORTED: [(&str, &str); 5] = [
    ("block12.rep.", "Xception"),
    ("conv4.pointwise.weight", "Xception"),
    ("layer4.0.conv1.weight", "ResNet"),
    ("downsample_layers.", "ConvNeXt"),
    ("Mixed_7a.", "Inception"),
];

/// Returns the network, if it is one that is known and not supported.
pub(super) fn unsupported_network(source: &Source<'_>) -> Option<&'static str> {
    let (mut relative, mut other, mut is_known) = (None, None, false);
    let known = |list: &[(&str, &'static str)], name: &str| {
        list.iter().find(|(part, _)| name.contains(part)).map(|(_, network)| *network)
    };
    source.each_name(|_, _, name| {
        is_known |= name.ends_with(STEM) || transformer(name).is_some();
        relative = relative.or_else(|| known(&UNSUPPORTED_RELATIVES, name));
        other = other.or_else(|| known(&UNSUPPORTED, name));
    });
    relative.or(other.filter(|_| !is_known))
}

/// Returns whether the bytes look like safetensors, whose header is JSON after its length.
fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{') && !bytes.starts_with(b"PK")
}
