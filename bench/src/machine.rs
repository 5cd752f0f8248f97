//! The machine and the time of a benchmark.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The machine, as far as figures depend on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// The processor.
    pub cpu: String,
    /// The number of cores online.
    pub cores: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// Whether it is a virtual machine, according to the processor.
    pub is_virtual: bool,
    /// The load in the minute before the run; more than a few tenths disturb the figures.
    pub load_before: f64,
}

impl Machine {
    /// This machine. Values that it does not reveal are empty.
    pub(crate) fn this() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let value = |key: &str| {
            let line = cpu.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once(':'))
                .map_or("", |(_, value)| value.trim())
        };
        let memory = read("/proc/meminfo");
        let kibibytes: u64 = field(&memory, "MemTotal:").unwrap_or_default();
        let load = read("/proc/loadavg");
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: value("model name").to_owned(),
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            memory: kibibytes * 1024,
            is_virtual: value("flags").split(' ').any(|flag| flag == "hypervisor"),
            load_before: field(&load, "").unwrap_or_default(),
        }
    }
}

/// The first word after `key` in a file of the kernel.
pub(crate) fn field<T: std::str::FromStr>(text: &str, key: &str) -> Option<T> {
    text.lines()
        .find_map(|line| line.strip_prefix(key))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// The current time: UTC, RFC 3339.
pub(crate) fn date() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    rfc3339(since.map_or(0, |since| since.as_secs()))
}

fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March end with the leap day, and all eras of 400 such years are alike.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + next_year;
    format!(
        "{year}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_798_761_599), "2026-12-31T23:59:59Z");
    }

    #[test]
    fn this_machine_tells_what_it_is() {
        let machine = Machine::this();
        assert!(machine.cores > 0 && machine.memory > 0 && !machine.kernel.is_empty());
    }

    #[test]
    fn fields_are_found_by_their_keys() {
        let text = "VmPeak:\t  10 kB\nVmRSS:\t  7 kB\n";
        assert_eq!(field::<u64>(text, "VmRSS:"), Some(7));
        assert_eq!(field::<u64>(text, "VmSwap:"), None);
    }
}
