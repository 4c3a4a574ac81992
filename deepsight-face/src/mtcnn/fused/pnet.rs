use deepsight_kernels::{AreaResize, Convolution, InstructionSet, MaxPool, Pointwise};
use image::RgbImage;

use super::layers::{Loader, first};
use crate::{
    Error,
    mtcnn::{
        networks::{CONTRAST, MIDDLE, Output},
        pyramid::{Level, Tile},
        weights::Weights,
    },
    resample::whole,
};

/// Rows of windows that go through all layers at once. Little more than these rows of each layer is in memory at once.
const BAND: usize = 8;
/// Channels of the first convolution, without the padding to whole vectors.
const CHANNELS: usize = 10;

/// The proposal network, which slides a 12 × 12 window with stride 2 over a level of the image pyramid.
pub(super) struct FusedPNet {
    set: InstructionSet,
    conv1: Convolution,
    pool: MaxPool,
    conv2: Convolution,
    conv3: Convolution,
    /// Logits of no face and face, then four shifts.
    heads: Pointwise,
}

/// The buffers in which a tile is computed.
pub(super) struct TileBuffers {
    resize: AreaResize,
    pixels: Lines,
    convolved: Vec<f32>,
    pooled: Lines,
    second: Lines,
    third: Vec<f32>,
    answers: Vec<f32>,
}

impl FusedPNet {
    pub(super) fn load(set: InstructionSet, weights: &Weights) -> Result<Self, Error> {
        let loader = Loader { set, weights, network: "pnet" };
        Ok(Self {
            set,
            conv1: loader.convolution(1, [3, CHANNELS], 3)?,
            pool: MaxPool::new(set, 2),
            conv2: loader.convolution(2, [CHANNELS, 16], 3)?,
            conv3: loader.convolution(3, [16, 32], 3)?,
            heads: loader.heads(&[("conv4_1", 2), ("conv4_2", 4)], 32, &[1, 1])?,
        })
    }

    pub(super) fn buffers(&self) -> TileBuffers {
        TileBuffers {
            resize: AreaResize::new(self.set, MIDDLE, CONTRAST),
            pixels: Lines::default(),
            convolved: Vec::new(),
            pooled: Lines::default(),
            second: Lines::default(),
            third: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Runs P-Net on a tile. Calls `take` for every window with its column and row in the tile, and its output.
    pub(super) fn forward(
        &self,
        image: &RgbImage,
        level: &Level,
        tile: &Tile,
        buffers: &mut TileBuffers,
        mut take: impl FnMut(usize, usize, Output<4>),
    ) {
        let TileBuffers { resize, pixels, convolved, pooled, second, third, answers } = buffers;
        let (width, height) = (tile.pixels.width, tile.pixels.height);
        let across = self.conv1.output_size(width);
        let halved = self.pool.output_size(across);
        let narrow = self.conv2.output_size(halved);
        let pitch = self.conv1.outputs();
        let (columns, rows) = (tile.cells.width, tile.cells.height);
        resize.plan(whole(image), (level.width, level.height), tile.pixels.x..tile.pixels.x + width);
        pixels.clear(3 * width);
        pooled.clear(CHANNELS * halved);
        second.clear(self.conv2.outputs() * narrow);
        let third = first(third, self.conv3.outputs() * columns);
        let answers = first(answers, self.heads.outputs() * columns);

        for start in (0..rows).step_by(BAND) {
            let end = rows.min(start + BAND);
            // One row of windows needs three rows of the second convolution. These need five rows of the pool, and
            // those twelve rows of pixels (eleven at the border, where the pool's window extends beyond it).
            let (pooled_end, second_end) = (end + 4, end + 2);
            let pixels_end = height.min(2 * pooled_end + 2);
            pixels.drop_before(2 * pooled.end);
            let wanted = tile.pixels.y + pixels.end..tile.pixels.y + pixels_end;
            let more = pixels.add(pixels_end - pixels.end);
            resize.rows(image.as_raw(), image.width() as usize, wanted, more);

            pooled.drop_before(second.end);
            while pooled.end < pooled_end {
                let top = 2 * pooled.end;
                let convolved = first(convolved, 2.min(height - 2 - top) * across * pitch);
                self.conv1.forward(pixels.from(top), width, convolved);
                self.pool.forward(convolved, across, pitch, CHANNELS, pooled.add(1));
            }

            let done = second.end;
            second.drop_before(start);
            self.conv2.forward(pooled.from(done), halved, second.add(second_end - done));

            for row in start..end {
                self.conv3.forward(second.from(row), narrow, third);
                self.heads.forward(third, None, answers);
                for (column, answer) in answers.chunks_exact(self.heads.outputs()).enumerate() {
                    let output =
                        Output { logits: [answer[0], answer[1]], values: [answer[2], answer[3], answer[4], answer[5]] };
                    take(column, row, output);
                }
            }
        }
    }
}

/// The newest rows of a layer. Rows are added at the bottom and dropped at the top.
#[derive(Default)]
struct Lines {
    values: Vec<f32>,
    /// Number of values in a row.
    length: usize,
    /// Number of the first row in `values`.
    start: usize,
    /// Number of the row that will be added next.
    end: usize,
}

impl Lines {
    fn clear(&mut self, length: usize) {
        (self.length, self.start, self.end) = (length, 0, 0);
    }

    fn drop_before(&mut self, row: usize) {
        let row = row.min(self.end);
        if row > self.start {
            self.values.copy_within((row - self.start) * self.length..(self.end - self.start) * self.length, 0);
            self.start = row;
        }
    }

    /// Adds `count` rows and returns them, to be filled.
    fn add(&mut self, count: usize) -> &mut [f32] {
        let old = (self.end - self.start) * self.length;
        self.end += count;
        &mut first(&mut self.values, old + count * self.length)[old..]
    }

    /// Returns all rows from `row` on.
    fn from(&self, row: usize) -> &[f32] {
        &self.values[(row - self.start) * self.length..(self.end - self.start) * self.length]
    }
}
