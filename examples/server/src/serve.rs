//! Connections: accepts them, applies timeouts, and closes them in order at shutdown.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use crate::connections::Connections;
use crate::web::Peer;

/// Number of connections over the limits that are open at a time, each for one request. Health checks are answered on
/// them, and other requests are refused. A further one closes the oldest, so that a check always finds a place.
const SPARE: usize = 32;
/// Longest time that the header of a request may take on such a connection.
const SPARE_HEADER: Duration = Duration::from_secs(2);

/// Limits on connections: their number, and timeouts.
pub(crate) struct Patience {
    pub(crate) connections: Connections,
    pub(crate) header: Duration,
    /// Timeout for a client that does not read its response.
    pub(crate) write: Duration,
    /// Time that running requests have to end when the server stops.
    pub(crate) shutdown: Duration,
}

/// Serves until `stop` becomes true, then waits for the running requests, up to `patience.shutdown`.
pub(crate) async fn serve(listener: TcpListener, router: Router, patience: Patience, mut stop: watch::Receiver<bool>) {
    let http = http(patience.header);
    let mut spare_http = self::http(patience.header.min(SPARE_HEADER));
    spare_http.keep_alive(false);
    let mut spare: VecDeque<AbortHandle> = VecDeque::new();
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Some((stream, peer)) = accepted else { continue };
        let place = patience.connections.admit(peer.ip());
        let crowded = place.as_ref().err().copied();
        let router = router.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            if let Some(crowded) = crowded {
                request.extensions_mut().insert(crowded);
            }
            router.clone().oneshot(request)
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(patience.write));
        let builder = if crowded.is_some() { &spare_http } else { &http };
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(Box::pin(stream)), service));
        let task = tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection.await {
                // Clients disconnect at any time; that is no error of the server.
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
        if crowded.is_some() {
            spare.retain(|open| !open.is_finished());
            if spare.len() >= SPARE
                && let Some(oldest) = spare.pop_front()
            {
                oldest.abort();
            }
            spare.push_back(task.abort_handle());
        }
    }
    drop(listener);
    if tokio::time::timeout(patience.shutdown, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way when time was up");
    }
}

/// Returns the settings of a connection whose client may take `header` to send the header of a request.
fn http(header: Duration) -> Builder {
    let mut http = Builder::new();
    // The limit for a client that sends its header one byte at a time.
    http.timer(TokioTimer::new()).header_read_timeout(header).max_buf_size(64 << 10);
    http
}

/// Accepts the next connection. Returns `None` if it fails.
async fn accept(listener: &TcpListener) -> Option<(tokio::net::TcpStream, std::net::SocketAddr)> {
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Without Nagle's algorithm: events are small and must be sent at once.
            let _ = stream.set_nodelay(true);
            Some((stream, peer))
        }
        Err(error) => {
            // An error such as too few file descriptors passes with time.
            tracing::error!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}
