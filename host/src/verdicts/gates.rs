//! How much is fetched from one registry at the same time.
//!
//! A registry that hangs holds on to whoever asks it. If there were one number for all registries, the images
//! of one that hangs would soon have taken it up, and those of all others would wait behind them (Kubewarden:
//! 9.6 s for a cached image while another registry hung). So each registry has a number of its own, and nothing
//! that is shared is held while it is asked. What bounds the whole is the number of questions under way.
//!
//! The documents that rules want are fetched for one question after another, since the next one finds what the one
//! before it has fetched: each image has a gate for one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Gates, by what is behind them.
#[derive(Clone, Debug)]
pub(super) struct Gates {
    gates: Arc<Mutex<HashMap<String, Gate>>>,
    /// How many may be inside a gate.
    inside: usize,
    /// How many may wait at one.
    waiting: usize,
}

#[derive(Debug)]
struct Gate {
    permits: Arc<Semaphore>,
    /// Who is inside or waits.
    present: usize,
}

impl Gates {
    /// Of registries.
    pub(super) fn of_hosts() -> Self {
        Self { gates: Arc::default(), inside: MAX_FETCHES_OF_HOST, waiting: MAX_WAITING_FOR_HOST }
    }

    /// For one after another; whoever waits is counted elsewhere.
    pub(super) fn for_one() -> Self {
        Self { gates: Arc::default(), inside: 1, waiting: usize::MAX }
    }

    /// Wait until one more may go to `what`. If more wait than is of use, that number.
    pub(super) async fn enter(&self, what: &str) -> Result<Pass, usize> {
        let (permits, visit) = {
            let mut gates = self.lock();
            let gate = gates.entry(what.to_owned()).or_insert_with(|| Gate {
                permits: Arc::new(Semaphore::new(self.inside)),
                present: 0,
            });
            if gate.present >= self.inside.saturating_add(self.waiting) {
                return Err(self.waiting);
            }
            gate.present += 1;
            (Arc::clone(&gate.permits), Visit { gates: self.clone(), what: what.to_owned() })
        };
        // Nobody closes it.
        let permit = permits.acquire_owned().await.map_err(|_| 0_usize)?;
        Ok(Pass { _permit: permit, _visit: visit })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Gate>> {
        // Whole after every statement.
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever has it may ask.
#[derive(Debug)]
pub(super) struct Pass {
    _permit: OwnedSemaphorePermit,
    _visit: Visit,
}

/// Counts somebody at a gate, even if he goes away while he waits. A gate where nobody is is taken down.
#[derive(Debug)]
struct Visit {
    gates: Gates,
    what: String,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut gates = self.gates.lock();
        if let Some(gate) = gates.get_mut(&self.what) {
            gate.present -= 1;
            if gate.present == 0 {
                gates.remove(&self.what);
            }
        }
    }
}

/// Images of one registry that are fetched at the same time: 400 a second from one that answers in 40 ms, and
/// no more connections than a browser's tabs.
const MAX_FETCHES_OF_HOST: usize = 16;

/// Fetches that wait for one registry. If it takes a second for each, the last one waits for 16 s, longer than
/// any webhook.
const MAX_WAITING_FOR_HOST: usize = 256;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_host_does_not_take_the_places_of_another() {
        let gates = Gates::of_hosts();
        let mut inside = Vec::new();
        for _ in 0..MAX_FETCHES_OF_HOST {
            inside.push(gates.enter("slow").now_or_never().expect("a place").expect("a place"));
        }
        let mut waiting: Vec<_> =
            (0..MAX_WAITING_FOR_HOST).map(|_| Box::pin(gates.enter("slow"))).collect();
        for visitor in &mut waiting {
            assert!(visitor.now_or_never().is_none(), "the places are taken");
        }
        let refused = gates.enter("slow").now_or_never().expect("an answer at once");
        assert_eq!(refused.err(), Some(MAX_WAITING_FOR_HOST));
        assert!(gates.enter("quick").now_or_never().expect("a place").is_ok());
        inside.clear();
        drop(waiting);
        assert!(gates.lock().is_empty(), "gates where nobody is are taken down");
    }

    #[tokio::test]
    async fn gate_for_one_lets_one_after_another_in() {
        let gates = Gates::for_one();
        let inside = gates.enter("image").now_or_never().expect("a place").expect("a place");
        let mut next = Box::pin(gates.enter("image"));
        assert!((&mut next).now_or_never().is_none(), "the place is taken");
        drop(inside);
        assert!(next.now_or_never().expect("a place").is_ok());
    }
}
