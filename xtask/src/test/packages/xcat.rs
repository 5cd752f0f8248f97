//! The package `proxydhcp-xcat`, beside a package that has xCAT's files where xCAT has them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::Packages;
use super::machine::{Machine, SHARED, build};
use super::site::Site;

/// In the place of xCAT's daemon: holds the port under its name, until SIGINT or SIGTERM.
const DAEMON: &str = r#"#!/usr/bin/perl
# VERSION
use IO::Socket::INET;
exit if fork;
$0 = "proxydhcp-xcat";
open(my $comm, ">", "/proc/self/comm"); print $comm "proxydhcp-xcat"; close($comm);
my $socket;
for (1 .. 50) {
    $socket = IO::Socket::INET->new(LocalPort => 4011, Proto => "udp") and last;
    select(undef, undef, undef, 0.1);
}
die "Unable to open socket on port 4011." unless $socket;
open(my $pid, ">", "/var/run/xcat/proxydhcp-xcat.pid"); print $pid $$; close($pid);
sleep 1 while 1;
"#;
/// In the place of xcatd: starts the daemon at its own start. Where this machine has control groups of
/// the first kind, systemd in a container does not hear of the end of processes, and waits in vain. It
/// starts more often here than systemd takes for sound, which is five times in ten seconds.
const XCATD: &str = "[Unit]\nStartLimitIntervalSec=0\n\
                     [Service]\nType=forking\nRuntimeDirectory=xcat\nKillMode=mixed\nTimeoutStopSec=3\n\
                     ExecStart=/bin/sh -c '/opt/xcat/sbin/proxydhcp-xcat -d; sleep infinity & echo $$! > /run/xcat/main'\n\
                     PIDFile=/run/xcat/main\n\
                     ExecStop=/bin/sh -c 'kill -2 $(cat /var/run/xcat/proxydhcp-xcat.pid)'\n\
                     [Install]\nWantedBy=multi-user.target\n";
const PROGRAM: &str = "/opt/xcat/sbin/proxydhcp-xcat";

pub(super) fn test(release: &str, packages: &Packages) -> Result<()> {
    let site = Site::boot(release, packages)?;
    let machine = &site.machine;
    for version in ["1", "2"] {
        xcat(version, site.shared())?;
    }
    machine.sh(&format!(
        "dpkg -i {SHARED}/xcat-1.deb; systemctl start xcatd"
    ))?;
    machine.await_sh("test -s /var/run/xcat/proxydhcp-xcat.pid")?;

    machine.sh(&format!("dpkg -i {SHARED}/proxydhcp.deb"))?;
    site.set_up()?;
    machine.sh(&format!("dpkg -i {SHARED}/proxydhcp-xcat.deb"))?;
    is_ours(&site).context("after the installation")?;
    site.storm()?;

    machine.sh(&format!(
        "dpkg -i {SHARED}/xcat-2.deb; systemctl restart xcatd"
    ))?;
    is_ours(&site).context("after an update of xCAT")?;
    machine.sh(&format!("grep -q 'version 2' {PROGRAM}.perl"))?;

    machine.sh(&format!(
        "dpkg -i {SHARED}/proxydhcp.next.deb {SHARED}/proxydhcp-xcat.next.deb"
    ))?;
    is_ours(&site).context("after an upgrade")?;

    machine.sh("dpkg --remove proxydhcp-xcat")?;
    is_xcats(&site).context("after removing")?;
    // The other order: a link made by hand gives way, too.
    machine.sh(&format!(
        "mv {PROGRAM} {PROGRAM}.perl; ln -s /usr/sbin/proxydhcp {PROGRAM}"
    ))?;
    machine.sh(&format!("dpkg -i {SHARED}/proxydhcp-xcat.next.deb"))?;
    is_ours(&site).context("in the place of a link")?;
    machine.sh("dpkg --purge proxydhcp-xcat proxydhcp")?;
    is_xcats(&site).context("after purging")
}

/// Makes a package with xCAT's files.
fn xcat(version: &str, shared: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |path: &str, text: &str, mode: u32| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        anyhow::Ok(())
    };
    let daemon = DAEMON.replace("VERSION", &format!("version {version}"));
    write("opt/xcat/sbin/proxydhcp-xcat", &daemon, 0o755)?;
    write("lib/systemd/system/xcatd.service", XCATD, 0o644)?;
    let control = format!(
        "Package: xcat-server\nVersion: {version}\nArchitecture: all\nMaintainer: a test <a@test>\n\
         Description: files where xCAT has them\n"
    );
    write("DEBIAN/control", &control, 0o644)?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    build(folder.path(), &shared.join(format!("xcat-{version}.deb")))
}

/// The programs of the processes that have the daemon's name.
fn running(machine: &Machine) -> Result<Vec<String>> {
    let programs = machine.sh(
        "for it in /proc/[0-9]*; do \
         if [ \"$(cat $it/comm 2> /dev/null)\" = proxydhcp-xcat ]; then readlink $it/exe; fi; done",
    )?;
    Ok(programs.lines().map(str::to_owned).collect())
}

/// One daemon answers, and it is this project's.
fn is_ours(site: &Site) -> Result<()> {
    let link = site.machine.sh(&format!("readlink {PROGRAM}"))?;
    ensure!(link.trim() == "/usr/sbin/proxydhcp", "{link}");
    let running = running(&site.machine)?;
    ensure!(
        running.len() == 1
            && running
                .iter()
                .all(|it| it.starts_with("/usr/sbin/proxydhcp")),
        "{running:?}"
    );
    ensure!(site.is_answered()?, "nobody answers");
    Ok(())
}

/// One daemon runs, and it is xCAT's; nothing goes on answering for another.
fn is_xcats(site: &Site) -> Result<()> {
    let machine = &site.machine;
    machine.sh(&format!(
        "grep -q 'version 2' {PROGRAM}; test ! -L {PROGRAM} -a ! -e {PROGRAM}.perl; \
         test -z \"$(dpkg-divert --list {PROGRAM})\""
    ))?;
    machine.await_sh("test -s /var/run/xcat/proxydhcp-xcat.pid")?;
    let running = running(machine)?;
    ensure!(
        running.len() == 1 && running.iter().all(|it| it.contains("perl")),
        "{running:?}"
    );
    ensure!(!site.is_answered()?, "something goes on answering");
    Ok(())
}
