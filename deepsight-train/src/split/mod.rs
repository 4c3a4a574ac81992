//! Division of the data into splits that share no person, no file and no original, so that a measurement does not
//! reward memorized faces.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Label, Row, Split};

mod divide;
mod links;

use links::{Groups, Link, links};

/// Settings of the division.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SplitConfig {
    /// Shares of each label's videos for training, validation and test, in any unit; 70, 15 and 15.
    pub shares: [f64; 3],
    /// Seed of the division; 0.
    pub seed: u64,
    /// What two splits must not share.
    pub by: SplitBy,
    /// Whether existing splits of rows, from a data set's own list, are kept; true.
    pub keep_official: bool,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self { shares: [70.0, 15.0, 15.0], seed: 0, by: SplitBy::Person, keep_official: true }
    }
}

impl SplitConfig {
    /// Checks the shares, before hours of work on the data.
    ///
    /// # Errors
    /// [`Error::Setting`] for shares that are negative, not finite, or give nothing to training.
    pub fn validate(&self) -> Result<(), Error> {
        let [train, val, test] = self.shares;
        if train > 0.0 && self.shares.iter().all(|share| share.is_finite() && *share >= 0.0) {
            return Ok(());
        }
        let rule = "must be three numbers, 0 or more, the first above 0";
        Err(Error::Setting { name: "shares", value: format!("{train}/{val}/{test}"), rule })
    }
}

/// What two splits must not share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SplitBy {
    /// Persons that rows name, as body or as face, and everything that [`SplitBy::Video`] names.
    #[default]
    Person,
    /// Videos, copies of their files, and videos made from them. Scores on validation and test are then too high,
    /// because the model was trained on the same people.
    Video,
}

impl SplitBy {
    /// Returns `person` or `video`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Video => "video",
        }
    }
}

impl fmt::Display for SplitBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SplitBy {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let known = [Self::Person, Self::Video].into_iter().find(|by| by.name() == name);
        known.ok_or_else(|| Error::Setting { name: "split_by", value: name.into(), rule: "must be person or video" })
    }
}

/// Assigns a split to every row.
///
/// Videos that are linked by a shared person, file or original form a component. Components are assigned one by one,
/// the largest first, each to the split that brings the shares of both labels closest to the wanted ones. Where there
/// are enough components, every split gets videos of both labels. The result depends only on the videos and the seed,
/// not on the order of the rows.
///
/// Existing splits of rows are kept. Videos that are linked to them get the same split. If they are linked to two
/// splits, they get none, and are not used. Other videos go to training, and to the splits that no row had before.
///
/// ```
/// use deepsight_train::{Label, Row, Split, SplitConfig, assign_splits};
/// use deepsight_train::split::{SplitBy, check_disjoint};
///
/// let mut rows = Vec::new();
/// for person in 0..20 {
///     for (label, name) in [(Label::Real, "real"), (Label::Fake, "fake")] {
///         let mut row = Row::new(format!("{name}/{person}.png"), label, format!("{name}-{person}"));
///         row.target_id = Some(format!("id{person}"));
///         rows.push(row);
///     }
/// }
/// assign_splits(&mut rows, &SplitConfig::default())?;
/// check_disjoint(&rows, SplitBy::Person)?;
/// assert_eq!(rows.iter().filter(|row| row.split == Some(Split::Train)).count(), 28);
/// # Ok::<(), deepsight_train::Error>(())
/// ```
///
/// # Errors
/// [`Error::Setting`] for shares that are negative, not finite, or give nothing to training; [`Error::Overlap`] when a
/// video already has two splits; [`Error::NothingToTrain`] when all reals or all fakes are linked to videos that are
/// listed for other splits. Rows that all have a split already are not an error, whatever the splits.
pub fn assign_splits(rows: &mut [Row], config: &SplitConfig) -> Result<(), Error> {
    config.validate()?;
    if !config.keep_official {
        rows.iter_mut().for_each(|row| row.split = None);
    }
    check_videos(rows)?;

    let components = components(rows, config.by);
    let official: BTreeSet<Split> = rows.iter().filter_map(|row| row.split).collect();
    // Validation and test are complete if a list names them. Only training gets more videos then.
    let shares = [0, 1, 2].map(|part| {
        let split = Split::ALL[part];
        if split == Split::Train || !official.contains(&split) { config.shares[part] } else { 0.0 }
    });
    let free: Vec<usize> = (0..components.len()).filter(|&index| components[index].official.is_empty()).collect();
    let sizes: Vec<[usize; 2]> = free.iter().map(|&index| components[index].videos).collect();
    let parts = divide::divide(&sizes, shares, config.seed);
    let mut chosen: Vec<Option<Split>> = components.iter().map(Component::follows).collect();
    for (index, part) in free.into_iter().zip(parts) {
        chosen[index] = Some(Split::ALL[part]);
    }

    let mut splits: Vec<Option<Split>> = rows.iter().map(|row| row.split).collect();
    for (component, chosen) in components.iter().zip(chosen) {
        for &row in &component.rows {
            splits[row] = splits[row].or(chosen);
        }
    }
    if let Some(listed) = rows.iter().find(|row| row.split.is_some()) {
        let left =
            |label: Label| (0..rows.len()).any(|row| rows[row].label == label && splits[row] == Some(Split::Train));
        // A list may put all fakes into other splits on purpose, to train on reals alone, and a benchmark's list puts
        // all videos there. A label of which a list leaves some videos unlisted must have videos in training.
        let on_purpose = splits.contains(&Some(Split::Train)) || rows.iter().all(|row| row.split.is_some());
        let wanted = |label: Label| rows.iter().any(|row| row.label == label && !(on_purpose && row.split.is_some()));
        if let Some(label) = Label::ALL.into_iter().find(|label| wanted(*label) && !left(*label)) {
            return Err(Error::NothingToTrain { label, listed: listed.video.clone() });
        }
    }
    for (row, split) in rows.iter_mut().zip(splits) {
        row.split = split;
    }
    Ok(())
}

/// Checks that no two splits share a person, a file, an original or a video. With [`SplitBy::Video`], persons may be
/// shared. Rows without a split are ignored, and only persons that rows name are compared.
///
/// # Errors
/// [`Error::Overlap`] with one thing that is shared, the two videos that share it, and the number of other shared
/// things.
pub fn check_disjoint(rows: &[Row], by: SplitBy) -> Result<(), Error> {
    overlap(rows, |row| links(row, by))
}

/// Checks that no video has two splits.
fn check_videos(rows: &[Row]) -> Result<(), Error> {
    overlap(rows, |row| vec![Link::Video(row.label, &row.video)])
}

fn overlap<'a>(rows: &'a [Row], links: impl Fn(&'a Row) -> Vec<Link<'a>>) -> Result<(), Error> {
    let mut seen: BTreeMap<Link<'a>, (Split, &str)> = BTreeMap::new();
    let mut shared: BTreeMap<Link<'a>, [(Split, &str); 2]> = BTreeMap::new();
    for row in rows {
        let Some(split) = row.split else { continue };
        for link in links(row) {
            let &mut first = seen.entry(link).or_insert((split, &row.video));
            if first.0 != split {
                shared.entry(link).or_insert([first, (split, &row.video)]);
            }
        }
    }
    let count = shared.len();
    let Some((link, [(first, first_video), (second, second_video)])) = shared.into_iter().next() else { return Ok(()) };
    Err(Error::Overlap {
        shared: link.to_string(),
        first,
        first_video: first_video.to_owned(),
        second,
        second_video: second_video.to_owned(),
        more: count - 1,
    })
}

/// Videos that are linked with each other, directly or through others.
#[derive(Debug, Default)]
struct Component {
    /// Number of real and of fake videos.
    videos: [usize; 2],
    rows: Vec<usize>,
    /// Splits that some of them have already.
    official: BTreeSet<Split>,
}

impl Component {
    /// Returns the existing split of the component, if there is exactly one.
    fn follows(&self) -> Option<Split> {
        self.official.first().copied().filter(|_| self.official.len() == 1)
    }
}

/// Returns all components, in the order of their first videos by label and name.
fn components(rows: &[Row], by: SplitBy) -> Vec<Component> {
    let mut groups = Groups::default();
    for row in rows {
        groups.join(&links(row, by));
    }
    let mut components: BTreeMap<usize, Component> = BTreeMap::new();
    let mut videos: BTreeMap<(Label, &str), usize> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        let group = groups.of(Link::Video(row.label, &row.video));
        videos.insert((row.label, &row.video), group);
        let component = components.entry(group).or_default();
        component.rows.push(index);
        component.official.extend(row.split);
    }
    // Ordered by name, so that the order of the rows does not matter.
    let mut order: Vec<usize> = Vec::with_capacity(components.len());
    for ((label, _), group) in videos {
        if let Some(component) = components.get_mut(&group) {
            if component.videos == [0, 0] {
                order.push(group);
            }
            component.videos[label as usize] += 1;
        }
    }
    order.into_iter().filter_map(|group| components.remove(&group)).collect()
}

/// Number of videos and crops in each split.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SplitSummary {
    /// Videos and crops of each split, real before fake, in the order of [`Split::ALL`]. The last entry counts rows
    /// without a split.
    pub counts: [[SplitCount; 2]; 4],
}

/// Number of videos, and of crops from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SplitCount {
    /// Number of videos.
    pub videos: usize,
    /// Number of crops.
    pub crops: usize,
}

impl SplitSummary {
    /// Counts the videos and crops of the rows.
    pub fn of(rows: &[Row]) -> Self {
        let mut summary = Self::default();
        let mut videos = BTreeSet::new();
        for row in rows {
            let part = row.split.map_or(3, |split| split as usize);
            let count = &mut summary.counts[part][row.label as usize];
            count.crops += 1;
            if videos.insert((part, row.label, &row.video)) {
                count.videos += 1;
            }
        }
        summary
    }
}

/// Writes one line for each split: `train: 28 real videos (280 faces), 14 fake videos (140 faces)`.
impl fmt::Display for SplitSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (part, counts) in self.counts.iter().enumerate() {
            let name = Split::ALL.get(part).map_or("in no part", |split| split.name());
            if part == 3 && counts.iter().all(|count| count.videos == 0) {
                continue;
            }
            let [real, fake] = counts;
            if part > 0 {
                writeln!(f)?;
            }
            write!(
                f,
                "{name}: {} real videos ({} faces), {} fake videos ({} faces)",
                real.videos, real.crops, fake.videos, fake.crops
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
