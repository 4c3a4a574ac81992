//! Reader of the two containers in which PyTorch saves state dicts: a zip archive (since 1.6) and consecutive pickles
//! (before).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::pickle::{Id, MAX_NAME, Node, Pickle};
use crate::Error;
use crate::state_dict::Weight;

/// A PyTorch checkpoint: its dictionaries of tensors. Values stay in the file's bytes until they are read.
pub(crate) struct Checkpoint<'a> {
    nodes: Vec<Node>,
    storages: HashMap<String, &'a [u8]>,
    dictionaries: Vec<(String, Id)>,
    architecture: Option<String>,
}

/// Depth down to which dictionaries are searched for tensors.
const MAX_DEPTH: usize = 3;
/// Largest number of dictionaries that are searched for tensors.
const MAX_DICTIONARIES: usize = 256;
/// Key under which timm's training script stores the name of the network.
const ARCHITECTURE: &str = "arch";

impl<'a> Checkpoint<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let container = if bytes.starts_with(b"PK\x03\x04") { read_zip(bytes) } else { read_legacy(bytes) };
        let (nodes, root, storages) = container.map_err(|reason| Error::NotACheckpoint { reason })?;
        let dictionaries = dictionaries(&nodes, root).map_err(|reason| Error::NotACheckpoint { reason })?;
        let architecture = match &nodes[root] {
            Node::Dict(top) => top.iter().rev().find(|(key, _)| text(&nodes, *key) == Some(ARCHITECTURE)),
            _ => None,
        };
        let architecture = architecture.and_then(|(_, value)| text(&nodes, *value));
        let architecture = architecture.filter(|name| name.len() <= MAX_NAME).map(str::to_owned);
        Ok(Self { nodes, storages, dictionaries, architecture })
    }

    /// Returns the name of the network, if the checkpoint has one.
    pub(super) fn architecture(&self) -> Option<&str> {
        self.architecture.as_deref()
    }

    /// Returns the keys under which each dictionary of tensors lies, joined by dots; nothing for the top.
    pub(super) fn dictionaries(&self) -> impl Iterator<Item = &str> {
        self.dictionaries.iter().map(|(keys, _)| keys.as_str())
    }

    /// Returns the names of the tensors of a dictionary, without copies of them and without overlong ones, which a
    /// hostile file can repeat many times.
    pub(super) fn names(&self, dictionary: usize) -> impl Iterator<Item = &str> {
        let pairs = match &self.nodes[self.dictionaries[dictionary].1] {
            Node::Dict(pairs) => pairs.as_slice(),
            _ => &[],
        };
        let names = pairs.iter().filter(|(_, value)| is_tensor(&self.nodes, *value));
        names.filter_map(|(name, _)| text(&self.nodes, *name)).filter(|name| name.len() <= MAX_NAME)
    }

    /// Returns the tensors of a dictionary by name.
    ///
    /// # Errors
    /// [`Error::NotACheckpoint`] if a name is longer than any real one.
    pub(super) fn tensors(&self, dictionary: usize) -> Result<BTreeMap<String, Id>, Error> {
        let Node::Dict(pairs) = &self.nodes[self.dictionaries[dictionary].1] else { return Ok(BTreeMap::new()) };
        tensors(&self.nodes, pairs).map_err(|reason| Error::NotACheckpoint { reason })
    }

    /// Returns the shape of a tensor.
    pub(super) fn shape(&self, tensor: Id) -> Vec<usize> {
        match &self.nodes[tensor] {
            Node::Tensor { shape, .. } => shape.clone(),
            _ => vec![],
        }
    }

    /// Reads the values of one tensor. The caller must check the shape first, because it determines the memory used.
    pub(super) fn weight(&self, name: &str, tensor: Id) -> Result<Weight, Error> {
        let damaged = |what: &str| Error::NotACheckpoint { reason: format!("tensor `{name}` {what}") };
        let Node::Tensor { storage, offset, shape, strides } = &self.nodes[tensor] else {
            return Err(damaged("is missing"));
        };
        let Node::Storage { key, kind } = &self.nodes[*storage] else { return Err(damaged("has no storage")) };
        let Some((size, convert)) = element(kind) else {
            let expected = "FloatStorage, HalfStorage, BFloat16Storage or DoubleStorage";
            return Err(Error::TensorType { name: name.into(), found: kind.clone(), expected });
        };
        let data = self.storages.get(key).ok_or_else(|| damaged("has no data in the file"))?;
        let elements = data.len() / size;
        let last = shape
            .iter()
            .zip(strides)
            .try_fold(*offset, |last, (length, stride)| last.checked_add(length.checked_sub(1)?.checked_mul(*stride)?));
        if last.is_none_or(|last| last >= elements) {
            return Err(damaged("reaches beyond its data: the file is cut off"));
        }
        let count: usize = shape.iter().product();
        if is_row_major(shape, strides) {
            let values = data[offset * size..][..count * size].chunks_exact(size).map(convert).collect();
            return Ok(Weight { shape: shape.clone(), values });
        }
        // Tensors saved in another memory order, such as channels_last, are converted to row-major order.
        let mut values = Vec::with_capacity(count);
        let mut index = vec![0; shape.len()];
        loop {
            let at = *offset + index.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>();
            values.push(convert(&data[at * size..][..size]));
            let Some(dimension) = (0..shape.len()).rev().find(|d| index[*d] + 1 < shape[*d]) else { break };
            index[dimension] += 1;
            index[dimension + 1..].fill(0);
        }
        Ok(Weight { shape: shape.clone(), values })
    }
}

/// Returns whether the elements are in row-major order without gaps. A dimension of length 1 may have any stride.
fn is_row_major(shape: &[usize], strides: &[usize]) -> bool {
    let mut next = 1;
    shape.iter().zip(strides).rev().all(|(length, stride)| {
        let fits = *length == 1 || *stride == next;
        next *= length;
        fits
    })
}

type Convert = fn(&[u8]) -> f32;

/// Returns the size in bytes of a storage's elements and the function that reads one. `None` for types that weights do
/// not have.
fn element(kind: &str) -> Option<(usize, Convert)> {
    Some(match kind {
        "FloatStorage" => (4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        "HalfStorage" => (2, |b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()),
        "BFloat16Storage" => (2, |b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()),
        "DoubleStorage" => (8, |b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32),
        _ => return None,
    })
}

/// Returns every dictionary that has tensors, with the keys under which it lies, joined by dots. The root is searched
/// first, then the dictionaries in it, and so on.
pub(super) fn dictionaries(nodes: &[Node], root: Id) -> Result<Vec<(String, Id)>, String> {
    let Node::Dict(top) = &nodes[root] else {
        return Err("it does not hold a dictionary; save `model.state_dict()`, not the model".into());
    };
    let (mut searched, mut seen) = (vec![(String::new(), root, 0)], HashSet::from([root]));
    let mut found = Vec::new();
    let mut next = 0;
    while let Some((keys, id, depth)) = searched.get(next).cloned() {
        next += 1;
        let Node::Dict(pairs) = &nodes[id] else { continue };
        if pairs.iter().any(|(name, value)| text(nodes, *name).is_some() && is_tensor(nodes, *value)) {
            found.push((keys.clone(), id));
        }
        for (key, value) in pairs {
            let (Some(key), Node::Dict(_)) = (text(nodes, *key), &nodes[*value]) else { continue };
            let is_near = depth < MAX_DEPTH && key.len() <= MAX_NAME && searched.len() < MAX_DICTIONARIES;
            if is_near && seen.insert(*value) {
                let keys = if keys.is_empty() { key.to_owned() } else { format!("{keys}.{key}") };
                searched.push((keys, *value, depth + 1));
            }
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let keys = top.iter().filter_map(|(name, _)| text(nodes, *name)).filter(|key| key.len() <= MAX_NAME);
    let keys: Vec<_> = keys.take(20).collect();
    Err(format!("there are no tensors at its top or in a dictionary in it; its keys are {keys:?}"))
}

fn is_tensor(nodes: &[Node], id: Id) -> bool {
    matches!(nodes[id], Node::Tensor { .. })
}

fn tensors(nodes: &[Node], dict: &[(Id, Id)]) -> Result<BTreeMap<String, Id>, String> {
    let mut found = BTreeMap::new();
    // Inserted one by one: `collect` would first hold one copy of a name for each time that a hostile file repeats it.
    for (name, value) in dict {
        if let (Some(name), Node::Tensor { .. }) = (text(nodes, *name), &nodes[*value]) {
            if name.len() > MAX_NAME {
                return Err(format!("the name of a tensor has {} bytes; the limit is {MAX_NAME}", name.len()));
            }
            found.insert(name.to_owned(), *value);
        }
    }
    Ok(found)
}

fn text(nodes: &[Node], id: Id) -> Option<&str> {
    match &nodes[id] {
        Node::Text(text) => Some(text),
        _ => None,
    }
}

type Container<'a> = (Vec<Node>, Id, HashMap<String, &'a [u8]>);

/// Reads `<name>/data.pkl` and `<name>/data/<key>` from a zip archive without compression.
fn read_zip(bytes: &[u8]) -> Result<Container<'_>, String> {
    let entries = zip_entries(bytes)?;
    let (path, pickle) = entries
        .iter()
        .find(|(path, _)| path.as_str() == "data.pkl" || path.ends_with("/data.pkl"))
        .ok_or("the archive has no data.pkl")?;
    let folder = path.trim_end_matches("data.pkl");
    if entries.get(&format!("{folder}byteorder")).is_some_and(|order| order.trim_ascii() == b"big") {
        return Err("it was saved on a big-endian machine".into());
    }
    let data = format!("{folder}data/");
    let storages = entries.iter().filter_map(|(path, data_)| Some((path.strip_prefix(&data)?.to_owned(), *data_)));
    let (nodes, root, _) = Pickle::read(pickle)?;
    Ok((nodes, root, storages.collect()))
}

/// Returns the files of a zip archive by the archive's central directory (APPNOTE 4.3).
fn zip_entries(bytes: &[u8]) -> Result<BTreeMap<String, &[u8]>, String> {
    let cut = || "the archive is cut off".to_owned();
    let number = |at: usize, size: usize| -> Result<usize, String> {
        let field = at.checked_add(size).and_then(|end| bytes.get(at..end)).ok_or_else(cut)?;
        Ok(field.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    };
    // The search for the record at the end goes backwards, because a comment of up to 64 KiB may follow it.
    let end = bytes.len().checked_sub(22).ok_or_else(cut)?;
    let end = (end.saturating_sub(0xffff)..=end).rev().find(|at| bytes[*at..].starts_with(b"PK\x05\x06"));
    let end = end.ok_or_else(cut)?;
    let (count, mut at) = (number(end + 10, 2)?, number(end + 16, 4)?);
    if count == 0xffff || at == 0xffff_ffff {
        return Err("the archive is a zip64 one, larger than any network known here".into());
    }
    let mut entries = BTreeMap::new();
    for _ in 0..count {
        if number(at, 4)? != 0x0201_4b50 {
            return Err("the archive's directory is damaged".into());
        }
        let (method, size) = (number(at + 10, 2)?, number(at + 20, 4)?);
        let (name, extra, comment) = (number(at + 28, 2)?, number(at + 30, 2)?, number(at + 32, 2)?);
        let local = number(at + 42, 4)?;
        let path = bytes.get(at + 46..at + 46 + name).ok_or_else(cut)?;
        // TorchScript compresses its code, so it is recognized before that is an error.
        if String::from_utf8_lossy(path).contains("/code/__torch__") {
            return Err("it is a TorchScript archive, which holds a program: save `model.state_dict()` instead".into());
        }
        if method != 0 {
            return Err("the archive is compressed, which PyTorch's are not".into());
        }
        let start = local + 30 + number(local + 26, 2)? + number(local + 28, 2)?;
        let data = bytes.get(start..start + size).ok_or_else(cut)?;
        entries.insert(String::from_utf8_lossy(path).into_owned(), data);
        at += 46 + name + extra + comment;
    }
    Ok(entries)
}

/// Reads the format before 1.6: magic number, version, system, state dict and storage keys as pickles, then the length
/// and data of each key.
fn read_legacy(bytes: &[u8]) -> Result<Container<'_>, String> {
    const MAGIC: &[u8] = &[0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, b'.'];
    let mut rest = bytes.strip_prefix(MAGIC).ok_or("neither a zip archive nor a legacy pickle of PyTorch")?;
    for _ in ["version", "system"] {
        rest = &rest[Pickle::read(rest)?.2..];
    }
    let (nodes, root, length) = Pickle::read(rest)?;
    rest = &rest[length..];
    let (keys, list, length) = Pickle::read(rest)?;
    rest = &rest[length..];
    let Node::List(list) = &keys[list] else { return Err("the list of storages is missing".into()) };
    let kinds: HashMap<_, _> = nodes
        .iter()
        .filter_map(|node| match node {
            Node::Storage { key, kind } => Some((key.as_str(), kind.as_str())),
            _ => None,
        })
        .collect();
    let mut storages = HashMap::new();
    for id in list {
        let key = text(&keys, *id).ok_or("the list of storages is damaged")?;
        let size = kinds.get(key).and_then(|kind| storage_size(kind)).ok_or("a storage is of unknown type")?;
        let (count, data) = rest.split_at_checked(8).ok_or("the data is cut off")?;
        let count = count.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        let length = usize::try_from(count).ok().and_then(|count| count.checked_mul(size));
        let (data, after) = length.and_then(|length| data.split_at_checked(length)).ok_or("the data is cut off")?;
        storages.insert(key.to_owned(), data);
        rest = after;
    }
    Ok((nodes, root, storages))
}

/// Returns the size in bytes of a storage's elements.
fn storage_size(kind: &str) -> Option<usize> {
    Some(match kind {
        "DoubleStorage" | "LongStorage" | "ComplexFloatStorage" => 8,
        "FloatStorage" | "IntStorage" => 4,
        "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
        "ByteStorage" | "CharStorage" | "BoolStorage" => 1,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fuzzing;

    #[test]
    fn a_truncated_checkpoint_is_an_error_and_an_altered_byte_never_panics() {
        let files: [&[u8]; 3] = [
            include_bytes!("../../tests/checkpoints/zip.pth"),
            include_bytes!("../../tests/checkpoints/legacy.pth"),
            include_bytes!("../../tests/checkpoints/nested.pth"),
        ];
        for file in files {
            for length in 0..file.len() {
                assert!(Checkpoint::read(&file[..length]).is_err(), "{length} of {} bytes", file.len());
            }
            for position in 0..file.len() {
                for flip in [0x01, 0x10, 0x80, 0xff] {
                    let mut altered = file.to_vec();
                    altered[position] ^= flip;
                    fuzzing::checkpoint(&altered);
                }
            }
        }
    }

    #[test]
    fn every_format_and_memory_order_gives_the_same_values() {
        let files: [&[u8]; 3] = [
            include_bytes!("../../tests/checkpoints/zip.pth"),
            include_bytes!("../../tests/checkpoints/legacy.pth"),
            include_bytes!("../../tests/checkpoints/channels_last.pth"),
        ];
        for file in files {
            let checkpoint = Checkpoint::read(file).unwrap();
            let tensors = checkpoint.tensors(0).unwrap();
            let weight = |name: &str| checkpoint.weight(name, tensors[name]);
            let stem = weight("conv_stem.weight").unwrap();
            assert_eq!(stem.shape, [32, 3, 3, 3]);
            assert!(stem.values.iter().enumerate().all(|(index, value)| *value == index as f32 / 864.0));
            assert_eq!(weight("classifier.bias").unwrap().values, [0.25, -0.5]);
            assert_eq!(weight("foreign.weight").unwrap().values, [1.0; 6]);
            assert!(matches!(weight("bn1.num_batches_tracked"), Err(Error::TensorType { .. })));
        }
    }
}
