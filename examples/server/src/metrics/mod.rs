//! The metrics that Prometheus reads.

#[cfg(target_os = "linux")]
mod process;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use deepsight_core::{Report, Verdict};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::disk::Disk;

/// All metrics of the server.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Family<Route, Histogram>,
    pub(crate) queued: Gauge,
    pub(crate) running: Gauge,
    pub(crate) fetching: Gauge,
    pub(crate) uploaded: Counter,
    stage_seconds: Family<StageLabel, Histogram>,
    frames: Counter,
    faces: Counter,
    frames_per_second: Histogram,
    faces_per_second: Histogram,
    verdicts: Family<VerdictLabel, Counter>,
    analyses: Family<Outcome, Counter>,
    webhooks: Family<Outcome, Counter>,
    pub(crate) webhooks_pending: Gauge,
    busy_seconds: Counter<f64, AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabel {
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabel {
    verdict: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: Ended,
}

/// How an analysis or a webhook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names of the label's values")]
pub(crate) enum Ended {
    done,
    failed,
    cancelled,
}

/// Values that do not change while the server runs.
pub(crate) struct Fixed {
    pub(crate) queue: u32,
    pub(crate) workers: u32,
    pub(crate) model: String,
    pub(crate) device: String,
}

/// The free space of the disk, as of the moment when the metrics are read.
#[derive(Debug)]
struct DiskSpace(Arc<Disk>);

impl Collector for DiskSpace {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (free, reserve) = (self.0.free(), self.0.reserve());
        for (name, help, bytes) in [
            ("disk_free", "Free space of the disk of the data folder", free),
            ("disk_reserve", "Free space of the disk below which no videos are accepted", reserve),
        ] {
            let value = ConstGauge::new(bytes as f64);
            let metric = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), value.metric_type())?;
            value.encode(metric)?;
        }
        Ok(())
    }
}

impl Metrics {
    /// Creates the metrics. The free space of `disk` is read at each request for them.
    pub(crate) fn new(disk: Arc<Disk>, settings: &Fixed) -> Self {
        let mut all = Registry::default();
        let registry = all.sub_registry_with_prefix("deepsight");
        // Buckets from 5 milliseconds to 82 seconds.
        let seconds = || Histogram::new(exponential_buckets(0.005, 2.0, 15));
        let rates = || Histogram::new(exponential_buckets(0.5, 2.0, 12));
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            queued: Gauge::default(),
            running: Gauge::default(),
            fetching: Gauge::default(),
            uploaded: Counter::default(),
            stage_seconds: Family::new_with_constructor(seconds),
            frames: Counter::default(),
            faces: Counter::default(),
            frames_per_second: rates(),
            faces_per_second: rates(),
            verdicts: Family::default(),
            analyses: Family::default(),
            webhooks: Family::default(),
            webhooks_pending: Gauge::default(),
            busy_seconds: Counter::default(),
            registry: Registry::default(),
        };
        registry.register("http_requests", "Requests answered", metrics.requests.clone());
        let name = "http_request_duration";
        registry.register_with_unit(
            name,
            "Time to the head of an answer",
            Unit::Seconds,
            metrics.request_seconds.clone(),
        );
        registry.register("queue_length", "Videos that wait for their turn", metrics.queued.clone());
        let fetching = "Videos that are fetched from the web, or wait for that";
        registry.register("fetching_analyses", fetching, metrics.fetching.clone());
        registry.register("running_analyses", "Videos that are being analysed", metrics.running.clone());
        registry.register_with_unit("uploads", "Size of the videos received", Unit::Bytes, metrics.uploaded.clone());
        let help = "Time that an analysis spent in a stage; stages overlap";
        registry.register_with_unit("stage_duration", help, Unit::Seconds, metrics.stage_seconds.clone());
        registry.register("frames", "Frames searched for faces", metrics.frames.clone());
        registry.register("faces", "Faces scored", metrics.faces.clone());
        registry.register(
            "frames_per_second",
            "Frames per second of single analyses",
            metrics.frames_per_second.clone(),
        );
        registry.register("faces_per_second", "Faces per second of single analyses", metrics.faces_per_second.clone());
        registry.register("verdicts", "Answers given", metrics.verdicts.clone());
        registry.register("analyses", "Analyses ended", metrics.analyses.clone());
        registry.register("webhooks", "Webhooks delivered or given up", metrics.webhooks.clone());
        registry.register_with_unit(
            "busy",
            "Time that workers were at work",
            Unit::Seconds,
            metrics.busy_seconds.clone(),
        );
        registry.register_collector(Box::new(DiskSpace(disk)));
        let help = "Webhooks that are still to be sent";
        registry.register("webhooks_pending", help, metrics.webhooks_pending.clone());
        let fixed = |value: u32| ConstGauge::new(i64::from(value));
        registry.register("queue_limit", "Videos that may wait, including uploads", fixed(settings.queue));
        registry.register("workers", "Videos that can be analysed at the same time", fixed(settings.workers));
        let labels = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("model", settings.model.clone()),
            ("device", settings.device.clone()),
        ];
        registry.register("build", "Version of the server, its model and its device", Info::new(labels));
        #[cfg(target_os = "linux")]
        all.register_collector(Box::new(process::Process::new()));
        Self { registry: all, ..metrics }
    }

    /// Records a response. `route` is the route's pattern, never the path: each path would be a time series of its own.
    pub(crate) fn answered(&self, method: &str, route: &str, status: u16, took: Duration) {
        // Clients can invent methods, and each would be a time series of its own too.
        let known = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"].into_iter().find(|known| *known == method);
        let (method, route) = (known.unwrap_or("other").to_owned(), route.to_owned());
        self.request_seconds.get_or_create(&Route { route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Request { method, route, status }).inc();
    }

    /// Records the times, counts and verdict of a report.
    pub(crate) fn reported(&self, report: &Report) {
        let seconds = report.seconds;
        for (stage, spent) in [
            ("decode", seconds.decode),
            ("detect", seconds.detect),
            ("classify", seconds.classify),
            ("total", seconds.total),
        ] {
            self.stage_seconds.get_or_create(&StageLabel { stage }).observe(spent);
        }
        let frames = report.frames.len() as u64;
        let faces = report.tracks.iter().map(|track| track.scored as u64).sum::<u64>();
        self.frames.inc_by(frames);
        self.faces.inc_by(faces);
        self.busy_seconds.inc_by(seconds.total);
        if seconds.total > 0.0 {
            self.frames_per_second.observe(frames as f64 / seconds.total);
            self.faces_per_second.observe(faces as f64 / seconds.total);
        }
        self.verdict(report.verdict);
    }

    fn verdict(&self, verdict: Verdict) {
        self.verdicts.get_or_create(&VerdictLabel { verdict: verdict.to_string() }).inc();
    }

    pub(crate) fn ended(&self, outcome: Ended) {
        self.analyses.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn webhook(&self, outcome: Ended) {
        self.webhooks.get_or_create(&Outcome { outcome }).inc();
    }

    /// Returns all metrics as OpenMetrics text.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
