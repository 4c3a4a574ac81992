//! Names of files as they are shown.

/// Characters of a file's name that are kept.
const MAX_NAME: usize = 255;

/// Cleans the name that a client or a site gave a file for display: removes folders, control characters (which could
/// command a terminal) and invisible ones, and shortens it to [`MAX_NAME`] characters. The result is still untrusted
/// text.
pub(crate) fn shown_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control() && !is_invisible(*c)).take(MAX_NAME).collect();
    if clean.trim().is_empty() { "video".into() } else { clean }
}

/// Returns whether a character reverses the direction of text or has no width: with it, `gpj.exe` can look like
/// `exe.jpg`.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_shown_without_folders_and_control_characters() {
        assert_eq!(shown_name("clip.mp4"), "clip.mp4");
        assert_eq!(shown_name("../../etc/passwd"), "passwd");
        assert_eq!(shown_name("C:\\fakepath\\clip.mp4"), "clip.mp4");
        assert_eq!(shown_name("a\u{1b}[31m\nb\u{202e}4pm.exe"), "a[31mb4pm.exe");
        assert_eq!(shown_name("<img src=x onerror=alert(1)>.mp4"), "<img src=x onerror=alert(1)>.mp4");
        assert_eq!(shown_name("  "), "video");
        assert_eq!(shown_name(&"x".repeat(10_000)).len(), MAX_NAME);
    }
}
