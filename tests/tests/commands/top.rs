//! `proxydhcp top`, on a terminal.

use std::process::Command;

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proxydhcp_lab::binary;
use proxydhcp_lab::site::{Datapath, NODE_A, STRANGER, Site};
use proxydhcp_lab::top::{ENTER, Top};

#[test]
fn top_shows_nodes_as_they_boot_and_gives_the_terminal_back() -> Result<()> {
    let mut site = Site::usual(Datapath::Generic)?;
    let mut top = Top::start(&site)?;
    top.shows("3 nodes")?;
    top.shows(". silent 3")?;
    top.shows("px0 (kernel): 0 answers")?;
    top.shows("silent: 3")?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    site.stays_silent_to(STRANGER)?;
    top.shows("o answered 1")?;
    top.shows(". silent 2")?;
    top.shows("px0 (kernel): 1 answers")?;
    top.shows("refused: 1 unknown-client")?;
    top.press("q")?;
    assert_eq!(top.end()?, Some(0));
    top.is_restored()
}

#[test]
fn signals_and_control_c_give_the_terminal_back() -> Result<()> {
    let site = Site::usual(Datapath::Raw)?;
    for (signal, code) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGINT, 130),
        (Signal::SIGHUP, 129),
    ] {
        let mut top = Top::start(&site)?;
        top.shows("3 nodes")?;
        kill(Pid::from_raw(top.pid().try_into()?), signal)?;
        assert_eq!(top.end()?, Some(code), "{signal}");
        top.is_restored()?;
    }
    let mut top = Top::start(&site)?;
    top.shows("3 nodes")?;
    top.press("\x03")?;
    assert_eq!(top.end()?, Some(0));
    top.is_restored()
}

#[test]
fn a_daemon_that_ends_is_missed_and_one_that_comes_is_shown() -> Result<()> {
    let mut site = Site::usual(Datapath::Raw)?;
    let mut top = Top::start(&site)?;
    top.shows("3 nodes")?;
    site.daemon.stop()?;
    top.shows("no daemon listens on")?;
    site.files.write_config(&[("a", "winboot/a/")])?;
    let args = proxydhcp_lab::site::serve_args(Datapath::Raw, &site.files, &[]);
    site.daemon = proxydhcp_lab::Daemon::start(&site.lab.server, &binary()?, &args)?;
    top.shows("1 node ")?;
    top.press("q")?;
    assert_eq!(top.end()?, Some(0));
    Ok(())
}

#[test]
fn without_a_terminal_or_a_daemon_it_says_so() -> Result<()> {
    let site = Site::usual(Datapath::Raw)?;
    let piped = site.command(&["top"])?;
    assert_eq!(piped.code, Some(1));
    ensure!(piped.stderr.contains("top needs a terminal"), "{piped:?}");
    let mut command = Command::new("script");
    let line = format!("{} top --control /nonexistent", binary()?.display());
    command.args(["-qec", &line, "/dev/null"]);
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        !output.status.success() && text.contains("no daemon listens on /nonexistent"),
        "{text}"
    );
    ensure!(!text.contains(ENTER), "{text}");
    Ok(())
}
