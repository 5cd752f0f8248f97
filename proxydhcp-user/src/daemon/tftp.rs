//! The TFTP server (RFC 1350): clients read the files below the TFTP root, and nothing else.
//!
//! Each transfer has a task and a socket of its own. All of them run on threads of their own, so that a
//! disk that hangs keeps nothing waiting but transfers.

use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::time::sleep;
use tracing::{debug, error, info};

use crate::api::status::{TftpStatus, TftpTransfer};
use crate::tftp::packet::{AROUND_BLOCK, Agreed, ReadRequest, Refusal, read_request};

mod blocks;
mod few;
mod listings;
mod lookups;
mod port;
mod root;
mod transfer;
mod transfers;

pub use port::Port;
pub(crate) use port::others;

use blocks::Blocks;
use few::Few;
use lookups::{Lookups, Ticket};
use port::{REQUEST_LEN, Requests, Way};
use root::{Opened, Root};
use transfer::{End, Transfer};
use transfers::{Place, Transfers};

/// The threads that send.
const THREADS: usize = 2;
/// The threads that look for files, which may wait for a disk.
const LOOKING: usize = 8;
/// The pause after the port has failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The smallest blocks that the kernel is to cut out of larger datagrams, in bytes. No other packet of
/// a transfer is as long, and would be cut as well.
const SMALLEST_JOINED: u16 = 512;

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
    counts: Counts,
    few: Few,
}

/// What became of the requests.
#[derive(Default)]
struct Counts {
    complete: AtomicU64,
    declined: AtomicU64,
    failed: AtomicU64,
    unbegun: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
}

impl Tftp {
    /// Serves the files below `root` on the port.
    ///
    /// # Errors
    ///
    /// If its threads cannot be started.
    pub fn start(port: Port, root: &Path, mtu: Box<Mtu>) -> Result<Self> {
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
            counts: Counts::default(),
            few: Few::default(),
        });
        let requests = {
            let _here = runtime.enter();
            port.listen().context("cannot listen for TFTP requests")?
        };
        runtime.spawn(Arc::clone(&shared).take_requests(requests));
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
            bytes,
        } = &self.shared.counts;
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
            bytes: of(bytes),
            transfers: transfers.collect(),
        }
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
    async fn take_requests(self: Arc<Self>, requests: Requests) {
        let mut buffer = [0; REQUEST_LEN];
        loop {
            match requests.next(&mut buffer).await {
                Ok(Some((length, way))) => {
                    self.take(buffer.get(..length).unwrap_or_default(), way);
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
    fn take(self: &Arc<Self>, packet: &[u8], way: Way) {
        let Some(mtu) = (self.mtu)(way.interface) else {
            debug!(
                "a TFTP request by interface {}, which is not served",
                way.interface
            );
            return;
        };
        match read_request(packet) {
            Ok(request) => self.begin(request, way, mtu),
            Err(Some(refusal)) => self.refuse(refusal, way),
            Err(None) => {}
        }
    }

    fn begin(self: &Arc<Self>, request: ReadRequest, way: Way, mtu: u32) {
        // Before the place, for which another may have to yield.
        let Some(ticket) = self.lookups.admit() else {
            return;
        };
        let Some(place) = self.transfers.take_place(way.client) else {
            return;
        };
        let (client, number) = (place.client(), place.number());
        let task = tokio::spawn(Arc::clone(self).serve(request, ticket, place, way, mtu));
        self.transfers.runs_as(client, number, task.abort_handle());
    }

    fn refuse(self: &Arc<Self>, refusal: Refusal, way: Way) {
        let Some(place) = self.transfers.take_place(way.client) else {
            return;
        };
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            let client = way.client.ip();
            shared.refuses(format_args!("{client} is refused: {}", refusal.message));
            tell(way, refusal).await;
            drop(place);
        });
    }

    /// Serves one client.
    async fn serve(
        self: Arc<Self>,
        request: ReadRequest,
        ticket: Ticket,
        place: Place,
        way: Way,
        mtu: u32,
    ) {
        let ReadRequest {
            file: asked,
            asked: options,
        } = request;
        let transfer = Arc::downgrade(&place.progress);
        let Some(opened) = self.lookups.open(ticket, asked, transfer).await else {
            return;
        };
        let client = way.client.ip();
        let Opened { file, size, name } = match opened {
            Ok(opened) => opened,
            Err((asked, denied)) => {
                self.refuses(format_args!("{client} asks for {asked:?}: {denied}"));
                let refusal = denied.refusal();
                tell(way, refusal).await;
                return;
            }
        };
        place.sends(&name, size);
        let agreed = options.agree(mtu, size);
        let ended = self.send(file, size, &agreed, way, mtu, &place).await;
        self.record(&name, size, &place, ended);
    }

    async fn send(
        &self,
        file: std::fs::File,
        size: u64,
        agreed: &Agreed,
        way: Way,
        mtu: u32,
        place: &Place,
    ) -> End {
        let socket = match connect(way).await {
            Ok(socket) => socket,
            Err(error) => return End::Failed(error),
        };
        let is_joined = agreed.window > 1
            && agreed.block_size >= SMALLEST_JOINED
            && u32::from(agreed.block_size) + AROUND_BLOCK <= mtu;
        let blocks = Blocks::new(file, size, agreed.block_size, is_joined);
        Transfer::run(socket, blocks, agreed, &place.progress).await
    }

    /// Counts and logs the end of a transfer.
    fn record(&self, file: &str, size: u64, place: &Place, end: End) {
        let progress = &place.progress;
        let (client, bytes) = (place.client().ip().to_owned(), progress.bytes());
        let counts = &self.counts;
        let add = |count: &AtomicU64, more| {
            count.fetch_add(more, Ordering::Relaxed);
        };
        add(&counts.bytes, bytes);
        let seconds = progress.since().elapsed().as_secs_f64();
        let repeated = progress.repeated();
        match end {
            End::Complete => {
                add(&counts.complete, 1);
                info!(%client, bytes, seconds, repeated, "sent {file}");
            }
            End::Silent | End::Declined if !progress.has_begun() => {
                // Clients that want to know only the length of a file end it so, and so do forged
                // requests.
                add(&counts.unbegun, 1);
                debug!(%client, "{file} was not fetched: {end:?}");
            }
            End::Declined if bytes == 0 => add(&counts.declined, 1),
            end => {
                add(&counts.failed, 1);
                let why = match end {
                    End::Failed(error) => error.to_string(),
                    End::Declined => "the client has given up".to_owned(),
                    _ => "the client no longer answers".to_owned(),
                };
                self.few.warn(format_args!(
                    "{file} was not sent to {client}: {why}, after {bytes} of {size} bytes, \
                     {repeated} blocks repeated"
                ));
            }
        }
    }

    /// Counts and logs a request that is refused.
    fn refuses(&self, why: std::fmt::Arguments<'_>) {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        self.few.warn(format_args!("TFTP: {why}"));
    }
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
