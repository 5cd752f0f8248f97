//! The TFTP server (RFC 1350): clients read the files below the TFTP root, and nothing else.
//!
//! Each transfer has a task and a socket of its own. All of them run on threads of their own, so that a
//! disk that hangs keeps nothing waiting but transfers.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use proxydhcp_common::activity::TransferState;
use tokio::net::UdpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{interval, sleep};
use tracing::{debug, error};

use crate::api::status::{TftpStatus, TftpTransfer};
use crate::tftp::packet::{AROUND_BLOCK, Agreed, ReadRequest, Refusal, read_request};

mod blocks;
mod few;
mod listings;
mod lookups;
mod outcomes;
mod port;
mod root;
mod sent;
mod transfer;
mod transfers;

pub use port::Port;
pub(crate) use port::others;

use blocks::Blocks;
use lookups::{Lookups, Ticket};
use outcomes::{Counts, Outcomes};
use port::{REQUEST_LEN, Requests, Way};
use root::{Opened, Root};
use transfer::{End, Transfer};
pub(crate) use transfers::Shown;
use transfers::{NoPlace, Place, Taken, Transfers};

/// The threads that send.
const THREADS: usize = 2;
/// The threads that look for files, which may wait for a disk.
const LOOKING: usize = 8;
/// The pause after the port has failed.
const PAUSE: Duration = Duration::from_secs(1);

/// How often it is noted how far the transfers are.
const LOOK: Duration = Duration::from_secs(1);

/// The smallest blocks that the kernel is to cut out of larger datagrams, in bytes. No other packet of
/// a transfer is as long, and would be cut as well.
const SMALLEST_JOINED: u16 = 512;

/// Is told of each transfer of a client's, when it runs and when it has ended: the file, and how far it is.
pub type Notes = dyn Fn(Ipv4Addr, &Arc<str>, TransferState, u64) + Send + Sync;

/// Which interfaces are served: the MTU of the one with this number, if it is.
pub type Mtu = dyn Fn(u32) -> Option<u32> + Send + Sync;

/// The running server. Dropping it ends all transfers.
pub struct Tftp {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    lookups: Lookups,
    mtu: Box<Mtu>,
    transfers: Arc<Transfers>,
    outcomes: Outcomes,
    notes: Box<Notes>,
}

impl Tftp {
    /// Serves the files below `root` on the port.
    ///
    /// # Errors
    ///
    /// If its threads cannot be started.
    pub fn start(port: Port, root: &Path, mtu: Box<Mtu>, notes: Box<Notes>) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .max_blocking_threads(LOOKING)
            .thread_name("tftp")
            .enable_all()
            .build()
            .context("cannot start the TFTP server's threads")?;
        let shared = Arc::new(Shared {
            lookups: Lookups::new(Root::new(root)),
            mtu,
            transfers: Arc::new(Transfers::new()),
            outcomes: Outcomes::new(),
            notes,
        });
        let requests = {
            let _here = runtime.enter();
            port.listen().context("cannot listen for TFTP requests")?
        };
        runtime.spawn(Arc::clone(&shared).take_requests(requests));
        runtime.spawn(Arc::clone(&shared).note_progress());
        Ok(Self {
            shared,
            runtime: Some(runtime),
        })
    }

    /// What it has done, and what it is doing.
    pub fn status(&self) -> TftpStatus {
        let Counts {
            complete,
            declined,
            failed,
            unbegun,
            refused,
            turned_away,
            displaced,
            bytes,
        } = &self.shared.outcomes.counts;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let running = self.shared.transfers.shown();
        let transfers = running.iter().map(|it| TftpTransfer {
            client: it.client,
            file: it.file.to_string(),
            size: it.size,
            bytes: it.progress.bytes(),
            repeated: it.progress.repeated(),
            seconds: it.progress.since().elapsed().as_secs_f64(),
        });
        TftpStatus {
            root: self.shared.lookups.root().to_owned(),
            complete: of(complete),
            declined: of(declined),
            failed: of(failed),
            unbegun: of(unbegun),
            refused: of(refused),
            turned_away: of(turned_away),
            displaced: of(displaced),
            bytes: of(bytes),
            transfers: transfers.collect(),
        }
    }
}

impl Tftp {
    /// The transfers that are running, whose client has answered.
    pub(crate) fn running(&self) -> Vec<Shown> {
        self.shared.transfers.shown()
    }
}

impl Drop for Tftp {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A disk that hangs is not waited for.
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    /// Notes how far the transfers are, so that it is known even if this process is killed.
    async fn note_progress(self: Arc<Self>) {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            for Shown {
                client,
                file,
                progress,
                ..
            } in self.transfers.shown()
            {
                (self.notes)(
                    *client.ip(),
                    &file,
                    TransferState::Running,
                    progress.bytes(),
                );
            }
        }
    }

    async fn take_requests(self: Arc<Self>, requests: Requests) {
        let mut buffer = [0; REQUEST_LEN];
        loop {
            match requests.next(&mut buffer).await {
                Ok(Some((length, way))) => {
                    self.take(buffer.get(..length).unwrap_or_default(), way)
                        .await;
                }
                Ok(None) => {}
                Err(error) => {
                    error!("TFTP requests cannot be received: {error}");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Begins a transfer, if the packet asks for one.
    async fn take(self: &Arc<Self>, packet: &[u8], way: Way) {
        let Some(mtu) = (self.mtu)(way.interface) else {
            debug!(
                "a TFTP request by interface {}, which is not served",
                way.interface
            );
            return;
        };
        match read_request(packet) {
            Ok(request) => self.begin(request, way, mtu).await,
            Err(Some(refusal)) => self.refuse(refusal, way),
            Err(None) => {}
        }
    }

    async fn begin(self: &Arc<Self>, request: ReadRequest, way: Way, mtu: u32) {
        // Before the place, for which another may have to yield. Meanwhile others wait in the socket.
        let Some(ticket) = self.lookups.admit().await else {
            self.outcomes.turned_away(way.client);
            return;
        };
        let Some(place) = self.place(way.client) else {
            return;
        };
        let (client, number) = (place.client(), place.number());
        let task = tokio::spawn(Arc::clone(self).serve(request, ticket, place, way, mtu));
        self.transfers.runs_as(client, number, task.abort_handle());
    }

    fn refuse(self: &Arc<Self>, refusal: Refusal, way: Way) {
        let Some(place) = self.place(way.client) else {
            return;
        };
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let client = way.client.ip();
            let outcomes = &shared.outcomes;
            outcomes.refused(format_args!("{client} is refused: {}", refusal.message));
            tell(way, refusal).await;
            drop(place);
        });
    }

    /// A place for a client's transfer, for which another may have to yield.
    fn place(&self, client: SocketAddrV4) -> Option<Place> {
        match self.transfers.take_place(client) {
            Ok(Taken { place, displaced }) => {
                if let Some(displaced) = displaced {
                    self.outcomes.displaced(&displaced);
                    if displaced.progress.has_begun() {
                        let bytes = displaced.progress.bytes();
                        let client = *displaced.client.ip();
                        (self.notes)(client, &displaced.file, TransferState::Failed, bytes);
                    }
                }
                Some(place)
            }
            Err(NoPlace::Running) => None,
            Err(NoPlace::Full) => {
                self.outcomes.turned_away(client);
                None
            }
        }
    }

    /// Serves one client.
    #[expect(
        clippy::manual_async_fn,
        reason = "a task takes the memory of all its arguments twice if it is made by an async fn"
    )]
    fn serve(
        self: Arc<Self>,
        request: ReadRequest,
        ticket: Ticket,
        place: Place,
        way: Way,
        mtu: u32,
    ) -> impl Future<Output = ()> + Send {
        async move {
            let transfer = Arc::downgrade(&place.progress);
            let Some(opened) = self.lookups.open(ticket, request.file, transfer).await else {
                return;
            };
            let client = way.client.ip();
            let Opened { file, size, name } = match opened {
                Ok(opened) => opened,
                Err((asked, denied)) => {
                    let outcomes = &self.outcomes;
                    outcomes.refused(format_args!("{client} asks for {asked:?}: {denied}"));
                    tell(way, denied.refusal()).await;
                    return;
                }
            };
            place.sends(&name, size);
            let agreed = request.asked.agree(mtu, size);
            let ended = match connect(way).await {
                Ok(socket) => {
                    let blocks = blocks(file, size, &agreed, mtu);
                    Transfer::new(socket, blocks, &agreed, &place.progress)
                        .run()
                        .await
                }
                Err(error) => End::Failed(error),
            };
            if let Some(state) = self.outcomes.ended(&name, size, &place, ended) {
                (self.notes)(*client, &Arc::from(name), state, place.progress.bytes());
            }
        }
    }
}

/// The blocks of a file as they were agreed on, on a way with this MTU.
fn blocks(file: std::fs::File, size: u64, agreed: &Agreed, mtu: u32) -> Blocks {
    let is_joined = agreed.window > 1
        && agreed.block_size >= SMALLEST_JOINED
        && u32::from(agreed.block_size) + AROUND_BLOCK <= mtu;
    Blocks::new(file, size, agreed.block_size, is_joined)
}

/// A socket between the address that was asked and the client.
async fn connect(way: Way) -> std::io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddrV4::new(way.server, 0)).await?;
    socket.connect(way.client).await?;
    Ok(socket)
}

/// Tells a client that its request is refused. It asks again if that is lost.
async fn tell(way: Way, refusal: Refusal) {
    let told = async { connect(way).await?.send(&refusal.packet()).await };
    if let Err(error) = told.await {
        debug!("{} is not told: {error}", way.client);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_takes_little_memory() {
        fn size<A, B, C, D, E, F, R>(_: impl Fn(A, B, C, D, E, F) -> R) -> usize {
            size_of::<R>()
        }
        // Anybody can have thousands of them begun.
        let size = size(Shared::serve);
        assert!(size <= 1000, "{size} bytes");
    }
}
