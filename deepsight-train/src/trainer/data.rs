use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use deepsight_core::FaceCrop;
use sha2::{Digest, Sha256};

use super::config::{ClassWeights, TrainConfig};
use crate::dataset::{DatasetConfig, FaceDataset};
use crate::manifest::source_names;
use crate::sampler::{Draw, Sampler, SamplerConfig};
use crate::split::{SplitBy, check_disjoint};
use crate::{Error, Label, Manifest, Row, Split};

/// The faces of a run, for training and for validation.
#[derive(Debug)]
pub struct TrainData {
    dataset: FaceDataset,
    sampler: Sampler,
    validation: Vec<usize>,
    /// Name of each manifest, and the index after its last row.
    sources: Vec<(String, usize)>,
    crop: FaceCrop,
    fingerprint: String,
    described: String,
}

impl TrainData {
    /// Joins the faces of manifests. Videos of two manifests are never the same, even if their names are equal. People
    /// are the same if their names are equal. In a manifest that is divided into splits, rows without a split are left
    /// out. A manifest that is not divided is used for training only.
    ///
    /// # Errors
    /// - [`Error::Setting`] when no manifest is divided, when crops were cut differently, or when it is not known how
    ///   they were cut;
    /// - [`Error::Overlap`] when two splits share a person, a video or a file;
    /// - [`Error::NoRows`] when the validation split lacks a class;
    /// - the errors of [`Sampler::new`] and [`FaceDataset::new`].
    pub fn new(manifests: Vec<Manifest>, config: &TrainConfig) -> Result<Self, Error> {
        let crop = crop_of(&manifests, config.crop)?;
        let manifests: Vec<Manifest> = manifests.into_iter().map(in_parts).collect();
        let names = source_names(manifests.iter().map(|manifest| &manifest.root));
        let ends = manifests.iter().scan(0, |end, manifest| {
            *end += manifest.rows.len();
            Some(*end)
        });
        let sources = names.into_iter().zip(ends).collect();
        let (root, rows) = joined(manifests);
        if rows.iter().all(|row| row.split == Some(Split::Train)) {
            let rule = "faces must be divided into train and val, as assign_splits does";
            return Err(Error::Setting { name: "split", value: "train for all faces".into(), rule });
        }
        check_disjoint(&rows, config.split_by)?;
        let validation: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].split == Some(Split::Val)).collect();
        for label in [Label::Real, Label::Fake] {
            if !validation.iter().any(|row| rows[*row].label == label) {
                return Err(Error::NoRows { of: "split val".into(), label });
            }
        }
        let mut sampling = SamplerConfig::new().with_self_blended(config.self_blended).with_paired(config.paired);
        (sampling.draws, sampling.sources) = (config.draws, config.sources.clone());
        let sampler = Sampler::new(&rows, &sampling, config.seed)?;
        let (fingerprint, described) = (fingerprint(&rows, config), describe(&rows, &sampler, config));
        let mut samples = DatasetConfig::new(config.input_size());
        (samples.augmentation, samples.self_blending) = (config.augmentation.clone(), config.self_blending.clone());
        samples.clip_compression.clone_from(&config.clip_compression);
        let dataset = FaceDataset::new(root, rows, samples)?;
        if sampler.blends() {
            dataset.check_blending()?;
        }
        Ok(Self { dataset, sampler, validation, sources, crop, fingerprint, described })
    }

    /// Sets how many bytes of decoded crops may be kept in memory, [`DatasetConfig::cache_bytes`]; 2 GiB by default.
    #[must_use]
    pub fn with_cache_bytes(mut self, bytes: usize) -> Self {
        self.dataset.set_cache_bytes(bytes);
        self
    }

    /// Returns the faces, by row.
    pub fn dataset(&self) -> &FaceDataset {
        &self.dataset
    }

    /// Returns the sampler, which draws the faces of an epoch.
    pub fn sampler(&self) -> &Sampler {
        &self.sampler
    }

    /// Returns the weights of the classes real and fake in the loss.
    pub(super) fn class_weights(&self, weights: ClassWeights) -> [f32; 2] {
        match weights {
            ClassWeights::Equal => [1.0; 2],
            ClassWeights::Given(weights) => weights,
            ClassWeights::Balanced => {
                let draws = self.sampler.epoch(0);
                let is_fake = |draw: &&Draw| draw.self_blended || self.dataset.rows()[draw.row].label == Label::Fake;
                let fake = draws.iter().filter(is_fake).count().clamp(1, draws.len().max(2) - 1);
                let share = |count: usize| draws.len() as f32 / (2 * count) as f32;
                [share(draws.len() - fake), share(fake)]
            }
        }
    }

    /// Returns the rows of the validation split.
    pub fn validation(&self) -> &[usize] {
        &self.validation
    }

    /// Returns the names of the manifests, each a source of faces: see [`source_names`].
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.sources.iter().map(|(name, _)| name.as_str())
    }

    /// Returns the name of the manifest that a row is from.
    ///
    /// # Panics
    /// Panics if there is no such row.
    pub fn source_of(&self, row: usize) -> &str {
        assert!(row < self.dataset.rows().len(), "there is no row {row}");
        &self.sources[self.sources.partition_point(|(_, end)| *end <= row)].0
    }

    /// Returns how the faces were cut from their frames.
    pub fn crop(&self) -> FaceCrop {
        self.crop
    }

    /// Returns a hash of the rows. Two runs on the same rows have the same hash.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Returns a description of the data in one line, for the model card.
    pub fn described(&self) -> &str {
        &self.described
    }

    /// Returns the names of the rows' files, for messages.
    pub(super) fn files(&self, rows: &[usize]) -> Vec<PathBuf> {
        let rows: BTreeSet<usize> = rows.iter().copied().collect();
        rows.into_iter().filter_map(|row| self.dataset.rows().get(row)).map(|row| row.file.clone()).collect()
    }
}

fn crop_of(manifests: &[Manifest], given: Option<FaceCrop>) -> Result<FaceCrop, Error> {
    let mut found: Option<FaceCrop> = None;
    for manifest in manifests {
        let Some(crop) = manifest.crop.or(given) else {
            let rule = "no JSON beside the manifest says how the faces were cut; say it";
            return Err(Error::Setting { name: "crop", value: "not known".into(), rule });
        };
        if found.is_some_and(|found| found != crop) {
            let rule = "all manifests of a run must be cut alike";
            return Err(Error::Setting { name: "crop", value: format!("{found:?} and {crop:?}"), rule });
        }
        found = Some(crop);
    }
    found.ok_or(Error::Setting { name: "manifests", value: "none".into(), rule: "at least one is needed" })
}

/// Removes rows without a split from a divided manifest, and gives all rows of another manifest to training. A row
/// without a split was left out on purpose, because it shares people with several splits.
fn in_parts(mut manifest: Manifest) -> Manifest {
    if manifest.rows.iter().any(|row| row.split.is_some()) {
        manifest.rows.retain(|row| row.split.is_some());
    } else {
        manifest.rows.iter_mut().for_each(|row| row.split = Some(Split::Train));
    }
    manifest
}

/// Returns the rows of all manifests, with distinct names for videos, and the folder that their files are relative to.
fn joined(mut manifests: Vec<Manifest>) -> (PathBuf, Vec<Row>) {
    if manifests.len() == 1
        && let Some(only) = manifests.pop()
    {
        return (only.root, only.rows);
    }
    let mut rows = Vec::new();
    for (index, manifest) in manifests.into_iter().enumerate() {
        let name = |name: String| format!("{index}/{name}");
        rows.extend(manifest.rows.into_iter().map(|mut row| {
            row.file = manifest.root.join(&row.file);
            row.video = name(row.video);
            row.original = row.original.map(name);
            row
        }));
    }
    (Path::new("").to_owned(), rows)
}

fn fingerprint(rows: &[Row], config: &TrainConfig) -> String {
    let mut hash = Sha256::new();
    for row in rows {
        // Hashes only the fields that decide which pictures are drawn, and with which label. Times and boxes may change
        // when a manifest is written again more exactly.
        hash.update(format!("{:?}\n", (&row.file, row.label, &row.video, row.split, row.landmarks)));
        if config.paired > 0.0 {
            hash.update(format!("{:?}\n", (&row.original, &row.target_id)));
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn describe(rows: &[Row], sampler: &Sampler, config: &TrainConfig) -> String {
    let part = |label: Label| {
        let rows = rows.iter().filter(|row| row.label == label && matches!(row.split, None | Some(Split::Train)));
        let videos: BTreeSet<&str> = rows.clone().map(|row| row.video.as_str()).collect();
        format!("{} {} faces of {} videos", rows.count(), label.name(), videos.len())
    };
    // Counted from the draws, because sources without fakes make all their fakes, whatever the share in the
    // configuration.
    let draws = sampler.epoch(0);
    let blended = draws.iter().filter(|draw| draw.self_blended).count();
    let fakes = draws.iter().filter(|draw| draw.self_blended || rows[draw.row].label == Label::Fake).count();
    let mut text = format!("{}, {}", part(Label::Real), part(Label::Fake));
    if blended > 0 {
        text += &format!(", {:.0} % of the fakes shown self-blended", 100.0 * blended as f64 / fakes as f64);
        let donors = config.self_blending.donors;
        if donors > 0.0 {
            text += &format!(" ({:.0} % of these with another's face)", 100.0 * donors);
        }
    }
    if config.split_by == SplitBy::Video {
        text += ", people not kept apart from validation";
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rows_of_a_divided_manifest_without_a_split_are_not_trained_on() {
        let row = |file: &str, split| {
            let mut row = Row::new(file, Label::Real, file);
            row.split = split;
            row
        };
        let files = |rows: Vec<Row>| -> Vec<(String, Option<Split>)> {
            let manifest = in_parts(Manifest::new("", rows));
            manifest.rows.into_iter().map(|row| (row.video, row.split)).collect()
        };
        let divided = vec![row("a", Some(Split::Train)), row("between", None), row("b", Some(Split::Test))];
        assert_eq!(files(divided), [("a".into(), Some(Split::Train)), ("b".into(), Some(Split::Test))]);
        assert_eq!(files(vec![row("c", None)]), [("c".into(), Some(Split::Train))]);
    }

    #[test]
    fn manifests_share_people_but_not_videos_and_must_be_cut_alike() {
        let manifest = |folder: &str, crop: FaceCrop| {
            let mut row = Row::new("a.png", Label::Real, "v");
            row.target_id = Some("7".into());
            Manifest::new(folder, vec![row]).with_crop(crop, 64)
        };
        let both = vec![manifest("x", FaceCrop::Box), manifest("y", FaceCrop::Box)];
        let (_, rows) = joined(both);
        let names: Vec<_> = rows.iter().map(|row| (row.file.to_str().unwrap(), row.video.as_str())).collect();
        assert_eq!(names, [("x/a.png", "0/v"), ("y/a.png", "1/v")]);
        assert_eq!(rows[1].target_id.as_deref(), Some("7"));

        let margin = FaceCrop::Margin { fraction: 0.3 };
        let error = crop_of(&[manifest("x", FaceCrop::Box), manifest("y", margin)], None).unwrap_err();
        assert!(error.to_string().contains("cut alike"), "{error}");
        let unknown = Manifest::new("z", vec![]);
        assert_eq!(crop_of(std::slice::from_ref(&unknown), Some(margin)).unwrap(), margin);
        assert!(crop_of(&[unknown], None).unwrap_err().to_string().starts_with("crop is not known: "));
    }
}
