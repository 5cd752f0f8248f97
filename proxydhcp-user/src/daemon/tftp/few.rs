//! Warnings that anybody on the network can provoke, a few of them each time.

use std::fmt::Arguments;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// Lets a few warnings through each period, and counts the others.
#[derive(Debug)]
pub(super) struct Few {
    most: u32,
    each: Duration,
    current: Mutex<Option<Period>>,
}

#[derive(Debug)]
struct Period {
    began: Instant,
    written: u32,
    left_out: u64,
}

impl Few {
    /// Lets `most` of them through each period.
    pub(super) const fn new(most: u32, each: Duration) -> Self {
        Self {
            most,
            each,
            current: Mutex::new(None),
        }
    }

    /// Logs the warning, or counts it.
    pub(super) fn warn(&self, warning: Arguments<'_>) {
        if let Some(left_out) = self.admit(Instant::now()) {
            if left_out > 0 {
                warn!("{left_out} more warnings of TFTP were left out");
            }
            warn!("{warning}");
        }
    }

    /// Whether there is room for one more now; and how many were left out before it.
    fn admit(&self, now: Instant) -> Option<u64> {
        let mut period = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let current = period
            .as_mut()
            .filter(|it| now.duration_since(it.began) < self.each);
        if let Some(current) = current {
            if current.written < self.most {
                current.written += 1;
                return Some(0);
            }
            current.left_out += 1;
            return None;
        }
        let before = period.replace(Period {
            began: now,
            written: 1,
            left_out: 0,
        });
        Some(before.map_or(0, |before| before.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_a_second_are_let_through() {
        const A_SECOND: Duration = Duration::from_secs(1);
        let (few, now) = (Few::new(10, A_SECOND), Instant::now());
        let let_through = (0..1000).filter(|_| few.admit(now).is_some()).count();
        assert_eq!(let_through, 10);
        assert_eq!(few.admit(now + A_SECOND), Some(990));
        assert_eq!(few.admit(now + A_SECOND), Some(0));
    }
}
