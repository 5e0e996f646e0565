//! The listener: connections with bounds, and an orderly end.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::guard::{Answering, Guarded};

/// The bounds of the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// The most open connections; further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// A request head must arrive within this time from its first byte.
    pub head_time: Duration,
    /// A connection without a request is closed after this time. Longer than the idle time of usual
    /// client pools is not needed, shorter would race with their next request.
    pub idle_time: Duration,
    /// A peer must take some of its answer within this time.
    pub write_time: Duration,
    /// Running requests have this long once the listener stops.
    pub end_time: Duration,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            write_time: Duration::from_secs(30),
            end_time: Duration::from_secs(10),
        }
    }
}

/// After a failed accept (out of file descriptors, mostly) a moment passes before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The address of the peer, for those who do not give a name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Serves until `stop` fires, then lets running requests finish within bounds.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken, params: Params) {
    let slots = Arc::new(Semaphore::new(params.connections_max));
    let crowded = Arc::new(Notify::new());
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            // Ended connections are reaped here, so that the set does not grow.
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &slots, &crowded) => accepted,
        };
        match accepted {
            Ok((stream, peer, slot)) => {
                let (router, stop, crowded) = (router.clone(), stop.clone(), crowded.clone());
                connections.spawn(async move {
                    let ending = async {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = crowded.notified() => {}
                        }
                    };
                    connection(stream, peer, router, ending, params).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, "A connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(params.end_time, ended).await.is_err() {
        tracing::warn!(connections = connections.len(), "Requests did not end in time and are cut off");
        connections.shutdown().await;
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// Waits for a free slot first, so that connections above the limit are not even taken. When there is
/// none, idle connections are closed and busy ones end with their answer, so that nobody can keep
/// others out by holding connections.
async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>, crowded: &Notify) -> std::io::Result<Accepted> {
    if slots.available_permits() == 0 {
        crowded.notify_waiters();
    }
    let slot = Arc::clone(slots).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}

/// Serves one connection. Once `ending` is over, an idle one is closed and a busy one after its answer.
async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    ending: impl Future<Output = ()>,
    params: Params,
) {
    // Answers are written whole; holding back their last packet only adds delay.
    stream.set_nodelay(true).ok();
    let answering = Answering::default();
    let guarded = Guarded::new(stream, answering.clone(), params.head_time, params.write_time);
    let service = hyper::service::service_fn(move |request| answer(router.clone(), request, peer, answering.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(params.idle_time)
        .serve_connection(TokioIo::new(guarded), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ending => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %peer, error = %error, "A connection broke off");
    }
}

fn answer(
    mut router: Router,
    request: hyper::Request<Incoming>,
    peer: SocketAddr,
    answering: Answering,
) -> impl Future<Output = Result<Response, Infallible>> {
    answering.set(true);
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(Peer(peer));
    // A router is always ready.
    let response = router.call(request);
    async move {
        let response = response.await;
        answering.set(false);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn start(params: Params) -> (SocketAddr, CancellationToken, JoinSet<()>) {
        let slow = get(|| async {
            sleep(Duration::from_millis(200)).await;
            "done"
        });
        let router = Router::new().route("/", get(|| async { "hello" })).route("/slow", slow);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, router, stop.clone(), params));
        (address, stop, tasks)
    }

    async fn ask(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn running_requests_finish_and_idle_connections_close_at_the_end() {
        let (address, stop, mut tasks) = start(Params::default()).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(idle.read(&mut [0; 1024]).await.unwrap() > 0);
        let (text, ()) = tokio::join!(ask(address, "/slow"), async {
            sleep(Duration::from_millis(50)).await;
            stop.cancel();
        });
        assert!(text.ends_with("done"), "{text}");
        tasks.join_next().await.unwrap().unwrap();
        assert_eq!(idle.read(&mut [0; 1024]).await.unwrap(), 0);
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn idle_connections_make_room_when_there_are_too_many() {
        let (address, _stop, _tasks) = start(Params { connections_max: 2, ..Params::default() }).await;
        let mut idle = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
            idle.push(stream);
        }
        assert!(ask(address, "/").await.ends_with("hello"));
    }

    #[tokio::test]
    async fn a_slow_head_is_cut_off_and_frees_its_slot() {
        let params = Params { connections_max: 1, head_time: Duration::from_millis(50), ..Params::default() };
        let (address, _stop, _tasks) = start(params).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HT").await.unwrap();
        assert!(ask(address, "/").await.ends_with("hello"));
    }
}
