//! Files that name no node, at a start in the place of a daemon that was killed: as at a reload,
//! the nodes in service are not given up for them.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proxydhcp_lab::resolver::{DeadNameServer, Resolver};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site, serve_args};
use proxydhcp_lab::{Daemon, Lab, SERVER_INTERFACE, alone, binary};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{IN_KERNEL, PATIENCE, link_of, pinned, restart, restart_killed};

/// What the daemon logs at a start whose files are rejected.
const GOES_ON: &str = "the kernel goes on answering from the tables of a daemon that was killed";

#[test]
fn the_kernel_goes_on_until_it_is_said_that_none_is_meant() -> Result<()> {
    for datapath in IN_KERNEL {
        let more = ["--unknown", "default"];
        let mut site = Site::with(datapath, &more)?;
        let reload = "proxydhcp reload --allow-empty";
        site.daemon.crash()?;
        site.files.write_config(&[])?;
        restart(&mut site, datapath, &more)?;
        for told in [GOES_ON, "has no records", reload] {
            site.daemon.wait_for(told, PATIENCE)?;
        }
        site.ask_uefi(NODE_A, "winboot/a/")?;
        let status = site.status()?;
        assert!(status["rejected"].to_string().contains(reload), "{status}");
        // That was the kernel: the daemon itself has no tables yet.
        let by_daemon = &status["interfaces"][0]["raw"]["answered"];
        assert_eq!(*by_daemon, 0, "{status}");

        // A reload changes nothing, nor does a signal.
        let refused = site.command(&["reload"])?;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains(reload), "{refused:?}");
        site.daemon.signal(Signal::USR1)?;
        site.daemon.wait_for("not reloaded", PATIENCE)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;

        let meant = site.command(&["reload", "--allow-empty"])?;
        assert_eq!(meant.code, Some(0), "{meant:?}");
        site.ask_uefi(NODE_A, "")?;
        serves(&site.status()?, 0, Datapath::Native, 3);

        // There is nothing to lose any more.
        restart_killed(&mut site, datapath, &more)?;
        serves(&site.status()?, 0, Datapath::Native, 3);
        site.ask_uefi(NODE_A, "")?;
        serves(&site.status()?, 0, Datapath::Native, 4);
        site.daemon.stop()?;
        assert_eq!(pinned(&site.lab.server)?, "");
    }
    Ok(())
}

#[test]
fn it_goes_on_until_the_names_have_addresses() -> Result<()> {
    let _alone = alone();
    let lab = Lab::new()?;
    let files = Files::new()?;
    files.write_config(&[("a", "winboot/a")])?;
    files.write_hosts(&[("10.77.1.1", "a")])?;
    let mut site = Site::start_in(lab, Datapath::Native, files, &[])?;
    site.daemon.crash()?;

    // From now on the name is the name server's, which takes its time.
    site.files.write_hosts(&[])?;
    site.files.write_config(&[("a", "winboot/new")])?;
    let silent = DeadNameServer::start(&site.lab.server)?;
    let resolver = Resolver::new("")?;
    let args = serve_args(Datapath::Native, &site.files, &[]).join(" ");
    let serve = format!("exec {} {args}", binary()?.display());
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-euc", &(resolver.mounts() + &serve)]);
    site.daemon = Daemon::start_command(&site.lab.server, command)?;
    for told in [GOES_ON, "(1 record in all)"] {
        site.daemon.wait_for(told, PATIENCE)?;
    }
    site.ask_uefi(NODE_A, "winboot/a/")?;

    let serving = format!("serving {SERVER_INTERFACE} (kernel");
    let started = Instant::now();
    while !site.daemon.log().contains(&serving) {
        ensure!(started.elapsed() < PATIENCE, "{}", site.daemon.log());
        silent.answer(NODE_A)?;
        thread::sleep(Duration::from_millis(5));
    }
    site.ask_uefi(NODE_A, "winboot/new/")?;
    let mut status = Command::new(binary()?);
    status.args(["status", "--json", "--control"]);
    status.arg(site.files.path("control.sock"));
    let status = site.lab.server.output(status)?;
    let status: Value = serde_json::from_slice(&status.stdout)?;
    // Once from the old tables, and once from the new ones.
    serves(&status, 1, Datapath::Native, 2);
    assert_eq!(pinned(&site.lab.server)?, link_of(&site)?);
    Ok(())
}

/// This holds for a daemon that does not answer in the kernel any more, too.
#[test]
fn what_goes_on_ends_when_there_are_tables() -> Result<()> {
    for (datapath, more) in [(Datapath::Raw, &[][..]), (Datapath::Generic, &["--no-pin"])] {
        let mut site = Site::usual(Datapath::Generic)?;
        site.daemon.crash()?;
        site.files.write_config(&[])?;
        restart(&mut site, datapath, more)?;
        site.daemon.wait_for(GOES_ON, PATIENCE)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        site.files.write_config(&[("a", "winboot/new")])?;
        let reloaded = site.command(&["reload"])?;
        assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
        assert_eq!(pinned(&site.lab.server)?, "");
        site.ask_uefi(NODE_A, "winboot/new/")?;
        serves(&site.status()?, 1, datapath, 1);
    }
    Ok(())
}

/// Asserts that nothing is amiss: so many nodes are served by this datapath, and so many requests
/// have been answered, those included that its program answered for the daemon before.
fn serves(status: &Value, nodes: u64, datapath: Datapath, answered: u64) {
    for (field, expected) in [
        ("/interfaces/0/datapath", json!(datapath.name())),
        ("/interfaces/0/counters/answered", json!(answered)),
        ("/nodes", json!(nodes)),
        ("/rejected", Value::Null),
    ] {
        assert_eq!(status.pointer(field), Some(&expected), "{field}: {status}");
    }
}
