//! Devices from outside: `--device list`, and what is said of a GPU that cannot be used.

use crate::program::run;

#[test]
fn every_program_lists_the_devices_of_this_build() {
    for (name, others) in [
        ("analyze", &["no-such-clip.mp4"][..]),
        ("evaluate", &[]),
        ("preprocess", &[]),
        ("selftest", &[]),
        ("train", &["--device", deepsight_device::Device::NAMES[0]]),
    ] {
        let run = run(name, &[others, &["--device", "list"]].concat());
        // Graphics drivers write their own messages to standard error.
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.stdout.lines().all(|line| line.contains("  ")), "{run:?}");
        let kinds: Vec<_> = run.stdout.lines().map(|line| line.split([':', ' ']).next().unwrap()).collect();
        let compiled = deepsight_device::Device::NAMES.iter().map(|name| name.trim_end_matches("[:n]"));
        assert!(compiled.clone().all(|name| kinds.contains(&name)), "{run:?}");
        assert!(kinds.iter().all(|kind| compiled.clone().any(|name| name == *kind)), "{run:?}");
    }
}

/// Tests with a fake driver. It is found before a real one, which is therefore never used.
#[cfg(all(feature = "cuda", target_os = "linux"))]
mod cuda {
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::time::Duration;
    use std::{env, fs};

    use deepsight_device::Device;
    use tempfile::TempDir;

    use crate::program::{Run, program};

    /// The names under which NVIDIA's driver and compiler are loaded.
    const DRIVER: [&str; 2] = ["libcuda.so", "libcuda.so.1"];
    const COMPILER: [&str; 2] = ["libnvrtc.so", "libnvrtc.so.12"];

    /// A machine with the given libraries and a toolkit's header.
    struct Machine {
        folder: TempDir,
        variables: Vec<(&'static str, String)>,
    }

    impl Machine {
        /// Creates a machine with everything that Burn needs. Returns `None` without a C compiler.
        fn new() -> Option<Self> {
            let folder = tempfile::tempdir().unwrap();
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/fake_cuda.c");
            let library = folder.path().join(DRIVER[0]);
            let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).output();
            let Ok(compiled) = compiled else {
                skipped("there is no C compiler (cc) for the fake driver");
                return None;
            };
            assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
            for name in [&DRIVER[1..], &COMPILER].concat() {
                fs::copy(&library, folder.path().join(name)).unwrap();
            }
            fs::create_dir(folder.path().join("include")).unwrap();
            fs::write(folder.path().join("include/cuda_runtime.h"), "").unwrap();
            Some(Self { folder, variables: Vec::new() })
        }

        fn with(mut self, variable: &'static str, value: &str) -> Self {
            self.variables.push((variable, value.into()));
            self
        }

        /// Replaces libraries by empty files, as in a container without access to its GPU. They also hide libraries of
        /// the real machine.
        fn without(self, names: &[&str]) -> Self {
            for name in names {
                fs::write(self.folder.path().join(name), "").unwrap();
            }
            self
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn start(&self, command: &mut Command) -> Run {
            command.env("LD_LIBRARY_PATH", self.folder.path()).env("CUDA_PATH", self.folder.path());
            command.env_remove("CUDA_VISIBLE_DEVICES").envs(self.variables.iter().map(|(name, value)| (name, value)));
            command.output().unwrap().into()
        }

        /// Runs `analyze` with the device.
        fn analyze(&self, device: &str) -> Run {
            self.start(program("analyze").args(["--frames", "1", "--device", device]))
        }

        /// Returns the error of [`Device::check_within`]; empty if there is none.
        fn check(&self, device: &str, limit: Duration) -> String {
            let mut child = Command::new(env::current_exe().unwrap());
            // The name of a test in its program does not begin with the program's name.
            let (_, test) = concat!(module_path!(), "::child").split_once("::").unwrap();
            child.args(["--exact", test, "--ignored", "--nocapture"]);
            let run =
                self.start(child.env("CHECKED_DEVICE", device).env("CHECKED_WITHIN", limit.as_millis().to_string()));
            assert_eq!(run.code, Some(0), "{run:?}");
            run.stdout.lines().find_map(|line| line.strip_prefix("checked: ")).unwrap().into()
        }
    }

    #[allow(clippy::print_stderr, reason = "a test that is left out must say so")]
    fn skipped(reason: &str) {
        eprintln!("skipped: {reason}");
    }

    #[test]
    #[ignore = "a part of the other tests: run by them, on a machine that they make up"]
    #[allow(clippy::print_stdout, reason = "the answer to the other tests")]
    fn child() {
        let variable = |name| env::var(name).unwrap();
        let device: Device = variable("CHECKED_DEVICE").parse().unwrap();
        let limit = Duration::from_millis(variable("CHECKED_WITHIN").parse().unwrap());
        let message = device.check_within(limit).map_or_else(|error| error.to_string(), |()| String::new());
        println!("\nchecked: {message}");
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_gpu_with_all_that_burn_needs_passes() {
        let Some(machine) = Machine::new() else { return };
        assert_eq!(machine.with("FAKE_GPUS", "2").check("cuda:1", LONG), "");
    }

    #[test]
    fn a_list_names_each_gpu_and_releases_its_context() {
        let Some(machine) = Machine::new() else { return };
        let machine = machine.with("FAKE_GPUS", "2").with("FAKE_COUNT", "1");
        let run = machine.start(program("analyze").args(["--device", "list"]));
        let line = |name: &str, letter| {
            format!(
                "{name:7}  Fake GPU {letter}: 1.5 of 16.0 GiB free, compute capability 9.0, driver for CUDA 12.4, \
                 NVRTC 12.4\n"
            )
        };
        assert_eq!(run.code, Some(0));
        assert!(run.stdout.contains(&(line("cuda:0", 'A') + &line("cuda:1", 'B'))), "{run:?}");
        assert!(run.stderr.lines().any(|line| line == "retained: 0"), "{run:?}");
    }

    #[test]
    fn a_list_says_why_there_is_no_gpu() {
        let Some(machine) = Machine::new() else { return };
        let run = machine.with("FAKE_FAIL", "cuInit=803").start(program("analyze").args(["--device", "list"]));
        assert_eq!(run.code, Some(0));
        let line = run.stdout.lines().find(|line| line.starts_with("cuda ")).unwrap();
        assert!(line.contains("cannot be used: the CUDA driver failed in cuInit with error 803"), "{run:?}");
    }

    #[test]
    fn a_machine_without_driver_gets_the_names_that_were_searched() {
        let Some(machine) = Machine::new() else { return };
        let run = machine.without(&DRIVER).analyze("cuda");
        run.assert_refused(&["device cuda:0: no NVIDIA driver", "libcuda.so.1", "cannot be loaded", "file too short"]);
    }

    #[test]
    fn a_driver_without_gpu_is_an_error() {
        let Some(machine) = Machine::new() else { return };
        let machine = machine.with("FAKE_FAIL", "cuInit=100");
        machine
            .analyze("cuda")
            .assert_refused(&["device cuda:0: looked for NVIDIA GPU 0 and found none", "nvidia-smi"]);
        let machine = machine.with("CUDA_VISIBLE_DEVICES", "");
        machine.analyze("cuda").assert_refused(&["found none", "CUDA_VISIBLE_DEVICES is \"\" and hides"]);
    }

    #[test]
    fn a_number_past_the_last_gpu_is_an_error_that_lists_the_gpus() {
        let Some(machine) = Machine::new() else { return };
        let machine = machine.with("FAKE_GPUS", "2");
        let found = "found 2: cuda:0 (Fake GPU A), cuda:1 (Fake GPU B)";
        machine.analyze("cuda:2").assert_refused(&["device cuda:2: looked for NVIDIA GPU 2", found, "nvidia-smi"]);
        let machine = machine.with("CUDA_VISIBLE_DEVICES", "3,1");
        machine.analyze("cuda:99999999999").assert_refused(&[found, "CUDA_VISIBLE_DEVICES is \"3,1\" and hides"]);
    }

    #[test]
    fn a_driver_that_is_too_old_is_an_error_with_its_version() {
        let Some(machine) = Machine::new() else { return };
        let machine = machine.with("FAKE_DRIVER", "11010");
        machine.analyze("cuda").assert_refused(&["driver is too old", "CUDA 11.1", "11.2 is the oldest"]);
    }

    #[test]
    fn each_error_of_the_driver_has_its_code_its_text_and_its_advice() {
        for (call, code, advice) in [
            ("cuDriverGetVersion", 34, "stubs"),
            ("cuInit", 802, "nvidia-fabricmanager"),
            ("cuInit", 803, "restart the machine after an update"),
            ("cuInit", 804, "cuda-compat"),
            ("cuInit", 999, "nvidia_uvm"),
            ("cuInit", 12345, "nvidia-smi"),
            ("cuDeviceGetCount", 3, "nvidia-smi"),
            ("cuDevicePrimaryCtxRetain", 2, "memory is full"),
            ("cuDevicePrimaryCtxRetain", 46, "has the GPU for itself"),
            ("cuDevicePrimaryCtxRetain", 800, "/dev/nvidia*"),
            ("cuDevicePrimaryCtxRetain", 805, "nvidia-cuda-mps-control"),
            ("cuModuleLoadData", 221, "nvidia-smi"),
        ] {
            let Some(machine) = Machine::new() else { return };
            let message = machine.with("FAKE_FAIL", &format!("{call}={code}")).check("cuda", LONG);
            let begin = format!("device cuda:0: the CUDA driver failed in {call} with error {code} (CUDA_ERROR_");
            assert!(message.starts_with(&begin) && message.contains("in the driver's words); "), "{message}");
            assert!(message.contains(advice), "{message}");
        }
    }

    #[test]
    fn an_error_without_a_name_is_reported_by_its_code() {
        let Some(machine) = Machine::new() else { return };
        let machine = machine.with("FAKE_FAIL", "cuInit=803").with("FAKE_NAMELESS", "1");
        machine
            .analyze("cuda")
            .assert_refused(&["failed in cuInit with error 803; driver library and kernel module differ"]);
    }

    #[test]
    fn a_driver_that_hangs_is_abandoned() {
        for call in ["cuInit", "cuDevicePrimaryCtxRetain"] {
            let Some(machine) = Machine::new() else { return };
            let message = machine.with("FAKE_HANG", call).check("cuda", Duration::from_millis(500));
            assert!(message.starts_with("device cuda:0: the CUDA driver has not answered for 0.5 s"), "{message}");
        }
    }

    #[test]
    fn a_missing_or_broken_compiler_is_distinguished_from_a_missing_header() {
        let Some(machine) = Machine::new() else { return };
        let run = machine.without(&COMPILER).analyze("cuda");
        run.assert_refused(&[
            "no run-time compiler of CUDA (NVRTC)",
            "libnvrtc.so",
            "file too short",
            "LD_LIBRARY_PATH",
        ]);

        let Some(machine) = Machine::new() else { return };
        let machine = machine.with("FAKE_FAIL", "nvrtcCompileProgram=7");
        machine
            .analyze("cuda")
            .assert_refused(&["NVRTC", "nvrtcCompileProgram with error 7 (fake error: no builtins);"]);

        let Some(machine) = Machine::new() else { return };
        let header = machine.path("include/cuda_runtime.h");
        fs::remove_file(&header).unwrap();
        machine.analyze("cuda").assert_refused(&[
            "no headers of the CUDA toolkit",
            header.to_str().unwrap(),
            "CUDA_PATH",
        ]);
    }

    #[test]
    fn a_gpu_that_the_compiler_does_not_know_is_too_old_or_too_new_for_it() {
        for (capability, named, advice) in [("37", "3.7", "too old"), ("121", "12.1", "too new")] {
            let Some(machine) = Machine::new() else { return };
            let run = machine.with("FAKE_GPU", capability).analyze("cuda");
            let known = "(NVRTC 12.4) compiles for 5.0 to 9.0; the GPU is";
            run.assert_refused(&["Fake GPU A has compute capability", named, known, advice]);
        }
        let Some(machine) = Machine::new() else { return };
        assert_eq!(machine.with("FAKE_GPU", "80").check("cuda", LONG), "");
    }

    #[test]
    fn a_compiler_newer_than_the_driver_is_an_error_with_both_versions() {
        let Some(machine) = Machine::new() else { return };
        let machine = machine.with("FAKE_FAIL", "cuModuleLoadData=222").with("FAKE_DRIVER", "12020");
        machine.analyze("cuda").assert_refused(&["newer than the driver", "NVRTC 12.4", "a driver for CUDA 12.2"]);
    }
}
