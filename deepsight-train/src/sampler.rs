//! The draws of an epoch: which faces are shown, and in what order.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::random::{Purpose, check_share, generator};
use crate::{Error, Label, Row, Split};

/// One drawn face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Draw {
    /// Index of the row.
    pub row: usize,
    /// Whether the face, which is real, is first blended into itself, which makes it a fake.
    pub self_blended: bool,
    /// Seed for blending, compression and augmentation of the picture.
    pub seed: u64,
}

/// Settings by which faces are drawn.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SamplerConfig {
    /// Share of the fakes that are made from real faces, `0..=1`. At 1, fake rows are never drawn.
    pub self_blended: f32,
    /// Share of the other fakes that are drawn together with the real face that they were made of, `0..=1`: a face of
    /// the video that [`Row::original`] names, or one with the same [`Row::target_id`]. Both get the same augmentation,
    /// so person, light and camera do not distinguish them. A fake that has neither is drawn together with any real
    /// face.
    pub paired: f32,
    /// Number of faces drawn in an epoch, rounded up to an even number. The number of rows to draw from if not given.
    pub draws: Option<usize>,
    /// Parts of the data that have their own share of the draws. The remaining share goes to all other rows.
    pub sources: Vec<Source>,
}

/// A part of the data with its own look, such as one of several collections.
///
/// Real and fake faces are drawn equally often within each source. If a source has no fakes, all its fakes are made
/// from its real faces, whatever the share of self-blended faces elsewhere, so that a network does not learn that the
/// look of the source is real.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The folder of the rows' files, as written in the manifest.
    pub folder: PathBuf,
    /// Share of all draws, `0..=1`.
    pub share: f32,
}

impl SamplerConfig {
    /// Returns the defaults: only rows of the manifest are drawn, and as many in an epoch as there are rows.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the share of the fakes that are made from real faces.
    #[must_use]
    pub fn with_self_blended(mut self, share: f32) -> Self {
        self.self_blended = share;
        self
    }

    /// Sets the share of the other fakes that are drawn together with the real face that they were made of.
    #[must_use]
    pub fn with_paired(mut self, share: f32) -> Self {
        self.paired = share;
        self
    }

    /// Sets how many faces are drawn in an epoch.
    #[must_use]
    pub fn with_draws(mut self, draws: usize) -> Self {
        self.draws = Some(draws);
        self
    }

    /// Gives the rows in a folder their own share of the draws.
    #[must_use]
    pub fn with_source(mut self, folder: impl Into<PathBuf>, share: f32) -> Self {
        self.sources.push(Source { folder: folder.into(), share });
        self
    }
}

/// A sampler, which draws both classes equally often and, within a class, every video equally often, however many faces
/// it has.
///
/// Faces are drawn in pairs, a real face and a fake one, so every batch of even size is balanced. A self-blended fake
/// is drawn together with the real face that it is made from, with the same seed: both get the same augmentation, and
/// they differ in the blending only (Shiohara and Yamasaki show them in pairs too). A [paired](SamplerConfig::paired)
/// fake is drawn together with its original in the same way. Videos are drawn without replacement: all of them are
/// drawn before one is drawn again. So are the faces of a video. The shares of self-blended and of paired faces are
/// kept from the first pairs on. Rows of the splits `val` and `test` are never drawn.
///
/// ```
/// # use deepsight_train::{Label, Row};
/// # use deepsight_train::sampler::{Sampler, SamplerConfig};
/// let mut rows = vec![Row::new("real/a.png", Label::Real, "a"), Row::new("fake/b.png", Label::Fake, "b")];
/// rows.extend((0..30).map(|n| Row::new(format!("fake/c_{n}.png"), Label::Fake, "c")));
/// let sampler = Sampler::new(&rows, &SamplerConfig::new().with_draws(8), 1)?;
/// let draws = sampler.epoch(0);
/// assert_eq!(draws.iter().filter(|draw| draw.row == 0).count(), 4, "half are real");
/// assert_eq!(draws.iter().filter(|draw| draw.row == 1).count(), 2, "half of the fakes are the one of video b");
/// assert_eq!(draws, sampler.epoch(0));
/// # Ok::<(), deepsight_train::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sampler {
    sources: Vec<SourceRows>,
    draws: usize,
    seed: u64,
}

/// The rows of one source, by video.
#[derive(Debug, Clone)]
struct SourceRows {
    share: f32,
    self_blended: f32,
    paired: f32,
    real: Vec<Vec<usize>>,
    fake: Vec<Vec<usize>>,
    /// For each fake row, the real rows that it may be paired with. Empty if fakes are not paired.
    originals: HashMap<usize, Arc<[usize]>>,
}

impl Sampler {
    /// Creates a sampler of these rows.
    ///
    /// # Errors
    /// - [`Error::Setting`] when a share is outside `0..=1`, the shares of the sources sum to more than 1, or `draws`
    ///   is 0;
    /// - [`Error::NoRows`] when there is no real face to draw or, with `self_blended` at 0, no fake one;
    /// - [`Error::NoLandmarks`] when real faces are to be blended and one has no landmarks;
    /// - [`Error::NoOriginal`] when fakes are to be paired and one names an original that is missing;
    /// - [`Error::NoPairs`] when fakes are to be paired and none can be.
    pub fn new(rows: &[Row], config: &SamplerConfig, seed: u64) -> Result<Self, Error> {
        check_share("self_blended", config.self_blended)?;
        check_share("paired", config.paired)?;
        config.sources.iter().try_for_each(|source| check_share("source share", source.share))?;
        let named: f32 = config.sources.iter().map(|source| source.share).sum();
        if named > 1.0 + 1e-4 {
            let value = named.to_string();
            return Err(Error::Setting { name: "sum of the sources' shares", value, rule: "must be at most 1" });
        }
        if config.draws == Some(0) {
            return Err(Error::Setting { name: "draws", value: "0".to_owned(), rule: "must be at least 1" });
        }

        let mut groups = vec![Vec::new(); config.sources.len() + 1];
        for (index, row) in rows.iter().enumerate() {
            if matches!(row.split, None | Some(Split::Train)) {
                let own = config.sources.iter().position(|source| row.file.starts_with(&source.folder));
                groups[own.unwrap_or(config.sources.len())].push(index);
            }
        }
        let shares = config.sources.iter().map(|source| source.share).chain([1.0 - named]);
        let names = config.sources.iter().map(|source| Some(&source.folder)).chain([None]);
        let mut sources = Vec::new();
        let mut drawable = 0;
        for ((group, share), name) in groups.iter().zip(shares).zip(names) {
            // Due to rounding, the remaining share is never exactly 0.
            if share > 1e-4 {
                let name = name.map_or_else(|| "training rows".to_owned(), |folder| folder.display().to_string());
                sources.push(SourceRows::new(rows, group, share, config, &name)?);
                drawable += group.len();
            }
        }
        if config.paired > 0.0 && sources.iter().all(|source| source.originals.is_empty()) {
            return Err(Error::NoPairs);
        }
        Ok(Self { sources, draws: config.draws.unwrap_or(drawable).next_multiple_of(2), seed })
    }

    /// Returns whether some fakes are made from real faces.
    #[cfg(feature = "model")]
    pub(crate) fn blends(&self) -> bool {
        self.sources.iter().any(|source| source.self_blended > 0.0)
    }

    /// Returns the number of faces drawn in an epoch.
    pub fn draws(&self) -> usize {
        self.draws
    }

    /// Returns the faces of an epoch, in order. They depend only on the sampler's seed and the epoch, and not on
    /// earlier draws, so a resumed run continues at the position that it had reached.
    pub fn epoch(&self, epoch: u64) -> Vec<Draw> {
        let mut random = generator(Purpose::Epoch, [self.seed, epoch, 0]);
        let mut states: Vec<SourceState> =
            self.sources.iter().map(|source| SourceState::new(source, &mut random)).collect();
        let mut draws = Vec::with_capacity(self.draws);
        for pair in 1..=self.draws / 2 {
            // The source that is furthest behind its share.
            let behind = |state: &SourceState| state.source.share * pair as f32 - state.pairs as f32;
            if let Some(state) = states.iter_mut().max_by(|a, b| behind(a).total_cmp(&behind(b))) {
                draws.extend(state.pair(&mut random));
            }
        }
        draws
    }
}

impl SourceRows {
    fn new(rows: &[Row], group: &[usize], share: f32, config: &SamplerConfig, name: &str) -> Result<Self, Error> {
        let videos = |label: Label| {
            let mut videos = BTreeMap::<&str, Vec<usize>>::new();
            for &index in group.iter().filter(|index| rows[**index].label == label) {
                videos.entry(&rows[index].video).or_default().push(index);
            }
            videos.into_values().collect::<Vec<_>>()
        };
        let (real, fake) = (videos(Label::Real), videos(Label::Fake));
        if real.is_empty() {
            return Err(Error::NoRows { of: name.to_owned(), label: Label::Real });
        }
        if fake.is_empty() && config.self_blended == 0.0 {
            return Err(Error::NoRows { of: name.to_owned(), label: Label::Fake });
        }
        let self_blended = if fake.is_empty() { 1.0 } else { config.self_blended };
        let without = |index: &&usize| rows[**index].landmarks.is_none();
        if self_blended > 0.0
            && let Some(index) = real.iter().flatten().find(without)
        {
            return Err(Error::NoLandmarks { file: rows[*index].file.clone() });
        }
        let originals = match config.paired > 0.0 && self_blended < 1.0 {
            true => originals(rows, group)?,
            false => HashMap::new(),
        };
        Ok(Self { share, self_blended, paired: config.paired, real, fake, originals })
    }
}

/// Returns the real faces that each fake of a source was made of. These are the faces of the video that the fake names.
/// If they are missing, because the preparation lost that video, they are those of the person whose body the fake
/// shows. A fake that names no original and whose person has no real face is left out, and is never paired.
fn originals(rows: &[Row], group: &[usize]) -> Result<HashMap<usize, Arc<[usize]>>, Error> {
    let (mut of_video, mut of_person) = (HashMap::<&str, Vec<usize>>::new(), HashMap::<&str, Vec<usize>>::new());
    for &index in group.iter().filter(|index| rows[**index].label == Label::Real) {
        of_video.entry(&rows[index].video).or_default().push(index);
        if let Some(person) = &rows[index].target_id {
            of_person.entry(person).or_default().push(index);
        }
    }
    let shared = |lists: HashMap<&'_ str, Vec<usize>>| -> HashMap<String, Arc<[usize]>> {
        lists.into_iter().map(|(name, list)| (name.to_owned(), list.into())).collect()
    };
    let (of_video, of_person) = (shared(of_video), shared(of_person));
    let fakes = group.iter().filter(|index| rows[**index].label == Label::Fake);
    let found = fakes.filter_map(|&index| {
        let row = &rows[index];
        let video = row.original.as_ref().and_then(|name| of_video.get(name));
        match (video.or_else(|| of_person.get(row.target_id.as_ref()?)), &row.original) {
            (Some(faces), _) => Some(Ok((index, Arc::clone(faces)))),
            (None, Some(original)) => {
                Some(Err(Error::NoOriginal { file: row.file.clone(), original: original.clone() }))
            }
            (None, None) => None,
        }
    });
    found.collect()
}

/// The state of one source during an epoch.
struct SourceState<'a> {
    source: &'a SourceRows,
    real: ShuffledFaces,
    fake: ShuffledFaces,
    pairs: usize,
    blended: usize,
    paired: usize,
}

impl<'a> SourceState<'a> {
    fn new(source: &'a SourceRows, random: &mut ChaCha8Rng) -> Self {
        let (real, fake) = (ShuffledFaces::new(&source.real, random), ShuffledFaces::new(&source.fake, random));
        Self { source, real, fake, pairs: 0, blended: 0, paired: 0 }
    }

    fn pair(&mut self, random: &mut ChaCha8Rng) -> [Draw; 2] {
        self.pairs += 1;
        let seed = random.random();
        let due = |share: f32, of: usize, done: usize| share * of as f32 - done as f32 >= 0.5;
        let blended = due(self.source.self_blended, self.pairs, self.blended);
        if !blended && due(self.source.paired, self.pairs - self.blended, self.paired) {
            let fake = Draw { row: self.fake.draw(&self.source.fake, random), self_blended: false, seed };
            if let Some(originals) = self.source.originals.get(&fake.row) {
                self.paired += 1;
                return [Draw { row: originals[random.random_range(0..originals.len())], ..fake }, fake];
            }
            let row = self.real.draw(&self.source.real, random);
            return [Draw { row, self_blended: false, seed: random.random() }, fake];
        }
        let row = self.real.draw(&self.source.real, random);
        let real = Draw { row, self_blended: false, seed };
        let fake = if blended {
            self.blended += 1;
            Draw { self_blended: true, ..real }
        } else {
            let row = self.fake.draw(&self.source.fake, random);
            Draw { row, self_blended: false, seed: random.random() }
        };
        [real, fake]
    }
}

/// The videos of one class and the faces of each video, each in random order.
struct ShuffledFaces {
    videos: Shuffled,
    faces: Vec<Shuffled>,
}

impl ShuffledFaces {
    fn new(videos: &[Vec<usize>], random: &mut ChaCha8Rng) -> Self {
        let faces = videos.iter().map(|faces| Shuffled::new(faces.len(), random)).collect();
        Self { videos: Shuffled::new(videos.len(), random), faces }
    }

    fn draw(&mut self, videos: &[Vec<usize>], random: &mut ChaCha8Rng) -> usize {
        let video = self.videos.draw(random);
        videos[video][self.faces[video].draw(random)]
    }
}

/// Numbers in random order, which are shuffled again when all have been drawn.
struct Shuffled {
    numbers: Vec<usize>,
    drawn: usize,
}

impl Shuffled {
    fn new(numbers: usize, random: &mut ChaCha8Rng) -> Self {
        let mut numbers: Vec<usize> = (0..numbers).collect();
        numbers.shuffle(random);
        Self { numbers, drawn: 0 }
    }

    fn draw(&mut self, random: &mut ChaCha8Rng) -> usize {
        if self.drawn == self.numbers.len() {
            self.numbers.shuffle(random);
            self.drawn = 0;
        }
        self.drawn += 1;
        self.numbers[self.drawn - 1]
    }
}
