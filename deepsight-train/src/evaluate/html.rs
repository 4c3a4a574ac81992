use std::fmt::Write;

use deepsight_core::report::escape_html;

use super::sources::{GroupRow, tables};
use super::text::{
    BY_SOURCE, ROBUSTNESS, VERDICTS, VERDICTS_NOTE, capital, four, heading_of_intervals, or_all, verdict_cells,
    verdict_limits,
};
use super::{Evaluation, MeanValue, Section};
use crate::calibrate::MeasuredVerdicts;
use crate::{Error, Label};

const STYLE: &str = include_str!("style.css");
/// Most rows in a table of single videos or clips. The JSON has all of them.
const MAX_ROWS: usize = 500;

impl Evaluation {
    /// Renders the evaluation as one self-contained HTML page with its figures. The page needs no script and no
    /// network, has a light and a dark style, and suits screen and paper.
    ///
    /// # Errors
    /// [`Error::Figure`] when a figure cannot be drawn.
    pub fn to_html(&self) -> Result<String, Error> {
        let title = format!("Evaluation of {}", self.model.name);
        let mut body = self.header(&title);
        for section in &self.sections {
            body += &measured(section, self.bootstrap.level)?;
        }
        body += &self.by_source_section();
        body += &self.verdict_section();
        body += &self.quality.as_ref().map(super::QualityReport::to_html).unwrap_or_default();
        body += &self.robustness_section();
        body += &self.clip_section();
        body += &self.notes_section();
        body += &self.particulars();
        body += &self.video_section();
        Ok(format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n\
             <body>\n<main>\n{body}\n</main>\n<footer>{}</footer>\n</body>\n</html>\n",
            escape_html(&title),
            escape_html(self.program),
        ))
    }

    fn header(&self, title: &str) -> String {
        let split = self.data.split.map_or_else(String::new, |split| format!(", split {split}"));
        let mean = self.source_means.as_ref().and_then(|means| means.videos.first()).map(mean_card).unwrap_or_default();
        let cards: String = self.sections.iter().map(|section| card(section, self.bootstrap.level)).collect();
        format!(
            "<header><p class=\"note\"><bdi>{}</bdi>{split}</p><h1>{}</h1><div class=\"cards\">{mean}{cards}</div>\
             </header>\n",
            escape_html(&self.data.source),
            escape_html(title),
        )
    }

    fn by_source_section(&self) -> String {
        if self.by_source.is_empty() {
            return String::new();
        }
        let columns: Vec<_> = BY_SOURCE.into_iter().flatten().collect();
        let head: String = columns.iter().map(|(_, title)| format!("<th scope=\"col\">{title}</th>")).collect();
        let mut html = String::from("<section><h2>By source and method</h2>");
        for (kind, rows) in tables(&self.by_source, self.source_means.as_ref()) {
            let row = |row: &GroupRow<'_>| {
                let cells: String =
                    columns.iter().map(|(metric, _)| cell(row.value(*metric), row.interval(*metric))).collect();
                let [reals, fakes] = row.counts.map_or([String::new(), String::new()], |n| n.map(|n| n.to_string()));
                let indent = if row.of_source { "&emsp;" } else { "" };
                let name = escape_html(row.name);
                format!(
                    "<tr><th scope=\"row\">{indent}<bdi>{name}</bdi></th><td>{reals}</td><td>{fakes}</td>{cells}</tr>"
                )
            };
            let rows: String = rows.iter().map(row).collect();
            let _ = write!(
                html,
                "<div class=\"scroll\"><table><caption>{}</caption><thead><tr><th scope=\"col\">Source</th>\
                 <th scope=\"col\">real</th><th scope=\"col\">fake</th>{head}</tr></thead><tbody>{rows}</tbody>\
                 </table></div>",
                capital(kind)
            );
        }
        html + "<p class=\"note\">A method's row has its fakes against all reals of the source. In the mean every \
                source counts the same.</p></section>\n"
    }

    fn verdict_section(&self) -> String {
        let fitted = self.fitted.as_ref();
        let tables = [
            ("Before calibration", fitted.and_then(|fitted| fitted.before.as_ref())),
            ("After calibration", fitted.map(|fitted| &fitted.after)),
            ("As measured here", self.video_verdicts.as_ref()),
        ];
        let tables: String =
            tables.into_iter().filter_map(|(title, verdicts)| Some(verdict_table(title, verdicts?))).collect();
        if tables.is_empty() {
            return tables;
        }
        let note = VERDICTS_NOTE;
        format!("<section><h2>Verdicts by source, videos</h2>{tables}<p class=\"note\">{note}</p></section>\n")
    }

    fn robustness_section(&self) -> String {
        if self.robustness.is_empty() {
            return String::new();
        }
        let head: String = ROBUSTNESS.iter().map(|(_, title)| format!("<th scope=\"col\">{title}</th>")).collect();
        let mut html = String::from("<section><h2>Robustness</h2>");
        for (kind, rows) in self.robustness_tables() {
            let rows: String = rows.into_iter().map(|(name, section)| robustness_row(name, section)).collect();
            let _ = write!(
                html,
                "<div class=\"scroll\"><table><caption>{}</caption><thead><tr><th scope=\"col\">Input</th>{head}</tr>\
                 </thead><tbody>{rows}</tbody></table></div>",
                escape_html(&capital(kind))
            );
        }
        html + "</section>\n"
    }

    fn clip_section(&self) -> String {
        if self.clips.is_empty() {
            return String::new();
        }
        let verdicts: String = Label::ALL
            .map(|label| {
                let [real, fake, uncertain] = self.verdicts_of(label);
                format!("<tr><th scope=\"row\">{label}</th><td>{real}</td><td>{fake}</td><td>{uncertain}</td></tr>")
            })
            .concat();
        let row = |clip: &super::ClipScore| {
            format!(
                "<tr><th scope=\"row\"><bdi>{}</bdi></th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape_html(&clip.file.to_string_lossy()),
                clip.label,
                clip.verdict,
                four(clip.fake_probability.map(f64::from)),
                clip.faces
            )
        };
        let rows: String = self.clips.iter().take(MAX_ROWS).map(row).collect();
        let failed: String = self
            .failures
            .iter()
            .map(|failure| {
                let file = escape_html(&failure.file.to_string_lossy());
                format!("<li><bdi>{file}</bdi>: {}</li>", escape_html(&failure.reason))
            })
            .collect();
        let failed = if failed.is_empty() { failed } else { format!("<h3>Not analysed</h3><ul>{failed}</ul>") };
        format!(
            "<section><h2>Verdicts</h2><div class=\"scroll\"><table><thead><tr><th scope=\"col\">Clip is</th>\
             <th scope=\"col\">REAL</th><th scope=\"col\">FAKE</th><th scope=\"col\">UNCERTAIN</th></tr></thead>\
             <tbody>{verdicts}</tbody>\
             </table></div>{failed}<details><summary>All clips ({})</summary><div class=\"scroll\"><table><thead><tr>\
             <th scope=\"col\">Clip</th><th scope=\"col\">Is</th><th scope=\"col\">Verdict</th>\
             <th scope=\"col\">Fake probability</th>\
             <th scope=\"col\">Faces</th></tr></thead><tbody>{rows}</tbody></table></div></details></section>\n",
            counted(self.clips.len()),
        )
    }

    fn notes_section(&self) -> String {
        let notes: String = self.notes.iter().map(|note| format!("<li>{}</li>", escape_html(note))).collect();
        if notes.is_empty() { notes } else { format!("<section><h2>Notes</h2><ul>{notes}</ul></section>\n") }
    }

    fn particulars(&self) -> String {
        let model = &self.model;
        let mut rows = vec![
            ("Model", model.name.clone()),
            ("Network", format!("{} at {} pixels", model.architecture, model.input_size)),
            ("SHA-256", model.sha256.clone().unwrap_or_default()),
            ("Temperature", format!("{:.4}", model.temperature)),
            ("Fitted on", self.fitted_on().unwrap_or_default()),
            ("Trained on", model.trained_on.clone()),
        ];
        let Self { bootstrap, .. } = self;
        if bootstrap.replicates > 0 {
            let drawn = format!("{} draws of videos, seed {}", bootstrap.replicates, bootstrap.seed);
            rows.push(("Intervals", format!("{:.0} %, {drawn}", 100.0 * bootstrap.level)));
        }
        let rows: String = rows
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("<dt>{name}</dt><dd><bdi>{}</bdi></dd>", escape_html(&value)))
            .collect();
        format!("<section><h2>Particulars</h2><dl>{rows}</dl></section>\n")
    }

    fn video_section(&self) -> String {
        if self.videos.is_empty() {
            return String::new();
        }
        // Lists the videos with the largest errors first.
        let off = |video: &&crate::metrics::VideoScore| match video.label {
            Label::Real => video.fake_probability,
            Label::Fake => 1.0 - video.fake_probability,
        };
        let mut videos: Vec<_> = self.videos.iter().collect();
        videos.sort_by(|a, b| off(b).total_cmp(&off(a)));
        let row = |video: &&crate::metrics::VideoScore| {
            format!(
                "<tr><th scope=\"row\"><bdi>{}</bdi></th><td>{}</td><td>{:.4}</td><td>{}</td></tr>",
                escape_html(&video.video),
                video.label,
                video.fake_probability,
                video.faces
            )
        };
        let rows: String = videos.iter().take(MAX_ROWS).map(row).collect();
        format!(
            "<section><details><summary>All videos ({}), worst first</summary><div class=\"scroll\"><table><thead><tr>\
             <th scope=\"col\">Video</th><th scope=\"col\">Is</th><th scope=\"col\">Fake probability</th>\
             <th scope=\"col\">Faces</th></tr></thead><tbody>{rows}</tbody></table></div></details></section>\n",
            counted(self.videos.len()),
        )
    }
}

fn counted(rows: usize) -> String {
    if rows > MAX_ROWS { format!("{MAX_ROWS} of {rows}") } else { rows.to_string() }
}

/// Renders the mean AUC over sources as a large number. The AUC is the first of the metrics.
fn mean_card(auc: &MeanValue) -> String {
    let interval = auc
        .interval
        .map_or_else(String::new, |[low, high]| format!("<p class=\"note\">interval {low:.3} to {high:.3}</p>"));
    let value = auc.value.map_or_else(|| "&ndash;".into(), |value| format!("{value:.3}"));
    format!(
        "<div class=\"card\"><p class=\"note\">AUC, videos, mean over sources</p>\
         <p class=\"number\">{value}</p>{interval}<p class=\"note\">{} sources with both classes</p></div>",
        auc.sources
    )
}

/// Renders the AUC of a section as a large number.
fn card(section: &Section, level: f64) -> String {
    let auc = section.get(crate::metrics::Metric::Auc);
    let interval = auc.interval.map_or_else(String::new, |[low, high]| {
        format!("<p class=\"note\">{} {low:.3} to {high:.3}</p>", heading_of_intervals(level))
    });
    let value = auc.value.map_or_else(|| "&ndash;".into(), |value| format!("{value:.3}"));
    let Section { name, reals, fakes, .. } = section;
    format!(
        "<div class=\"card\"><p class=\"note\">AUC, {}</p><p class=\"number\">{value}</p>{interval}\
         <p class=\"note\">{reals} real, {fakes} fake</p></div>",
        escape_html(name)
    )
}

fn measured(section: &Section, level: f64) -> Result<String, Error> {
    let row = |measured: &super::MeasuredValue| {
        let interval = measured.interval.map_or_else(String::new, |[low, high]| format!("{low:.4} to {high:.4}"));
        let value = four(measured.value);
        format!(
            "<tr><th scope=\"row\">{}</th><td>{value}</td><td>{interval}</td></tr>",
            escape_html(measured.metric.title())
        )
    };
    let rows: String = section.metrics.iter().map(row).collect();
    let mut figures = String::new();
    for figure in section.figures() {
        let _ = write!(figures, "<figure>{}</figure>", figure.to_svg()?);
    }
    let Section { name, threshold, .. } = section;
    Ok(format!(
        "<section><h2>{}</h2><p class=\"note\">called fake from {threshold:.4}</p><div class=\"scroll\"><table><thead>\
         <tr><th scope=\"col\">Metric</th><th scope=\"col\">Value</th><th scope=\"col\">{}</th></tr></thead>\
         <tbody>{rows}</tbody></table></div><div class=\"figures\">{figures}</div></section>\n",
        escape_html(&capital(name)),
        heading_of_intervals(level),
    ))
}

fn verdict_table(title: &str, verdicts: &MeasuredVerdicts) -> String {
    let head: String = VERDICTS.iter().map(|title| format!("<th scope=\"col\">{title}</th>")).collect();
    let row = |source: &crate::calibrate::VerdictRates| {
        let cells = verdict_cells(source).map(|cell| format!("<td>{cell}</td>")).concat();
        format!("<tr><th scope=\"row\"><bdi>{}</bdi></th>{cells}</tr>", escape_html(or_all(&source.name)))
    };
    let rows: String = verdicts.sources.iter().map(row).collect();
    format!(
        "<div class=\"scroll\"><table><caption>{title}: {}; calibration error of all sources together {:.4} \
         over videos, {:.4} over faces</caption><thead><tr><th scope=\"col\">Source</th>{head}</tr></thead>\
         <tbody>{rows}</tbody></table></div>",
        verdict_limits(verdicts),
        verdicts.video_calibration_error,
        verdicts.face_calibration_error,
    )
}

/// Renders a table cell with a value and its interval below it.
fn cell(value: Option<f64>, interval: Option<[f64; 2]>) -> String {
    let interval = interval
        .map_or_else(String::new, |[low, high]| format!("<br><span class=\"note\">{low:.3} to {high:.3}</span>"));
    format!("<td>{}{interval}</td>", four(value))
}

fn robustness_row(name: &str, section: &Section) -> String {
    let cell = |(metric, _): &(crate::metrics::Metric, &str)| {
        let measured = section.get(*metric);
        cell(measured.value, measured.interval)
    };
    let cells: String = ROBUSTNESS.iter().map(cell).collect();
    format!("<tr><th scope=\"row\">{}</th>{cells}</tr>", escape_html(name))
}
