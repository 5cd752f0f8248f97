//! HTTP for those who watch the daemon: a page that shows the storm, its metrics, and whether it is alive
//! and ready. Read-only.
//!
//! It has a thread of its own without privileges, since what it parses comes from anybody. What it
//! shows is made elsewhere, one page at a time, by a task that may look into the service.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, bail};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tracing::{error, info};

use crate::daemon::service::Service;
use crate::daemon::storm::Storm;
use crate::sys::{activation, privileges};

mod answer;
mod connections;
mod feed;
mod login;
mod page;
mod pages;
mod storm;
mod web_config;

pub use web_config::{PUBLIC, WebConfigError};

use answer::Answers;
use pages::Asked;
use web_config::WebConfig;

/// Where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address and a TCP port of this host.
    Tcp(SocketAddr),
    /// The socket that systemd passes, as in `sd_listen_fds(3)`.
    Systemd,
}

impl Address {
    const SYSTEMD: &str = "systemd";

    /// Whether other hosts can get there; unknown as long as the socket is systemd's.
    pub fn is_public(self) -> bool {
        matches!(self, Self::Tcp(address) if !address.ip().is_loopback())
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == Self::SYSTEMD {
            return Ok(Self::Systemd);
        }
        let address = text.parse().map(Self::Tcp);
        address.map_err(|_| {
            "write an IP address and a port, such as 127.0.0.1:9941 or [::1]:9941, or systemd for the \
             socket that systemd passes"
                .to_owned()
        })
    }
}

/// Finds out whether [`Listener::open`] would refuse to begin, without a socket.
///
/// # Errors
///
/// If it would, see there.
pub fn judge(address: Address, web_config: Option<&Path>) -> Result<()> {
    read(web_config, address.is_public()).map(drop)
}

/// Reads the web configuration file, if there is one. It must not let everybody in where the socket
/// `is_public`.
fn read(file: Option<&Path>, is_public: bool) -> Result<WebConfig> {
    let config = file.map(WebConfig::read).transpose()?.unwrap_or_default();
    match file {
        Some(file) if is_public && config.lets_all_in() => {
            bail!(WebConfigError::letting_all_in(file))
        }
        None if is_public => bail!(WebConfigError::Missing),
        _ => Ok(config),
    }
}

/// A socket that listens, opened while the process may do so, or why it could not be; and who may ask.
#[derive(Debug)]
pub struct Listener {
    socket: Result<TcpListener>,
    config: WebConfig,
}

impl Listener {
    /// Listens at the address, to those whom the web configuration file lets in. A socket that cannot be
    /// had is no reason not to serve: that is logged later.
    ///
    /// # Errors
    ///
    /// If the file is wrong ([`WebConfigError`]), or lets everybody in where other hosts can get to.
    pub fn open(address: Address, web_config: Option<&Path>) -> Result<Self> {
        let socket = match address {
            Address::Tcp(address) => TcpListener::bind(address).with_context(|| {
                format!("cannot listen on {address}; is it an address of this host, and free?")
            }),
            Address::Systemd => activation::tcp_socket(),
        };
        let is_public = match &socket {
            Ok(socket) => !socket.local_addr()?.ip().is_loopback(),
            Err(_) => address.is_public(),
        };
        let config = read(web_config, is_public)?;
        Ok(Self { socket, config })
    }

    /// Answers from now on. What cannot be done is logged: requests on port 4011 are answered all the
    /// same.
    pub(crate) fn start(self, service: &Arc<Service>, storm: &Arc<Storm>) {
        if let Err(error) = self.try_to_start(service, storm) {
            error!("there are no metrics: {error:#}");
        }
    }

    fn try_to_start(self, service: &Arc<Service>, storm: &Arc<Storm>) -> Result<()> {
        let Self { socket, config } = self;
        let socket = socket?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let is_encrypted = config.tls.is_some();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (ask, asked) = mpsc::channel::<Asked>(1);
        thread::Builder::new()
            .name("http".to_owned())
            .spawn(move || {
                privileges::give_up();
                let answers = Answers::new(&config, ask);
                let served = runtime.block_on(connections::serve(socket, config.tls, answers));
                if let Err(error) = served {
                    error!("there are no metrics any longer: {error}");
                }
            })?;
        tokio::spawn(pages::make(Arc::clone(service), Arc::clone(storm), asked));
        let scheme = if is_encrypted { "https" } else { "http" };
        info!(
            "metrics are at {scheme}://{address}/metrics, and a page that shows the storm at {scheme}://{address}/"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_and_is_public_unless_it_is_loopback() {
        let parse = |text: &str| text.parse::<Address>();
        for (text, is_public) in [
            ("127.0.0.1:9941", false),
            ("[::1]:9941", false),
            ("0.0.0.0:9941", true),
            ("[::]:9941", true),
            ("10.0.0.1:9941", true),
        ] {
            assert_eq!(parse(text).unwrap().is_public(), is_public, "{text}");
        }
        assert_eq!(parse("systemd"), Ok(Address::Systemd));
        for text in ["", "9941", ":9941", "127.0.0.1", "localhost:9941", "::1:x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
