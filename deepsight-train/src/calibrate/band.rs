//! Where the uncertain band begins and ends.

use serde::Serialize;

use super::verdicts::Shares;
use super::{SourceScores, ThresholdRule, fit_threshold, sources_of};
use crate::{Error, Scored};

/// Probabilities at which the band may begin and end, in equal steps over `0..=1`.
const STEPS: usize = 400;
/// Share of a source's videos that must be decided before the share of right ones says anything.
const LEAST_DECIDED: f64 = 0.05;

/// What verdicts are to achieve over the videos of every source.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VerdictAim {
    /// What the threshold in the middle of the band is to achieve.
    pub rule: ThresholdRule,
    /// Least share of the decided videos that is right, both classes counting the same; 0.9.
    pub right: f64,
    /// Largest share of real videos that is called FAKE; 0.05.
    pub reals_called_fake: f64,
}

impl VerdictAim {
    /// Creates the aim of 90 % right, with at most the rule's false-positive rate, or 5 %, of real videos called FAKE.
    pub fn new(rule: ThresholdRule) -> Self {
        let reals_called_fake = match rule {
            ThresholdRule::FalsePositiveRate(rate) => rate,
            ThresholdRule::BalancedAccuracy => 0.05,
        };
        Self { rule, right: 0.9, reals_called_fake }
    }
}

/// A threshold and the band around it within which verdicts are UNCERTAIN.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VerdictLimits {
    /// Fake probability in the middle of the band, `0..=1`.
    pub threshold: f64,
    /// Distance from the threshold within which a verdict is UNCERTAIN, `0..=0.5`.
    pub uncertain_band: f64,
    /// Whether the aim is reached in every source. If not, the limits are those that come nearest.
    pub reached: bool,
}

/// Finds the threshold and band with which most videos get the right verdict, while every source keeps the aim.
///
/// REAL and FAKE each have a limit of their own: a source whose reals score high moves the upper one only. The
/// threshold is the middle between the two, so that they are a band of one width around it, as an analysis decides. The
/// threshold that the rule alone would choose lies within the band; where the rule is a false-positive rate, the middle
/// is at least that threshold, so the rate holds for a threshold without a band too.
///
/// Most right is the highest mean over sources of the share of videos that is decided rightly, both classes of a source
/// counting the same. A source of one class is held to the same aim with the class that it has. Where no limits reach
/// the aim in every source, those are taken that call the fewest reals FAKE beyond the aim, and of these those with the
/// highest share of right verdicts in the worst source.
///
/// # Errors
/// As for [`calibrate`](super::calibrate).
pub fn fit_verdicts(faces: &[Scored], aim: VerdictAim) -> Result<VerdictLimits, Error> {
    let rule_threshold = fit_threshold(faces, aim.rule)?;
    let sources = sources_of(faces);
    let at = |step: usize| step as f64 / STEPS as f64;
    let counts: Vec<Counts> = sources.iter().map(Counts::of).collect();
    let mut best: Option<(Cost, f64, f64)> = None;
    for lower in (0..=STEPS).filter(|step| at(*step) <= rule_threshold) {
        for upper in (lower..=STEPS).filter(|step| at(*step) >= rule_threshold) {
            let middle = (at(lower) + at(upper)) / 2.0;
            if matches!(aim.rule, ThresholdRule::FalsePositiveRate(_)) && middle < rule_threshold {
                continue;
            }
            let cost = Cost::of(counts.iter().map(|counts| counts.verdicts(lower, upper)), aim, at(upper) - at(lower));
            if best.is_none_or(|(least, ..)| cost.is_less(least)) {
                best = Some((cost, at(lower), at(upper)));
            }
        }
    }
    // A threshold of 0 or 1 is on the grid, so there is always a pair.
    let (cost, lower, upper) = best.unwrap_or((Cost::default(), rule_threshold, rule_threshold));
    Ok(VerdictLimits {
        threshold: f64::from(((lower + upper) / 2.0) as f32),
        uncertain_band: f64::from(((upper - lower) / 2.0) as f32),
        reached: cost.false_alarms == 0.0 && cost.shortfall == 0.0,
    })
}

/// For each step, how many scores of each class are at most and at least that.
struct Counts {
    at_most: [Vec<usize>; 2],
    at_least: [Vec<usize>; 2],
    all: [usize; 2],
}

impl Counts {
    fn of(source: &SourceScores) -> Self {
        let classes = [&source.reals, &source.fakes];
        let at = |step: usize| step as f64 / STEPS as f64;
        let count = |scores: &Vec<f64>, keep: &dyn Fn(f64, f64) -> bool| -> Vec<usize> {
            let of_step = |step| scores.iter().filter(|score| keep(**score, at(step))).count();
            (0..=STEPS).map(of_step).collect()
        };
        Self {
            at_most: classes.map(|scores| count(scores, &|score, limit| score <= limit)),
            at_least: classes.map(|scores| count(scores, &|score, limit| score >= limit)),
            all: classes.map(Vec::len),
        }
    }

    /// Videos of each class called REAL, UNCERTAIN and FAKE. Where the limits meet, what lies on them is FAKE.
    fn verdicts(&self, lower: usize, upper: usize) -> [[usize; 3]; 2] {
        [0, 1].map(|class| {
            let fake = self.at_least[class][upper];
            let real = self.at_most[class][lower].min(self.all[class] - fake);
            [real, self.all[class] - real - fake, fake]
        })
    }
}

/// How far limits are from the aim, and what they cost: compared in the order of the fields.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// Sum over sources of the share of reals called FAKE beyond the aim.
    false_alarms: f64,
    /// How much less than the aim is right in the worst source.
    shortfall: f64,
    /// Mean over sources of the share of videos that is not decided rightly.
    open_or_wrong: f64,
    /// Width of the band.
    width: f64,
}

impl Cost {
    fn of(sources: impl Iterator<Item = [[usize; 3]; 2]>, aim: VerdictAim, width: f64) -> Self {
        let (mut cost, mut count) = (Self { width, ..Self::default() }, 0.0);
        for [reals, fakes] in sources {
            let all_reals = reals.iter().sum::<usize>().max(1) as f64;
            let shares = Shares::of(reals, fakes);
            let right = shares.right().filter(|_| shares.decided() >= LEAST_DECIDED).unwrap_or(0.0);
            cost.false_alarms += (reals[2] as f64 / all_reals - aim.reals_called_fake).max(0.0);
            cost.shortfall = cost.shortfall.max(aim.right - right);
            cost.open_or_wrong += 1.0 - shares.decided_rightly();
            count += 1.0;
        }
        cost.open_or_wrong /= f64::max(count, 1.0);
        cost
    }

    fn is_less(self, other: Self) -> bool {
        let fields = |cost: Self| [cost.false_alarms, cost.shortfall, cost.open_or_wrong, cost.width];
        // Sums of shares differ in the last bits where they are equal.
        let differing = fields(self).into_iter().zip(fields(other)).find(|(a, b)| (a - b).abs() > 1e-9);
        differing.is_some_and(|(a, b)| a < b)
    }
}
