//! How many evaluations may run at the same time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A counting semaphore: the pool of instances has as many places, and instantiating beyond them
/// would be an error instead of a wait.
#[derive(Debug)]
pub(super) struct Slots {
    count: usize,
    places: Mutex<Places>,
    released: Condvar,
}

#[derive(Debug)]
struct Places {
    free: usize,
    /// How many callers wait for one, so that nobody is woken by a system call where nobody waits.
    wanted: usize,
}

impl Slots {
    pub(super) fn new(count: usize) -> Self {
        let places = Mutex::new(Places { free: count, wanted: 0 });
        Self { count, places, released: Condvar::new() }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Wait for a place; `None` if there was none within `patience`.
    pub(super) fn take(&self, patience: Duration) -> Option<Slot<'_>> {
        let mut places = self.lock();
        if places.free == 0 {
            places.wanted += 1;
            (places, _) = self
                .released
                .wait_timeout_while(places, patience, |places| places.free == 0)
                .unwrap_or_else(PoisonError::into_inner);
            places.wanted -= 1;
            if places.free == 0 {
                return None;
            }
        }
        places.free -= 1;
        Some(Slot(self))
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place, free again when dropped.
#[derive(Debug)]
pub(super) struct Slot<'a>(&'a Slots);

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut places = self.0.lock();
        places.free += 1;
        if places.wanted > 0 {
            self.0.released.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_no_more_than_there_are() {
        let slots = Slots::new(2);
        let first = slots.take(Duration::ZERO);
        let second = slots.take(Duration::ZERO);
        assert!(first.is_some() && second.is_some());
        assert!(slots.take(Duration::ZERO).is_none());
        drop(first);
        assert!(slots.take(Duration::ZERO).is_some());
    }
}
