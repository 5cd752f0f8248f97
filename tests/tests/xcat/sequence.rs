//! The life that xCAT leads its daemon: started, signalled, replaced, killed and started again.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::config::hosts_text;
use proxydhcp_lab::link::xdp_program;
use proxydhcp_lab::site::NODE_A;
use proxydhcp_lab::{Expected, RequestFrame, SERVER_INTERFACE, check_reply};

use crate::node::{Node, wait_until};
use crate::stream::{Asked, Stream};

/// How often the daemon is replaced, by either way to end it.
const ROUNDS: usize = 8;
/// How often a daemon of many interfaces is killed.
const KILLS: usize = 3;
const WIRES: u8 = 8;
/// A request that was sent this long before the daemon was asked to end may have arrived after
/// that.
const ON_ITS_WAY: Duration = Duration::from_millis(10);

#[test]
fn xcat_leads_it_through_its_life() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/")])?;
    // So many that it may ask a thousand times a second.
    let addresses: Vec<Ipv4Addr> = (0..=255).map(|low| Ipv4Addr::new(10, 77, 2, low)).collect();
    let hosts = addresses.iter().map(|address| (*address, "b"));
    // Clients without a record wait for the resolver where the hosts file lacks a name.
    let hosts = hosts.chain([(NODE_A, "a")]);
    fs::write(node.path("hosts"), hosts_text(hosts))?;
    node.start(&["-d"])?;
    let first = node.pid()?;
    let watch = PidFileWatch::start(node.pid_file());
    let stream = Stream::start(&node.lab, addresses)?;

    // It is no node yet: the default. Then it is set, and set anew.
    wait_until("the default", || Ok(stream.latest() == "Boot/bootmgfw.efi"))?;
    for winpe in ["winboot/b/", "winboot/c/"] {
        node.nodeset(&[("a", "winboot/a/"), ("b", winpe)])?;
        let loader = format!("{winpe}Boot/bootmgfw.efi");
        wait_until(&loader, || Ok(stream.latest() == loader))?;
    }

    // Before it was a node, its addresses were looked up first.
    let up_since = Instant::now();
    let mut downs = Vec::new();
    let mut pids = vec![first];
    for signal in [2, 9].into_iter().cycle().take(2 * ROUNDS) {
        let from = Instant::now();
        node.replace(signal)?;
        downs.push((signal, from, Instant::now()));
        wait_until(
            "the end of the old one",
            || Ok(node.processes()?.len() == 1),
        )?;
        pids.push(node.pid()?);
        ensure!(
            node.status()?["interfaces"][0]["datapath"] == "kernel",
            "after signal {signal}: {}",
            node.status()?
        );
    }
    pids.dedup();
    ensure!(pids.len() == 1 + 2 * ROUNDS, "not replaced: {pids:?}");

    let asked = stream.finish()?;
    let looks = watch.finish()?;
    println!(
        "{} requests, {} unanswered; {looks} looks at the pid file",
        asked.len(),
        asked.iter().filter(|asked| asked.loader.is_none()).count(),
    );
    for (signal, from, until) in &downs {
        println!(
            "signal {signal}: the next served {:?} later",
            *until - *from
        );
    }
    let lost: Vec<&Asked> = asked
        .iter()
        .filter(|asked| asked.loader.is_none() && !may_be_lost(asked, up_since, &downs))
        .collect();
    ensure!(lost.is_empty(), "lost: {lost:?}, down: {downs:?}");

    // The last one leaves nothing.
    node.kill(15)?;
    wait_until("the end", || Ok(node.processes()?.is_empty()))?;
    assert!(!node.pid_file().exists());
    assert!(node.port_is_free()?);
    assert_eq!(xdp_program(&node.lab.server, SERVER_INTERFACE)?, None);
    Ok(())
}

/// The kernel takes a killed process's belongings from it one by one. Whoever waits for the port
/// must not find anybody on the control socket; nodes are answered all along.
#[test]
fn a_killed_one_leaves_the_kernel_answering_and_nobody_on_its_socket() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/")])?;
    let _wires = wires(&node)?;
    let mut tap = node.lab.tap()?;
    for _ in 0..KILLS {
        node.start(&["-d"])?;
        node.kill(9)?;
        while !node.port_is_free()? {}
        let control = UnixStream::connect(node.path("run/proxydhcp/control.sock"));
        ensure!(control.is_err(), "somebody listens");
        let request = RequestFrame::edk2(NODE_A, UEFI_X64);
        let reply = tap.ask(&request)?;
        check_reply(
            &request.bytes(),
            &reply,
            &Expected::new("winboot/a/", UEFI_X64),
        )?;
    }
    Ok(())
}

#[test]
fn a_successor_that_waits_takes_over_from_a_killed_one() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/")])?;
    let _wires = wires(&node)?;
    node.start(&["-d"])?;
    for round in 0..KILLS {
        let before = node.pid()?;
        thread::scope(|scope| {
            let start = scope.spawn(|| node.start(&["-d"]));
            wait_until("the successor", || Ok(node.processes()?.len() > 1))?;
            // At another moment of its waiting each time.
            thread::sleep(Duration::from_millis(20 + 3 * round as u64));
            node.kill(9)?;
            match start.join() {
                Ok(started) => started,
                Err(_) => anyhow::bail!("the start failed"),
            }
        })?;
        ensure!(node.pid()? != before, "not replaced");
        let status = node.status()?;
        let interfaces = status["interfaces"].as_array().context("none")?;
        ensure!(interfaces.len() == usize::from(WIRES), "{status}");
        let by_kernel = interfaces.iter().all(|one| one["datapath"] == "kernel");
        ensure!(by_kernel, "{status}");
    }
    Ok(())
}

/// A stop needs no further datagram: the port, the interface and the pid file are free at once.
#[test]
fn an_interrupt_frees_everything_without_another_request() -> Result<()> {
    for signal in [2, 15] {
        let node = Node::with(&[("a", "winboot/a/")])?;
        node.start(&["-d"])?;
        assert!(!node.port_is_free()?);
        let asked = Instant::now();
        node.kill(signal)?;
        wait_until("the port", || node.port_is_free())?;
        println!(
            "signal {signal}: the port is free after {:?}",
            asked.elapsed()
        );
        // Whoever gets the port finds nothing else in its way.
        assert!(!node.pid_file().exists());
        assert_eq!(xdp_program(&node.lab.server, SERVER_INTERFACE)?, None);
        wait_until("the end", || Ok(node.processes()?.is_empty()))?;
    }
    Ok(())
}

/// Interfaces that a killed daemon leaves one after the other.
fn wires(node: &Node) -> Result<Vec<Option<OwnedFd>>> {
    (1..WIRES)
        .map(|number| node.lab.one_more_wire(number))
        .collect()
}

/// Whether no daemon need have been there for it.
fn may_be_lost(asked: &Asked, up_since: Instant, downs: &[(u8, Instant, Instant)]) -> bool {
    asked.before < up_since
        || downs
            .iter()
            .any(|(_, from, until)| asked.after + ON_ITS_WAY > *from && asked.before < *until)
}

/// Looks at the pid file without pause: it has a number whenever it is there.
struct PidFileWatch {
    over: Arc<AtomicBool>,
    looks: JoinHandle<Result<u64>>,
}

impl PidFileWatch {
    fn start(path: PathBuf) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let looks = thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let mut looks = 0;
                while !over.load(Ordering::Relaxed) {
                    match fs::read_to_string(&path) {
                        Ok(text) => {
                            ensure!(text.parse::<u32>().is_ok(), "the pid file has {text:?}");
                            looks += 1;
                        }
                        Err(error) if error.kind() == ErrorKind::NotFound => {}
                        Err(error) => return Err(error.into()),
                    }
                    // Not all of a small machine's time.
                    thread::yield_now();
                }
                Ok(looks)
            }
        });
        Self { over, looks }
    }

    fn finish(self) -> Result<u64> {
        self.over.store(true, Ordering::Relaxed);
        match self.looks.join() {
            Ok(looks) => looks,
            Err(_) => anyhow::bail!("the watch failed"),
        }
    }
}
