use crate::boxes::Region;

/// Side of P-Net's window in pixels.
const WINDOW: f64 = 12.0;

/// One size at which P-Net looks at an image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Level {
    /// Pixels of the level per pixel of the image.
    pub(super) scale: f64,
    pub(super) width: usize,
    pub(super) height: usize,
}

/// From the size at which the smallest face fills a window down to that at which the whole image does. An image smaller
/// than the smallest face has no level.
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

/// A part of a level that goes through P-Net at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tile {
    /// Its pixels in the level.
    pub(super) pixels: Region,
    /// The windows whose answers it gives, by column and row in the level.
    pub(super) cells: Region,
}

impl Level {
    /// Cuts the level up so that each window is in exactly one tile; `side` windows by `side` at most.
    ///
    /// What passes between the layers of a tile stays in the processor's cache, and the tiles of all levels can run at
    /// once. Neighbours share the ten pixels by which windows overlap.
    pub(super) fn tiles(&self, side: usize) -> Vec<Tile> {
        let mut tiles = Vec::new();
        for (y, cell_y) in spans(self.height, side) {
            for (x, cell_x) in spans(self.width, side) {
                tiles.push(Tile {
                    pixels: Region { x: x.0, y: y.0, width: x.1, height: y.1 },
                    cells: Region { x: cell_x.0, y: cell_y.0, width: cell_x.1, height: cell_y.1 },
                });
            }
        }
        tiles
    }
}

/// Start and length of each tile along one axis, in pixels and in windows.
fn spans(pixels: usize, side: usize) -> Vec<((usize, usize), (usize, usize))> {
    let cells = pixels.div_ceil(2).saturating_sub(5);
    (0..cells)
        .step_by(side)
        .map(|start| {
            let count = side.min(cells - start);
            let end = (2 * (start + count) + 10).min(pixels);
            ((2 * start, end - 2 * start), (start, count))
        })
        .collect()
}
