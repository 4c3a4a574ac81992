//! The file of a shard.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use deepsight_core::files::Locked;
use deepsight_core::{Report, Verdict};

use super::line::encode;
use super::{ClipList, ClipOutcome, Header, SCHEMA, Shard, ShardError, ShardLine, Tally, differences};

/// Longest time before lines are synced to the disk. A killed process loses no line; a machine that fails may.
const SYNC: Duration = Duration::from_secs(10);

/// A shard's file, open for appending and locked against other processes.
#[derive(Debug)]
pub(crate) struct ShardFile {
    path: PathBuf,
    file: Locked,
    positions: Vec<usize>,
    /// The verdict of each finished clip; `None` if it failed.
    done: BTreeMap<usize, Option<Verdict>>,
    synced: Instant,
}

impl ShardFile {
    /// Opens the file of a shard in a folder, or creates it. Cuts off the incomplete line of a killed run; with
    /// `restart` truncates the whole file.
    ///
    /// # Errors
    /// Returns an error if another run writes the file, if it was made with other settings or of other clips, or if it
    /// cannot be read or written.
    pub(crate) fn open(folder: &Path, header: &Header, clips: &ClipList, restart: bool) -> Result<Self, ShardError> {
        let shard = Shard::new(header.shard, header.of).map_err(|reason| ShardError::Line {
            path: folder.to_owned(),
            line: 1,
            reason,
        })?;
        let path = folder.join(shard.file_name());
        let opened = File::options().read(true).append(true).create(true).open(&path);
        let file = lock(opened.map_err(ShardError::write(&path))?, &path)?;
        if restart {
            file.set_len(0).map_err(ShardError::write(&path))?;
        }
        let mut done = BTreeMap::new();
        let (before, whole) = scan(&path, |line, _| {
            let position = line.position;
            let known = shard.has(position) && position < clips.len() && clips.file(position) == line.file;
            if !known {
                return Err(format!("{:?} is not clip {position} of this shard", line.file));
            }
            let verdict = match line.outcome {
                ClipOutcome::Report(report) => Some(report.verdict),
                ClipOutcome::Error(_) => None,
            };
            match done.insert(position, verdict) {
                Some(Some(_)) => Err(format!("{:?} had its verdict before", line.file)),
                _ => Ok(()),
            }
        })?;
        let length = file.metadata().map_err(ShardError::read(&path))?.len();
        if whole < length {
            file.set_len(whole).map_err(ShardError::write(&path))?;
        }
        let positions = shard.positions(clips.len()).collect();
        let shard_file = Self { path, file, positions, done, synced: Instant::now() };
        let mut line = serde_json::to_vec(header).map_err(|error| shard_file.failed(error.into()))?;
        match before {
            None => {
                line.push(b'\n');
                shard_file.append(&line)?;
            }
            Some(before) => {
                // Parses the header again, because numbers with many digits may change when they are written and read.
                let header = parse_header(&line).map_err(|reason| ShardError::Line {
                    path: shard_file.path.clone(),
                    line: 1,
                    reason,
                })?;
                if let Some(differences) = differences(&before.common(), &header.common()) {
                    return Err(ShardError::OtherSettings { path: shard_file.path.clone(), differences });
                }
            }
        }
        Ok(shard_file)
    }

    /// Returns the positions of the unfinished clips; with `retry_failed` also those of the clips that failed.
    pub(crate) fn open_clips(&self, retry_failed: bool) -> Vec<usize> {
        let open = |position: &usize| match self.done.get(position) {
            None => true,
            Some(verdict) => verdict.is_none() && retry_failed,
        };
        self.positions.iter().copied().filter(open).collect()
    }

    /// Counts the shard's clips by verdict and failure.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally { of: self.positions.len(), ..Tally::default() };
        self.done.values().for_each(|&verdict| tally.add(verdict));
        tally
    }

    /// Appends the line of a clip.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub(crate) fn finish(
        &mut self,
        position: usize,
        file: &str,
        mut outcome: Result<Report, String>,
        brief: bool,
    ) -> Result<(), ShardError> {
        let line = encode(position, file, &mut outcome, brief).map_err(|error| self.failed(error.into()))?;
        self.append(&line)?;
        self.done.insert(position, outcome.ok().map(|report| report.verdict));
        if self.synced.elapsed() >= SYNC {
            self.sync()?;
        }
        Ok(())
    }

    /// Waits until the disk has all lines.
    ///
    /// # Errors
    /// Returns an error if the system cannot write them.
    pub(crate) fn sync(&mut self) -> Result<(), ShardError> {
        self.file.sync_data().map_err(|error| self.failed(error))?;
        self.synced = Instant::now();
        Ok(())
    }

    /// Writes the line with one call, so that a killed run leaves at most one incomplete line.
    fn append(&self, line: &[u8]) -> Result<(), ShardError> {
        (&*self.file).write_all(line).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: std::io::Error) -> ShardError {
        ShardError::write(&self.path)(error)
    }
}

/// Reads a shard's file line by line. Passes each line and the offset of its first byte to `each`. Returns the header,
/// if there is one, and the offset at which the last complete line ends.
///
/// # Errors
/// Returns an error if the file cannot be read, if a line is invalid, or if `each` refuses a line.
pub(crate) fn scan(
    path: &Path,
    mut each: impl FnMut(ShardLine, u64) -> Result<(), String>,
) -> Result<(Option<Header>, u64), ShardError> {
    let file = File::open(path).map_err(ShardError::read(path))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut header, mut text, mut end) = (None, Vec::new(), 0);
    for number in 1.. {
        text.clear();
        let length = reader.read_until(b'\n', &mut text).map_err(ShardError::read(path))?;
        if text.pop() != Some(b'\n') {
            break;
        }
        let wrong = |reason| ShardError::Line { path: path.to_owned(), line: number, reason };
        if header.is_none() {
            header = Some(parse_header(&text).map_err(wrong)?);
        } else {
            let line =
                serde_json::from_slice(&text).map_err(|error| wrong(format!("not the line of a clip: {error}")))?;
            each(line, end).map_err(wrong)?;
        }
        end += length as u64;
    }
    Ok((header, end))
}

/// Reads the header of a shard's file, if it has one.
///
/// # Errors
/// Returns an error if the file cannot be read, or if its first line is not a header.
pub(crate) fn header(path: &Path) -> Result<Option<Header>, ShardError> {
    let file = File::open(path).map_err(ShardError::read(path))?;
    let mut line = Vec::new();
    BufReader::new(file).read_until(b'\n', &mut line).map_err(ShardError::read(path))?;
    if line.pop() != Some(b'\n') {
        return Ok(None);
    }
    let wrong = |reason| ShardError::Line { path: path.to_owned(), line: 1, reason };
    parse_header(&line).map(Some).map_err(wrong)
}

fn parse_header(line: &[u8]) -> Result<Header, String> {
    let header: Header = serde_json::from_slice(line).map_err(|error| format!("not the header of a shard: {error}"))?;
    if header.schema != SCHEMA {
        return Err(format!("schema {} is not known, only {SCHEMA}", header.schema));
    }
    Ok(header)
}

fn lock(file: File, path: &Path) -> Result<Locked, ShardError> {
    Locked::new(file).map_err(|error| match error {
        TryLockError::WouldBlock => ShardError::Busy { path: path.to_owned() },
        TryLockError::Error(error) => ShardError::write(path)(error),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::shards::Settings;

    struct Fixture {
        folder: tempfile::TempDir,
        clips: ClipList,
    }

    impl Fixture {
        fn new() -> Self {
            let clips: Vec<PathBuf> = (0..6).map(|number| format!("{number}.mp4").into()).collect();
            Self { folder: tempfile::tempdir().unwrap(), clips: ClipList::of(&clips).unwrap() }
        }

        fn header(&self, frames: u64) -> Header {
            let settings = Settings::from_iter([("frames".to_owned(), frames.into())]);
            Header::new(Shard::new(1, 2).unwrap(), &self.clips, settings)
        }

        fn open(&self, restart: bool) -> Result<ShardFile, ShardError> {
            ShardFile::open(self.folder.path(), &self.header(30), &self.clips, restart)
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("reports-00001-of-00002.jsonl")
        }
    }

    fn failed(file: &mut ShardFile, position: usize) {
        file.finish(position, &format!("{position}.mp4"), Err("broken".into()), false).unwrap();
    }

    #[test]
    fn the_next_run_knows_the_finished_clips_wherever_in_a_line_the_last_was_killed() {
        let fixture = Fixture::new();
        let mut file = fixture.open(false).unwrap();
        failed(&mut file, 1);
        failed(&mut file, 3);
        drop(file);
        let bytes = std::fs::read(fixture.path()).unwrap();
        let ends: Vec<usize> = (0..bytes.len()).filter(|&at| bytes[at] == b'\n').map(|at| at + 1).collect();
        for cut in 0..bytes.len() {
            std::fs::write(fixture.path(), &bytes[..cut]).unwrap();
            let mut file = fixture.open(false).unwrap();
            let whole = ends.iter().filter(|&&end| end <= cut).count();
            let expected: &[usize] = [&[][..], &[], &[1], &[1, 3]][whole];
            assert_eq!(file.open_clips(true), [1, 3, 5], "{cut} bytes");
            assert_eq!(file.done.keys().copied().collect::<Vec<_>>(), expected, "{cut} bytes");
            for position in [1, 3].into_iter().skip(expected.len()) {
                failed(&mut file, position);
            }
            drop(file);
            assert_eq!(std::fs::read(fixture.path()).unwrap(), bytes, "{cut} bytes");
        }
    }

    #[test]
    fn other_settings_and_other_clips_are_refused_and_named_without_a_restart() {
        let mut fixture = Fixture::new();
        failed(&mut fixture.open(false).unwrap(), 5);
        let open = |fixture: &Fixture, restart| {
            ShardFile::open(fixture.folder.path(), &fixture.header(20), &fixture.clips, restart)
        };
        let message = open(&fixture, false).unwrap_err().to_string();
        assert!(message.ends_with("made with other settings: frames was 30 and is 20"), "{message}");
        assert!(open(&fixture, true).unwrap().done.is_empty());
        fixture.clips = ClipList::of(&["a.mp4", "b.mp4"].map(PathBuf::from)).unwrap();
        let message = open(&fixture, false).unwrap_err().to_string();
        assert!(message.contains("clips was 6 and is 2, clips_sha256 was"), "{message}");
    }

    #[test]
    fn two_runs_do_not_write_one_shard() {
        let fixture = Fixture::new();
        let first = fixture.open(false).unwrap();
        for restart in [false, true] {
            let message = fixture.open(restart).unwrap_err().to_string();
            assert!(message.ends_with("reports-00001-of-00002.jsonl: another run is writing it"), "{message}");
        }
        drop(first);
        fixture.open(false).unwrap();
    }

    #[test]
    fn a_line_of_another_shard_is_refused_by_its_number() {
        let fixture = Fixture::new();
        drop(fixture.open(false).unwrap());
        let header = std::fs::read_to_string(fixture.path()).unwrap();
        for (line, part) in [
            (r#"{"position":1,"file":"1.mp4"}"#, "line 2: not the line of a clip"),
            (r#"{"position":2,"file":"2.mp4","error":"x"}"#, "line 2: \"2.mp4\" is not clip 2 of this shard"),
            (r#"{"position":1,"file":"3.mp4","error":"x"}"#, "line 2: \"3.mp4\" is not clip 1 of this shard"),
            (r#"{"position":7,"file":"7.mp4","error":"x"}"#, "line 2: \"7.mp4\" is not clip 7 of this shard"),
            ("", "line 2: not the line of a clip"),
        ] {
            std::fs::write(fixture.path(), format!("{header}{line}\n")).unwrap();
            let message = fixture.open(false).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        std::fs::write(fixture.path(), "{}\n").unwrap();
        let message = fixture.open(false).unwrap_err().to_string();
        assert!(message.contains("line 1: not the header of a shard"), "{message}");
        std::fs::write(fixture.path(), header.replace("\"schema\":1", "\"schema\":2")).unwrap();
        let message = fixture.open(false).unwrap_err().to_string();
        assert!(message.contains("schema 2 is not known"), "{message}");
    }

    #[test]
    fn a_failure_that_is_tried_again_counts_by_its_last_line() {
        let fixture = Fixture::new();
        let mut file = fixture.open(false).unwrap();
        failed(&mut file, 1);
        failed(&mut file, 1);
        drop(file);
        let file = fixture.open(false).unwrap();
        assert_eq!((file.open_clips(false), file.open_clips(true)), (vec![3, 5], vec![1, 3, 5]));
        assert_eq!(file.tally().to_string(), "1 of 3 clips: 0 FAKE, 0 REAL, 0 UNCERTAIN; 1 failed");
    }
}
