//! The report on quality limits as text and as HTML.

use std::fmt::Write;

use deepsight_core::{QualityLimits, report::escape_html};

use super::text::four;
use super::{QualityBin, QualityFigures, QualityReport};

const LEVEL_COLUMNS: [&str; 6] = ["real", "fake", "AUC", "FPR", "mean real", "mean fake"];
const BIN_COLUMNS: [&str; 7] = ["from", "to", "real", "fake", "AUC", "FPR", "reached"];

/// A table: its caption, the heading of its first column and of the others, and its rows.
struct QualityTable {
    caption: String,
    first: &'static str,
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<String>)>,
}

impl QualityReport {
    pub(super) fn to_text(&self) -> String {
        let mut text = String::new();
        for QualityTable { caption, first, columns, rows } in self.tables() {
            let widest = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0).max(22);
            let _ = write!(text, "\n{caption}\n{first:<widest$}");
            text += &columns.iter().map(|column| format!(" {column:>9}")).collect::<String>();
            text.push('\n');
            for (name, cells) in rows {
                let cells: String = cells.iter().map(|cell| format!(" {cell:>9}")).collect();
                let _ = writeln!(text, "{name:<widest$}{cells}");
            }
        }
        text + &self.sentence() + "\n"
    }

    pub(super) fn to_html(&self) -> String {
        let mut html = String::from("<section><h2>Quality</h2>");
        for QualityTable { caption, first, columns, rows } in self.tables() {
            let head: String = columns.iter().map(|column| format!("<th scope=\"col\">{column}</th>")).collect();
            let row = |(name, cells): (String, Vec<String>)| {
                let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
                format!("<tr><th scope=\"row\"><bdi>{}</bdi></th>{cells}</tr>", escape_html(&name))
            };
            let rows: String = rows.into_iter().map(row).collect();
            let _ = write!(
                html,
                "<div class=\"scroll\"><table><caption>{}</caption><thead><tr><th scope=\"col\">{first}</th>\
                 {head}</tr></thead><tbody>{rows}</tbody></table></div>",
                escape_html(&caption)
            );
        }
        html + "<p class=\"note\">" + &self.sentence() + "</p></section>\n"
    }

    /// Returns a sentence with the aim and the limits.
    fn sentence(&self) -> String {
        let QualityLimits { min_detail, full_detail, min_light, max_turn, .. } = self.limits;
        let mut text = format!(
            "Faces must reach an AUC of {} with a false-positive rate of at most {:.4}: detail of {min_detail} \
             pixels, in full from {full_detail} pixels, light of {min_light}, turn of at most {max_turn} degrees.",
            self.aim.auc, self.false_positive_bound
        );
        for measure in &self.not_reached {
            let _ = write!(text, " The best faces by {measure} do not reach it, so {measure} has no limit.");
        }
        text
    }

    fn tables(&self) -> Vec<QualityTable> {
        let mut tables = Vec::new();
        let sources = self.levels.first().map_or(0, |level| level.figures.len());
        for place in 0..sources {
            let name = self.levels[0].figures[place].source.as_deref();
            let row = |level: &super::QualityLevel| {
                let figures = level.figures.iter().find(|figures| figures.source.as_deref() == name)?;
                Some((level.level.clone(), level_cells(figures)))
            };
            tables.push(QualityTable {
                caption: format!("Degraded faces, {}", name.unwrap_or("mean over sources")),
                first: "level",
                columns: LEVEL_COLUMNS.to_vec(),
                rows: self.levels.iter().filter_map(row).collect(),
            });
        }
        for (name, bins) in
            [("detail in pixels", &self.detail), ("light", &self.light), ("turn in degrees", &self.turn)]
        {
            let row = |(place, bin): (usize, &QualityBin)| ((place + 1).to_string(), bin_cells(bin));
            tables.push(QualityTable {
                caption: format!("Faces by {name}, mean over sources"),
                first: "bin",
                columns: BIN_COLUMNS.to_vec(),
                rows: bins.iter().enumerate().map(row).collect(),
            });
        }
        tables
    }
}

fn level_cells(figures: &QualityFigures) -> Vec<String> {
    let QualityFigures { reals, fakes, auc, false_positive_rate, mean_real, mean_fake, .. } = figures;
    let counts = [reals, fakes].map(|count| count.to_string());
    counts.into_iter().chain([auc, false_positive_rate, mean_real, mean_fake].map(|value| four(*value))).collect()
}

fn bin_cells(bin: &QualityBin) -> Vec<String> {
    let QualityBin { from, to, figures, reached, .. } = bin;
    vec![
        format!("{from:.2}"),
        format!("{to:.2}"),
        figures.reals.to_string(),
        figures.fakes.to_string(),
        four(figures.auc),
        four(figures.false_positive_rate),
        if *reached { "yes" } else { "no" }.into(),
    ]
}
