//! Publication of reports: record, signature and document.

use std::path::Path;

use deepsight_core::report::{Record, ReportPdf, SecretKey, SignatureError};
use deepsight_core::{CancelToken, Report, with_causes};
use deepsight_video::Media;
use jiff::ZonedDateTime;

use super::worker::failure;
use super::{AnalyzeError, Args};

/// Adds record and signature to reports, and creates their documents.
#[derive(Debug)]
pub(super) struct Publisher<'a> {
    args: &'a Args,
    key: Option<SecretKey>,
}

/// A report, and its document if the flags ask for one.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) report: Report,
    pub(super) pdf: Option<Vec<u8>>,
}

impl<'a> Publisher<'a> {
    /// Reads the key that the flags name.
    ///
    /// # Errors
    /// Returns an error if the key cannot be read, or if other users can read it.
    pub(super) fn open(args: &'a Args) -> Result<Self, SignatureError> {
        let key = args.sign.as_deref().map(SecretKey::read).transpose()?;
        Ok(Self { args, key })
    }

    /// Adds record and signature to a report, and creates its document if the flags ask for one. `clip` is the file
    /// whose frames the document shows; `None` for a stream, which cannot be read again.
    ///
    /// # Errors
    /// Returns [`AnalyzeError::Clip`] if the frames cannot be decoded again or the document cannot be created, and
    /// [`AnalyzeError::Interrupted`] if the token is cancelled.
    pub(super) fn publish(
        &self,
        report: Report,
        clip: Option<&Path>,
        cancel: &CancelToken,
    ) -> Result<Published, AnalyzeError> {
        let report = match self.record() {
            Some(record) => report.with_record(record),
            None => report,
        };
        let report = match &self.key {
            Some(key) => report.sign(key).map_err(|error| AnalyzeError::Clip(with_causes(&error)))?,
            None => report,
        };
        let pdf = self.args.pdf.as_ref().map(|_| self.document(&report, clip, cancel)).transpose()?;
        Ok(Published { report, pdf })
    }

    /// Returns the record. Returns `None` if no flag asks for one, so that equal clips have equal reports.
    fn record(&self) -> Option<Record> {
        let Args { pdf, sign, case, analyst, note, .. } = self.args;
        let texts = [case, analyst, note];
        if pdf.is_none() && sign.is_none() && texts.iter().all(|text| text.is_none()) {
            return None;
        }
        let now = ZonedDateTime::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        let record = Record::new().with_created(now).with_program(concat!("deepsight ", env!("CARGO_PKG_VERSION")));
        Some(record.with_case(case.clone()).with_analyst(analyst.clone()).with_note(note.clone()))
    }

    fn document(&self, report: &Report, clip: Option<&Path>, cancel: &CancelToken) -> Result<Vec<u8>, AnalyzeError> {
        let failed = |error: deepsight_core::Error| AnalyzeError::Clip(with_causes(&error));
        let mut pdf = ReportPdf::new(report).with_paper(self.args.paper);
        let telling = report.telling_frames();
        if let Some(clip) = clip.filter(|_| !telling.is_empty()) {
            let media = Media::open_with(clip, &self.args.decoding().with_turn(report.quarter_turns()));
            let media = media.map_err(|error| failure(&error))?;
            for frame in media.frames_of_report(report, &telling, cancel).map_err(|error| failure(&error))? {
                let frame = frame.map_err(|error| failure(&error))?;
                pdf = pdf.with_frame(frame.index, &frame.image).map_err(failed)?;
            }
        }
        if cancel.is_cancelled() {
            return Err(AnalyzeError::Interrupted);
        }
        pdf.to_pdf().map_err(failed)
    }
}
