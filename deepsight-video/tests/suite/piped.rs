//! Videos that arrive on a pipe: the frames of the file, cut and endless streams, garbage, silence.

use std::{
    io::{self, Cursor, Read},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver},
    time::Duration,
};

#[cfg(target_os = "linux")]
use crate::clips::processes_on;
use crate::{
    clips::{Clips, ramp_number, ramp_source},
    frames::set_display_matrix,
};
use deepsight_core::CancelToken;
use deepsight_core::Frame;
use deepsight_video::{
    DecodeLimits, DecodeOptions, Limit, Note, PipedVideo, PixelFormat, RawFrames, Sampling, Video, VideoError, Y4m,
};

fn options() -> DecodeOptions {
    DecodeOptions::default()
}

fn limited(limits: DecodeLimits) -> DecodeOptions {
    options().with_limits(limits)
}

fn open_bytes(
    bytes: impl Into<Vec<u8>>,
    options: &DecodeOptions,
    sampling: Sampling,
) -> Result<PipedVideo, VideoError> {
    PipedVideo::open(Trickle(Cursor::new(bytes.into())), options, sampling)
}

/// A reader that gives few bytes at a time, as a socket does.
struct Trickle<R>(R);

impl<R: Read> Read for Trickle<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(1443);
        self.0.read(&mut buffer[..most])
    }
}

/// A reader whose bytes come from a channel. It blocks while the channel is open and empty.
struct Channel {
    receiver: Receiver<Vec<u8>>,
    rest: Cursor<Vec<u8>>,
}

impl Channel {
    fn new(receiver: Receiver<Vec<u8>>) -> Self {
        Self { receiver, rest: Cursor::default() }
    }
}

impl Read for Channel {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.rest.read(buffer)? {
                0 => match self.receiver.recv() {
                    Ok(bytes) => self.rest = Cursor::new(bytes),
                    Err(_) => return Ok(0),
                },
                got => return Ok(got),
            }
        }
    }
}

/// Returns all frames, and the error after them if there is one.
fn drain(mut video: impl Iterator<Item = Result<Frame, VideoError>>) -> (Vec<Frame>, Option<VideoError>) {
    let mut frames = Vec::new();
    while let Some(frame) = video.next() {
        match frame {
            Ok(frame) => frames.push(frame),
            Err(error) => {
                assert!(video.next().is_none(), "nothing follows an error");
                assert!(!error.to_string().contains('\n'), "{error}");
                return (frames, Some(error));
            }
        }
    }
    (frames, None)
}

fn of_file(path: &Path, options: &DecodeOptions, sampling: Sampling) -> Vec<Frame> {
    Video::open_with(path, options).unwrap().frames(sampling).unwrap().collect::<Result<_, _>>().unwrap()
}

fn assert_equal(piped: &[Frame], file: &[Frame], what: &str) {
    assert_eq!(piped.len(), file.len(), "{what}");
    for (one, other) in piped.iter().zip(file) {
        assert_eq!(one.index, other.index, "{what}");
        assert!((one.time - other.time).abs() < 1e-9, "{what}: {one:?} {other:?}");
        assert!(one.image == other.image, "{what}: frame {} differs", one.index);
    }
}

#[test]
fn the_frames_of_a_stream_are_those_of_the_file() {
    let clips = Clips::new();
    let source = "-f lavfi -i testsrc2=s=160x120:r=10:d=4 -f lavfi -i sine=d=4 -pix_fmt yuv420p";
    let cases = [
        ("faststart.mp4", "-c:v libx264 -c:a aac -movflags +faststart"),
        ("fragments.mp4", "-c:v libx264 -g 10 -c:a aac -movflags frag_keyframe+empty_moov+default_base_moof"),
        ("clip.mkv", "-c:v libx264 -c:a aac"),
        ("clip.webm", "-c:v libvpx-vp9 -deadline realtime -an"),
        ("vp8.webm", "-c:v libvpx -deadline realtime -an"),
        ("clip.ts", "-c:v libx264 -g 10 -c:a aac"),
        ("clip.flv", "-c:v libx264 -c:a aac"),
        ("clip.ogv", "-c:v libtheora -q:v 9 -an"),
        ("clip.avi", "-c:v mpeg4 -an"),
    ];
    for (name, codec) in cases {
        let path = clips.make(name, &format!("{source} {codec}"));
        let bytes = std::fs::read(&path).unwrap();
        let mut samplings = vec![Sampling::all(), Sampling::fps(3.0).with_max_frames(5)];
        if name == "clip.mkv" {
            samplings.extend([Sampling::every(7), Sampling::fps(3.0)]);
        }
        for sampling in samplings {
            let video =
                open_bytes(bytes.clone(), &options(), sampling.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
            let opened = Video::open(&path).unwrap();
            assert_eq!(
                (video.input().width, video.input().codec),
                (Some(160), Some(opened.info().codec.clone())),
                "{name}"
            );
            let (frames, error) = drain(video);
            assert!(error.is_none(), "{name} {sampling:?}: {error:?}");
            assert_equal(&frames, &of_file(&path, &options(), sampling.clone()), &format!("{name} {sampling:?}"));
        }
    }
}

#[test]
fn the_length_is_known_at_the_end() {
    let clips = Clips::new();
    let bytes = std::fs::read(clips.ramp("ramp.mkv", 20)).unwrap();
    let length = bytes.len() as u64;
    let mut video = open_bytes(bytes, &options(), Sampling::fps(1.0)).unwrap();
    assert_eq!((video.input().duration, video.input().frames, video.input().bytes), (None, None, None));
    assert_eq!(video.by_ref().map(Result::unwrap).count(), 2);
    let input = video.input();
    assert_eq!((input.frames, input.bytes, input.path.as_str()), (Some(20), Some(length), ""));
    assert!((input.duration.unwrap() - 2.0).abs() < 1e-3, "{input:?}");
}

#[test]
fn a_part_that_a_broadcast_lost_is_a_gap() {
    let clips = Clips::new();
    let part = |start: u32| {
        let words = format!("{} -c:v libx264 -output_ts_offset {start} -pix_fmt yuv420p", ramp_source(20));
        std::fs::read(clips.make(&format!("at{start}.ts"), &words)).unwrap()
    };
    for (starts, gaps) in [([0, 7], 1), ([0, 2], 0), ([0, 3600], 0), ([50, 0], 0)] {
        let mut video =
            open_bytes([part(starts[0]), part(starts[1])].concat(), &options(), Sampling::fps(2.0)).unwrap();
        assert!(video.by_ref().all(|frame| frame.is_ok()) && video.input().gaps.len() == gaps, "{starts:?}");
        for gap in video.input().gaps {
            assert!((gap.start - 2.0).abs() < 0.15 && (gap.end - 7.0).abs() < 0.25, "{starts:?}: {gap:?}");
        }
    }
}

#[test]
fn frames_of_a_stream_are_upright_square_scaled_and_deinterlaced() {
    let clips = Clips::new();
    let wide =
        clips.make("wide.ts", "-f lavfi -i testsrc2=s=160x120:r=10:d=1 -vf setsar=2 -c:v libx264 -pix_fmt yuv420p");
    let fields =
        "-f lavfi -i testsrc2=s=160x120:r=50:d=1 -vf tinterlace=interleave_top,setfield=tff -flags +ilme+ildct";
    let interlaced = clips.make("fields.ts", &format!("{fields} -c:v mpeg2video -pix_fmt yuv420p"));
    let plain = "-f lavfi -i testsrc2=s=160x120:r=10:d=1 -c:v libx264 -pix_fmt yuv420p -movflags +faststart";
    let turned = clips.make("turned.mp4", plain);
    set_display_matrix(&turned, [0, 1 << 16, -(1 << 16), 0]);
    for path in [&wide, &interlaced, &turned] {
        for options in [options(), options().with_max_side(64), options().with_turn(1)] {
            let bytes = std::fs::read(path).unwrap();
            let video = open_bytes(bytes, &options, Sampling::all()).unwrap();
            let info = Video::open_with(path, &options).unwrap().info().clone();
            let input = video.input();
            assert_eq!((input.width, input.height), (Some(info.width), Some(info.height)), "{path:?}");
            assert_eq!(input.rotation, Some(info.rotation), "{path:?}");
            let (frames, error) = drain(video);
            assert!(error.is_none(), "{path:?}: {error:?}");
            assert_equal(&frames, &of_file(path, &options, Sampling::all()), &format!("{path:?}"));
        }
    }
}

#[test]
fn an_mp4_with_its_index_at_the_end_is_refused_with_the_cure() {
    let clips = Clips::new();
    let bytes = std::fs::read(clips.ramp("late.mp4", 20)).unwrap();
    let error = open_bytes(bytes, &options(), Sampling::all()).unwrap_err();
    assert!(
        matches!(error, VideoError::IndexAtEnd { .. }) && error.to_string().contains("save it to a file"),
        "{error}"
    );
}

#[test]
fn a_stream_that_is_cut_gives_its_frames_and_then_an_error() {
    let clips = Clips::new();
    let busy =
        "-f lavfi -i testsrc2=s=160x120:r=10:d=6 -f lavfi -i sine=d=6 -c:v libx264 -g 10 -pix_fmt yuv420p -c:a aac";
    for (name, extra) in [("half.mp4", "-movflags +faststart"), ("half.mkv", ""), ("live.mkv", "-live 1")] {
        let whole = std::fs::read(clips.make(name, &format!("{busy} {extra}"))).unwrap();
        let (frames, error) = drain(open_bytes(&whole[..whole.len() / 2], &options(), Sampling::all()).unwrap());
        assert!((15..45).contains(&frames.len()), "{name}: {}", frames.len());
        assert!(
            matches!(error, Some(VideoError::Truncated { got, .. }) if got == frames.len() as u64),
            "{name}: {error:?}"
        );
        let (again, _) = drain(open_bytes(&whole[..whole.len() / 2], &options(), Sampling::all()).unwrap());
        assert_equal(&frames, &again, name);
    }
    // A transport stream has no end of its own.
    let whole = std::fs::read(clips.make("half.ts", busy)).unwrap();
    let (frames, error) = drain(open_bytes(&whole[..whole.len() / 2], &options(), Sampling::all()).unwrap());
    assert!((15..45).contains(&frames.len()) && error.is_none(), "{error:?}");
}

#[test]
fn a_reader_that_fails_is_an_error_after_the_frames_before_it() {
    struct Failing(Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::new(io::ErrorKind::ConnectionReset, "unplugged")),
                got => Ok(got),
            }
        }
    }
    let clips = Clips::new();
    let whole = std::fs::read(clips.ramp("ramp.ts", 40)).unwrap();
    let video = PipedVideo::open(Failing(Cursor::new(whole)), &options(), Sampling::all()).unwrap();
    let (frames, error) = drain(video);
    assert_eq!(frames.len(), 40);
    assert!(matches!(&error, Some(VideoError::Io { source, .. }) if source.to_string() == "unplugged"), "{error:?}");
}

#[test]
fn streams_that_are_not_videos_are_refused() {
    let clips = Clips::new();
    let garbage: Vec<u8> = (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let sound = std::fs::read(clips.make("sound.mkv", "-f lavfi -i sine=d=1 -c:a aac")).unwrap();
    let gif = std::fs::read(clips.make("a.gif", "-f lavfi -i testsrc=s=64x48:d=1")).unwrap();
    let picture = std::fs::read(clips.make("a.png", "-f lavfi -i testsrc=s=64x48 -frames:v 1 -update 1")).unwrap();
    let list = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n".to_vec();
    let concat = b"ffconcat version 1.0\nfile '/etc/hostname'\n".to_vec();
    for (what, bytes) in [
        ("garbage", garbage.clone()),
        ("matroska", [&[0x1a, 0x45, 0xdf, 0xa3], &garbage[..]].concat()),
        ("boxes", [&b"\0\0\0\x10ftypisom\0\0\0\0\0\0\x40\0moov"[..], &garbage[..]].concat()),
        ("empty", Vec::new()),
        ("short", b"YUV4".to_vec()),
        ("zeros", vec![0; 4096]),
        ("text", b"this is a letter, not a film\n".to_vec()),
        ("list", list),
        ("concat", concat),
        ("picture", picture),
        ("gif", gif),
        ("sound", sound),
    ] {
        let error = open_bytes(bytes, &options(), Sampling::all()).unwrap_err();
        let refused = matches!(
            error,
            VideoError::NotAVideo { .. } | VideoError::NotAllowed { .. } | VideoError::NoVideoStream { .. }
        );
        assert!(refused && !error.to_string().contains('\n'), "{what}: {error:?}");
    }
}

#[test]
fn the_limits_end_a_stream_after_the_frames_within_them() {
    let clips = Clips::new();
    let bytes = std::fs::read(clips.ramp("ramp.ts", 40)).unwrap();
    let all = |limits| drain(open_bytes(bytes.clone(), &limited(limits), Sampling::all()).unwrap());
    let (frames, error) = all(DecodeLimits::default().with_max_frames(15));
    assert_eq!(frames.len(), 15);
    assert!(matches!(error, Some(VideoError::OverLimit { limit: Limit::Frames, max: 15, .. })), "{error:?}");
    let (frames, error) = all(DecodeLimits::default().with_max_duration_seconds(2));
    assert_eq!(frames.len(), 20);
    assert!(matches!(error, Some(VideoError::TooLong { max_seconds: 2, .. })), "{error:?}");
    let (frames, error) = all(DecodeLimits::default().with_max_file_bytes(bytes.len() as u64 / 2));
    assert!((10..35).contains(&frames.len()), "{}", frames.len());
    assert!(matches!(error, Some(VideoError::OverLimit { limit: Limit::FileBytes, .. })), "{error:?}");
    let enough = DecodeLimits::default().with_max_frames(40).with_max_duration_seconds(4);
    let (frames, error) = all(enough.with_max_file_bytes(bytes.len() as u64));
    assert!(frames.len() == 40 && error.is_none(), "{error:?}");
    let error = open_bytes(bytes.clone(), &limited(DecodeLimits::default().with_max_pixels(100)), Sampling::all());
    assert!(matches!(error, Err(VideoError::OverLimit { limit: Limit::Pixels, value: 3072, .. })), "{error:?}");
    for sampling in
        [Sampling::evenly(3), Sampling::times([1.0]), Sampling::fps(0.0), Sampling::all().with_max_frames(0)]
    {
        let error = open_bytes(bytes.clone(), &options(), sampling);
        assert!(matches!(error, Err(VideoError::InvalidSampling { .. })), "{error:?}");
    }
    let error = open_bytes(bytes.clone(), &options().with_max_side(0), Sampling::all());
    assert!(matches!(error, Err(VideoError::InvalidSize { max_side: 0 })), "{error:?}");
}

/// A transport stream of `bytes`, again and again: its clock jumps back each time.
struct Endless {
    bytes: Vec<u8>,
    at: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.bytes.len() - self.at);
        buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at = (self.at + count) % self.bytes.len();
        Ok(count)
    }
}

#[test]
fn an_endless_stream_is_read_until_it_is_dropped_and_its_clock_goes_on() {
    let clips = Clips::new();
    let bytes = std::fs::read(clips.ramp("ramp.ts", 20)).unwrap();
    let unlimited = limited(DecodeLimits::unlimited());
    let endless = Endless { bytes: bytes.clone(), at: 0 };
    let mut video = PipedVideo::open(endless, &unlimited, Sampling::fps(5.0)).unwrap();
    let frames: Vec<_> = video.by_ref().take(200).map(Result::unwrap).collect();
    assert!(frames.windows(2).all(|pair| (0.15..0.45).contains(&(pair[1].time - pair[0].time))), "{frames:?}");
    drop(video);
    // Frames that are never wanted.
    let mut seldom = PipedVideo::open(Endless { bytes, at: 0 }, &unlimited, Sampling::fps(1e-3)).unwrap();
    assert_eq!(seldom.next().unwrap().unwrap().time, 0.0);
}

#[test]
fn a_silent_source_is_dropped_and_stopped_at_once() {
    let clips = Clips::new();
    let bytes = std::fs::read(clips.ramp("ramp.ts", 400)).unwrap();
    let half = bytes[..bytes.len() / 2].to_vec();
    let silent = || {
        let (sender, receiver) = mpsc::channel();
        sender.send(half.clone()).unwrap();
        // The sender is kept, so the reader blocks after these bytes.
        (sender, PipedVideo::open(Channel::new(receiver), &options(), Sampling::all()).unwrap())
    };
    let (_sender, mut video) = silent();
    // Frames come although the source has not ended.
    assert_eq!(video.next().unwrap().unwrap().index, 0);
    drop(video);

    let (_sender, video) = silent();
    let cancel = CancelToken::new();
    let video = video.with_cancel(&cancel);
    let waiting = std::thread::spawn(move || drain(video));
    cancel.cancel();
    let (_, error) = waiting.join().unwrap();
    assert!(matches!(error, Some(VideoError::Stopped { .. })), "{error:?}");
    // A stream that has ended, and is not yet decoded.
    let cancel = CancelToken::new();
    let mut video = open_bytes(bytes, &options(), Sampling::all()).unwrap().with_cancel(&cancel);
    video.next().unwrap().unwrap();
    cancel.cancel();
    let (_, error) = drain(video);
    assert!(matches!(error, Some(VideoError::Stopped { .. })), "{error:?}");

    let options = limited(DecodeLimits::default().with_max_source_wait(Duration::from_secs(2)));
    let (sender, receiver) = mpsc::channel();
    sender.send(half).unwrap();
    let (frames, error) = drain(PipedVideo::open(Channel::new(receiver), &options, Sampling::all()).unwrap());
    assert!((100..300).contains(&frames.len()), "{}", frames.len());
    assert!(matches!(error, Some(VideoError::SourceSilent { .. })), "{error:?}");
    let (_sender, receiver) = mpsc::channel();
    let error = PipedVideo::open(Channel::new(receiver), &options, Sampling::all()).unwrap_err();
    assert!(matches!(error, VideoError::SourceSilent { .. }), "{error:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_dropped_stream_leaves_no_process_although_its_source_is_silent() {
    let clips = Clips::new();
    let bytes = std::fs::read(clips.ramp("ramp.ts", 400)).unwrap();
    // A name of its own, so that the process can be found.
    let found = Command::new("sh").args(["-c", "command -v ffmpeg"]).output().unwrap().stdout;
    let ffmpeg = clips.path("ffmpeg-of-this-test");
    std::os::unix::fs::symlink(String::from_utf8(found).unwrap().trim_end(), &ffmpeg).unwrap();
    let (sender, receiver) = mpsc::channel();
    sender.send(bytes[..bytes.len() / 2].to_vec()).unwrap();
    let options = options().with_ffmpeg(&ffmpeg).with_ffprobe("ffprobe");
    let mut video = PipedVideo::open(Channel::new(receiver), &options, Sampling::all()).unwrap();
    video.next().unwrap().unwrap();
    let running = processes_on(&ffmpeg);
    assert_eq!(running.len(), 1, "ffmpeg waits for us or for the source");
    let line = std::fs::read(format!("/proc/{}/cmdline", running[0])).unwrap();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    assert!(line.contains("-protocol_whitelist pipe -") && !line.contains("file:"), "{line}");
    drop(video);
    assert!(!Path::new(&format!("/proc/{}", running[0])).exists());
    drop(sender);
}

#[cfg(unix)]
#[test]
fn an_ffmpeg_that_hangs_is_killed_although_its_source_has_more() {
    use std::os::unix::fs::PermissionsExt;
    let clips = Clips::new();
    let bytes = std::fs::read(clips.ramp("ramp.ts", 40)).unwrap();
    let hangs = clips.write("ffmpeg-that-hangs", b"#!/bin/sh\nsleep 60\n");
    std::fs::set_permissions(&hangs, std::fs::Permissions::from_mode(0o755)).unwrap();
    let limits = DecodeLimits::default().with_max_wait(Duration::from_secs(2));
    let options = limited(limits).with_ffmpeg(&hangs).with_ffprobe("ffprobe");
    let (frames, error) = drain(open_bytes(bytes, &options, Sampling::all()).unwrap());
    assert!(frames.is_empty());
    assert!(matches!(error, Some(VideoError::TimedOut { program: "ffmpeg", .. })), "{error:?}");
}

// ---- Y4M ----

fn y4m(clips: &Clips, name: &str, words: &str) -> Vec<u8> {
    std::fs::read(clips.make(name, &format!("{words} -f yuv4mpegpipe -strict -1"))).unwrap()
}

/// What ffmpeg makes of a stream of pictures: raw RGB.
fn by_ffmpeg(bytes: &[u8], input: &str) -> Vec<u8> {
    let words = format!("-v error {input} -i pipe:0 -vf scale=flags=bicubic -f rawvideo -pix_fmt rgb24 pipe:1");
    let mut command = Command::new("ffmpeg");
    command.args(words.split_whitespace()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || io::Write::write_all(&mut stdin, &bytes).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.stdout
}

/// Mean and largest difference, in levels of 255.
fn difference(frames: &[Frame], expected: &[u8]) -> (f64, u8) {
    let ours: Vec<u8> = frames.iter().flat_map(|frame| frame.image.as_raw().iter().copied()).collect();
    assert_eq!(ours.len(), expected.len());
    let differences: Vec<u8> = ours.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).collect();
    let mean = differences.iter().map(|&d| f64::from(d)).sum::<f64>() / differences.len() as f64;
    (mean, differences.into_iter().max().unwrap())
}

#[test]
fn y4m_colors_are_those_of_ffmpeg() {
    let clips = Clips::new();
    // swscale's code for other processors rounds in another way.
    let (exact, near) = if cfg!(target_arch = "x86_64") { (0.0, 0) } else { (2.0, 3) };
    for (format, extra, size, mean, most) in [
        ("yuv420p", "", "160x120", exact, near),
        ("yuv420p", "", "1280x720", exact, near),
        ("yuvj420p", "-color_range pc", "160x120", exact, near),
        ("yuv420p", "", "63x47", exact, near),
        ("gray", "", "160x120", 0.0, 0),
        // ffmpeg interpolates or averages the chroma of these, which shows at sharp edges.
        ("yuv422p", "", "160x120", 3.0, 255),
        ("yuv444p", "", "160x120", 3.0, 255),
        ("yuv420p10", "", "160x120", 3.0, 255),
        ("yuv422p10", "", "160x120", 3.0, 255),
        ("yuv444p10", "", "160x120", 3.0, 255),
        // Without sharp edges.
        ("yuv422p10", "-vf gblur=sigma=9", "160x120", 2.0, 6),
        ("yuv444p", "-vf gblur=sigma=9", "160x120", 2.0, 6),
    ] {
        let source = format!("-f lavfi -i testsrc2=s={size}:r=10:d=0.3 -pix_fmt {format} {extra}");
        let bytes = y4m(&clips, "clip.y4m", &source);
        let (frames, error) = drain(Y4m::new(bytes.as_slice()).unwrap());
        assert!(error.is_none() && frames.len() == 3, "{format}: {error:?}");
        let found = difference(&frames, &by_ffmpeg(&bytes, "-f yuv4mpegpipe"));
        assert!(found.0 <= mean && found.1 <= most, "{format} {size}: {found:?}");
    }
}

#[test]
fn a_clip_piped_as_y4m_looks_like_the_file() {
    let clips = Clips::new();
    for size in ["160x120", "1280x720"] {
        let path =
            clips.make("clip.mp4", &format!("-f lavfi -i testsrc2=s={size}:r=10:d=1 -c:v libx264 -pix_fmt yuv420p"));
        let bytes = y4m(&clips, "clip.y4m", "-i clip.mp4");
        let video = open_bytes(bytes, &options(), Sampling::fps(5.0)).unwrap();
        let (frames, error) = drain(video);
        assert!(error.is_none());
        let file = of_file(&path, &options(), Sampling::fps(5.0));
        assert_eq!(frames.len(), file.len());
        for (one, other) in frames.iter().zip(&file) {
            assert_eq!((one.index, one.image.dimensions()), (other.index, other.image.dimensions()));
            assert!((one.time - other.time).abs() < 1e-6);
            let (mean, most) = difference(std::slice::from_ref(one), other.image.as_raw());
            assert!(mean == 0.0 && most == 0, "{size}: {mean} {most}");
        }
    }
}

#[test]
fn an_uncompressed_matroska_stream_keeps_the_matrix_of_the_file() {
    let clips = Clips::new();
    let tagged = "-vf scale=out_color_matrix=bt709 -colorspace bt709 -color_primaries bt709 -color_trc bt709";
    let source = "-f lavfi -i testsrc2=s=320x240:r=10:d=0.3";
    let path = clips.make("tagged.mp4", &format!("{source} {tagged} -pix_fmt yuv420p -c:v libx264"));
    let bytes = std::fs::read(clips.make("raw.mkv", "-i tagged.mp4 -c:v rawvideo")).unwrap();
    let (frames, error) = drain(open_bytes(bytes, &options(), Sampling::all()).unwrap());
    assert!(error.is_none(), "{error:?}");
    assert_equal(&frames, &of_file(&path, &options(), Sampling::all()), "raw.mkv");
    let (frames, _) = drain(Y4m::new(y4m(&clips, "tagged.y4m", "-i tagged.mp4").as_slice()).unwrap());
    assert!(frames[0].image != of_file(&path, &options(), Sampling::all())[0].image);
}

#[test]
fn y4m_frames_are_square_scaled_turned_and_limited() {
    let clips = Clips::new();
    let bytes = y4m(&clips, "wide.y4m", "-f lavfi -i testsrc2=s=160x120:r=10:d=1 -vf setsar=2");
    let of = |options: &DecodeOptions| {
        let mut frames = Y4m::new_with(bytes.as_slice(), options).unwrap();
        let size = frames.next().unwrap().unwrap().image.dimensions();
        let input = frames.input();
        (size, (input.width.unwrap(), input.height.unwrap()), input.rotation.unwrap())
    };
    assert_eq!(of(&options()), ((320, 120), (320, 120), 0));
    assert_eq!(of(&options().with_turn(1).with_max_side(160)), ((60, 160), (120, 320), 90));
    let (frames, error) =
        drain(Y4m::new_with(bytes.as_slice(), &limited(DecodeLimits::default().with_max_frames(4))).unwrap());
    assert_eq!(frames.len(), 4);
    assert!(matches!(error, Some(VideoError::OverLimit { limit: Limit::Frames, .. })), "{error:?}");
    let error = Y4m::new_with(bytes.as_slice(), &limited(DecodeLimits::default().with_max_pixels(30_000))).unwrap_err();
    assert!(matches!(error, VideoError::OverLimit { limit: Limit::Pixels, value: 38_400, .. }), "{error:?}");
    // Through a pipe the limit on bytes applies too, and the rest is as from any reader.
    let limits = DecodeLimits::default().with_max_file_bytes(100_000);
    let (frames, error) = drain(open_bytes(bytes.clone(), &limited(limits), Sampling::all()).unwrap());
    assert_eq!(frames.len(), 3);
    assert!(matches!(error, Some(VideoError::OverLimit { limit: Limit::FileBytes, .. })), "{error:?}");
    let mut video = open_bytes(bytes.clone(), &options(), Sampling::every(4)).unwrap();
    assert_eq!(video.by_ref().map(|frame| frame.unwrap().index).collect::<Vec<_>>(), [0, 4, 8]);
    let input = video.input();
    assert_eq!((input.frames, input.duration, input.bytes), (Some(10), Some(1.0), Some(bytes.len() as u64)));

    let interlaced =
        y4m(&clips, "fields.y4m", "-f lavfi -i testsrc2=s=64x48:r=10:d=0.2 -vf setfield=tff -field_order tt");
    let video = open_bytes(interlaced, &options(), Sampling::all()).unwrap();
    assert_eq!(video.notes(), [Note::InterlacedY4m]);
}

#[test]
fn a_y4m_stream_that_is_cut_or_damaged_is_an_error_and_never_a_panic() {
    let clips = Clips::new();
    let bytes = y4m(&clips, "clip.y4m", "-f lavfi -i testsrc2=s=16x12:r=10:d=0.3 -pix_fmt yuv420p");
    let header = bytes.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let frame = 6 + 16 * 12 * 3 / 2;
    assert_eq!(bytes.len(), header + 3 * frame);
    for length in 0..bytes.len() {
        match Y4m::new(&bytes[..length]) {
            Err(error) => {
                assert!(length < header && matches!(error, VideoError::NotAVideo { .. }), "{length}: {error:?}");
            }
            Ok(frames) => {
                let (frames, error) = drain(frames);
                assert_eq!(frames.len(), (length - header) / frame, "{length}");
                assert_eq!(error.is_none(), (length - header) % frame == 0, "{length}: {error:?}");
            }
        }
    }
    let cut = drain(open_bytes(&bytes[..bytes.len() - 1], &options(), Sampling::all()).unwrap());
    assert!(cut.0.len() == 2 && matches!(cut.1, Some(VideoError::TruncatedFrame { frame: 2, .. })), "{:?}", cut.1);
    for at in 0..bytes.len() {
        for flip in [0x01, 0x10, 0x80] {
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            if let Ok(frames) = Y4m::new(damaged.as_slice()) {
                drain(frames.take(4));
            }
        }
    }
    for (bad, told) in [
        ("W0 H4", "no pixels"),
        ("W4", "no pixels"),
        ("W-4 H4", "W-4"),
        ("W4 H4 F1", "F1"),
        ("W4 H4 C411", "C420jpeg"),
        ("W4294967295 H4294967295", "limit"),
        ("W99999999999 H2", "W99999999999"),
    ] {
        let error = Y4m::new(format!("YUV4MPEG2 {bad}\nFRAME\n").as_bytes()).unwrap_err();
        assert!(error.to_string().contains(told), "{bad}: {error}");
    }
    let long = [b"YUV4MPEG2 W4 H4 X", &[b'x'; 5000][..]].concat();
    assert!(Y4m::new(long.as_slice()).unwrap_err().to_string().contains("1024"));
}

#[test]
fn frames_of_a_ramp_keep_their_numbers_through_a_pipe() {
    let clips = Clips::new();
    let path = clips.make_uneven(
        "uneven.mkv",
        &format!("{} -vf settb=1/1000,setpts='(N*N/40+N/10)/TB' -c:v libx264", ramp_source(20)),
    );
    let (frames, error) = drain(open_bytes(std::fs::read(&path).unwrap(), &options(), Sampling::fps(1.0)).unwrap());
    assert!(error.is_none(), "{error:?}");
    assert_equal(&frames, &of_file(&path, &options(), Sampling::fps(1.0)), "uneven");
    assert!(frames.iter().all(|frame| (ramp_number(frame) - frame.index as f64).abs() < 0.5), "{frames:?}");
}

// ---- Raw frames ----

#[test]
fn raw_frames_of_every_format_have_ffmpegs_colors() {
    let clips = Clips::new();
    for &format in PixelFormat::ALL {
        // Smooth, because ffmpeg interpolates the chroma of some formats.
        let words = "-f lavfi -i testsrc2=s=64x48:r=10:d=0.3 -vf gblur=sigma=9 -f rawvideo";
        let bytes = std::fs::read(clips.make("clip.raw", &format!("{words} -pix_fmt {format}"))).unwrap();
        assert_eq!(bytes.len() as u64, 3 * format.frame_bytes(64, 48).unwrap(), "{format}");
        let raw = RawFrames::new(Trickle(bytes.as_slice()), 64, 48, format).with_frame_rate(10.0);
        let (frames, error) = drain(raw);
        assert!(error.is_none(), "{format}: {error:?}");
        assert_eq!(
            frames.iter().map(|frame| (frame.index, frame.time)).collect::<Vec<_>>(),
            [(0, 0.0), (1, 0.1), (2, 0.2)]
        );
        let (mean, most) = difference(&frames, &by_ffmpeg(&bytes, &format!("-f rawvideo -pix_fmt {format} -s 64x48")));
        // swscale has other rounding for packed and paired chroma.
        assert!(mean <= 2.0 && most <= 12, "{format}: {mean} {most}");
    }
}

#[test]
fn raw_frames_that_are_cut_or_have_an_impossible_size_are_errors() {
    let raw = |bytes: usize| RawFrames::new(io::repeat(7).take(bytes as u64), 5, 3, PixelFormat::Yuv420p);
    let frame = 15 + 12;
    for length in 0..=3 * frame {
        let (frames, error) = drain(raw(length));
        assert_eq!(frames.len(), length / frame);
        match error {
            None => assert_eq!(length % frame, 0),
            Some(VideoError::TruncatedFrame { got, want, .. }) => assert_eq!((got, want), (length % frame, frame)),
            Some(error) => panic!("{error}"),
        }
    }
    let endless = |width, height| RawFrames::new(io::repeat(7), width, height, PixelFormat::Bgr24);
    let first = |frames: RawFrames<io::Repeat>| drain(frames.take(2)).1.unwrap();
    for (width, height) in [(0, 4), (4, 0), (0, 0)] {
        assert!(first(endless(width, height)).to_string().contains("no pixels"));
    }
    for (width, height) in [(u32::MAX, u32::MAX), (100_000, 100_000), (u32::MAX, 1)] {
        assert!(matches!(first(endless(width, height)), VideoError::OverLimit { limit: Limit::Pixels, .. }));
    }
    let unlimited = limited(DecodeLimits::unlimited());
    let error = first(endless(u32::MAX, u32::MAX).with_options(&unlimited));
    assert!(matches!(error, VideoError::OutOfMemory { .. }), "{error}");
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(first(endless(4, 4).with_frame_rate(rate)).to_string().contains("frames per second"));
    }
    let turned = endless(8, 4).with_options(&options().with_turn(3).with_max_side(4)).next().unwrap().unwrap();
    assert_eq!(turned.image.dimensions(), (2, 4));
}
