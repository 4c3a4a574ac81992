//! Flags of `deepsight merge`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::MergeError;
use crate::analyze::AnalyzeError;
use crate::output::would_replace;
use crate::shards::{Shard, ShardError};

/// Merges the results of analyze --output-dir, from one machine or many, into one file and a table.
#[derive(Debug, Parser)]
#[command(
    name = "merge",
    after_help = "Checks that all shards are present, were made with the same settings from the same clips, and have \
one line for each clip. Writes files only if so, each completely or not at all.\n\n\
Columns of the table: file, verdict, fake_probability, faces (scored), persons, frames (searched), seconds (of the \
analysis), width, height, sha256, error, seconds_seen and share_seen (of the clip), duration (of the clip in seconds), \
segment_start, segment_end and segment_fake_probability (the most suspicious seconds). Unknown values are empty.\n\n\
Exit codes: 0 if every clip has a line, also one of a failure; 2 if a clip has none, or for bad input or usage; \
1 if writing a result fails; 130 if interrupted."
)]
pub struct Args {
    /// Files of shards, or folders that contain them
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<PathBuf>,
    /// Check that the shards were made from these clips, and list clips that are missing
    #[arg(long, value_name = "FILE")]
    pub manifest: Option<PathBuf>,
    /// Write the results of all clips as lines of JSON, in the order of the manifest
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write a table with one row per clip
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// Write the table as Parquet
    #[cfg(feature = "parquet")]
    #[arg(long, value_name = "FILE")]
    pub parquet: Option<PathBuf>,
}

impl Args {
    /// Returns the files of shards that the paths name.
    ///
    /// # Errors
    /// Returns an error if a folder cannot be read or contains no file of a shard.
    pub fn files(&self) -> Result<Vec<PathBuf>, MergeError> {
        let mut files = Vec::new();
        for path in &self.paths {
            if !path.is_dir() {
                files.push(path.clone());
                continue;
            }
            let before = files.len();
            for entry in fs::read_dir(path).map_err(ShardError::read(path))? {
                let entry = entry.map_err(ShardError::read(path))?;
                if entry.file_name().to_str().is_some_and(|name| Shard::of_file_name(name).is_some()) {
                    files.push(entry.path());
                }
            }
            if files.len() == before {
                return Err(MergeError::NoShards { path: path.clone() });
            }
            files[before..].sort_unstable();
        }
        Ok(files)
    }

    /// Checks that no output replaces an input, and that no two outputs are the same file.
    ///
    /// # Errors
    /// Returns an error that names the flag of the output.
    pub fn check_outputs(&self, files: &[PathBuf]) -> Result<(), AnalyzeError> {
        let mut seen: Vec<&Path> = Vec::new();
        for (flag, path) in self.outputs() {
            let refuse = |why: &str| Err(AnalyzeError::Input(format!("{flag} {} {why}", path.display())));
            let shard = path.file_name().and_then(|name| name.to_str()).and_then(Shard::of_file_name);
            if would_replace(path, files.iter().chain(&self.manifest)) {
                return refuse("is also an input");
            }
            if shard.is_some() {
                return refuse("has the name of a shard's file");
            }
            if seen.contains(&path) {
                return refuse("is written twice");
            }
            seen.push(path);
        }
        Ok(())
    }

    fn outputs(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let outputs = [
            ("--output", self.output.as_deref()),
            ("--csv", self.csv.as_deref()),
            #[cfg(feature = "parquet")]
            ("--parquet", self.parquet.as_deref()),
        ];
        outputs.into_iter().filter_map(|(flag, path)| Some((flag, path?)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::CommandFactory;

    use super::*;

    #[cfg(not(feature = "parquet"))]
    #[test]
    fn the_help_text_stays_as_it_is() {
        insta::assert_snapshot!(Args::command().term_width(100).render_long_help().to_string());
    }

    #[test]
    fn a_folder_stands_for_its_shards_and_results_replace_nothing_that_is_read() {
        Args::command().debug_assert();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let parse = |flags: &[&str]| {
            let folder = folder.path().to_str().unwrap();
            Args::try_parse_from(["merge", folder].iter().chain(flags)).unwrap()
        };
        let message = parse(&[]).files().unwrap_err().to_string();
        assert!(message.ends_with("contains no file of a shard, such as reports-00000-of-00008.jsonl"), "{message}");
        let names = ["reports-00000-of-00002.jsonl", "reports-00001-of-00002.jsonl", "all.jsonl", "reports-1.jsonl"];
        names.iter().for_each(|name| std::fs::write(at(name), "").unwrap());
        let files = parse(&[]).files().unwrap();
        assert_eq!(files, [at(names[0]), at(names[1])].map(PathBuf::from));
        for (flags, part) in [
            (["--output", &at(names[0]), "--csv", "x"], "--output"),
            (["--csv", &at("all.jsonl"), "--manifest", &at("all.jsonl")], "is also an input"),
            (["--output", &at("reports-00007-of-00008.jsonl"), "--csv", "x"], "has the name of a shard's file"),
            (["--output", "x", "--csv", "x"], "--csv x is written twice"),
        ] {
            let failure = parse(&flags).check_outputs(&files).unwrap_err().to_string();
            assert!(failure.contains(part), "{failure}");
        }
        parse(&["--output", &at("all.jsonl"), "--csv", &at("all.csv")]).check_outputs(&files).unwrap();
    }
}
