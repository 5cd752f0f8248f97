//! Notices when interfaces or addresses of this host change.

use std::mem;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// An interface that is created, renamed, given an address and brought up changes several times
/// within this time, which counts as one change.
const PAUSE: Duration = Duration::from_millis(50);

/// Netlink's messages about the interfaces of this network namespace.
pub struct Changes {
    /// Each message as the number of the interface that was deleted, or `None` for other changes.
    messages: BoxStream<'static, Option<u32>>,
    deleted: Vec<u32>,
    connection: JoinHandle<()>,
}

impl Changes {
    /// Subscribes to changes from now on.
    ///
    /// # Errors
    ///
    /// If a netlink socket cannot be opened.
    pub fn new() -> Result<Self> {
        const GROUPS: [MulticastGroup; 2] = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr];
        let (connection, _, messages) =
            new_multicast_connection(&GROUPS).context("cannot open a netlink socket")?;
        Ok(Self {
            messages: messages.map(|(message, _)| deleted(&message)).boxed(),
            deleted: Vec::new(),
            connection: tokio::spawn(connection),
        })
    }

    /// Waits for the next change. Cancelling the wait loses nothing.
    ///
    /// # Errors
    ///
    /// If a netlink socket must be opened anew, and cannot be.
    pub async fn next(&mut self) -> Result<()> {
        match self.messages.next().await {
            Some(deleted) => self.deleted.extend(deleted),
            // Messages from in between are lost, so this counts as a change.
            None => *self = Self::new()?,
        }
        sleep(PAUSE).await;
        while let Some(Some(deleted)) = self.messages.next().now_or_never() {
            self.deleted.extend(deleted);
        }
        Ok(())
    }

    /// The numbers of the interfaces that were deleted since the last call. The kernel may have
    /// given them to other interfaces meanwhile.
    pub fn take_deleted(&mut self) -> Vec<u32> {
        mem::take(&mut self.deleted)
    }
}

fn deleted(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<u32> {
    match &message.payload {
        // An interface that leaves a bridge is reported in the bridges' family.
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
            if link.header.interface_family == AddressFamily::Unspec =>
        {
            Some(link.header.index)
        }
        _ => None,
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
