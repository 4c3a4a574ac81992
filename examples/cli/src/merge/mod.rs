//! `deepsight merge`: joins the files of all shards into one, in the order of the clips, and a table.

mod args;
#[cfg(feature = "parquet")]
mod columns;
mod index;
mod row;

use std::process::ExitCode;

use deepsight_core::CancelToken;

pub use args::Args;
pub use index::{Index, MergeError};
pub use row::Row;

use self::row::Csv;
use crate::analyze::AnalyzeError;
use crate::interrupt::cancel_on_interrupt;
use crate::output::{OutputError, PendingFile, complain, print};
use crate::shards::ClipList;

/// Limit on the number of missing clips that are named.
const NAMED: usize = 20;

/// Merges the shards that the flags name, and returns the exit code.
pub fn main(args: &Args) -> ExitCode {
    let cancel = CancelToken::new();
    let listening = cancel_on_interrupt(&cancel).map_err(|error| AnalyzeError::input(&error));
    listening.and_then(|()| merge(args, &cancel)).unwrap_or_else(|failure| {
        complain(&failure.to_string());
        failure.code()
    })
}

/// Merges the shards that the flags name. Writes the outputs if every clip has a line.
///
/// # Errors
/// Returns an error if the shards are not of one run or a file cannot be read or written, and
/// [`AnalyzeError::Interrupted`] if the token is cancelled.
fn merge(args: &Args, cancel: &CancelToken) -> Result<ExitCode, AnalyzeError> {
    let manifest =
        args.manifest.as_deref().map(ClipList::read).transpose().map_err(|error| AnalyzeError::input(&error))?;
    let files = args.files().map_err(|error| AnalyzeError::input(&error))?;
    args.check_outputs(&files)?;
    // Opens the outputs before a million lines are read, so that an error is found early. Unfinished outputs leave no
    // files.
    let outputs = Outputs::open(args).map_err(|error| AnalyzeError::input(&error))?;
    let index = Index::read(&files, manifest.as_ref()).map_err(|error| AnalyzeError::input(&error))?;
    let missing = index.missing();
    if missing.is_empty() {
        write(&index, outputs, cancel)?;
    }
    print(&summary(&index, missing.len())).map_err(|error| AnalyzeError::output(&error))?;
    for &position in missing.iter().take(NAMED) {
        let shard = position % index.shards();
        let name = manifest.as_ref().map_or_else(String::new, |clips| format!(" {:?}", clips.file(position)));
        complain(&format!("error: clip {}{name} has no line: shard {shard}/{}", position + 1, index.shards()));
    }
    if missing.len() > NAMED {
        complain(&format!("error: {} more clips have no line", missing.len() - NAMED));
    }
    Ok(ExitCode::from(if missing.is_empty() { 0 } else { 2 }))
}

fn summary(index: &Index, missing: usize) -> String {
    let tally = index.tally();
    let mut rows = vec![
        ("FAKE", tally.fake),
        ("REAL", tally.real),
        ("UNCERTAIN", tally.uncertain),
        ("failed", tally.failed),
        ("missing", missing),
        ("clips", tally.of),
    ];
    rows.retain(|&(name, count)| name != "missing" || count > 0);
    rows.iter().map(|(name, count)| format!("{name:<9}{count:>10}")).collect::<Vec<_>>().join("\n")
}

/// The outputs. Each file appears when it is complete.
struct Outputs {
    lines: Option<PendingFile>,
    csv: Option<Csv>,
    #[cfg(feature = "parquet")]
    parquet: Option<columns::Parquet>,
}

impl Outputs {
    fn open(args: &Args) -> Result<Self, OutputError> {
        Ok(Self {
            lines: args.output.as_deref().map(PendingFile::create).transpose()?,
            csv: args.csv.as_deref().map(Csv::create).transpose()?,
            #[cfg(feature = "parquet")]
            parquet: args.parquet.as_deref().map(columns::Parquet::create).transpose()?,
        })
    }

    fn any(&self) -> bool {
        #[cfg(feature = "parquet")]
        if self.parquet.is_some() {
            return true;
        }
        self.lines.is_some() || self.csv.is_some()
    }

    fn add(&mut self, line: &[u8], row: &Row) -> Result<(), OutputError> {
        if let Some(lines) = &mut self.lines {
            lines.append(line)?;
        }
        if let Some(csv) = &mut self.csv {
            csv.add(row)?;
        }
        #[cfg(feature = "parquet")]
        if let Some(parquet) = &mut self.parquet {
            parquet.add(row.clone())?;
        }
        Ok(())
    }

    fn finish(self) -> Result<(), OutputError> {
        self.lines.map_or(Ok(()), PendingFile::finish)?;
        self.csv.map_or(Ok(()), Csv::finish)?;
        #[cfg(feature = "parquet")]
        self.parquet.map_or(Ok(()), columns::Parquet::finish)?;
        Ok(())
    }
}

fn write(index: &Index, mut outputs: Outputs, cancel: &CancelToken) -> Result<(), AnalyzeError> {
    if !outputs.any() {
        return Ok(());
    }
    for line in index.lines() {
        if cancel.is_cancelled() {
            return Err(AnalyzeError::Interrupted);
        }
        let (bytes, line) = line.map_err(|error| AnalyzeError::input(&error))?;
        outputs.add(&bytes, &line.into()).map_err(|error| AnalyzeError::output(&error))?;
    }
    outputs.finish().map_err(|error| AnalyzeError::output(&error))
}
