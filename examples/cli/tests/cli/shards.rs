//! Many clips from outside: `analyze --output-dir`, however it ends, and `merge`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::program::{Run, bundled_clip, program, run};

/// A folder with a manifest of copies of the bundled clip, and a folder for results.
struct Clips {
    folder: tempfile::TempDir,
    names: Vec<String>,
}

impl Clips {
    /// Creates `count` clips, of which the last cannot be decoded.
    fn new(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..count).map(|number| format!("clip {number}.mp4")).collect();
        for name in &names {
            fs::copy(bundled_clip(), folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join(&names[count - 1]), "no film").unwrap();
        fs::write(folder.path().join("clips.txt"), names.join("\n")).unwrap();
        Self { folder, names }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.at(name).to_str().unwrap().to_owned()
    }

    fn flags(&self, shard: &str) -> [String; 8] {
        let (manifest, results) = (self.text("clips.txt"), self.text("results"));
        ["--manifest", &manifest, "--output-dir", &results, "--frames", "1", "--shard", shard].map(str::to_owned)
    }

    fn analyze(&self, shard: &str, flags: &[&str]) -> Run {
        Run::from(program("analyze").args(self.flags(shard)).args(flags).output().unwrap())
    }

    fn merge(&self, flags: &[&str]) -> Run {
        run("merge", &[&[self.text("results").as_str()], flags].concat())
    }
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn last(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

#[test]
fn a_shard_has_a_line_for_each_of_its_clips_and_the_next_run_does_the_rest() {
    let clips = Clips::new(5);
    let first = clips.analyze("0/2", &["--jobs", "2"]);
    assert_eq!(first.code, Some(2), "{first:?}");
    assert!(first.stderr.starts_with("error: ") && first.stderr.contains("clip 4.mp4: not a video"), "{first:?}");
    let summary = "3 of 3 clips: 0 FAKE, 0 REAL, 2 UNCERTAIN; 1 failed; 0 were done before\n";
    assert_eq!(first.stdout, summary);

    let file = clips.at("results/reports-00000-of-00002.jsonl");
    let found = lines(&file);
    assert_eq!((&found[0]["shard"], &found[0]["of"], &found[0]["clips"]), (&0.into(), &2.into(), &5.into()));
    let mut positions: Vec<_> = found[1..].iter().map(|line| line["position"].as_u64().unwrap()).collect();
    positions.sort_unstable();
    assert_eq!(positions, [0, 2, 4]);
    for line in &found[1..] {
        let position = line["position"].as_u64().unwrap() as usize;
        assert_eq!(line["file"], clips.names[position]);
        if position == 4 {
            assert!(line["error"].as_str().unwrap().contains("not a video"), "{line}");
        } else {
            assert_eq!(line["report"]["input"]["path"], clips.text(&clips.names[position]));
            assert_eq!((line["frames"].as_u64(), line["report"]["frames"].as_array().unwrap().len()), (Some(1), 1));
        }
    }

    // Replaces the broken clip by a good copy.
    fs::copy(bundled_clip(), clips.at("clip 4.mp4")).unwrap();
    let again = clips.analyze("0/2", &[]);
    assert_eq!((again.code, last(&again.stdout)), (Some(2), &summary.trim_end().replace("; 0 were", "; 3 were")[..]));
    assert_eq!(again.stderr, "clips that failed before: 1; --retry-failed tries them again\n");
    let retried = clips.analyze("0/2", &["--retry-failed"]);
    let summary = "3 of 3 clips: 0 FAKE, 0 REAL, 3 UNCERTAIN; 0 failed; 2 were done before\n";
    assert_eq!((retried.code, retried.stdout.as_str(), retried.stderr.as_str()), (Some(0), summary, ""));
    assert_eq!(lines(&file).len(), 5, "lines are only added");
}

#[test]
fn other_settings_are_refused_and_a_restart_deletes_the_results() {
    let clips = Clips::new(2);
    assert_eq!(clips.analyze("0/2", &["--brief"]).code, Some(0));
    let file = clips.at("results/reports-00000-of-00002.jsonl");
    assert_eq!(lines(&file)[1]["report"]["frames"], serde_json::json!([]));
    let before = fs::read(&file).unwrap();
    let refused = clips.analyze("0/2", &["--aggregation", "median"]);
    refused.assert_refused(&[
        "reports-00000-of-00002.jsonl",
        "analyzer.aggregation was \"worst-track\" and is \"median\"",
        "run.brief was true and is false",
        "--restart",
    ]);
    // These flags do not affect a result.
    let resumed = clips.analyze("0/2", &["--brief", "--threads", "1", "--batch", "5"]);
    assert_eq!((resumed.code, resumed.stderr.as_str()), (Some(0), ""));
    assert_eq!(fs::read(&file).unwrap(), before);
    let anew = clips.analyze("0/2", &["--aggregation", "median", "--restart"]);
    assert_eq!((anew.code, anew.stderr.as_str()), (Some(0), ""));
    let found = lines(&file);
    assert_eq!((found.len(), &found[0]["settings"]["analyzer.aggregation"]), (2, &"median".into()));

    fs::write(clips.at("clips.txt"), "clip 0.mp4\n").unwrap();
    clips.analyze("0/2", &["--aggregation", "median"]).assert_refused(&["clips was 2 and is 1"]);
}

#[test]
fn bad_manifests_shards_and_folders_are_one_line() {
    let clips = Clips::new(2);
    for (shard, parts) in
        [("2/2", "shard 2 of 2 does not exist: the shards are 0 to 1"), ("0", "I/N is needed, such as 0/8")]
    {
        clips.analyze(shard, &[]).assert_refused(&["--shard", parts]);
    }
    clips.analyze("0/1", &["--json", "-"]).assert_refused(&["--output-dir", "cannot be used with", "--json"]);
    fs::create_dir(clips.at("results")).unwrap();
    let held = File::create(clips.at("results/reports-00000-of-00001.jsonl")).unwrap();
    held.lock().unwrap();
    clips.analyze("0/1", &[]).assert_refused(&["reports-00000-of-00001.jsonl: another run is writing it"]);
    drop(held);
    fs::write(clips.at("clips.txt"), "clip 0.mp4\nclip 1.mp4\nclip 0.mp4\n").unwrap();
    clips.analyze("0/1", &[]).assert_refused(&["\"clip 0.mp4\" is named twice: as clip 1 and as clip 3"]);
    fs::remove_file(clips.at("clips.txt")).unwrap();
    clips.analyze("0/1", &[]).assert_refused(&["cannot read", "clips.txt", "No such file"]);
}

#[test]
fn clips_of_the_command_line_and_of_standard_input_are_done_too() {
    let clips = Clips::new(2);
    let (one, results) = (clips.text("clip 0.mp4"), clips.text("results"));
    let flags = ["--frames", "1", "--output-dir", &results];
    let named = run("analyze", &[&[one.as_str()], &flags[..]].concat());
    assert_eq!((named.code, named.stderr.as_str()), (Some(0), ""));
    let mut command = program("analyze");
    command.args(flags).args(["--manifest", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), format!("{one}\n").as_bytes()).unwrap();
    let read = Run::from(child.wait_with_output().unwrap());
    assert_eq!((read.code, read.stderr.as_str()), (Some(0), ""));
    assert!(read.stdout.ends_with("1 were done before\n"), "the same list: {read:?}");
}

#[test]
fn merged_lines_and_rows_are_in_the_order_of_the_manifest_and_always_the_same() {
    let clips = Clips::new(5);
    for shard in ["2/3", "0/3"] {
        clips.analyze(shard, &["--jobs", "2"]);
    }
    let (all, csv, manifest) = (clips.text("all.jsonl"), clips.text("all.csv"), clips.text("clips.txt"));
    let flags = ["--output", &all, "--csv", &csv, "--manifest", &manifest];
    let early = clips.merge(&flags);
    assert_eq!(early.code, Some(2), "{early:?}");
    assert_eq!(
        early.stderr,
        "error: clip 2 \"clip 1.mp4\" has no line: shard 1/3\nerror: clip 5 \"clip 4.mp4\" has no line: shard 1/3\n"
    );
    assert!(early.stdout.contains("missing           2\n"), "{early:?}");
    assert!(!Path::new(&all).exists() && !Path::new(&csv).exists());

    assert_eq!(clips.analyze("1/3", &[]).code, Some(2));
    let merged = clips.merge(&flags);
    assert_eq!((merged.code, merged.stderr.as_str()), (Some(0), ""), "{merged:?}");
    let counts =
        "FAKE              0\nREAL              0\nUNCERTAIN         4\nfailed            1\nclips             5\n";
    assert_eq!(merged.stdout, counts);
    let files: Vec<_> = lines(Path::new(&all)).iter().map(|line| line["file"].as_str().unwrap().to_owned()).collect();
    assert_eq!(files, clips.names);
    let table = fs::read_to_string(&csv).unwrap();
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(
        rows[0],
        "file,verdict,fake_probability,faces,persons,frames,seconds,width,height,sha256,error,seconds_seen,share_seen,\
         duration,segment_start,segment_end,segment_fake_probability"
    );
    assert!(rows[1].starts_with("clip 0.mp4,UNCERTAIN,0.") && rows[1].contains(",640,360,"), "{}", rows[1]);
    let [seen, share, duration] = [11, 12, 13].map(|at| rows[1].split(',').nth(at).unwrap().parse::<f64>().unwrap());
    assert!(seen > 0.0 && (seen / duration - share).abs() < 1e-9, "{}", rows[1]);
    assert!(rows[5].starts_with("clip 4.mp4,,,,,,,,,,") && rows[5].contains("not a video"), "{}", rows[5]);
    assert_eq!(rows.len(), 6);
    let before = [fs::read(&all).unwrap(), fs::read(&csv).unwrap()];
    assert_eq!(clips.merge(&flags), merged);
    assert_eq!([fs::read(&all).unwrap(), fs::read(&csv).unwrap()], before);

    fs::write(&manifest, clips.names[1..].join("\n")).unwrap();
    clips.merge(&flags).assert_refused(&["the manifest differs from that of", "it has 4 clips and the other 5"]);
}

#[cfg(unix)]
#[test]
fn an_interrupted_shard_keeps_what_is_done() {
    let clips = Clips::new(20);
    let file = clips.at("results/reports-00000-of-00001.jsonl");
    let command = &mut program("analyze");
    let mut child = command.args(clips.flags("0/1")).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_lines(&file, 3, &mut child);
    assert!(std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let run = Run::from(child.wait_with_output().unwrap());
    assert_eq!((run.code, run.stdout.as_str()), (Some(130), ""), "{run:?}");
    let done = lines(&file).len() - 1;
    assert_eq!(run.stderr, format!("{done} of 20 clips are done; the same command continues\ninterrupted\n"));
}

/// Runs Slurm's script with a fake Slurm environment: three shards, one of which is killed in the middle.
#[cfg(unix)]
#[test]
fn the_script_for_slurm_continues_after_a_kill_and_its_shards_are_merged() {
    use std::os::unix::fs::PermissionsExt;

    let clips = Clips::new(18);
    let bin = clips.at("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("srun"), "#!/bin/sh\nexec \"$@\"\n").unwrap();
    fs::set_permissions(bin.join("srun"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let deepsight = program("analyze").get_program().to_owned();
    let task = |shard: u32| {
        let mut command = std::process::Command::new("bash");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../cluster/slurm.sbatch")).args(["--frames", "1"]);
        command
            .env("PATH", &path)
            .env("DEEPSIGHT", &deepsight)
            .env("DEVICE", deepsight_device::Device::default().to_string());
        command.env("MANIFEST", clips.at("clips.txt")).env("OUTPUT_DIR", clips.at("results"));
        command.env("SLURM_ARRAY_TASK_ID", shard.to_string()).env("SLURM_ARRAY_TASK_COUNT", "3");
        command.env("SLURM_CPUS_PER_TASK", "8");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let file = clips.at("results/reports-00001-of-00003.jsonl");
    let mut killed = task(1).spawn().unwrap();
    wait_for_lines(&file, 3, &mut killed);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let done = fs::read_to_string(&file).unwrap().lines().count() - 1;
    fs::OpenOptions::new()
        .append(true)
        .open(&file)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"{\"posi"))
        .unwrap();

    for (shard, code) in [(0, 0), (1, 0), (2, 2)] {
        let run = Run::from(task(shard).output().unwrap());
        assert_eq!(run.code, Some(code), "shard {shard}: {run:?}");
        let before = if shard == 1 { done } else { 0 };
        assert!(run.stdout.starts_with("6 of 6 clips: "), "{run:?}");
        assert!(run.stdout.ends_with(&format!("; {before} were done before\n")), "{run:?}");
    }
    let merged = clips.merge(&["--manifest", &clips.text("clips.txt"), "--output", &clips.text("all.jsonl")]);
    assert_eq!((merged.code, merged.stderr.as_str()), (Some(0), ""), "{merged:?}");
    let files: Vec<_> =
        lines(&clips.at("all.jsonl")).iter().map(|line| line["file"].as_str().unwrap().to_owned()).collect();
    assert_eq!(files, clips.names);
}

/// Waits until the file has `count` lines. Fails if the process that writes it ends before.
#[cfg(unix)]
fn wait_for_lines(path: &Path, count: usize, writer: &mut std::process::Child) {
    loop {
        let ended = writer.try_wait().unwrap().is_some();
        if fs::read(path).map_or(0, |text| text.iter().filter(|&&byte| byte == b'\n').count()) >= count {
            return;
        }
        assert!(!ended, "it ended before {count} lines were written");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
