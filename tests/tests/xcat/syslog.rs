//! The daemon's messages to the local syslog: to a real one, and to one that does not listen.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use anyhow::{Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::debian;
use proxydhcp_lab::site::NODE_A;
use proxydhcp_lab::{Expected, RequestFrame, check_reply};

use crate::node::{Node, wait_until};

/// rsyslog on a node. Its lines go to the node's file `syslog`.
struct Rsyslog<'a> {
    node: &'a Node,
}

impl<'a> Rsyslog<'a> {
    fn start(node: &'a Node) -> Result<Self> {
        debian::ensure_installed("rsyslogd", "rsyslog")?;
        let config = node.path("rsyslog.conf");
        let lines = node.path("syslog");
        let text = format!(
            "module(load=\"imuxsock\")\n\
             template(name=\"plain\" type=\"string\" \
             string=\"%syslogfacility-text%.%syslogseverity-text% %programname%:%msg%\\n\")\n\
             action(type=\"omfile\" template=\"plain\" file=\"{}\")\n",
            lines.display()
        );
        fs::write(&config, text)?;
        let config = config.display().to_string();
        let args = ["-n", "-f", &config, "-i", "/run/rsyslogd.pid"];
        node.spawn("/usr/sbin/rsyslogd", &args)?;
        let rsyslog = Self { node };
        wait_until("rsyslog", || Ok(node.path("dev/log").exists()))?;
        Ok(rsyslog)
    }

    fn stop(self) -> Result<()> {
        let pid = fs::read_to_string(self.node.path("run/rsyslogd.pid"))?;
        self.node.succeed("kill", &[pid.trim()])?;
        wait_until("rsyslog's end", || {
            Ok(!self.node.path("run/rsyslogd.pid").exists())
        })?;
        // It may leave the socket behind, on which nobody listens.
        let _ = fs::remove_file(self.node.path("dev/log"));
        Ok(())
    }

    /// The lines so far.
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.node.path("syslog")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Waits for a line that is this to the letter, origin, facility and severity included.
    fn await_line(&self, text: &str) -> Result<()> {
        let line = format!("local4.info xcat: {text}");
        wait_until(&line, || Ok(self.lines().contains(&line)))
    }

    /// Waits for a line that has this text in it.
    fn await_part(&self, part: &str) -> Result<()> {
        wait_until(part, || {
            Ok(self.lines().iter().any(|line| line.contains(part)))
        })
    }

    fn count(&self, part: &str) -> usize {
        self.lines()
            .iter()
            .filter(|line| line.contains(part))
            .count()
    }
}

#[test]
fn its_log_is_that_of_xcat() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/"), ("b", "winboot/b/")])?;
    let rsyslog = Rsyslog::start(&node)?;
    node.start(&["-dV"])?;
    rsyslog.await_line("ready: px0 (kernel, generic); 2 nodes")?;
    for name in ["a", "b"] {
        for line in [
            format!("The boot loader path for node {name} is winboot/{name}/Boot/pxeboot.0"),
            format!("The boot loader path for node {name} is winboot/{name}/Boot/bootmgfw.efi"),
            format!("The BCD path for node {name} is winboot/{name}/Boot/BCD"),
        ] {
            rsyslog.await_line(&line)?;
        }
    }

    // A reload logs what is new or has changed, that it was made, and each bad record.
    node.nodeset(&[("a", "winboot/a/"), ("b", "winboot/c"), ("c", "../")])?;
    rsyslog.await_line("The BCD path for node b is winboot/c/Boot/BCD")?;
    rsyslog.await_part("xcat: reloaded in ")?;
    // Fields are plain text; rsyslog would write an escape as #033.
    rsyslog.await_part(" generation=2 nodes=2")?;
    rsyslog.await_part("xcat: Warning: record 3 (c) is refused: ")?;
    assert_eq!(rsyslog.count("The BCD path for node b is"), 2);
    assert_eq!(rsyslog.count("The BCD path for node a is"), 1);

    // A syslog that is started later gets the later messages.
    rsyslog.stop()?;
    node.nodeset(&[("a", "winboot/lost/")])?;
    node.await_generation(3)?;
    // The daemon has sent its messages, and not only the kernel.
    wait_until("the end of the reload", || {
        Ok(node.status()?["reloading"].is_null())
    })?;
    let rsyslog = Rsyslog::start(&node)?;
    node.nodeset(&[("a", "winboot/heard/")])?;
    rsyslog.await_line("The BCD path for node a is winboot/heard/Boot/BCD")?;
    assert_eq!(
        rsyslog.count("winboot/lost"),
        0,
        "somebody else has listened"
    );

    node.kill(2)?;
    rsyslog.await_line("stopping")?;
    wait_until("the end", || Ok(node.processes()?.is_empty()))?;
    let strangers: Vec<_> = rsyslog
        .lines()
        .into_iter()
        .filter(|line| line.contains("node") && !line.starts_with("local4.info xcat: "))
        .collect();
    ensure!(strangers.is_empty(), "{strangers:?}");
    Ok(())
}

#[test]
fn without_v_it_is_terse() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/")])?;
    let rsyslog = Rsyslog::start(&node)?;
    node.start(&["-d"])?;
    node.nodeset(&[("a", "winboot/b/")])?;
    rsyslog.await_part("reloaded in ")?;
    assert_eq!(rsyslog.count("path for node"), 0);
    Ok(())
}

#[test]
fn a_failure_is_told_there_in_the_words_of_xcats_daemon() -> Result<()> {
    let node = Node::with(&[("a", "")])?;
    let rsyslog = Rsyslog::start(&node)?;
    let take = || Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4011))?);
    let _other = node.lab.server.run(take)?;
    let output = node.run(&node.program, &["-d"])?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    rsyslog.await_line("Unable to open socket on port 4011.")?;
    rsyslog.await_part("xcat: Error: UDP port 4011 is taken: ")?;
    Ok(())
}

/// More lines than its socket takes, which nobody reads: they are lost, and nothing else is.
#[test]
fn a_syslog_that_hangs_holds_up_nothing() -> Result<()> {
    let names: Vec<String> = (0..1000).map(|number| format!("n{number}")).collect();
    let node = Node::new()?;
    let hosts = (0..).zip(&names).map(|(number, name)| {
        let [.., high, low] = u32::to_be_bytes(number);
        (Ipv4Addr::new(10, 77, 2 + high, low), name)
    });
    fs::write(
        node.path("hosts"),
        proxydhcp_lab::config::hosts_text(hosts.chain([(NODE_A, &"a".to_owned())])),
    )?;
    let records = |winpe: &'static str| {
        let records = names.iter().map(move |name| (name.as_str(), winpe));
        records.chain([("a", winpe)]).collect::<Vec<_>>()
    };
    fs::write(
        node.config(),
        proxydhcp_lab::config::cfg_bytes(records("winboot/a/"))?,
    )?;
    let _hanging = UnixDatagram::bind(node.path("dev/log"))?;
    node.start(&["-dV"])?;
    for (generation, winpe) in [(2, "winboot/b/"), (3, "winboot/c/")] {
        node.nodeset(&records(winpe))?;
        node.await_generation(generation)?;
        let mut tap = node.lab.tap()?;
        let request = RequestFrame::edk2(NODE_A, UEFI_X64);
        let reply = tap.ask(&request)?;
        check_reply(&request.bytes(), &reply, &Expected::new(winpe, UEFI_X64))?;
    }
    node.kill(2)?;
    wait_until("the port", || node.port_is_free())?;
    // It does not wait for each of 9,000 lines to be given up.
    let started = std::time::Instant::now();
    wait_until("the end", || Ok(node.processes()?.is_empty()))?;
    println!("ended {:?} after it had freed the port", started.elapsed());
    ensure!(started.elapsed() < Duration::from_secs(10));
    Ok(())
}
