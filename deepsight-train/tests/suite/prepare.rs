//! Tests of the preparation, on clips made with ffmpeg, on drawn pictures, and with a detector that finds white
//! squares.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use deepsight_core::image::{GenericImage, ImageFormat, Rgb, RgbImage};
use deepsight_core::{
    BoundingBox, CancelToken, DetectorInfo, Error as CoreError, Face, FaceCrop, FaceDetector, Landmarks,
};
use deepsight_train::prepare::{Detectors, Prepared};
use deepsight_train::{Dataset, Error, Label, Manifest, Preparation, PrepareConfig, SplitConfig, assign_splits};
use tempfile::TempDir;

/// A detector that finds white squares with darker surroundings, from left to right, and counts the images it is given.
#[derive(Debug, Default)]
struct Squares {
    images: AtomicUsize,
    broken: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the detector is out of order")]
struct OutOfOrder;

impl FaceDetector for &Squares {
    type Error = OutOfOrder;

    fn detect(&self, images: &[&RgbImage]) -> Result<Vec<Vec<Face>>, OutOfOrder> {
        self.images.fetch_add(images.len(), Ordering::Relaxed);
        if self.broken { Err(OutOfOrder) } else { Ok(images.iter().map(|image| squares(image)).collect()) }
    }

    fn info(&self) -> DetectorInfo {
        DetectorInfo::new("squares")
    }
}

fn squares(image: &RgbImage) -> Vec<Face> {
    let white = |x: u32, y: u32| image.get_pixel(x, y).0.iter().all(|&v| v > 200);
    let column = |x: u32| (0..image.height()).any(|y| white(x, y));
    let mut faces = Vec::new();
    let mut x = 0;
    while x < image.width() {
        let end = (x..image.width()).find(|&x| !column(x)).unwrap_or(image.width());
        if end > x {
            let rows: Vec<u32> = (0..image.height()).filter(|&y| (x..end).any(|x| white(x, y))).collect();
            let bounds = BoundingBox::new(x as f32, rows[0] as f32, end as f32, (rows[rows.len() - 1] + 1) as f32);
            let margin = bounds.width() / 5.0;
            let (right, bottom) = (image.width() as f32 - bounds.x2, image.height() as f32 - bounds.y2);
            if bounds.x1.min(bounds.y1).min(right).min(bottom) >= margin {
                faces.push(Face::new(bounds, Some(landmarks(&bounds)), 0.95));
            }
        }
        x = end + 1;
    }
    faces
}

fn landmarks(bounds: &BoundingBox) -> Landmarks {
    let template = [[0.34, 0.46], [0.66, 0.46], [0.5, 0.64], [0.37, 0.82], [0.63, 0.82]];
    Landmarks(template.map(|[x, y]| [bounds.x1 + x * bounds.width(), bounds.y1 + y * bounds.height()]))
}

/// A data set, and a folder for its crops.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("data/real")).unwrap();
        fs::create_dir_all(folder.path().join("data/fake")).unwrap();
        Self { folder }
    }

    fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join("data").join(name)
    }

    fn output(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a clip of `frames` frames of 160 × 96 pixels at 10 per second. White squares start at these columns and
    /// move to the right.
    fn clip(&self, name: &str, frames: u32, squares: &[u32]) {
        let raw = self.folder.path().join("raw");
        let mut pixels = Vec::new();
        for number in 0..frames {
            let mut frame = RgbImage::from_pixel(160, 96, Rgb([48; 3]));
            for x in squares {
                frame.copy_from(&RgbImage::from_pixel(36, 36, Rgb([255; 3])), x + number / 2, 30).unwrap();
            }
            pixels.extend_from_slice(frame.as_raw());
        }
        fs::write(&raw, pixels).unwrap();
        let mut command = Command::new("ffmpeg");
        command.args("-nostdin -v error -y -f rawvideo -pix_fmt rgb24 -s 160x96 -r 10 -i".split(' ')).arg(&raw);
        command.args("-c:v libx264 -crf 10 -pix_fmt yuv420p".split(' ')).arg(self.data(name));
        let output = command.output().expect("these tests need ffmpeg on the PATH");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Writes a gray picture of this size with a white square of `side` pixels at (`x`, `y`).
    fn picture(&self, name: &str, size: (u32, u32), square: Option<(u32, u32, u32)>) {
        let mut image = RgbImage::from_pixel(size.0, size.1, Rgb([70; 3]));
        if let Some((x, y, side)) = square {
            image.copy_from(&RgbImage::from_pixel(side, side, Rgb([255; 3])), x, y).unwrap();
        }
        fs::create_dir_all(self.data(name).parent().unwrap()).unwrap();
        image.save_with_format(self.data(name), ImageFormat::Png).unwrap();
    }

    fn run(&self, detector: &Squares, config: PrepareConfig) -> Result<Prepared, Error> {
        self.run_until("out", detector, config, usize::MAX)
    }

    /// Runs the preparation, and cancels it after `clips` clips.
    fn run_until(
        &self,
        output: &str,
        detector: &Squares,
        config: PrepareConfig,
        clips: usize,
    ) -> Result<Prepared, Error> {
        let dataset = Dataset::find(self.data(""), None)?;
        let detectors = Detectors { frames: detector, pictures: detector, lenient: detector };
        let cancel = CancelToken::new();
        Preparation::new(detectors, config)?.run(&dataset, &self.output(output), &cancel, |progress| {
            if progress.clips - progress.earlier >= clips {
                cancel.cancel();
            }
        })
    }

    fn failures(&self) -> String {
        fs::read_to_string(self.output("out/failures.csv")).unwrap()
    }
}

fn config() -> PrepareConfig {
    let mut config = PrepareConfig::default();
    (config.max_frames, config.workers, config.batch) = (5, 2, 3);
    (config.crop, config.size) = (FaceCrop::Aligned { size: 32, scale: 0.9, down: 0.0 }, 32);
    config
}

/// Returns the content of all files below a folder, by name.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(
                self::files(&path)
                    .into_iter()
                    .map(|(name, bytes)| (Path::new(path.file_name().unwrap()).join(name), bytes)),
            );
        } else {
            files.insert(path.file_name().unwrap().into(), fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn faces_are_taken_from_the_whole_video_tracked_and_described() {
    let bench = Bench::new();
    bench.clip("real/one.mp4", 21, &[20]);
    bench.clip("fake/id3_id4_0001.mp4", 21, &[10, 90]);
    let detector = Squares::default();
    let prepared = bench.run(&detector, config()).unwrap();
    assert_eq!(prepared.failures, []);
    assert_eq!(detector.images.load(Ordering::Relaxed), 10, "five frames a video");

    let rows = &prepared.manifest.rows;
    assert_eq!(rows.len(), 5 + 10);
    let real: Vec<_> = rows.iter().filter(|row| row.label == Label::Real).collect();
    assert_eq!(real.iter().map(|row| row.frame.unwrap()).collect::<Vec<_>>(), [0, 5, 10, 15, 20]);
    assert_eq!(real[3].file, Path::new("real/one/000015_0.png"));
    assert!((real[3].time.unwrap() - 1.5).abs() < 1e-6);
    assert_eq!(real[3].sha256.as_ref().unwrap().len(), 64);
    let found = real[3].bounds.unwrap();
    assert!((found.x1 - 27.0).abs() < 2.0 && (found.y1 - 30.0).abs() < 2.0, "{found:?}");
    assert_eq!(real[3].confidence, Some(0.95));

    let fake: Vec<_> = rows.iter().filter(|row| row.label == Label::Fake).collect();
    for person in [0, 1] {
        let columns: Vec<f32> =
            fake.iter().filter(|row| row.track == Some(person)).map(|row| row.bounds.unwrap().x1).collect();
        let start = [10.0, 90.0][person as usize];
        assert_eq!(columns.len(), 5);
        assert!(columns.iter().all(|x| (start - 2.0..start + 12.0).contains(x)), "{columns:?}");
    }
    assert_eq!((fake[0].target_id.as_deref(), fake[0].source_id.as_deref()), (Some("id3"), Some("id4")));

    for row in rows {
        let crop = deepsight_core::image::open(bench.output("out").join(&row.file)).unwrap().into_rgb8();
        assert_eq!(crop.dimensions(), (32, 32));
        for [x, y] in row.landmarks.unwrap().0 {
            assert!(crop.get_pixel(x.round() as u32, y.round() as u32).0[0] > 200, "{:?}", row.file);
        }
    }
}

#[test]
fn a_written_manifest_is_read_back_unchanged_and_can_be_split() {
    let bench = Bench::new();
    for n in 0..6 {
        let label = ["real", "fake"][n % 2];
        bench.picture(&format!("{label}/id{n}_0000.png"), (96, 96), Some((30, 30, 36)));
    }
    let mut manifest = bench.run(&Squares::default(), config()).unwrap().manifest;
    assign_splits(&mut manifest.rows, &SplitConfig::default()).unwrap();
    let path = bench.output("out/manifest.csv");
    manifest.write(&path).unwrap();
    let read = Manifest::read(&path).unwrap();
    assert_eq!((read.crop, read.size), (Some(FaceCrop::Aligned { size: 32, scale: 0.9, down: 0.0 }), Some(32)));
    assert_eq!(read, manifest);
    assert!(read.rows.iter().all(|row| row.split.is_some()));
    assert_eq!(read.settings["detector.frames"], "squares");
    assert_eq!(read.settings["face-confidence"], 0.9);
}

#[test]
fn the_number_of_workers_and_the_batch_size_do_not_change_the_result() {
    let bench = Bench::new();
    bench.clip("real/a.mp4", 9, &[20]);
    bench.clip("real/b.mp4", 14, &[40]);
    bench.clip("fake/c.mp4", 6, &[10, 70]);
    bench.picture("fake/d.png", (90, 90), Some((20, 20, 40)));
    let mut trees = Vec::new();
    for (output, workers, batch) in [("one", 1, 1), ("many", 4, 7)] {
        let mut config = config();
        (config.workers, config.batch) = (workers, batch);
        bench
            .run_until(output, &Squares::default(), config, usize::MAX)
            .unwrap()
            .manifest
            .write(bench.output(output).join("manifest.csv"))
            .unwrap();
        let mut files = files(&bench.output(output));
        // The order of its lines is that in which clips are finished.
        files.remove(Path::new("journal.jsonl"));
        trees.push(files);
    }
    assert_eq!(trees[0].len(), 5 + 5 + 10 + 1 + 3);
    assert!(trees[0] == trees[1]);
}

#[test]
fn an_interrupted_run_is_continued_without_repeating_work() {
    let bench = Bench::new();
    for name in ["a", "b", "c", "d"] {
        bench.clip(&format!("real/{name}.mp4"), 8, &[20]);
    }
    let whole = bench.run_until("whole", &Squares::default(), config(), usize::MAX).unwrap().manifest;

    let mut config = config();
    config.workers = 1;
    let first = Squares::default();
    let stopped = bench.run_until("out", &first, config.clone(), 2).unwrap_err();
    assert!(matches!(stopped, Error::Core(CoreError::Cancelled)), "{stopped}");
    // A killed run leaves an incomplete file and an incomplete line.
    fs::write(bench.output("out/real/d/.000000_0.png.part"), "half").unwrap_or_else(|_| {
        fs::create_dir_all(bench.output("out/real/d")).unwrap();
        fs::write(bench.output("out/real/d/.000000_0.png.part"), "half").unwrap();
    });
    let journal = bench.output("out/journal.jsonl");
    let lines = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, format!("{lines}{{\"label\":\"real\",\"clip\":\"c\"")).unwrap();

    let second = Squares::default();
    let resumed = bench.run(&second, config).unwrap().manifest;
    assert_eq!(resumed.rows, whole.rows);
    let finished = lines.lines().count() - 1;
    assert!((2..4).contains(&finished), "{finished}");
    assert_eq!(second.images.load(Ordering::Relaxed), 5 * (4 - finished));
    let files = files(&bench.output("out"));
    assert!(files.keys().all(|name| !name.to_string_lossy().ends_with(".part")), "{:?}", files.keys());

    let third = Squares::default();
    assert_eq!(bench.run(&third, self::config()).unwrap().manifest.rows, whole.rows);
    assert_eq!(third.images.load(Ordering::Relaxed), 0);
}

#[test]
fn a_broken_video_is_a_row_of_failures_and_is_tried_again() {
    let bench = Bench::new();
    bench.clip("real/good.mp4", 8, &[20]);
    bench.clip("real/empty_scene.mp4", 8, &[]);
    fs::write(bench.data("fake/broken.mp4"), "no film").unwrap();
    bench.clip("fake/cut.mkv", 60, &[20]);
    let bytes = fs::read(bench.data("fake/cut.mkv")).unwrap();
    fs::write(bench.data("fake/cut.mkv"), &bytes[..bytes.len() * 2 / 3]).unwrap();
    let prepared = bench.run(&Squares::default(), config()).unwrap();
    assert_eq!(prepared.manifest.rows.len(), 5);
    let failures = bench.failures();
    let lines: Vec<&str> = failures.lines().collect();
    assert_eq!(lines.len(), 4, "{failures}");
    assert!(lines[1].contains("empty_scene.mp4,real,empty_scene,no face in 5 frames at confidence 0.9"), "{failures}");
    assert!(lines[2].contains("broken.mp4,fake,broken,\"not a video"), "{failures}");
    assert!(lines[3].contains("cut.mkv,fake,cut,") && lines[3].contains("cut short"), "{failures}");
    assert!(!bench.output("out/fake/cut").exists(), "no faces of half a video");

    bench.clip("fake/broken.mp4", 8, &[30]);
    assert_eq!(bench.run(&Squares::default(), config()).unwrap().manifest.rows.len(), 10);
    assert_eq!(bench.failures().lines().count(), 3);
}

#[test]
fn faces_are_found_in_tight_and_loose_pictures_and_mirrored_beyond_their_edges() {
    let bench = Bench::new();
    bench.picture("real/loose.png", (120, 120), Some((40, 40, 40)));
    bench.picture("real/tight.png", (50, 50), Some((2, 2, 46)));
    bench.picture("fake/v_frame_3_face_0.png", (50, 50), Some((2, 2, 46)));
    bench.picture("fake/v_frame_9_face_0.png", (50, 50), None);
    fs::write(bench.data("fake/v_frame_12_face_0.jpg"), "no picture").unwrap();
    let mut wide = config();
    wide.crop = FaceCrop::Margin { fraction: 0.3 };
    let prepared = bench.run(&Squares::default(), wide).unwrap();
    let names: Vec<_> = prepared.manifest.rows.iter().map(|row| row.file.to_str().unwrap()).collect();
    assert_eq!(names, ["real/loose.png", "real/tight.png", "fake/v/v_frame_3_face_0.png"]);
    assert_eq!(prepared.manifest.rows[2].frame, Some(3));
    assert_eq!(prepared.manifest.rows[1].bounds.unwrap(), BoundingBox::new(2.0, 2.0, 48.0, 48.0));
    for row in &prepared.manifest.rows {
        let crop = deepsight_core::image::open(bench.output("out").join(&row.file)).unwrap().into_rgb8();
        assert!(crop.pixels().all(|pixel| pixel.0[0] >= 70), "nothing is black: {:?}", row.file);
        // The square is 1 / 1.6 of the crop's width. The rest is its surroundings or their mirror image.
        let [left, ..] = row.landmarks.unwrap().0;
        assert!((left[0] - 32.0 * (0.3 + 0.34) / 1.6).abs() < 0.7, "{left:?}");
    }
    let failures = bench.failures();
    assert!(failures.contains("v_frame_9_face_0.png,fake,v,no face"), "{failures}");
    assert!(failures.contains("v_frame_12_face_0.jpg,fake,v,not a picture that can be read"), "{failures}");
}

#[test]
fn a_run_with_other_settings_is_refused_and_the_differences_are_named() {
    let bench = Bench::new();
    bench.picture("real/a.png", (90, 90), Some((20, 20, 40)));
    bench.run(&Squares::default(), config()).unwrap();
    let mut other = config();
    (other.max_frames, other.crop, other.size) = (7, FaceCrop::Box, 40);
    other.workers = 5;
    let message = bench.run(&Squares::default(), other).unwrap_err().to_string();
    assert!(message.contains("begun with other settings: crop was {"), "{message}");
    // The order of the crop's fields depends on the features of other crates in the build.
    for part in [r#""down":0.0"#, r#""kind":"aligned""#, r#""scale":0.9"#, r#""size":32"#] {
        assert!(message.contains(part), "{message}");
    }
    let rest = r#" and is {"kind":"box"}, max-frames was 5 and is 7, size was 32 and is 40"#;
    assert!(message.ends_with(rest), "{message}");
}

#[test]
fn failures_that_concern_all_clips_end_the_run() {
    let bench = Bench::new();
    bench.clip("real/a.mp4", 8, &[20]);
    let broken = Squares { broken: true, ..Squares::default() };
    let message = bench.run(&broken, config()).unwrap_err().to_string();
    assert_eq!(message, "face detector: the detector is out of order");

    let mut without = config();
    without.decode = without.decode.with_ffmpeg("/nonexistent/ffmpeg");
    let message = bench.run(&Squares::default(), without).unwrap_err().to_string();
    assert!(message.contains("ffmpeg"), "{message}");

    let dataset = Dataset::find(bench.data(""), None).unwrap();
    let detector = Squares::default();
    let detectors = || Detectors { frames: &detector, pictures: &detector, lenient: &detector };
    let inside = bench.data("faces");
    let preparation = Preparation::new(detectors(), config()).unwrap();
    let message = preparation.run(&dataset, &inside, &CancelToken::new(), |_| ()).unwrap_err().to_string();
    assert!(message.starts_with("output is ") && message.ends_with("must lie outside the data"), "{message}");
    assert!(!inside.exists());

    let mut wrong = config();
    wrong.face_confidence = 1.5;
    let message = Preparation::new(detectors(), wrong).unwrap_err().to_string();
    assert_eq!(message, "face_confidence is 1.5: must lie in 0..=1");
}

#[test]
fn data_without_a_face_and_names_that_leave_the_folder_are_refused() {
    let bench = Bench::new();
    bench.picture("real/a.png", (90, 90), None);
    let message = bench.run(&Squares::default(), config()).unwrap_err().to_string();
    assert!(message.ends_with("no face in 1 clips: failures.csv says why"), "{message}");
    assert!(bench.failures().contains("a.png,real,a,no face"));

    for name in ["../escape", "/etc/passwd", "a/../../b", "."] {
        fs::write(bench.data("manifest.csv"), format!("file,label,video\nreal/a.png,real,{name}\n")).unwrap();
        let error = bench.run_until("other", &Squares::default(), config(), usize::MAX).unwrap_err();
        assert!(matches!(&error, Error::ClipName { name: refused } if refused == name), "{error}");
    }
}
