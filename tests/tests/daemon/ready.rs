//! The daemon says when it is ready: on its standard output, and to the service manager.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{Datapath, Files, Site, serve_args};
use proxydhcp_lab::{Daemon, Lab, RequestFrame, alone, binary};

use crate::cluster::Cluster;

#[test]
fn a_thousand_nodes_are_served_once_the_daemon_is_ready() -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::new(1000);
    for (datapath, line) in [
        (Datapath::Native, "ready: px0 (kernel, native); 1000 nodes"),
        (
            Datapath::Generic,
            "ready: px0 (kernel, generic); 1000 nodes",
        ),
        (Datapath::AfXdp, "ready: px0 (af-xdp, generic); 1000 nodes"),
        (Datapath::Raw, "ready: px0 (raw); 1000 nodes"),
    ] {
        let (lab, files) = (Lab::new()?, Files::new()?);
        cluster.write_hosts(&files)?;
        cluster.write_config(&files, "winboot/x")?;
        let args = serve_args(datapath, &files, &[]);
        let started = Instant::now();
        let daemon = Daemon::start(&lab.server, &binary()?, &args)?;
        println!("{datapath:?}: ready in {:?}", started.elapsed());
        assert_eq!(daemon.ready_line(), line);
        let mut site = Site::of(lab, daemon, files)?;
        // The line is true even for the last of the nodes.
        if let Some((request, arch)) = cluster.requests().last() {
            site.ask(request, "winboot/x/", *arch)?;
        }
    }
    Ok(())
}

#[test]
fn the_service_manager_is_told_too() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    let manager = UnixDatagram::bind(files.path("notify"))?;
    manager.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut command = Command::new(binary()?);
    command
        .args(serve_args(Datapath::Native, &files, &[]))
        .env("NOTIFY_SOCKET", files.path("notify"));
    let daemon = Daemon::start_command(&lab.server, command)?;
    let mut message = [0; 100];
    let length = manager.recv(&mut message)?;
    let text = String::from_utf8_lossy(&message[..length]);
    assert!(text.lines().any(|line| line == "READY=1"), "{text}");
    // And by then, that was true.
    let request = RequestFrame::edk2([10, 77, 1, 1].into(), UEFI_X64);
    lab.tap()?.ask(&request)?;
    drop(daemon);
    Ok(())
}

#[test]
fn a_service_manager_that_is_gone_is_no_reason_to_fail() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    let mut command = Command::new(binary()?);
    command
        .args(serve_args(Datapath::Raw, &files, &[]))
        .env("NOTIFY_SOCKET", files.path("nobody"));
    let mut daemon = Daemon::start_command(&lab.server, command)?;
    daemon.wait_for("cannot notify the service manager", Duration::from_secs(10))?;
    lab.tap()?
        .ask(&RequestFrame::edk2([10, 77, 1, 1].into(), UEFI_X64))?;
    Ok(())
}
