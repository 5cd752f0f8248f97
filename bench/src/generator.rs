//! The fastest generator in the kernel: an XDP program that writes request after request into
//! frames of its own and sends them on the clients' interface, 64 at a time, as a network card
//! would. A socket takes several times longer to send a request than an XDP program takes to answer
//! it.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, IterableMap, MapData};
use proxydhcp_lab::{CLIENT_INTERFACE, Namespace, link, xdp};

mod program;

use program::{ROOM, SURPLUS, State, program};

/// Sends requests in order, over and over.
pub(crate) struct Generator {
    program: OwnedFd,
    frame: Vec<u8>,
    state: Array<MapData, State>,
    /// Held only because the program refers to it by its descriptor.
    _requests: Array<MapData, [u8; ROOM]>,
}

/// The requests that were sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) requests: u64,
    /// The time from the first to the last, on the generator's own clock, because the kernel takes
    /// a while to clean up afterwards.
    pub(crate) took: Duration,
}

impl Generator {
    /// Creates a generator for `requests`, which must all have the same length.
    pub(crate) fn new(namespace: &Namespace, requests: &[Vec<u8>]) -> Result<Self> {
        let length = requests.first().context("a flood of nothing")?.len();
        let count = u32::try_from(requests.len())?;
        let mut table = Array::create(count, 0).context("cannot make a map of requests")?;
        for (index, request) in (0..).zip(requests) {
            ensure!(request.len() == length, "requests of several lengths");
            let mut value = [0; ROOM];
            value
                .get_mut(..length)
                .context("a request too long for its map")?
                .copy_from_slice(request);
            table.set(index, value, 0)?;
        }
        let state = Array::create(1, 0).context("cannot make a map of a state")?;
        let descriptor = |map: &MapData| map.fd().as_fd().as_raw_fd();
        let program = xdp::load(&program(
            descriptor(state.map()),
            (descriptor(table.map()), i32::try_from(count)?),
            i16::try_from(length)?,
            i32::try_from(link::index(namespace, CLIENT_INTERFACE)?)?,
        )?)?;
        Ok(Self {
            program,
            frame: vec![0; length + usize::try_from(SURPLUS)?],
            state,
            _requests: table,
        })
    }

    /// Runs the program `runs` times, from a thread in the clients' namespace. With a `rate`, in
    /// requests per second, it sends only in as many runs as the rate requires; otherwise in each
    /// run.
    pub(crate) fn send(&mut self, rate: Option<f64>, runs: u32) -> Result<Sent> {
        let mut state = self.state.get(&0, 0)?;
        state = State::fresh(rate, &state);
        self.state.set(0, state, 0)?;
        xdp::run_live(self.program.as_fd(), &self.frame, runs)
            .context("the generator needs Linux 5.18")?;
        Ok(self.state.get(&0, 0)?.sent())
    }
}

#[cfg(test)]
mod tests {
    use proxydhcp_lab::offload::{self, Offload};
    use proxydhcp_lab::{Lab, SERVER_INTERFACE, Tap};

    use super::*;
    use crate::cluster::Node;

    #[test]
    fn requests_go_out_in_their_order_over_and_over() {
        let lab = Lab::new().unwrap();
        // A veth end accepts redirected frames only like this, or if it has an XDP program itself.
        offload::set(&lab.server, SERVER_INTERFACE, Offload::Receive, true).unwrap();
        let mut server = Tap::open(&lab.server, SERVER_INTERFACE).unwrap();
        let requests: Vec<Vec<u8>> = Node::all(3).map(|node| node.request().bytes()).collect();
        let mut generator = Generator::new(&lab.client, &requests).unwrap();
        for runs in [5, 2] {
            let sent = lab.client.run(|| generator.send(None, runs)).unwrap();
            assert_eq!(sent.requests, u64::from(runs));
        }
        for wanted in requests.iter().cycle().take(7) {
            let came = loop {
                let came = server.receive(Duration::from_secs(1)).unwrap().unwrap();
                // Other frames are the router solicitations of the clients' kernel.
                if came.len() == wanted.len() {
                    break came;
                }
            };
            assert_eq!(&came, wanted);
        }
    }

    #[test]
    fn a_rate_is_kept() {
        let lab = Lab::new().unwrap();
        let requests = [Node(0).request().bytes()];
        let mut generator = Generator::new(&lab.client, &requests).unwrap();
        for rate in [10_000.0, 100_000.0] {
            let send = || generator.send(Some(rate), 1_000_000);
            let sent = lab.client.run(send).unwrap();
            let due = rate * sent.took.as_secs_f64();
            let kept = f64::from(u32::try_from(sent.requests).unwrap()) / due;
            // The generator does not catch up after moments when it had no core.
            assert!((0.05..=1.01).contains(&kept), "{sent:?}");
        }
    }
}
