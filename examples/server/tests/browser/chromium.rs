//! Chromium with a profile of its own, driven through chromedriver: pages, pictures, downloads and the console.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::common::log::LoggingPrefsLogLevel;
use thirtyfour::prelude::*;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long the page may take over anything. Far more than it takes.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const INSTALL: &str = "install it (Debian: `sudo apt-get install -y chromium chromium-driver`)";
/// Browsers at once: each takes a core for itself, and the server wants one too.
static BROWSERS: Semaphore = Semaphore::const_new(2);

/// What a test has the browser to itself for.
pub(crate) struct Browser {
    /// `None` only while it is dropped.
    driver: Option<WebDriver>,
    chromedriver: Chromedriver,
    client: reqwest::Client,
    profile: TempDir,
    /// `None` once it is handed on.
    permit: Option<SemaphorePermit<'static>>,
}

impl Deref for Browser {
    type Target = WebDriver;

    fn deref(&self) -> &WebDriver {
        self.driver.as_ref().unwrap()
    }
}

impl Browser {
    pub(crate) async fn start() -> Self {
        Self::start_with(BROWSERS.acquire().await.unwrap()).await
    }

    async fn start_with(permit: SemaphorePermit<'static>) -> Self {
        let chromium = program("CHROMIUM", &["chromium", "chromium-browser", "google-chrome", "chrome"]);
        let chromedriver = Chromedriver::start();
        let profile = tempfile::tempdir().unwrap();
        std::fs::create_dir(profile.path().join("downloads")).unwrap();
        let mut capabilities = DesiredCapabilities::chrome();
        capabilities.set_binary(chromium.to_str().unwrap()).unwrap();
        capabilities.set_browser_log_level(LoggingPrefsLogLevel::All).unwrap();
        let folder = format!("--user-data-dir={}", profile.path().join("profile").display());
        let flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--window-size=1280,900",
            // Dates, and the words of the browser's own controls.
            "--lang=en-US",
            // Pictures and clicks do not have to wait for the end of a movement.
            "--force-prefers-reduced-motion",
            // As on a phone, where they lie over the page.
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            &folder,
        ];
        for flag in flags {
            capabilities.add_arg(flag).unwrap();
        }
        let address = format!("http://127.0.0.1:{}", chromedriver.port);
        let driver = WebDriver::new(&address, capabilities).await.expect("chromedriver starts Chromium");
        let browser =
            Self { driver: Some(driver), chromedriver, client: reqwest::Client::new(), profile, permit: Some(permit) };
        browser.set_script_timeout(PATIENCE).await.unwrap();
        let downloads = json!({ "behavior": "allow", "downloadPath": browser.downloads() });
        browser.devtools("Browser.setDownloadBehavior", downloads).await;
        browser
    }

    /// Closes this one, and opens one that knows nothing of it: another person's.
    pub(crate) async fn afresh(mut self) -> Self {
        // One that waited for another permit could wait for a test that does the same.
        let permit = self.permit.take().unwrap();
        drop(self);
        Self::start_with(permit).await
    }

    /// A command of the Chrome DevTools Protocol.
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let url = format!("http://127.0.0.1:{}/session/{}/goog/cdp/execute", self.chromedriver.port, self.session_id());
        let body = json!({ "cmd": command, "params": parameters });
        let answer: Value = self.client.post(url).json(&body).send().await.unwrap().json().await.unwrap();
        assert!(answer["value"]["error"].is_null(), "{command}: {answer}");
        answer["value"].clone()
    }

    /// The value of a JavaScript expression.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        let value = self.execute(format!("return ({expression});"), Vec::new()).await;
        value.unwrap_or_else(|error| panic!("{expression}: {error}")).json().clone()
    }

    /// Waits until a JavaScript expression is true, or anything else that is not nothing; its value.
    pub(crate) async fn until(&self, expression: &str) -> Value {
        let begun = Instant::now();
        loop {
            let value = self.eval(expression).await;
            if !matches!(value, Value::Null | Value::Bool(false)) {
                return value;
            }
            if begun.elapsed() > PATIENCE {
                let test = std::thread::current().name().unwrap_or_default().replace("::", "-");
                self.picture(&format!("failure-{test}")).await;
                panic!("never true: {expression}\non the page: {}", self.text("body").await);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The element with this id.
    pub(crate) async fn id(&self, id: &str) -> WebElement {
        self.find(By::Id(id)).await.unwrap_or_else(|error| panic!("#{id}: {error}"))
    }

    pub(crate) async fn click(&self, selector: &str) {
        let element = self.find(By::Css(selector)).await.unwrap_or_else(|error| panic!("{selector}: {error}"));
        element.click().await.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Replaces what is in a field.
    pub(crate) async fn fill(&self, id: &str, text: &str) {
        let field = self.id(id).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// What is to be read in the first element that matches; hidden text is not.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let element = self.find(By::Css(selector)).await.unwrap_or_else(|error| panic!("{selector}: {error}"));
        element.text().await.unwrap()
    }

    pub(crate) async fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        self.find(By::Css(selector)).await.unwrap().attr(name).await.unwrap()
    }

    /// Waits until the text in an element contains something; the whole of it.
    pub(crate) async fn until_text(&self, selector: &str, part: &str) -> String {
        let (selector_js, part_js) = (json!(selector), json!(part));
        // An SVG element has no text but that of its markup.
        let text =
            format!("((node) => node?.innerText ?? node?.textContent ?? '')(document.querySelector({selector_js}))");
        self.until(&format!("{text}.includes({part_js})")).await;
        self.text(selector).await
    }

    /// As people set it in their system: `light` or `dark`.
    pub(crate) async fn colours(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": [feature] })).await;
    }

    /// A window of this size; Chromium's own is never as narrow as a phone.
    pub(crate) async fn size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        self.until(&format!("window.innerWidth === {width}")).await;
    }

    /// Saves a picture of the whole page, for people to look at.
    pub(crate) async fn picture(&self, name: &str) {
        let size = self.eval("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]").await;
        let clip = json!({ "x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1 });
        let how = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let shot = self.devtools("Page.captureScreenshot", how).await;
        let png = BASE64_STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }

    fn downloads(&self) -> PathBuf {
        self.profile.path().join("downloads")
    }

    /// Waits for a finished download with this ending.
    pub(crate) async fn downloaded(&self, ending: &str) -> PathBuf {
        let begun = Instant::now();
        loop {
            let mut files = std::fs::read_dir(self.downloads()).unwrap().map(|entry| entry.unwrap().path());
            // A download has another ending until it is whole.
            if let Some(file) = files.find(|path| path.extension().is_some_and(|found| found == ending)) {
                return file;
            }
            assert!(begun.elapsed() < PATIENCE, "no .{ending} was downloaded");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asserts that nothing was complained about in the console since the last look: no error of a script, nothing that the
    /// content security policy stopped. `expected` are parts of the lines that Chromium itself writes when a request fails.
    pub(crate) async fn assert_quiet(&self, expected: &[&str]) {
        let entries = self.browser_log().await.unwrap();
        let complaints = entries.iter().filter(|entry| ["SEVERE", "WARNING"].contains(&entry.level.as_str()));
        let unexpected: Vec<_> = complaints
            .filter(|entry| {
                let network = entry.message.contains("Failed to load resource");
                !(network && expected.iter().any(|part| entry.message.contains(part)))
            })
            .collect();
        assert!(unexpected.is_empty(), "in the console: {unexpected:#?}");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.chromedriver.stop();
        // The session has ended with chromedriver.
        if let Some(driver) = self.driver.take() {
            let _ = driver.leak();
        }
    }
}

/// chromedriver on a free port.
struct Chromedriver {
    child: Child,
    port: u16,
}

impl Chromedriver {
    fn start() -> Self {
        let mut command = Command::new(program("CHROMEDRIVER", &["chromedriver"]));
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        // It must not be stopped by a pipe that nobody reads.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port: port.expect("chromedriver tells its port") }
    }

    /// Ends it with its browser, which would outlive it if it was killed.
    fn stop(&mut self) {
        if let Ok(mut connection) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
            let _ = connection.set_read_timeout(Some(Duration::from_secs(10)));
            let _ = write!(connection, "GET /shutdown HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
            let _ = connection.read_to_end(&mut Vec::new());
        }
        let begun = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if begun.elapsed() > Duration::from_secs(10) {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The program that a variable names, or else the first of these names on the `PATH`. A test that cannot run fails.
fn program(variable: &str, names: &[&str]) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let places = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let found = places.map(|path| path.with_extension(std::env::consts::EXE_EXTENSION)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{} is not on the PATH: {INSTALL}, or name it by {variable}", names[0]))
}
