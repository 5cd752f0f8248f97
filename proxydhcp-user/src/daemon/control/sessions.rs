//! The daemon's end of the control socket: each client's request and its reply.
//!
//! A client has little time to send its request and to take its reply, and less while others wait
//! for its slot. So stuck clients, however many, do not keep others from being answered. Work that
//! may take long is waited for in other slots, and only until the client hangs up.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;
use tracing::{debug, info};

use super::replies::{MadeReply, Replies, line};
use super::slots::{Slot, Slots};
use super::socket::Server;
use crate::api::control::Reply;
use crate::api::control::Request;
use crate::daemon::service::Service;
use crate::daemon::storm::Storm;
use crate::text::with_causes;

/// The maximum length of a request, in bytes.
const MAX_REQUEST: u64 = 4096;

/// The number of clients at once that send a request, or take a reply that is made at once.
const SLOTS: usize = 64;

/// The number of clients at once that wait for a reply that may take long, or take it.
const SLOTS_TO_WAIT: usize = 256;

/// The number of bytes of a reply that a client must take within its time limit.
const PIECE: usize = 1 << 20;

/// The interval at which the daemon checks whether a client still waits.
const LOOK: Duration = Duration::from_millis(250);

/// Everything that serves the clients.
struct Sessions {
    replies: Arc<Replies>,
    slots: Slots,
    slots_to_wait: Slots,
}

impl Server {
    /// Serves clients concurrently until the daemon stops.
    pub(crate) async fn run(&self, service: &Arc<Service>, storm: Arc<Storm>) {
        let sessions = Arc::new(Sessions {
            replies: Arc::new(Replies::new(Arc::clone(service), storm)),
            slots: Slots::new(SLOTS),
            slots_to_wait: Slots::new(SLOTS_TO_WAIT),
        });
        while let Ok((connection, slot)) = accept(self.listener(), &sessions.slots).await {
            let sessions = Arc::clone(&sessions);
            tokio::spawn(async move {
                if let Err(error) = sessions.serve(connection, slot).await {
                    debug!("control socket: {}", with_causes(&error));
                }
            });
        }
    }
}

async fn accept(listener: &UnixListener, slots: &Slots) -> Result<(UnixStream, Slot)> {
    loop {
        match listener.accept().await {
            Ok((connection, _)) => return Ok((connection, slots.take().await?)),
            Err(error) => {
                debug!("control socket: {error}");
                // Most likely there is no free descriptor; other connections will be closed.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Sessions {
    async fn serve(&self, mut connection: UnixStream, slot: Slot) -> Result<()> {
        let mut said = Vec::new();
        let mut reader = BufReader::new((&mut connection).take(MAX_REQUEST));
        slot.in_time(reader.read_until(b'\n', &mut said)).await?;
        let request = match serde_json::from_slice(&said) {
            Ok(request) => request,
            Err(_) if said.len() as u64 == MAX_REQUEST => {
                let why = format!("not a request: longer than {MAX_REQUEST} bytes");
                return refuse(connection, &slot, why).await;
            }
            Err(error) => {
                return refuse(connection, &slot, format!("not a request: {error}")).await;
            }
        };
        if matches!(request, Request::Status { whole: false }) {
            let reply = self.replies.status(false).await?;
            return send(connection, &slot, &reply.line).await;
        }
        let Some(_waits) = self.slots_to_wait.try_take() else {
            let why = format!("{SLOTS_TO_WAIT} others wait already; try again later");
            return refuse(connection, &slot, why).await;
        };
        // Frees the slot for other clients.
        drop(slot);
        let reply = tokio::select! {
            reply = self.reply(request, &connection) => reply?,
            () = hung_up(&connection) => bail!("a client hung up before its reply was ready"),
        };
        send(connection, &reply.slot, &reply.line).await
    }

    async fn reply(&self, request: Request, client: &UnixStream) -> Result<Arc<MadeReply>> {
        match request {
            Request::Reload(allowed) => {
                let peer = client.peer_cred()?;
                let pid = peer.pid().unwrap_or(0);
                info!("reload asked for by uid {}, pid {pid}", peer.uid());
                self.replies.reload(allowed).await
            }
            Request::Status { whole } => self.replies.status(whole).await,
            Request::Lookup { client, arch } => self.replies.lookup(client, arch).await,
            Request::Users { winpe } => self.replies.users(winpe).await,
            Request::Nodes { names, from } => self.replies.nodes(names, from).await,
            Request::Events { after } => self.replies.events(after).await,
            Request::Strangers => self.replies.strangers().await,
            Request::Storm(from) => self.replies.storm(from).await,
        }
    }
}

async fn refuse(client: UnixStream, slot: &Slot, why: String) -> Result<()> {
    send(client, slot, &line(&Reply::Rejected(why))?).await
}

/// Sends a reply in pieces, each within the time limit, so that a client is not cut off because its
/// reply is long.
async fn send(mut client: UnixStream, slot: &Slot, line: &[u8]) -> Result<()> {
    for piece in line.chunks(PIECE) {
        slot.in_time(client.write_all(piece)).await?;
    }
    Ok(())
}

/// Waits until the client has hung up. A client that has only shut down its sending side has not; a
/// read could not distinguish the two.
async fn hung_up(client: &UnixStream) {
    loop {
        sleep(LOOK).await;
        let mut state = [PollFd::new(client, PollFlags::empty())];
        let looked = poll(&mut state, Some(&Timespec::default()));
        if looked.is_ok() && state.iter().any(|state| !state.revents().is_empty()) {
            return;
        }
    }
}
