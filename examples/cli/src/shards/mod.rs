//! Results of many clips, divided over machines: the list of clips, its shards, and the files that store the results.
//!
//! A list of clips is divided by position: shard I of N has the clips at the positions `p`, from 0, with `p % N == I`.
//! So the sizes of shards differ by at most one clip, every clip is in exactly one shard, and neighbors in the list,
//! which are often of one kind and length, go to different machines. A hash of the name would make the sizes unequal.
//!
//! Each shard has one file, `reports-IIIII-of-NNNNN.jsonl`. Its first line is the [`Header`]; each further line is the
//! result of one clip ([`ShardLine`]), in the order in which they were finished:
//!
//! ```json
//! {"schema":1,"shard":0,"of":8,"clips":1000,"clips_sha256":"…","settings":{"frames":30,"model":"…"}}
//! {"position":8,"file":"a/b.mp4","frames":30,"report":{"schema":1,"input":{"path":"/data/a/b.mp4"},"verdict":"REAL"}}
//! {"position":0,"file":"a/a.mp4","error":"/data/a/a.mp4: the file is empty"}
//! ```
//!
//! `file` is the name in the list, `frames` the number of frames that were searched, and `report` the JSON that
//! `analyze --json` writes. With `--brief`, the report's list `frames` is empty; nothing else is missing. A clip that
//! failed and is tried again has a second line: the last line counts.
//!
//! Lines are only appended. A line is complete once it ends in a line break; the next run cuts off an incomplete one.

mod clips;
mod error;
mod file;
mod line;
mod settings;
mod shard;
mod tally;

pub(crate) use clips::ClipList;
pub(crate) use error::ShardError;
pub(crate) use file::{ShardFile, header, scan};
pub(crate) use line::{ClipOutcome, Header, SCHEMA, ShardLine};
pub(crate) use settings::settings;
pub(crate) use settings::{Settings, differences};
pub(crate) use shard::Shard;
pub(crate) use tally::Tally;
