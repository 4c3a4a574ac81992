//! Starts the server from its flags, and stops it on a signal.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deepsight_core::report::{SecretKey, SignatureError};
use deepsight_core::with_causes;
use deepsight_video::{DecodeLimits, DecodeOptions};
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};

use crate::connections::{AddressCounts, Connections, Proxies};
use crate::data_dir::{DataDir, DataDirError};
use crate::disk::Disk;
use crate::domain::{DecodeBudget, DiskFull, Moment};
use crate::engine::{Engine, EngineError};
use crate::fetch::{FetchError, Fetcher};
use crate::jobs::{JobParts, Jobs};
use crate::keys::{KeyError, Keys};
use crate::locked::Claims;
use crate::metrics::{Fixed, Metrics};
use crate::options::{Options, Role};
use crate::serve::{Patience, serve};
use crate::settings_file;
use crate::store::{Store, StoreError};
use crate::uploads::{UploadError, Uploads};
use crate::web::{self, App, AppState, HostError, Hosts, KEEP_PARTIAL, Limits};
use crate::webhook::{SECRET, WebhookError, Webhooks, check_settings};
use crate::wrong_keys::WrongKeys;

/// Interval at which expired analyses and videos are removed.
const SWEEP: Duration = Duration::from_secs(60);
/// Time after which the name of an upload is forgotten if its file is gone.
const FORGET: Duration = Duration::from_secs(3600);
/// Time that a canceled analysis may take to stop, and a response to be written.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time that the delivery of a webhook may take once all analyses have ended.
const SENDERS: Duration = Duration::from_secs(2);

/// Shortest `--lease`.
const SHORTEST_LEASE: Duration = Duration::from_secs(2);

/// An error that keeps the server from starting or stops it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("--role {0} needs --database, because processes share the queue only there")]
    Role(Role),
    #[error(
        "--lease must be at least {} s, because a process needs a second after an error of the database",
        SHORTEST_LEASE.as_secs()
    )]
    Lease,
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    #[error("{SECRET} is not UTF-8 text")]
    Secret,
    #[error(transparent)]
    SigningKey(#[from] SignatureError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot {what}")]
    Serve { what: &'static str, source: std::io::Error },
}

/// Serves until a signal arrives. `arguments` are those of the process, which a reload reads again.
pub(crate) fn run(options: &Options, arguments: &[OsString]) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|source| StartError::Serve { what: "start threads", source })?;
    let outcome = runtime.block_on(run_on(options, arguments));
    // A thread that still hangs in a blocking call ends with the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn run_on(options: &Options, arguments: &[OsString]) -> Result<(), StartError> {
    let (data, parts) = open_parts(options)?;
    let (app, running, mut signals) = start_serving(options, parts).await?;
    let signal = until_stopped(options, arguments, &app, &mut signals).await;
    notify(Notice::Stopping);
    tracing::info!(signal, "stopping; again to stop at once");
    running.stop(&app, options.shutdown_grace.0, &mut signals).await;
    drop(data);
    Ok(())
}

/// The parts of the server that need no networks.
struct Parts {
    keys: Keys,
    hosts: Hosts,
    store: Store,
    uploads: Uploads,
    disk: Arc<Disk>,
    fetcher: Option<Fetcher>,
}

/// Checks the keys and hosts, locks and opens the data folder, and prepares the downloader.
fn open_parts(options: &Options) -> Result<(DataDir, Parts), StartError> {
    let keys = Keys::new(&options.api_keys)?;
    let hosts = Hosts::new(&options.allowed_hosts, &options.cors_origins, options.bind.is_loopback())?;
    check_role(options)?;
    let path = DataDir::locate(options.data_dir.as_deref())?;
    let mut data = if options.database.is_some() { DataDir::open_shared(path)? } else { DataDir::open(path)? };
    tracing::info!("{}", options.summary(data.path()));
    let (store, uploads) = open_data(options, &data)?;
    keys.restore(store.made_keys()?, store.key_uses()?);
    let disk = Disk::new(data.path().to_owned(), options.min_free_space.0).map_err(|source| data.failed(source))?;
    let disk = Arc::new(disk);
    if options.database.is_some() && options.role.serves() && options.fetch.is_some() {
        data.separate_downloads()?;
    }
    let fetcher = match options.role.serves() {
        true => Fetcher::new(options, data.downloads(), Arc::clone(&disk))?,
        false => None,
    };
    if let Err(DiskFull { free, reserve }) = disk.check(0) {
        tracing::warn!(free, reserve, "the disk has too little free space to accept videos (--min-free-space)");
    }
    Ok((data, Parts { keys, hosts, store, uploads, disk, fetcher }))
}

/// Binds the port, loads the networks, and starts to accept requests. Also listens for signals.
async fn start_serving(options: &Options, parts: Parts) -> Result<(App, RunningServer, Signals), StartError> {
    let address = SocketAddr::new(options.bind, options.port);
    // Bind before the networks are loaded, so that a port in use is reported at once.
    let listener = TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
    let (stopping, stop) = watch::channel(false);
    let (app, senders) = start_jobs(options, parts, stop)?;
    if app.keys.required() && !app.keys.has_admin() {
        tracing::info!("no API key is an admin's: nobody sees the analyses of all keys (new-key --admin)");
    }
    warn_of_exposure(options, &listener, &app)?;

    // Listen for signals before the log says that the server is ready, because a signal may follow at once.
    let signals = Signals::new().map_err(|source| StartError::Serve { what: "listen for signals", source })?;
    let running = RunningServer::start(options, listener, &app, senders, stopping)?;
    notify(Notice::Ready);
    Ok((app, running, signals))
}

/// Waits for a signal that stops the server, and returns its name. Reloads the settings on the signal for that.
async fn until_stopped(
    options: &Options,
    arguments: &[OsString],
    app: &AppState,
    signals: &mut Signals,
) -> &'static str {
    let mut current = None;
    loop {
        match signals.next().await {
            Signal::Stop(name) => return name,
            Signal::Reload => {
                notify(Notice::Reloading);
                current = reload(app, options, current.as_ref().unwrap_or(options), arguments).or(current);
                notify(Notice::Ready);
            }
        }
    }
}

/// Opens the database and the folder of uploads, and removes uploads that belong to no analysis.
fn open_data(options: &Options, data: &DataDir) -> Result<(Store, Uploads), StartError> {
    let store = match &options.database {
        None => Store::open(&data.database())?,
        Some(address) => {
            let store = Store::open_shared(address)?;
            let binding = data.binding()?;
            if store.bind(&binding)? != binding {
                let (path, database) = (data.path().to_owned(), address.to_string());
                return Err(DataDirError::Mismatch { path, database }.into());
            }
            store
        }
    };
    let uploads = Uploads::open(data.uploads(), store.clone()).map_err(|source| data.failed(source))?;
    // Other processes may be at work on a shared folder; once this one has joined them, it does the same.
    if !store.is_shared() {
        uploads.clean()?;
    }
    Ok((store, uploads))
}

/// Loads the networks, starts the workers with the analyses that an earlier run did not end, and starts the threads
/// that send webhooks. Returns the state of the handlers, and those threads.
fn start_jobs(
    options: &Options,
    parts: Parts,
    stop: watch::Receiver<bool>,
) -> Result<(App, Vec<JoinHandle<()>>), StartError> {
    let Parts { keys, hosts, store, uploads, disk, fetcher } = parts;
    let decoding = decoding(options);
    if let Err(error) = decoding.check() {
        tracing::warn!(error = with_causes(&error), "videos cannot be read");
    }
    let secret = webhook_secret()?;
    // Check this before the networks are loaded, which takes longer.
    check_settings(&options.webhook_hosts, secret.as_deref())?;
    let signing_key = options.sign.as_deref().map(SecretKey::read).transpose()?;
    let public_key = signing_key.as_ref().map(SecretKey::public_key);
    let engine = Engine::load(options)?;
    let model = engine.model();
    let workers = if options.role.analyzes() { options.workers.into() } else { 0 };
    let fixed = Fixed { queue: options.queue, workers, model: model.name.clone(), device: engine.device().to_owned() };
    let metrics = Arc::new(Metrics::new(Arc::clone(&disk), &fixed));
    let retry = options.webhook_retry.0;
    let webhooks = Webhooks::new(&options.webhook_hosts, secret, retry, store.clone(), Arc::clone(&metrics))?;
    tracing::info!(model = model.name, device = engine.device(), terms = model.terms, "model loaded");

    let threads = |source| StartError::Serve { what: "start threads", source };
    if store.is_shared() {
        store.join(&options.role.to_string(), workers, options.lease.0)?;
    }
    let jobs = Jobs::start(JobParts {
        engine: engine.clone(),
        store: store.clone(),
        uploads: uploads.clone(),
        metrics: Arc::clone(&metrics),
        webhooks: webhooks.clone(),
        signing_key,
        decoding: decoding.clone(),
        max_analysis: options.max_analysis.0,
        max_frames: options.max_frames,
        budget: limits(options).budget,
        fetcher,
        workers,
        queue: options.queue,
        client_jobs: options.client_jobs(),
        role: options.role,
        lease: options.lease.0,
    });
    let jobs = jobs.map_err(threads)?;
    jobs.restore()?;
    // A worker needs neither the secret nor the hosts.
    let senders = if options.role.serves() { webhooks.start().map_err(threads)? } else { Vec::new() };

    let at_once = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
    let app: App = Arc::new(AppState {
        role: options.role,
        engine,
        jobs,
        store,
        uploads,
        disk,
        metrics,
        keys,
        wrong_keys: WrongKeys::default(),
        webhooks,
        decoding,
        limits: RwLock::new(limits(options)),
        probes: Arc::new(Semaphore::new(at_once)),
        pictures: Arc::new(Semaphore::new(at_once)),
        ffmpeg: tokio::sync::Mutex::default(),
        repeatable: Claims::default(),
        writing: Claims::default(),
        stop,
        hosts: RwLock::new(Arc::new(hosts)),
        proxies: Proxies::new(options.trusted_proxies.iter().map(|proxy| proxy.0).collect()),
        forwarded: AddressCounts::new(options.max_connections_per_address),
        public_key,
    });
    if app.store.is_shared() {
        listen(&app);
    }
    Ok((app, senders))
}

/// Reacts to what other processes do.
fn listen(app: &App) {
    let keys_changed = Arc::new(Notify::new());
    let (weak, notify) = (Arc::downgrade(app), Arc::clone(&keys_changed));
    app.store.listen(move |text| {
        let Some(app) = weak.upgrade() else { return };
        // An empty text stands for everything.
        if text.is_empty() || text == "webhook" {
            app.webhooks.wake();
        }
        if text.is_empty() || text == "keys" {
            notify.notify_one();
        }
        app.jobs.heard(text);
    });
    let app = Arc::clone(app);
    tokio::spawn(async move {
        loop {
            keys_changed.notified().await;
            while let Err(error) = app.reread_keys().await {
                tracing::error!(error = with_causes(&error), "cannot read the keys that admins made; trying again");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    });
}

/// Checks that the role is possible with the database, and the lease long enough.
///
/// # Errors
/// Returns an error if the role needs a database that processes share, or the lease is too short.
pub(crate) fn check_role(options: &Options) -> Result<(), StartError> {
    match options.database {
        None if options.role != Role::All => Err(StartError::Role(options.role)),
        _ if options.lease.0 < SHORTEST_LEASE => Err(StartError::Lease),
        _ => Ok(()),
    }
}

fn limits(options: &Options) -> Limits {
    Limits {
        max_upload: options.max_upload.0,
        max_frames: options.max_frames,
        max_duration: options.max_duration.0,
        budget: DecodeBudget { max_pixels: options.max_decoded_pixels, pixels_per_byte: options.max_pixels_per_byte },
        body_timeout: options.body_timeout.0,
        request_timeout: options.request_timeout.0,
        upload_timeout: options.upload_timeout.0,
        keep_videos: options.keep_videos.0,
        keep_reports: options.keep_reports.0,
        keep_bytes: options.keep_bytes.0,
        keep_database: options.keep_database.0,
    }
}

/// Reads the settings again and applies those that can change. `started` are the settings at the start, `current` those
/// of the last reload. Returns the new settings. Returns `None` and changes nothing if they are invalid.
fn reload(app: &AppState, started: &Options, current: &Options, arguments: &[OsString]) -> Option<Options> {
    let refused = |reason: String| {
        tracing::error!(reason, "the settings stay as they are");
        None
    };
    let new = match settings_file::read(arguments) {
        Ok(cli) => cli.options,
        Err(error) => return refused(with_causes(&error)),
    };
    if new.api_keys.is_empty() && app.keys.required() && !app.keys.has_made() {
        return refused("without an API key everybody could use the server: restart it if that is wanted".into());
    }
    let hosts = Hosts::new(&new.allowed_hosts, &started.cors_origins, started.bind.is_loopback());
    let hosts = match hosts {
        Ok(hosts) => hosts,
        Err(error) => return refused(with_causes(&error)),
    };
    if let Err(error) = app.keys.replace(&new.api_keys) {
        return refused(with_causes(&error));
    }
    let fixed = app.limits();
    let limits = Limits {
        max_upload: fixed.max_upload,
        max_frames: fixed.max_frames,
        max_duration: fixed.max_duration,
        budget: fixed.budget,
        body_timeout: fixed.body_timeout,
        ..limits(&new)
    };
    app.reload(limits, hosts);
    app.jobs.set_client_limit(new.client_jobs());
    app.disk.set_reserve(new.min_free_space.0);
    let (changed, _) = new.changes(current);
    let (_, later) = new.changes(started);
    tracing::info!(changed = changed.join(","), "settings reloaded");
    if !later.is_empty() {
        tracing::warn!(settings = later.join(","), "these settings change at the next start");
    }
    Some(new)
}

/// A state of the server that systemd is notified of.
#[derive(Debug, Clone, Copy)]
enum Notice {
    Ready,
    Reloading,
    Stopping,
}

/// Tells systemd about the state of the server, if it was started by systemd.
#[cfg(target_os = "linux")]
fn notify(notice: Notice) {
    use sd_notify::NotifyState;
    let state = match notice {
        Notice::Ready => Ok(vec![NotifyState::Ready]),
        Notice::Reloading => NotifyState::monotonic_usec_now().map(|now| vec![NotifyState::Reloading, now]),
        Notice::Stopping => Ok(vec![NotifyState::Stopping]),
    };
    if let Err(error) = state.and_then(|state| sd_notify::notify(&state)) {
        tracing::warn!(%error, ?notice, "cannot notify systemd");
    }
}

#[cfg(not(target_os = "linux"))]
fn notify(_: Notice) {}

/// Reads the key that signs webhooks from the environment.
pub(crate) fn webhook_secret() -> Result<Option<String>, StartError> {
    match std::env::var(SECRET) {
        Ok(secret) => Ok(Some(secret)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(StartError::Secret),
    }
}

/// Logs a warning for each protection that is off although other machines can reach the server.
fn warn_of_exposure(options: &Options, listener: &TcpListener, app: &AppState) -> Result<(), StartError> {
    if local_address(options, listener)?.ip().is_loopback() {
        return Ok(());
    }
    if !app.keys.required() {
        tracing::warn!("everybody who reaches this address can use the server: give --api-key, or bind to 127.0.0.1");
    }
    if options.allowed_hosts.is_empty() {
        tracing::warn!("the server answers to any host name: give --allowed-host");
    }
    Ok(())
}

fn local_address(options: &Options, listener: &TcpListener) -> Result<SocketAddr, StartError> {
    let address = SocketAddr::new(options.bind, options.port);
    listener.local_addr().map_err(|source| StartError::Listen { address, source })
}

/// The tasks and threads of a server that accepts requests.
struct RunningServer {
    serving: tokio::task::JoinHandle<()>,
    /// `None` for a worker.
    sweeper: Option<tokio::task::JoinHandle<()>>,
    senders: Vec<JoinHandle<()>>,
    stopping: watch::Sender<bool>,
}

impl RunningServer {
    /// Starts to accept requests and to remove expired analyses.
    fn start(
        options: &Options,
        listener: TcpListener,
        app: &App,
        senders: Vec<JoinHandle<()>>,
        stopping: watch::Sender<bool>,
    ) -> Result<Self, StartError> {
        tracing::info!("listening on http://{}", local_address(options, &listener)?);
        let patience = Patience {
            connections: Connections::new(
                options.max_connections,
                options.max_connections_per_address,
                app.proxies.clone(),
            ),
            header: options.header_timeout.0,
            write: options.body_timeout.0,
            // Requests that wait for a result get their response only after the running analyses have ended.
            shutdown: options.shutdown_grace.0 + PATIENCE + Duration::from_secs(2),
        };
        let serving = tokio::spawn(serve(listener, web::router(app), patience, app.stop.clone()));
        let sweeper = app.role.serves().then(|| tokio::spawn(sweep(Arc::clone(app))));
        Ok(Self { serving, sweeper, senders, stopping })
    }

    /// Stops: running analyses have `grace` to end. Another signal stops at once.
    async fn stop(self, app: &App, grace: Duration, signals: &mut Signals) {
        let Self { serving, sweeper, senders, stopping } = self;
        stopping.send_replace(true);
        if let Some(sweeper) = sweeper {
            sweeper.abort();
        }
        let (jobs, webhooks) = (app.jobs.clone(), app.webhooks.clone());
        let stopped = tokio::task::spawn_blocking(move || {
            webhooks.close();
            let ended = jobs.finish(grace, PATIENCE);
            if !ended {
                tracing::error!("an analysis did not stop in time");
            }
            // A delivery that is interrupted is sent again after the next start.
            let patience = Instant::now() + SENDERS;
            while senders.iter().any(|sender| !sender.is_finished()) && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let jobs = app.jobs.clone();
        let orderly = async {
            // An error here is a panic of a task. None is expected to panic, and the log would show it.
            let _ = tokio::join!(stopped, serving);
            // Requests under way need their place among the processes.
            let _ = tokio::task::spawn_blocking(move || jobs.leave()).await;
        };
        tokio::select! {
            () = orderly => tracing::info!("stopped"),
            () = signals.stop() => {
                app.jobs.stop_now();
                tracing::warn!("stopped at once");
            }
        }
    }
}

/// Returns the options of the decoder, with the limits on clients' videos.
pub(crate) fn decoding(options: &Options) -> DecodeOptions {
    let limits = DecodeLimits::default()
        .with_max_file_bytes(options.max_upload.0)
        .with_max_duration_seconds(options.max_duration.0.as_secs().max(1))
        .with_max_pixels(options.max_pixels)
        .with_max_still_pixels(options.max_pixels.saturating_mul(2))
        .with_max_wait(options.max_decode.0);
    let decoding = DecodeOptions::default().with_limits(limits);
    #[cfg(feature = "c2pa")]
    let decoding = match &options.c2pa_trust {
        Some(list) => decoding.with_trust_list(list),
        None => decoding,
    };
    decoding
}

/// Removes expired videos and reports, and the oldest ones over the limits of size, every [`SWEEP`].
async fn sweep(app: App) {
    loop {
        let now = Moment::now();
        let Limits { keep_videos, keep_reports, keep_bytes, keep_database, .. } = app.limits();
        let (videos, reports) = (now.before(keep_videos), now.before(keep_reports));
        let uploads = app.uploads.clone();
        let swept = app.store.run(move |store| {
            let expired = store.expire(videos, reports, keep_bytes)?;
            let stale = store.expire_partial_uploads(now.before(KEEP_PARTIAL))?;
            for name in expired.iter().chain(&store.trim(keep_database)?).chain(&stale) {
                uploads.delete(name);
            }
            uploads.forget_deleted(now.before(FORGET))?;
            store.forget_shares(now)
        });
        let mut more = swept.await.map(|()| true);
        // Shrink in small steps, because other tasks use the database too.
        while let Ok(true) = more {
            more = app.store.run(Store::shrink).await;
        }
        if let Err(error) = more {
            tracing::error!(error = with_causes(&error), "cannot remove what is too old");
        }
        tokio::time::sleep(SWEEP).await;
    }
}

/// A signal that the server answers.
enum Signal {
    /// Stop. The signal has this name.
    Stop(&'static str),
    /// Read the settings again.
    Reload,
}

/// The signals that stop the server, or make it read its settings again.
#[cfg(unix)]
struct Signals {
    hangup: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next signal.
    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Signal {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Signal::Stop("Ctrl-C"),
            // Without a handler, Ctrl-C ends the process by itself.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Signals {
    /// Waits for a signal that stops the server.
    async fn stop(&mut self) {
        while !matches!(self.next().await, Signal::Stop(_)) {}
    }
}
