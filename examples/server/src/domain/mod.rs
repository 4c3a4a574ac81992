//! The data types of analyses, which all other modules use. This module does not depend on HTTP.

mod accuracy;
mod analysis;
mod budget;
mod clock;
mod failure;
mod file_name;
mod made_key;
mod remarks;
pub(crate) mod report_schema;
mod settings;
mod share;
mod view;
mod web_address;

pub(crate) use accuracy::MonthOfLabels;
pub(crate) use analysis::{Analysis, Counts, Finished, Origin, Stage, Status, UnderWay, model_id};
pub(crate) use budget::DecodeBudget;
pub(crate) use clock::Moment;
pub(crate) use failure::{DiskFull, Failure, shortened, without_path};
pub(crate) use file_name::shown_name;
pub(crate) use made_key::MadeKey;
pub(crate) use remarks::{Label, MAX_TAG, Remarks};
pub(crate) use settings::{FRAMES, MAX_FPS, MIN_FACE_SIZE, MIN_FPS, Parameters, Settings, SettingsParameters};
pub(crate) use share::Share;
pub(crate) use view::{AnalysisList, AnalysisView, Earlier, Similar};
pub(crate) use web_address::WebAddress;

/// The program and its version, as reports name it.
pub(crate) const PROGRAM: &str = concat!("deepsight-server ", env!("CARGO_PKG_VERSION"));
