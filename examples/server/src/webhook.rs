//! Webhooks that announce the end of an analysis. They follow Standard Webhooks (standardwebhooks.com), are signed with
//! HMAC-SHA256, and go only to hosts that the configuration names.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::http::Uri;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use deepsight_core::with_causes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::AnalysisView;
use crate::domain::Moment;
use crate::domain::{Analysis, Status};
use crate::locked::locked;
use crate::metrics::{Ended, Metrics};
use crate::store::{Delivery, Store, StoreError};

/// Attempts to send a webhook before it is given up.
const MAX_ATTEMPTS: u32 = 6;
/// Timeout of one delivery.
const PATIENCE: Duration = Duration::from_secs(15);
/// Environment variable that holds the secret. It is not a flag, because every user of the machine can read command
/// lines.
pub(crate) const SECRET: &str = "DEEPSIGHT_WEBHOOK_SECRET";
const MIN_SECRET: usize = 24;
/// Deliveries at once, each to a different host.
const AT_ONCE: usize = 4;
/// Pending deliveries among which a thread looks for one that it can send.
const LOOK_AHEAD: u32 = 100;

/// The sender of webhooks. Clones share it.
#[derive(Clone)]
pub(crate) struct Webhooks(Arc<WebhookState>);

struct WebhookState {
    store: Store,
    hosts: Vec<String>,
    secret: Option<Vec<u8>>,
    retry: Duration,
    metrics: Arc<Metrics>,
    closed: AtomicBool,
    /// Hosts to which a delivery is under way. Each has one delivery at a time, so that a slow host does not delay
    /// others.
    busy: Mutex<HashSet<String>>,
    news: Mutex<u64>,
    wake: Condvar,
}

/// An error in the configuration of webhooks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebhookError {
    #[error("--webhook-host needs a secret to sign with: set {SECRET} to at least {MIN_SECRET} characters")]
    NoSecret,
    #[error("{SECRET} has {0} characters; it needs at least {MIN_SECRET}")]
    ShortSecret(usize),
    #[error("--webhook-host {0:?} is not a host with or without a port, such as example.org or example.org:8443")]
    Host(String),
}

impl Webhooks {
    /// Creates a sender that may send to `hosts`.
    ///
    /// # Errors
    /// Returns an error if a host is invalid, or if the secret is missing or too short.
    pub(crate) fn new(
        hosts: &[String],
        secret: Option<String>,
        retry: Duration,
        store: Store,
        metrics: Arc<Metrics>,
    ) -> Result<Self, WebhookError> {
        check_settings(hosts, secret.as_deref())?;
        let secret = secret.filter(|secret| !secret.is_empty());
        let secret = secret.map(|secret| match secret.strip_prefix("whsec_").map(|encoded| STANDARD.decode(encoded)) {
            Some(Ok(decoded)) => decoded,
            _ => secret.into_bytes(),
        });
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let (closed, busy, news, wake) = (AtomicBool::new(false), Mutex::default(), Mutex::new(0), Condvar::new());
        Ok(Self(Arc::new(WebhookState { store, hosts, secret, retry, metrics, closed, busy, news, wake })))
    }

    /// Checks an address that a client gave. Returns the reason if it is not allowed.
    pub(crate) fn check(&self, url: &str) -> Result<(), String> {
        self.0.check(url).map(drop)
    }

    /// Schedules the webhook of an analysis that has ended, if the client asked for one.
    pub(crate) fn announce(&self, analysis: &Analysis) -> Result<(), StoreError> {
        let kind = if analysis.status == Status::Done { "analysis.done" } else { "analysis.failed" };
        let now = Moment::now();
        let body = serde_json::json!({
            "type": kind,
            "timestamp": now.to_string(),
            "data": AnalysisView::of(analysis, None),
        });
        if self.0.store.announce(&analysis.id, &body.to_string(), now)? {
            self.0.wake();
        }
        Ok(())
    }

    /// Starts the threads that send webhooks. They begin with those that an earlier run left.
    pub(crate) fn start(&self) -> std::io::Result<Vec<JoinHandle<()>>> {
        let start = |number| {
            let inner = Arc::clone(&self.0);
            std::thread::Builder::new().name(format!("webhooks-{number}")).spawn(move || inner.run())
        };
        (0..AT_ONCE).map(start).collect()
    }

    /// Makes the threads look for webhooks that another process made ready.
    pub(crate) fn wake(&self) {
        self.0.wake();
    }

    /// Makes the threads end after their current deliveries. The rest is sent after the next start.
    pub(crate) fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.wake();
    }
}

/// Checks the hosts that webhooks may be sent to, and the secret that signs them.
///
/// # Errors
/// Returns an error if a host is invalid, or if the secret is missing or too short.
pub(crate) fn check_settings(hosts: &[String], secret: Option<&str>) -> Result<(), WebhookError> {
    let is_host =
        |host: &String| host.parse::<axum::http::uri::Authority>().is_ok_and(|known| !known.as_str().contains('@'));
    if let Some(host) = hosts.iter().find(|host| !is_host(host)) {
        return Err(WebhookError::Host(host.clone()));
    }
    match secret.filter(|secret| !secret.is_empty()) {
        None if !hosts.is_empty() => Err(WebhookError::NoSecret),
        Some(secret) if secret.chars().count() < MIN_SECRET => Err(WebhookError::ShortSecret(secret.chars().count())),
        _ => Ok(()),
    }
}

impl WebhookState {
    /// Returns the host and port of an address if it is allowed, and the reason if it is not.
    fn check(&self, url: &str) -> Result<String, String> {
        let uri: Uri = url.parse().map_err(|_| "must be an address such as https://example.org/hook".to_owned())?;
        let authority = uri.authority().ok_or_else(|| "must be an address with a host".to_owned())?;
        let usual = match uri.scheme_str() {
            Some("https") => 443,
            Some("http") => 80,
            _ => return Err("must begin with https:// or http://".into()),
        };
        if authority.as_str().contains('@') {
            return Err("must not hold a user name".into());
        }
        let host = authority.host().to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(usual);
        let full = format!("{host}:{port}");
        if self.hosts.contains(&full) || (port == usual && self.hosts.contains(&host)) {
            return Ok(full);
        }
        Err("is not among the hosts that this server sends webhooks to".into())
    }

    fn run(&self) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            // An allowed host must not redirect the request to one that is not allowed.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .proxy(None)
            .user_agent(concat!("deepsight/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        while !self.closed.load(Ordering::SeqCst) {
            let seen = *self.news();
            let pause = match self.store.deliveries(LOOK_AHEAD) {
                Ok(deliveries) => match self.claim(deliveries) {
                    Ok(claimed) => {
                        match self.store.claim_delivery(&claimed.delivery) {
                            Ok(true) => self.deliver(&agent, &claimed.delivery),
                            // Another process sends it.
                            Ok(false) => {}
                            Err(error) => {
                                tracing::error!(error = with_causes(&error), "cannot claim a webhook");
                                self.sleep(seen, self.retry);
                            }
                        }
                        continue;
                    }
                    Err(pause) => pause,
                },
                Err(error) => {
                    tracing::error!(error = with_causes(&error), "cannot read the webhooks");
                    Duration::from_secs(60)
                }
            };
            self.sleep(seen, pause);
        }
    }

    /// Claims the first delivery that is due and whose host is free. If there is none, returns the time to wait.
    fn claim(&self, deliveries: Vec<Delivery>) -> Result<Claimed<'_>, Duration> {
        let mut pause = Duration::from_secs(3600);
        for delivery in deliveries {
            let due = delivery.due.away();
            if !due.is_zero() {
                pause = pause.min(due);
                break;
            }
            // A delivery to a host that is not allowed is not sent, so it does not have to claim the host.
            let host = self.check(&delivery.url).unwrap_or_else(|_| delivery.id.clone());
            if self.busy().insert(host.clone()) {
                return Ok(Claimed { inner: self, host, delivery });
            }
        }
        Err(pause)
    }

    fn deliver(&self, agent: &ureq::Agent, delivery: &Delivery) {
        // Check again: the configuration may have changed since the client asked for the webhook.
        let secret = match (self.check(&delivery.url), &self.secret) {
            (Ok(_), Some(secret)) => secret,
            (refused, _) => {
                let reason = refused.err().unwrap_or_else(|| format!("{SECRET} is not set"));
                tracing::error!(webhook = delivery.id, reason, "not sent");
                self.metrics.webhook(Ended::failed);
                return self.keep(delivery, None);
            }
        };
        let now = Moment::now().seconds();
        let answer = agent
            .post(&delivery.url)
            .header("content-type", "application/json")
            .header("webhook-id", &delivery.id)
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", signature(secret, &delivery.id, now, &delivery.body))
            .send(&delivery.body);
        let attempt = delivery.attempts + 1;
        let again = match &answer {
            Ok(answer) if answer.status().is_success() => {
                self.metrics.webhook(Ended::done);
                None
            }
            _ if attempt >= MAX_ATTEMPTS => {
                tracing::error!(webhook = delivery.id, attempt, "given up");
                self.metrics.webhook(Ended::failed);
                None
            }
            failed => {
                let reason = match failed {
                    Ok(answer) => format!("answered {}", answer.status()),
                    Err(error) => error.to_string(),
                };
                tracing::warn!(webhook = delivery.id, attempt, reason, "not delivered");
                Some(Moment::now().after(self.retry * 5_u32.pow(delivery.attempts)))
            }
        };
        self.keep(delivery, again);
    }

    fn keep(&self, delivery: &Delivery, again: Option<Moment>) {
        if let Err(error) = self.store.delivered(&delivery.id, again) {
            tracing::error!(error = with_causes(&error), "cannot keep what became of a webhook");
            // Without this pause the webhook would be sent again at once.
            self.sleep(*self.news(), self.retry);
        }
    }

    /// Waits up to `pause`, or until `wake` has been called since the caller read `seen`.
    fn sleep(&self, seen: u64, pause: Duration) {
        let waited = self.wake.wait_timeout_while(self.news(), pause, |news| *news == seen);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn wake(&self) {
        *self.news() += 1;
        self.wake.notify_all();
    }

    fn news(&self) -> MutexGuard<'_, u64> {
        locked(&self.news)
    }

    fn busy(&self) -> MutexGuard<'_, HashSet<String>> {
        locked(&self.busy)
    }
}

/// A delivery that has claimed its host. Dropping it frees the host.
struct Claimed<'a> {
    inner: &'a WebhookState,
    host: String,
    delivery: Delivery,
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.inner.busy().remove(&self.host);
        // Another delivery may wait for the host.
        self.inner.wake();
    }
}

/// Returns `v1,` and the HMAC-SHA256 of `id.timestamp.body` in Base64.
fn signature(secret: &[u8], id: &str, timestamp: i64, body: &str) -> String {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length");
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body.as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // Computed with Python's hmac: key "topsecretkey-for-webhooks", message "id.1.{}".
        let found = signature(b"topsecretkey-for-webhooks", "id", 1, "{}");
        assert_eq!(found, "v1,g8dIUhMAG0Y5y7Nd5AOTSyHbCC1wL9pDji3rtu6yeMI=");
    }
}
