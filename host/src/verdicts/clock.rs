//! What time it is, and until when something may be served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// A clock. Servers have the system's; tests have one that they set.
#[derive(Clone, Debug)]
pub struct Clock {
    face: Face,
}

#[derive(Clone, Debug)]
enum Face {
    System { start: Instant },
    Stopped { start: u64, passed: Arc<AtomicU64> },
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { face: Face::System { start: Instant::now() } }
    }

    /// A clock that shows `start`, in seconds since 1970-01-01 UTC, until it is moved on. Its clones show
    /// the same time.
    pub fn stopped_at(start: u64) -> Self {
        Self { face: Face::Stopped { start, passed: Arc::default() } }
    }

    /// Move a stopped clock on; the system's cannot be moved. Rounded down to milliseconds.
    pub fn advance(&self, time: Duration) {
        if let Face::Stopped { passed, .. } = &self.face {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            passed.fetch_add(millis, Ordering::SeqCst);
        }
    }

    pub(super) fn now(&self) -> Now {
        match &self.face {
            Face::System { start } => Now {
                passed: start.elapsed(),
                // Before 1970 nothing was signed: what has an end is not served.
                unix: SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .map_or(u64::MAX, |time| time.as_secs()),
            },
            Face::Stopped { start, passed } => {
                let passed = Duration::from_millis(passed.load(Ordering::SeqCst));
                Now { passed, unix: start.saturating_add(passed.as_secs()) }
            }
        }
    }
}

/// One moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Since the clock was started. Whoever sets the system's time does not change it.
    passed: Duration,
    /// Seconds since 1970-01-01 UTC.
    pub(super) unix: u64,
}

/// Until when something may be served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    /// In the time that has passed; not included.
    end: Duration,
    /// In seconds since 1970-01-01 UTC; included.
    valid_until: Option<u64>,
}

impl Lifetime {
    /// Of what may not be served again.
    pub(super) const OVER: Self = Self { end: Duration::ZERO, valid_until: None };

    /// From now on for so long, and no longer than `valid_until`.
    pub(super) fn new(now: Now, time: Duration, valid_until: Option<u64>) -> Self {
        Self { end: now.passed.saturating_add(time), valid_until }
    }

    pub(super) fn covers(self, now: Now) -> bool {
        now.passed < self.end && self.valid_until.is_none_or(|end| now.unix <= end)
    }

    /// Whether it may not be served again, whatever the time is.
    pub(super) fn is_over(self) -> bool {
        self.end.is_zero()
    }

    /// Until the first of both ends.
    pub(super) fn and(self, other: Self) -> Self {
        let valid_until = match (self.valid_until, other.valid_until) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        Self { end: self.end.min(other.end), valid_until }
    }

    /// At most so long from now on, if nobody sets the clock.
    pub(super) fn rest(self, now: Now) -> Duration {
        let rest = self.end.saturating_sub(now.passed);
        let valid = |end: u64| Duration::from_secs(end.saturating_sub(now.unix).saturating_add(1));
        self.valid_until.map_or(rest, |end| rest.min(valid(end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_until_its_time_is_over_or_its_validity_ends() {
        let clock = Clock::stopped_at(1000);
        let short = Lifetime::new(clock.now(), Duration::from_secs(10), None);
        let valid = Lifetime::new(clock.now(), Duration::from_secs(100), Some(1005));
        assert_eq!(valid.rest(clock.now()), Duration::from_secs(6));
        for (advance, short_lives, valid_lives) in [
            (0, true, true),
            (5, true, true),
            (1, true, false),
            (3, true, false),
            (1, false, false),
        ] {
            clock.advance(Duration::from_secs(advance));
            assert_eq!(short.covers(clock.now()), short_lives);
            assert_eq!(valid.covers(clock.now()), valid_lives);
            assert_eq!(short.and(valid).covers(clock.now()), short_lives && valid_lives);
        }
    }

    #[test]
    fn what_lives_for_no_time_is_never_served() {
        let now = Clock::system().now();
        assert!(!Lifetime::new(now, Duration::ZERO, None).covers(now));
        let long = Lifetime::new(now, Duration::from_secs(60), None);
        assert!(long.and(Lifetime::OVER).is_over() && !long.is_over());
        assert!(!Lifetime::OVER.covers(Clock::stopped_at(0).now()));
    }
}
