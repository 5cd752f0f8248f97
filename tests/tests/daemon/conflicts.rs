//! Conflicts that keep the daemon from starting or from using XDP, which it explains by name.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use proxydhcp_lab::link::{occupy_xdp, xdp_program};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site, serve_args};
use proxydhcp_lab::{Daemon, Lab, Namespace, SERVER_INTERFACE, binary};

#[test]
fn a_second_daemon_gives_way_to_the_first() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::usual(datapath)?;
        let others = Files::usual()?;
        for files in [&others, &site.files] {
            let error = refusal(&site.lab.server, &serve_args(datapath, files, &[]))?;
            let named = format!(
                "another proxyDHCP daemon is running: proxydhcp (pid {}, user root) holds UDP port 4011; \
                 stop it first",
                site.daemon.pid()
            );
            assert!(error.contains(&named), "{error}");
        }
        assert!(!others.path("control.sock").exists());
        site.ask_uefi(NODE_A, "winboot/a/")?;
        assert_eq!(site.status()?["pid"], site.daemon.pid());
        assert_eq!(site.status()?["interfaces"][0]["datapath"], datapath.name());
    }
    Ok(())
}

#[test]
fn a_second_daemon_elsewhere_needs_a_control_socket_of_its_own() -> Result<()> {
    let mut site = Site::usual(Datapath::Native)?;
    let lab = Lab::new()?;
    let args = serve_args(Datapath::Native, &site.files, &[]);
    let error = refusal(&lab.server, &args)?;
    assert!(
        error.contains("another daemon listens on") && error.contains("--control"),
        "{error}"
    );
    assert_eq!(site.status()?["pid"], site.daemon.pid());
    site.ask_uefi(NODE_A, "winboot/a/")?;
    Ok(())
}

#[test]
fn a_file_in_the_control_socket_s_place_is_left_alone() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    fs::write(files.path("control.sock"), "precious")?;
    let error = refusal(&lab.server, &serve_args(Datapath::Native, &files, &[]))?;
    assert!(
        error.contains("control.sock exists and is not a socket; remove it, or use another"),
        "{error}"
    );
    assert_eq!(fs::read(files.path("control.sock"))?, b"precious");
    Ok(())
}

#[test]
fn another_xdp_program_is_named_and_left_alone() -> Result<()> {
    for modes in [&["--xdp-mode", "native"], &["--xdp-mode", "generic"]] {
        let (lab, files) = (Lab::new()?, Files::usual()?);
        let other = occupy_xdp(&lab.server, SERVER_INTERFACE)?;
        let id = xdp_program(&lab.server, SERVER_INTERFACE)?.context("no program")?;
        let named = format!("another XDP program (id {id}; ");

        let by_kernel = [&["--path", "kernel"][..], modes].concat();
        let error = refusal(&lab.server, &args_by(&files, &by_kernel))?;
        assert!(
            error.contains("XDP does not attach to px0") && error.contains(&named),
            "{error}"
        );
        assert_eq!(xdp_program(&lab.server, SERVER_INTERFACE)?, Some(id));

        let by_any = [&["--path", "auto"][..], modes].concat();
        let mut daemon = Daemon::start(&lab.server, &binary()?, &args_by(&files, &by_any))?;
        assert_eq!(daemon.ready_line(), "ready: px0 (raw); 3 nodes");
        // The log comes through another pipe than the ready line.
        let told = daemon.wait_for("serving px0 by the raw datapath", Duration::from_secs(5))?;
        ensure!(told.contains(&named), "{told}");
        let mut site = Site::of(lab, daemon, files)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        let server = &site.lab.server;
        assert_eq!(xdp_program(server, SERVER_INTERFACE)?, Some(id));

        // Once the other has gone, the next start has the interface.
        site.daemon.stop()?;
        drop(other);
        site.daemon = Daemon::start(server, &binary()?, &args_by(&site.files, &by_kernel))?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        assert_eq!(site.status()?["interfaces"][0]["datapath"], "kernel");
    }
    Ok(())
}

/// The arguments that serve these files on this path.
fn args_by(files: &Files, path: &[&str]) -> Vec<String> {
    let usual = ["serve", "-i", SERVER_INTERFACE];
    let args = [&usual, path].concat();
    let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    args.extend(files.args());
    args
}

/// The message of a daemon that ends with exit status 1 instead of starting.
fn refusal(namespace: &Namespace, args: &[String]) -> Result<String> {
    let Err(error) = Daemon::start(namespace, &binary()?, args) else {
        bail!("it started");
    };
    let error = error.to_string();
    ensure!(error.contains("ended with exit status: 1"), "{error}");
    Ok(error)
}
