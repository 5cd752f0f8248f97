//! Counts the frames that an interface has received, from the kernel's list of interfaces.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};
use proxydhcp_lab::Namespace;

/// The list of one namespace.
pub(crate) struct Interfaces(File);

/// The numbers of frames since the interface was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Frames received.
    pub(crate) frames: u64,
    /// Frames dropped for lack of room.
    pub(crate) dropped: u64,
}

impl Interfaces {
    pub(crate) fn of(namespace: &Namespace) -> Result<Self> {
        // The file remains that of the namespace in which it was opened.
        let list = namespace.run(|| Ok(File::open("/proc/thread-self/net/dev")?));
        list.map(Self)
    }

    pub(crate) fn received(&self, interface: &str) -> Result<Received> {
        let mut buffer = [0; 4096];
        let length = self.0.read_at(&mut buffer, 0)?;
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
        find(&text, interface).context("the kernel does not report the received frames")
    }
}

fn find(text: &str, interface: &str) -> Option<Received> {
    let counts = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
    let mut counts = counts.split_whitespace().map(str::parse);
    // The columns are bytes, packets, errors, drops.
    Some(Received {
        frames: counts.nth(1)?.ok()?,
        dropped: counts.nth(1)?.ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_those_of_the_interface() {
        let text = "Inter-|   Receive\n face |bytes packets errs drop fifo\n\
                    px01: 1 2 3 9 5\n   px0: 10 20 3 4 5\n";
        let received = Received {
            frames: 20,
            dropped: 4,
        };
        assert_eq!(find(text, "px0"), Some(received));
        assert_eq!(find(text, "px"), None);
    }
}
