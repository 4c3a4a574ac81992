//! Advice for errors of videos: the flag or command that helps.

use deepsight_video::{Limit, VideoError};

/// Returns the advice for an error, as the end of a sentence. Returns `None` if the error already contains it, or if
/// there is none.
pub(super) fn of(error: &VideoError) -> Option<&'static str> {
    match error {
        VideoError::OverLimit { limit: Limit::Pixels, .. } => {
            Some("make it smaller first, such as with `ffmpeg -i clip.mp4 -vf scale=1920:-2 smaller.mp4`")
        }
        VideoError::OverLimit { limit: Limit::FileBytes | Limit::Frames, .. } => {
            Some("cut out a part first, such as with `ffmpeg -ss 0:00 -t 10:00 -i clip.mp4 -c copy part.mp4`")
        }
        VideoError::TimedOut { .. } => Some("--timeout raises the limit"),
        VideoError::FfmpegMissing { .. } | VideoError::UnknownHwAccel { .. } => None,
        VideoError::HwAccel { .. } => Some("leave out --hwaccel to decode on the CPU"),
        VideoError::NoSuchStream { .. } => Some("change --stream, or leave it out"),
        VideoError::InvalidSampling { .. } => Some("change --frames or --fps"),
        VideoError::IndexAtEnd { .. } => Some("leave out --live, so that the file is kept until it ends"),
        VideoError::Y4mFile { .. } => Some("a pipe is `deepsight analyze - < clip.y4m`"),
        VideoError::Truncated { .. } => Some("get the complete file, or download it again"),
        _ => None,
    }
}

/// Appends the advice to a message, and replaces a setting's name by its flag.
pub(super) fn add(message: String, cure: Option<&str>) -> String {
    let message = message.replace("max_duration_seconds", "--max-duration");
    match cure {
        Some(cure) => format!("{message}; {cure}"),
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_error_that_a_flag_cures_names_the_flag() {
        let path = || PathBuf::from("clip.mp4");
        let over = |limit| VideoError::OverLimit { path: path(), limit, value: 7200, max: 3600 };
        let slow = VideoError::TimedOut { path: path(), program: "ffmpeg", limit: Duration::from_secs(60) };
        let none = VideoError::InvalidSampling { reason: "no frame".into() };
        let stream = VideoError::NoSuchStream { path: path(), stream: 3, choice: vec![0, 1] };
        for (error, flag) in [
            (over(Limit::Pixels), "scale="),
            (over(Limit::FileBytes), "-c copy"),
            (over(Limit::Frames), "-c copy"),
            (slow, "--timeout"),
            (none, "--fps"),
            (VideoError::Y4mFile { path: path() }, "`deepsight analyze - < clip.y4m`"),
            (stream, "--stream"),
        ] {
            let message = add(error.to_string(), of(&error));
            assert!(message.starts_with(&error.to_string()) && message.contains(flag), "{message}");
        }
        let long = VideoError::TooLong { path: path(), seconds: 7200, max_seconds: 3600 };
        let told = "clip.mp4: 2 h is longer than the limit of 1 h; raise --max-duration, or cut the video";
        assert_eq!(add(long.to_string(), of(&long)), told);
        let empty = VideoError::EmptyFile { path: path() };
        assert_eq!(add(empty.to_string(), of(&empty)), "clip.mp4: the file is empty");
    }
}
