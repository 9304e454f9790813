//! The bytes of a blob on their way, counted and checked.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream;
use guest_policy::digest::Digest;
use hyper::body::Bytes;
use tokio::io::AsyncReadExt as _;

use super::contents::Descriptor;
use super::{CopyError, Progress};
use crate::image::{ImageName, Opened};
use crate::registry::{Download, RegistryError};

/// A blob that is read. The last bytes are given out only once all of them are known to be right: who waits for the
/// promised number of bytes never gets that many of something else.
pub(super) struct Blob {
    image: String,
    expected: Descriptor,
    from: From,
    hash: Hash,
    read: u64,
    held: Option<Bytes>,
    counter: Counter,
}

enum From {
    Download(Box<Download>),
    File(tokio::fs::File),
    /// Everything was read.
    Nothing,
}

impl Blob {
    pub(super) fn new(
        image: &ImageName,
        expected: &Descriptor,
        opened: Opened,
        counter: &Counter,
    ) -> Self {
        let from = match opened {
            Opened::File(file, _) => From::File(tokio::fs::File::from_std(file)),
            Opened::Download(download) => From::Download(download),
        };
        Self {
            image: image.to_string(),
            expected: expected.clone(),
            from,
            hash: Hash::new(),
            read: 0,
            held: None,
            counter: counter.clone(),
        }
    }

    /// The next bytes; `None` at the end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, CopyError> {
        loop {
            let Some(bytes) = self.next().await? else { return self.end() };
            self.read += bytes.len() as u64;
            if self.read > self.expected.size {
                return Err(self.size());
            }
            self.hash.update(&bytes);
            self.counter.add(bytes.len() as u64);
            if let Some(earlier) = self.held.replace(bytes) {
                return Ok(Some(earlier));
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, CopyError> {
        match &mut self.from {
            From::Nothing => Ok(None),
            From::Download(download) => Ok(download.chunk().await?),
            From::File(file) => {
                // An entry of an archive ends before the file does.
                let left = self.expected.size - self.read;
                let wanted = left.min(FILE_CHUNK as u64) as usize;
                let mut buffer = vec![0; wanted];
                let read = file.read(&mut buffer).await.map_err(|fault| CopyError::Read {
                    image: self.image.clone(),
                    digest: self.expected.digest.clone(),
                    fault,
                })?;
                buffer.truncate(read);
                Ok(Some(Bytes::from(buffer)).filter(|bytes| !bytes.is_empty()))
            }
        }
    }

    fn end(&mut self) -> Result<Option<Bytes>, CopyError> {
        self.from = From::Nothing;
        if self.read != self.expected.size {
            return Err(self.size());
        }
        let Some(last) = self.held.take() else {
            // Nothing at all was to be read, or everything was given out.
            return match self.read == 0 && self.expected.digest != Digest::sha256(b"") {
                true => Err(self.other(Digest::sha256(b""))),
                false => Ok(None),
            };
        };
        match format!("sha256:{}", self.hash.hex()).parse::<Digest>() {
            Ok(found) if found == self.expected.digest => Ok(Some(last)),
            Ok(found) => Err(self.other(found)),
            Err(_) => Err(self.size()),
        }
    }

    fn other(&self, found: Digest) -> CopyError {
        let (image, expected) = (self.image.clone(), self.expected.digest.clone());
        CopyError::Blob { image, expected, found }
    }

    fn size(&self) -> CopyError {
        CopyError::Size {
            image: self.image.clone(),
            digest: self.expected.digest.clone(),
            expected: self.expected.size,
            found: self.read,
        }
    }

    /// As the body of a request. What goes wrong in it is told to `fault`, since HTTP would only say that it did.
    pub(super) fn into_body(self, fault: &Fault) -> reqwest::Body {
        let fault = fault.clone();
        reqwest::Body::wrap_stream(stream::try_unfold(self, move |mut blob| {
            let fault = fault.clone();
            async move {
                match blob.chunk().await {
                    Ok(bytes) => Ok(bytes.map(|bytes| (bytes, blob))),
                    Err(error) => {
                        let message = error.to_string();
                        *fault.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        Err(std::io::Error::other(message))
                    }
                }
            }
        }))
    }
}

/// SHA-256 of bytes that come one after the other.
pub(super) struct Hash(aws_lc_rs::digest::Context);

impl Hash {
    pub(super) fn new() -> Self {
        Self(aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256))
    }

    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of what there was so far.
    pub(super) fn hex(&self) -> String {
        self.0.clone().finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::io::Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Where a body says what went wrong in it.
#[derive(Clone, Default)]
pub(super) struct Fault(Arc<Mutex<Option<CopyError>>>);

impl Fault {
    /// What went wrong in the body, else what the request came to.
    pub(super) fn or<T>(&self, result: Result<T, RegistryError>) -> Result<T, CopyError> {
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (result, own) {
            (Ok(done), _) => Ok(done),
            (Err(_), Some(own)) => Err(own),
            (Err(fault), None) => Err(fault.into()),
        }
    }
}

/// Counts the bytes of one attempt at one blob.
#[derive(Clone)]
pub(super) struct Counter {
    counted: Arc<AtomicU64>,
    progress: Arc<Progress>,
}

impl Counter {
    pub(super) fn new(progress: Arc<Progress>) -> Self {
        Self { counted: Arc::default(), progress }
    }

    fn add(&self, bytes: u64) {
        self.counted.fetch_add(bytes, Ordering::Relaxed);
        self.progress.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The attempt came to nothing.
    pub(super) fn undo(&self) {
        let counted = self.counted.swap(0, Ordering::Relaxed);
        self.progress.done.fetch_sub(counted, Ordering::Relaxed);
    }

    /// The blob is there, however it came.
    pub(super) fn complete(&self, size: u64) {
        self.add(size.saturating_sub(self.counted.load(Ordering::Relaxed)));
    }

    /// Give something up that stands still for as long as `patience`.
    pub(super) async fn watch<T>(
        &self,
        host: &str,
        patience: Duration,
        operation: impl Future<Output = Result<T, RegistryError>>,
    ) -> Result<T, RegistryError> {
        let mut operation = pin!(operation);
        loop {
            let before = self.counted.load(Ordering::Relaxed);
            if let Ok(result) = tokio::time::timeout(patience, operation.as_mut()).await {
                return result;
            }
            if before == self.counted.load(Ordering::Relaxed) {
                return Err(RegistryError::Deadline { host: host.to_owned(), after: patience });
            }
        }
    }
}

/// How much of a file is read at once: what a pipe holds, and few enough calls.
const FILE_CHUNK: usize = 256 * 1024;
