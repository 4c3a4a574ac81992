use std::path::Path;

use super::chart::{self, timeline};
use super::pictures::figure;
use super::text::escape_html;
use super::words::{CAUTION, Details, MAPS, clock, failure, looked_at, maybe, meaning, person};
use super::{Report, Stability, Track, VariationScore};
use crate::reason::percent;
use crate::{EnsembleAnswer, Error, ModelAnswer, Segment, Verdict};

const STYLE: &str = include_str!("style.css");
/// Maximum number of rows in the table of single faces. The JSON contains all faces.
const MAX_ROWS: usize = 500;

impl Report {
    /// Writes the report as one self-contained HTML page, without scripts or network access. It has a light and a dark
    /// style, and fits screen and paper.
    pub fn to_html(&self) -> String {
        let name = self.file_name();
        let sections = [
            self.answer(),
            self.record(),
            self.models(),
            self.steadiness(),
            self.over_time(),
            self.suspicious_seconds(),
            self.people(),
            self.failures(),
            self.particulars(),
            self.all_faces(),
        ];
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src \
             'unsafe-inline'\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}: {}</title>\n<style>\n{STYLE}</style>\n\
             </head>\n<body>\n<main>\n{}\n</main>\n<footer>DeepSight {}. {CAUTION}</footer>\n</body>\n</html>\n",
            self.verdict,
            escape_html(name),
            sections.concat(),
            env!("CARGO_PKG_VERSION"),
        )
    }

    /// Writes [`to_html`](Self::to_html) to a file.
    ///
    /// # Errors
    /// [`Error::Write`] when the file cannot be written.
    pub fn write_html(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        crate::files::write(path, self.to_html().as_bytes())
            .map_err(|source| Error::Write { path: path.into(), source })
    }

    fn answer(&self) -> String {
        let (class, icon) = match self.verdict {
            Verdict::Real => ("real", "M7 12.5l3.5 3.5L17 9"),
            Verdict::Fake => ("fake", "M12 6.5v7M12 16.6v.2"),
            Verdict::Uncertain => ("uncertain", "M9 9.5a3 3 0 1 1 4.2 2.7c-.8.4-1.2.9-1.2 1.8M12 16.9v.2"),
        };
        let sentence = meaning(self.verdict);
        let reasons: String =
            self.reasons.iter().map(|reason| format!("<li>{}</li>", escape_html(&reason.to_string()))).collect();
        let probability = match self.fake_probability {
            Some(probability) => format!(
                "<div class=\"probability\"><p><strong>{}</strong> fake probability</p>{}</div>",
                percent(probability),
                self.meter(probability)
            ),
            None => {
                "<div class=\"probability\"><p><strong>–</strong> no fake probability: no face was scored</p></div>"
                    .into()
            }
        };
        let path = if self.input.path.is_empty() { "video" } else { &self.input.path };
        format!(
            "<header class=\"answer {class}\"><p class=\"file\"><bdi>{}</bdi></p>\
             <h1><svg class=\"icon\" viewBox=\"0 0 24 24\" aria-hidden=\"true\">\
             <circle cx=\"12\" cy=\"12\" r=\"10.5\"/><path d=\"{icon}\"/></svg>{}</h1>\
             <p class=\"sentence\">{sentence}</p>{probability}\
             <p class=\"note\">{}</p><ul class=\"reasons\">{reasons}</ul></header>",
            escape_html(path),
            self.verdict,
            looked_at(self),
        )
    }

    fn record(&self) -> String {
        let Some(record) = &self.record else { return String::new() };
        let rows = record.rows().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        // The note keeps its line breaks, which are control characters to `escape_html`.
        let lines = record.note.iter().flat_map(|note| note.lines());
        let note: Vec<String> = lines.map(escape_html).collect();
        let note = match note.is_empty() {
            true => String::new(),
            false => format!("<h3>The analyst's note</h3><p><bdi>{}</bdi></p>", note.join("<br>")),
        };
        format!("<section class=\"particulars\">{}{note}</section>", details(&Details { title: "Record", rows }))
    }

    fn meter(&self, probability: f32) -> String {
        let threshold = self.threshold();
        let (low, high) = self.band();
        format!(
            "<svg class=\"meter\" viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
             <rect class=\"track\" width=\"100\" height=\"6\"/><rect class=\"value\" width=\"{:.1}\" height=\"6\"/>\
             <rect class=\"band\" x=\"{:.1}\" width=\"{:.1}\" height=\"6\"/>\
             <rect class=\"mark\" x=\"{:.1}\" width=\"0.5\" height=\"6\"/></svg><p class=\"note\">fake from {}</p>",
            probability * 100.0,
            low * 100.0,
            (high - low) * 100.0,
            threshold * 100.0 - 0.25,
            percent(threshold),
        )
    }

    fn models(&self) -> String {
        let Some(EnsembleAnswer { disagreement, limit, models, .. }) = &self.ensemble else { return String::new() };
        let row = |model: &ModelAnswer| {
            format!(
                "<tr><th scope=\"row\"><bdi>{}</bdi></th><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td><td>{}</td>\
                 </tr>",
                escape_html(&model.name),
                model.verdict,
                maybe(model.fake_probability),
                percent(model.threshold),
                model.weight,
                model.sha256.as_ref().map_or("–".into(), |sha256| escape_html(sha256.get(..12).unwrap_or(sha256))),
            )
        };
        format!(
            "<section><h2>Models</h2><p class=\"note\">Disagreement: {}. Above {} the verdict is UNCERTAIN.</p>\
             <div class=\"scroll\"><table><caption>What each model answers alone, by its own threshold</caption><thead>\
             <tr><th scope=\"col\">Model</th><th scope=\"col\">Verdict</th><th scope=\"col\">Fake probability</th>\
             <th scope=\"col\">Fake from</th><th scope=\"col\">Weight</th><th scope=\"col\">SHA-256</th></tr></thead>\
             <tbody>{}</tbody></table></div></section>",
            disagreement.map_or("–".into(), percent),
            percent(*limit),
            models.iter().map(row).collect::<String>(),
        )
    }

    fn steadiness(&self) -> String {
        let Some(Stability { limit, variations, .. }) = &self.stability else { return String::new() };
        let row = |score: &VariationScore| {
            let change = match (&score.error, score.change) {
                (Some(error), _) => escape_html(error),
                (None, Some(change)) => percent(change),
                (None, None) => "not comparable: faces cannot be judged".into(),
            };
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{change}</td></tr>",
                score.variation,
                score.verdict.map_or("–".into(), |verdict| verdict.to_string()),
                maybe(score.fake_probability),
            )
        };
        format!(
            "<section><h2>Stability</h2><div class=\"scroll\"><table>\
             <caption>The clip again, changed. The score counts as stable if it changes by no more than {}</caption>\
             <thead><tr><th scope=\"col\">Change</th>\
             <th scope=\"col\">Verdict</th><th scope=\"col\">Fake probability</th><th scope=\"col\">Difference</th>\
             </tr></thead><tbody>{}</tbody></table></div></section>",
            percent(*limit),
            variations.iter().map(row).collect::<String>(),
        )
    }

    fn over_time(&self) -> String {
        if self.fake_probability.is_none() {
            return String::new();
        }
        format!("<section><h2>Over time</h2>{}</section>", timeline(self))
    }

    fn suspicious_seconds(&self) -> String {
        if self.segments.is_empty() {
            return String::new();
        }
        let row = |segment: &Segment| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                person(segment.track),
                clock(segment.start, true),
                clock(segment.end, true),
                percent(segment.fake_probability),
                segment.faces
            )
        };
        format!(
            "<section><h2>Most suspicious seconds</h2><div class=\"scroll\"><table>\
             <caption>People who are long in view are judged by a few seconds at a time, too</caption><thead><tr>\
             <th scope=\"col\">Person</th>\
             <th scope=\"col\">From</th><th scope=\"col\">To</th><th scope=\"col\">Mean</th>\
             <th scope=\"col\">Faces</th></tr></thead><tbody>{}</tbody></table></div></section>",
            self.segments.iter().map(row).collect::<String>()
        )
    }

    fn people(&self) -> String {
        if self.tracks.is_empty() {
            return String::new();
        }
        let decider = self.decider();
        let colors = chart::colors(self);
        let rows: String = self.tracks.iter().zip(&colors).map(|(track, color)| self.row(track, color)).collect();
        let card = |i: usize| self.card(&self.tracks[i], &colors[i], decider == Some(self.tracks[i].id));
        let cards: String = self.ranked().into_iter().map(card).collect();
        let has_maps = self.evidence.iter().any(|evidence| evidence.activation.is_some());
        let explanation = if has_maps { format!("<p class=\"note how\">{MAPS}</p>") } else { String::new() };
        format!(
            "<section><h2>People</h2>{explanation}<div class=\"cards\">{cards}</div><div class=\"scroll\"><table>\
             <caption>Everyone in view, with the mean and the highest fake probability of their faces</caption><thead>\
             <tr><th scope=\"col\">Person</th>\
             <th scope=\"col\">Mean</th><th scope=\"col\">Highest</th><th scope=\"col\">Faces</th>\
             <th scope=\"col\">From</th><th scope=\"col\">To</th><th scope=\"col\">Size</th>\
             <th scope=\"col\">Detail</th></tr></thead>\
             <tbody>{rows}</tbody></table></div></section>"
        )
    }

    fn row(&self, track: &Track, color: &str) -> String {
        let short = self.shortcoming(track);
        format!(
            "<tr><th scope=\"row\"><span class=\"dot {color}\"></span>{}{short}</th><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            person(track.id),
            maybe(track.fake_probability),
            maybe(track.max_fake_probability),
            track.scored,
            clock(track.start, true),
            clock(track.end, true),
            track.median_face_size.map_or("–".into(), |side| format!("{side:.0} px")),
            track.quality.map_or("–".into(), |quality| format!("{:.0} px", quality.detail)),
        )
    }

    fn card(&self, track: &Track, color: &str, decides: bool) -> String {
        let mut pictures = self.evidence.iter().filter(|evidence| evidence.track == track.id).map(figure).peekable();
        if pictures.peek().is_none() {
            return String::new();
        }
        let badge = if decides { " <span class=\"badge\">decides</span>" } else { "" };
        format!(
            "<article class=\"card\"><h3><span class=\"dot {color}\"></span>{}{badge}</h3>\
             <p class=\"note\">{} over {} scored {}</p>\
             <div class=\"pictures\">{}</div></article>",
            person(track.id),
            maybe(track.fake_probability),
            track.scored,
            if track.scored == 1 { "face" } else { "faces" },
            pictures.collect::<String>(),
        )
    }

    fn failures(&self) -> String {
        if self.errors.count == 0 {
            return String::new();
        }
        let items: String =
            self.errors.first.iter().map(|error| format!("<li>{}</li>", escape_html(&failure(error)))).collect();
        let hidden = self.errors.count.saturating_sub(self.errors.first.len() as u64);
        let more = if hidden > 0 { format!("<p class=\"note\">and {hidden} more</p>") } else { String::new() };
        format!("<section><h2>Errors ({})</h2><ul>{items}</ul>{more}</section>", self.errors.count)
    }

    fn particulars(&self) -> String {
        let mut sections: String = self.details().iter().map(details).collect();
        if let Some(signature) = &self.signature {
            let rows = signature.rows().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            sections += &details(&Details { title: "Signature", rows });
        }
        format!("<section class=\"particulars\">{sections}</section>")
    }

    fn all_faces(&self) -> String {
        let scored = || {
            self.frames.iter().flat_map(|frame| {
                frame.faces.iter().filter(|face| face.fake_probability.is_some()).map(move |face| (frame, face))
            })
        };
        let count = scored().count();
        if count == 0 {
            return String::new();
        }
        let rows: String = scored()
            .take(MAX_ROWS)
            .map(|(frame, face)| {
                let [x1, y1, x2, y2]: [f32; 4] = face.face.bounding_box.into();
                format!(
                    "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                     <td>{x1:.0}, {y1:.0}, {x2:.0}, {y2:.0}</td></tr>",
                    frame.index,
                    clock(frame.time, true),
                    face.track.map_or("–".into(), person),
                    maybe(face.fake_probability),
                    percent(face.face.confidence),
                    face.quality.map_or("–".into(), |quality| format!("{:.0} px", quality.detail)),
                )
            })
            .collect();
        let cut = if count > MAX_ROWS { format!(", the first {MAX_ROWS}") } else { String::new() };
        format!(
            "<section><details><summary>All scored faces ({count}{cut})</summary><div class=\"scroll\"><table><thead>\
             <tr><th scope=\"col\">Frame</th><th scope=\"col\">Time</th><th scope=\"col\">Person</th>\
             <th scope=\"col\">Fake probability</th><th scope=\"col\">Detector</th><th scope=\"col\">Detail</th>\
             <th scope=\"col\">Box</th></tr></thead>\
             <tbody>{rows}</tbody></table></div></details></section>"
        )
    }
}

/// Writes a list of names and values, all escaped.
fn details(details: &Details) -> String {
    let row = |(name, value): &(String, String)| {
        format!("<dt>{}</dt><dd><bdi>{}</bdi></dd>", escape_html(name), escape_html(value))
    };
    let rows: String = details.rows.iter().map(row).collect();
    format!("<div><h2>{}</h2><dl>{rows}</dl></div>", details.title)
}
