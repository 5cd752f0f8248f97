//! A steady load on several wires at once, by one thread that wakes a hundred times a second: it costs
//! little enough to run beside many daemons on one machine.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::datagram::Datagram;
use proxydhcp_lab::packet::{FrameReceiver, FrameSender};
use proxydhcp_lab::{Namespace, RequestFrame};

use crate::numbered::NumberedFrame;
use crate::wire::{ensure_none_lost, open, send_all, xid_of};

/// How often each wire is turned to.
const TICK: Duration = Duration::from_millis(10);
/// How long to wait for answers after the last request.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where the file is in a BOOTP message.
const FILE: usize = 108;
const FILE_LENGTH: usize = 128;

/// An answer.
#[derive(Debug)]
pub struct Heard<'a> {
    /// The index of the wire.
    pub wire: usize,
    /// The index of the request among those of the load.
    pub request_index: usize,
    /// When it came, since the epoch, by the kernel's stamp.
    pub time: Duration,
    /// The file that it names.
    pub file: &'a str,
}

/// The outcomes on all wires.
#[derive(Clone, Copy, Debug, Default)]
pub struct WiresReport {
    /// The number of requests sent.
    pub sent: u64,
    /// The number of requests answered.
    pub answered: u64,
    /// The number of answers to no request, or to one that was answered already.
    pub strays: u64,
}

impl WiresReport {
    /// The number of requests that were never answered.
    pub fn missing(&self) -> u64 {
        self.sent - self.answered
    }
}

/// Sends requests at `rate` a second, a multiple of 100, on each of these wires, while `go_on` returns
/// true. The first request is sent a hundred times a second; the others follow it in turn. Passes each
/// answer to `hear`.
///
/// # Errors
/// If a socket fails, or a receiving socket itself lost frames.
pub fn on_wires(
    wires: &[(&Namespace, &str)],
    requests: &[RequestFrame],
    rate: usize,
    go_on: &dyn Fn() -> bool,
    hear: &mut dyn FnMut(Heard),
) -> Result<WiresReport> {
    let frames = requests.iter().map(NumberedFrame::new);
    let frames = frames.collect::<Result<Vec<_>>>()?;
    ensure!(frames.len() > 1, "a load of one request, or of none");
    let ports = || requests.iter().map(|request| request.source_port);
    let mut wires = wires
        .iter()
        .map(|(namespace, interface)| open(namespace, interface, ports()).map(Wire::of))
        .collect::<Result<Vec<_>>>()?;
    let mut batch = vec![Vec::new(); rate / 100];
    let mut due = Instant::now();
    while go_on() {
        for (number, wire) in wires.iter_mut().enumerate() {
            wire.hear(number, hear)?;
            wire.ask(&frames, &mut batch)?;
        }
        due = (due + TICK).max(Instant::now());
        thread::sleep(due - Instant::now());
    }
    let end = Instant::now();
    while wires.iter().any(Wire::is_open) && end.elapsed() < PATIENCE {
        for (number, wire) in wires.iter_mut().enumerate() {
            wire.hear(number, hear)?;
        }
        thread::sleep(TICK);
    }
    let mut report = WiresReport::default();
    for wire in &mut wires {
        ensure_none_lost(&mut wire.receiver)?;
        report.sent += wire.asked.len() as u64;
        report.answered += wire.answered;
        report.strays += wire.strays;
    }
    Ok(report)
}

struct Wire {
    sender: FrameSender,
    receiver: FrameReceiver,
    /// The index of each request that was sent, by its xid; `None`: it was answered.
    asked: Vec<Option<usize>>,
    /// The request whose turn is next.
    turn: usize,
    answered: u64,
    strays: u64,
}

impl Wire {
    fn of((sender, receiver): (FrameSender, FrameReceiver)) -> Self {
        Self {
            sender,
            receiver,
            asked: Vec::new(),
            turn: 0,
            answered: 0,
            strays: 0,
        }
    }

    fn is_open(&self) -> bool {
        self.answered < self.asked.len() as u64
    }

    fn ask(&mut self, frames: &[NumberedFrame], batch: &mut [Vec<u8>]) -> Result<()> {
        for (place, frame) in batch.iter_mut().enumerate() {
            let index = if place == 0 { 0 } else { self.next(frames) };
            let xid = u32::try_from(self.asked.len()).context("more requests than numbers")?;
            if let Some(numbered) = frames.get(index) {
                numbered.write(xid, frame);
            }
            self.asked.push(Some(index));
        }
        send_all(&self.sender, batch)
    }

    fn next(&mut self, frames: &[NumberedFrame]) -> usize {
        self.turn = self.turn % (frames.len() - 1) + 1;
        self.turn
    }

    /// Takes the answers that are there.
    fn hear(&mut self, wire: usize, hear: &mut dyn FnMut(Heard)) -> Result<()> {
        let Self {
            receiver,
            asked,
            answered,
            strays,
            ..
        } = self;
        loop {
            let count = receiver.receive(Duration::ZERO, |arrival| {
                let Some((xid, file)) = read(arrival.frame) else {
                    *strays += 1;
                    return;
                };
                match asked.get_mut(xid).and_then(Option::take) {
                    Some(request_index) => {
                        *answered += 1;
                        hear(Heard {
                            wire,
                            request_index,
                            time: arrival.time,
                            file,
                        });
                    }
                    None => *strays += 1,
                }
            })?;
            if count == 0 {
                return Ok(());
            }
        }
    }
}

/// The xid and the file of a reply.
fn read(frame: &[u8]) -> Option<(usize, &str)> {
    let xid = usize::try_from(xid_of(frame)?).ok()?;
    let payload = Datagram::parse(frame).ok()?.payload;
    let file = payload.get(FILE..FILE + FILE_LENGTH)?;
    let end = file.iter().position(|&byte| byte == 0)?;
    Some((xid, str::from_utf8(file.get(..end)?).ok()?))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::Ipv4Addr;

    use proxydhcp_lab::{CLIENT_INTERFACE, Lab};

    use super::*;
    use crate::toy::Toy;
    use crate::{Client, Firmware};

    #[test]
    fn each_wire_has_its_load_and_what_is_lost_is_counted() {
        let clients: Vec<_> = (1..=4)
            .map(|host| {
                Client::new(
                    Firmware::Uefi,
                    Ipv4Addr::new(10, 77, 1, host),
                    "winboot/new/",
                )
            })
            .collect();
        let labs = [Lab::new().unwrap(), Lab::new().unwrap()];
        let toys = |silent| {
            let toy = move |number| {
                if Some(number) == silent {
                    Toy::Silent
                } else {
                    Toy::Answers
                }
            };
            let toys = clients.iter().cloned().enumerate();
            toys.map(move |(number, client)| (client, toy(number)))
                .collect::<Vec<_>>()
        };
        let _responders = [
            Toy::serve(&labs[0].server, toys(None).into_iter()),
            Toy::serve(&labs[1].server, toys(Some(3)).into_iter()),
        ];
        let wires = labs.each_ref().map(|lab| (&lab.client, CLIENT_INTERFACE));
        let requests: Vec<_> = clients
            .iter()
            .map(|client| client.request.clone())
            .collect();
        let ticks = Cell::new(30);
        let go_on = || ticks.replace(ticks.get() - 1) > 0;
        let mut heard = [[0; 4]; 2];
        let report = on_wires(&wires, &requests, 400, &go_on, &mut |it| {
            assert!(it.file.starts_with("winboot/new/") && !it.time.is_zero());
            heard[it.wire][it.request_index] += 1;
        });
        let report = report.unwrap();
        assert_eq!(heard, [[30; 4], [30, 30, 30, 0]]);
        assert_eq!((report.sent, report.answered, report.strays), (240, 210, 0));
    }
}
