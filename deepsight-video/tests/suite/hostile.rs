//! Handling of hostile files and programs: false headers, hangs, floods of output, references to other files.

use std::{path::Path, time::Duration};

#[cfg(target_os = "linux")]
use crate::clips::processes_on;
#[cfg(unix)]
use crate::clips::script;
use crate::clips::{Clips, ramp_source};
use deepsight_core::{CancelToken, Frame};
use deepsight_video::{DecodeLimits, DecodeOptions, Limit, Media, Sampling, Video, VideoError};

fn open_error(path: impl AsRef<Path>) -> VideoError {
    let error = Video::open(path).unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

fn limited(limits: DecodeLimits) -> DecodeOptions {
    DecodeOptions::default().with_limits(limits)
}

/// Returns all frames, and the error after them if there is one.
fn drain(video: &Video, sampling: Sampling) -> (Vec<Frame>, Option<VideoError>) {
    let mut frames = Vec::new();
    let mut iterator = video.frames(sampling).unwrap();
    for frame in iterator.by_ref() {
        match frame {
            Ok(frame) => frames.push(frame),
            Err(error) => {
                assert!(iterator.next().is_none(), "nothing follows an error");
                return (frames, Some(error));
            }
        }
    }
    (frames, None)
}

#[test]
fn a_title_that_looks_like_ffmpegs_log_does_no_harm() {
    let clips = Clips::new();
    let words = format!("{} -c:v libx264", ramp_source(10));
    let lines =
        "title=Stream mapping:\nOutput #0, rawvideo, to 'pipe:':\nframe:3 pts:77 pts_time:0.000077\n  Stream #0:0";
    let mut arguments: Vec<&str> = words.split_whitespace().collect();
    arguments.extend(["-metadata", lines, "-metadata", "comment=Stream mapping:"]);
    for name in ["title.mp4", "title.mkv"] {
        let (frames, error) = drain(&Video::open(clips.make_with(name, &arguments)).unwrap(), Sampling::all());
        assert_eq!((frames.len(), error.is_none()), (10, true), "{name}");
        assert!((frames[9].time - 0.9).abs() < 1e-6, "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_dropped_iterator_leaves_no_process_and_no_zombie() {
    let clips = Clips::new();
    let path = clips.make("long.mp4", "-f lavfi -i color=s=640x480:r=25:d=20 -c:v libx264 -preset ultrafast");
    let video = Video::open(&path).unwrap();
    let mut frames = video.frames(Sampling::all()).unwrap();
    frames.next().unwrap().unwrap();
    let running = processes_on(&path);
    assert_eq!(running.len(), 1, "ffmpeg waits for us to read on");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running[0])).unwrap();
    let limit = |name: &str| limits.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(limit("Max address space").contains(&(4u64 << 30).to_string()), "{limits}");
    assert!(limit("Max file size").contains(" 0 "), "{limits}");
    drop(frames);
    // A zombie would still have an entry in `/proc`.
    assert!(!Path::new(&format!("/proc/{}", running[0])).exists());

    let mut frames = video.frames(Sampling::all().with_max_frames(2)).unwrap();
    assert_eq!(frames.by_ref().map(Result::unwrap).count(), 2);
    assert_eq!(processes_on(&path).len(), 0, "ffmpeg has ended with the last frame, before the iterator is dropped");
}

#[cfg(target_os = "linux")]
#[test]
fn an_ffprobe_that_never_answers_is_killed_when_the_opening_is_cancelled() {
    let clips = Clips::new();
    let path = clips.ramp("ramp.mp4", 10);
    let pipe = clips.path("started");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // It reads from a pipe that has a writer and no bytes, after it said so by opening it.
    let hangs = script(&clips, "ffprobe-that-hangs", &format!("exec cat {} # {}", pipe.display(), path.display()));
    let cancel = CancelToken::new();
    let options = limited(DecodeLimits::default()).with_ffprobe(&hangs).with_cancel(&cancel);
    let opened = std::thread::spawn({
        let (path, options) = (path.clone(), options.clone());
        move || Media::open_with(path, &options).map(drop)
    });
    // Blocks until the script has opened the other end.
    let writer = std::fs::File::options().write(true).open(&pipe).unwrap();
    cancel.cancel();
    let error = opened.join().unwrap().unwrap_err();
    assert!(matches!(&error, VideoError::Stopped { path: stopped } if *stopped == path), "{error:?}");
    drop(writer);
    // What is cancelled before it begins starts no program.
    let missing = options.with_ffprobe("/no/such/ffprobe");
    for opened in [Media::open_with(&path, &missing).map(drop), Video::open_with(&path, &missing).map(drop)] {
        assert!(matches!(opened, Err(VideoError::Stopped { .. })));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_decoder_that_never_answers_is_stopped_from_another_thread() {
    let clips = Clips::new();
    let path = clips.ramp("ramp.mp4", 10);
    let hangs = script(&clips, "ffmpeg-that-hangs", &format!("sleep 30 # {}", path.display()));
    let options = limited(DecodeLimits::default()).with_ffmpeg(&hangs).with_ffprobe("ffprobe");
    let video = Video::open_with(&path, &options).unwrap();
    let cancel = CancelToken::new();
    let mut frames = video.frames(Sampling::all()).unwrap().with_cancel(&cancel);
    let waiting = std::thread::spawn(move || frames.next());
    cancel.cancel();
    assert!(matches!(waiting.join().unwrap(), Some(Err(VideoError::Decode { .. }))));
    let mut late = video.frames(Sampling::all()).unwrap().with_cancel(&cancel);
    assert!(matches!(late.next(), Some(Err(VideoError::Decode { .. }))), "the token was cancelled before");
    assert_eq!(processes_on(&path).len(), 0);
}

#[test]
fn a_probe_that_takes_too_long_is_stopped() {
    let clips = Clips::new();
    let path = clips.ramp("ramp.mp4", 10);
    let error = Video::open_with(&path, &limited(DecodeLimits::default().with_max_wait(Duration::ZERO))).unwrap_err();
    assert!(matches!(error, VideoError::TimedOut { program: "ffprobe", .. }), "{error}");
}

#[test]
fn files_that_are_not_videos_are_refused() {
    let clips = Clips::new();
    let garbage: Vec<u8> = (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let not_videos = [
        clips.write("garbage.mp4", &garbage),
        clips.write("garbage.mkv", &[&[0x1a, 0x45, 0xdf, 0xa3], &garbage[..]].concat()),
        clips.write("four.mp4", b"ftyp"),
        clips.write("text.mp4", b"this is a letter, not a film\n"),
        clips.write("zeros.mp4", &[0; 4096]),
    ];
    for path in not_videos {
        let error = open_error(&path);
        let refused = matches!(error, VideoError::NotAVideo { .. } | VideoError::NotAllowed { .. });
        assert!(refused, "{error:?}");
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
    assert!(matches!(open_error(clips.write("empty.mp4", b"")), VideoError::EmptyFile { .. }));
    assert!(matches!(open_error(clips.path("missing.mp4")), VideoError::Io { .. }));
    assert!(matches!(open_error(clips.path("")), VideoError::Folder { .. }));
    let sound = clips.make("sound.m4a", "-f lavfi -i sine=d=1 -c:a aac");
    assert!(matches!(open_error(sound), VideoError::NoVideoStream { .. }));
    clips.make("cover.png", "-f lavfi -i color=red:s=30x30 -frames:v 1 -update 1");
    let song = "-f lavfi -i sine=d=1 -i cover.png -map 0 -map 1 -c:v copy -c:a aac -disposition:v:0 attached_pic";
    assert!(matches!(open_error(clips.make("song.m4a", song)), VideoError::NoVideoStream { .. }));
}

#[test]
fn playlists_that_open_other_files_are_refused_under_any_name() {
    let clips = Clips::new();
    let secret = clips.ramp("secret.mp4", 10);
    let secret = secret.display();
    let lists = [
        format!("ffconcat version 1.0\nfile 'secret.mp4'\nfile '{secret}'\n"),
        format!(
            "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n"
        ),
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n".into(),
        format!(
            "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\"><BaseURL>{secret}</BaseURL></MPD>"
        ),
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n".into(),
    ];
    for name in ["list.mp4", "list.m3u8"] {
        for list in &lists {
            let error = open_error(clips.write(name, list.as_bytes()));
            assert!(matches!(error, VideoError::NotAllowed { .. } | VideoError::NotAVideo { .. }), "{name}: {error:?}");
        }
    }
    let error = open_error(clips.write("list.mp4", lists[0].as_bytes()));
    assert!(matches!(error, VideoError::NotAllowed { .. }), "{error:?}");
}

/// Returns our part of a message, which stands before ffmpeg's.
fn advice(error: &VideoError) -> String {
    let text = error.to_string();
    text.split_once("; ffmpeg says: ").unwrap_or_else(|| panic!("{text}")).0.to_owned()
}

#[test]
fn a_file_that_is_refused_says_what_it_is_and_what_to_do_before_ffmpegs_words() {
    let clips = Clips::new();
    clips.make("list.m3u8", &format!("{} -c:v libx264 -f hls", ramp_source(10)));
    clips.make("stream.mpd", &format!("{} -c:v libx264 -f dash", ramp_source(10)));
    clips.make("raw.mov", &format!("{} -c:v v210", ramp_source(3)));
    clips.make("film.swf", &format!("{} -c:v flv", ramp_source(10)));
    clips.make("sound.wav", "-f lavfi -i sine=d=0.2");
    clips.make("film.rm", &format!("{} -c:v rv20", ramp_source(10)));
    clips.write("film.srt", b"1\n00:00:00,000 --> 00:00:01,000\nHello\n");
    clips.write("page.mp4", b"<!DOCTYPE html>\n<html><body>Sign in to watch</body></html>\n");
    clips.write("answer.mp4", b"{\"error\": \"not found\"}\n");
    clips.write("film.zip", b"PK\x03\x04\x14\0\0\0\x08\0 and so on");
    clips.write("zeros.mp4", &[0; 4096]);
    for (name, part) in [
        ("list.m3u8", "`ffmpeg -i list.m3u8 -c copy clip.mp4`"),
        ("stream.mpd", "`ffmpeg -i manifest.mpd -c copy clip.mp4`"),
        ("raw.mov", "the codec v210 is not on the list"),
        ("film.swf", "the container swf is not on the list"),
        ("film.rm", "the container rm is not on the list"),
        ("sound.wav", "it has sound and no pictures"),
        ("film.srt", "it has subtitles and no pictures"),
        ("page.mp4", "it is a web page"),
        ("answer.mp4", "it is a text file"),
        ("film.zip", "it is an archive"),
        ("zeros.mp4", "it begins with zeros only"),
    ] {
        let error = open_error(clips.path(name));
        assert!(advice(&error).contains(part), "{name}: {error}");
    }
}

#[test]
fn a_y4m_file_and_a_file_without_pictures_name_the_cure() {
    let clips = Clips::new();
    let y4m = clips.make("ramp.y4m", &format!("{} -pix_fmt yuv420p", ramp_source(3)));
    let error = open_error(y4m);
    assert!(matches!(error, VideoError::Y4mFile { .. }) && error.to_string().contains("pipe"), "{error}");
    let sound = open_error(clips.make("sound.m4a", "-f lavfi -i sine=d=0.2 -c:a aac"));
    assert!(sound.to_string().contains("give the file that has the moving pictures"), "{sound}");
}

#[test]
fn an_initialization_segment_alone_misses_its_segments() {
    let clips = Clips::new();
    let ramp = ramp_source(20);
    clips.make("stream.mpd", &format!("{ramp} -c:v libx264 -g 10 -f dash -seg_duration 1"));
    let error = open_error(clips.path("init-stream0.m4s"));
    assert!(matches!(error, VideoError::NoSegments { .. }) && error.to_string().contains("cat init.mp4"), "{error}");
    let webm = clips.make("stream.webm", &format!("{ramp} -c:v libvpx-vp9 -deadline realtime -g 10"));
    let webm = std::fs::read(webm).unwrap();
    let cluster = webm.windows(4).position(|bytes| bytes == [0x1f, 0x43, 0xb6, 0x75]).unwrap();
    let error = open_error(clips.write("init.webm", &webm[..cluster]));
    assert!(matches!(error, VideoError::NoSegments { .. }), "{error:?}");
    let error = open_error(clips.write("segment.webm", &webm[cluster..]));
    assert!(matches!(error, VideoError::NoInitialization { .. }), "{error:?}");
}

#[test]
fn pictures_and_unlisted_codecs_are_not_opened() {
    let clips = Clips::new();
    let picture = clips.make("picture.png", "-f lavfi -i testsrc=s=64x48 -frames:v 1 -update 1");
    assert!(matches!(open_error(picture), VideoError::NotAllowed { .. }));
    let unlisted = clips.make("snow.avi", "-f lavfi -i testsrc=s=64x48:d=0.3 -c:v snow -strict -2");
    let error = open_error(unlisted);
    assert!(matches!(&error, VideoError::NotAllowed { reason, .. } if reason.contains("snow")), "{error}");
}

#[test]
fn half_a_file_gives_its_frames_and_then_says_how_many_are_missing() {
    let clips = Clips::new();
    let busy = "-f lavfi -i testsrc2=s=160x120:r=10:d=6 -c:v libx264 -g 10 -pix_fmt yuv420p";
    for (name, extra) in
        [("half.mkv", ""), ("half.mp4", "-movflags +faststart"), ("half.avi", "-bf 0"), ("half.flv", "")]
    {
        let whole = std::fs::read(clips.make(name, &format!("{busy} {extra}"))).unwrap();
        let half = clips.write(name, &whole[..whole.len() / 2]);
        let video = Video::open(&half).unwrap();
        let counted = video.info().frame_count;
        assert!((15..45).contains(&counted), "{name}: {:?}", video.info());
        let (frames, error) = drain(&video, Sampling::evenly(5));
        // The packet at the cut may be damaged. All packets before it are complete.
        assert!(frames.len() >= 4, "{name}: {frames:?} {error:?}");
        match error {
            Some(VideoError::Truncated { got, want, .. }) => {
                assert!((counted - 1..=counted).contains(&got) && (58..=62).contains(&want), "{name}: {got} {want}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_file_cut_anywhere_neither_hangs_nor_panics_nor_invents_frames() {
    let clips = Clips::new();
    for (name, extra) in [("cut.mkv", ""), ("cut.mp4", "-movflags +faststart")] {
        let whole = std::fs::read(clips.make(name, &format!("{} -c:v libx264 -g 5 {extra}", ramp_source(20)))).unwrap();
        for cut in (1..8).map(|n| whole.len() * n / 8) {
            let path = clips.write(name, &whole[..cut]);
            if let Ok(video) = Video::open(path) {
                let (frames, _) = drain(&video, Sampling::all());
                assert!(frames.len() < 20 && frames.len() as u64 <= video.info().frame_count, "{name} at {cut}");
                assert!(frames.iter().all(|frame| frame.image.dimensions() == (64, 48)), "{name} at {cut}");
            }
        }
    }
}

#[test]
fn damage_in_the_middle_neither_hangs_nor_panics() {
    let clips = Clips::new();
    let whole = std::fs::read(clips.ramp("hurt.mkv", 20)).unwrap();
    for start in (0..4).map(|n| 200 + (whole.len() - 300) * n / 4) {
        let mut hurt = whole.clone();
        for (i, byte) in hurt[start..start + 40].iter_mut().enumerate() {
            *byte ^= 0x5a + i as u8;
        }
        if let Ok(video) = Video::open(clips.write("hurt.mkv", &hurt)) {
            let (frames, error) = drain(&video, Sampling::all());
            let whole = frames.len() as u64 == video.info().frame_count;
            assert!(whole || error.is_some(), "{} frames without an error", frames.len());
        }
    }
}

#[test]
fn an_hour_between_two_frames_adds_no_frames_in_between() {
    let clips = Clips::new();
    // At a constant frame rate this would be 102,000 frames.
    let words = "-f lavfi -i testsrc=s=64x48:r=30:d=0.06 -vf setpts='N*3400/TB' -c:v libx264";
    let path = clips.make_uneven("gap.mkv", words);
    assert!(std::fs::metadata(&path).unwrap().len() < 10_000);
    let video = Video::open(path).unwrap();
    assert_eq!((video.info().frame_count, video.info().variable_frame_rate), (2, false));
    for sampling in [Sampling::all(), Sampling::fps(30.0), Sampling::evenly(30)] {
        let (frames, error) = drain(&video, sampling.clone());
        assert_eq!((frames.len(), error.is_none()), (2, true), "{sampling:?}");
        assert!((frames[1].time - 3400.0).abs() < 0.01);
    }
}

#[test]
fn a_small_file_of_many_frames_is_over_the_limit_before_anything_is_decoded() {
    let clips = Clips::new();
    let path = clips.make("many.mp4", "-f lavfi -i color=s=16x16:r=1000:d=4 -c:v libx264 -preset ultrafast -g 9999");
    let limits = DecodeLimits::default().with_max_frames(1000);
    let error = Video::open_with(&path, &limited(limits)).unwrap_err();
    assert!(matches!(error, VideoError::OverLimit { limit: Limit::Frames, value: 1001, max: 1000, .. }), "{error}");
    // The header now declares 100,000 frames, which the file does not have.
    let mut bytes = std::fs::read(&path).unwrap();
    for (tag, offset) in [(b"stts", 12), (b"stsz", 12)] {
        let at = bytes.windows(4).position(|window| window == tag).unwrap();
        bytes[at + offset - 4..at + offset].copy_from_slice(&100_000u32.to_be_bytes());
    }
    if let Ok(video) = Video::open(clips.write("lies.mp4", &bytes)) {
        assert!(video.info().frame_count <= 4000);
        let (frames, _) = drain(&video, Sampling::evenly(3));
        assert!(frames.len() <= 3);
    }
}

#[test]
fn each_limit_error_names_the_limit_the_value_and_the_maximum() {
    let clips = Clips::new();
    let path = clips.ramp("ramp.mp4", 30);
    let size = std::fs::metadata(&path).unwrap().len();
    let cases = [
        (DecodeLimits::default().with_max_file_bytes(100), Limit::FileBytes, size, 100),
        (DecodeLimits::default().with_max_pixels(3071), Limit::Pixels, 3072, 3071),
        (DecodeLimits::default().with_max_frames(29), Limit::Frames, 30, 29),
    ];
    for (limits, expected, is, bound) in cases {
        match Video::open_with(&path, &limited(limits)).unwrap_err() {
            VideoError::OverLimit { limit, value, max, .. } => assert_eq!((limit, value, max), (expected, is, bound)),
            other => panic!("{expected:?}: {other}"),
        }
    }
    let short = limited(DecodeLimits::default().with_max_duration_seconds(2));
    let error = Video::open_with(&path, &short).unwrap_err();
    assert!(matches!(error, VideoError::TooLong { seconds: 3, max_seconds: 2, .. }), "{error}");
    assert!(error.to_string().contains("max_duration_seconds"), "{error}");
    let exact = DecodeLimits::default().with_max_file_bytes(size).with_max_duration_seconds(3).with_max_pixels(3072);
    let video = Video::open_with(&path, &limited(exact.with_max_frames(30))).unwrap();
    assert_eq!(drain(&video, Sampling::all()).0.len(), 30);
    let video = Video::open_with(&path, &limited(DecodeLimits::unlimited())).unwrap();
    assert_eq!(drain(&video, Sampling::all()).0.len(), 30);
}

#[test]
fn a_picture_of_twelve_thousand_squared_is_refused() {
    let clips = Clips::new();
    // Gray, because the encoder takes four times as long for colors.
    let words = "-f lavfi -i color=s=12000x12000,format=gray -frames:v 1 -c:v libx264 -preset ultrafast -coder 1";
    let path = clips.make("huge.mkv", words);
    assert!(std::fs::metadata(&path).unwrap().len() < 40_000);
    match open_error(&path) {
        VideoError::OverLimit { limit: Limit::Pixels, value, .. } => assert!(value >= 144_000_000, "{value}"),
        other => panic!("{other}"),
    }
}

#[test]
fn a_picture_that_grows_over_the_limit_later_is_not_decoded() {
    let clips = Clips::new();
    let small = std::fs::read(clips.ramp("small.h264", 10)).unwrap();
    let large = clips.make("large.h264", "-f lavfi -i testsrc=s=640x480:r=10:d=1 -c:v libx264 -pix_fmt yuv420p");
    let both = clips.write("both.h264", &[small, std::fs::read(large).unwrap()].concat());
    let video = Video::open_with(both, &limited(DecodeLimits::default().with_max_pixels(100_000))).unwrap();
    let (frames, error) = drain(&video, Sampling::all());
    assert!(frames.len() <= 10, "{frames:?}");
    assert!(error.is_some());
}

#[test]
fn no_name_is_taken_for_an_option_a_protocol_or_a_pattern() {
    let clips = Clips::new();
    let plain = clips.ramp("plain.mp4", 5);
    let names =
        ["-i", "-version.mp4", "a b 'c' \"d\".mp4", "http:evil.mp4", "pipe:0", "frame%03d.mp4", "ünï-видео-動画.mp4"];
    for name in names.iter().chain(&["concat:x|y", "a\\b;$(touch x)&.mp4", "[0:v],split.mp4", "*?.mp4"]) {
        let path = clips.path(name);
        std::fs::copy(&plain, &path).unwrap();
        let (frames, error) = drain(&Video::open(&path).unwrap(), Sampling::all());
        assert_eq!((frames.len(), error.is_none()), (5, true), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_name_cannot_add_lines_or_terminal_commands_to_an_error() {
    let clips = Clips::new();
    let error = open_error(clips.write("two\nlines \x1b[31m.mp4", b"this is a letter, not a film\n")).to_string();
    assert!(error.contains("two?lines ?[31m.mp4") && !error.contains('\x1b'), "{error:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_utf_8_is_accepted() {
    use std::os::unix::ffi::OsStrExt;
    let clips = Clips::new();
    let path = clips.path("").join(std::ffi::OsStr::from_bytes(b"caf\xe9\xff.mp4"));
    std::fs::copy(clips.ramp("plain.mp4", 5), &path).unwrap();
    assert_eq!(drain(&Video::open(&path).unwrap(), Sampling::all()).0.len(), 5);
}

#[test]
fn the_error_for_a_missing_ffmpeg_says_how_to_install_it() {
    let clips = Clips::new();
    let path = clips.ramp("ramp.mp4", 5);
    let nowhere = clips.path("no/ffmpeg");
    for options in [
        DecodeOptions::default().with_ffmpeg(&nowhere),
        DecodeOptions::default().with_ffprobe(clips.path("no/ffprobe")),
    ] {
        let message = Video::open_with(&path, &options).unwrap_err().to_string();
        for word in ["no/ffprobe", "apt-get install ffmpeg", "dnf", "brew", "winget", "DEEPSIGHT_FFMPEG"] {
            assert!(message.contains(word), "{word}: {message}");
        }
    }
    let options = DecodeOptions::default().with_ffmpeg(&nowhere).with_ffprobe("ffprobe");
    let error = Video::open_with(&path, &options).unwrap().frames(Sampling::all()).unwrap_err();
    assert!(matches!(error, VideoError::FfmpegMissing { program, .. } if program == nowhere));
}

/// Runs itself in a second process, because a variable cannot be set safely in a process with threads.
#[test]
fn the_variable_names_the_program() {
    let clips = Clips::new();
    let path = clips.ramp("ramp.mp4", 5);
    if std::env::var_os("DEEPSIGHT_TEST_AGAIN").is_some() {
        let error = Video::open(&path).unwrap_err();
        assert!(matches!(error, VideoError::FfmpegMissing { program, .. } if program == Path::new("/nowhere/ffprobe")));
        return;
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    // The name of this test in its program does not begin with the program's name.
    let (_, this_test) = concat!(module_path!(), "::the_variable_names_the_program").split_once("::").unwrap();
    again.args(["--exact", this_test]);
    again.env("DEEPSIGHT_TEST_AGAIN", "1").env("DEEPSIGHT_FFMPEG", "/nowhere/ffmpeg").env_remove("DEEPSIGHT_FFPROBE");
    let output = again.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{stdout}");
}

#[cfg(unix)]
#[test]
fn a_decoder_that_fails_or_stops_in_mid_frame_is_an_error() {
    let clips = Clips::new();
    let path = clips.ramp("ramp.mp4", 5);
    let run = |name: &str, text: &str| {
        let options = DecodeOptions::default().with_ffmpeg(script(&clips, name, text)).with_ffprobe("ffprobe");
        drain(&Video::open_with(&path, &options).unwrap(), Sampling::all())
    };
    let (frames, error) = run("fails", "echo something broke >&2; exit 3");
    let message = error.unwrap().to_string();
    assert!(frames.is_empty() && message.contains("something broke") && message.contains('3'), "{message}");
    let (frames, error) = run("stops", "head -c 1000 /dev/zero");
    assert!(frames.is_empty());
    assert!(matches!(error, Some(VideoError::TruncatedFrame { frame: 0, got: 1000, want: 9216, .. })), "{error:?}");
    let (frames, error) = run("silent", "exit 0");
    assert!(frames.is_empty());
    assert!(matches!(error, Some(VideoError::FrameCount { got: 0, want: 5, .. })), "{error:?}");
    let (_, error) = run("timeless", "head -c 9216 /dev/zero");
    assert!(matches!(error, Some(VideoError::MissingTime { frame: 0, .. })), "{error:?}");
    // A flood of text does not block the child and is not kept.
    let (_, error) = run("floods", "head -c 3000000 /dev/zero | tr '\\0' 'x' >&2; echo the end >&2; exit 1");
    let message = error.unwrap().to_string();
    assert!(message.len() < 10_000 && message.contains("the end"), "{}", message.len());
}

/// Slurm, for one, sends the signals that end a job to each of its processes, so that ffmpeg could end first.
#[cfg(unix)]
#[test]
fn signals_that_end_a_job_do_not_reach_ffmpeg_and_ffprobe() {
    let clips = Clips::new();
    let path = clips.ramp("clip.mkv", 30);
    let signalled = |program: &str| {
        let lines = format!("for name in HUP INT TERM; do kill -$name $$; done\nexec {program} \"$@\"");
        script(&clips, &format!("{program}-signalled"), &lines)
    };
    let options = DecodeOptions::default().with_ffmpeg(signalled("ffmpeg")).with_ffprobe(signalled("ffprobe"));
    let video = Video::open_with(&path, &options).unwrap();
    let (frames, error) = drain(&video, Sampling::all());
    assert!(frames.len() == 30 && error.is_none(), "{} frames, {error:?}", frames.len());
}
