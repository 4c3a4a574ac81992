use deepsight_kernels::Region;

/// Side of P-Net's window in pixels.
const WINDOW: f64 = 12.0;

/// A size at which P-Net searches an image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Level {
    /// Pixels of the level per pixel of the image.
    pub(super) scale: f64,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// Returns the levels of an image's pyramid, from the size at which the smallest face fills a window down to the size
/// at which the whole image does. An image smaller than the smallest face has no level.
pub(super) fn levels(width: usize, height: usize, min_face_size: f32, factor: f64) -> Vec<Level> {
    let mut scale = WINDOW / f64::from(min_face_size);
    let mut shorter = width.min(height) as f64 * scale;
    let mut levels = Vec::new();
    while shorter >= WINDOW {
        levels.push(Level {
            scale,
            width: (width as f64 * scale + 1.0) as usize,
            height: (height as f64 * scale + 1.0) as usize,
        });
        scale *= factor;
        shorter *= factor;
    }
    levels
}

/// Returns the number of P-Net's windows along an axis of `pixels` pixels.
pub(super) fn windows(pixels: usize) -> usize {
    pixels.div_ceil(2).saturating_sub(5)
}

/// A part of a level that goes through P-Net at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tile {
    /// Pixels of the tile, in the level.
    pub(super) pixels: Region,
    /// Windows of the tile, by column and row in the level.
    pub(super) cells: Region,
}

impl Level {
    /// Cuts the level into tiles of at most `columns` × `rows` windows. Each window is in exactly one tile.
    ///
    /// The values between the layers of a tile stay in the processor's cache, and the tiles of all levels can run at
    /// once. Neighboring tiles share the ten pixels by which windows overlap.
    pub(super) fn tiles(&self, (columns, rows): (usize, usize)) -> Vec<Tile> {
        let mut tiles = Vec::new();
        for (y, cell_y) in spans(self.height, rows) {
            for (x, cell_x) in spans(self.width, columns) {
                tiles.push(Tile {
                    pixels: Region { x: x.0, y: y.0, width: x.1, height: y.1 },
                    cells: Region { x: cell_x.0, y: cell_y.0, width: cell_x.1, height: cell_y.1 },
                });
            }
        }
        tiles
    }
}

/// Returns the start and length of each tile along one axis, in pixels and in windows.
fn spans(pixels: usize, side: usize) -> Vec<((usize, usize), (usize, usize))> {
    let cells = windows(pixels);
    (0..cells)
        .step_by(side)
        .map(|start| {
            let count = side.min(cells - start);
            let end = (2 * (start + count) + 10).min(pixels);
            ((2 * start, end - 2 * start), (start, count))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tiles_hold_every_window_once_and_the_pixels_it_covers(
            width in 12usize..300, height in 12usize..300, size in (1usize..70, 1usize..70),
        ) {
            let level = Level { scale: 1.0, width, height };
            let (columns, rows) = (width.div_ceil(2) - 5, height.div_ceil(2) - 5);
            let mut seen = vec![0; columns * rows];
            for Tile { pixels, cells } in level.tiles(size) {
                prop_assert_eq!((pixels.x, pixels.y), (2 * cells.x, 2 * cells.y));
                prop_assert!(pixels.x + pixels.width <= width && pixels.y + pixels.height <= height);
                let answers = (pixels.width.div_ceil(2) - 5, pixels.height.div_ceil(2) - 5);
                prop_assert_eq!(answers, (cells.width, cells.height));
                for y in cells.y..cells.y + cells.height {
                    for x in cells.x..cells.x + cells.width {
                        seen[y * columns + x] += 1;
                    }
                }
            }
            prop_assert!(seen.iter().all(|&count| count == 1));
        }
    }

    #[test]
    fn levels_equal_those_of_the_reference() {
        let sizes = |width, height| -> Vec<_> {
            levels(width, height, 20.0, 0.709).into_iter().map(|level| (level.width, level.height)).collect()
        };
        assert_eq!(sizes(60, 40), [(37, 25), (26, 18), (19, 13)]);
        assert_eq!(sizes(20, 20), [(13, 13)]);
        assert!(sizes(19, 1000).is_empty());
    }
}
