//! Seeks give what a sequential pass gives, in every container, or are not used.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use deepsight_core::{CancelToken, Frame};

use super::{Route, Seeks, Step, free_route, route};
use crate::{Frames, Sampling, Video, VideoError, clips::Clips, process::Processes, sampling::Plan};

/// Pictures that differ everywhere.
const BUSY: &str = "-f lavfi -i testsrc2=s=96x64:r=25,noise=alls=20:allf=t,trim=end_frame=80";

/// A clip of [`BUSY`], and whether seeks are used on it.
type Case<'a> = (&'a str, &'a str, bool);

fn open(path: PathBuf) -> Video {
    Video::open(path).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the way to the frames of a sampling, if it is not that of a sequential pass. Seeks cost nothing here, so
/// they are used wherever they can be.
fn find(video: &Video, sampling: &Sampling) -> Option<Route> {
    free_route(video, sampling).filter(|route| route.stretches.iter().any(|stretch| stretch.first > 0))
}

/// Returns the frames of a route, and whether these are all.
fn follow(video: &Video, route: Route) -> (Vec<Frame>, bool) {
    let processes = Processes::default();
    let mut seeks = Seeks::start(video, route, &processes).unwrap();
    let mut frames = Vec::new();
    loop {
        match seeks.next(video, &processes).unwrap() {
            Step::Frame(frame) => frames.push(frame),
            Step::End => return (frames, true),
            Step::Failed => return (frames, false),
        }
    }
}

/// Starts an iterator that follows `route`, or passes over the file if there is none.
fn frames_on(video: &Video, sampling: &Sampling, route: Option<Route>) -> Frames {
    let plan = Plan::new(sampling, &video.timeline()).unwrap();
    let cap = plan.stops_after(sampling.cap());
    Frames::start_on(video, plan, cap, route, 0).unwrap()
}

fn drain(frames: Frames) -> (Vec<Frame>, Option<VideoError>) {
    let mut all = Vec::new();
    for frame in frames {
        match frame {
            Ok(frame) => all.push(frame),
            Err(error) => return (all, Some(error)),
        }
    }
    (all, None)
}

fn assert_same(frames: &[Frame], expected: &[Frame], name: &str) {
    for (frame, expected) in frames.iter().zip(expected) {
        assert_eq!((frame.index, frame.time), (expected.index, expected.time), "{name}");
        assert!(frame.image == expected.image, "{name}: frame {}", frame.index);
    }
    assert_eq!(frames.len(), expected.len(), "{name}");
}

/// Compares the frames that seeks give with those of a sequential pass.
fn compare(cases: &[Case<'_>]) {
    let clips = Clips::new();
    for &(name, words, seeks) in cases {
        let format = if words.contains("-pix_fmt") { "" } else { "-pix_fmt yuv420p" };
        let video = open(clips.make_uneven(name, &format!("{BUSY} {words} {format}")));
        assert!(video.picture.reach() > 0 || !words.contains("+ildct"), "{name}");
        let (all, error) = drain(frames_on(&video, &Sampling::all(), None));
        assert!(error.is_none() && all.len() as u64 == video.info().frame_count, "{name}: {error:?}");
        // Its packets do not say when the first frame is shown.
        assert!(all[0].time == 0.0 || !name.ends_with(".avi"), "{name}: {}", all[0].time);
        let samplings = [Sampling::evenly(6), Sampling::fps(3.0), Sampling::times([0.5, 1.7, 1.75, 1.79, 2.5])];
        for sampling in samplings {
            let Some(route) = find(&video, &sampling) else {
                // Decoding on may be cheaper than each seek, but not between frames that lie far apart.
                assert!(!seeks || sampling != Sampling::evenly(6), "{name}: no seek");
                continue;
            };
            assert!(seeks, "{name}");
            let plan = Plan::new(&sampling, &video.timeline()).unwrap();
            let wanted = route::wanted(&video, &plan, plan.stops_after(sampling.cap())).unwrap();
            let expected: Vec<_> = wanted.into_iter().map(|place| all[place].clone()).collect();
            let excerpt = route.clone().with_excerpt(&video);
            assert_eq!(excerpt.is_some(), has_tables(name), "{name}: an excerpt");
            let seeks = route::allows_seeks(&video).then_some(route);
            for route in [seeks, excerpt].into_iter().flatten() {
                let how = if route.excerpt.is_some() { "an excerpt" } else { "seeks" };
                let (frames, complete) = follow(&video, route);
                assert!(complete, "{name}: {how}, {sampling:?} failed after {} frames", frames.len());
                assert_same(&frames, &expected, name);
            }
        }
    }
}

/// Returns whether an excerpt can be made of a clip of these tests.
fn has_tables(name: &str) -> bool {
    let other = ["mpeg2", "open", "fragments", "late.mp4", "flv1"].iter().any(|other| name.starts_with(other));
    ["mp4", "flv", "ts"].iter().any(|end| name.ends_with(end)) && !other
}

#[test]
fn transport_streams_are_entered_at_key_frames() {
    compare(&[
        ("plain.ts", "-c:v libx264 -g 15", true),
        ("short.ts", "-c:v libx264 -g 3 -bf 2", true),
        ("simple.ts", "-c:v libx264 -g 15 -tune zerolatency", true),
        ("pyramid.ts", "-c:v libx264 -g 30 -bf 8 -x264-params b-pyramid=normal:ref=8", true),
        ("camera.m2ts", "-c:v libx264 -g 15 -mpegts_m2ts_mode 1", true),
        ("hevc.ts", "-c:v libx265 -x265-params log-level=error:keyint=15:open-gop=0", true),
        ("sound.ts", "-f lavfi -i sine=d=3 -map 1 -map 0 -c:v libx264 -g 15 -c:a aac", true),
        ("late.ts", "-c:v libx264 -g 15 -output_ts_offset 70000", true),
        (
            "programs.ts",
            "-f lavfi -i sine=d=3 -map 0 -map 1 -program st=1 -program st=0 -c:v libx264 -g 15 -c:a aac",
            true,
        ),
        ("two.ts", "-f lavfi -i testsrc=s=64x48:r=10:d=3 -map 0 -map 1 -c:v libx264 -g 15", true),
        ("second.ts", "-f lavfi -i testsrc=s=64x48:r=10:d=3 -map 1 -map 0 -c:v libx264 -g 15", true),
        ("mpeg2.ts", "-c:v mpeg2video -g 5", true),
        ("mpeg2b.ts", "-c:v mpeg2video -bf 2 -g 5", true),
        ("mpeg2closed.ts", "-c:v mpeg2video -bf 2 -g 5 -flags +cgop -sc_threshold 1000000000", true),
        ("open265.ts", "-c:v libx265 -x265-params log-level=error:keyint=15:min-keyint=15:open-gop=1", true),
    ]);
}

#[test]
fn index_and_tags_of_avi_and_flv_lead_to_key_frames() {
    compare(&[
        ("mpeg4.avi", "-c:v mpeg4 -g 5", true),
        ("mjpeg.avi", "-c:v mjpeg -pix_fmt yuvj420p", true),
        ("between.avi", "-c:v mpeg4 -bf 2 -g 5", true),
        ("h264.avi", "-c:v libx264 -g 15", true),
        // With its parameter sets in the description of the stream.
        ("described.avi", "-c:v libx264 -g 15 -flags +global_header -tag:v avc1", true),
        ("short.avi", "-c:v libx264 -g 3 -bf 2", true),
        ("simple.avi", "-c:v libx264 -g 15 -tune zerolatency", true),
        ("baseline.avi", "-c:v libx264 -g 15 -profile:v baseline", true),
        ("hevc.avi", "-c:v libx265 -x265-params log-level=error:keyint=15:open-gop=0 -tag:v HEVC", false),
        ("mpeg2.avi", "-c:v mpeg2video -bf 2 -g 5", false),
        ("pyramid.avi", "-c:v libx264 -g 30 -bf 8 -x264-params b-pyramid=normal:ref=8", true),
        ("field.avi", "-c:v libx264 -g 15 -x264opts tff=1 -flags +ildct+ilme", true),
        ("uneven.avi", "-vf select='not(eq(mod(n,7),3))' -fps_mode vfr -c:v libx264 -g 15", true),
        ("sound.avi", "-f lavfi -i sine=d=3 -map 1 -map 0 -c:v libx264 -g 15 -c:a mp3", true),
        ("h264.flv", "-c:v libx264 -g 15", true),
        ("simple.flv", "-c:v libx264 -g 15 -tune zerolatency", true),
        ("flv1.flv", "-c:v flv1 -g 5", true),
        ("sound.flv", "-f lavfi -i sine=d=3 -map 1 -map 0 -c:v libx264 -g 15 -c:a aac", true),
    ]);
}

#[test]
fn h264_in_any_mp4_or_matroska_is_sought() {
    compare(&[
        ("plain.mp4", "-c:v libx264 -g 15", true),
        ("plain.mkv", "-c:v libx264 -g 15", true),
        ("short.mp4", "-c:v libx264 -g 3 -bf 2", true),
        ("short.mkv", "-c:v libx264 -g 3 -bf 2", true),
        ("simple.mp4", "-c:v libx264 -g 15 -tune zerolatency", true),
        ("pyramid.mkv", "-c:v libx264 -g 30 -bf 8 -x264-params b-pyramid=normal:ref=8", true),
        ("pyramid.mp4", "-c:v libx264 -g 30 -bf 8 -x264-params b-pyramid=normal:ref=8", true),
        ("negative.mp4", "-c:v libx264 -g 15 -movflags negative_cts_offsets", true),
        ("fragments.mp4", "-c:v libx264 -g 15 -movflags frag_keyframe+empty_moov+default_base_moof", true),
        ("late.mp4", "-c:v libx264 -g 15 -output_ts_offset 7.5", true),
        ("late.mkv", "-c:v libx264 -g 15 -output_ts_offset 7.5", true),
        ("sound.mkv", "-f lavfi -i sine=d=3 -map 1 -map 0 -c:v libx264 -g 15 -c:a aac", true),
        (
            "second.mp4",
            "-f lavfi -i testsrc=s=64x48:r=10:d=3 -map 1 -map 0 -disposition:v:0 0 -disposition:v:1 default \
             -c:v libx264 -g 15",
            true,
        ),
        ("shape.mp4", "-vf setsar=16/11 -metadata:s:v rotate=90 -c:v libx264 -g 15", true),
    ]);
}

#[test]
fn a_variable_frame_rate_is_sought() {
    compare(&[
        (
            "uneven.mp4",
            "-vf settb=1/1000,setpts='(N*1001/30000+0.004*mod(N*7,5))/TB' -enc_time_base 1:1000 -c:v libx264 -g 15",
            true,
        ),
        (
            "uneven.mkv",
            "-vf settb=1/1000,setpts='(N*1001/30000+0.004*mod(N*7,5))/TB' -enc_time_base 1:1000 -c:v libx264 -g 15",
            true,
        ),
    ]);
}

#[test]
fn other_codecs_are_sought_if_their_key_frames_allow_it() {
    compare(&[
        ("hevc.mp4", "-c:v libx265 -x265-params log-level=error:keyint=15:open-gop=0", true),
        ("open.mkv", "-c:v libx265 -x265-params log-level=error:keyint=15:min-keyint=15:open-gop=1", true),
        ("open.mp4", "-c:v libx265 -x265-params log-level=error:keyint=15:min-keyint=15:open-gop=1", true),
        ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 15 -lag-in-frames 10", true),
        ("vp8.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -g 15", true),
        (
            "hidden.webm",
            "-c:v libvpx -deadline good -cpu-used 4 -auto-alt-ref 1 -lag-in-frames 12 -b:v 90k -g 40",
            true,
        ),
        ("mpeg4.mkv", "-c:v mpeg4 -bf 2 -g 5", true),
        ("mpeg2.mp4", "-c:v mpeg2video -bf 2 -g 5", true),
        ("mjpeg.mov", "-c:v mjpeg -pix_fmt yuvj420p", true),
    ]);
}

#[test]
fn open_groups_of_h264_are_entered_at_recovery_points() {
    // Decoding begins one group earlier than the one of a wanted frame.
    let open = "-c:v libx264 -x264-params keyint=6:min-keyint=6:scenecut=0:open-gop=1";
    compare(&[
        ("open.mp4", &format!("{open}:bframes=3"), true),
        ("open.mkv", &format!("{open}:bframes=3"), true),
        ("short.mkv", &format!("{open}:keyint=4:min-keyint=4:bframes=2"), true),
        ("pyramid.mkv", &format!("{open}:bframes=5:b-pyramid=normal:ref=8:direct=temporal"), true),
        ("open.ts", &format!("{open}:bframes=3"), true),
        ("open.m2ts", &format!("-f lavfi -i sine=d=3 -map 1 -map 0 -c:a aac {open} -mpegts_m2ts_mode 1"), true),
        ("strict.mkv", &format!("{open}:bframes=5:b-pyramid=strict:weightp=2:ref=4"), true),
    ]);
}

#[test]
fn a_seek_in_a_transport_stream_that_begins_within_a_group_leads_to_the_same_frames() {
    let clips = Clips::new();
    let h264 = "-c:v libx264 -x264-params keyint=24:min-keyint=24:scenecut=0:open-gop=1:bframes=3";
    let hevc = "-c:v libx265 -x265-params log-level=error:keyint=24:min-keyint=24:scenecut=0:open-gop=1";
    for (name, words) in [
        ("h264.ts", h264),
        ("ref.ts", &format!("{h264}:ref=5:b-pyramid=normal:weightp=2")),
        ("hevc.ts", hevc),
        ("mpeg2.ts", "-c:v mpeg2video -bf 2 -g 24 -sc_threshold 1000000000"),
    ] {
        let video = open(clips.make(name, &format!("{BUSY} {words} -pix_fmt yuv420p")));
        let (all, error) = drain(frames_on(&video, &Sampling::all(), None));
        assert!(error.is_none() && all.len() == 80, "{name}: {error:?}");
        let sampling = Sampling::times([3.0, 3.1]);
        let (frames, complete) = follow(&video, find(&video, &sampling).unwrap());
        assert!(complete && frames.len() == 2, "{name}: {}", frames.len());
        let expected: Vec<_> = frames.iter().map(|frame| all[frame.index as usize].clone()).collect();
        assert_same(&frames, &expected, name);
    }
}

#[test]
fn interlaced_frames_are_deinterlaced_with_those_beside_them() {
    let h264 = "-c:v libx264 -g 15 -x264opts tff=1 -flags +ildct+ilme";
    let mpeg2 = "-c:v mpeg2video -bf 2 -g 8 -flags +ildct+ilme";
    compare(&[
        ("field.mp4", h264, true),
        ("field.mkv", h264, true),
        ("field.ts", h264, true),
        (
            "openfield.ts",
            "-c:v libx264 -flags +ildct+ilme -x264-params keyint=6:min-keyint=6:open-gop=1:tff=1:scenecut=0",
            true,
        ),
        ("mpeg2field.ts", mpeg2, true),
        ("mpeg2field.mkv", mpeg2, true),
        ("mpeg2closed.ts", &format!("{mpeg2}+cgop -sc_threshold 1000000000"), true),
        ("prores.mov", "-c:v prores_ks -flags +ildct -pix_fmt yuv422p10le", true),
    ]);
}

#[test]
fn a_file_in_which_seeks_may_differ_is_passed_over() {
    let clips = Clips::new();
    let cases = [
        ("refresh.mp4", "-c:v libx264 -x264-params keyint=15:intra-refresh=1"),
        ("open.avi", "-c:v libx264 -x264-params keyint=15:min-keyint=15:open-gop=1"),
        ("mpeg2.mpg", "-c:v mpeg2video -g 15"),
    ];
    for (name, words) in cases {
        let video = self::open(clips.make(name, &format!("{BUSY} {words} -pix_fmt yuv420p")));
        assert_eq!(find(&video, &Sampling::evenly(6)), None, "{name}");
    }
    // Packets that may say no more than that the picture stays.
    let video = open(clips.make("still.avi", "-f lavfi -i color=s=32x32:r=25:d=3 -c:v mpeg4 -g 15"));
    assert_eq!(find(&video, &Sampling::evenly(6)), None);
}

#[test]
fn avi_that_was_copied_from_mp4_is_sought() {
    let clips = Clips::new();
    clips.make("clip.mp4", &format!("{BUSY} -c:v libx264 -g 15 -pix_fmt yuv420p"));
    let video = open(clips.make("clip.avi", "-i clip.mp4 -c copy"));
    let (all, error) = drain(frames_on(&video, &Sampling::all(), None));
    assert!(error.is_none() && all.len() == 80, "{error:?}");
    let (frames, complete) = follow(&video, find(&video, &Sampling::evenly(6)).unwrap());
    let expected: Vec<_> = frames.iter().map(|frame| all[frame.index as usize].clone()).collect();
    assert!(complete && frames.len() == 6);
    assert_same(&frames, &expected, "copied");
}

#[test]
fn avi_that_holds_back_other_numbers_of_frames_later_is_passed_over() {
    let clips = Clips::new();
    let [between, none] = ["between.h264 -bf 2", "none.h264 -bf 0"].map(|part| {
        let (name, words) = part.split_once(' ').unwrap();
        std::fs::read(clips.make(name, &format!("{BUSY} -c:v libx264 {words} -g 10 -pix_fmt yuv420p"))).unwrap()
    });
    for (name, parts) in [("fewer.avi", [&between, &none]), ("more.avi", [&none, &between])] {
        clips.write("joined.h264", &parts.map(Vec::as_slice).concat());
        let video = open(clips.make(name, "-r 25 -i joined.h264 -c copy"));
        assert_eq!(video.info().frame_count, 160, "{name}");
        assert_eq!(find(&video, &Sampling::evenly(6)), None, "{name}");
    }
}

#[test]
fn recordings_that_begin_between_key_frames_are_entered() {
    let clips = Clips::new();
    let x264 = "-c:v libx264 -x264-params keyint=6:min-keyint=6:scenecut=0:bframes=3";
    let mpeg2 = "-c:v mpeg2video -g 6 -bf 2";
    for (name, words) in [
        ("closed.ts", x264.to_owned()),
        ("open.ts", format!("{x264}:open-gop=1")),
        ("field.ts", format!("{x264}:tff=1 -flags +ildct+ilme")),
        ("mpeg2.ts", mpeg2.to_owned()),
        ("mpeg2field.ts", format!("{mpeg2} -flags +ildct+ilme")),
    ] {
        let whole = std::fs::read(clips.make(name, &format!("{BUSY} {words} -pix_fmt yuv420p"))).unwrap();
        // Within the first group, at its end and within the key frame after it.
        for cut in [5, 18, 21, 24, 27] {
            let video = open(clips.write("cut.ts", &whole[188 * (whole.len() / 188 * cut / 300)..]));
            let (all, error) = drain(frames_on(&video, &Sampling::all(), None));
            assert!(error.is_none() && (all.len() == 74 || all.len() == 68), "{name} {cut}: {} {error:?}", all.len());
            let sampling = Sampling::evenly(5);
            let route = find(&video, &sampling).unwrap_or_else(|| panic!("{name} {cut}: no seek"));
            let excerpt = route.clone().with_excerpt(&video);
            assert_eq!(excerpt.is_some(), has_tables(name), "{name} {cut}: an excerpt");
            for route in [Some(route), excerpt].into_iter().flatten() {
                let (frames, complete) = follow(&video, route);
                assert!(complete && frames.len() == 5, "{name} {cut}: {} frames", frames.len());
                let expected: Vec<_> = frames.iter().map(|frame| all[frame.index as usize].clone()).collect();
                assert_same(&frames, &expected, name);
            }
        }
    }
}

/// Compares frames that come from seeks and excerpts with those of the sequential pass, or expects a failure.
fn compare_single(video: &Video, cases: &[(usize, bool)]) {
    let (all, error) = drain(frames_on(video, &Sampling::all(), None));
    assert!(error.is_none() && video.picture.reach() > 0, "{error:?}");
    for &(frame, complete) in cases {
        let sampling = Sampling::times([0.0, all[frame].time]);
        let route = find(video, &sampling).unwrap();
        let expected = [all[0].clone(), all[frame].clone()];
        for route in [route.clone().with_excerpt(video), Some(route)].into_iter().flatten() {
            let (frames, was_complete) = follow(video, route.clone());
            assert_eq!(was_complete, complete, "{frame} {}", route.excerpt.is_some());
            assert_same(&frames, &expected[..1 + usize::from(complete)], "joined");
            assert_same(&drain(frames_on(video, &sampling, Some(route))).0, &expected, "joined");
        }
    }
}

#[test]
fn the_first_interlaced_frames_after_a_seek_are_not_those_of_a_sequential_pass() {
    let clips = Clips::new();
    let mpeg2 = format!("{BUSY} -c:v mpeg2video -g 8 -bf 2 -sc_threshold 1000000000 -pix_fmt yuv420p");
    let h264 = format!("{BUSY} -c:v libx264 -g 8 -bf 2 -sc_threshold 0 -pix_fmt yuv420p");
    for (words, offset) in [(&mpeg2, 3.24), (&h264, 3.28)] {
        let later = format!("-flags +ildct+ilme -output_ts_offset {offset}");
        let parts = [("progressive.ts", ""), ("field.ts", later.as_str())];
        let parts = parts.map(|(name, more)| std::fs::read(clips.make(name, &format!("{words} {more}"))).unwrap());
        clips.write("joined.ts", &parts.concat());
        // A sequence of MPEG-2 that begins to allow fields would be decoded whole.
        let joined =
            if words == &h264 { clips.path("joined.ts") } else { clips.make("joined.mkv", "-i joined.ts -c copy") };
        let video = open(joined);
        assert_eq!(video.info().frame_count, 160);
        compare_single(&video, &[(78, true), (79, true), (80, false), (81, false), (82, true), (100, true)]);
    }
}

#[test]
fn interlaced_frames_beside_repeated_ones_are_not_changed() {
    let clips = Clips::new();
    let words = "-c:v mpeg2video -g 8 -sc_threshold 1000000000 -flags +ildct+ilme -pix_fmt yuv420p";
    let mut bytes = std::fs::read(clips.make("field.mkv", &format!("{BUSY} {words}"))).unwrap();
    // A film among them: the first field of a progressive frame is shown again.
    let extensions: Vec<_> =
        (0..bytes.len() - 10).filter(|&at| bytes[at..at + 4] == [0, 0, 1, 0xb5] && bytes[at + 4] >> 4 == 8).collect();
    for at in &extensions[30..45] {
        bytes[at + 7] |= 2;
        bytes[at + 8] |= 0x80;
    }
    let video = open(clips.write("film.mkv", &bytes));
    // The frames from 45 on are interlaced. The first of them is not changed, and the second is the first that is.
    compare_single(&video, &[(29, true), (31, true), (44, true), (45, false), (46, false), (47, true), (60, true)]);
}

#[test]
fn mpeg2_whose_shape_changes_is_counted_by_decoding() {
    let clips = Clips::new();
    let words = format!("{BUSY} -c:v mpeg2video -g 8 -bf 2 -pix_fmt yuv420p");
    let parts = [("narrow.ts", "-aspect 4:3"), ("wide.ts", "-aspect 16:9 -output_ts_offset 3.24")];
    let parts = parts.map(|(name, more)| std::fs::read(clips.make(name, &format!("{words} {more}"))).unwrap());
    let video = open(clips.write("joined.ts", &parts.concat()));
    let (all, error) = drain(frames_on(&video, &Sampling::all(), None));
    assert!(error.is_none() && all.len() as u64 == video.info().frame_count, "{error:?}");
    assert!(video.header.track.is_none());
}

#[test]
fn a_clip_trimmed_by_an_edit_list_is_sought() {
    let clips = Clips::new();
    clips.make("whole.mp4", &format!("{BUSY} -c:v libx264 -g 15 -pix_fmt yuv420p"));
    let video = open(clips.make("trimmed.mp4", "-ss 0.85 -i whole.mp4 -c copy"));
    let (all, error) = drain(frames_on(&video, &Sampling::all(), None));
    assert!(error.is_none() && all.len() < 60, "{} {error:?}", all.len());
    for sampling in [Sampling::evenly(5), Sampling::times([1.5, 2.0])] {
        let (frames, complete) = follow(&video, find(&video, &sampling).unwrap());
        assert!(complete, "{sampling:?}: {}", frames.len());
        let expected: Vec<_> = frames.iter().map(|frame| all[frame.index as usize].clone()).collect();
        assert_same(&frames, &expected, "trimmed.mp4");
    }
}

/// Returns an ffmpeg that changes the arguments of seeks by a line of shell.
#[cfg(unix)]
fn with_script(path: &std::path::Path, clips: &Clips, line: &str) -> Video {
    use std::os::unix::fs::PermissionsExt;
    let text = format!("#!/bin/bash\ncase \"$*\" in *filter_complex*) {line};; esac\nexec ffmpeg \"$@\"\n");
    let script = clips.write("seeks", text.as_bytes());
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let options = crate::DecodeOptions::default().with_ffmpeg(script).with_ffprobe("ffprobe");
    Video::open_with(path, &options).unwrap()
}

#[cfg(unix)]
#[test]
fn seeks_that_fail_are_replaced_by_a_sequential_pass() {
    let clips = Clips::new();
    let path = clips.make("clip.mp4", &format!("{BUSY} -c:v libx264 -g 15 -pix_fmt yuv420p"));
    let sampling = Sampling::evenly(9);
    let (expected, _) = drain(frames_on(&open(path.clone()), &sampling, None));
    let lines = [
        ("fails", "exit 3"),
        ("complains", "echo a message >&2"),
        ("ends early", "ffmpeg \"$@\" | head -c 50000; exit 0"),
        ("leads too far", "set -- \"${@/#1./2.}\""),
        ("leads to the beginning", "set -- \"${@/#[123].*/0}\""),
    ];
    for (name, line) in lines {
        let video = with_script(&path, &clips, line);
        let (sought, complete) = follow(&video, find(&video, &sampling).unwrap());
        assert!(!complete, "{name}");
        assert_same(&sought, &expected[..sought.len()], name);
        let (frames, error) = drain(frames_on(&video, &sampling, find(&video, &sampling)));
        assert!(error.is_none(), "{name}: {error:?}");
        assert_same(&frames, &expected, name);
    }
}

#[cfg(unix)]
#[test]
fn an_excerpt_that_fails_is_replaced_by_seeks() {
    let clips = Clips::new();
    let path = clips.make("clip.mp4", &format!("{BUSY} -c:v libx264 -g 15 -pix_fmt yuv420p"));
    let sampling = Sampling::evenly(9);
    let (expected, _) = drain(frames_on(&open(path.clone()), &sampling, None));
    for words in
        ["exit 3", "head -c 6000 | ffmpeg \"$@\"; exit 0", "sed s/iso5/iso6/g | ffmpeg \"$@\" | head -c 90000; exit 0"]
    {
        // A sequential pass, whose frames have no filters of this kind, must not be started.
        let line = format!("case \"$*\" in *pipe:0*) {words};; esac;; *rawvideo*) exit 4");
        let video = with_script(&path, &clips, &line);
        let route = find(&video, &sampling).unwrap();
        let (_, complete) = follow(&video, route.clone().with_excerpt(&video).unwrap());
        assert!(!complete, "{words}");
        let excerpt = route.clone().with_excerpt(&video).unwrap();
        let route = Route { other: Some(Box::new(route)), ..excerpt };
        let (frames, error) = drain(frames_on(&video, &sampling, Some(route)));
        assert!(error.is_none(), "{words}: {error:?}");
        assert_same(&frames, &expected, words);
    }
}

#[test]
fn an_excerpt_of_a_file_that_has_become_shorter_fails() {
    let clips = Clips::new();
    let path = clips.make("clip.mp4", &format!("{BUSY} -c:v libx264 -g 15 -pix_fmt yuv420p -movflags +faststart"));
    let video = open(path.clone());
    let route = find(&video, &Sampling::evenly(9)).unwrap().with_excerpt(&video).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(video.bytes() / 2).unwrap();
    assert!(!follow(&video, route).1);
}

/// Returns the position of the first box of a type in a file, where its length stands, and that length.
fn find_box(bytes: &[u8], kind: &[u8; 4]) -> (usize, usize) {
    let at = bytes.windows(4).position(|window| window == kind).unwrap() - 4;
    (at, u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize)
}

#[test]
fn a_file_whose_tables_players_may_read_in_two_ways_gives_no_excerpt() {
    let clips = Clips::new();
    let path = clips.make("clip.mp4", &format!("{BUSY} -c:v libx264 -g 15 -pix_fmt yuv420p"));
    let bytes = std::fs::read(&path).unwrap();
    let (moov, length) = find_box(&bytes, b"moov");
    let index = &bytes[moov..moov + length];
    // The tables twice: the second index, or the second table, could be that of another picture.
    let mut twice = index.to_vec();
    let (table, size) = find_box(&twice, b"stco");
    let copy = twice[table..table + size].to_vec();
    twice.splice(table..table, copy);
    for parent in [b"moov", b"trak", b"mdia", b"minf", b"stbl"] {
        let (at, length) = find_box(&twice, parent);
        twice[at..at + 4].copy_from_slice(&(length as u32 + size as u32).to_be_bytes());
    }
    // Few bytes that describe billions of packets.
    let mut endless = index.to_vec();
    let (sizes, _) = find_box(&endless, b"stsz");
    endless[sizes + 12..sizes + 20].copy_from_slice(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xf0]);
    let before = &bytes[..moov];
    for (name, file) in [
        ("twice.mp4", [before, &twice].concat()),
        ("two.mp4", [before, index, index].concat()),
        ("other.mp4", [before, index, &endless].concat()),
        ("odd.mp4", [before, index, b"\0\0\0\x03"].concat()),
    ] {
        let video = open(clips.write(name, &file));
        let sampling = Sampling::evenly(6);
        let (expected, error) = drain(frames_on(&video, &sampling, None));
        assert!(error.is_none() && expected.len() == 6, "{name}: {error:?}");
        let route = find(&video, &sampling).unwrap();
        assert_eq!(route.clone().with_excerpt(&video), None, "{name}");
        assert_same(&follow(&video, route).0, &expected, name);
    }
    // The same tables as those of the scan, but of another file since then.
    let video = open(path.clone());
    let route = find(&video, &Sampling::evenly(6)).unwrap();
    clips.write("clip.mp4", &[before, &endless].concat());
    assert_eq!(route.with_excerpt(&video), None);
}

#[cfg(unix)]
#[test]
fn a_stop_ends_all_processes_and_no_pass_follows() {
    let clips = Clips::new();
    let path = clips.make("clip.mp4", &format!("{BUSY} -c:v libx264 -g 15 -pix_fmt yuv420p"));
    let video = with_script(&path, &clips, "sleep 30");
    let sampling = Sampling::evenly(9);
    let cancel = CancelToken::new();
    let mut frames = frames_on(&video, &sampling, find(&video, &sampling)).with_cancel(&cancel);
    let waiting = std::thread::spawn(move || frames.next());
    cancel.cancel();
    assert!(matches!(waiting.join().unwrap(), Some(Err(VideoError::Decode { .. }))));
}

#[cfg(target_os = "linux")]
#[test]
fn a_dropped_iterator_leaves_no_process_of_a_seek() {
    let clips = Clips::new();
    let path = clips.make("dropped.mp4", &format!("{BUSY} -c:v libx264 -g 15 -pix_fmt yuv420p"));
    let video = with_script(&path, &clips, "sleep 30");
    let name = path.to_string_lossy().into_owned();
    let running = || {
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).contains(&name)).count()
    };
    let frames = frames_on(&video, &Sampling::evenly(9), find(&video, &Sampling::evenly(9)));
    // For a moment after its start, a process has no arguments yet.
    let started = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while running() == 0 {
        assert!(std::time::Instant::now() < started, "no seek was started");
        std::thread::yield_now();
    }
    drop(frames);
    assert_eq!(running(), 0);
}

#[test]
fn a_file_that_is_cut_short_ends_with_the_same_error() {
    let clips = Clips::new();
    let words = format!("{BUSY} -c:v libx264 -g 10 -pix_fmt yuv420p");
    for (name, words) in [("cut.mp4", format!("{words} -movflags +faststart")), ("cut.mkv", words)] {
        let whole = std::fs::read(clips.make(name, &words)).unwrap();
        let video = open(clips.write(name, &whole[..whole.len() * 6 / 10]));
        let (expected, error) = drain(frames_on(&video, &Sampling::evenly(5), None));
        let (frames, other) = drain(frames_on(&video, &Sampling::evenly(5), find(&video, &Sampling::evenly(5))));
        assert_same(&frames, &expected, name);
        assert!(matches!(error, Some(VideoError::Truncated { .. })), "{name}: {error:?}");
        assert_eq!(other.map(|error| error.to_string()), error.map(|error| error.to_string()), "{name}");
    }
}

#[test]
fn a_recording_that_was_stopped_within_a_picture_is_entered_at_key_frames() {
    let clips = Clips::new();
    let whole = std::fs::read(clips.make("whole.ts", &format!("{BUSY} -c:v libx264 -g 10 -pix_fmt yuv420p"))).unwrap();
    for share in [0.9, 0.8, 0.7, 0.6] {
        let bytes = (whole.len() as f64 * share) as usize;
        let video = open(clips.write("cut.ts", &whole[..bytes]));
        let sampling = Sampling::evenly(5);
        let (expected, error) = drain(frames_on(&video, &sampling, None));
        let (frames, complete) = follow(&video, find(&video, &sampling).unwrap().with_excerpt(&video).unwrap());
        assert!(error.is_none() && complete, "{share}: {error:?}, {} frames", frames.len());
        // What a decoder makes of the rest of the last picture depends on its number of threads.
        let of = |frames: &[Frame]| frames.last().map(|frame| (frame.index, frame.time));
        assert_same(&frames[..4], &expected[..4], "cut.ts");
        assert_eq!((frames.len(), of(&frames)), (expected.len(), of(&expected)));
    }
}

#[test]
fn a_long_clip_of_few_wanted_frames_is_sought_and_a_short_one_is_not() {
    let clips = Clips::new();
    let source = "-f lavfi -i color=s=640x480:r=100";
    let words = "-c:v libx264 -preset ultrafast -g 50 -pix_fmt yuv420p";
    let long = open(clips.make("long.mp4", &format!("{source}:d=20 {words}")));
    let short = open(clips.make("short.mp4", &format!("{source}:d=1 {words}")));
    let choose = |video: &Video, sampling: Sampling| {
        let plan = Plan::new(&sampling, &video.timeline()).unwrap();
        Route::choose(video, &plan, plan.stops_after(sampling.cap()))
    };
    assert!(choose(&long, Sampling::evenly(3)).is_some());
    assert_eq!(choose(&long, Sampling::all()), None);
    assert_eq!(choose(&long, Sampling::fps(20.0)), None);
    assert_eq!(choose(&short, Sampling::evenly(3)), None);
    assert_eq!(drain(long.frames(Sampling::evenly(3)).unwrap()).0.len(), 3);
}
