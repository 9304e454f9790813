//! The same work once at a time, whoever wants it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};

/// Work under way, by what it is about.
#[derive(Debug)]
pub(super) struct Flights<K, V> {
    under_way: Arc<UnderWay<K, V>>,
}

type UnderWay<K, V> = Mutex<HashMap<K, Flight<V>>>;

/// A result to come; `None` if the work broke down. Dropping it does not stop the work: others may wait for
/// it, and who asks again finds what it left behind.
pub(super) type Flight<V> = Shared<BoxFuture<'static, Option<V>>>;

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Join the work under way about `key`, or begin it. `None` if it would be one more than `most`.
    pub(super) fn join<F>(&self, key: K, most: usize, work: impl FnOnce() -> F) -> Option<Flight<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut under_way = lock(&self.under_way);
        if let Some(flight) = under_way.get(&key) {
            return Some(flight.clone());
        }
        if under_way.len() >= most {
            return None;
        }
        let work = work();
        let landing = Landing { key: key.clone(), under_way: Arc::clone(&self.under_way) };
        let task = tokio::spawn(async move {
            let result = work.await;
            drop(landing);
            result
        });
        let flight = task.map(Result::ok).boxed().shared();
        under_way.insert(key, flight.clone());
        Some(flight)
    }
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self { under_way: Arc::default() }
    }
}

/// Strikes the work off the list when it is done, or breaks down.
struct Landing<K: Eq + Hash, V> {
    key: K,
    under_way: Arc<UnderWay<K, V>>,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        lock(&self.under_way).remove(&self.key);
    }
}

fn lock<K, V>(under_way: &UnderWay<K, V>) -> std::sync::MutexGuard<'_, HashMap<K, Flight<V>>> {
    // Whole after every statement.
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn those_who_want_the_same_wait_for_one() {
        let flights = Flights::default();
        let begun = Arc::new(AtomicUsize::new(0));
        let (open, gate) = oneshot::channel::<()>();
        let gate = gate.shared();
        let join = |key: u8| {
            let (begun, gate) = (Arc::clone(&begun), gate.clone());
            flights.join(key, 2, move || async move {
                begun.fetch_add(1, Ordering::SeqCst);
                let _ = gate.await;
                key
            })
        };
        let waiting: Vec<_> = (0..100).map(|_| join(1).expect("room")).collect();
        let another = join(2).expect("room");
        assert!(join(3).is_none(), "there is no room for a third");
        // The first goes away; the work goes on.
        let mut waiting = waiting.into_iter();
        drop(waiting.next());
        let _ = open.send(());
        for flight in waiting {
            assert_eq!(flight.await, Some(1));
        }
        assert_eq!(another.await, Some(2));
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        assert!(lock(&flights.under_way).is_empty());
    }

    #[tokio::test]
    async fn work_that_breaks_down_is_none_and_may_be_begun_again() {
        let flights: Flights<u8, u8> = Flights::default();
        let broken = flights.join(1, 1, || async { std::hint::black_box(None::<u8>).expect("") });
        assert_eq!(broken.expect("room").await, None);
        let whole = flights.join(1, 1, || async { 7 });
        assert_eq!(whole.expect("room").await, Some(7));
    }
}
