//! The folder that a run writes to, and the names of its files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::config::TrainConfig;
use super::progress::EpochSummary;
use crate::Error;
use crate::locked::Locked;
use crate::metrics::SourceAuc;
use crate::whole_file::write_whole;

/// Name of the file that is locked while a run writes into its folder.
const LOCK: &str = ".lock";

/// The folder that a run writes to.
#[derive(Debug)]
pub(super) struct RunFolder(PathBuf);

impl RunFolder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Creates the folder if it is missing, and locks it for this run.
    ///
    /// # Errors
    /// [`Error::Busy`] when another run has locked it, [`Error::Io`] when it cannot be created or locked.
    pub(super) fn lock(&self) -> Result<Locked, Error> {
        let (folder, path) = (&self.0, self.0.join(LOCK));
        std::fs::create_dir_all(folder).map_err(Error::io(folder, "cannot be made"))?;
        let opened = File::options().write(true).create(true).truncate(false).open(&path);
        Locked::new(opened.map_err(Error::io(&path, "cannot be opened"))?, &path, folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint.safetensors")
    }

    /// Returns the paths of the model files that an epoch writes.
    pub(super) fn models(&self, best: bool) -> Vec<PathBuf> {
        let names: &[&str] = if best { &["best.safetensors", "last.safetensors"] } else { &["last.safetensors"] };
        names.iter().map(|name| self.0.join(name)).collect()
    }

    /// Writes the configuration, for people to read.
    pub(super) fn write_config(&self, config: &TrainConfig) -> Result<(), Error> {
        let path = self.0.join("config.json");
        let text = serde_json::to_string_pretty(config).map_err(Error::json(&path))?;
        write_whole(&path, format!("{text}\n").as_bytes())
    }

    /// Writes the summaries of the epochs, for people to read.
    pub(super) fn write_history(&self, history: &[EpochSummary]) -> Result<(), Error> {
        let path = self.0.join("history.json");
        let source = |source: &SourceAuc| {
            let SourceAuc { name, reals, fakes, frame_auc, video_auc } = source;
            let measured = serde_json::json!({
                "real_videos": reals, "fake_videos": fakes, "frame_auc": frame_auc, "video_auc": video_auc,
            });
            (name.clone(), measured)
        };
        let epoch = |summary: &EpochSummary| {
            let sources: BTreeMap<String, serde_json::Value> = summary.sources.iter().map(source).collect();
            serde_json::json!({
                "epoch": summary.epoch + 1,
                "loss": summary.loss,
                "val_loss": summary.validation_loss,
                "val_frame_auc": summary.frame_auc,
                "val_video_auc": summary.video_auc,
                "val_mean_video_auc": summary.mean_video_auc,
                "sources": sources,
            })
        };
        let epochs: Vec<_> = history.iter().map(epoch).collect();
        let text = serde_json::to_string_pretty(&epochs).map_err(Error::json(&path))?;
        write_whole(&path, format!("{text}\n").as_bytes())
    }
}
