//! The sections of a document, from the verdict to the signature.

use super::page::{Area, BODY, Column, Composer, Mark, SMALL, shortened};
use super::text::{Ink, SOFT, Style};
use super::{FullFrame, MAX_FRAMES, ReportPdf, chart, picture};
use crate::reason::percent;
use crate::report::words::{CAUTION, MAPS, clock, failure, looked_at, maybe, meaning, person};
use crate::report::{Evidence, Record, ReportFace, ReportFrame, Track};
use crate::{EnsembleAnswer, Error, Verdict};

/// Longest side in pixels of a face in a document.
const FACE_SIDE: u32 = 320;
/// Width of a face in points.
const FACE_WIDTH: f32 = 76.0;
const GAP: f32 = 8.0;
/// Height of a whole frame in points.
const MAX_FRAME_HEIGHT: f32 = 330.0;
/// People whose scores stand under a frame.
const MAX_SCORES: usize = 6;

const LIMITS: &[&str] = &[
    "Only faces were examined: not the sound, not what is said, not the background, not who is shown, and not whether \
     the clip was cut or shown out of its context.",
    "A person who looks real can be shown in a false context, and a face can be altered by means that the model has \
     never seen.",
    "Blur, darkness, small or turned faces, heavy compression, filters and make-up can raise or lower the score. The \
     reasons say where this was noticed.",
    "The score is not the probability that this clip is forged. It says how much its faces resemble the forged faces \
     that the model was trained on.",
    "Use it with other evidence: the source of the clip, its metadata, other recordings of the event, and people who \
     know the person.",
];

const GLOSSARY: &[(&str, &str)] = &[
    ("Fake probability", "How much a face resembles forged faces, from 0 % to 100 %, as the model estimates it."),
    ("Threshold", "The fake probability from which a clip is called FAKE."),
    ("Uncertain", "Scores near the threshold are too close to call: the verdict is UNCERTAIN."),
    (
        "Person",
        "Faces that follow each other in place and time. Nobody is recognized, and one person may have two numbers.",
    ),
    ("Detail", "How many pixels of real detail a face has, whatever its size: a blurred or enlarged face has few."),
    ("Colored faces", "The parts of a face that raise its fake probability, strongest where yellow."),
    ("SHA-256", "A fingerprint of a file. If one bit of the file changes, it has another fingerprint."),
    ("Signature", "A number that only the owner of a secret key can make, and that everybody can check."),
];

/// Faces of a person, side by side.
struct Group<'a> {
    /// Empty if it continues the previous group.
    title: String,
    ink: Ink,
    /// Faces, and whether their activation maps are drawn over them.
    pictures: Vec<(&'a Evidence, bool)>,
}

impl ReportPdf<'_> {
    pub(super) fn compose(&self, composer: &mut Composer) -> Result<(), Error> {
        self.head(composer);
        self.verdict(composer);
        self.note(composer);
        self.over_time(composer);
        self.segments(composer);
        self.people(composer)?;
        self.moments(composer);
        self.models(composer);
        self.stability(composer);
        self.failures(composer);
        composer.heading("Limits");
        composer.bullets(LIMITS.iter().map(|limit| (*limit).to_owned()));
        self.integrity(composer);
        for details in self.report.details() {
            composer.heading(details.title);
            composer.details(details.rows.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        }
        let height = composer.height_of(GLOSSARY);
        composer.heading_of("Words", height);
        composer.details(GLOSSARY.iter().copied());
        Ok(())
    }

    fn head(&self, composer: &mut Composer) {
        let report = self.report;
        let kind = if self.is_picture() { "picture" } else { "video" };
        composer.text(&format!("Report on the faces in a {kind}"), SMALL.ink(SOFT));
        composer.text(report.file_name(), Style::of(16.0).bold());
        composer.space(6.0);
        let rows = self.record.as_ref().map(Record::rows).unwrap_or_default();
        composer.details(rows.iter().map(|(name, value)| (*name, value.as_str())));
        composer.space(6.0);
    }

    fn verdict(&self, composer: &mut Composer) {
        let report = self.report;
        let ink = match report.verdict {
            Verdict::Real => Ink(0x1a, 0x7f, 0x4b),
            Verdict::Fake => Ink(0xc2, 0x2f, 0x2f),
            Verdict::Uncertain => Ink(0x9a, 0x62, 0x00),
        };
        let probability = match report.fake_probability {
            Some(probability) => {
                format!("Fake probability {}; fake from {}", percent(probability), percent(report.threshold()))
            }
            None => "No fake probability: no face was scored".into(),
        };
        composer.panel(
            ink,
            &[
                (report.verdict.to_string(), Style::of(22.0).bold().ink(ink)),
                (meaning(report.verdict).into(), Style::of(11.0)),
                (probability, BODY.bold()),
                (CAUTION.into(), SMALL.ink(SOFT)),
            ],
        );
        composer.heading("Reasons");
        composer.bullets(report.reasons.iter().map(ToString::to_string));
        composer.heading("What was examined");
        let examined = looked_at(report);
        composer.text(&examined, BODY);
        composer.text("Only the faces in the picture were examined; see Limits.", BODY);
    }

    fn note(&self, composer: &mut Composer) {
        let note = self.record.as_ref().and_then(|record| record.note.as_deref());
        if let Some(note) = note {
            composer.heading("The analyst's note");
            composer.text(note, BODY);
        }
    }

    fn over_time(&self, composer: &mut Composer) {
        if self.report.fake_probability.is_some() && !self.is_picture() {
            composer.heading("Over time");
            chart::draw(self.report, composer);
        }
    }

    fn segments(&self, composer: &mut Composer) {
        if self.report.segments.is_empty() {
            return;
        }
        composer.heading("Most suspicious seconds");
        composer.text("People who are long in view are judged by a few seconds at a time, too.", SMALL.ink(SOFT));
        let columns = columns([("Person", 3.0), ("From", 2.0), ("To", 2.0), ("Mean", 2.0), ("Faces", 2.0)]);
        let row = |segment: &crate::Segment| {
            cells([
                person(segment.track),
                clock(segment.start, true),
                clock(segment.end, true),
                percent(segment.fake_probability),
                segment.faces.to_string(),
            ])
        };
        composer.table(&columns, self.report.segments.iter().map(row));
    }

    fn people(&self, composer: &mut Composer) -> Result<(), Error> {
        let report = self.report;
        if report.tracks.is_empty() {
            return Ok(());
        }
        composer.heading("People");
        let inks = self.inks();
        let columns = columns([
            ("Person", 4.4),
            ("Mean", 1.6),
            ("Highest", 1.7),
            ("Faces", 1.4),
            ("From", 1.6),
            ("To", 1.6),
            ("Size", 1.6),
            ("Detail", 1.6),
        ]);
        let row = |(track, ink): (&Track, &Ink)| {
            let mut cells = cells([
                person(track.id) + report.shortcoming(track),
                maybe(track.fake_probability),
                maybe(track.max_fake_probability),
                track.scored.to_string(),
                clock(track.start, true),
                clock(track.end, true),
                pixels(track.median_face_size),
                pixels(track.quality.map(|quality| quality.detail)),
            ]);
            cells[0].0 = Some(*ink);
            cells
        };
        composer.table(&columns, report.tracks.iter().zip(&inks).map(row));
        if report.evidence.is_empty() {
            return Ok(());
        }
        composer.space(8.0);
        if report.evidence.iter().any(|evidence| evidence.activation.is_some()) {
            composer.text(MAPS, SMALL.ink(SOFT));
        }
        self.faces(&inks, composer)
    }

    /// Draws the faces of everyone, several people side by side where they have few.
    fn faces(&self, inks: &[Ink], composer: &mut Composer) -> Result<(), Error> {
        // A face and its map stay side by side.
        let in_a_row = ((composer.width() + GAP) / (FACE_WIDTH + GAP)).floor().max(2.0) as usize / 2 * 2;
        let mut row: Vec<Group<'_>> = Vec::new();
        for i in self.report.ranked() {
            let track = &self.report.tracks[i];
            let mut pictures: Vec<(&Evidence, bool)> = Vec::new();
            for evidence in self.report.evidence.iter().filter(|evidence| evidence.track == track.id) {
                pictures.push((evidence, false));
                if evidence.activation.is_some() {
                    pictures.push((evidence, true));
                }
            }
            for (part, pictures) in pictures.chunks(in_a_row).enumerate() {
                let title = if part == 0 { self.title(track) } else { String::new() };
                let taken: usize = row.iter().map(|group| group.pictures.len()).sum();
                if taken + pictures.len() > in_a_row {
                    self.row_of_faces(&std::mem::take(&mut row), composer)?;
                }
                row.push(Group { title, ink: inks[i], pictures: pictures.to_vec() });
            }
        }
        self.row_of_faces(&row, composer)
    }

    fn title(&self, track: &Track) -> String {
        let decides = if self.report.decider() == Some(track.id) { " (decides)" } else { "" };
        let scored = if track.scored == 1 { "face" } else { "faces" };
        format!("{}{decides}: {} over {} {scored}", person(track.id), maybe(track.fake_probability), track.scored)
    }

    fn row_of_faces(&self, row: &[Group<'_>], composer: &mut Composer) -> Result<(), Error> {
        if row.is_empty() {
            return Ok(());
        }
        composer.space(8.0);
        let width = |group: &Group<'_>| group.pictures.len() as f32 * (FACE_WIDTH + GAP);
        let titles: Vec<_> =
            row.iter().map(|group| composer.set(&group.title, BODY.bold(), width(group) - 14.0)).collect();
        let above = titles.iter().map(|title| title.height()).fold(0.0, f32::max) + 3.0;
        composer.need(above + FACE_WIDTH + 34.0);
        let (mut x, y, mut tallest) = (composer.left(), composer.y(), 0f32);
        for (group, title) in row.iter().zip(&titles) {
            if !group.title.is_empty() {
                composer.mark(Mark::Disc { x: x + 4.0, y: y + 6.4, radius: 3.0, ink: group.ink });
                composer.place(title, x + 12.0, y);
            }
            for (evidence, with_map) in &group.pictures {
                let overlay = with_map.then(|| evidence.overlay()).flatten();
                let picture = picture(overlay.as_ref().unwrap_or(&evidence.image), FACE_SIDE)?;
                // Crops are about square; a very long one would reach into the next row.
                let area = composer.figure(&picture, x, y + above, FACE_WIDTH.min(FACE_WIDTH * picture.aspect));
                let text = match with_map {
                    true => "the same face".into(),
                    false if self.is_picture() => percent(evidence.fake_probability),
                    false => format!("{} at {}", percent(evidence.fake_probability), clock(evidence.time, true)),
                };
                let caption = composer.caption(&text, FACE_WIDTH);
                composer.place(&caption, x, area.y + area.height + 2.0);
                tallest = tallest.max(area.height + caption.height() + 4.0);
                x += FACE_WIDTH + GAP;
            }
        }
        composer.space(above + tallest);
        Ok(())
    }

    fn moments(&self, composer: &mut Composer) {
        let telling = self.report.telling_frames();
        if telling.is_empty() {
            return;
        }
        let shown: Vec<(&ReportFrame, &FullFrame)> = telling
            .iter()
            .filter_map(|index| {
                let frame = self.report.frames.iter().find(|frame| frame.index == *index)?;
                Some((frame, self.frames.get(index)?))
            })
            .collect();
        // Upright frames side by side, so that no page is half empty.
        let wide = shown.iter().any(|(_, full)| full.picture.aspect > 1.2);
        let in_a_row = if wide { 2 } else { 3 };
        let column = (composer.width() - GAP * (in_a_row - 1) as f32) / in_a_row as f32;
        // A picture taller than half a page is shown narrower.
        let height = |full: &FullFrame| (column / full.picture.aspect).min(MAX_FRAME_HEIGHT);
        let first = shown.iter().take(in_a_row).map(|(_, full)| height(full)).fold(0.0, f32::max);
        composer.heading_of("Frames", first + 60.0);
        if shown.is_empty() {
            composer.text("The video was not at hand when this document was made, so it shows no whole frames.", BODY);
            return;
        }
        if !self.is_picture() {
            let limit = if telling.len() == MAX_FRAMES { " The document shows the 24 highest." } else { "" };
            let text = "The frames in which each person, and each suspicious stretch of time, has the highest fake \
                        probability.";
            composer.text(&format!("{text}{limit}"), SMALL.ink(SOFT));
            composer.space(4.0);
        }
        let inks = self.inks();
        for row in shown.chunks(in_a_row) {
            let captions: Vec<_> = row.iter().map(|(frame, _)| composer.caption(&self.scores(frame), column)).collect();
            let below = captions.iter().map(|caption| caption.height()).fold(0.0, f32::max) + 8.0;
            let tallest = row.iter().map(|(_, full)| height(full)).fold(0.0, f32::max);
            composer.need(tallest + below);
            let (mut x, y) = (composer.left(), composer.y());
            for ((frame, full), caption) in row.iter().zip(&captions) {
                let height = height(full);
                let area = Area { x, y, width: height * full.picture.aspect, height };
                self.moment((frame, full), area, &inks, composer);
                composer.place(caption, x, y + height + 2.0);
                x += column + GAP;
            }
            composer.space(tallest + below);
        }
    }

    /// Returns the names and scores of the people in a frame, the highest score first.
    fn scores(&self, frame: &ReportFrame) -> String {
        let scored = |face: &ReportFace| Some((face.track?, face.fake_probability));
        let mut scores: Vec<_> = frame.faces.iter().filter_map(scored).collect();
        scores.sort_by(|a, b| b.1.unwrap_or(-1.0).total_cmp(&a.1.unwrap_or(-1.0)));
        let hidden = scores.len().saturating_sub(MAX_SCORES);
        let names = scores.iter().take(MAX_SCORES);
        let names: Vec<_> = names.map(|(track, score)| format!("{} {}", person(*track), maybe(*score))).collect();
        let more = if hidden > 0 { format!(" and {hidden} more") } else { String::new() };
        match self.is_picture() {
            true => format!("{}{more}", names.join(", ")),
            false => format!("{}, frame {}: {}{more}", clock(frame.time, true), frame.index, names.join(", ")),
        }
    }

    fn moment(&self, (frame, full): (&ReportFrame, &FullFrame), area: Area, inks: &[Ink], composer: &mut Composer) {
        composer.figure(&full.picture, area.x, area.y, area.width);
        let scale = area.width / full.width.max(1) as f32;
        for face in &frame.faces {
            let Some(track) = face.track else { continue };
            let position = self.report.tracks.iter().position(|known| known.id == track);
            let ink = position.map_or(SOFT, |i| inks[i]);
            let bounds = face.face.bounding_box;
            // Boxes may reach over the border of the picture.
            let x = |x: f32| area.x + (x * scale).clamp(0.0, area.width);
            let y = |y: f32| area.y + (y * scale).clamp(0.0, area.height);
            let (left, top, right, bottom) = (x(bounds.x1), y(bounds.y1), x(bounds.x2), y(bounds.y2));
            if right > left && bottom > top {
                let bounds = Area { x: left, y: top, width: right - left, height: bottom - top };
                composer.mark(Mark::Frame { area: bounds, ink, width: 1.3 });
                composer.label(&track.saturating_add(1).to_string(), left, (top - 10.0).max(area.y), ink);
            }
        }
    }

    fn models(&self, composer: &mut Composer) {
        let Some(EnsembleAnswer { disagreement, limit, models, .. }) = &self.report.ensemble else { return };
        composer.heading("Models");
        let disagreement = disagreement.map_or("–".into(), percent);
        let text = format!("Disagreement: {disagreement}. Above {} the verdict is UNCERTAIN.", percent(*limit));
        composer.text(&text, SMALL.ink(SOFT));
        let columns = columns([
            ("Model", 4.0),
            ("Verdict", 2.2),
            ("Fake probability", 2.6),
            ("Fake from", 2.0),
            ("SHA-256", 3.0),
        ]);
        let row = |model: &crate::ModelAnswer| {
            let sha256 = model.sha256.as_deref().map_or("–", |sha256| sha256.get(..12).unwrap_or(sha256));
            cells([
                model.name.clone(),
                model.verdict.to_string(),
                maybe(model.fake_probability),
                percent(model.threshold),
                sha256.to_owned(),
            ])
        };
        composer.table(&columns, models.iter().map(row));
    }

    fn stability(&self, composer: &mut Composer) {
        let Some(stability) = &self.report.stability else { return };
        composer.heading("Stability");
        let text = format!(
            "The clip again, changed. The score counts as stable if it changes by no more than {}.",
            percent(stability.limit)
        );
        composer.text(&text, SMALL.ink(SOFT));
        let columns = columns([("Change", 4.0), ("Verdict", 2.0), ("Fake probability", 2.4), ("Difference", 4.0)]);
        let row = |score: &crate::report::VariationScore| {
            let change = match (&score.error, score.change) {
                (Some(error), _) => shortened(error, 300),
                (None, Some(change)) => percent(change),
                (None, None) => "not comparable: faces cannot be judged".into(),
            };
            let verdict = score.verdict.map_or("–".into(), |verdict| verdict.to_string());
            cells([score.variation.to_string(), verdict, maybe(score.fake_probability), change])
        };
        composer.table(&columns, stability.variations.iter().map(row));
    }

    fn failures(&self, composer: &mut Composer) {
        let errors = &self.report.errors;
        if errors.count == 0 {
            return;
        }
        composer.heading(&format!("Errors ({})", errors.count));
        composer.bullets(errors.first.iter().map(failure));
        let hidden = errors.count.saturating_sub(errors.first.len() as u64);
        if hidden > 0 {
            composer.text(&format!("and {hidden} more"), SMALL.ink(SOFT));
        }
    }

    fn integrity(&self, composer: &mut Composer) {
        composer.heading("Integrity");
        let unknown = "unknown".to_owned();
        let clip = self.report.input.sha256.as_ref().unwrap_or(&unknown);
        composer.details([("SHA-256 of the file", clip.as_str())]);
        let Some(signature) = &self.report.signature else {
            composer.details([("Signature", "This report is not signed.")]);
            composer.space(3.0);
            composer
                .text("The file report.json is attached to this document. It has every face, box and score.", SMALL);
            return;
        };
        composer.details(signature.rows().iter().map(|(name, value)| (*name, value.as_str())));
        composer.space(3.0);
        composer.text(
            "The file report.json is attached to this document. It has every face, box and score, and the signature. \
             The command \"deepsight verify report.json --key KEY.pem\" checks it with a key that the signer has \
             published.",
            SMALL,
        );
        if self.record_is_apart {
            composer.text(
                "Judgment, tags and note at the beginning of this document are not part of what was signed.",
                SMALL,
            );
        }
    }

    /// Returns the ink of each track, by its position.
    fn inks(&self) -> Vec<Ink> {
        crate::report::chart::colors(self.report).iter().map(|class| chart::color(class)).collect()
    }

    /// Returns whether the report is on a still picture, which has no time.
    fn is_picture(&self) -> bool {
        self.report.is_of_still_picture()
    }
}

fn columns<const N: usize>(columns: [(&'static str, f32); N]) -> [Column; N] {
    columns.map(|(title, share)| Column { title, share })
}

fn cells<const N: usize>(cells: [String; N]) -> Vec<(Option<Ink>, String)> {
    cells.into_iter().map(|cell| (None, cell)).collect()
}

fn pixels(side: Option<f32>) -> String {
    side.map_or("–".into(), |side| format!("{side:.0} px"))
}
