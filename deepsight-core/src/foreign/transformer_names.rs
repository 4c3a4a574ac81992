//! The names under which libraries save vision transformers, and timm's names for the same tensors.

/// The tensor of timm that a tensor of a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The tensor of this name.
    Tensor(String),
    /// A third of the tensor of this name: 0 for queries, 1 for keys, 2 for values.
    Third(String, usize),
    /// The projection from features to CLIP's embedding, `[embedding, width]`.
    Projection,
    /// The same, transposed: `[width, embedding]`.
    TransposedProjection,
    /// A tensor that inference does not need.
    Unused,
}

/// Returns the tensor of timm that transformers calls `name`, in `CLIPVisionModel`, `Dinov2Model` or
/// `Dinov2WithRegistersModel`. `None` for other names.
pub(crate) fn of_transformers(name: &str) -> Option<Target> {
    let layer = name.strip_prefix("encoder.layers.").or_else(|| name.strip_prefix("encoder.layer."));
    let Some((number, rest)) = layer.and_then(numbered) else {
        return outside(
            name,
            &[
                ("embeddings.class_embedding", "cls_token"),
                ("embeddings.cls_token", "cls_token"),
                ("embeddings.register_tokens", "reg_token"),
                ("embeddings.position_embedding.weight", "pos_embed"),
                ("embeddings.position_embeddings", "pos_embed"),
                ("embeddings.patch_embedding", "patch_embed.proj"),
                ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
                // The library's own spelling.
                ("pre_layrnorm", "norm_pre"),
                ("pre_layernorm", "norm_pre"),
                ("post_layernorm", "norm"),
                ("layernorm", "norm"),
            ],
            &["embeddings.position_ids", "embeddings.mask_token"],
        );
    };
    let (layer, tensor) =
        rest.rsplit_once('.').filter(|(_, tensor)| matches!(*tensor, "weight" | "bias" | "lambda1"))?;
    let block = format!("blocks.{number}");
    let third = |number| Some(Target::Third(format!("{block}.attn.qkv.{tensor}"), number));
    let plain = match (layer, tensor) {
        ("self_attn.q_proj" | "attention.q_proj" | "attention.attention.query", _) => return third(0),
        ("self_attn.k_proj" | "attention.k_proj" | "attention.attention.key", _) => return third(1),
        ("self_attn.v_proj" | "attention.v_proj" | "attention.attention.value", _) => return third(2),
        ("self_attn.out_proj" | "attention.o_proj" | "attention.output.dense", _) => format!("attn.proj.{tensor}"),
        ("layer_norm1" | "norm1", _) => format!("norm1.{tensor}"),
        ("layer_norm2" | "norm2", _) => format!("norm2.{tensor}"),
        ("mlp.fc1" | "mlp.fc2", _) => format!("{layer}.{tensor}"),
        ("layer_scale1", "lambda1") => "ls1.gamma".into(),
        ("layer_scale2", "lambda1") => "ls2.gamma".into(),
        _ => return None,
    };
    Some(Target::Tensor(format!("{block}.{plain}")))
}

/// Returns the tensor of timm that OpenAI's CLIP and open_clip call `name`, in the module `visual`.
pub(crate) fn of_open_clip(name: &str) -> Option<Target> {
    let Some((number, rest)) = name.strip_prefix("transformer.resblocks.").and_then(numbered) else {
        if name == "proj" {
            return Some(Target::TransposedProjection);
        }
        return outside(
            name,
            &[
                ("class_embedding", "cls_token"),
                ("positional_embedding", "pos_embed"),
                ("conv1", "patch_embed.proj"),
                ("ln_pre", "norm_pre"),
                ("ln_post", "norm"),
            ],
            &[],
        );
    };
    let plain = match rest {
        "attn.in_proj_weight" => "attn.qkv.weight".into(),
        "attn.in_proj_bias" => "attn.qkv.bias".into(),
        _ => {
            let (layer, tensor) = rest.rsplit_once('.')?;
            let layer = match layer {
                "ln_1" => "norm1",
                "ln_2" => "norm2",
                "attn.out_proj" => "attn.proj",
                "mlp.c_fc" => "mlp.fc1",
                "mlp.c_proj" => "mlp.fc2",
                _ => return None,
            };
            format!("{layer}.{tensor}")
        }
    };
    Some(Target::Tensor(format!("blocks.{number}.{plain}")))
}

/// Returns the tensor of timm that timm, or DINOv2's own code, calls `name`. Names of other tensors are kept.
pub(crate) fn of_timm(name: &str) -> Option<Target> {
    Some(match name {
        "register_tokens" => Target::Tensor("reg_token".into()),
        "mask_token" => Target::Unused,
        same => Target::Tensor(same.into()),
    })
}

/// Splits the number of a block from the rest of a name.
fn numbered(name: &str) -> Option<(usize, &str)> {
    let (number, rest) = name.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// Returns the target of a tensor outside the blocks. `known` has whole names and names of layers.
fn outside(name: &str, known: &[(&str, &str)], unused: &[&str]) -> Option<Target> {
    if unused.contains(&name) {
        return Some(Target::Unused);
    }
    let layer = name.rsplit_once('.').filter(|(_, tensor)| matches!(*tensor, "weight" | "bias"));
    known.iter().find_map(|(theirs, timm)| {
        let whole = (name == *theirs).then(|| Target::Tensor((*timm).into()));
        whole.or_else(|| {
            let (layer, tensor) = layer?;
            (layer == *theirs).then(|| Target::Tensor(format!("{timm}.{tensor}")))
        })
    })
}

/// The tensors outside a network that belong to the rest of CLIP, which has a text encoder.
const REST_OF_CLIP: [&str; 11] = [
    "text_model.",
    "text_projection",
    "text.",
    "token_embedding.",
    "transformer.resblocks.",
    "positional_embedding",
    "ln_final.",
    "logit_",
    "input_resolution",
    "context_length",
    "vocab_size",
];

/// Returns the target of a tensor beside the network. `name` lacks the prefix of the module that holds both.
pub(crate) fn beside(name: &str) -> Option<Target> {
    match name {
        "visual_projection.weight" => Some(Target::Projection),
        _ => REST_OF_CLIP.iter().any(|part| name.starts_with(part)).then_some(Target::Unused),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tensor(name: &str) -> Option<Target> {
        Some(Target::Tensor(name.into()))
    }

    #[test]
    fn names_of_transformers_become_timms() {
        for (theirs, timm) in [
            ("embeddings.class_embedding", tensor("cls_token")),
            ("embeddings.patch_embedding.weight", tensor("patch_embed.proj.weight")),
            ("embeddings.position_embedding.weight", tensor("pos_embed")),
            ("pre_layrnorm.bias", tensor("norm_pre.bias")),
            ("post_layernorm.weight", tensor("norm.weight")),
            ("encoder.layers.11.self_attn.k_proj.bias", Some(Target::Third("blocks.11.attn.qkv.bias".into(), 1))),
            ("encoder.layers.0.self_attn.out_proj.weight", tensor("blocks.0.attn.proj.weight")),
            ("encoder.layers.3.layer_norm2.weight", tensor("blocks.3.norm2.weight")),
            ("encoder.layers.3.mlp.fc2.bias", tensor("blocks.3.mlp.fc2.bias")),
            ("embeddings.cls_token", tensor("cls_token")),
            ("embeddings.patch_embeddings.projection.bias", tensor("patch_embed.proj.bias")),
            ("embeddings.mask_token", Some(Target::Unused)),
            ("layernorm.bias", tensor("norm.bias")),
            (
                "encoder.layer.2.attention.attention.value.weight",
                Some(Target::Third("blocks.2.attn.qkv.weight".into(), 2)),
            ),
            ("encoder.layer.2.attention.q_proj.weight", Some(Target::Third("blocks.2.attn.qkv.weight".into(), 0))),
            ("encoder.layer.2.attention.output.dense.bias", tensor("blocks.2.attn.proj.bias")),
            ("encoder.layer.2.layer_scale2.lambda1", tensor("blocks.2.ls2.gamma")),
            ("encoder.layers.x.mlp.fc2.bias", None),
            ("encoder.layers.0.mlp.gate.bias", None),
            ("encoder.layers.0.self_attn.q_proj.S_r", None),
            ("pooler.dense.weight", None),
        ] {
            assert_eq!(of_transformers(theirs), timm, "{theirs}");
        }
    }

    #[test]
    fn names_of_open_clip_become_timms() {
        for (theirs, timm) in [
            ("class_embedding", tensor("cls_token")),
            ("conv1.weight", tensor("patch_embed.proj.weight")),
            ("ln_post.bias", tensor("norm.bias")),
            ("proj", Some(Target::TransposedProjection)),
            ("transformer.resblocks.5.attn.in_proj_bias", tensor("blocks.5.attn.qkv.bias")),
            ("transformer.resblocks.5.mlp.c_fc.weight", tensor("blocks.5.mlp.fc1.weight")),
            ("transformer.resblocks.5.attn.out_proj.weight", tensor("blocks.5.attn.proj.weight")),
            ("layer1.0.conv1.weight", None),
        ] {
            assert_eq!(of_open_clip(theirs), timm, "{theirs}");
        }
    }
}
