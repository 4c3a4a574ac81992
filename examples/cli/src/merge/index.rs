//! The position of each clip's line in the files of a run.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek};
use std::path::PathBuf;

use deepsight_core::Verdict;

use crate::shards::{ClipList, ClipOutcome, Header, Shard, ShardError, ShardLine, Tally, differences, header, scan};

/// Limit on the number of open files; a system may allow a process no more than 256.
const OPEN: usize = 128;

/// The file and offset of each clip's line. Needs a few bytes per clip, whatever the length of the lines.
#[derive(Debug)]
pub struct Index {
    files: Vec<PathBuf>,
    shards: u32,
    places: Vec<Option<Place>>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    file: u32,
    offset: u64,
    verdict: Option<Verdict>,
}

/// The error when files cannot be merged. Every message is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// A folder has no files of shards.
    #[error("{} contains no file of a shard, such as reports-00000-of-00008.jsonl", path.display())]
    NoShards {
        /// The folder.
        path: PathBuf,
    },
    /// All files are empty.
    #[error("{} and all other files are empty", path.display())]
    Empty {
        /// The first file.
        path: PathBuf,
    },
    /// Two files divide the clips into different numbers of shards.
    #[error(
        "{} is one of {of} shards, {} one of {other_of}; give the files of one run",
        path.display(),
        other.display()
    )]
    OtherDivision {
        /// The first file.
        path: PathBuf,
        /// Its number of shards.
        of: u32,
        /// A file with another number of shards.
        other: PathBuf,
        /// The other number of shards.
        other_of: u32,
    },
    /// Two files were made with different settings.
    #[error("{} was made with other settings than {}: {differences}", other.display(), path.display())]
    OtherSettings {
        /// The first file.
        path: PathBuf,
        /// A file that is different.
        other: PathBuf,
        /// Each difference with both values.
        differences: String,
    },
    /// Two files are of the same shard.
    #[error("{} and {} are the same shard", path.display(), other.display())]
    SameShard {
        /// The first file.
        path: PathBuf,
        /// The second.
        other: PathBuf,
    },
    /// The manifest lists other clips.
    #[error(
        "the manifest differs from that of {}: it has {given} clips and the other {clips}, or the clips or their \
         order differ",
        path.display()
    )]
    OtherClips {
        /// The first file.
        path: PathBuf,
        /// Number of clips in the given manifest.
        given: usize,
        /// Number of clips in the shards' manifest.
        clips: usize,
    },
    /// A file cannot be read or parsed.
    #[error(transparent)]
    Shard(#[from] ShardError),
}

impl Index {
    /// Reads all files, and checks that they are of one run.
    ///
    /// # Errors
    /// Returns an error if they are not, if a line is invalid or of a clip of another shard, or if a clip has two
    /// verdicts.
    pub fn read(files: &[PathBuf], manifest: Option<&ClipList>) -> Result<Self, MergeError> {
        let headers = headers(files)?;
        let Some((first, header)) = headers.first() else {
            let path = files.first().cloned().unwrap_or_default();
            return Err(MergeError::Empty { path });
        };
        belong_together(&headers)?;
        if let Some(manifest) = manifest
            && (manifest.len(), manifest.sha256()) != (header.clips, header.clips_sha256.clone())
        {
            return Err(MergeError::OtherClips { path: first.clone(), given: manifest.len(), clips: header.clips });
        }
        let mut index = Self {
            files: headers.iter().map(|(path, _)| path.clone()).collect(),
            shards: header.of,
            places: vec![None; header.clips],
        };
        for (file, (path, header)) in (0..).zip(&headers) {
            let of = |reason| ShardError::Line { path: path.clone(), line: 1, reason };
            let shard = Shard::new(header.shard, header.of).map_err(of)?;
            scan(path, |line, offset| index.enter(shard, file, line, offset))?;
        }
        Ok(index)
    }

    fn enter(&mut self, shard: Shard, file: u32, line: ShardLine, offset: u64) -> Result<(), String> {
        let place = self.places.get_mut(line.position).filter(|_| shard.has(line.position));
        let place = place.ok_or_else(|| format!("{:?} is not clip {} of this shard", line.file, line.position))?;
        if place.is_some_and(|earlier| earlier.verdict.is_some()) {
            return Err(format!("{:?} had its verdict before", line.file));
        }
        let verdict = match line.outcome {
            ClipOutcome::Report(report) => Some(report.verdict),
            ClipOutcome::Error(_) => None,
        };
        *place = Some(Place { file, offset, verdict });
        Ok(())
    }

    /// Returns the number of clips.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns whether there are no clips.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns the number of shards.
    pub fn shards(&self) -> usize {
        self.shards as usize
    }

    /// Returns the positions of the clips without a line.
    pub fn missing(&self) -> Vec<usize> {
        (0..self.len()).filter(|&position| self.places[position].is_none()).collect()
    }

    /// Counts the clips by verdict and failure.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally { of: self.len(), ..Tally::default() };
        self.places.iter().flatten().for_each(|place| tally.add(place.verdict));
        tally
    }

    /// Returns an iterator over the lines of the clips, in the order of the clips, with line breaks. It reads them from
    /// the files again, one by one.
    pub fn lines(&self) -> impl Iterator<Item = Result<(Vec<u8>, ShardLine), ShardError>> {
        let mut open = BTreeMap::new();
        self.places.iter().flatten().map(move |place| {
            if open.len() > OPEN {
                open.clear();
            }
            self.read_line(place, &mut open)
        })
    }

    fn read_line(
        &self,
        place: &Place,
        open: &mut BTreeMap<u32, BufReader<File>>,
    ) -> Result<(Vec<u8>, ShardLine), ShardError> {
        let path = &self.files[place.file as usize];
        let reader = match open.entry(place.file) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(closed) => closed.insert(BufReader::new(File::open(path).map_err(ShardError::read(path))?)),
        };
        // Most lines of a file are in order, so the next one is already in the buffer; a relative seek keeps the
        // buffer.
        let here = reader.stream_position().map_err(ShardError::read(path))?;
        let distance = place.offset.wrapping_sub(here) as i64;
        let mut bytes = Vec::new();
        let read = reader.seek_relative(distance).and_then(|()| reader.read_until(b'\n', &mut bytes));
        read.map_err(ShardError::read(path))?;
        match serde_json::from_slice(&bytes) {
            Ok(line) => Ok((bytes, line)),
            Err(_) => Err(ShardError::Changed { path: path.clone() }),
        }
    }
}

/// Returns the header of each file that is not empty. A run that was killed early may leave an empty file.
fn headers(files: &[PathBuf]) -> Result<Vec<(PathBuf, Header)>, ShardError> {
    let header = |path: &PathBuf| Ok(header(path)?.map(|header| (path.clone(), header)));
    files.iter().filter_map(|path| header(path).transpose()).collect()
}

fn belong_together(headers: &[(PathBuf, Header)]) -> Result<(), MergeError> {
    let (path, first) = &headers[0];
    let (path, mut shards) = (path.clone(), BTreeMap::new());
    for (other, header) in headers {
        if header.of != first.of {
            return Err(MergeError::OtherDivision { path, of: first.of, other: other.clone(), other_of: header.of });
        }
        if let Some(differences) = differences(&first.common(), &header.common()) {
            return Err(MergeError::OtherSettings { path, other: other.clone(), differences });
        }
        if let Some(path) = shards.insert(header.shard, other.clone()) {
            return Err(MergeError::SameShard { path, other: other.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;
    use crate::shards::Settings;

    struct ShardFolder {
        folder: tempfile::TempDir,
        clips: ClipList,
    }

    impl ShardFolder {
        fn new(clips: usize) -> Self {
            let clips: Vec<PathBuf> = (0..clips).map(|number| format!("{number}.mp4").into()).collect();
            Self { folder: tempfile::tempdir().unwrap(), clips: ClipList::of(&clips).unwrap() }
        }

        /// Writes a shard's file. Its lines are failures of the clips at these positions, with these messages.
        fn shard(&self, name: &str, shard: &str, frames: u64, lines: &[(usize, &str)]) -> PathBuf {
            let settings = Settings::from_iter([("frames".to_owned(), frames.into())]);
            let header = Header::new(shard.parse().unwrap(), &self.clips, settings);
            let mut text = serde_json::to_string(&header).unwrap() + "\n";
            for (position, error) in lines {
                text += &format!("{{\"position\":{position},\"file\":\"{position}.mp4\",\"error\":\"{error}\"}}\n");
            }
            let path = self.folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    fn errors(index: &Index) -> Vec<String> {
        let error = |line: ShardLine| match line.outcome {
            ClipOutcome::Error(error) => error,
            ClipOutcome::Report(_) => unreachable!("all of these failed"),
        };
        index.lines().map(|line| error(line.unwrap().1)).collect()
    }

    #[test]
    fn lines_come_in_the_order_of_the_clips_from_however_many_files() {
        // More files than may be open at a time, each with lines in another order.
        let run = ShardFolder::new(450);
        let mut files = Vec::new();
        for shard in 0..150 {
            let lines = [(shard + 300, "c"), (shard, "a"), (shard + 150, "b")];
            files.push(run.shard(&shard.to_string(), &format!("{shard}/150"), 30, &lines));
        }
        let index = Index::read(&files, Some(&run.clips)).unwrap();
        assert_eq!(errors(&index).concat(), ["a", "b", "c"].map(|error| error.repeat(150)).concat());
        assert_eq!((index.missing().len(), index.tally().failed), (0, 450));
    }

    #[test]
    fn the_last_line_of_a_clip_counts_and_half_a_line_does_not() {
        let run = ShardFolder::new(4);
        let first = run.shard("first", "0/2", 30, &[(0, "before"), (2, "x"), (0, "after")]);
        let second = run.shard("second", "1/2", 30, &[(1, "y"), (3, "z")]);
        let text = fs::read(&second).unwrap();
        fs::write(&second, &text[..text.len() - 1]).unwrap();
        let index = Index::read(&[first, second], None).unwrap();
        assert_eq!(errors(&index), ["after", "y", "x"]);
        assert_eq!(index.missing(), [3]);
    }

    #[test]
    fn a_clip_has_one_verdict() {
        let run = ShardFolder::new(1);
        let file = run.shard("first", "0/1", 30, &[(0, "x")]);
        let report = concat!(
            r#"{"input":{"path":"0"},"verdict":"REAL","tracks":[{"scored":3},{"scored":2}],"#,
            r#""seconds":{"decode":1,"detect":1,"classify":1,"total":2}}"#
        );
        let line = format!("{{\"position\":0,\"file\":\"0.mp4\",\"frames\":7,\"report\":{report}}}\n");
        let text = fs::read_to_string(&file).unwrap() + &line;
        fs::write(&file, &text).unwrap();
        let index = Index::read(std::slice::from_ref(&file), None).unwrap();
        let row: crate::merge::Row = index.lines().next().unwrap().unwrap().1.into();
        assert_eq!((row.verdict.as_deref(), row.faces, row.persons), (Some("REAL"), Some(5), Some(2)));
        assert_eq!((row.frames, row.seconds, row.fake_probability, row.width), (Some(7), Some(2.0), None, None));
        fs::write(&file, text + &line).unwrap();
        let message = Index::read(&[file], None).unwrap_err().to_string();
        assert!(message.ends_with("line 4: \"0.mp4\" had its verdict before"), "{message}");
    }

    #[test]
    fn an_empty_file_is_a_shard_without_lines() {
        let run = ShardFolder::new(2);
        let empty = run.folder.path().join("empty");
        fs::write(&empty, "").unwrap();
        let message = Index::read(std::slice::from_ref(&empty), None).unwrap_err().to_string();
        assert!(message.ends_with("empty and all other files are empty"), "{message}");
        let first = run.shard("first", "0/2", 30, &[(0, "x")]);
        assert_eq!(Index::read(&[empty, first], None).unwrap().missing(), [1]);
    }

    #[test]
    fn files_of_different_runs_are_named_with_the_reason() {
        let run = ShardFolder::new(4);
        let first = run.shard("first", "0/2", 30, &[(0, "x")]);
        let refused = |other: PathBuf, part: &str| {
            let error = Index::read(&[first.clone(), other], None).unwrap_err();
            let message = deepsight_core::with_causes(&error);
            assert!(message.contains(part) && message.lines().count() == 1, "{message}");
        };
        refused(run.shard("other", "1/2", 20, &[]), "other was made with other settings than");
        refused(run.shard("other", "1/2", 20, &[]), "first: frames was 30 and is 20");
        refused(run.shard("other", "1/3", 30, &[]), "first is one of 2 shards, ");
        refused(run.shard("other", "0/2", 30, &[]), "are the same shard");
        refused(run.shard("other", "1/2", 30, &[(2, "x")]), "line 2: \"2.mp4\" is not clip 2 of this shard");
        refused(run.shard("other", "1/2", 30, &[(5, "x")]), "line 2: \"5.mp4\" is not clip 5 of this shard");
        let other = ShardFolder::new(5);
        refused(other.shard("other", "1/2", 30, &[]), "clips was 4 and is 5, clips_sha256 was");
        let message = Index::read(std::slice::from_ref(&first), Some(&other.clips)).unwrap_err().to_string();
        assert!(message.contains("it has 5 clips and the other 4"), "{message}");
    }
}
