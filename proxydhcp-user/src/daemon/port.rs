//! Holds UDP port 4011.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use proxydhcp_common::PORT;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::time::{Instant, sleep};

/// The pause between two attempts to take the port; a bind costs the kernel next to nothing.
const PAUSE: Duration = Duration::from_millis(20);

/// The port, taken: the kernel sends clients no "port unreachable", and a second daemon finds that
/// there is a first. What arrives on it is dropped, because the datapaths have seen it before.
#[derive(Debug)]
pub struct Port(#[expect(dead_code, reason = "held open")] Socket);

/// The reason why the port cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Another program holds it.
    #[error(
        "UDP port {PORT} is taken: another proxyDHCP daemon is running; \
         find it with `ss -lunp 'sport = :{PORT}'` and stop it first"
    )]
    Taken,
    /// The socket cannot be opened, bound or filtered.
    #[error("cannot take UDP port {PORT}: {0}")]
    Io(#[from] io::Error),
}

impl Port {
    /// Takes the port on all addresses; waits up to `patience` for another program to free it.
    ///
    /// # Errors
    ///
    /// If another program keeps the port, or the system refuses a step: see [`PortError`].
    pub async fn take(patience: Duration) -> Result<Self, PortError> {
        let deadline = Instant::now() + patience;
        loop {
            match Self::take_now() {
                Err(PortError::Taken) if Instant::now() < deadline => sleep(PAUSE).await,
                outcome => return outcome,
            }
        }
    }

    fn take_now() -> Result<Self, PortError> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        // BPF_RET with the number of bytes to keep, which is 0.
        socket.attach_filter(&[SockFilter::new(0x06, 0, 0, 0)])?;
        let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT);
        match socket.bind(&address.into()) {
            Ok(()) => Ok(Self(socket)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(PortError::Taken),
            Err(error) => Err(error.into()),
        }
    }
}
