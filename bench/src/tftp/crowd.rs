//! The crowds that download.

/// The embedded server's name.
pub(super) const OURS: &str = "proxydhcp";

/// A crowd of clients, and what each of them wants.
#[derive(Clone, Copy)]
pub(super) struct Crowd {
    pub(super) clients: u32,
    /// In bytes.
    pub(super) size: u64,
    pub(super) window: u16,
    /// The share of packets that get lost on purpose.
    pub(super) loss: f64,
}

impl Crowd {
    /// Those that each server meets: an embedded server with a window and without one, and others, which
    /// ignore the window.
    pub(super) fn all(server: &str, is_quick: bool) -> Vec<Self> {
        let sizes = if is_quick {
            [(100, 1 << 20), (1000, 1 << 17)]
        } else {
            [(100, 4 << 20), (1000, 1 << 20)]
        };
        let crowd = |(clients, size), window, loss| Self {
            clients,
            size,
            window,
            loss,
        };
        let mut crowds = Vec::new();
        for size in sizes {
            crowds.push(crowd(size, 16, 0.0));
            if server == OURS {
                crowds.push(crowd(size, 1, 0.0));
                crowds.push(crowd(size, 16, 0.001));
            }
        }
        crowds
    }

    pub(super) fn file(self) -> String {
        format!("{}.bin", self.size)
    }

    pub(super) fn describe(self) -> String {
        let Self {
            clients,
            size,
            window,
            loss,
        } = self;
        let loss = if loss > 0.0 {
            ", some packets lost"
        } else {
            ""
        };
        format!(
            "{clients} clients of {} KiB, window {window}{loss}",
            size >> 10
        )
    }
}

/// The number of crowds that all servers meet: ours and dnsmasq on two wires each.
pub(crate) fn count(is_quick: bool) -> usize {
    let all = [OURS, OURS, "dnsmasq", "dnsmasq", "tftpd-hpa"]
        .map(|server| Crowd::all(server, is_quick).len());
    all.iter().sum()
}
