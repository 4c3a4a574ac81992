//! The ensemble file: which models belong together, and how they are combined.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Ensemble, EnsembleConfig};
use crate::{Error, FaceClassifier};

/// An ensemble file: the models with the SHA-256 of their files, and how they are combined. It is JSON, so it can be
/// read and edited.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EnsembleFile {
    /// Version of this format: [`EnsembleFile::SCHEMA`]. Its name tells an ensemble file from other JSON.
    pub deepsight_ensemble: u32,
    /// The models, in order.
    pub models: Vec<EnsembleMember>,
    /// How they are combined.
    #[serde(flatten)]
    pub config: EnsembleConfig,
}

/// The fields of an ensemble file.
const FIELDS: [&str; 7] =
    ["deepsight_ensemble", "models", "name", "combination", "threshold", "max_disagreement", "reliability"];

/// A model of an ensemble file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EnsembleMember {
    /// Its model file. A relative path begins at the folder of the ensemble file.
    pub file: PathBuf,
    /// SHA-256 of the model file in hexadecimal.
    pub sha256: String,
}

impl EnsembleMember {
    /// Creates a member from the path of a model file and its SHA-256 in hexadecimal.
    pub fn new(file: impl Into<PathBuf>, sha256: impl Into<String>) -> Self {
        Self { file: file.into(), sha256: sha256.into() }
    }
}

impl EnsembleFile {
    /// The version of the format that this version writes and reads.
    pub const SCHEMA: u32 = 1;
    /// Largest ensemble file in bytes.
    pub const MAX_BYTES: u64 = 1 << 20;

    /// Creates the content of an ensemble file.
    pub fn new(models: Vec<EnsembleMember>, config: EnsembleConfig) -> Self {
        Self { deepsight_ensemble: Self::SCHEMA, models, config }
    }

    /// Returns whether a file looks like an ensemble file and not like a model file: it begins as a JSON object. A file
    /// that cannot be read does not, nor does a pipe, whose bytes can be read only once.
    pub fn is_one(path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        if !path.is_file() {
            return false;
        }
        let mut head = Vec::new();
        let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut head));
        // A model file begins with a length of eight bytes, of which the last ones are 0.
        let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
        read.is_ok() && first == Some(&b'{') && !head.contains(&0)
    }

    /// Reads an ensemble file. The models are not opened.
    ///
    /// # Errors
    /// [`Error::EnsembleFile`] if it cannot be read, is larger than [`MAX_BYTES`](Self::MAX_BYTES), or is not an
    /// ensemble file of this version; [`Error::EnsembleSize`] and [`Error::Setting`] if a value is not usable.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let refused = |reason: String| Error::EnsembleFile { path: path.into(), reason };
        let file = File::open(path).map_err(|error| refused(error.to_string()))?;
        let mut text = String::new();
        let read = file.take(Self::MAX_BYTES + 1).read_to_string(&mut text);
        read.map_err(|error| refused(error.to_string()))?;
        if text.len() as u64 > Self::MAX_BYTES {
            return Err(refused(format!("it is larger than {} bytes", Self::MAX_BYTES)));
        }
        Self::from_json(&text, path)
    }

    pub(crate) fn from_json(text: &str, path: &Path) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Versioned {
            deepsight_ensemble: u64,
        }
        let refused = |reason: String| Error::EnsembleFile { path: path.into(), reason };
        let syntax = |error: serde_json::Error| {
            refused(format!("it is not an ensemble file ({error}); give a model file or an ensemble file"))
        };
        let Versioned { deepsight_ensemble: found } = serde_json::from_str(text).map_err(syntax)?;
        if found != u64::from(Self::SCHEMA) {
            let supported = Self::SCHEMA;
            return Err(refused(format!("it has version {found}; this program reads version {supported}")));
        }
        // serde cannot refuse unknown fields where some are flattened. A misspelt one would be a setting that is
        // ignored.
        let fields: Map<String, Value> = serde_json::from_str(text).map_err(syntax)?;
        if let Some(unknown) = fields.keys().find(|field| !FIELDS.contains(&field.as_str())) {
            return Err(refused(format!("it has no field {unknown:?}; its fields are {}", FIELDS.join(", "))));
        }
        let file: Self = serde_json::from_str(text).map_err(syntax)?;
        let count = file.models.len();
        if !EnsembleConfig::SIZES.contains(&count) {
            return Err(Error::EnsembleSize { count, range: EnsembleConfig::SIZES });
        }
        for member in &file.models {
            let is_hash = member.sha256.len() == 64 && member.sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_hash {
                let name = member.file.display();
                return Err(refused(format!(
                    "the SHA-256 of {name} is {:?}: 64 hexadecimal digits are needed",
                    member.sha256
                )));
            }
        }
        file.config.validate(count)?;
        Ok(file)
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// [`Error::Write`] if it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let failed = |source| Error::Write { path: path.into(), source };
        let json = serde_json::to_string_pretty(self).map_err(|error| failed(error.into()))?;
        crate::files::write(path, format!("{json}\n").as_bytes()).map_err(failed)
    }
}

impl<C: FaceClassifier> Ensemble<C> {
    /// Loads the models of an ensemble file. `load` reads a model from its path, such as
    /// `|path| Classifier::load(path, &device)`.
    ///
    /// # Errors
    /// The errors of [`EnsembleFile::read`], of `load` and of [`Ensemble::new`]; [`Error::EnsembleFile`] if the file of
    /// a model is missing, and [`Error::EnsembleHash`] if it changed after the ensemble file was written.
    pub fn load(path: impl AsRef<Path>, mut load: impl FnMut(&Path) -> Result<C, Error>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = EnsembleFile::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut models = Vec::with_capacity(file.models.len());
        for member in &file.models {
            let place = folder.join(&member.file);
            if !place.is_file() {
                let reason = format!(
                    "its model {} is not at {}: put it there, or write the ensemble file again",
                    member.file.display(),
                    place.display()
                );
                return Err(Error::EnsembleFile { path: path.into(), reason });
            }
            let model = load(&place)?;
            let found = model.info().sha256;
            if found.as_ref().is_none_or(|found| !found.eq_ignore_ascii_case(&member.sha256)) {
                return Err(Error::EnsembleHash {
                    path: path.into(),
                    member: member.file.clone(),
                    found: found.unwrap_or_else(|| "none".into()),
                    expected: member.sha256.clone(),
                });
            }
            models.push(model);
        }
        Self::new(models, file.config)
    }
}
