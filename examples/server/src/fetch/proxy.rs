//! The only way of the downloader to the web: a proxy on a loopback address, for one download.
//!
//! It looks up every name itself and connects to the addresses that it checked, so that neither a redirect, nor a
//! second look-up of a name, nor the downloader can lead into the server's own network.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::{Frame, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use subtle::ConstantTimeEq;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use url::Host;

use crate::allowed_hosts::{AllowedHosts, Refusal};
use crate::locked::locked;
use crate::random::secret;

/// Time that one address of a host has to accept a connection.
const CONNECT: Duration = Duration::from_secs(15);
/// Connections of the downloader at a time.
const MAX_CONNECTIONS: usize = 64;
/// Connections to sites at a time.
const MAX_TUNNELS: usize = 128;
/// Time for the head of a request; a connection that sends none makes room for others.
const HEADER: Duration = Duration::from_secs(5);
/// Time for which a site may continue to send after the downloader has sent its last byte.
const LAST_BYTES: Duration = Duration::from_secs(60);
/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);
const USER: &str = "fetch";
/// Headers that concern the connection to the proxy and are not passed on.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "te",
    "trailer",
    "upgrade",
];

/// A running proxy. It ends with all its connections when this value is dropped.
pub(super) struct Proxy {
    address: SocketAddr,
    token: String,
    gate: Arc<Gate>,
    listening: AbortHandle,
}

/// The state that the connections of a proxy share.
struct Gate {
    hosts: AllowedHosts,
    /// The value that the header `Proxy-Authorization` must have.
    authorization: String,
    limit: u64,
    bytes: AtomicU64,
    is_over: AtomicBool,
    refusal: Mutex<Option<Refusal>>,
    /// Connections to sites.
    tunnels: Mutex<JoinSet<()>>,
}

impl Proxy {
    /// Opens a proxy that lets `limit` bytes through to the downloader. Needs a runtime.
    pub(super) async fn open(hosts: AllowedHosts, limit: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let token = secret();
        let gate = Arc::new(Gate {
            hosts,
            authorization: format!("Basic {}", STANDARD.encode(format!("{USER}:{token}"))),
            limit,
            bytes: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            refusal: Mutex::default(),
            tunnels: Mutex::default(),
        });
        let listening = tokio::spawn(listen(listener, Arc::clone(&gate))).abort_handle();
        Ok(Self { address, token, gate, listening })
    }

    /// Returns the address for the downloader, with the credentials that only it knows.
    pub(super) fn url(&self) -> String {
        format!("http://{USER}:{}@{}", self.token, self.address)
    }

    /// Returns the number of bytes that sites have sent.
    pub(super) fn bytes(&self) -> u64 {
        self.gate.bytes.load(Ordering::Relaxed)
    }

    /// Returns whether sites have sent more bytes than the limit.
    pub(super) fn is_over(&self) -> bool {
        self.gate.is_over.load(Ordering::Relaxed)
    }

    /// Returns the last connection that was refused: the one after which the downloader gave up, if it did.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        locked(&self.gate.refusal).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
        locked(&self.gate.tunnels).abort_all();
    }
}

async fn listen(listener: TcpListener, gate: Arc<Gate>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                let Ok((stream, _)) = accepted else {
                    // The error may be too many open files, and the next attempt would fail at once too.
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let gate = Arc::clone(&gate);
                let service = hyper::service::service_fn(move |request| answer(Arc::clone(&gate), request));
                connections.spawn(async move {
                    let mut http = hyper::server::conn::http1::Builder::new();
                    http.timer(TokioTimer::new()).header_read_timeout(HEADER);
                    let connection = http.max_buf_size(64 << 10).serve_connection(TokioIo::new(stream), service);
                    // The downloader may disconnect at any time.
                    let _ = connection.with_upgrades().await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(gate: Arc<Gate>, request: Request<Incoming>) -> Result<Response<Body>, std::convert::Infallible> {
    let answered = if !gate.knows(request.headers()) {
        Err(StatusCode::PROXY_AUTHENTICATION_REQUIRED)
    } else if request.method() == Method::CONNECT {
        gate.tunnel(request).await
    } else {
        gate.forward(request).await
    };
    Ok(answered.unwrap_or_else(|status| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            let value = HeaderValue::from_static("Basic realm=\"fetch\"");
            response.headers_mut().insert(header::PROXY_AUTHENTICATE, value);
        }
        response
    }))
}

impl Gate {
    fn knows(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::PROXY_AUTHORIZATION).map_or(&[][..], HeaderValue::as_bytes);
        self.authorization.as_bytes().ct_eq(given).into()
    }

    /// Connects to a host that is allowed.
    async fn connect(&self, uri: &Uri, standard_port: Option<u16>) -> Result<TcpStream, StatusCode> {
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or(StatusCode::BAD_REQUEST)?;
        let port = authority.port_u16().or(standard_port).ok_or(StatusCode::BAD_REQUEST)?;
        // Parses the host as everywhere else, so that no spelling of a host passes that means another one.
        let parsed = Host::parse(authority.host()).map_err(|_| StatusCode::BAD_REQUEST)?;
        let host = match &parsed {
            Host::Domain(name) => Host::Domain(name.as_str()),
            Host::Ipv4(address) => Host::Ipv4(*address),
            Host::Ipv6(address) => Host::Ipv6(*address),
        };
        let refuse = |refusal: Refusal, status: StatusCode| {
            *locked(&self.refusal) = Some(refusal);
            status
        };
        let addresses = self.hosts.resolve(host, port).await;
        for address in addresses.map_err(|refusal| refuse(refusal, StatusCode::FORBIDDEN))? {
            if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                return Ok(stream);
            }
        }
        Err(refuse(Refusal::Silent { host: parsed.to_string() }, StatusCode::BAD_GATEWAY))
    }

    /// Answers CONNECT: passes on what an encrypted connection carries.
    async fn tunnel(self: &Arc<Self>, mut request: Request<Incoming>) -> Result<Response<Body>, StatusCode> {
        if !self.has_room() {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        let site = self.connect(request.uri(), None).await?;
        let upgrade = hyper::upgrade::on(&mut request);
        let gate = Arc::clone(self);
        self.spawn(async move {
            if let Ok(client) = upgrade.await {
                gate.carry(TokioIo::new(client), site).await;
            }
        });
        Ok(Response::new(Body::empty()))
    }

    async fn carry(&self, client: TokioIo<hyper::upgrade::Upgraded>, site: TcpStream) {
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_site, mut to_site) = site.into_split();
        let up = async {
            let _ = tokio::io::copy(&mut from_client, &mut to_site).await;
            let _ = to_site.shutdown().await;
            // The site may continue to send, but only for a while after the downloader has ended.
            tokio::time::sleep(LAST_BYTES).await;
        };
        let down = async {
            let mut buffer = vec![0; 32 << 10];
            while let Ok(count @ 1..) = from_site.read(&mut buffer).await {
                if !self.admits(count as u64) || to_client.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
            }
            let _ = to_client.shutdown().await;
        };
        tokio::select! {
            () = up => {}
            () = down => {}
        }
    }

    /// Answers any other method: passes a request without encryption on.
    async fn forward(self: &Arc<Self>, mut request: Request<Incoming>) -> Result<Response<Body>, StatusCode> {
        if request.uri().scheme_str() != Some("http") {
            return Err(StatusCode::BAD_REQUEST);
        }
        let site = self.connect(request.uri(), Some(80)).await?;
        let host = request.uri().authority().map(|authority| HeaderValue::from_str(authority.as_str()));
        let Some(Ok(host)) = host else { return Err(StatusCode::BAD_REQUEST) };
        // An address may have a query without a path.
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        *request.uri_mut() = path.parse().map_err(|_| StatusCode::BAD_REQUEST)?;
        without_hop_by_hop(request.headers_mut());
        request.headers_mut().insert(header::HOST, host);
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(site)).await;
        let (mut sender, connection) = handshake.map_err(|_| StatusCode::BAD_GATEWAY)?;
        self.spawn(async move {
            // The site may disconnect at any time; the response then ends early.
            let _ = connection.await;
        });
        let mut response = sender.send_request(request).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
        without_hop_by_hop(response.headers_mut());
        let gate = Arc::clone(self);
        Ok(response.map(|body| Body::new(MeteredBody { body, gate })))
    }

    /// Counts bytes from a site. Returns false if there are more than the limit.
    fn admits(&self, count: u64) -> bool {
        let bytes = self.bytes.fetch_add(count, Ordering::Relaxed) + count;
        if bytes > self.limit {
            self.is_over.store(true, Ordering::Relaxed);
        }
        bytes <= self.limit
    }

    /// Returns whether another connection to a site may be opened.
    fn has_room(&self) -> bool {
        let mut tunnels = locked(&self.tunnels);
        while tunnels.try_join_next().is_some() {}
        tunnels.len() < MAX_TUNNELS
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut tunnels = locked(&self.tunnels);
        // Removes the tunnels that have ended.
        while tunnels.try_join_next().is_some() {}
        tunnels.spawn(work);
    }
}

fn without_hop_by_hop(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(HeaderName::from_static(name));
    }
}

/// The body of a response of a site, which counts.
struct MeteredBody {
    body: Incoming,
    gate: Arc<Gate>,
}

impl hyper::body::Body for MeteredBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            let frame = frame?;
            let count = frame.data_ref().map_or(0, Bytes::len);
            if self.gate.admits(count as u64) { Ok(frame) } else { Err("the download is too large".into()) }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
