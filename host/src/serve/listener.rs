//! Connections: accepted, limited, spoken to, ended.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, rt};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::certificates::Certificates;
use super::routes::{Peer, Service};

/// A port on which requests are answered.
#[derive(Debug)]
pub(super) struct Listener {
    listener: TcpListener,
    /// Without them TLS is not spoken.
    certificates: Option<Arc<Certificates>>,
    service: Arc<Service>,
    places: Arc<Semaphore>,
}

impl Listener {
    /// Take the port.
    pub(super) async fn bind(
        address: SocketAddr,
        certificates: Option<Arc<Certificates>>,
        service: Arc<Service>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Ok(Self { listener, certificates, service, places })
    }

    /// The port that was taken.
    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accept connections until `stop` says so, and see all of them to their end.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        let stopped = stop.clone();
        tokio::select! {
            // It sends once; that it is gone means the same.
            _ = stop.wait_for(|stop| *stop) => {}
            () = self.accept(&stopped) => {}
        }
        // Connections that the kernel has made are owed an answer.
        while let Ok(Ok((stream, _))) = timeout(Duration::ZERO, self.listener.accept()).await {
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { break };
            self.take(stream, place, &stopped);
        }
        let Self { listener, places, .. } = self;
        drop(listener);
        let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        let _ = places.acquire_many(all).await;
    }

    async fn accept(&self, stop: &watch::Receiver<bool>) {
        loop {
            let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => self.take(stream, place, stop),
                Err(error) => {
                    // Out of descriptors, most likely: those that are open have to end first.
                    tracing::warn!(error = error.to_string(), "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn take(&self, stream: TcpStream, place: OwnedSemaphorePermit, stop: &watch::Receiver<bool>) {
        let (service, stop) = (Arc::clone(&self.service), stop.clone());
        let tls = self.certificates.as_ref().map(|certificates| certificates.current());
        tokio::spawn(async move {
            let _place = place;
            // Answers are small, and wait for nothing. Where this is not possible they wait.
            let _ = stream.set_nodelay(true);
            let Some(shown) = tls else {
                return http1(stream, service, Peer::Plain, stop).await;
            };
            let acceptor = TlsAcceptor::from(Arc::clone(&shown.config));
            let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    return tracing::debug!(error = error.to_string(), "no handshake");
                }
                Err(_) => return tracing::debug!("no handshake in time"),
            };
            let (_, session) = stream.get_ref();
            let certified = session.peer_certificates().is_some_and(|chain| !chain.is_empty());
            let two = session.alpn_protocol() == Some(b"h2");
            let peer = Peer::Tls { certified };
            match two {
                true => http2(stream, service, peer, stop).await,
                false => http1(stream, service, peer, stop).await,
            }
        });
    }
}

async fn http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    service: Arc<Service>,
    peer: Peer,
    stop: watch::Receiver<bool>,
) {
    let activity = Arc::new(Activity::new());
    let answer = answering(service, peer, Arc::clone(&activity));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    // A request may be on its way, and HTTP/1.1 has no way of telling the client in time. The answers of a
    // server that is about to end close their connections themselves.
    see_to_its_end(connection, &activity, stop, LINGER).await;
}

async fn http2<S>(stream: S, service: Arc<Service>, peer: Peer, stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    TokioIo<S>: rt::Read + rt::Write,
{
    let activity = Arc::new(Activity::new());
    let answer = answering(service, peer, Arc::clone(&activity));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    see_to_its_end(connection, &activity, stop, Duration::ZERO).await;
}

/// What answers the requests of a connection, and keeps count of them.
fn answering(
    service: Arc<Service>,
    peer: Peer,
    activity: Arc<Activity>,
) -> impl Fn(Request<Incoming>) -> Answering {
    move |request| {
        let (service, busy) = (Arc::clone(&service), Activity::begin(&activity));
        Box::pin(async move {
            let answer = service.answer(request, peer).await;
            drop(busy);
            Ok(answer)
        })
    }
}

type Answering =
    std::pin::Pin<Box<dyn Future<Output = Result<super::routes::Answer, Infallible>> + Send>>;

/// Let a connection live as long as it is of use, and for `rest` when the server stops.
async fn see_to_its_end<C: GracefulConnection>(
    connection: C,
    activity: &Activity,
    mut stop: watch::Receiver<bool>,
    rest: Duration,
) {
    let mut connection = pin!(connection);
    let mut look = pin!(sleep(FIRST_REQUEST_TIMEOUT));
    let (mut stopping, mut ending) = (false, false);
    loop {
        tokio::select! {
            // What went wrong is the client's affair, which it knows.
            _ = connection.as_mut() => return,
            () = look.as_mut() => {
                if ending && activity.idle_since(LINGER) {
                    return;
                }
                if !ending && (stopping || activity.is_over()) {
                    ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                let pause = if ending { LINGER } else { IDLE_CHECK };
                look.as_mut().reset(Instant::now() + pause);
            }
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                look.as_mut().reset(Instant::now() + rest);
            }
        }
    }
}

/// What a connection does: how many requests are being answered, how many there were, and since when there
/// is none.
#[derive(Debug)]
struct Activity {
    begun: Instant,
    running: AtomicU64,
    requests: AtomicU64,
    /// Milliseconds after `begun`.
    idle: AtomicU64,
}

impl Activity {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            running: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            idle: AtomicU64::new(0),
        }
    }

    fn begin(activity: &Arc<Self>) -> Busy {
        activity.running.fetch_add(1, Ordering::Relaxed);
        activity.requests.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(activity))
    }

    fn idle_since(&self, time: Duration) -> bool {
        let since = Duration::from_millis(self.idle.load(Ordering::Relaxed));
        self.running.load(Ordering::Relaxed) == 0
            && self.begun.elapsed().saturating_sub(since) >= time
    }

    fn is_over(&self) -> bool {
        match self.requests.load(Ordering::Relaxed) {
            0 => self.idle_since(FIRST_REQUEST_TIMEOUT),
            _ => self.idle_since(IDLE_TIMEOUT),
        }
    }
}

/// A request is being answered.
struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.idle.store(now, Ordering::Relaxed);
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Most connections to a port: an API server needs one or two, and each costs some 40 KiB.
const MAX_CONNECTIONS: usize = 1024;

/// A handshake across the world takes a second; this is what registries get, too.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Whoever connects has something to ask.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Longer than the 90 s for which API servers keep an idle connection: so that it is they who end it, and no
/// request meets a connection that is just being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// Between two looks whether a connection is of use.
const IDLE_CHECK: Duration = Duration::from_secs(10);

/// Once a connection is to end: time for a request that is on its way, and for the last answer.
const LINGER: Duration = Duration::from_secs(1);

/// Whether an HTTP/2 client is still there: as often as API servers ask.
const PING_EVERY: Duration = Duration::from_secs(30);

/// It answers within this: as API servers have it.
const PING_TIMEOUT: Duration = Duration::from_secs(15);

/// Requests of an HTTP/2 connection at the same time: what API servers allow their own clients.
const MAX_STREAMS: u32 = 250;

/// A request line with all headers (HTTP/1.1): eight times what API servers send.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// The same for HTTP/2.
const MAX_HEADER_LIST_BYTES: u32 = 64 * 1024;

/// Headers of a request (HTTP/1.1): ten times what API servers send.
const MAX_HEADERS: usize = 64;

/// After a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
