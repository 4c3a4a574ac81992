//! The words and numbers that page, chart and pictures share, as HTML.

/// Returns the name of a track on the page. People are numbered from 1.
pub(super) fn person(track: usize) -> String {
    format!("Person {}", track.saturating_add(1))
}

/// Formats a time as `m:ss`, with tenths of a second if requested.
pub(super) fn clock(seconds: f64, tenths: bool) -> String {
    let sign = if seconds < 0.0 { "&minus;" } else { "" };
    let (total, digits) = if tenths { ((seconds.abs() * 10.0).round(), 1) } else { (seconds.abs().round() * 10.0, 0) };
    let (minutes, rest) = ((total / 600.0).floor(), (total % 600.0) / 10.0);
    let width = if tenths { 4 } else { 2 };
    format!("{sign}{minutes:.0}:{rest:0width$.digits$}")
}

/// Escapes text for use between tags and in quoted attributes. Control characters become U+FFFD.
pub fn escape_html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_element_or_attribute() {
        assert_eq!(escape_html("<b a=\"x\" b='y'>&\n"), "&lt;b a=&quot;x&quot; b=&#39;y&#39;&gt;&amp;\u{fffd}");
    }

    #[test]
    fn times_are_written_as_a_clock_shows_them() {
        assert_eq!(clock(0.0, true), "0:00.0");
        assert_eq!(clock(59.96, true), "1:00.0");
        assert_eq!(clock(3601.25, false), "60:01");
        assert_eq!(clock(-0.5, true), "&minus;0:00.5");
    }
}
