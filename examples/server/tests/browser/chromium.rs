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

/// Time after which a test gives up waiting for the page. It is far more than any step takes.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const INSTALL: &str = "install it (Debian: `sudo apt-get install -y chromium chromium-driver`)";
/// Limits the browsers at once. Each takes one core, and the server needs one too.
static BROWSERS: Semaphore = Semaphore::const_new(2);

/// A browser that one test has to itself.
pub(crate) struct Browser {
    /// `None` only while it is dropped.
    driver: Option<WebDriver>,
    chromedriver: Chromedriver,
    client: reqwest::Client,
    profile: TempDir,
    /// `None` once it was handed on to another browser.
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
            // The language of dates and of the browser's own controls.
            "--lang=en-US",
            // Without animations, screenshots and clicks need not wait for their end.
            "--force-prefers-reduced-motion",
            // On a phone, scrollbars take no room on the page.
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

    /// Closes this browser, and opens one with a new profile, as another person would have.
    pub(crate) async fn afresh(mut self) -> Self {
        // The permit is kept: two tests that both wait for another permit could wait for each other.
        let permit = self.permit.take().unwrap();
        drop(self);
        Self::start_with(permit).await
    }

    /// Runs a command of the Chrome DevTools Protocol.
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        let url = format!("http://127.0.0.1:{}/session/{}/goog/cdp/execute", self.chromedriver.port, self.session_id());
        let body = json!({ "cmd": command, "params": parameters });
        let answer: Value = self.client.post(url).json(&body).send().await.unwrap().json().await.unwrap();
        assert!(answer["value"]["error"].is_null(), "{command}: {answer}");
        answer["value"].clone()
    }

    /// Returns the value of a JavaScript expression.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        let value = self.execute(format!("return ({expression});"), Vec::new()).await;
        value.unwrap_or_else(|error| panic!("{expression}: {error}")).json().clone()
    }

    /// Waits until a JavaScript expression has a value other than false or nothing, and returns the value.
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

    /// Returns the element with this id.
    pub(crate) async fn id(&self, id: &str) -> WebElement {
        self.find(By::Id(id)).await.unwrap_or_else(|error| panic!("#{id}: {error}"))
    }

    pub(crate) async fn click(&self, selector: &str) {
        let element = self.find(By::Css(selector)).await.unwrap_or_else(|error| panic!("{selector}: {error}"));
        element.click().await.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Replaces the text in a field.
    pub(crate) async fn fill(&self, id: &str, text: &str) {
        let field = self.id(id).await;
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    /// Returns the visible text of the first element that matches.
    pub(crate) async fn text(&self, selector: &str) -> String {
        let element = self.find(By::Css(selector)).await.unwrap_or_else(|error| panic!("{selector}: {error}"));
        element.text().await.unwrap()
    }

    pub(crate) async fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        self.find(By::Css(selector)).await.unwrap().attr(name).await.unwrap()
    }

    /// Waits until the text in an element contains `part`, and returns the whole text.
    pub(crate) async fn until_text(&self, selector: &str, part: &str) -> String {
        let (selector_js, part_js) = (json!(selector), json!(part));
        // An SVG element has no `innerText`, only `textContent`.
        let text =
            format!("((node) => node?.innerText ?? node?.textContent ?? '')(document.querySelector({selector_js}))");
        self.until(&format!("{text}.includes({part_js})")).await;
        self.text(selector).await
    }

    /// Sets the preferred color scheme of the system: `light` or `dark`.
    pub(crate) async fn colors(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": [feature] })).await;
    }

    /// Emulates a window of this size. Chromium's real window cannot be as narrow as a phone.
    pub(crate) async fn size(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        self.until(&format!("window.innerWidth === {width}")).await;
    }

    /// Saves a screenshot of the whole page, for people to look at.
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

    /// Waits for a finished download with this extension.
    pub(crate) async fn downloaded(&self, ending: &str) -> PathBuf {
        let begun = Instant::now();
        loop {
            let mut files = std::fs::read_dir(self.downloads()).unwrap().map(|entry| entry.unwrap().path());
            // A download has another extension until it is complete.
            if let Some(file) = files.find(|path| path.extension().is_some_and(|found| found == ending)) {
                return file;
            }
            assert!(begun.elapsed() < PATIENCE, "no .{ending} was downloaded");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asserts that the console has no new errors or warnings since the last call: no error of a script, and nothing
    /// that the content security policy blocked. `expected` are parts of the lines that Chromium itself writes when a
    /// request fails; such lines are allowed.
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
        // The session has ended with chromedriver, so the driver must not end it again.
        if let Some(driver) = self.driver.take() {
            let _ = driver.leak();
        }
    }
}

/// A chromedriver process on a free port.
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
        // Keep reading the output: chromedriver would stop at a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, port: port.expect("chromedriver tells its port") }
    }

    /// Shuts chromedriver down together with its browser, which would outlive a killed chromedriver.
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

/// Returns the program that a variable names, or else the first of `names` on the `PATH`. Panics if there is none, so
/// that a test that cannot run fails.
fn program(variable: &str, names: &[&str]) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let places = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let found = places.map(|path| path.with_extension(std::env::consts::EXE_EXTENSION)).find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{} is not on the PATH: {INSTALL}, or name it by {variable}", names[0]))
}
