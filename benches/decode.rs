//! Decoding of a video file to sampled RGB frames, including the start of ffmpeg.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use deepsight_benches::clip;
use deepsight_video::{Sampling, Video};

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.sample_size(10);
    for (name, frames, sampling) in [("evenly_30", 30, Sampling::evenly(30)), ("all_180", 180, Sampling::all())] {
        group.throughput(Throughput::Elements(frames));
        group.bench_function(name, |b| {
            b.iter(|| {
                let video = Video::open(clip()).unwrap_or_else(|error| panic!("{error}"));
                let decoded = video.frames(sampling.clone()).unwrap_or_else(|error| panic!("{error}"));
                assert_eq!(decoded.map(|frame| frame.map(drop)).filter(Result::is_ok).count() as u64, frames);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);
