//! A registry, signature store or token server inside the test's own process.
//!
//! It listens on a free port of the loopback interface, answers by a script, records what it was asked,
//! and ends when it is dropped. It can lie, stall, truncate, redirect and never end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsAcceptor;

use super::tls::Identity;

/// A running server.
pub(crate) struct Server {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Plain HTTP. Every path is 404 until [`Server::on`] says otherwise.
    pub(crate) fn start() -> Self {
        Self::run("http", Speech::Http(None))
    }

    /// HTTP over TLS.
    pub(crate) fn start_tls(identity: &Identity) -> Self {
        Self::run("https", Speech::Http(Some(TlsAcceptor::from(identity.server()))))
    }

    /// Whatever is asked, these bytes are the answer, as they are; then the connection is closed.
    pub(crate) fn start_raw(answer: impl Into<Vec<u8>>) -> Self {
        Self::run("http", Speech::Raw { answer: Bytes::from(answer.into()), repeat: false })
    }

    /// Whatever is asked, `start` is the answer, then `repeated` until the client has enough.
    pub(crate) fn start_raw_endless(start: &str, repeated: &str) -> Self {
        let answer = Bytes::from(format!("{start}{}", repeated.repeat(64)));
        Self::run("http", Speech::Raw { answer, repeat: true })
    }

    /// Connections are accepted, and that is all.
    pub(crate) fn start_silent() -> Self {
        Self::run("http", Speech::Silence)
    }

    /// Answer a path. The last script for a path holds.
    pub(crate) fn on(
        &self,
        path: impl Into<String>,
        mut script: impl FnMut(&Recorded) -> Answer + Send + 'static,
    ) {
        let script: Script = Box::new(move |request| script(request));
        self.shared.lock().scripts.insert(path.into(), script);
    }

    /// Answer every path that has no script of its own.
    pub(crate) fn otherwise(&self, script: impl FnMut(&Recorded) -> Answer + Send + 'static) {
        self.shared.lock().otherwise = Some(Box::new(script));
    }

    /// Answer a path the same way every time.
    pub(crate) fn always(&self, path: impl Into<String>, answer: Answer) {
        self.on(path, move |_| answer.clone());
    }

    /// Answer a path with one after the other; the last one stays.
    pub(crate) fn in_turn<const N: usize>(&self, path: impl Into<String>, answers: [Answer; N]) {
        let mut place = 0;
        self.on(path, move |_| {
            let answer = answers[place.min(N - 1)].clone();
            place += 1;
            answer
        });
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// The port alone, for other names of this machine.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Everything that was asked so far, in the order of arrival.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.shared.lock().requests.clone()
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lock().connections
    }

    /// What was asked of one path so far.
    pub(crate) fn requests_to(&self, path: &str) -> Vec<Recorded> {
        let mut requests = self.requests();
        requests.retain(|request| request.path == path);
        requests
    }

    /// Wait until a path was asked for so many times.
    pub(crate) async fn asked(&self, path: &str, times: usize) {
        let mut arrivals = self.shared.arrivals.subscribe();
        let enough = |_: &usize| self.requests_to(path).len() >= times;
        arrivals.wait_for(enough).await.expect("the server lives");
    }

    fn run(scheme: &'static str, speech: Speech) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        listener.set_nonblocking(true).expect("a socket");
        let shared = Arc::new(Shared::default());
        let (end, ended) = oneshot::channel();
        let for_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // Connections that still stall end with the runtime.
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = accept(listener, &speech, &for_thread) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, scheme, shared, end: Some(end), thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    /// As the request line has it; a proxy is told the host here.
    pub(crate) target: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// The same, byte for byte.
    pub(crate) content: Bytes,
    /// Whether the client showed a certificate.
    pub(crate) client_certificate: bool,
}

impl Recorded {
    /// A header's value, if it is there and is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The header `Authorization`.
    pub(crate) fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }

    /// Everything that the client sent, for searching it for a secret.
    pub(crate) fn everything(&self) -> String {
        format!("{self:?}")
    }
}

/// What is sent back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    status: u16,
    /// Not sent before this is true.
    gate: Option<watch::Receiver<bool>>,
    headers: Vec<(String, String)>,
    content: Content,
}

impl Answer {
    /// An empty body.
    pub(crate) fn status(status: u16) -> Self {
        let content = Content::Exact(Bytes::new());
        Self { status, gate: None, headers: Vec::new(), content }
    }

    /// 200 with a body.
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).body(body)
    }

    /// 307 to another place.
    pub(crate) fn redirect(to: impl Into<String>) -> Self {
        Self::status(307).header("location", to)
    }

    /// 401 with a challenge.
    pub(crate) fn challenge(challenge: impl Into<String>) -> Self {
        Self::status(401).header("www-authenticate", challenge)
    }

    /// An error as registries word it.
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        let error = serde_json::json!({"errors": [{"code": code, "message": message}]});
        Self::status(status).body(error.to_string())
    }

    /// With a header.
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sent when the gate is open: others are answered meanwhile.
    pub(crate) fn behind(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.open.subscribe()), ..self }
    }

    /// With this body, its length declared.
    pub(crate) fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { content: Content::Exact(Bytes::from(body.into())), ..self }
    }

    /// With this body, its length not declared.
    pub(crate) fn chunked(self, body: impl Into<Vec<u8>>) -> Self {
        Self { content: Content::Chunked(Bytes::from(body.into())), ..self }
    }

    /// With a body that never ends.
    pub(crate) fn endless(self) -> Self {
        Self { content: Content::Endless, ..self }
    }

    /// With the first bytes of a body; the rest never comes.
    pub(crate) fn stalled(self, first: impl Into<Vec<u8>>) -> Self {
        Self { content: Content::Stalled(Bytes::from(first.into())), ..self }
    }

    /// With a body of what is sent, as long as somebody may send.
    pub(crate) fn live(self, parts: mpsc::UnboundedReceiver<Bytes>) -> Self {
        Self { content: Content::Live(Arc::new(Mutex::new(parts))), ..self }
    }

    /// With the first bytes of a body of which `declared` were promised; then the connection breaks.
    pub(crate) fn truncated(self, first: impl Into<Vec<u8>>, declared: u64) -> Self {
        let content = Content::Truncated(Bytes::from(first.into()), false);
        Self { content, ..self.header("content-length", declared.to_string()) }
    }

    fn into_response(self) -> Response<Content> {
        let mut response = Response::new(self.content);
        *response.status_mut() = self.status.try_into().expect("a status");
        for (name, value) in self.headers {
            let name = HeaderName::try_from(name).expect("a header's name");
            let value = HeaderValue::try_from(value).expect("a header's value");
            response.headers_mut().append(name, value);
        }
        response
    }
}

/// Something that answers wait for.
pub(crate) struct Gate {
    open: watch::Sender<bool>,
}

impl Gate {
    /// Closed.
    pub(crate) fn new() -> Self {
        Self { open: watch::Sender::new(false) }
    }

    /// Let every answer behind it go.
    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }
}

type Script = Box<dyn FnMut(&Recorded) -> Answer + Send>;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// How many requests there were.
    arrivals: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    scripts: HashMap<String, Script>,
    otherwise: Option<Script>,
    requests: Vec<Recorded>,
    connections: usize,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: Recorded) -> Answer {
        let mut state = self.lock();
        state.requests.push(request.clone());
        let State { scripts, otherwise, .. } = &mut *state;
        let answer = match scripts.get_mut(&request.path).or(otherwise.as_mut()) {
            Some(script) => script(&request),
            None => Answer::status(404),
        };
        drop(state);
        // Whoever waits looks at the list, which is free again.
        self.arrivals.send_modify(|count| *count += 1);
        answer
    }
}

enum Speech {
    Http(Option<TlsAcceptor>),
    Raw { answer: Bytes, repeat: bool },
    Silence,
}

async fn accept(listener: TcpListener, speech: &Speech, shared: &Arc<Shared>) {
    let mut silent = Vec::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        shared.lock().connections += 1;
        match speech {
            Speech::Http(None) => {
                tokio::spawn(serve(stream, false, Arc::clone(shared)));
            }
            Speech::Http(Some(acceptor)) => {
                let (acceptor, shared) = (acceptor.clone(), Arc::clone(shared));
                tokio::spawn(async move {
                    // A client that does not trust the certificate goes away, which is what tests want.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let shown = stream.get_ref().1.peer_certificates().is_some();
                        serve(stream, shown, shared).await;
                    }
                });
            }
            Speech::Raw { answer, repeat } => {
                tokio::spawn(speak(stream, answer.clone(), *repeat));
            }
            Speech::Silence => silent.push(stream),
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    client_certificate: bool,
    shared: Arc<Shared>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = Arc::clone(&shared);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let recorded = Recorded {
                method: parts.method.to_string(),
                target: parts.uri.to_string(),
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                headers: parts.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
                content: body,
                client_certificate,
            };
            let mut answer = shared.answer(recorded);
            if let Some(gate) = &mut answer.gate {
                // A gate that is gone is open.
                let _ = gate.wait_for(|open| *open).await;
            }
            Ok::<_, Infallible>(answer.into_response())
        }
    });
    // A client that breaks off is no failure of the server.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn speak(mut stream: TcpStream, answer: Bytes, repeat: bool) {
    let mut asked = Vec::new();
    while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read_buf(&mut asked).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    while stream.write_all(&answer).await.is_ok() && repeat {}
}

/// A body as the script wants it.
#[derive(Clone, Debug)]
enum Content {
    Chunked(Bytes),
    Endless,
    Exact(Bytes),
    Live(Arc<Mutex<mpsc::UnboundedReceiver<Bytes>>>),
    Stalled(Bytes),
    /// And whether it has gone out.
    Truncated(Bytes, bool),
}

impl Body for Content {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let next = match &mut *self {
            Self::Live(parts) => {
                let next = parts.lock().unwrap_or_else(PoisonError::into_inner).poll_recv(context);
                return next.map(|part| part.map(|part| Ok(Frame::data(part))));
            }
            Self::Endless => Bytes::from_static(&[b' '; 16 * 1024]),
            Self::Chunked(rest)
            | Self::Exact(rest)
            | Self::Stalled(rest)
            | Self::Truncated(rest, _) => std::mem::take(rest),
        };
        if !next.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(next))));
        }
        match &mut *self {
            // Nobody is told to ask again: there never is more.
            Self::Stalled(_) => Poll::Pending,
            // What there is goes out while one waits.
            Self::Truncated(_, gone @ false) => {
                *gone = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Self::Truncated(..) => Poll::Ready(Some(Err(BrokenOff))),
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Exact(rest) if rest.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Exact(rest) => SizeHint::with_exact(rest.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

/// The script wants the connection to break.
#[derive(Debug, thiserror::Error)]
#[error("the script breaks the connection off")]
struct BrokenOff;
