//! What the storm and the steady load share: sending in batches, and reading the xid of a reply.

use std::io;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::Namespace;
use proxydhcp_lab::datagram::Datagram;
use proxydhcp_lab::packet::{FrameReceiver, FrameSender};
use proxydhcp_lab::udp_from_port;

/// How long a full wire may stay full.
const FULL_WIRE_PATIENCE: Duration = Duration::from_secs(2);

/// A sender, and a receiver of replies. If all clients ask from one port, it receives those to that
/// port alone, so that replies to forged requests from another port do not fill its buffer.
pub(crate) fn open(
    namespace: &Namespace,
    interface: &str,
    mut ports: impl Iterator<Item = u16>,
) -> Result<(FrameSender, FrameReceiver)> {
    let first = ports.next();
    let only = first.filter(|first| ports.all(|port| port == *first));
    let sender = FrameSender::open(namespace, interface)?;
    let receiver = FrameReceiver::open(namespace, interface, &udp_from_port(4011, only))?;
    Ok((sender, receiver))
}

/// Sends all of `frames`. A frame that a full wire rejects was never sent, and is offered again.
pub(crate) fn send_all<F: AsRef<[u8]>>(sender: &FrameSender, mut frames: &[F]) -> Result<()> {
    let mut full_since = None;
    while !frames.is_empty() {
        match sender.send_batch(frames) {
            Ok(count) => {
                frames = frames.get(count..).unwrap_or_default();
                full_since = None;
            }
            Err(error) if is_full(&error) => {
                let since = *full_since.get_or_insert_with(Instant::now);
                if since.elapsed() > FULL_WIRE_PATIENCE {
                    return Err(error).context("the wire stays full");
                }
                thread::yield_now();
            }
            Err(error) => return Err(error).context("cannot send requests"),
        }
    }
    Ok(())
}

fn is_full(error: &io::Error) -> bool {
    const ENOBUFS: i32 = 105;
    error.raw_os_error() == Some(ENOBUFS) || error.kind() == io::ErrorKind::Interrupted
}

/// Makes sure that the clients' own socket has lost no frames, which would be taken for lost answers.
pub(crate) fn ensure_none_lost(receiver: &mut FrameReceiver) -> Result<()> {
    let drops = receiver.drops()?;
    ensure!(
        drops == 0,
        "the clients' own socket lost {drops} frames: the figures mean nothing"
    );
    Ok(())
}

/// The current time, since the epoch, on the clock that the kernel uses for arrival timestamps.
pub fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The xid of a reply; `None` if the frame is not a reply.
pub(crate) fn xid_of(frame: &[u8]) -> Option<u32> {
    let datagram = Datagram::parse(frame).ok()?;
    let xid = datagram.payload.get(4..)?.first_chunk()?;
    Some(u32::from_be_bytes(*xid))
}
