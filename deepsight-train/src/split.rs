//! Parts of the data that share no person, no file and no original, so that what is measured is not what was learnt by heart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Label, Row, Split};

mod divide;
mod links;

use links::{Groups, Link, links};

/// How videos are divided.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SplitConfig {
    /// How much of each label's videos goes to training, validation and test, in any unit; 70, 15 and 15.
    pub shares: [f64; 3],
    /// Another seed is another division; 0.
    pub seed: u64,
    /// What must not be in two parts.
    pub by: SplitBy,
    /// Whether splits that rows have already, from a data set's own list, are kept; true.
    pub keep_official: bool,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self { shares: [70.0, 15.0, 15.0], seed: 0, by: SplitBy::Person, keep_official: true }
    }
}

impl SplitConfig {
    /// Whether data can be divided so: worth asking before hours of work.
    ///
    /// # Errors
    /// [`Error::Setting`] for shares that are negative, not finite, or give nothing to training.
    pub fn validate(&self) -> Result<(), Error> {
        let [train, val, test] = self.shares;
        if train > 0.0 && self.shares.iter().all(|share| share.is_finite() && *share >= 0.0) {
            return Ok(());
        }
        let rule = "must be three numbers, 0 or more, the first above 0";
        Err(Error::Setting { name: "split", value: format!("{train}/{val}/{test}"), rule })
    }
}

/// What must not be in two parts of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SplitBy {
    /// A person that rows name, as body or as face; nor what [`SplitBy::Video`] names.
    #[default]
    Person,
    /// A video, also a copy of its file, or what was made from it. Scores on the other parts will then flatter the model:
    /// it has seen their people.
    Video,
}

impl SplitBy {
    /// `person` or `video`, as command lines name it.
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
        known.ok_or_else(|| Error::Setting { name: "split-by", value: name.into(), rule: "must be person or video" })
    }
}

/// Puts every row into a part of the data.
///
/// Videos that are linked by a shared person, a shared file or a shared original form a component, and components are divided: the
/// largest first, each to where it brings the shares of both labels closest to those wanted. Where there are enough of them, every
/// part gets videos of both labels. The result depends on the videos and the seed alone, not on the order of the rows.
///
/// Splits that rows have already are kept. What is linked to them goes with them; if that pulls it two ways its split is
/// left open, and it is used for nothing. What is not linked to them goes to training, and to parts that no row had before.
///
/// ```
/// use deepsight_train::{Label, Row, Split, SplitBy, SplitConfig, assign_splits, check_disjoint};
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
/// [`Error::Setting`] for shares that are negative, not finite, or give nothing to training; [`Error::Overlap`] when a video is in two
/// parts already; [`Error::NothingToTrain`] when all reals or all fakes are linked to videos that are listed for other parts.
pub fn assign_splits(rows: &mut [Row], config: &SplitConfig) -> Result<(), Error> {
    config.validate()?;
    if !config.keep_official {
        rows.iter_mut().for_each(|row| row.split = None);
    }
    check_videos(rows)?;

    let components = components(rows, config.by);
    let official: BTreeSet<Split> = rows.iter().filter_map(|row| row.split).collect();
    // A list settles the parts that it names.
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
        // A list may keep all fakes for the other parts on purpose, for training on reals alone; not so if it leaves some out.
        let some_train = splits.contains(&Some(Split::Train));
        let wanted = |label: Label| rows.iter().any(|row| row.label == label && !(some_train && row.split.is_some()));
        if let Some(label) = Label::ALL.into_iter().find(|label| wanted(*label) && !left(*label)) {
            return Err(Error::NothingToTrain { label, listed: listed.video.clone() });
        }
    }
    for (row, split) in rows.iter_mut().zip(splits) {
        row.split = split;
    }
    Ok(())
}

/// Whether no two parts of the data share a person, a file, an original or a video; with [`SplitBy::Video`], people may be shared.
/// Rows without a split are in no part, and people are those that rows name.
///
/// # Errors
/// [`Error::Overlap`] names what is shared, by whom, and how much more there is.
pub fn check_disjoint(rows: &[Row], by: SplitBy) -> Result<(), Error> {
    overlap(rows, |row| links(row, by))
}

/// Whether no video is in two parts.
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

/// Videos that are linked with each other.
#[derive(Debug, Default)]
struct Component {
    /// How many, real and fake.
    videos: [usize; 2],
    rows: Vec<usize>,
    /// Parts that some of them are in already.
    official: BTreeSet<Split>,
}

impl Component {
    /// Where all that is linked belongs, if that is settled.
    fn follows(&self) -> Option<Split> {
        self.official.first().copied().filter(|_| self.official.len() == 1)
    }
}

/// All components, in the order of their first videos.
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
    // By name, not by place in the list.
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

/// How many videos and crops are in each part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct SplitSummary {
    /// Videos and crops of each part, real before fake, in the order of [`Split::ALL`]; then those of no part.
    pub counts: [[SplitCount; 2]; 4],
}

/// Videos and the crops from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SplitCount {
    /// Videos.
    pub videos: usize,
    /// Crops.
    pub crops: usize,
}

impl SplitSummary {
    /// Counts what is in the rows.
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

/// One line a part: `train: 28 real videos (280 faces), 14 fake videos (140 faces)`.
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
