//! Fits the threshold and the uncertain band.

use serde::Serialize;

use super::verdicts::Shares;
use super::{SourceScores, ThresholdRule, fit_threshold, sources_of};
use crate::{Error, Scored};

/// Number of equal steps over `0..=1` at which the band may begin and end.
const STEPS: usize = 400;
/// Least share of a source's videos that must be decided. Below it, the share of right verdicts is not meaningful and
/// counts as 0.
const LEAST_DECIDED: f64 = 0.05;

/// The aim of verdicts over the videos of every source.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct VerdictAim {
    /// The rule for the threshold in the middle of the band.
    pub rule: ThresholdRule,
    /// Least share of the decided videos that must be right, both classes with the same weight; 0.9.
    pub right: f64,
    /// Largest share of real videos that may be called FAKE; 0.05, or the false-positive rate of the rule.
    pub reals_called_fake: f64,
}

impl VerdictAim {
    /// Creates the aim of 90 % right. At most the rule's false-positive rate, or 5 %, of real videos may be called
    /// FAKE.
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
    /// Whether the aim is reached in every source. If not, the limits are the nearest that were found.
    pub reached: bool,
}

/// Finds the threshold and band with which most videos get the right verdict, and with which every source meets the
/// aim.
///
/// REAL and FAKE have separate limits: a source whose reals score high moves the upper limit only. The threshold is the
/// middle between both limits, so that the band has the same width on both sides of it, as in an analysis. The
/// threshold that the rule alone would choose lies within the band. Where the rule is a false-positive rate, the middle
/// is at least that threshold, so that the rate also holds for the threshold without a band.
///
/// Among the limits that meet the aim, those with the highest share of rightly decided videos are chosen: the mean over
/// sources, with both classes of a source having the same weight. A source of one class must meet the same aim with the
/// class that it has. Where no limits meet the aim in every source, those are chosen that call the fewest reals FAKE
/// beyond the aim, and of these those with the highest share of right verdicts in the worst source.
///
/// # Errors
/// As for [`calibrate`](super::calibrate).
pub fn fit_verdicts(faces: &[Scored], aim: VerdictAim) -> Result<VerdictLimits, Error> {
    let rule_threshold = fit_threshold(faces, aim.rule)?;
    let sources = sources_of(faces);
    let at = |step: usize| step as f64 / STEPS as f64;
    let counts: Vec<StepCounts> = sources.iter().map(StepCounts::of).collect();
    let mut best: Option<(LimitCost, f64, f64)> = None;
    for lower in (0..=STEPS).filter(|step| at(*step) <= rule_threshold) {
        for upper in (lower..=STEPS).filter(|step| at(*step) >= rule_threshold) {
            let middle = (at(lower) + at(upper)) / 2.0;
            if matches!(aim.rule, ThresholdRule::FalsePositiveRate(_)) && middle < rule_threshold {
                continue;
            }
            let cost =
                LimitCost::of(counts.iter().map(|counts| counts.verdicts(lower, upper)), aim, at(upper) - at(lower));
            if best.is_none_or(|(least, ..)| cost.is_less(least)) {
                best = Some((cost, at(lower), at(upper)));
            }
        }
    }
    // The grid includes 0 and 1, so there is always a pair.
    let (cost, lower, upper) = best.unwrap_or((LimitCost::default(), rule_threshold, rule_threshold));
    Ok(VerdictLimits {
        threshold: f64::from(((lower + upper) / 2.0) as f32),
        uncertain_band: f64::from(((upper - lower) / 2.0) as f32),
        reached: cost.false_alarms == 0.0 && cost.shortfall == 0.0,
    })
}

/// Number of scores of each class that are at most, and at least, the value of each step.
struct StepCounts {
    at_most: [Vec<usize>; 2],
    at_least: [Vec<usize>; 2],
    all: [usize; 2],
}

impl StepCounts {
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

    /// Returns the number of videos of each class called REAL, UNCERTAIN and FAKE. Where both limits are equal, a score
    /// equal to them is FAKE.
    fn verdicts(&self, lower: usize, upper: usize) -> [[usize; 3]; 2] {
        [0, 1].map(|class| {
            let fake = self.at_least[class][upper];
            let real = self.at_most[class][lower].min(self.all[class] - fake);
            [real, self.all[class] - real - fake, fake]
        })
    }
}

/// The distance of limits from the aim, and their cost. Costs are compared field by field, in this order.
#[derive(Debug, Clone, Copy, Default)]
struct LimitCost {
    /// Sum over sources of the share of reals called FAKE beyond the aim.
    false_alarms: f64,
    /// Distance of the share of right verdicts in the worst source below the aim.
    shortfall: f64,
    /// Mean over sources of the share of videos that are not decided rightly.
    open_or_wrong: f64,
    /// Width of the band.
    width: f64,
}

impl LimitCost {
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
        // Equal sums of shares may differ in the last bits.
        let differing = fields(self).into_iter().zip(fields(other)).find(|(a, b)| (a - b).abs() > 1e-9);
        differing.is_some_and(|(a, b)| a < b)
    }
}
