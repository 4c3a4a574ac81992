//! Marks on ffmpeg's standard error, by which the index and time of each frame are known.

use std::time::{SystemTime, UNIX_EPOCH};

/// The marks of one ffmpeg process: pairs of lines that the `metadata` filter prints for each frame that passes, such
/// as `frame:12 pts:400000 pts_time:0.4` and `key=1`.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    /// A name that the maker of a file cannot know, so that text in a file is never taken for the time of a frame.
    key: String,
    first_line: Option<(u64, Option<i64>)>,
}

/// The mark of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Number of frames that passed the filter before this one.
    pub(crate) index: u64,
    /// Presentation time in microseconds, if the frame has one.
    pub(crate) time: Option<i64>,
    /// Number of the filter that printed the mark.
    pub(crate) filter: usize,
}

/// The kind of a line of standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    /// The first line of a mark.
    Begun,
    /// The second line of a mark.
    Complete(Mark),
    /// Something else, such as a message of ffmpeg.
    Message,
}

impl Marks {
    /// Chooses a name for the marks of a process.
    pub(crate) fn new() -> Self {
        use std::hash::{BuildHasher, RandomState};
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { key: format!("deepsight{:016x}", RandomState::new().hash_one(now)), first_line: None }
    }

    /// Returns the filters that print a mark for each frame, for times in microseconds.
    pub(crate) fn filters(&self, filter: usize) -> String {
        let key = &self.key;
        format!(
            "metadata=mode=add:key={key}:value={filter},\
             metadata=mode=print:key={key}:file='pipe\\:2':direct=1"
        )
    }

    /// Reads a line of standard error.
    pub(crate) fn read(&mut self, line: &[u8]) -> Line {
        let Ok(line) = std::str::from_utf8(line) else { return Line::Message };
        if let Some(first_line) = parse_first_line(line) {
            self.first_line = Some(first_line);
            return Line::Begun;
        }
        let named = |(name, value): (&str, &str)| name.ends_with(&self.key).then(|| value.parse().ok()).flatten();
        match line.rsplit_once('=').and_then(named).zip(self.first_line) {
            Some((filter, (index, time))) => {
                self.first_line = None;
                Line::Complete(Mark { index, time, filter })
            }
            None => Line::Message,
        }
    }
}

/// Parses the line with the index and time of a frame. It may begin with a message of ffmpeg that did not end its line.
fn parse_first_line(line: &str) -> Option<(u64, Option<i64>)> {
    let mut words = line.rsplit_once("frame:")?.1.split_whitespace();
    let index = words.next()?.parse().ok()?;
    let time = words.next()?.strip_prefix("pts:")?.parse().ok();
    words.next()?.strip_prefix("pts_time:")?;
    Some((index, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_a_file_is_not_taken_for_the_time_of_a_frame() {
        let mut marks = Marks { key: "deepsight42".into(), first_line: None };
        assert_eq!(marks.read(b"[mov] pts:1"), Line::Message);
        assert_eq!(marks.read(b"frame:7    pts:99      pts_time:0.000099"), Line::Begun);
        assert_eq!(marks.read(b"deepsight41=1"), Line::Message);
        assert_eq!(marks.read(b"frame:0    pts:40000   pts_time:0.04"), Line::Begun);
        let mark = |index, time, filter| Line::Complete(Mark { index, time: Some(time), filter });
        assert_eq!(marks.read(b"deepsight42=1"), mark(0, 40_000, 1));
        assert_eq!(marks.read(b"half a message frame:1    pts:80000   pts_time:0.08"), Line::Begun);
        assert_eq!(marks.read(b"half a message deepsight42=3"), mark(1, 80_000, 3));
        assert_eq!(marks.read(b"deepsight42=1"), Line::Message);
    }
}
