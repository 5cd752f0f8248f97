//! Many clients of the control socket at once, whose replies are long or take long.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::resolver::{DeadNameServer, Resolver};
use proxydhcp_lab::site::{Datapath, Files, Site, serve_args};
use proxydhcp_lab::{Daemon, Lab, binary};

use crate::watchdog::{ALIVE, Manager};

const WHOLE_STATUS: &[u8] = b"{\"command\":\"status\",\"whole\":true}\n";

const RELOAD: &[u8] = b"{\"command\":\"reload\"}\n";

/// Against hanging.
const GENEROUS: Duration = Duration::from_mins(1);

/// A site whose names nobody knows, and whose name server is dead.
struct Nameless {
    site: Site,
    manager: Manager,
    _server: DeadNameServer,
}

fn nameless(names: usize, watchdog: Duration) -> Result<Nameless> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    let server = DeadNameServer::start(&lab.server)?;
    let names: Vec<_> = (0..names)
        .map(|n| format!("a-name-that-nobody-knows-{n:06}"))
        .collect();
    let names = names.iter().map(|name| (name.as_str(), "winboot/x"));
    files.write_config(
        &[("a", "winboot/a")]
            .into_iter()
            .chain(names)
            .collect::<Vec<_>>(),
    )?;
    let manager = Manager::listen(&files)?;
    let mut command = Command::new(binary()?);
    command
        .args(serve_args(Datapath::Raw, &files, &[]))
        .env("NOTIFY_SOCKET", files.path("notify"))
        .env("WATCHDOG_USEC", watchdog.as_micros().to_string());
    let resolver = Resolver::new("")?;
    resolver.give_to(&mut command)?;
    let daemon = Daemon::start_command(&lab.server, command)?;
    Ok(Nameless {
        site: Site::of(lab, daemon, files)?,
        manager,
        _server: server,
    })
}

#[test]
fn long_replies_to_many_keep_the_daemon_alive_and_small() -> Result<()> {
    const LIMIT: Duration = Duration::from_secs(3);
    let nameless = nameless(50_000, LIMIT)?;
    let (site, manager) = (&nameless.site, &nameless.manager);
    let before = peak(site)?;
    let replies = thread::scope(|scope| {
        let clients: Vec<_> = (0..40)
            .map(|_| scope.spawn(|| whole_reply(site, WHOLE_STATUS)))
            .collect();
        // systemd would end a daemon that it has not heard from for this long.
        while !clients.iter().all(ScopedJoinHandle::is_finished) {
            manager.hears_within(LIMIT, ALIVE)?;
        }
        let replies = clients.into_iter().map(|client| client.join().unwrap());
        replies.collect::<Result<Vec<_>>>()
    })?;
    for reply in &replies {
        assert!(reply.ends_with("}}\n") && reply.len() > 2_000_000);
    }
    let grown = peak(site)?.saturating_sub(before);
    let length = replies.first().map_or(0, String::len);
    println!("40 replies of {length} bytes at once: {grown} bytes more at the peak");
    assert!(grown < 20 * length, "{grown} bytes for replies of {length}");

    // The text names a few, and says how many more there are.
    let told = site.command(&["status"])?.stdout;
    let names = "the resolver is being asked for a-name-that-nobody-knows-000000, \
                 a-name-that-nobody-knows-000001, ";
    assert!(told.contains(names), "{told}");
    assert!(
        told.contains("a-name-that-nobody-knows-000019 and 49980 more\n"),
        "{told}"
    );
    Ok(())
}

#[test]
fn many_lookups_at_once_read_the_hosts_file_few_at_a_time() -> Result<()> {
    let files = Files::usual()?;
    let usual = fs::read(files.path("hosts"))?;
    let comments = "# nothing but a comment that makes the file long\n".repeat(100_000);
    fs::write(files.path("hosts"), [&usual, comments.as_bytes()].concat())?;
    let length = comments.len();
    let site = Site::start(Datapath::Raw, files, &[])?;
    let before = peak(&site)?;
    let request = b"{\"command\":\"lookup\",\"client\":\"a\",\"arch\":7}\n";
    thread::scope(|scope| {
        let clients: Vec<_> = (0..60)
            .map(|_| scope.spawn(|| whole_reply(&site, request)))
            .collect();
        for client in clients {
            let reply = client.join().unwrap()?;
            ensure!(reply.contains("\"answered\":true"), "{reply}");
        }
        Ok(())
    })?;
    let grown = peak(&site)?.saturating_sub(before);
    println!("60 look-ups in {length} bytes at once: {grown} bytes more at the peak");
    assert!(grown < 8 * length, "{grown} bytes for {length}");
    Ok(())
}

/// Where no node would have an address, a reload waits some seconds for the name server.
#[test]
fn who_waits_for_a_reload_keeps_nobody_out() -> Result<()> {
    let nameless = nameless(1, GENEROUS)?;
    let site = &nameless.site;
    site.files.write_hosts(&[])?;
    let mut waiting = Vec::new();
    for _ in 0..100 {
        let mut client = connect(site)?;
        client.write_all(RELOAD)?;
        client.set_nonblocking(true)?;
        waiting.push(client);
    }
    let status = site.status()?;
    for client in &mut waiting {
        // The reload has not replied yet: the status has not waited for it.
        let told = client.read(&mut [0]).map_err(|error| error.kind());
        assert_eq!(told, Err(io::ErrorKind::WouldBlock));
    }
    assert!(status["reloading"].is_number(), "{status}");
    let told = site.command(&["status"])?.stdout;
    assert!(told.contains("\na reload has been running for "), "{told}");

    // Clients that go away make room for others.
    let started = Instant::now();
    drop(waiting);
    loop {
        for _ in 0..100 {
            connect(site)?.write_all(RELOAD)?;
        }
        if started.elapsed() > Duration::from_secs(4) {
            break;
        }
        thread::sleep(Duration::from_millis(400));
    }
    thread::sleep(Duration::from_secs(1));
    let told = whole_reply(site, RELOAD)?;
    ensure!(told.contains("(2 records in all)"), "{told}");
    assert!(site.status()?.get("reloading").is_none());
    Ok(())
}

fn connect(site: &Site) -> Result<UnixStream> {
    let client = UnixStream::connect(site.files.path("control.sock"))?;
    client.set_read_timeout(Some(GENEROUS))?;
    Ok(client)
}

fn whole_reply(site: &Site, request: &[u8]) -> Result<String> {
    let mut client = connect(site)?;
    client.write_all(request)?;
    let mut reply = String::new();
    BufReader::new(client).read_line(&mut reply)?;
    Ok(reply)
}

/// The most memory that the daemon has had so far, in bytes.
fn peak(site: &Site) -> Result<usize> {
    let status = fs::read_to_string(format!("/proc/{}/status", site.daemon.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    let kibibytes: usize = kibibytes.context("no VmHWM")?.parse()?;
    Ok(kibibytes * 1024)
}
