//! Daemons of several network namespaces that share one BPF file system.

use std::process::{Child, Command};

use anyhow::Result;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site, serve_args};
use proxydhcp_lab::{Daemon, Ended, Lab, RequestFrame, binary};

use super::{PATIENCE, detach, link_of, pinned, restart};

/// A site whose daemons have the BPF file system of another.
struct Guest {
    site: Site,
    /// Is in the other's mount namespace.
    holder: Child,
}

impl Guest {
    fn of(host: &Site) -> Result<Self> {
        let mut sleep = Command::new("sleep");
        sleep.arg("600");
        let holder = host.lab.server.spawn(sleep)?;
        let (lab, files) = (Lab::new()?, Files::usual()?);
        let daemon = Self::start(&lab, &files, holder.id())?;
        let site = Site::of(lab, daemon, files)?;
        Ok(Self { site, holder })
    }

    fn start(lab: &Lab, files: &Files, holder: u32) -> Result<Daemon> {
        let command = Self::command(holder, &serve_args(Datapath::Generic, files, &[]))?;
        Daemon::start_command(&lab.server, command)
    }

    fn command(holder: u32, args: &[String]) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{holder}/ns/mnt"));
        command.arg(binary()?).args(args);
        Ok(command)
    }

    fn restart(&mut self) -> Result<()> {
        let Self { site, holder } = self;
        site.daemon = Self::start(&site.lab, &site.files, holder.id())?;
        Ok(())
    }

    fn detach(&self) -> Result<Ended> {
        let command = Self::command(self.holder.id(), &["detach".to_owned()])?;
        Ok(self.site.lab.server.output(command)?.into())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[test]
fn each_leaves_the_others_pins_alone() -> Result<()> {
    let mut host = Site::usual(Datapath::Generic)?;
    let mut guest = Guest::of(&host)?;
    assert!(
        !guest.site.daemon.log().contains("another daemon"),
        "{}",
        guest.site.daemon.log()
    );
    let request = RequestFrame::edk2(NODE_A, 7);
    let both_answer = |host: &mut Site, guest: &mut Guest| {
        host.ask(&request, "winboot/a/", 7)?;
        guest.site.ask(&request, "winboot/a/", 7)
    };
    both_answer(&mut host, &mut guest)?;

    // Each in turn is killed, and the other starts and stops meanwhile.
    host.daemon.crash()?;
    guest.site.daemon.crash()?;
    guest.restart()?;
    both_answer(&mut host, &mut guest)?;
    guest.site.daemon.stop()?;
    host.ask(&request, "winboot/a/", 7)?;
    guest.restart()?;
    guest.site.daemon.crash()?;
    restart(&mut host, Datapath::Generic, &[])?;
    both_answer(&mut host, &mut guest)?;

    let detached = guest.detach()?;
    assert_eq!(
        detached.stdout, "px0: what a killed daemon left: removed\n",
        "{detached:?}"
    );
    guest.site.stays_silent(&request.bytes())?;
    host.ask(&request, "winboot/a/", 7)?;
    assert_eq!(pinned(&host.lab.server)?, link_of(&host)?);
    host.daemon.crash()?;
    let detached = guest.detach()?;
    assert_eq!(
        detached.stdout, "nothing is left of a killed daemon\n",
        "{detached:?}"
    );
    host.ask(&request, "winboot/a/", 7)?;
    let detached = detach(&host)?;
    assert_eq!(detached.code, Some(0), "{detached:?}");
    assert_eq!(pinned(&host.lab.server)?, "");
    Ok(())
}

#[test]
fn what_is_left_of_a_namespace_that_is_gone_is_removed() -> Result<()> {
    let mut host = Site::usual(Datapath::Generic)?;
    let mut guest = Guest::of(&host)?;
    guest.site.daemon.crash()?;
    assert_eq!(pinned(&host.lab.server)?.lines().count(), 2);
    drop(guest);
    let started = std::time::Instant::now();
    // The kernel takes its time over a namespace.
    while pinned(&host.lab.server)? != link_of(&host)? {
        anyhow::ensure!(
            started.elapsed() < PATIENCE,
            "{}",
            pinned(&host.lab.server)?
        );
        host.daemon.crash()?;
        restart(&mut host, Datapath::Generic, &[])?;
    }
    host.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
    Ok(())
}
