//! State dicts that transformers divides into several files, with an index that says which tensor is where.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde::Deserialize;

use crate::{Error, model::ModelLimits};

/// The end of the name of an index.
const INDEX: &str = ".index.json";
/// Most files of one state dict.
const MAX_SHARDS: usize = 1000;
/// Longest index in bytes. That of a network with 10,000 tensors has about one million.
const MAX_INDEX: u64 = 16 << 20;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Returns whether a file is an index, by its name.
pub(super) fn is_index(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(INDEX))
}

/// Returns the index that a file is a part of, by its name: `model.safetensors.index.json` for
/// `model-00001-of-00002.safetensors`.
pub(super) fn index_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_string_lossy().into_owned();
    let stem = name.strip_suffix(".safetensors")?;
    let (stem, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = stem.rsplit_once('-')?;
    let is_number = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    // A single part is the whole.
    let is_part = is_number(number) && is_number(count) && count != "00001";
    is_part.then(|| path.with_file_name(format!("{stem}.safetensors{INDEX}")))
}

/// Reads all files of an index, and returns them as one safetensors file. All of them together must be within the
/// limit.
pub(super) fn read(index: &Path, limits: &ModelLimits) -> Result<Vec<u8>, Error> {
    let invalid = |reason: String| Error::NotACheckpoint { reason };
    let text = ModelLimits { max_bytes: MAX_INDEX }.read(index)?;
    let parsed: Index = serde_json::from_slice(&text).map_err(|error| invalid(format!("the index: {error}")))?;
    let names: BTreeSet<&str> = parsed.weight_map.values().map(String::as_str).collect();
    if names.is_empty() || names.len() > MAX_SHARDS {
        return Err(invalid(format!("the index has {} files; 1 to {MAX_SHARDS} are usable", names.len())));
    }
    let mut left = limits.max_bytes;
    let mut shards = BTreeMap::new();
    for name in names {
        let path = beside(index, name).ok_or_else(|| {
            invalid(format!("the index names `{name}`, which is not a .safetensors file in the folder of the index"))
        })?;
        let in_shard = |error: Error| error.at(&path);
        let bytes = ModelLimits { max_bytes: left }.read(&path).map_err(|error| match error {
            Error::ModelTooLarge { bytes, .. } => {
                let before = limits.max_bytes - left;
                Error::ModelTooLarge { bytes: before.saturating_add(bytes), limit: limits.max_bytes }
            }
            other => in_shard(other),
        })?;
        left -= bytes.len() as u64;
        shards.insert(name, (path, bytes));
    }
    let mut opened = BTreeMap::new();
    for (name, (path, bytes)) in &shards {
        let tensors = SafeTensors::deserialize(bytes);
        let tensors = tensors.map_err(|error| Error::not_safetensors(bytes.len(), &error).at(path))?;
        opened.insert(*name, tensors);
    }
    let find = |(tensor, shard): (&String, &String)| -> Result<(String, TensorView<'_>), Error> {
        let view = opened[shard.as_str()].tensor(tensor);
        let view = view.map_err(|_| invalid(format!("`{shard}` lacks `{tensor}`, which the index says it has")))?;
        Ok((tensor.clone(), view))
    };
    let tensors = parsed.weight_map.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    safetensors::serialize(tensors, None).map_err(|error| invalid(format!("the files together: {error}")))
}

/// Returns the path of a file beside the index, unless the name leads out of the folder or is of another kind.
fn beside(index: &Path, name: &str) -> Option<PathBuf> {
    let mut parts = Path::new(name).components();
    let is_plain = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) && !name.contains('\\');
    (is_plain && name.ends_with(".safetensors")).then(|| index.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_known_by_its_name() {
        let index = |name: &str| index_of(Path::new(name)).map(|path| path.display().to_string());
        assert_eq!(index("a/model-00002-of-00003.safetensors").as_deref(), Some("a/model.safetensors.index.json"));
        for whole in [
            "model.safetensors",
            "model-00001-of-00001.safetensors",
            "best-of-two.pth",
            // An index of such files cannot be read, so it must not be suggested.
            "pytorch_model-00001-of-00002.bin",
        ] {
            assert_eq!(index(whole), None, "{whole}");
        }
    }

    #[test]
    fn a_name_never_leads_out_of_the_folder_of_the_index() {
        let index = Path::new("folder/model.safetensors.index.json");
        assert_eq!(beside(index, "a.safetensors"), Some(PathBuf::from("folder/a.safetensors")));
        for name in ["../a.safetensors", "/a.safetensors", "b/a.safetensors", "b\\a.safetensors", "..", "a.bin", ""] {
            assert_eq!(beside(index, name), None, "{name}");
        }
    }
}
