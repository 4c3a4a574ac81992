//! Middleware: the layers that every request passes before and after its handler.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use deepsight_core::with_causes;
use futures_util::{Stream, StreamExt};
use tracing::Instrument;

use super::problem::Problem;
use super::{App, AppState};
use crate::audit::{Action, Actor, Entry};
use crate::connections::{AddressSlot, Crowded, network};
use crate::domain::Moment;
use crate::keys::Holder;
use crate::locked::locked;
use crate::wrong_keys::Penalty;

/// Name of the session cookie.
pub(super) const COOKIE: &str = "deepsight_session";

/// The address of the client of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The address of the client of a request, which may be behind a proxy, and the request's id.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    pub(crate) address: IpAddr,
    pub(crate) request: String,
}

impl Visitor {
    /// Returns the actor for the audit. `key` is the name of the API key.
    pub(super) fn actor(&self, key: &str) -> Actor {
        Actor { key: key.to_owned(), address: self.address.to_string(), request: self.request.clone() }
    }
}

/// The sender of a request: the name of its API key, or its IP address where no key is needed.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) name: String,
    /// The key's name; empty where no key is needed.
    pub(crate) owner: String,
    /// Whether the client sees the analyses of all clients.
    pub(crate) sees_all: bool,
    /// The actor for the audit.
    pub(crate) actor: Actor,
}

impl Client {
    /// Returns the owner whose analyses the client sees; `None` if it sees those of all.
    pub(super) fn scope(&self) -> Option<String> {
        (!self.sees_all).then(|| self.owner.clone())
    }

    /// Returns whether the client may see and remove an analysis of this owner.
    pub(super) fn sees(&self, owner: &str) -> bool {
        self.sees_all || self.owner == owner
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Time and bytes for which the rest of a refused upload is still read, so that the client gets to read the response.
const LINGER: Duration = Duration::from_secs(10);
const LINGER_BYTES: u64 = 256 << 20;
const LINGER_WHEN_STOPPING: Duration = Duration::from_millis(500);

/// Gives each request an id, measures and logs it, and turns error responses into problems.
pub(super) async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let given = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| is_id(id));
    let id = given.map_or_else(crate::random::id, str::to_owned);
    let method = request.method().clone();
    // The pattern, not the path: each path would be a time series of its own in the metrics.
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or_else(|| "other".to_owned(), |matched| matched.as_str().to_owned());
    // The path of a link holds its secret, which must not be in the log.
    let is_link = request.uri().path().starts_with("/s/");
    let path = if is_link { "/s/…".to_owned() } else { request.uri().path().to_owned() };
    // Every request has a peer, because the server's listener adds it.
    let peer = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let address = app.proxies.client(peer, request.headers());
    request.extensions_mut().insert(Visitor { address, request: id.clone() });
    let span = tracing::info_span!("request", id);
    let mut response = next.run(request).instrument(span.clone()).await;

    let key = response.extensions().get::<Client>().map(|client| client.owner.clone()).unwrap_or_default();
    let status = response.status();
    let refused = status.is_client_error() || status.is_server_error();
    if refused && response.extensions().get::<InForm>().is_none() {
        response = with_form(response, &id);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let took = started.elapsed();
    app.metrics.answered(method.as_str(), &route, status.as_u16(), took);
    span.in_scope(|| {
        let milliseconds = took.as_millis() as u64;
        let (path, status) = (printable(&path), status.as_u16());
        tracing::info!(key, client = %address, %method, path, status, milliseconds, "answered");
    });
    response
}

/// Marks a response that keeps its own body although its status is that of an error.
#[derive(Debug, Clone, Copy)]
pub(super) struct InForm;

/// Turns an error response into a problem with the request's id.
fn with_form(mut response: Response, id: &str) -> Response {
    let problem = response.extensions_mut().remove::<Problem>();
    let problem = problem.unwrap_or_else(|| Problem::of_status(response.status()));
    let (head, _) = response.into_parts();
    let mut formed = problem.with_request_id(id).into_response();
    let own: Vec<HeaderName> = formed.headers().keys().cloned().collect();
    // Keep the response's other headers, such as Allow and those of CORS.
    for (name, value) in &head.headers {
        if !own.contains(name) && name != header::CONTENT_LENGTH && name != header::CONTENT_ENCODING {
            formed.headers_mut().append(name, value.clone());
        }
    }
    formed
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// Shortens a path to 200 characters and replaces control characters, so that it fits one line of a log.
fn printable(path: &str) -> String {
    path.chars().take(200).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Adds headers that restrict what a browser does with a response. A handler that needs other values sets them itself.
pub(super) async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    // Where CORS is configured, its headers say which other sites may read the response.
    if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers
            .insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    }
    response
}

/// Refuses requests of connections over the limits, and of a client behind a proxy that has too many requests under
/// way. Health checks always pass.
pub(super) async fn crowd(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.uri().path().starts_with("/health/") {
        return next.run(request).await;
    }
    if let Some(crowded) = request.extensions().get::<Crowded>() {
        return closing(Problem::crowded(*crowded));
    }
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let address = request.extensions().get::<Visitor>().map(|visitor| visitor.address);
    let (Some(peer), Some(address)) = (peer, address) else { return next.run(request).await };
    if !app.proxies.contains(peer) {
        // The connection is already counted.
        return next.run(request).await;
    }
    match app.forwarded.claim(address) {
        Ok(slot) => next.run(request).await.map(|body| Body::new(CountedBody { body, _slot: slot })),
        Err(crowded) => Problem::crowded(crowded).into_response(),
    }
}

/// Returns a problem after which the connection is closed.
fn closing(problem: Problem) -> Response {
    let mut response = problem.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The body of a response that counts as a request of its client until it has been sent.
struct CountedBody {
    body: Body,
    _slot: AddressSlot,
}

impl hyper::body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// Limits the time for the whole body of a request. A limit on pauses alone would let a client send one byte at a time
/// for hours.
pub(super) async fn body_in_time(State(app): State<App>, request: Request, next: Next) -> Response {
    let limit = app.limits().request_timeout;
    let late = Arc::new(AtomicBool::new(false));
    let request = request.map(|body| {
        let deadline = Box::pin(tokio::time::sleep(limit));
        Body::from_stream(InTime { body: body.into_data_stream(), deadline, late: Arc::clone(&late) })
    });
    let response = next.run(request).await;
    if late.load(Ordering::Relaxed) { closing(Problem::body_too_slow(limit)) } else { response }
}

/// A body that ends with an error at its deadline.
struct InTime {
    body: BodyDataStream,
    deadline: Pin<Box<tokio::time::Sleep>>,
    late: Arc<AtomicBool>,
}

impl Stream for InTime {
    type Item = Result<Bytes, axum::BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(next) = self.body.poll_next_unpin(context) {
            return Poll::Ready(next.map(|piece| piece.map_err(Into::into)));
        }
        std::task::ready!(self.deadline.as_mut().poll(context));
        self.late.store(true, Ordering::Relaxed);
        Poll::Ready(Some(Err("the body took too long".into())))
    }
}

/// Continues to read the body of a refused request for a while. Otherwise a client that is still sending would find its
/// connection reset, and never read the response.
pub(super) async fn linger(State(app): State<App>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let shared = SharedBody(Arc::new(Mutex::new(Some(body.into_data_stream()))));
    let response = next.run(Request::from_parts(head, Body::from_stream(shared.clone()))).await;
    let refused = response.status().is_client_error() || response.status().is_server_error();
    if let Some(mut rest) = shared.remaining().filter(|_| refused) {
        tokio::spawn(async move {
            let read_on = async {
                let mut bytes = 0;
                while let Some(Ok(chunk)) = rest.next().await {
                    bytes += chunk.len() as u64;
                    if bytes > LINGER_BYTES {
                        break;
                    }
                }
            };
            let mut stop = app.stop.clone();
            tokio::select! {
                () = read_on => {}
                // The client had enough time to read the response.
                () = tokio::time::sleep(LINGER) => {}
                // When the server stops, this is enough for a client that reads at once.
                () = async {
                    let _ = stop.wait_for(|stop| *stop).await;
                    tokio::time::sleep(LINGER_WHEN_STOPPING).await;
                } => {}
            }
        });
    }
    response
}

#[derive(Clone)]
struct SharedBody(Arc<Mutex<Option<BodyDataStream>>>);

impl SharedBody {
    fn remaining(&self) -> Option<BodyDataStream> {
        locked(&self.0).take()
    }
}

impl Stream for SharedBody {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut body = locked(&self.0);
        let Some(stream) = body.as_mut() else { return Poll::Ready(None) };
        let next = stream.poll_next_unpin(context);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            *body = None;
        }
        next
    }
}

/// The host names that the server answers to, and the origins whose pages may use it from a browser.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    /// Host names; if empty, any name is allowed.
    allowed: Vec<String>,
    origins: Vec<String>,
}

/// An invalid host or origin in the configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostError {
    #[error("--allowed-host {0:?} is not a host name")]
    Host(String),
    #[error("--cors-origin {0:?} is not an origin such as https://newsroom.example")]
    Origin(String),
}

impl Hosts {
    /// Checks the configured hosts and origins.
    ///
    /// `local` says that the server listens on a loopback address. It then answers only to local names and those of
    /// `allowed`. Otherwise a page that a user visits could let its own name point here (DNS rebinding) and read every
    /// response.
    pub(crate) fn new(allowed: &[String], origins: &[String], local: bool) -> Result<Self, HostError> {
        let mut names: Vec<String> = Vec::new();
        for host in allowed {
            let authority = host.parse::<axum::http::uri::Authority>();
            let plain = authority.ok().filter(|authority| authority.port().is_none() && authority.host() == host);
            names.push(plain.ok_or_else(|| HostError::Host(host.clone()))?.host().to_ascii_lowercase());
        }
        for origin in origins {
            let uri = origin.parse::<Uri>().ok().filter(|uri| {
                matches!(uri.scheme_str(), Some("http" | "https")) && uri.path() == "/" && !origin.ends_with('/')
            });
            uri.ok_or_else(|| HostError::Origin(origin.clone()))?;
        }
        if local {
            names.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
        }
        Ok(Self { allowed: names, origins: origins.iter().map(|origin| origin.to_ascii_lowercase()).collect() })
    }

    pub(crate) fn origins(&self) -> &[String] {
        &self.origins
    }

    fn knows(&self, host: &str) -> bool {
        self.allowed.is_empty() || self.allowed.iter().any(|known| known.eq_ignore_ascii_case(host))
    }
}

/// Returns the host and port that a request names.
fn host(request: &Request) -> Option<axum::http::uri::Authority> {
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    request.uri().authority().cloned().or_else(|| named?.parse().ok())
}

/// Refuses requests to a host name that is not allowed.
pub(super) async fn known_host(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.headers().get_all(header::HOST).iter().count() > 1 {
        let detail = "The header Host is given more than once: send one, with the name of this server.";
        return Problem::bad_request(detail).into_response();
    }
    match host(&request) {
        None => Problem::bad_request("The header Host is missing or malformed.").into_response(),
        Some(authority) if app.hosts().knows(authority.host()) => next.run(request).await,
        // Orchestrators send health checks to an IP address, not to a name.
        Some(_) if request.uri().path().starts_with("/health/") => next.run(request).await,
        Some(authority) => Problem::misdirected(authority.host()).into_response(),
    }
}

/// Refuses requests that a page of another site sends in a user's name. GET, HEAD and OPTIONS change nothing and pass.
pub(super) async fn same_site(State(app): State<App>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return next.run(request).await;
    }
    let Some(origin) = request.headers().get(header::ORIGIN) else { return next.run(request).await };
    let origin = origin.to_str().unwrap_or_default().to_ascii_lowercase();
    let own = host(&request).is_some_and(|authority| {
        origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(authority.as_str()))
    });
    if own || app.hosts().origins.contains(&origin) {
        return next.run(request).await;
    }
    let detail = "Requests from pages of other sites are refused. The server's administrator can allow a site with \
                  --cors-origin.";
    Problem::forbidden(detail).into_response()
}

/// Refuses requests without a valid API key or session, unless no key is needed, and attaches the [`Client`] to the
/// rest, and to their responses.
pub(super) async fn require_key(
    State(app): State<App>,
    Extension(visitor): Extension<Visitor>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = if app.keys.required() {
        let Some(Holder { name, is_admin }) = holder(&app, request.headers(), &visitor).await else {
            return Problem::unauthorized(
                "Send an API key of this server, as `Authorization: Bearer KEY` or `X-API-Key: KEY`, or sign in.",
            )
            .into_response();
        };
        note_use(&app, &name).await;
        Client { actor: visitor.actor(&name), name: name.clone(), owner: name, sees_all: is_admin }
    } else {
        let name = network(visitor.address).to_string();
        Client { actor: visitor.actor(""), name, owner: String::new(), sees_all: true }
    };
    request.extensions_mut().insert(client.clone());
    let mut response = next.run(request).await;
    response.extensions_mut().insert(client);
    response
}

/// Stores the day on which a key is used, once a day.
async fn note_use(app: &AppState, name: &str) {
    let (name, day) = (name.to_owned(), Moment::now().day());
    if app.keys.is_first_use(&name, &day)
        && let Err(error) = app.store.run(move |store| store.key_used(&name, &day)).await
    {
        // The request does not depend on it.
        tracing::error!(error = with_causes(&error), "cannot store when a key was used");
    }
}

/// Returns the holder of the API key that a request presents, itself or by a session. A wrong key delays the answer.
pub(super) async fn holder(app: &AppState, headers: &HeaderMap, visitor: &Visitor) -> Option<Holder> {
    match (presented(headers), cookie(headers)) {
        (Some(key), _) => {
            let holder = app.keys.owner(key);
            if holder.is_none() {
                wrong_key(app, visitor).await;
            }
            holder
        }
        // A session that has ended is no attempt to guess a key.
        (None, Some(cookie)) => super::session::session(app, cookie).await,
        (None, None) => None,
    }
}

/// Makes a request with a wrong API key wait if its address has sent several.
pub(super) async fn wrong_key(app: &AppState, visitor: &Visitor) {
    let Penalty { wait, is_first } = app.wrong_keys.count(visitor.address, Instant::now());
    if is_first {
        tracing::warn!(client = %visitor.address, "many wrong API keys; the answers to further ones are delayed");
        // The answer does not depend on the entry, and the log has the error.
        let _ = app.record(Entry::new(Action::WrongKeys, &visitor.actor(""))).await;
    }
    let mut stop = app.stop.clone();
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = async { let _ = stop.wait_for(|stop| *stop).await; } => {}
    }
}

/// Returns the API key in the headers of a request.
fn presented(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    bearer.or_else(|| headers.get("x-api-key").and_then(|key| key.to_str().ok()))
}

/// Returns the session cookie in the headers of a request.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

impl Problem {
    /// Returns a problem for an error response that carries none.
    fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::not_found("There is no page with this address."),
            StatusCode::METHOD_NOT_ALLOWED => Self::method_not_allowed(),
            status if status.is_server_error() => Self::internal(),
            status => Self::other(status),
        }
    }
}
