//! A stop leaves nothing behind, at once.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::bpf::BpfObjects;
use proxydhcp_lab::flood::Flood;
use proxydhcp_lab::packet::BATCH;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site};
use proxydhcp_lab::{Lab, Namespace, RequestFrame, Tap, alone, link};
use rustix::process::Signal;
use serde_json::Value;

/// How long it may take from the signal until nothing is left, on the busiest machine.
const DEADLINE: Duration = Duration::from_secs(2);
/// More than the daemon has.
const FLOODING_THREADS: usize = 4;
/// How many requests have been sent when the flood is under way.
const UNDER_WAY: u64 = 50_000;
/// When to give up looking.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_signal_stops_it_and_nothing_is_left() -> Result<()> {
    let _alone = alone();
    for datapath in Datapath::ALL {
        for signal in [Signal::INT, Signal::TERM] {
            stops_at_once(&format!("{datapath:?}, {signal:?}"), || {
                let mut site = Site::usual(datapath)?;
                site.ask_uefi(NODE_A, "winboot/a/")?;
                site.daemon.check_accounts()?;
                stop(&mut site, signal)
            })?;
        }
    }
    Ok(())
}

#[test]
fn idle_clients_of_the_control_socket_do_not_hold_it_up() -> Result<()> {
    let _alone = alone();
    stops_at_once("with 50 idle connections", || {
        let mut site = Site::usual(Datapath::Native)?;
        let socket = site.files.path("control.sock");
        let idle: io::Result<Vec<_>> = (0..50).map(|_| UnixStream::connect(&socket)).collect();
        // Answered after them, so they have been accepted.
        site.status()?;
        let times = stop(&mut site, Signal::TERM);
        drop(idle?);
        times
    })
}

#[test]
fn many_interfaces_are_all_left() -> Result<()> {
    let _alone = alone();
    for datapath in Datapath::ALL {
        let lab = Lab::new()?;
        let _wires = (1..8)
            .map(|n| lab.one_more_wire(n))
            .collect::<Result<Vec<_>>>()?;
        let more: Vec<String> = (1..8).map(|n| format!("-ipx{n}")).collect();
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let mut site = Site::start_in(lab, datapath, Files::usual()?, &more)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        let times = stop(&mut site, Signal::TERM)?;
        // The kernel takes a while for each of them.
        println!("{datapath:?} on 8 interfaces: {times:?}");
    }
    Ok(())
}

#[test]
fn a_reload_does_not_hold_it_up() -> Result<()> {
    let _alone = alone();
    for datapath in [Datapath::Native, Datapath::AfXdp, Datapath::Raw] {
        // A reload is read, filled in and swapped in: the stop comes in the midst of each.
        for pause in [0, 2, 10].map(Duration::from_millis) {
            stops_at_once(&format!("{datapath:?}, {pause:?} into a reload"), || {
                let mut site = Site::usual(datapath)?;
                let held = Held::by(&site)?;
                site.daemon.signal(Signal::USR1)?;
                thread::sleep(pause);
                stop_what_holds(&mut site, &held, Signal::TERM)
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_flood_of_requests_does_not_hold_it_up() -> Result<()> {
    let _alone = alone();
    for datapath in Datapath::ALL {
        let mut site = Site::usual(datapath)?;
        // A tap on the wire would fill its socket.
        site.tap = Tap::open(&site.lab.client, "lo")?;
        let request = RequestFrame::edk2(NODE_A, UEFI_X64).bytes();
        let flood = Flood::new(&site.lab.client, vec![request; BATCH], FLOODING_THREADS)?;
        let times = flood.during(|| {
            flood.await_more(UNDER_WAY, PATIENCE)?;
            stop(&mut site, Signal::TERM)
        })?;
        // The times are only printed: a machine without time to spare stops nothing at once.
        println!("{datapath:?} in a flood: {times:?}");
    }
    Ok(())
}

/// A part of the daemon that must be gone.
#[derive(Clone, Copy, Debug)]
enum Part {
    Process,
    /// UDP port 4011.
    Port,
    /// The program on the interface.
    Xdp,
    /// The maps and programs in the kernel.
    BpfObjects,
    ControlSocket,
}

impl Part {
    const ALL: [Self; 5] = [
        Self::Process,
        Self::Port,
        Self::Xdp,
        Self::BpfObjects,
        Self::ControlSocket,
    ];

    fn is_gone(self, site: &mut Site, held: &Held) -> Result<bool> {
        let server = &site.lab.server;
        Ok(match self {
            Self::Process => site.daemon.wait(Duration::ZERO).is_ok(),
            Self::Port => {
                server.run(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4011)).is_ok()))?
            }
            Self::Xdp => xdp_programs(server, &held.interfaces)?.is_empty(),
            Self::BpfObjects => held.objects.left()?.iter().next().is_none(),
            Self::ControlSocket => !site.files.path("control.sock").exists(),
        })
    }
}

/// The parts that a daemon holds.
struct Held {
    interfaces: Vec<String>,
    objects: BpfObjects,
}

impl Held {
    fn by(site: &Site) -> Result<Self> {
        let status = site.status()?;
        let all = status.get("interfaces").and_then(Value::as_array);
        let all = all.context("no interfaces")?;
        let text = |interface: &Value, key| Some(interface.get(key)?.as_str()?.to_owned());
        let held = Self {
            interfaces: all.iter().filter_map(|i| text(i, "name")).collect(),
            objects: BpfObjects::of(site.daemon.pid())?,
        };

        // A part that is to be gone later must be there now.
        let attached = all.iter().filter(|i| text(i, "mode").is_some()).count();
        let programs = xdp_programs(&site.lab.server, &held.interfaces)?;
        ensure!(programs.len() == attached, "{status}");
        let objects: Vec<_> = held.objects.iter().collect();
        let of_kind = |kind| objects.iter().filter(move |(k, _)| *k == kind);
        ensure!(
            programs
                .iter()
                .all(|program| of_kind("prog_id").any(|(_, id)| id == program)),
            "{objects:?}"
        );
        let maps = of_kind("map_id").count();
        ensure!((maps > 0) == (attached > 0), "{objects:?}");
        Ok(held)
    }
}

/// The XDP programs on these interfaces.
fn xdp_programs(namespace: &Namespace, interfaces: &[String]) -> Result<Vec<u32>> {
    let programs = interfaces
        .iter()
        .map(|name| link::xdp_program(namespace, name));
    programs.filter_map(Result::transpose).collect()
}

/// When, counted from the signal, each part was seen to be gone.
type Times = Vec<(Part, Duration)>;

fn stop(site: &mut Site, signal: Signal) -> Result<Times> {
    let held = Held::by(site)?;
    stop_what_holds(site, &held, signal)
}

/// Sends the signal, and looks every millisecond for what is left.
fn stop_what_holds(site: &mut Site, held: &Held, signal: Signal) -> Result<Times> {
    let asked = Instant::now();
    site.daemon.signal(signal)?;
    let mut left = Part::ALL.to_vec();
    let mut times = Times::new();
    while !left.is_empty() {
        ensure!(
            asked.elapsed() < PATIENCE,
            "{left:?} stay\n{}",
            site.daemon.log()
        );
        for part in mem::take(&mut left) {
            if part.is_gone(site, held)? {
                // A successor that waits for the port must not find the interface occupied, nor
                // anybody on the control socket.
                if matches!(part, Part::Port) {
                    ensure!(
                        Part::Xdp.is_gone(site, held)?,
                        "the port is free before XDP"
                    );
                    ensure!(Part::ControlSocket.is_gone(site, held)?, "nor the socket");
                }
                times.push((part, asked.elapsed()));
            } else {
                left.push(part);
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    let status = site.daemon.wait(PATIENCE)?;
    ensure!(status.code() == Some(0), "it ended with {status}");
    Ok(times)
}

/// Stops, and prints when each part was gone: well under 100 ms on a machine that has nothing else
/// to do. What is asserted is that it does not hang.
fn stops_at_once(what: &str, mut stop: impl FnMut() -> Result<Times>) -> Result<()> {
    let times = stop()?;
    println!("{what}: {times:?}");
    ensure!(
        times.iter().all(|(_, time)| *time < DEADLINE),
        "{what}: not within {DEADLINE:?}: {times:?}"
    );
    Ok(())
}
