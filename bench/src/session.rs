//! A running contender on a wire of its own.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use proxydhcp_lab::link::route_by;
use proxydhcp_lab::offload::{self, Offload};
use proxydhcp_lab::{
    CLIENT_ADDRESS, CLIENT_INTERFACE, CLIENT_MAC, Daemon, Lab, LinkOptions, SERVER_INTERFACE, xdp,
};

use crate::cluster::Node;
use crate::contender::{Contender, Responder, Start};
use crate::small_xdp::{self, Counter};

/// How long a contender may take until it answers at all.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// The two halves of the lab's network, whose routes take precedence over that of the interface.
const HALVES: [(Ipv4Addr, u8); 2] = [
    (Ipv4Addr::new(10, 77, 0, 0), 17),
    (Ipv4Addr::new(10, 77, 128, 0), 17),
];

/// A lab whose clients are behind a router.
pub(crate) fn routed_lab() -> Result<Lab> {
    let lab = Lab::with(&LinkOptions {
        takes_xdp: false,
        ..LinkOptions::default()
    })?;
    for half in HALVES {
        let router = (CLIENT_ADDRESS, CLIENT_MAC);
        route_by(&lab.server, SERVER_INTERFACE, half, router)?;
    }
    Ok(lab)
}

/// A contender that answers.
pub(crate) struct Session {
    /// Declared first, so that it stops before the wire is removed.
    responder: Responder,
    /// The program at the clients' end: a veth end accepts what XDP transmits only if it has one.
    receiver: Option<OwnedFd>,
    pub(crate) lab: Lab,
}

impl Session {
    /// Starts `contender` and waits for its first answer.
    pub(crate) fn start(contender: &Contender, start: &Start) -> Result<Self> {
        let lab = routed_lab()?;
        let receiver = xdp::attach(&lab.client, CLIENT_INTERFACE, small_xdp::pass()?)?;
        let responder = contender.start(&lab, start)?;
        let session = Self {
            responder,
            receiver: Some(receiver),
            lab,
        };
        session.wait_for_answer(contender.name())?;
        Ok(session)
    }

    fn wait_for_answer(&self, name: &str) -> Result<()> {
        let mut tap = self.lab.tap()?;
        let request = Node(0).request().bytes();
        let started = Instant::now();
        while started.elapsed() < START_PATIENCE {
            tap.send(&request)?;
            if tap.reply(Duration::from_millis(200))?.is_some() {
                return Ok(());
            }
        }
        bail!(
            "{name} answers no request within {START_PATIENCE:?}; its log:\n{}",
            self.responder.log()
        )
    }

    /// From now on replies are counted where they arrive, and dropped.
    pub(crate) fn count_replies(&mut self) -> Result<Counter> {
        let counter = Counter::new()?;
        // An interface can have only one program.
        self.receiver = None;
        let client = &self.lab.client;
        self.receiver = Some(xdp::attach(client, CLIENT_INTERFACE, counter.program())?);
        Ok(counter)
    }

    /// Lets the server's end accept what XDP redirects to it, which then queues up together with
    /// what sockets send.
    pub(crate) fn take_redirected(&self) -> Result<()> {
        let Lab { server, client, .. } = &self.lab;
        offload::set(server, SERVER_INTERFACE, Offload::Receive, true)?;
        offload::set(client, CLIENT_INTERFACE, Offload::Segmentation, false)
    }

    /// The responder's output so far.
    pub(crate) fn log(&self) -> String {
        self.responder.log()
    }

    /// The daemon, if proxydhcp is the contender.
    pub(crate) fn daemon(&self) -> Option<&Daemon> {
        match &self.responder {
            Responder::Daemon(daemon) => Some(daemon),
            _ => None,
        }
    }
}
