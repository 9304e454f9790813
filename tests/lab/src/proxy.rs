//! Something between a client and a server that counts, and that can take its time.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

/// A running proxy for one server that speaks HTTP/1.1. Ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    server: String,
    delay_ms: AtomicU64,
    requests: AtomicU64,
    stop: AtomicBool,
}

impl Proxy {
    /// Stand on a free loopback port in front of `server`, `HOST:PORT`.
    pub fn start(server: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            delay_ms: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let accepted = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if accepted.stop.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(client) = connection {
                    let shared = Arc::clone(&accepted);
                    // Whoever hangs up in the middle has had enough.
                    std::thread::spawn(move || forward(client, &shared).ok());
                }
            }
        });
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Let every request wait from now on.
    pub fn delay(&self, delay: Duration) {
        let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.shared.delay_ms.store(milliseconds, Ordering::SeqCst);
    }

    /// How many requests there were so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // The connection wakes the thread, which then sees that it should stop.
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            thread.join().ok();
        }
    }
}

/// Carry one connection. Requests without bodies arrive in one piece, so that each piece is one request.
fn forward(mut client: TcpStream, shared: &Shared) -> Result<()> {
    let mut server = TcpStream::connect(&shared.server)
        .with_context(|| format!("cannot connect to {}", shared.server))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut answers, mut to_client) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        std::io::copy(&mut answers, &mut to_client).ok();
        to_client.shutdown(Shutdown::Both).ok();
    });
    let mut piece = [0; 16 * 1024];
    loop {
        let length = client.read(&mut piece)?;
        if length == 0 {
            server.shutdown(Shutdown::Write)?;
            return Ok(());
        }
        shared.requests.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(shared.delay_ms.load(Ordering::SeqCst)));
        server.write_all(&piece[..length])?;
    }
}
