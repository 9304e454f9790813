//! Whether the operator is alive, for a kubelet: `GET /livez`, and `/readyz`, which is the same.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// When the operator was last seen to go on.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<(Instant, AtomicU64)>);

impl Default for Pulse {
    fn default() -> Self {
        Self(Arc::new((Instant::now(), AtomicU64::new(0))))
    }
}

impl Pulse {
    /// It goes on.
    pub(super) fn beat(&self) {
        let (begun, last) = &*self.0;
        last.store(begun.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Whether that was not too long ago at the time `now`.
    pub fn is_alive(&self, now: Instant) -> bool {
        let (begun, last) = &*self.0;
        let since = now.saturating_duration_since(*begun).as_secs();
        since.saturating_sub(last.load(Ordering::Relaxed)) < PULSE_TIMEOUT.as_secs()
    }
}

/// A port on which probes are answered.
#[derive(Debug)]
pub struct Health {
    listener: TcpListener,
    pulse: Pulse,
}

impl Health {
    /// Take the port.
    ///
    /// # Errors
    ///
    /// It cannot be had.
    pub async fn bind(address: SocketAddr, pulse: Pulse) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, pulse })
    }

    /// The port that was taken.
    ///
    /// # Errors
    ///
    /// The operating system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answer for ever.
    pub async fn run(self) {
        let places = Arc::new(Semaphore::new(MAX_PROBES));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of descriptors, most likely.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let pulse = self.pulse.clone();
            tokio::spawn(async move {
                let answer = service_fn(move |request: Request<Incoming>| {
                    let answer = answer(&request, &pulse);
                    async { Ok::<_, Infallible>(answer) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(PROBE_TIMEOUT)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), answer);
                // What went wrong is the client's affair.
                let _ = timeout(PROBE_TIMEOUT, connection).await;
                drop(place);
            });
        }
    }
}

fn answer(request: &Request<Incoming>, pulse: &Pulse) -> Response<Full<Bytes>> {
    let known = ["/livez", "/readyz"].contains(&request.uri().path());
    let (status, words) = match *request.method() {
        _ if !known => (404, "expected /livez or /readyz\n"),
        Method::GET | Method::HEAD if pulse.is_alive(Instant::now()) => (200, "ok\n"),
        Method::GET | Method::HEAD => (503, "the operator does not go on\n"),
        _ => (405, "expected GET\n"),
    };
    let mut response = Response::new(Full::new(Bytes::from_static(words.as_bytes())));
    *response.status_mut() = status.try_into().unwrap_or_default();
    response
}

/// Without a sign of life for so long there is none: each round of work takes less, and so does each attempt at
/// the Lease.
const PULSE_TIMEOUT: Duration = Duration::from_secs(180);

/// Probes at the same time: a kubelet makes three.
const MAX_PROBES: usize = 16;

/// A probe asks at once.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// After a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_that_stops_is_no_life() {
        let (pulse, now) = (Pulse::default(), Instant::now());
        assert!(pulse.is_alive(now));
        assert!(!pulse.is_alive(now + PULSE_TIMEOUT + Duration::from_secs(1)));
    }
}
