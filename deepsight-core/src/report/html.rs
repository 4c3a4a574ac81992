use std::path::Path;

use super::chart::{self, timeline};
use super::pictures::figure;
use super::text::{clock, escape_html, person};
use super::{Report, Stability, Track, VariationScore};
use crate::verdict::{percent, seconds};
use crate::{Coverage, EnsembleAnswer, Error, FaceCrop, ModelAnswer, Reason, Segment, Verdict};

const STYLE: &str = include_str!("style.css");
/// Maximum number of rows in the table of single faces. The JSON contains all faces.
const MAX_ROWS: usize = 500;

impl Report {
    /// Writes the report as one self-contained HTML page, without scripts or network access. It has a light and a dark
    /// style, and fits screen and paper.
    pub fn to_html(&self) -> String {
        let name = if self.input.path.is_empty() { "video" } else { file_name(&self.input.path) };
        let sections = [
            self.answer(),
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
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}: {}</title>\n<style>\n{STYLE}</style>\n</head>\n\
             <body>\n<main>\n{}\n</main>\n<footer>DeepSight {}. An estimate by a trained model, not proof: \
             forgeries it was not trained on can pass, and poor video can look forged.</footer>\n</body>\n</html>\n",
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
        let (class, icon, sentence) = match self.verdict {
            Verdict::Real => ("real", "M7 12.5l3.5 3.5L17 9", "Little evidence of a forged face."),
            Verdict::Fake => ("fake", "M12 6.5v7M12 16.6v.2", "At least one face looks forged."),
            Verdict::Uncertain => (
                "uncertain",
                "M9 9.5a3 3 0 1 1 4.2 2.7c-.8.4-1.2.9-1.2 1.8M12 16.9v.2",
                "No reliable answer can be given.",
            ),
        };
        let reasons: String =
            self.reasons.iter().map(|reason| format!("<li>{}</li>", escape_html(&reason.to_string()))).collect();
        let probability = match self.fake_probability {
            Some(probability) => format!(
                "<div class=\"probability\"><p><strong>{}</strong> fake probability</p>{}</div>",
                percent(probability),
                self.meter(probability)
            ),
            None => "<div class=\"probability\"><p><strong>&ndash;</strong> no fake probability: no face was scored</p></div>".into(),
        };
        let path = if self.input.path.is_empty() { "video" } else { &self.input.path };
        format!(
            "<header class=\"answer {class}\"><p class=\"file\"><bdi>{}</bdi></p>\
             <h1><svg class=\"icon\" viewBox=\"0 0 24 24\" aria-hidden=\"true\"><circle cx=\"12\" cy=\"12\" r=\"10.5\"/>\
             <path d=\"{icon}\"/></svg>{}</h1><p class=\"sentence\">{sentence}</p>{probability}\
             <p class=\"note\">{}</p><ul class=\"reasons\">{reasons}</ul></header>",
            escape_html(path),
            self.verdict,
            looked_at(&self.coverage),
        )
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
                "<tr><th scope=\"row\"><bdi>{}</bdi></th><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td><td>{}</td></tr>",
                escape_html(&model.name),
                model.verdict,
                maybe(model.fake_probability),
                percent(model.threshold),
                model.weight,
                model
                    .sha256
                    .as_ref()
                    .map_or("&ndash;".into(), |sha256| escape_html(sha256.get(..12).unwrap_or(sha256))),
            )
        };
        format!(
            "<section><h2>Models</h2><p class=\"note\">Disagreement: {}. Above {} the verdict is UNCERTAIN.</p>\
             <div class=\"scroll\"><table><caption>What each model answers alone, by its own threshold</caption><thead><tr>\
             <th scope=\"col\">Model</th><th scope=\"col\">Verdict</th><th scope=\"col\">Fake probability</th>\
             <th scope=\"col\">Fake from</th><th scope=\"col\">Weight</th><th scope=\"col\">SHA-256</th></tr></thead>\
             <tbody>{}</tbody></table></div></section>",
            disagreement.map_or("&ndash;".into(), percent),
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
                score.verdict.map_or("&ndash;".into(), |verdict| verdict.to_string()),
                maybe(score.fake_probability),
            )
        };
        format!(
            "<section><h2>Stability</h2><div class=\"scroll\"><table><caption>The clip again, changed. The score counts as \
             stable if it changes by no more than {}</caption><thead><tr><th scope=\"col\">Change</th>\
             <th scope=\"col\">Verdict</th><th scope=\"col\">Fake probability</th><th scope=\"col\">Difference</th></tr></thead>\
             <tbody>{}</tbody></table></div></section>",
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
            "<section><h2>Most suspicious seconds</h2><div class=\"scroll\"><table><caption>People who are long in view \
             are judged by a few seconds at a time, too</caption><thead><tr><th scope=\"col\">Person</th>\
             <th scope=\"col\">From</th><th scope=\"col\">To</th><th scope=\"col\">Mean</th>\
             <th scope=\"col\">Faces</th></tr></thead><tbody>{}</tbody></table></div></section>",
            self.segments.iter().map(row).collect::<String>()
        )
    }

    fn people(&self) -> String {
        if self.tracks.is_empty() {
            return String::new();
        }
        let decider = self.reasons.iter().find_map(|reason| match reason {
            Reason::DecidedByTrack { track, .. } | Reason::DecidedBySegment { track, .. } => Some(*track),
            _ => None,
        });
        let colours = chart::colours(self);
        let rows: String = self.tracks.iter().zip(&colours).map(|(track, colour)| self.row(track, colour)).collect();
        // The deciding person comes first, then those who count, each group by falling probability.
        let mut ranked: Vec<(&Track, &String)> = self.tracks.iter().zip(&colours).collect();
        ranked.sort_by(|(a, _), (b, _)| {
            let rank = |track: &Track| (decider == Some(track.id), self.counts(track));
            let probability = |track: &Track| track.fake_probability.unwrap_or(0.0);
            rank(b).cmp(&rank(a)).then(probability(b).total_cmp(&probability(a)))
        });
        let cards: String =
            ranked.into_iter().map(|(track, colour)| self.card(track, colour, decider == Some(track.id))).collect();
        // Each map is scaled to its own maximum, so even a real face has bright regions. The page must explain that.
        let explanation = if self.evidence.iter().any(|evidence| evidence.activation.is_some()) {
            "<p class=\"note how\">The faces of each person with the highest fake probability. Beside each, coloured, what in it \
             speaks for a forgery: most where it is yellow. Every picture has a scale of its own, so a face with a low \
             probability may have bright places too; one without colour has no place that speaks for a forgery.</p>"
        } else {
            ""
        };
        format!(
            "<section><h2>People</h2>{explanation}<div class=\"cards\">{cards}</div><div class=\"scroll\"><table><caption>Everyone in view, with \
             the mean and the highest fake probability of their faces</caption><thead><tr><th scope=\"col\">Person</th>\
             <th scope=\"col\">Mean</th><th scope=\"col\">Highest</th><th scope=\"col\">Faces</th><th scope=\"col\">From</th>\
             <th scope=\"col\">To</th><th scope=\"col\">Size</th><th scope=\"col\">Detail</th></tr></thead><tbody>{rows}</tbody></table></div></section>"
        )
    }

    fn row(&self, track: &Track, colour: &str) -> String {
        let short = match self.counts(track) {
            true => "",
            false if track.scored < self.settings.analyzer.min_track_faces => " (too few faces to count)",
            false if !track.is_clear(&self.settings.analyzer) => " (too blurred, dark or turned to count)",
            false => " (perhaps no face)",
        };
        format!(
            "<tr><th scope=\"row\"><span class=\"dot {colour}\"></span>{}{short}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            person(track.id),
            maybe(track.fake_probability),
            maybe(track.max_fake_probability),
            track.scored,
            clock(track.start, true),
            clock(track.end, true),
            track.median_face_size.map_or("&ndash;".into(), |side| format!("{side:.0} px")),
            track.quality.map_or("&ndash;".into(), |quality| format!("{:.0} px", quality.detail)),
        )
    }

    fn card(&self, track: &Track, colour: &str, decides: bool) -> String {
        let mut pictures = self.evidence.iter().filter(|evidence| evidence.track == track.id).map(figure).peekable();
        if pictures.peek().is_none() {
            return String::new();
        }
        let badge = if decides { " <span class=\"badge\">decides</span>" } else { "" };
        format!(
            "<article class=\"card\"><h3><span class=\"dot {colour}\"></span>{}{badge}</h3><p class=\"note\">{} over {} scored {}</p>\
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
        let items: String = self
            .errors
            .first
            .iter()
            .map(|error| {
                let place = match (error.index, error.time) {
                    (Some(index), Some(time)) => format!("frame {index} at {}: ", clock(time, true)),
                    (Some(index), None) => format!("frame {index}: "),
                    _ => String::new(),
                };
                format!("<li>{place}{} failed: {}</li>", error.stage, escape_html(&error.message))
            })
            .collect();
        let hidden = self.errors.count.saturating_sub(self.errors.first.len() as u64);
        let more = if hidden > 0 { format!("<p class=\"note\">and {hidden} more</p>") } else { String::new() };
        format!("<section><h2>Errors ({})</h2><ul>{items}</ul>{more}</section>", self.errors.count)
    }

    fn particulars(&self) -> String {
        let analyzer = &self.settings.analyzer;
        let mut input = Rows::new();
        input.add("File", &self.input.path).maybe("SHA-256", self.input.sha256.as_ref());
        input.maybe("Bytes", self.input.bytes);
        if let (Some(width), Some(height)) = (self.input.width, self.input.height) {
            input.add("Picture", format!("{width} × {height} pixels"));
        }
        input.maybe("Rotation applied", self.input.rotation.filter(|&r| r != 0).map(|r| format!("{r}°")));
        input.maybe("Length", self.input.duration.map(|seconds| format!("{seconds:.2} s")));
        let declared = self.input.declared_duration.map(|seconds| format!("{seconds:.2} s"));
        input.maybe("Length by its headers", declared);
        input.maybe("Frames in all", self.input.frames);
        input.add("Frames analysed", self.frames.len());
        let uneven = if self.input.variable_frame_rate == Some(true) { " (variable)" } else { "" };
        input.maybe("Frame rate", self.input.frame_rate.map(|rate| format!("{rate:.3} per second{uneven}")));
        input.maybe("Container", self.input.container.as_ref()).maybe("Codec", self.input.codec.as_ref());

        let mut model = Rows::new();
        let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        model.add("Model", &self.model.name).maybe("Architecture", known(&self.model.architecture));
        model.maybe("SHA-256", self.model.sha256.as_ref()).maybe("Trained on", known(&self.model.trained_on));
        model.maybe("Terms of use", known(&self.model.terms));
        match &self.model.ensemble {
            None => model.add("Face crop", crop(self.model.crop)),
            Some(ensemble) => {
                model.add("Combined by", &ensemble.combination);
                let crops: Vec<String> = self.model.crops().into_iter().map(crop).collect();
                model.add("Face crops", crops.join("; "))
            }
        };

        let mut settings = Rows::new();
        settings.add("Aggregation", analyzer.aggregation).add("Threshold", percent(self.threshold()));
        settings.add("Uncertain within", format!("{} points", analyzer.band(self.model.reliability.as_ref()) * 100.0));
        settings.add("Face confidence from", percent(analyzer.face_confidence));
        settings.add("Person counts from", percent(analyzer.track_confidence));
        settings.add("Faces needed", format!("{}; {} per person", analyzer.min_faces, analyzer.min_track_faces));
        settings.add("Reliable face size", format!("{} pixels", analyzer.reliable_face_size));
        settings.add("Face detector", &self.settings.detector.name);
        for (name, value) in self.settings.detector.settings.iter().chain(&self.settings.run) {
            settings.add(&name.replace('_', " "), plain(value));
        }

        let mut timing = Rows::new();
        let seconds = self.seconds;
        for (name, seconds) in [
            ("Decoding", seconds.decode),
            ("Finding faces", seconds.detect),
            ("Scoring faces", seconds.classify),
            ("In all (stages overlap)", seconds.total),
        ] {
            timing.add(name, format!("{seconds:.2} s"));
        }
        format!(
            "<section class=\"particulars\">{}{}{}{}</section>",
            input.titled("Input"),
            model.titled("Model"),
            settings.titled("Settings"),
            timing.titled("Time taken")
        )
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
                    "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{x1:.0}, {y1:.0}, {x2:.0}, {y2:.0}</td></tr>",
                    frame.index,
                    clock(frame.time, true),
                    face.track.map_or("&ndash;".into(), person),
                    maybe(face.fake_probability),
                    percent(face.face.confidence),
                    face.quality.map_or("&ndash;".into(), |quality| format!("{:.0} px", quality.detail)),
                )
            })
            .collect();
        let cut = if count > MAX_ROWS { format!(", the first {MAX_ROWS}") } else { String::new() };
        format!(
            "<section><details><summary>All scored faces ({count}{cut})</summary><div class=\"scroll\"><table><thead><tr>\
             <th scope=\"col\">Frame</th><th scope=\"col\">Time</th><th scope=\"col\">Person</th><th scope=\"col\">Fake probability</th>\
             <th scope=\"col\">Detector</th><th scope=\"col\">Detail</th><th scope=\"col\">Box</th></tr></thead><tbody>{rows}</tbody></table></div></details></section>"
        )
    }

    /// Returns the threshold that was applied.
    fn threshold(&self) -> f32 {
        self.settings.analyzer.threshold.unwrap_or(self.model.threshold)
    }

    /// Returns the lowest and the highest probability of the uncertain band.
    fn band(&self) -> (f32, f32) {
        let band = self.settings.analyzer.band(self.model.reliability.as_ref());
        let threshold = self.threshold();
        ((threshold - band).max(0.0), (threshold + band).min(1.0))
    }

    fn counts(&self, track: &Track) -> bool {
        track.counts(&self.settings.analyzer)
    }
}

/// The rows of a table of names and values, all escaped.
struct Rows(String);

impl Rows {
    fn new() -> Self {
        Self(String::new())
    }

    fn add(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.0 += &format!("<dt>{}</dt><dd><bdi>{}</bdi></dd>", escape_html(name), escape_html(&value.to_string()));
        self
    }

    fn maybe(&mut self, name: &str, value: Option<impl ToString>) -> &mut Self {
        if let Some(value) = value {
            self.add(name, value);
        }
        self
    }

    fn titled(&self, title: &str) -> String {
        format!("<div><h2>{title}</h2><dl>{}</dl></div>", self.0)
    }
}

fn crop(crop: FaceCrop) -> String {
    match crop {
        FaceCrop::Box => "the detector's box".into(),
        FaceCrop::Margin { fraction } => format!("the box with a margin of {}", percent(fraction)),
        FaceCrop::Aligned { size, scale, down } => {
            format!("aligned by landmarks, {size} pixels, scale {scale}, {down} down")
        }
    }
}

/// Says how much of the clip was seen, and how densely.
fn looked_at(coverage: &Coverage) -> String {
    let Coverage { seen, duration, share, .. } = *coverage;
    let part = match (duration, share) {
        // Rounded down, so that 99.9 % is not shown as all.
        (Some(duration), Some(share)) => format!("{:.0} % of {} seen", (share * 100.0).floor(), seconds(duration)),
        _ => format!("{} seen, of an unknown length", seconds(seen)),
    };
    format!("{part}: {}", coverage.density())
}

/// Formats a setting as text. Strings are without the quotes that JSON puts around them.
fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn maybe(probability: Option<f32>) -> String {
    probability.map_or("&ndash;".into(), percent)
}

fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}
