use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
};

use crate::{
    DecodeLimits, Limit, VideoError,
    answer::{self, Answer, Disposition, Unread},
    ffmpeg::{self, Programs},
    orientation::Orientation,
    process::{Ending, Process},
    scan::{Packets, Scan},
};

/// Properties of a file's video stream, as its headers state them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Header {
    pub(crate) stream: u32,
    pub(crate) container: String,
    pub(crate) codec: String,
    pub(crate) pixel_format: Option<String>,
    /// Whether colors go from 0 to 255 rather than from 16 to 235.
    pub(crate) full_range: bool,
    /// Width as coded, before any rotation.
    pub(crate) width: u32,
    /// Height as coded, before any rotation.
    pub(crate) height: u32,
    pub(crate) orientation: Orientation,
    pub(crate) sample_aspect_ratio: (u32, u32),
    pub(crate) average_frame_rate: Option<f64>,
    pub(crate) nominal_frame_rate: Option<f64>,
    /// Length of one tick of the container's clock, in seconds.
    pub(crate) tick: f64,
    pub(crate) start: Option<f64>,
    pub(crate) stream_duration: Option<f64>,
    pub(crate) container_duration: Option<f64>,
    pub(crate) frames: Option<u64>,
    /// Whether ffmpeg is older than 5.1, where `-fps_mode` is called `-vsync`.
    pub(crate) old_sync_option: bool,
}

/// Largest file in bytes whose headers and packets are read in one run of ffprobe, because ffprobe takes longer to
/// start than to read such a file. The headers of larger files are read first, because they may show that the rest need
/// not be read.
const SMALL_FILE: u64 = 64 << 20;

/// Reads the headers of a file of `bytes` bytes, and every packet once. Decodes nothing if packets and frames
/// correspond one to one. Returns an error if the video is over a limit.
pub(crate) fn look(
    path: &Path,
    bytes: u64,
    programs: &Programs,
    limits: &DecodeLimits,
) -> Result<(Header, Scan), VideoError> {
    let ask = |show: &[&str], packets: &mut Packets| ask(path, programs, limits, show, packets);
    let (header, mut scan) = 'looked: {
        if bytes <= SMALL_FILE {
            let mut packets = Packets::new(None, limits.max_frames);
            match ask(&[VERSIONS, ENTRIES, &format!("{PACKETS}:{HEADERS}")], &mut packets) {
                Ok(answer) => {
                    let header = answer.header(path)?;
                    header.check(path, limits)?;
                    let scan = packets.finish(header.stream, header.tick);
                    break 'looked (header, scan);
                }
                // The code below finds out which stream that is, and whether the headers alone are over a limit.
                Err(VideoError::OverLimit { limit: Limit::Frames, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let answer = ask(&[VERSIONS, ENTRIES, HEADERS], &mut Packets::new(None, limits.max_frames))?;
        let header = answer.header(path)?;
        header.check(path, limits)?;
        let mut packets = Packets::new(Some(header.stream), limits.max_frames);
        ask(&[ENTRIES, PACKETS], &mut packets)?;
        let scan = packets.finish(header.stream, header.tick);
        (header, scan)
    };
    if !header.packets_are_frames() {
        scan.frames = count_frames(path, programs, limits, header.stream)?;
    }
    Ok((header, scan))
}

impl Header {
    /// Returns an error if the headers state a value over a limit.
    fn check(&self, path: &Path, limits: &DecodeLimits) -> Result<(), VideoError> {
        let over = |limit, value, max| Err(VideoError::OverLimit { path: path.to_path_buf(), limit, value, max });
        let pixels = u64::from(self.width) * u64::from(self.height);
        if pixels > limits.max_pixels {
            return over(Limit::Pixels, pixels, limits.max_pixels);
        }
        let seconds = self.stream_duration.into_iter().chain(self.container_duration).fold(0.0, f64::max).ceil() as u64;
        if seconds > limits.max_duration_seconds {
            return over(Limit::DurationSeconds, seconds, limits.max_duration_seconds);
        }
        Ok(())
    }

    /// Returns whether packets and frames correspond one to one. VP8 stores hidden reference frames in packets of their
    /// own, and a broadcast recording begins with frames that refer to others sent before it. For these, only decoding
    /// shows how many frames come out.
    fn packets_are_frames(&self) -> bool {
        self.codec != "vp8" && !["mpegts", "mpeg", "mpegvideo"].contains(&self.container.as_str())
    }
}

/// Returns the error that the messages of a failed ffprobe or ffmpeg mean.
pub(crate) fn refusal(path: &Path, ending: &Ending, limits: &DecodeLimits) -> VideoError {
    let (path, reason) = (path.to_path_buf(), ending.stderr.clone());
    // The decoder refuses a large picture before ffprobe can print its size: "Picture size 12000x12000 exceeds ...".
    if let Some((size, _)) = reason.split_once(" exceeds specified max pixel count") {
        let size = size.rsplit(' ').next().unwrap_or_default().split_once('x');
        let parsed = size.and_then(|(w, h)| Some(w.parse::<u64>().ok()?.saturating_mul(h.parse().ok()?)));
        if let Some(value) = parsed {
            return VideoError::OverLimit { path, limit: Limit::Pixels, value, max: limits.max_pixels };
        }
    }
    if reason.contains("not on whitelist") {
        // The message continues with the whole allow-list.
        let refused = reason.split(" not on whitelist").next().unwrap_or_default().rsplit("; ").next();
        return VideoError::NotAllowed { path, reason: refused.unwrap_or_default().to_owned() };
    }
    let reason = if reason.is_empty() { format!("ffprobe ended with {}", ending.status) } else { reason };
    VideoError::NotAVideo { path, reason }
}

const VERSIONS: &str = "-show_library_versions";
const ENTRIES: &str = "-show_entries";
const PACKETS: &str = "packet=codec_type,stream_index,pts_time,dts_time,duration_time,flags";
const HEADERS: &str = "format=format_name,duration:stream=index,codec_type,codec_name,pix_fmt,color_range,width,\
     height,sample_aspect_ratio,r_frame_rate,avg_frame_rate,time_base,start_time,duration,nb_frames:stream_disposition=\
     attached_pic,timed_thumbnails,still_image:stream_side_data_list:stream_side_data=displaymatrix";

/// Runs ffprobe once and passes its packets to `packets`. Ends ffprobe if there are too many frames.
fn ask(
    path: &Path,
    programs: &Programs,
    limits: &DecodeLimits,
    show: &[&str],
    packets: &mut Packets,
) -> Result<Answer, VideoError> {
    let show = [show, &["-of", "json=compact=1"]].concat();
    let mut process =
        Process::spawn(&mut ffmpeg::ffprobe(&programs.ffprobe, path, limits, &show), limits, None, |_| false)?;
    let failed = |source| VideoError::Spawn { program: programs.ffprobe.clone(), source };
    let answer = match answer::read(process.output(), packets) {
        Ok(answer) => Some(answer),
        // The exit status and messages of the process tell why the answer was cut short.
        Err(Unread::CutShort) => None,
        Err(Unread::TooManyFrames(value)) => {
            let (path, max) = (path.to_path_buf(), limits.max_frames);
            return Err(VideoError::OverLimit { path, limit: Limit::Frames, value, max });
        }
        Err(Unread::Malformed(reason)) => return Err(unusable(path, format!("ffprobe's answer: {reason}"))),
        Err(Unread::Io(source)) => return Err(failed(source)),
    };
    finish(process, path, programs, limits)?;
    answer.ok_or_else(|| unusable(path, "ffprobe's answer has no end".into()))
}

/// Decodes a stream and returns the number of its frames.
fn count_frames(path: &Path, programs: &Programs, limits: &DecodeLimits, stream: u32) -> Result<u64, VideoError> {
    let (threads, stream) = (limits.threads().to_string(), stream.to_string());
    let show = ["-threads", &threads, "-select_streams", &stream];
    let show = [&show[..], &["-show_entries", "frame=best_effort_timestamp_time", "-of", "compact"]].concat();
    let mut process =
        Process::spawn(&mut ffmpeg::ffprobe(&programs.ffprobe, path, limits, &show), limits, None, |_| false)?;
    let failed = |source| VideoError::Spawn { program: programs.ffprobe.clone(), source };
    let mut frames = 0;
    let mut lines = BufReader::new(process.output());
    let mut line = Vec::new();
    // A line has some tens of bytes. A longer one is read in pieces, of which at most one begins like a frame.
    while (&mut lines).take(1 << 12).read_until(b'\n', &mut line).map_err(failed)? > 0 {
        frames += u64::from(line.starts_with(b"frame|"));
        line.clear();
        if frames > limits.max_frames {
            let (path, max) = (path.to_path_buf(), limits.max_frames);
            return Err(VideoError::OverLimit { path, limit: Limit::Frames, value: frames, max });
        }
    }
    finish(process, path, programs, limits)?;
    Ok(frames)
}

/// Waits for an ffprobe whose output has ended. Returns an error unless it succeeded.
fn finish(mut process: Process, path: &Path, programs: &Programs, limits: &DecodeLimits) -> Result<(), VideoError> {
    let ending = process.finish();
    let ending = ending.map_err(|source| VideoError::Spawn { program: programs.ffprobe.clone(), source })?;
    if process.timed_out() {
        return Err(VideoError::TimedOut { path: path.to_path_buf(), program: "ffprobe", limit: limits.max_wait });
    }
    if !ending.status.success() { Err(refusal(path, &ending, limits)) } else { Ok(()) }
}

fn unusable(path: &Path, reason: String) -> VideoError {
    VideoError::Probe { path: path.to_path_buf(), reason }
}

impl Answer {
    fn header(self, path: &Path) -> Result<Header, VideoError> {
        // The first stream of moving pictures, as in OpenCV. Cover art is a video stream with one still image.
        let moving = |s: &&answer::Stream| {
            let Disposition { attached_pic, timed_thumbnails, still_image } = s.disposition;
            s.codec_type.as_deref() == Some("video") && attached_pic + timed_thumbnails + still_image == 0
        };
        let Some(stream) = self.streams.iter().find(moving) else {
            return Err(VideoError::NoVideoStream { path: path.to_path_buf() });
        };
        let (Some(width @ 1..), Some(height @ 1..)) = (stream.width, stream.height) else {
            return Err(unusable(path, "its video has no width and height".into()));
        };
        let matrix = stream.side_data_list.iter().find_map(|data| data.displaymatrix.as_deref());
        let sync_renamed = (59, 27);
        Ok(Header {
            stream: stream.index,
            container: self.format.format_name.unwrap_or_else(|| "unknown".into()),
            codec: stream.codec_name.clone().unwrap_or_else(|| "unknown".into()),
            pixel_format: stream.pix_fmt.clone(),
            full_range: stream.color_range.as_deref() == Some("pc"),
            width,
            height,
            orientation: matrix.map(Orientation::from_display_matrix).unwrap_or_default(),
            sample_aspect_ratio: ratio(stream.sample_aspect_ratio.as_deref(), ':').unwrap_or((1, 1)),
            average_frame_rate: rate(stream.avg_frame_rate.as_deref()),
            nominal_frame_rate: rate(stream.r_frame_rate.as_deref()),
            tick: rate(stream.time_base.as_deref()).unwrap_or(0.0),
            start: seconds(stream.start_time.as_deref()),
            stream_duration: seconds(stream.duration.as_deref()).filter(|&d| d > 0.0),
            container_duration: seconds(self.format.duration.as_deref()).filter(|&d| d > 0.0),
            frames: stream.nb_frames.as_deref().and_then(|n| n.parse().ok()).filter(|&n| n > 0),
            old_sync_option: (self.library_versions.iter())
                .any(|library| library.name == "libavformat" && (library.major, library.minor) < sync_renamed),
        })
    }
}

fn seconds(text: Option<&str>) -> Option<f64> {
    text?.parse().ok().filter(|s: &f64| s.is_finite())
}

fn rate(text: Option<&str>) -> Option<f64> {
    ratio(text, '/').map(|(over, under)| f64::from(over) / f64::from(under))
}

fn ratio(text: Option<&str>, separator: char) -> Option<(u32, u32)> {
    let (over, under) = text?.split_once(separator)?;
    Some((over.parse().ok().filter(|&n| n > 0)?, under.parse().ok().filter(|&n| n > 0)?))
}

/// Draws every conclusion from an answer that [`look`] draws.
#[cfg(any(test, fuzzing))]
pub(crate) fn conclude(answer: Answer, packets: Packets, path: &Path) {
    if let Ok(header) = answer.header(path) {
        // A value over a limit is an error.
        let _ = header.check(path, &DecodeLimits::default());
        let _ = (header.packets_are_frames(), packets.finish(header.stream, header.tick));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(json: &str) -> Result<Header, VideoError> {
        answer::read(json.as_bytes(), &mut Packets::new(None, 0)).unwrap().header(Path::new("clip.mp4"))
    }

    #[test]
    fn the_first_moving_picture_is_the_video() {
        let header = parse(
            r#"{"streams":[{"index":0,"codec_type":"audio"},
                {"index":1,"codec_type":"video","width":9,"height":9,"disposition":{"attached_pic":1}},
                {"index":2,"codec_type":"video","codec_name":"h264","width":64,"height":48,"avg_frame_rate":"30000/1001",
                 "r_frame_rate":"0/0","sample_aspect_ratio":"4:3","nb_frames":"12","start_time":"0.5"}],
                "format":{"format_name":"mov,mp4","duration":"1.5"}}"#,
        )
        .unwrap();
        assert_eq!((header.stream, header.width, header.height), (2, 64, 48));
        assert_eq!((header.frames, header.sample_aspect_ratio), (Some(12), (4, 3)));
        assert_eq!((header.average_frame_rate, header.nominal_frame_rate), (Some(30000.0 / 1001.0), None));
        assert_eq!((header.start, header.stream_duration, header.container_duration), (Some(0.5), None, Some(1.5)));
    }

    #[test]
    fn a_video_without_a_size_is_refused() {
        let error = parse(r#"{"streams":[{"index":0,"codec_type":"video","width":0,"height":48}]}"#).unwrap_err();
        assert!(matches!(error, VideoError::Probe { .. }), "{error}");
    }

    #[test]
    fn the_name_of_the_sync_option_depends_on_the_version() {
        let of = |version: &str| {
            let streams = r#"[{"index":0,"codec_type":"video","width":2,"height":2}]"#;
            parse(&format!(r#"{{"library_versions":[{{"name":"libavformat",{version}}}],"streams":{streams}}}"#))
                .unwrap()
        };
        assert!(of(r#""major":58,"minor":76"#).old_sync_option);
        assert!(!of(r#""major":59,"minor":27"#).old_sync_option);
    }
}
