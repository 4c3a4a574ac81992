//! Connections: accepted, timed, and closed in order.

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

/// What connections are held to.
pub(crate) struct Patience {
    pub(crate) connections: u32,
    pub(crate) header: Duration,
    /// For a client that does not read its answer.
    pub(crate) write: Duration,
    /// For requests under way when the server stops.
    pub(crate) shutdown: Duration,
}

/// Serves until `stop` becomes true, then lets requests under way end.
pub(crate) async fn serve(listener: TcpListener, router: Router, patience: Patience, mut stop: watch::Receiver<bool>) {
    let mut http = hyper::server::conn::http1::Builder::new();
    // A client that sends its header a letter at a time holds a connection no longer than this.
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
                // Clients come and go; that is no error of ours.
                tracing::debug!(%peer, %error, "connection ended");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(patience.shutdown, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way when time was up");
    }
}

/// The next connection, when there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, std::net::SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Events are small and should not wait for more.
            let _ = stream.set_nodelay(true);
            Some((stream, peer, place))
        }
        Err(error) => {
            // Such as no more file descriptors: it goes by.
            tracing::error!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}
