//! Logistic stacking: the fit of its weights.

use super::Combination;
use crate::Error;
use crate::reliability::logit;
use crate::reliability::sigmoid;

/// Strength of the pull of the weights towards those of the mean, as a number of observations. It keeps the fit finite
/// where the models separate the classes perfectly.
const RIDGE: f64 = 1.0;
/// Newton steps after which the fit ends. It converges in about ten.
const STEPS: usize = 100;

impl Combination {
    /// Fits logistic stacking to the probabilities that the models gave to examples that none of them was trained on.
    ///
    /// `rows` has one list of probabilities for each example, one for each model; `is_fake` says what each example is.
    /// Both classes have the same weight in total, so the combined threshold is 0.5. The fit is a logistic regression
    /// by Newton's method with a ridge penalty of one observation towards the weights of the calibrated mean. No weight
    /// is negative (Breiman, "Stacked regressions", Machine Learning 1996): a model that would get such a weight beside
    /// the others gets 0.
    ///
    /// # Errors
    /// [`Error::Setting`] if the lists do not fit together, a probability is outside `0..=1`, there are fewer than ten
    /// examples of a class, or the fitted weights are not usable (all are 0).
    pub fn fit(rows: &[Vec<f32>], thresholds: &[f32], is_fake: &[bool]) -> Result<Self, Error> {
        const LEAST: usize = 10;
        let (models, examples) = (thresholds.len(), rows.len());
        Error::check("number of labels", is_fake.len(), is_fake.len() == examples, "must be that of the examples")?;
        for row in rows {
            Error::check("number of scores", row.len(), row.len() == models, "must be that of the models")?;
            for probability in row {
                let usable = (0.0..=1.0).contains(probability);
                Error::check("probability", probability, usable, "must lie in 0..=1")?;
            }
        }
        let fakes = is_fake.iter().filter(|&&fake| fake).count();
        for (name, count) in [("number of fakes", fakes), ("number of reals", examples - fakes)] {
            Error::check(name, count, count >= LEAST, "must be at least 10 to fit the weights")?;
        }
        let aligned: Vec<Vec<f64>> = rows
            .iter()
            .map(|row| {
                let relative = row.iter().zip(thresholds).map(|(&p, &t)| logit(p.into()) - logit(t.into()));
                std::iter::once(1.0).chain(relative).collect()
            })
            .collect();
        // Each class counts as half of the examples.
        let share = |fake: bool| examples as f64 / 2.0 / if fake { fakes } else { examples - fakes } as f64;
        let prior: Vec<f64> = std::iter::once(0.0).chain((0..models).map(|_| 1.0 / models as f64)).collect();
        let examples = Examples { aligned, is_fake, share: [share(false), share(true)], prior };
        let mut used = vec![true; models + 1];
        let weights = loop {
            let weights = examples.minimize(&used);
            let lowest = (1..weights.len()).min_by(|&a, &b| weights[a].total_cmp(&weights[b]));
            match lowest.filter(|&lowest| weights[lowest] < 0.0) {
                Some(lowest) => used[lowest] = false,
                None => break weights,
            }
        };
        let fitted =
            Self::Stacking { weights: weights[1..].iter().map(|&w| w as f32).collect(), intercept: weights[0] as f32 };
        fitted.validate(models)?;
        Ok(fitted)
    }
}

/// The examples to which the weights are fitted.
struct Examples<'a> {
    /// For each example 1 and the log-odds of each model relative to its threshold.
    aligned: Vec<Vec<f64>>,
    is_fake: &'a [bool],
    /// The weight of a real and of a fake example.
    share: [f64; 2],
    /// The weights towards which the fit is pulled.
    prior: Vec<f64>,
}

impl Examples<'_> {
    fn loss(&self, weights: &[f64]) -> f64 {
        let data = self.aligned.iter().zip(self.is_fake).map(|(row, &fake)| {
            let z = dot(row, weights) * if fake { 1.0 } else { -1.0 };
            // ln(1 + exp(−z)), without overflow.
            self.share[usize::from(fake)] * ((-z.abs()).exp().ln_1p() + (-z).max(0.0))
        });
        let pull = weights.iter().zip(&self.prior).map(|(w, p)| RIDGE / 2.0 * (w - p).powi(2));
        data.sum::<f64>() + pull.sum::<f64>()
    }

    /// Returns the weights with the least loss. Weights that are not `used` stay 0.
    fn minimize(&self, used: &[bool]) -> Vec<f64> {
        let size = used.len();
        let mut weights: Vec<f64> = self.prior.iter().zip(used).map(|(&p, &used)| if used { p } else { 0.0 }).collect();
        let mut current = self.loss(&weights);
        for _ in 0..STEPS {
            let mut gradient: Vec<f64> = weights.iter().zip(&self.prior).map(|(w, p)| RIDGE * (w - p)).collect();
            let mut curvature = vec![vec![0.0; size]; size];
            (0..size).for_each(|index| curvature[index][index] = RIDGE);
            for (row, &fake) in self.aligned.iter().zip(self.is_fake) {
                let (p, share) = (sigmoid(dot(row, &weights)), self.share[usize::from(fake)]);
                let (slope, bend) = (share * (p - f64::from(u8::from(fake))), share * p * (1.0 - p));
                for a in 0..size {
                    gradient[a] += slope * row[a];
                    (0..size).for_each(|b| curvature[a][b] += bend * row[a] * row[b]);
                }
            }
            for fixed in (0..size).filter(|&index| !used[index]) {
                gradient[fixed] = 0.0;
                (0..size).for_each(|other| {
                    curvature[fixed][other] = 0.0;
                    curvature[other][fixed] = 0.0;
                });
                curvature[fixed][fixed] = 1.0;
            }
            let step = solve(curvature, gradient);
            // Newton's step may overshoot where the classes are far apart, so it is halved until the loss falls.
            let shorter = (0..40).map(|halvings| 0.5_f64.powi(halvings)).find_map(|length| {
                let next: Vec<f64> = weights.iter().zip(&step).map(|(w, s)| w - length * s).collect();
                let loss = self.loss(&next);
                (loss < current).then_some((next, loss))
            });
            let Some((next, lower)) = shorter else { break };
            let fallen = current - lower;
            (weights, current) = (next, lower);
            if fallen < 1e-12 * current.abs().max(1.0) {
                break;
            }
        }
        weights
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Solves a small symmetric positive definite system by Gaussian elimination. The ridge keeps every pivot above 0.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    for pivot in 0..size {
        let (done, below) = matrix.split_at_mut(pivot + 1);
        let from = &done[pivot];
        for (row, values) in below.iter_mut().enumerate() {
            let factor = values[pivot] / from[pivot];
            values.iter_mut().zip(from).skip(pivot).for_each(|(value, above)| *value -= factor * above);
            right[pivot + 1 + row] -= factor * right[pivot];
        }
    }
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|column| matrix[row][column] * right[column]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    right
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sigmoid(x: f64) -> f32 {
        crate::reliability::sigmoid(x) as f32
    }

    /// Examples whose first model is informed and whose second one says the same of both classes.
    fn examples() -> (Vec<Vec<f32>>, Vec<bool>) {
        let noise = |n: u32| f64::from(n.wrapping_mul(2_654_435_761) >> 16) / 32_768.0 - 1.0;
        (0..400_u32)
            .map(|n| {
                let fake = n % 4 == 0;
                let mean = if fake { 1.0 } else { -1.0 };
                (vec![sigmoid(mean + 2.0 * noise(n)), sigmoid(2.0 * noise(n + 5000))], fake)
            })
            .unzip()
    }

    #[test]
    fn the_model_that_knows_more_gets_more_weight() {
        let (rows, is_fake) = examples();
        let Combination::Stacking { weights, intercept } = Combination::fit(&rows, &[0.5, 0.5], &is_fake).unwrap()
        else {
            panic!("no stacking");
        };
        assert!(weights[0] > 0.8 && weights[0] > 4.0 * weights[1].abs(), "{weights:?}");
        assert!(intercept.abs() < 0.4, "classes weigh alike, though there are three times as many reals: {intercept}");
    }

    #[test]
    fn a_model_that_errs_with_another_one_gets_no_negative_weight() {
        let (rows, is_fake) = examples();
        // The second model knows nothing but the error of the first one, so it would best be subtracted.
        let both = |row: &Vec<f32>| vec![sigmoid(logit(row[0].into()) + logit(row[1].into())), row[1]];
        let rows: Vec<Vec<f32>> = rows.iter().map(both).collect();
        let Combination::Stacking { weights, .. } = Combination::fit(&rows, &[0.5, 0.5], &is_fake).unwrap() else {
            panic!("no stacking");
        };
        assert!(weights[0] > 0.1 && weights[1] == 0.0, "{weights:?}");
    }

    #[test]
    fn classes_that_are_apart_give_finite_weights() {
        let rows: Vec<Vec<f32>> = (0..20).map(|n| if n < 10 { vec![0.0, 0.0] } else { vec![1.0, 1.0] }).collect();
        let is_fake: Vec<bool> = (0..20).map(|n| n >= 10).collect();
        let fitted = Combination::fit(&rows, &[0.5, 0.5], &is_fake).unwrap();
        assert!(fitted.combine(&[0.9, 0.9], &[0.5, 0.5]) > 0.5);
        assert!(fitted.combine(&[0.1, 0.1], &[0.5, 0.5]) < 0.5);
    }

    #[test]
    fn what_cannot_be_fitted_is_refused_with_the_reason() {
        let refused = |rows: &[Vec<f32>], fake: &[bool]| Combination::fit(rows, &[0.5, 0.5], fake).unwrap_err();
        let (rows, is_fake) = examples();
        for (error, part) in [
            (refused(&rows, &is_fake[1..]), "number of labels is 399"),
            (refused(&[vec![0.5]], &[true]), "number of scores is 1"),
            (refused(&[vec![0.5, f32::NAN]], &[true]), "probability is NaN"),
            (refused(&rows, &[true; 400]), "number of reals is 0: it must be at least 10"),
            (refused(&rows[..8], &is_fake[..8]), "number of fakes is 2"),
        ] {
            assert!(error.to_string().contains(part), "{error}");
        }
        // A model that says the opposite of the truth has no usable weight.
        let wrong: Vec<Vec<f32>> = rows.iter().map(|row| vec![1.0 - row[0], 1.0 - row[0]]).collect();
        assert!(refused(&wrong, &is_fake).to_string().contains("must add up to more than 0"));
    }
}
