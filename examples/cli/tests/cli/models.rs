//! The catalogue of published models, and downloads from the test's server.

use std::fs;
use std::path::Path;

use crate::program::run;

#[test]
fn the_models_are_listed_with_what_is_known_of_their_files_and_shown_with_their_terms() {
    let list = run("models", &[] as &[&str]);
    assert_eq!((list.code, list.stderr.as_str()), (Some(0), ""));
    for part in ["deepfakebench-b4", "CC BY-NC 4.0", "selimsef-b7-111", "sbi", "(download by hand)", "models show"] {
        assert!(list.stdout.contains(part), "{part}: {}", list.stdout);
    }
    // Every model has its source, license, files and flag, and each file its size and checksum, or that none is known.
    let entries = list.stdout.split("\n\n").filter(|entry| entry.contains("  source   https://"));
    let mut count = 0;
    for entry in entries {
        count += 1;
        for part in ["\n  license  ", "\n  terms    ", "\n  file     ", "\n  convert  ", "SHA-256 "] {
            assert!(entry.contains(part), "{part}: {entry}");
        }
        assert!(entry.contains(" bytes, ") || entry.contains("size unknown"), "{entry}");
    }
    assert_eq!(count, list.stdout.matches("\n  source   ").count());
    let polimi = list.stdout.split("\n\n").find(|entry| entry.starts_with("polimi-b4-dfdc: ")).unwrap();
    let digest = "SHA-256 c9f3663e2116d3356d056a0ce6453e0fc412a8df68ebd0902f07104d9129a09a";
    for part in ["https://github.com/polimi-ispl/icpr2020dfdc", "size unknown", digest, "--from polimi"] {
        assert!(polimi.contains(part), "{part}: {polimi}");
    }
    let shown = run("models", &["show", "polimi-b4-dfdc"]);
    assert_eq!((shown.code, shown.stderr.as_str()), (Some(0), ""));
    for part in ["GPL-3.0", "SHA-256 c9f3663e", "size unknown", "--from polimi", "have not tried them"] {
        assert!(shown.stdout.contains(part), "{part}: {}", shown.stdout);
    }
    run("models", &["show", "b4"]).assert_refused(&["no model \"b4\"", "deepfakebench-b4"]);
    let catalog = concat!(env!("CARGO_MANIFEST_DIR"), "/src/models/catalog.json");
    for order in [["--catalog", catalog, "show", "sbi"], ["show", "sbi", "--catalog", catalog]] {
        assert_eq!(run("models", &order).code, Some(0), "{order:?}");
    }
}

#[test]
fn nothing_is_downloaded_before_the_terms_are_accepted_or_without_a_direct_address() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    run("models", &["fetch", "deepfakebench-b4", "--dir", to]).assert_refused(&[
        "nothing was downloaded",
        "non-commercial",
        "--accept-terms",
    ]);
    let by_hand = run("models", &["fetch", "sbi", "--accept-terms", "--dir", to]);
    assert_eq!((by_hand.code, by_hand.stdout.as_str()), (Some(1), ""));
    for part in ["with a browser only", "https://github.com/mapooon", "deepsight convert --checkpoint", "--from sbi"] {
        assert!(by_hand.stderr.contains(part), "{part}: {}", by_hand.stderr);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_catalogue_that_cannot_be_used_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.json");
    let refused =
        |path: &Path, parts: &[&str]| run("models", &["--catalog", path.to_str().unwrap()]).assert_refused(parts);
    refused(&path, &["mine.json", "No such file"]);
    fs::write(&path, "{").unwrap();
    refused(&path, &["mine.json", "not a catalogue"]);
    fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
    refused(&path, &["mine.json", "at most 1048576 bytes"]);
}

#[cfg(feature = "fetch")]
mod fetch {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::{Arc, Mutex};

    use sha2::{Digest, Sha256};

    use super::*;
    use crate::program::{Run, program};

    /// The server's behavior for the next requests.
    #[derive(Clone)]
    struct Behavior {
        content: Vec<u8>,
        tag: Option<&'static str>,
        /// Number of bytes after which the connection ends.
        cut: Option<usize>,
        ranges: bool,
        /// Whether the server sends a part although the version differs.
        blind: bool,
        /// Header lines of the answer, instead of its length.
        head: Option<&'static str>,
        /// A status other than 200, with the `Location` header.
        other: Option<(&'static str, String)>,
    }

    /// A server on this machine, with the headers of the requests that it received.
    struct Server {
        address: String,
        behavior: Arc<Mutex<Behavior>>,
        heads: Arc<Mutex<Vec<String>>>,
    }

    impl Server {
        fn start(content: &[u8]) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            let behavior = Behavior {
                content: content.to_vec(),
                tag: Some("\"one\""),
                cut: None,
                ranges: true,
                blind: false,
                head: None,
                other: None,
            };
            let server = Self { address, behavior: Arc::new(Mutex::new(behavior)), heads: Arc::default() };
            let (behavior, heads) = (Arc::clone(&server.behavior), Arc::clone(&server.heads));
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let Some(head) = head(&mut stream.as_ref().unwrap()) else { continue };
                    heads.lock().unwrap().push(head.clone());
                    let behavior = behavior.lock().unwrap().clone();
                    // A client that has enough closes the connection.
                    let _ = answer(&mut stream.unwrap(), &head, &behavior);
                }
            });
            server
        }

        fn set(&self, change: impl FnOnce(&mut Behavior)) {
            change(&mut self.behavior.lock().unwrap());
        }

        fn last_head(&self) -> String {
            self.heads.lock().unwrap().last().unwrap().to_ascii_lowercase()
        }
    }

    fn head(stream: &mut &TcpStream) -> Option<String> {
        let mut head = String::new();
        let mut reader = BufReader::new(*stream);
        while reader.read_line(&mut head).ok()? > 2 {}
        Some(head)
    }

    fn answer(stream: &mut TcpStream, head: &str, behavior: &Behavior) -> std::io::Result<()> {
        let value = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
        };
        if let Some((status, location)) = &behavior.other {
            return write!(stream, "HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        }
        let total = behavior.content.len();
        let fits = value("if-range").is_none_or(|tag| Some(tag.as_str()) == behavior.tag);
        let start = value("range").filter(|_| behavior.ranges && (fits || behavior.blind));
        let start = start.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        let tag = behavior.tag.map(|tag| format!("etag: {tag}\r\n")).unwrap_or_default();
        let part = match start {
            Some(start) if start >= total => {
                return write!(
                    stream,
                    "HTTP/1.1 416 Range Not Satisfiable\r\ncontent-range: bytes */{total}\r\ncontent-length: 0\r\n\r\n"
                );
            }
            Some(start) => {
                let range = format!("content-range: bytes {start}-{}/{total}\r\n", total - 1);
                write!(stream, "HTTP/1.1 206 Partial Content\r\n{range}")?;
                &behavior.content[start..]
            }
            None => {
                write!(stream, "HTTP/1.1 200 OK\r\n")?;
                &behavior.content[..]
            }
        };
        let length = format!("content-length: {}\r\n", part.len());
        write!(stream, "{tag}{}connection: close\r\n\r\n", behavior.head.unwrap_or(&length))?;
        stream.write_all(&part[..behavior.cut.unwrap_or(part.len()).min(part.len())])
    }

    /// A folder with a catalogue of one model, and the server that has its file.
    struct Setting {
        folder: tempfile::TempDir,
        server: Server,
    }

    impl Setting {
        fn new(content: &[u8], more: &str) -> Self {
            let setting = Self { folder: tempfile::tempdir().unwrap(), server: Server::start(content) };
            setting.describe(more);
            setting
        }

        /// Creates a setting in which a part of another version was downloaded before the server got this content.
        fn with_part_before(content: &[u8]) -> Self {
            let setting = Self::new(&vec![1; 500_000], "");
            setting.server.set(|behavior| behavior.cut = Some(200_000));
            setting.fails(&["repeat the command"]);
            setting.server.set(|behavior| {
                (behavior.content, behavior.tag, behavior.cut) = (content.to_vec(), Some("\"two\""), None);
            });
            setting
        }

        /// Writes the catalogue. `more` is put into the description of the file.
        fn describe(&self, more: &str) {
            let address = format!("{}/best.pth", self.server.address);
            let text = format!(
                r#"{{"models": [{{"name": "mine", "about": "A network", "source": "https://example.org",
                "license": "MIT", "terms": "for the tests' use",
                "files": [{{"name": "best.pth", "address": "{address}"{more}}}],
                "convert": ["--from", "sbi"]}}]}}"#
            );
            fs::write(self.folder.path().join("catalog.json"), text).unwrap();
        }

        fn fetch(&self) -> Run {
            let [catalog, to] = ["catalog.json", "to"].map(|name| self.folder.path().join(name).display().to_string());
            let arguments = ["fetch", "mine", "--accept-terms", "--catalog", &catalog, "--dir", &to];
            // Ignores the machine's proxy.
            program("models").args(arguments).env("NO_PROXY", "127.0.0.1").output().unwrap().into()
        }

        fn file(&self, name: &str) -> Option<Vec<u8>> {
            fs::read(self.folder.path().join("to").join(name)).ok()
        }

        fn files(&self) -> usize {
            fs::read_dir(self.folder.path().join("to")).unwrap().count()
        }

        /// Asserts that the download fails with one line that contains these parts.
        fn fails(&self, parts: &[&str]) {
            let run = self.fetch();
            assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""), "{run:?}");
            assert_eq!(run.stderr.lines().count(), 1, "{run:?}");
            assert!(parts.iter().all(|part| run.stderr.contains(part)), "{parts:?}: {run:?}");
        }
    }

    fn content() -> Vec<u8> {
        (0..700_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    fn sha256(content: &[u8]) -> String {
        Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_file_is_saved_compared_and_followed_by_the_command_that_converts_it() {
        let content = content();
        let digest = sha256(&content);
        let setting = Setting::new(&content, &format!(r#", "bytes": 700000, "sha256": "{}""#, digest.to_uppercase()));
        let run = setting.fetch();
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{run:?}");
        let compared = format!("{digest}, as published");
        for part in ["for the tests' use", "saved", "700000 bytes", &compared, "--from sbi", "mine.safetensors"] {
            assert!(run.stdout.contains(part), "{part}: {run:?}");
        }
        assert!(setting.file("best.pth") == Some(content) && setting.files() == 1);
        // The second time, no request is sent.
        let again = setting.fetch();
        assert!(again.code == Some(0) && again.stdout.contains("there      "), "{again:?}");
        assert_eq!(setting.server.heads.lock().unwrap().len(), 1);
        // A file that differs from the published one is refused.
        fs::write(setting.folder.path().join("to/best.pth"), b"mine").unwrap();
        setting.fails(&["is there already, but it has 4 bytes instead of 700000", "move it away"]);
    }

    #[test]
    fn a_download_that_was_cut_off_goes_on_where_it_stopped() {
        let content = content();
        let setting = Setting::new(&content, "");
        setting.server.set(|behavior| behavior.cut = Some(300_000));
        setting.fails(&["/best.pth", "300000", "repeat the command"]);
        assert_eq!(setting.file("best.pth.part").unwrap().len(), 300_000);
        setting.server.set(|behavior| behavior.cut = None);
        let run = setting.fetch();
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.stdout.contains("not compared, because none is published"), "{run:?}");
        let head = setting.server.last_head();
        assert!(head.contains("range: bytes=300000-") && head.contains("if-range: \"one\""), "{head}");
        assert!(setting.file("best.pth") == Some(content) && setting.files() == 1);
    }

    #[test]
    fn a_part_of_another_version_is_not_completed() {
        let new = content();
        let setting = Setting::with_part_before(&new);
        assert_eq!(setting.fetch().code, Some(0));
        assert!(setting.file("best.pth") == Some(new.clone()) && setting.files() == 1);

        // Without an entity tag nothing tells the versions apart, so the file is read from its start.
        fs::remove_file(setting.folder.path().join("to/best.pth")).unwrap();
        setting.server.set(|behavior| (behavior.tag, behavior.cut) = (None, Some(200_000)));
        setting.fails(&["repeat the command"]);
        setting.server.set(|behavior| behavior.cut = None);
        assert_eq!(setting.fetch().code, Some(0));
        assert!(!setting.server.last_head().contains("range:"));
        assert!(setting.file("best.pth") == Some(new));
    }

    #[test]
    fn a_server_that_ignores_the_version_does_not_get_two_versions_joined() {
        let new = content();
        let setting = Setting::with_part_before(&new);
        setting.server.set(|behavior| behavior.blind = true);
        let run = setting.fetch();
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(setting.file("best.pth") == Some(new));
    }

    #[test]
    fn a_body_that_may_not_be_the_whole_file_is_refused() {
        let content = content();
        let digest = sha256(&content);
        let setting = Setting::new(&content, "");
        // Without a length, a connection that breaks looks like the end of the file.
        setting.server.set(|behavior| behavior.head = Some(""));
        setting.fails(&["does not state the length of the file"]);
        assert_eq!(setting.files(), 0);
        setting.server.set(|behavior| behavior.head = Some("content-encoding: gzip\r\ncontent-length: 700000\r\n"));
        setting.fails(&["compresses the file as \"gzip\""]);
        assert_eq!(setting.files(), 0);
        // The digest also shows it.
        setting.describe(&format!(r#", "sha256": "{digest}""#));
        setting.server.set(|behavior| behavior.head = Some(""));
        assert_eq!(setting.fetch().code, Some(0));
        assert!(setting.file("best.pth") == Some(content));
    }

    #[test]
    fn a_file_that_existed_is_not_called_saved_and_an_empty_one_is_refused() {
        let setting = Setting::new(b"x", "");
        let path = setting.folder.path().join("to/best.pth");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        setting.fails(&["is there already, but it is empty", "move it away"]);
        fs::write(&path, "something").unwrap();
        let run = setting.fetch();
        assert!(run.code == Some(0) && run.stdout.contains("there      ") && !run.stdout.contains("saved"), "{run:?}");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_place_of_a_part_is_not_followed() {
        let setting = Setting::new(b"x", "");
        let mine = setting.folder.path().join("mine.txt");
        fs::write(&mine, "mine").unwrap();
        fs::create_dir_all(setting.folder.path().join("to")).unwrap();
        for name in ["best.pth.part", "best.pth.part.etag"] {
            let link = setting.folder.path().join("to").join(name);
            std::os::unix::fs::symlink(&mine, &link).unwrap();
            setting.fails(&[name, "move it away"]);
            fs::remove_file(link).unwrap();
        }
        assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
    }

    #[test]
    fn a_server_without_ranges_sends_the_whole_again() {
        let content = content();
        let setting = Setting::new(&content, "");
        setting.server.set(|behavior| (behavior.cut, behavior.ranges) = (Some(300_000), false));
        setting.fails(&["repeat the command"]);
        setting.server.set(|behavior| behavior.cut = None);
        assert_eq!(setting.fetch().code, Some(0));
        assert!(setting.file("best.pth") == Some(content));
    }

    #[test]
    fn a_part_that_is_the_whole_is_put_in_place_and_one_that_is_longer_is_dropped() {
        let content = content();
        let digest = sha256(&content);
        let setting = Setting::new(&content, &format!(r#", "sha256": "{digest}""#));
        let part = setting.folder.path().join("to/best.pth.part");
        for before in [content.clone(), vec![7; 900_000]] {
            fs::create_dir_all(part.parent().unwrap()).unwrap();
            fs::write(&part, before).unwrap();
            let run = setting.fetch();
            assert_eq!(run.code, Some(0), "{run:?}");
            assert!(setting.file("best.pth").as_ref() == Some(&content) && setting.files() == 1);
            fs::remove_file(setting.folder.path().join("to/best.pth")).unwrap();
        }
    }

    #[test]
    fn a_file_that_is_not_the_published_one_is_deleted() {
        let content = content();
        let wrong = "0".repeat(64);
        let setting = Setting::new(&content, &format!(r#", "sha256": "{wrong}""#));
        setting.fails(&["best.pth", &sha256(&content), &wrong, "deleted"]);
        assert_eq!(setting.files(), 0);
        setting.describe(r#", "bytes": 10"#);
        setting.fails(&["700000 bytes", "the limit is 10"]);
        assert_eq!(setting.files(), 0);
    }

    #[test]
    fn answers_other_than_the_file_are_named() {
        let setting = Setting::new(b"x", "");
        setting.server.set(|behavior| behavior.other = Some(("404 Not Found", String::new())));
        setting.fails(&["/best.pth", "404 Not Found"]);
        assert_eq!(setting.files(), 0);
        // A redirect to another address of this machine is allowed.
        let elsewhere = Server::start(b"moved");
        let location = format!("{}/there", elsewhere.address);
        setting.server.set(|behavior| behavior.other = Some(("302 Found", location)));
        assert_eq!(setting.fetch().code, Some(0));
        assert_eq!(setting.file("best.pth").unwrap(), b"moved");
        fs::remove_file(setting.folder.path().join("to/best.pth")).unwrap();
        // A redirect elsewhere without encryption is refused.
        for location in ["http://a.example/best.pth", "//a.example/best.pth", "ftp://a.example/x", ""] {
            setting.server.set(|behavior| behavior.other = Some(("302 Found", location.into())));
            setting.fails(&["the server redirects to", location, "not an https address"]);
        }
        // A server that redirects to itself.
        setting.server.set(|behavior| behavior.other = Some(("302 Found", "/best.pth".into())));
        setting.fails(&["more than 10 redirects"]);
        assert_eq!(setting.files(), 0);
    }

    #[test]
    fn a_server_that_is_not_there_is_named_and_a_part_that_is_in_use_is_left_alone() {
        let setting = Setting::new(b"x", "");
        // A port that only the system may open.
        let closed = "127.0.0.1:1";
        let text = fs::read_to_string(setting.folder.path().join("catalog.json")).unwrap();
        let text = text.replace(&setting.server.address, &format!("http://{closed}"));
        fs::write(setting.folder.path().join("catalog.json"), text).unwrap();
        setting.fails(&[closed, "/best.pth"]);
        assert_eq!(setting.files(), 0);

        let part = fs::File::create(setting.folder.path().join("to/best.pth.part")).unwrap();
        part.lock().unwrap();
        setting.fails(&["best.pth.part", "another download is writing it"]);
    }
}
