//! Makes a driver refuse native XDP: the daemon must say why it serves in generic mode, and name
//! the remedy.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::card::{CARD, RIGID};
use super::guest::Guest;
use super::served::{PATIENCE, Service};

struct Refusal {
    /// The command that makes the driver refuse, and the one that undoes it.
    provoke: String,
    undo: String,
    card: &'static str,
    why: &'static str,
    remedy: Option<String>,
}

/// Provokes each refusal, and checks what the daemon says about it.
///
/// # Errors
/// If the daemon says something else; the error shows what is missing.
pub(crate) fn check(guest: &mut Guest, service: &Service) -> Result<()> {
    let refusals = [
        Refusal {
            provoke: format!("ip link set {RIGID} up"),
            undo: format!("ip link set {RIGID} down"),
            card: RIGID,
            // Linux says this about LRO until 5.13, and about GRO_HW since.
            why: "Can't set XDP while host is implementing",
            remedy: None,
        },
        Refusal {
            provoke: format!("ip link set {CARD} mtu 9000"),
            undo: format!("ip link set {CARD} mtu 1500"),
            card: CARD,
            why: "MTU too large",
            remedy: Some(format!("ip link set dev {CARD} mtu 1500")),
        },
    ];
    for refusal in refusals {
        guest.must(&refusal.provoke, PATIENCE)?;
        service.start(guest, refusal.card, "--path kernel")?;
        let status = service.status(guest)?;
        Service::stop(guest)?;
        guest.must(&refusal.undo, PATIENCE)?;
        refusal
            .is_told(&status)
            .with_context(|| format!("{}: {status}", refusal.provoke))?;
    }
    Ok(())
}

impl Refusal {
    fn is_told(&self, status: &Value) -> Result<()> {
        let text = |path: &str| status.pointer(path).and_then(Value::as_str);
        ensure!(text("/mode") == Some("generic"), "not in generic mode");
        let why = text("/fallback/why").context("no reason")?;
        ensure!(why.contains(self.why), "another reason: {why}");
        let remedy = text("/fallback/remedy");
        let is_right = self.remedy.is_none() || self.remedy.as_deref() == remedy;
        ensure!(is_right, "another remedy: {remedy:?}");
        Ok(())
    }
}
