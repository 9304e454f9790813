//! How often a registry may be asked.
//!
//! One host has one budget, whoever asks: `requests_per_second` on average, `burst` at once. A host that
//! answers 429, or 503 with `Retry-After`, is left alone for as long as it says; who asks meanwhile waits, or
//! is told at once if that would take too long (Kyverno #6123, #7224: nobody obeyed, and the registry's limit
//! was never given time to recover).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{self, HeaderMap};
use tokio::time::Instant;

use super::limits::MAX_HOSTS;
use super::{RegistryError, Settings};

/// The budgets of all hosts.
#[derive(Debug)]
pub(super) struct Throttle {
    /// Between two requests to a host, on average.
    interval: Duration,
    /// By how much a host may be ahead of the average.
    ahead: Duration,
    /// The time at which each host would be asked next if all were asked evenly. A host whose time is past
    /// has its whole budget.
    hosts: Mutex<HashMap<String, Instant>>,
}

impl Throttle {
    /// `None` if the settings ask for none.
    pub(super) fn new(settings: &Settings) -> Option<Self> {
        let rate = settings.requests_per_second?.max(1);
        let interval = Duration::from_secs(1) / rate;
        let ahead = interval * settings.burst.saturating_sub(1);
        Some(Self { interval, ahead, hosts: Mutex::default() })
    }

    /// Wait until `host` may be asked.
    ///
    /// # Errors
    ///
    /// That would take longer than `patience`.
    pub(super) async fn turn(&self, host: &str, patience: Duration) -> Result<(), RegistryError> {
        let now = Instant::now();
        match self.reserve(host, now, patience) {
            Ok(at) => {
                if at > now {
                    tokio::time::sleep_until(at).await;
                }
                Ok(())
            }
            Err(after) => Err(RegistryError::Throttled { host: host.to_owned(), after }),
        }
    }

    /// Leave `host` alone for this long, within reason: for how long is the answer.
    pub(super) fn pause(&self, host: &str, wait: Duration) -> Duration {
        let wait = wait.min(MAX_PAUSE);
        self.pause_from(host, Instant::now(), wait);
        wait
    }

    /// When `host` may be asked; or how long that takes, if it is more than `patience`.
    fn reserve(&self, host: &str, now: Instant, patience: Duration) -> Result<Instant, Duration> {
        let mut hosts = self.lock();
        let even = hosts.get(host).copied().unwrap_or(now).max(now);
        let wait = even.duration_since(now).saturating_sub(self.ahead);
        if wait > patience {
            return Err(wait);
        }
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(host) {
            hosts.retain(|_, even| *even > now);
        }
        hosts.insert(host.to_owned(), even + self.interval);
        Ok(now + wait)
    }

    fn pause_from(&self, host: &str, now: Instant, wait: Duration) {
        // What was saved up does not count after a pause: the host has just said that it is too much.
        let even = now + wait + self.ahead;
        let mut hosts = self.lock();
        let known = hosts.entry(host.to_owned()).or_insert(even);
        *known = even.max(*known);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        // Whole after every statement.
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a `Retry-After` header asks for (RFC 9110, section 10.2.3): seconds, or a date, which is compared
/// with the server's own clock if it tells it.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|date| date.timestamp());
    let until = date(text)?;
    let server = headers.get(header::DATE).and_then(|value| date(value.to_str().ok()?.trim()));
    let now = server.unwrap_or_else(jiff::Timestamp::now);
    // A date that is past asks for nothing.
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

/// Longest time for which a host is left alone. Registries that count by the hour name longer times; to ask
/// every five minutes costs them nothing, and a wrong value does not stop a cluster for a day.
const MAX_PAUSE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(rate: u32, burst: u32) -> Throttle {
        let settings = Settings { requests_per_second: Some(rate), burst, ..Settings::isolated() };
        Throttle::new(&settings).expect("a throttle")
    }

    fn waits<const N: usize>(throttle: &Throttle, host: &str, now: Instant) -> [u128; N] {
        std::array::from_fn(|_| {
            let at = throttle.reserve(host, now, Duration::MAX).expect("any wait will do");
            at.duration_since(now).as_millis()
        })
    }

    #[test]
    fn a_burst_passes_at_once_and_the_rest_evenly() {
        let throttle = throttle(10, 3);
        let now = Instant::now();
        assert_eq!(waits(&throttle, "a", now), [0, 0, 0, 100, 200]);
        assert_eq!(waits(&throttle, "b", now), [0], "another host has its own budget");
        let later = now + Duration::from_millis(400);
        assert_eq!(waits(&throttle, "a", later), [0, 0, 100], "time gives it back");
        let much_later = now + Duration::from_secs(60);
        assert_eq!(waits(&throttle, "a", much_later), [0, 0, 0, 100], "and no more than a burst");
    }

    #[test]
    fn who_cannot_wait_is_told_and_takes_nothing() {
        let throttle = throttle(1, 1);
        let now = Instant::now();
        assert_eq!(waits(&throttle, "a", now), [0]);
        for _ in 0..3 {
            let refused = throttle.reserve("a", now, Duration::from_millis(500));
            assert_eq!(refused, Err(Duration::from_secs(1)));
        }
        assert_eq!(waits(&throttle, "a", now), [1000]);
    }

    #[test]
    fn a_pause_is_kept_and_not_followed_by_a_burst() {
        let throttle = throttle(10, 5);
        let now = Instant::now();
        throttle.pause_from("a", now, Duration::from_secs(2));
        assert_eq!(waits(&throttle, "a", now), [2000, 2100]);
        throttle.pause_from("a", now, Duration::from_secs(1));
        assert_eq!(waits(&throttle, "a", now), [2200], "a shorter one does not end it");
        assert_eq!(throttle.pause("b", Duration::from_secs(u64::MAX)), MAX_PAUSE);
    }

    #[test]
    fn hosts_with_a_whole_budget_are_forgotten() {
        let throttle = throttle(10, 1);
        let now = Instant::now();
        for number in 0..MAX_HOSTS {
            assert_eq!(waits(&throttle, &number.to_string(), now), [0]);
        }
        assert_eq!(waits(&throttle, "one more", now + Duration::from_secs(1)), [0]);
        assert_eq!(throttle.lock().len(), 1);
    }

    #[test]
    fn reads_both_forms_of_retry_after() {
        let after = |value: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, value.parse().expect("a value"));
            if let Some(date) = date {
                headers.insert(header::DATE, date.parse().expect("a value"));
            }
            retry_after(&headers)
        };
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(after("7", date), Some(Duration::from_secs(7)));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:07 GMT", date), Some(Duration::from_secs(30)));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:07 GMT", date), Some(Duration::ZERO));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:07 GMT", None), Some(Duration::ZERO));
        for nonsense in ["", "soon", "-1", "1.5"] {
            assert_eq!(after(nonsense, date), None, "{nonsense:?}");
        }
    }
}
