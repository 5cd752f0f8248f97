//! Holds UDP port 4011.
//!
//! No datapath needs it: requests are answered before they get to a socket. But while nobody holds
//! it, the kernel sends clients "port unreachable" for every request that it sees, too. Any user of
//! this host may hold it, who must not keep the daemon from serving by that.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use proxydhcp_common::PORT;
use rustix::fs::fstat;
use rustix::process::geteuid;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::api::status::{named, port_held};
use crate::sys::port_holder::{Holder, holders};

/// The pause between two attempts to take the port; a bind costs the kernel next to nothing.
const PAUSE: Duration = Duration::from_millis(20);

/// How the names of this program begin, and of the one that it replaces.
const OWN_NAME: &str = "proxydhcp";

/// The other programs that hold the port, as they are at the time.
pub(crate) type PortHolders = watch::Receiver<Vec<Holder>>;

/// The port, on all addresses or on those where it was free. What arrives on it is dropped, because
/// the datapaths have seen it before.
#[derive(Debug)]
pub struct Port {
    sockets: Vec<(Ipv4Addr, Socket)>,
    /// The other programs that hold it.
    others: watch::Sender<Vec<Holder>>,
}

/// The reason why the port cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Other programs hold it.
    #[error("UDP port {PORT} is taken: {} holds it; stop it first", named(.0))]
    Taken(Vec<Holder>),
    /// Another daemon like this one holds it.
    #[error("another proxyDHCP daemon is running: {0} holds UDP port {PORT}; stop it first")]
    Twin(Holder),
    /// The socket cannot be opened, bound or filtered.
    #[error("cannot take UDP port {PORT}: {0}")]
    Io(#[from] io::Error),
}

impl Port {
    /// Takes the port on all addresses; waits up to `patience` for other programs to free it.
    ///
    /// # Errors
    ///
    /// If another program keeps the port, or the system refuses a step: see [`PortError`].
    pub async fn take(patience: Duration) -> Result<Self, PortError> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(socket) = bind(Ipv4Addr::UNSPECIFIED)? {
                return Ok(Self::of(Some(socket)));
            }
            if Instant::now() >= deadline {
                return Err(PortError::Taken(holders(PORT)));
            }
            sleep(PAUSE).await;
        }
    }

    /// Takes the port if nobody holds it. Otherwise [`Port::take_the_rest`] takes what is free.
    ///
    /// # Errors
    ///
    /// If the holder is another daemon, or the system refuses a step: see [`PortError`].
    pub fn take_if_free() -> Result<Self, PortError> {
        let port = Self::of(bind(Ipv4Addr::UNSPECIFIED)?);
        if port.is_whole() {
            return Ok(port);
        }
        let others = port.find_others();
        if let Some(twin) = others.iter().find(|holder| is_daemon(holder)) {
            return Err(PortError::Twin(twin.clone()));
        }
        warn!("{}", port_held(&others));
        port.others.send_replace(others);
        Ok(port)
    }

    fn of(socket: Option<Socket>) -> Self {
        let all = |socket| (Ipv4Addr::UNSPECIFIED, socket);
        Self {
            sockets: socket.map(all).into_iter().collect(),
            others: watch::Sender::default(),
        }
    }

    /// The other programs that hold the port.
    pub(crate) fn others(&self) -> PortHolders {
        self.others.subscribe()
    }

    /// Takes the port on all addresses once no other program holds it; until then, on those of the
    /// addresses `local` where it is free.
    pub(crate) fn take_the_rest(&mut self, local: &[Ipv4Addr]) {
        if self.is_whole() {
            return;
        }
        let others = self.find_others();
        if others.is_empty() {
            // The sockets of single addresses are in the way.
            self.sockets.clear();
            self.try_to_bind(Ipv4Addr::UNSPECIFIED);
        } else {
            self.sockets.retain(|(address, _)| local.contains(address));
            for address in local {
                self.try_to_bind(*address);
            }
        }
        if self.is_whole() {
            info!("UDP port {PORT} is free, and taken now");
        } else if *self.others.borrow() != others {
            warn!("{}", port_held(&others));
        }
        self.others.send_replace(others);
    }

    fn is_whole(&self) -> bool {
        let mut addresses = self.sockets.iter().map(|(address, _)| address);
        addresses.any(Ipv4Addr::is_unspecified)
    }

    /// Takes the port on this address, unless it is taken or the address is gone.
    fn try_to_bind(&mut self, address: Ipv4Addr) {
        if self.sockets.iter().all(|(bound, _)| *bound != address)
            && let Ok(Some(socket)) = bind(address)
        {
            self.sockets.push((address, socket));
        }
    }

    fn find_others(&self) -> Vec<Holder> {
        let stats = self.sockets.iter().filter_map(|(_, it)| fstat(it).ok());
        let own: Vec<_> = stats.map(|stat| stat.st_ino).collect();
        let mut found = holders(PORT);
        found.retain(|holder| !own.contains(&holder.inode));
        found
    }
}

/// Takes the port on an address; none if another program has it.
fn bind(address: Ipv4Addr) -> io::Result<Option<Socket>> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // BPF_RET with the number of bytes to keep, which is 0.
    socket.attach_filter(&[SockFilter::new(0x06, 0, 0, 0)])?;
    match socket.bind(&SocketAddrV4::new(address, PORT).into()) {
        Ok(()) => Ok(Some(socket)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether it is a daemon like this one, by its name and its user: others may call a program so, too.
pub fn is_daemon(holder: &Holder) -> bool {
    let mut process = holder.process.iter();
    [0, geteuid().as_raw()].contains(&holder.user)
        && process.any(|process| process.name.starts_with(OWN_NAME))
}
