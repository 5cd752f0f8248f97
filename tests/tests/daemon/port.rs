//! UDP port 4011, which any user of the host may hold, and which no request needs to be answered.

use std::net::UdpSocket;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use proxydhcp_lab::link::{add_address, set_up};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site, serve_args};
use proxydhcp_lab::{Daemon, Lab, SERVER_INTERFACE, binary};

const ROOT: u32 = 0;
const SOMEBODY: u32 = 54_321;
const SERVER_ADDRESS: &str = "10.77.0.1";
const ADDRESSES: [&str; 3] = ["0.0.0.0", SERVER_ADDRESS, "127.0.0.1"];
const PATIENCE: Duration = Duration::from_secs(30);

/// Binds the port on an address of the server, as a user of it.
fn hold(lab: &Lab, user: u32, address: &str) -> Result<UdpSocket> {
    lab.server.run(|| {
        // SAFETY: it changes the rights of this thread alone, which ends with the closure.
        unsafe { libc::setfsuid(user) };
        UdpSocket::bind((address, 4011)).with_context(|| format!("cannot bind {address}"))
    })
}

fn lab() -> Result<Lab> {
    let lab = Lab::new()?;
    set_up(&lab.server, "lo")?;
    Ok(lab)
}

/// The message of a daemon that does not start.
fn refusal(lab: &Lab, args: &[String]) -> Result<String> {
    match Daemon::start(&lab.server, &binary()?, args) {
        Ok(_) => bail!("it started"),
        Err(error) => Ok(error.to_string()),
    }
}

#[test]
fn a_user_who_holds_it_keeps_no_request_from_its_answer() -> Result<()> {
    for datapath in Datapath::ALL {
        for address in ADDRESSES {
            let lab = lab()?;
            let held = hold(&lab, SOMEBODY, address)?;
            let mut site = Site::start_in(lab, datapath, Files::usual()?, &[])?;
            let told = site.daemon.wait_for("UDP port 4011 is held by", PATIENCE)?;
            ensure!(
                told.contains("user 54321") && told.contains("WARN"),
                "{told}"
            );
            site.ask_uefi(NODE_A, "winboot/a/")?;
            // The kernel tells no client that the port is closed.
            ensure!(hold(&site.lab, ROOT, SERVER_ADDRESS).is_err(), "{address}");
            let status = site.command(&["status"])?.stdout;
            let pid = format!("(pid {}, user 54321)", std::process::id());
            ensure!(
                status.contains(&pid) && status.contains("requests are answered all the same"),
                "{status}"
            );
            assert_eq!(site.status()?["port_holders"][0]["user"], SOMEBODY);

            drop(held);
            // It looks again when an interface changes.
            let another = ([10, 77, 0, 9].into(), 16);
            add_address(&site.lab.server, SERVER_INTERFACE, another)?;
            site.daemon.wait_for("UDP port 4011 is free", PATIENCE)?;
            ensure!(hold(&site.lab, SOMEBODY, "10.77.0.9").is_err());
            assert_eq!(site.status()?.get("port_holders"), None);
        }
    }
    Ok(())
}

#[test]
fn a_service_that_holds_it_is_a_mistake_to_mend() -> Result<()> {
    let lab = lab()?;
    let _held = hold(&lab, ROOT, "0.0.0.0")?;
    let mut site = Site::start_in(lab, Datapath::Raw, Files::usual()?, &[])?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    let status = site.command(&["status"])?.stdout;
    ensure!(
        status.contains("a second PXE server would answer the same clients; stop it"),
        "{status}"
    );
    Ok(())
}

#[test]
fn a_second_daemon_is_found_out_without_it() -> Result<()> {
    for (datapath, more) in [
        (Datapath::Native, &[][..]),
        (Datapath::Generic, &["--no-pin"]),
        (Datapath::Raw, &[]),
    ] {
        let lab = lab()?;
        let _held = hold(&lab, SOMEBODY, "0.0.0.0")?;
        let mut site = Site::start_in(lab, datapath, Files::usual()?, more)?;
        let others = Files::usual()?;
        let by_pins = refusal(&site.lab, &serve_args(datapath, &others, more))?;
        ensure!(
            by_pins.contains("another proxyDHCP daemon is running in this network namespace"),
            "{by_pins}"
        );
        let by_socket = refusal(&site.lab, &serve_args(datapath, &site.files, more))?;
        ensure!(
            by_socket.contains("another daemon listens on"),
            "{by_socket}"
        );
        site.ask_uefi(NODE_A, "winboot/a/")?;
    }
    Ok(())
}
