/// The transformation that makes coded pictures upright: they are mirrored left to right first, then rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Orientation {
    pub(crate) mirrored: bool,
    /// Clockwise quarter turns, 0 to 3.
    pub(crate) quarter_turns: u32,
}

impl Orientation {
    /// Parses the container's 3 × 3 display matrix as ffprobe prints it. Angles are rounded to the nearest quarter
    /// turn.
    ///
    /// The matrix `[a b u; c d v; x y w]` takes a point (p, q) to (ap + cq + x, bp + dq + y), q downwards (ISO/IEC
    /// 14496-12, 8.3.2).
    pub(crate) fn from_display_matrix(text: &str) -> Self {
        let numbers = |line: &str| -> Option<(f64, f64)> {
            let mut numbers = line.split_once(':')?.1.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        };
        let mut rows = text.lines().filter_map(numbers);
        let (Some((a, b)), Some((c, d))) = (rows.next(), rows.next()) else {
            return Self::default();
        };
        let mirrored = a * d - b * c < 0.0;
        // Without the mirror, the matrix is a rotation by the angle of the first axis.
        let (a, b) = if mirrored { (-a, -b) } else { (a, b) };
        let quarter_turns = (b.atan2(a).to_degrees() / 90.0).round().rem_euclid(4.0) as u32;
        Self { mirrored, quarter_turns }
    }

    /// Returns this orientation with further clockwise quarter turns after it.
    pub(crate) fn turned(self, quarter_turns: u32) -> Self {
        Self { quarter_turns: (self.quarter_turns + quarter_turns % 4) % 4, ..self }
    }

    pub(crate) fn swaps_sides(self) -> bool {
        self.quarter_turns % 2 == 1
    }

    /// Returns the ffmpeg filters that apply the orientation, each with a leading comma.
    pub(crate) fn filters(self) -> String {
        let mirror = if self.mirrored { ",hflip" } else { "" };
        let turn = ["", ",transpose=clock", ",hflip,vflip", ",transpose=cclock"][self.quarter_turns as usize % 4];
        format!("{mirror}{turn}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(a: i32, b: i32, c: i32, d: i32) -> (bool, u32) {
        let text = format!("\n00000000: {a} {b} 0\n00000001: {c} {d} 0\n00000002: 0 0 1073741824\n");
        let Orientation { mirrored, quarter_turns } = Orientation::from_display_matrix(&text);
        (mirrored, quarter_turns)
    }

    #[test]
    fn the_eight_orientations_are_told_apart() {
        let one = 65536;
        assert_eq!(of(one, 0, 0, one), (false, 0));
        assert_eq!(of(0, one, -one, 0), (false, 1));
        assert_eq!(of(-one, 0, 0, -one), (false, 2));
        assert_eq!(of(0, -one, one, 0), (false, 3));
        assert_eq!(of(-one, 0, 0, one), (true, 0));
        assert_eq!(of(0, -one, -one, 0), (true, 1));
        assert_eq!(of(one, 0, 0, -one), (true, 2));
        assert_eq!(of(0, one, one, 0), (true, 3));
    }

    #[test]
    fn an_invalid_matrix_turns_nothing() {
        assert_eq!(of(0, 0, 0, 0), (false, 0));
        for text in ["", "\n", "00000000:", "00000000: 1 2\n", "a: b c\nd: e f"] {
            assert_eq!(Orientation::from_display_matrix(text), Orientation::default(), "{text:?}");
        }
    }

    #[test]
    fn slanted_pictures_are_turned_to_the_nearest_quarter() {
        assert_eq!(of(60000, 20000, -20000, 60000), (false, 0));
        assert_eq!(of(20000, 60000, -60000, 20000), (false, 1));
    }
}
