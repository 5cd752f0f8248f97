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

/// An interface that is made, named, given its address and brought up changes several times at
/// once: that is one change here.
const PAUSE: Duration = Duration::from_millis(50);

/// What netlink tells of the interfaces of this network namespace.
pub struct Changes {
    /// The number of the interface that is deleted, if that is the message.
    messages: BoxStream<'static, Option<u32>>,
    deleted: Vec<u32>,
    connection: JoinHandle<()>,
}

impl Changes {
    /// Changes from now on.
    ///
    /// # Errors
    ///
    /// There is no netlink socket to be had.
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

    /// Waits for the next change. Nothing is lost if this is given up.
    ///
    /// # Errors
    ///
    /// The netlink socket was lost, and there is no other to be had.
    pub async fn next(&mut self) -> Result<()> {
        match self.messages.next().await {
            Some(deleted) => self.deleted.extend(deleted),
            // What was told meanwhile is lost: let it count as a change.
            None => *self = Self::new()?,
        }
        sleep(PAUSE).await;
        while let Some(Some(deleted)) = self.messages.next().now_or_never() {
            self.deleted.extend(deleted);
        }
        Ok(())
    }

    /// The numbers of the interfaces that were deleted since this was last asked. The kernel may
    /// have given them to others meanwhile.
    pub fn take_deleted(&mut self) -> Vec<u32> {
        mem::take(&mut self.deleted)
    }
}

fn deleted(message: &NetlinkMessage<RouteNetlinkMessage>) -> Option<u32> {
    match &message.payload {
        // One that leaves a bridge is told of in the bridges' family.
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
