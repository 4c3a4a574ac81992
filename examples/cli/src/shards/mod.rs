//! Results of many clips, divided over machines: which clips there are, whose turn each is, and the files of lines they
//! go into.
//!
//! A list of clips is divided by position: of N shards, shard I has the clips whose position, counted from 0, leaves I
//! when divided by N. So shards are equal to within one clip, every clip is in exactly one of them, and neighbours in
//! the list, which are often of one kind and length, go to different machines. A hash of the name would make them
//! unequal.
//!
//! Each shard has one file, `reports-IIIII-of-NNNNN.jsonl`. Its first line says what made it ([`Header`]); each further
//! line is one clip ([`ShardLine`]), in the order in which they were done:
//!
//! ```json
//! {"schema":1,"shard":0,"of":8,"clips":1000,"clips_sha256":"…","settings":{"frames":30,"model":"…"}}
//! {"position":8,"file":"a/b.mp4","frames":30,"report":{"schema":1,"input":{"path":"/data/a/b.mp4"},"verdict":"REAL"}}
//! {"position":0,"file":"a/a.mp4","error":"/data/a/a.mp4: the file is empty"}
//! ```
//!
//! `file` is as the list has it, `frames` how many were searched, `report` what `analyze --json` writes. With `--brief`
//! its list `frames` is empty; nothing else is missing. A clip that failed has another line when it is tried again: its
//! last one counts.
//!
//! Lines are only ever added. One counts from its line break on; what a killed run left of one is cut off by the next.

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
