//! The thread that advances the engine's epoch, so that a call past its deadline traps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// Ticks every [`TICK`] while calls are running and a little longer, sleeps otherwise, and ends with the engine.
#[derive(Debug)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let engine = engine.weak();
        let thread = thread::Builder::new().name("engine-ticker".into()).spawn({
            let shared = shared.clone();
            move || {
                let mut idle_ticks = 0;
                while !shared.stopped.load(Ordering::Acquire) {
                    if shared.running.load(Ordering::SeqCst) > 0 {
                        idle_ticks = 0;
                    } else if idle_ticks < LINGER_TICKS {
                        idle_ticks += 1;
                    } else {
                        shared.parked.store(true, Ordering::SeqCst);
                        // A call that began before it could see that is seen here, or has seen it; an `unpark`
                        // between the look and this makes `park` return at once.
                        if shared.running.load(Ordering::SeqCst) == 0
                            && !shared.stopped.load(Ordering::SeqCst)
                        {
                            thread::park();
                        }
                        shared.parked.store(false, Ordering::SeqCst);
                        idle_ticks = 0;
                        continue;
                    }
                    thread::sleep(TICK);
                    match engine.upgrade() {
                        Some(engine) => engine.increment_epoch(),
                        None => return,
                    }
                }
            }
        })?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    /// Tick for as long as the answer lives.
    pub(super) fn watch(&self) -> Watched<'_> {
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Watched(&self.shared)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// A call that is running.
#[derive(Debug)]
pub(super) struct Watched<'a>(&'a Shared);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    /// Whether the thread sleeps, or is about to, until it is woken.
    parked: AtomicBool,
    stopped: AtomicBool,
}

/// The number of ticks after which `duration` has certainly passed: the first tick may come at once.
pub(super) fn ticks(duration: Duration) -> u64 {
    let ticks = duration.as_nanos().div_ceil(TICK.as_nanos());
    u64::try_from(ticks).unwrap_or(u64::MAX - 1).saturating_add(1)
}

/// Fine enough for deadlines of tens of milliseconds, and coarse enough to cost nothing: a tick is one
/// atomic addition in a thread of its own.
pub(super) const TICK: Duration = Duration::from_millis(2);

/// How long to go on after the last call, a tenth of a second: waking the thread costs a call a system call and
/// the processor's attention, which a server that is asked all the time should not pay each time.
const LINGER_TICKS: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadline_is_never_cut_short() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::from_millis(1)), 2);
        assert_eq!(ticks(Duration::from_millis(10)), 6);
        assert_eq!(ticks(Duration::MAX), u64::MAX);
    }
}
