//! Metrics of the process, under the names that Prometheus gives them for every program.

use std::time::{SystemTime, UNIX_EPOCH};

use procfs::process::LimitValue;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// The process, as of the moment when the metrics are read.
#[derive(Debug)]
pub(super) struct Process {
    started: f64,
}

impl Process {
    pub(super) fn new() -> Self {
        Self { started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() }
    }
}

/// The resource usage of the process, as the system reports it.
struct Usage {
    cpu_seconds: f64,
    resident: u64,
    virtual_memory: u64,
    threads: i64,
    open_files: usize,
    max_files: u64,
}

fn usage() -> procfs::ProcResult<Usage> {
    let process = procfs::process::Process::myself()?;
    let stat = process.stat()?;
    let max_files = match process.limits()?.max_open_files.soft_limit {
        LimitValue::Value(limit) => limit,
        LimitValue::Unlimited => u64::MAX,
    };
    Ok(Usage {
        cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        resident: stat.rss * procfs::page_size(),
        virtual_memory: stat.vsize,
        threads: stat.num_threads,
        open_files: process.fd_count()?,
        max_files,
    })
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
            let value = ConstGauge::new(value);
            let metric = encoder.encode_descriptor(name, help, unit, value.metric_type())?;
            value.encode(metric)
        };
        gauge("process_start_time", "Start of the process since 1970", Some(&Unit::Seconds), self.started)?;
        let usage = match usage() {
            Ok(usage) => usage,
            Err(error) => {
                tracing::error!(%error, "cannot read the process\'s own usage");
                return Ok(());
            }
        };
        let bytes = Some(&Unit::Bytes);
        gauge("process_resident_memory", "Memory in use", bytes, usage.resident as f64)?;
        gauge("process_virtual_memory", "Address space in use", bytes, usage.virtual_memory as f64)?;
        gauge("process_threads", "Threads", None, usage.threads as f64)?;
        gauge("process_open_fds", "Open files and connections", None, usage.open_files as f64)?;
        gauge("process_max_fds", "Files and connections that may be open", None, usage.max_files as f64)?;
        let cpu = ConstCounter::new(usage.cpu_seconds);
        let help = "Processor time used, without that of ffmpeg";
        let metric = encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), cpu.metric_type())?;
        cpu.encode(metric)
    }
}
