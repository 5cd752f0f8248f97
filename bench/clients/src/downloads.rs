//! Downloads: many clients fetch one file by TFTP, all from the same instant on (RFC 1350, 2347, 2348 and
//! 7440).
//!
//! One thread serves them all, as cheaply as it can, so that the server is what is measured.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use proxydhcp_lab::Namespace;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

mod client;
mod inbox;

use client::{Client, Step};
use inbox::Inbox;

/// The time between two looks at clients that wait in vain.
const TURN: Duration = Duration::from_millis(20);
const PORT: u16 = 69;

/// What all clients want.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The file, as the server knows it. Its content is that of [`content`].
    pub file: &'a str,
    /// Its length, in bytes.
    pub size: u64,
    /// The size of the blocks to ask for, a multiple of 8.
    pub block_size: u16,
    /// The window to ask for, in blocks. A server may ignore it.
    pub window: u16,
    /// The share of packets that each client loses, of those that come and those that go.
    pub loss: f64,
}

/// What became of the clients.
#[derive(Clone, Debug, Default)]
pub struct Downloads {
    /// How long those that have the whole file took, shortest first.
    pub times: Vec<Duration>,
    /// Why others do not have it.
    pub failures: Vec<String>,
    /// The window that the server has agreed to, in blocks.
    pub window: u16,
    /// From the first request until the last client had ended.
    pub took: Duration,
}

/// The content of a file of this length: words of 64 bits, in network byte order, that say where they lie.
/// A client thereby knows a block that is out of its place.
pub fn content(size: usize) -> Vec<u8> {
    let words = (0_u64..).step_by(8).map(u64::to_be_bytes);
    words.flatten().take(size).collect()
}

/// Has a client at each of these addresses fetch the file. `go_on` is given the number of those that have
/// ended, and may break it off.
///
/// # Errors
/// If it is broken off, or a socket cannot be had.
pub fn download(
    namespace: &Namespace,
    addresses: &[Ipv4Addr],
    server: Ipv4Addr,
    wanted: &Wanted,
    go_on: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Downloads> {
    let server = SocketAddr::V4(SocketAddrV4::new(server, PORT));
    let clients: Result<Vec<Client>> = namespace.run(|| {
        let client = |address: &Ipv4Addr| Client::new(*address, server, wanted);
        addresses.iter().map(client).collect()
    });
    let mut crowd = Crowd {
        epoll: epoll::create(CreateFlags::CLOEXEC).context("cannot make an epoll set")?,
        clients: clients
            .context("cannot open the clients' sockets")?
            .into_iter()
            .map(Some)
            .collect(),
        inbox: Inbox::new(wanted.block_size),
        done: Downloads::default(),
        started: Instant::now(),
    };
    crowd.run(go_on)?;
    let Crowd {
        mut done, started, ..
    } = crowd;
    done.took = started.elapsed();
    done.times.sort_unstable();
    Ok(done)
}

struct Crowd {
    epoll: std::os::fd::OwnedFd,
    /// Without those that have ended.
    clients: Vec<Option<Client>>,
    inbox: Inbox,
    done: Downloads,
    started: Instant,
}

impl Crowd {
    fn run(&mut self, go_on: &mut dyn FnMut(usize) -> ControlFlow<()>) -> Result<()> {
        for (number, client) in (0..).zip(self.clients.iter().flatten()) {
            let number = EventData::new_u64(number);
            epoll::add(&self.epoll, client, number, EventFlags::IN)?;
        }
        self.started = Instant::now();
        for number in 0..self.clients.len() {
            self.step(number, |client, _| client.send_again());
        }
        let turn = Timespec::try_from(TURN)?;
        let mut looked = Instant::now();
        let mut events = Vec::with_capacity(256);
        while self.ended() < self.clients.len() {
            events.clear();
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, room, Some(&turn)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot wait for packets"),
            }
            for &Event { data, .. } in &events {
                self.step(usize::try_from(data.u64())?, Client::read);
            }
            if looked.elapsed() >= TURN {
                looked = Instant::now();
                for number in 0..self.clients.len() {
                    self.step(number, |client, _| client.look_at_clock(looked));
                }
                if go_on(self.ended()).is_break() {
                    bail!("the downloads were broken off");
                }
            }
        }
        Ok(())
    }

    fn ended(&self) -> usize {
        self.done.times.len() + self.done.failures.len()
    }

    /// Has one client do something, if it has not ended.
    fn step(&mut self, number: usize, act: impl FnOnce(&mut Client, &mut Inbox) -> Result<Step>) {
        let Some(place) = self.clients.get_mut(number) else {
            return;
        };
        let Some(client) = place else { return };
        match act(client, &mut self.inbox) {
            Ok(Step::Goes) => return,
            Ok(Step::HasAll) => {
                self.done.window = client.window();
                self.done.times.push(self.started.elapsed());
            }
            Err(error) => self.done.failures.push(format!("{error:#}")),
        }
        // Its socket is closed; whatever the server still sends is refused by the system.
        *place = None;
    }
}
