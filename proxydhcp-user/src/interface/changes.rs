//! Notices when interfaces or addresses of this host change.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// An interface that is made, named, given its address and brought up changes several times at
/// once: that is one change here.
const PAUSE: Duration = Duration::from_millis(50);

/// What netlink tells of the interfaces of this network namespace.
pub struct Changes {
    messages: BoxStream<'static, ()>,
    connection: JoinHandle<()>,
}

impl Changes {
    /// Changes from now on.
    ///
    /// # Errors
    ///
    /// Netlink's.
    pub fn new() -> Result<Self> {
        const GROUPS: [MulticastGroup; 2] = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr];
        let (connection, _, messages) =
            new_multicast_connection(&GROUPS).context("cannot open a netlink socket")?;
        Ok(Self {
            messages: messages.map(drop).boxed(),
            connection: tokio::spawn(connection),
        })
    }

    /// Waits for the next change.
    ///
    /// # Errors
    ///
    /// Netlink's.
    pub async fn next(&mut self) -> Result<()> {
        if self.messages.next().await.is_none() {
            // What was told meanwhile is lost: let it count as a change.
            *self = Self::new()?;
        }
        sleep(PAUSE).await;
        while let Some(Some(())) = self.messages.next().now_or_never() {}
        Ok(())
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.connection.abort();
    }
}
