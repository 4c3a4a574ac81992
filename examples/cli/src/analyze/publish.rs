//! Publication of reports: record, signature and document.

use std::io::Cursor;
use std::path::Path;

use deepsight_core::report::{Record, ReportPdf, SecretKey, SignatureError};
use deepsight_core::{CancelToken, Report, with_causes};
use deepsight_video::{Media, contact_sheet};
use image::codecs::jpeg::JpegEncoder;
use jiff::ZonedDateTime;

use super::worker::failure;
use super::{AnalyzeError, Args};
use crate::output::complain;

/// JPEG quality of a contact sheet, 1 to 100.
const SHEET_QUALITY: u8 = 90;

/// Adds record and signature to reports, and creates their documents.
#[derive(Debug)]
pub(super) struct Publisher<'a> {
    args: &'a Args,
    key: Option<SecretKey>,
}

/// A report, with its document and its contact sheet (JPEG) if the flags ask for them.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) report: Report,
    pub(super) pdf: Option<Vec<u8>>,
    pub(super) contact_sheet: Option<Vec<u8>>,
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

    /// Adds record and signature to a report, and creates document and contact sheet if the flags ask for them. `clip`
    /// is the file whose frames they show; `None` for a stream, which cannot be read again.
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
        let sheet = clip.filter(|_| self.args.contact_sheet.is_some());
        // The report is finished and must not be lost for a picture.
        let contact_sheet = match sheet.map(|clip| self.contact_sheet(&report, clip, cancel)).transpose() {
            Err(AnalyzeError::Clip(reason)) => {
                complain(&format!("warning: no contact sheet: {reason}"));
                None
            }
            outcome => outcome?,
        };
        Ok(Published { report, pdf, contact_sheet })
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
            let media = Media::open_with(clip, &self.args.decoding().with_report(report));
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

    fn contact_sheet(&self, report: &Report, clip: &Path, cancel: &CancelToken) -> Result<Vec<u8>, AnalyzeError> {
        let sheet = contact_sheet(clip, report, &self.args.decoding(), cancel).map_err(|error| failure(&error))?;
        if cancel.is_cancelled() {
            return Err(AnalyzeError::Interrupted);
        }
        let sheet = sheet.ok_or_else(|| AnalyzeError::Clip("it has no frames for a contact sheet".into()))?;
        let mut jpeg = Cursor::new(Vec::new());
        let encoded = sheet.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, SHEET_QUALITY));
        encoded.map_err(|error| AnalyzeError::Clip(with_causes(&error)))?;
        Ok(jpeg.into_inner())
    }
}
