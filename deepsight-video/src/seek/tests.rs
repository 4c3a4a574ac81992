//! Seeks give what a sequential pass gives, in every container.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use deepsight_core::Frame;

use super::{
    Route, Seeks, Step,
    route::{self, Cost},
};
use crate::{Frames, Sampling, Video, process::Processes, sampling::Plan};

#[path = "../../tests/suite/clips.rs"]
mod clips;
use clips::Clips;

/// Something that differs in every picture, in all its parts.
const BUSY: &str = "-f lavfi -i testsrc2=s=96x64:r=25,noise=alls=20:allf=t,trim=end_frame=120";

fn open(path: PathBuf) -> Video {
    Video::open(path).unwrap_or_else(|error| panic!("{error}"))
}

/// The frames that seeks give, and whether these are all.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Outcome {
    NotTried,
    Failed,
    /// Number of seeks.
    Complete(usize),
}

fn sought(video: &Video, sampling: &Sampling) -> (Outcome, Vec<Frame>) {
    let plan = Plan::new(sampling, &video.timeline()).unwrap();
    let wanted = route::wanted(video, &plan, plan.stops_after(sampling.cap()));
    // Seeks that cost nothing are used wherever they can be.
    let mut cost = Cost::of(video);
    cost.seek = 0.0;
    let mut frames = Vec::new();
    let Some(route) = wanted.and_then(|wanted| Route::find(video, &wanted, &cost)) else {
        return (Outcome::NotTried, frames);
    };
    let count = route.stretches.iter().filter(|stretch| stretch.first > 0).count();
    let processes = Processes::default();
    let mut seeks = Seeks::start(video, route, &processes).unwrap();
    loop {
        match seeks.next(video, &processes).unwrap() {
            Step::Frame(frame) => frames.push(frame),
            Step::End => return (Outcome::Complete(count), frames),
            Step::Failed => return (Outcome::Failed, frames),
        }
    }
}

/// Compares frames that seeks give with those of a sequential pass.
fn compare(clips: &Clips, name: &str, words: &str) -> Outcome {
    let format = if words.contains("-pix_fmt") { "" } else { "-pix_fmt yuv420p" };
    let video = open(clips.make_uneven(name, &format!("{BUSY} {words} {format}")));
    let plan = Plan::new(&Sampling::all(), &video.timeline()).unwrap();
    let all: Vec<_> = Frames::start_on(&video, plan, u64::MAX, None, 0).unwrap().map(Result::unwrap).collect();
    let samplings = [
        (Sampling::evenly(7), 7),
        (Sampling::times([0.5, 2.0, 2.05, 2.09, 3.1]), 5),
        (Sampling::fps(3.0), 15),
        (Sampling::all(), all.len()),
    ];
    let mut outcomes = samplings.map(|(sampling, count)| {
        let (outcome, frames) = sought(&video, &sampling);
        for frame in &frames {
            let expected = &all[frame.index as usize];
            assert_eq!((frame.index, frame.time), (expected.index, expected.time), "{name}");
            assert!(frame.image == expected.image, "{name}: frame {}", frame.index);
        }
        assert!(!matches!(outcome, Outcome::Complete(_)) || frames.len() == count, "{name}: {}", frames.len());
        outcome
    });
    eprintln!("{name}: {outcomes:?}");
    outcomes.sort_by_key(|outcome| matches!(outcome, Outcome::Complete(_)));
    outcomes[0]
}

#[test]
fn look_at_all() {
    let clips = Clips::new();
    let uneven = "-vf settb=1/1000,setpts='(N*1001/30000+0.004*mod(N*7,5))/TB'";
    let cases = [
        ("plain.mp4", "-c:v libx264 -g 25".to_owned()),
        ("plain.mkv", "-c:v libx264 -g 25".into()),
        ("short.mp4", "-c:v libx264 -g 3 -bf 2".into()),
        ("short.mkv", "-c:v libx264 -g 3 -bf 2".into()),
        ("low.mp4", "-c:v libx264 -g 25 -tune zerolatency".into()),
        ("pyramid.mp4", "-c:v libx264 -g 40 -bf 8 -x264-params b-pyramid=normal:ref=8".into()),
        ("open.mp4", "-c:v libx264 -x264-params keyint=20:min-keyint=20:scenecut=0:open-gop=1:bframes=3".into()),
        ("open.mkv", "-c:v libx264 -x264-params keyint=20:min-keyint=20:scenecut=0:open-gop=1:bframes=3".into()),
        ("refresh.mp4", "-c:v libx264 -x264-params keyint=30:intra-refresh=1:bframes=0".into()),
        ("refresh.mkv", "-c:v libx264 -x264-params keyint=30:intra-refresh=1".into()),
        ("uneven.mp4", format!("{uneven} -c:v libx264 -g 20")),
        ("uneven.mkv", format!("{uneven} -c:v libx264 -g 20")),
        ("hevc.mp4", "-c:v libx265 -x265-params log-level=error:keyint=20:open-gop=0".into()),
        (
            "hevcopen.mp4",
            "-c:v libx265 -x265-params log-level=error:keyint=20:min-keyint=20:open-gop=1:scenecut=0".into(),
        ),
        (
            "hevcopen.mkv",
            "-c:v libx265 -x265-params log-level=error:keyint=20:min-keyint=20:open-gop=1:scenecut=0".into(),
        ),
        ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 20 -auto-alt-ref 1 -lag-in-frames 10".into()),
        ("vp8.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -g 20".into()),
        ("av1.mkv", "-c:v libaom-av1 -cpu-used 8 -usage realtime -g 20".into()),
        ("av1.mp4", "-c:v libaom-av1 -cpu-used 8 -usage realtime -g 20".into()),
        ("mpeg4.mp4", "-c:v mpeg4 -bf 2 -g 15".into()),
        ("mpeg4.mkv", "-c:v mpeg4 -bf 2 -g 15".into()),
        ("mpeg4.avi", "-c:v mpeg4 -g 15".into()),
        ("h264.avi", "-c:v libx264 -bf 0 -g 15".into()),
        ("mpeg2.mkv", "-c:v mpeg2video -bf 2 -g 15".into()),
        ("mpeg2.mp4", "-c:v mpeg2video -bf 2 -g 15".into()),
        ("h264.ts", "-c:v libx264 -g 25".into()),
        ("h264.flv", "-c:v libx264 -g 25".into()),
        ("mjpeg.mov", "-c:v mjpeg -pix_fmt yuvj420p".into()),
        ("mjpeg.mkv", "-c:v mjpeg -pix_fmt yuvj420p".into()),
        ("prores.mov", "-c:v prores_ks -pix_fmt yuv422p10le".into()),
        ("fragments.mp4", "-c:v libx264 -g 25 -movflags frag_keyframe+empty_moov+default_base_moof".into()),
        ("sidx.mp4", "-c:v libx264 -g 25 -movflags +dash+global_sidx -frag_duration 1000000".into()),
        ("late.mp4", "-c:v libx264 -g 25 -output_ts_offset 7.5".into()),
        ("late.mkv", "-c:v libx264 -g 25 -output_ts_offset 7.5".into()),
        ("turned.mp4", "-c:v libx264 -g 25 -metadata:s:v rotate=90".into()),
        ("pal.mp4", "-vf setsar=16/11 -c:v libx264 -g 25".into()),
        ("sound.mp4", "-f lavfi -i sine=d=5 -map 1 -map 0 -c:v libx264 -g 25 -c:a aac".into()),
        ("sound.mkv", "-f lavfi -i sine=d=5 -map 1 -map 0 -c:v libx264 -g 25 -c:a aac".into()),
    ];
    for (name, words) in cases {
        compare(&clips, name, &words);
    }
}
