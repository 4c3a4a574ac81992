use deepsight_core::{Noise, model::EfficientNetConfig};
use rand::RngExt;

use super::config::TrainConfig;
use crate::random::{Purpose, generator};

/// Draws the noise of the pass that begins at `position` of an epoch. The noise depends on the arguments alone.
pub(super) fn noise(
    config: &TrainConfig,
    network: &EfficientNetConfig,
    epoch: u64,
    position: usize,
    batch: usize,
) -> Noise {
    let mut random = generator(Purpose::Drop, [config.seed, epoch, position as u64]);
    let mut factors = |rate: f32, count: usize| -> Vec<f32> {
        let kept = 1.0 / (1.0 - rate);
        (0..count).map(|_| if random.random::<f32>() < rate { 0.0 } else { kept }).collect()
    };
    let dropout = if config.dropout > 0.0 { factors(config.dropout, batch * network.features()) } else { Vec::new() };
    let mut drop_path = Vec::new();
    if config.drop_path > 0.0 {
        // timm's rule: the rate rises with the block's index among all blocks, residual or not.
        let rate = |place: usize| config.drop_path * place as f32 / network.blocks() as f32;
        drop_path.extend(network.residual_blocks().into_iter().map(|place| factors(rate(place), batch)));
    }
    Noise { dropout, drop_path }
}

/// Returns the noise of a part of a batch of `batch` pictures.
pub(super) fn part(noise: &Noise, batch: usize, part: std::ops::Range<usize>) -> Noise {
    let features = noise.dropout.len() / batch;
    Noise {
        dropout: noise.dropout[part.start * features..part.end * features].to_vec(),
        drop_path: noise.drop_path.iter().map(|factors| factors[part.clone()].to_vec()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use deepsight_core::model::Architecture;

    use super::*;

    #[test]
    fn noise_has_the_configured_rates_and_a_mean_of_one() {
        let mut config = TrainConfig::new(Architecture::EfficientNetLite0);
        (config.dropout, config.drop_path) = (0.25, 0.4);
        let network = Architecture::EfficientNetLite0.config();
        let noise = noise(&config, &network, 3, 64, 256);
        noise.check(&network, 256).unwrap_or_else(|error| panic!("{error}"));
        let mean = |factors: &[f32]| factors.iter().sum::<f32>() / factors.len() as f32;
        assert!((mean(&noise.dropout) - 1.0).abs() < 0.01);
        // The last residual block is the 15th of 16.
        let last = noise.drop_path.last().map_or(0.0, |factors| {
            factors.iter().filter(|factor| **factor == 0.0).count() as f32 / factors.len() as f32
        });
        assert!((last - 0.4 * 14.0 / 16.0).abs() < 0.1, "{last}");
        let parts = [part(&noise, 256, 0..100), part(&noise, 256, 100..256)];
        assert_eq!([parts[0].dropout.clone(), parts[1].dropout.clone()].concat(), noise.dropout);
        assert_eq!(parts[1].drop_path[2], noise.drop_path[2][100..]);
    }
}
