//! Connections: accepts them, applies timeouts, and closes them in order at shutdown.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;

use crate::web::Peer;

/// Limits on connections: their number, and timeouts.
pub(crate) struct Patience {
    pub(crate) connections: u32,
    pub(crate) header: Duration,
    /// Timeout for a client that does not read its response.
    pub(crate) write: Duration,
    /// Time that requests under way have when the server stops.
    pub(crate) shutdown: Duration,
}

/// Serves until `stop` becomes true, then waits for the requests under way, up to `patience.shutdown`.
pub(crate) async fn serve(listener: TcpListener, router: Router, patience: Patience, mut stop: watch::Receiver<bool>) {
    let mut http = hyper::server::conn::http1::Builder::new();
    // The limit for a client that sends its header one byte at a time.
    http.timer(TokioTimer::new()).header_read_timeout(patience.header).max_buf_size(64 << 10);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(patience.connections as usize));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let router = router.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            router.clone().oneshot(request)
        });
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(patience.write));
        let connection = graceful.watch(http.serve_connection(TokioIo::new(Box::pin(stream)), service));
        tokio::spawn(async move {
            let _place = place;
            if let Err(error) = connection.await {
                // Clients disconnect at any time; that is no error of the server.
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(patience.shutdown, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way when time was up");
    }
}

/// Accepts the next connection, once one of the `places` is free. Returns `None` if it fails.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, std::net::SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Without Nagle's algorithm: events are small and must be sent at once.
            let _ = stream.set_nodelay(true);
            Some((stream, peer, place))
        }
        Err(error) => {
            // An error such as too few file descriptors passes with time.
            tracing::error!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}
