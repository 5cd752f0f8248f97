//! The absence of a reply, which a test knows from the replies to later requests, not from the
//! clock.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use proxydhcp_lab::RequestFrame;
use proxydhcp_lab::architecture::{BIOS, UEFI_X64};
use proxydhcp_lab::site::{NODE_B, NODE_DEFAULT, Site};
use serde_json::Value;

use crate::exchange::{PATIENCE, counts};

/// A site that is sent frames it must not answer.
pub(crate) struct Silence {
    pub(crate) site: Site,
    /// Two nodes that do get answers.
    nodes: [Ipv4Addr; 2],
    /// No two of their requests have the same number.
    marks: u32,
}

impl Silence {
    /// Of the usual site, where only [`NODE_A`](proxydhcp_lab::site::NODE_A) is left to a test.
    pub(crate) fn new(site: Site) -> Self {
        Self::with(site, [NODE_B, NODE_DEFAULT])
    }

    /// Of a site that serves these two nodes.
    pub(crate) fn with(site: Site, nodes: [Ipv4Addr; 2]) -> Self {
        Self {
            site,
            nodes,
            marks: 0,
        }
    }

    /// Sends `frame`, and behind it two requests of other nodes, one for each way that requests
    /// go: a plain one and one that the fast path leaves to the slow one. The replies to these two
    /// must be all that comes.
    pub(crate) fn keeps(&mut self, frame: &[u8]) -> Result<()> {
        let mut plain = RequestFrame::legacy(self.nodes[0], BIOS);
        let mut unusual = RequestFrame::edk2_discovery(self.nodes[1], UEFI_X64, 0, 0);
        plain.xid = 0x1111_0000 + self.marks;
        unusual.xid = 0x2222_0000 + self.marks;
        self.marks += 1;
        self.site.tap.send(frame)?;
        self.site.tap.send(&plain.bytes())?;
        self.site.tap.send(&unusual.bytes())?;

        let mut wanted = vec![plain.xid, unusual.xid];
        while !wanted.is_empty() {
            let reply = self.site.tap.reply(PATIENCE)?;
            let reply = reply
                .with_context(|| format!("the requests behind it go unanswered: {wanted:x?}"))?;
            let Some(place) = wanted.iter().position(|xid| has_xid(&reply, *xid)) else {
                bail!("answered by {reply:02x?}");
            };
            wanted.remove(place);
        }
        // A second answer to it, should there be one, fails the next call, or this one.
        let late = self.site.tap.reply(Duration::ZERO)?;
        ensure!(late.is_none(), "answered late by {late:02x?}");
        Ok(())
    }

    /// Checks that a frame is not answered, and is counted once, as refused for `reason`.
    pub(crate) fn refuses(&mut self, frame: &[u8], reason: &str) -> Result<()> {
        let mut refused = self.site.counters()?["refused"].clone();
        self.keeps(frame)?;
        let before = refused[reason].as_u64().unwrap_or(0);
        refused[reason] = Value::from(before + 1);
        counts(&self.site, "/refused", &refused)
            .with_context(|| format!("not refused for {reason}"))
    }
}

/// Whether an untagged frame carries a BOOTP message with this transaction number.
fn has_xid(frame: &[u8], xid: u32) -> bool {
    frame.get(14 + 20 + 8 + 4..).and_then(<[u8]>::first_chunk) == Some(&xid.to_be_bytes())
}
