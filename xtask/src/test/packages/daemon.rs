//! The package `proxydhcp`, from installing to purging.

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::SERVER_INTERFACE;
use proxydhcp_lab::link::xdp_program;

use super::Packages;
use super::machine::{Machine, SHARED};
use super::site::Site;

pub(super) fn test(release: &str, packages: &Packages) -> Result<()> {
    let site = Site::boot(release, packages)?;
    let machine = &site.machine;
    let before = machine.files()?;
    installs(machine)?;
    site.set_up()?;
    machine.sh(
        "systemctl enable --now proxydhcp || { journalctl --no-pager -u proxydhcp; exit 1; }",
    )?;
    site.storm().context("a storm after the installation")?;
    upgrades(&site).context("an upgrade")?;
    refuses(&site).context("an upgrade to a version that would not start")?;
    downgrades(&site).context("a downgrade")?;
    site.storm().context("a storm at the end")?;
    removes(&site).context("removing")?;
    machine.sh("dpkg --purge proxydhcp")?;
    let mut after = machine.files()?;
    // What the site has made.
    let of_site = ["/tftpboot", "/var/lib/xcat", "/etc/hosts"];
    after.retain(|file| !of_site.iter().any(|begin| file.starts_with(begin)));
    let left: Vec<_> = after.iter().filter(|file| !before.contains(file)).collect();
    ensure!(left.is_empty(), "a purge leaves {left:?}");
    machine.sh(
        "cmp /mnt/proxydhcp.cfg /var/lib/xcat/proxydhcp.cfg; test -e /tftpboot/winboot/x/Boot/BCD",
    )?;
    Ok(())
}

fn installs(machine: &Machine) -> Result<()> {
    let told = machine.sh(&format!("dpkg -i {SHARED}/proxydhcp.deb"))?;
    starts_nothing(machine).context(told)?;
    // The man pages, the completions and the version are there.
    machine.sh(
        "test -e /usr/share/man/man8/proxydhcp.8.gz -a -e /usr/share/man/man5/proxydhcp.toml.5.gz",
    )?;
    let script = machine.sh("cat /usr/share/bash-completion/completions/proxydhcp")?;
    ensure!(!script.contains("target"), "{script}");
    machine.sh("proxydhcp --version | grep 'XDP object'")?;
    machine.sh("dpkg --verify proxydhcp")?;
    Ok(())
}

/// Nothing serves before somebody has said where.
pub(super) fn starts_nothing(machine: &Machine) -> Result<()> {
    let (_, enabled) = machine.try_sh("systemctl is-enabled proxydhcp")?;
    ensure!(enabled.trim() == "disabled", "{enabled}");
    machine.sh("! systemctl is-active proxydhcp")?;
    machine.sh("! systemctl start proxydhcp")?;
    let log = machine.sh("journalctl --no-pager -u proxydhcp")?;
    for part in [
        "/etc/proxydhcp.toml: no interface is named",
        "px0 (10.77.0.1)",
    ] {
        ensure!(log.contains(part), "no {part:?} in {log}");
    }
    Ok(())
}

fn pid(machine: &Machine) -> Result<String> {
    machine.sh("systemctl show --property=MainPID --value proxydhcp")
}

/// The new version takes over, and every request is answered meanwhile.
fn upgrades(site: &Site) -> Result<()> {
    let machine = &site.machine;
    takes_over(site, "an upgrade", || {
        machine.sh(&format!("dpkg -i {SHARED}/proxydhcp.next.deb"))
    })?;
    // Settings stay as the site has written them.
    machine.sh("grep -q '^interface' /etc/proxydhcp.toml")?;
    Ok(())
}

/// By `install`, another version takes over, and every request is answered meanwhile.
pub(super) fn takes_over(
    site: &Site,
    what: &str,
    install: impl FnOnce() -> Result<String>,
) -> Result<()> {
    let machine = &site.machine;
    let before = pid(machine)?;
    let (told, load) = site
        .loses_nothing(install)
        .with_context(|| what.to_owned())?;
    println!(
        "{what}: {} of {} requests lost at {:.0} a second",
        load.missing(),
        load.sent,
        load.rate()
    );
    ensure!(
        told.contains("has taken over from process"),
        "{what}: {told}"
    );
    ensure!(
        pid(machine)? != before,
        "{what}: the old daemon goes on: {told}"
    );
    is_served(machine).with_context(|| what.to_owned())
}

pub(super) fn is_served(machine: &Machine) -> Result<()> {
    machine.sh("systemctl is-active proxydhcp")?;
    let status = machine.sh("proxydhcp status")?;
    ensure!(status.contains("1000 nodes"), "{status}");
    Ok(())
}

/// If the new version would not start, the old one goes on, and dpkg's output says so.
fn refuses(site: &Site) -> Result<()> {
    let machine = &site.machine;
    let before = pid(machine)?;
    machine.sh("cp -a /etc/proxydhcp.toml /root/; sed -i '1i watch = 7' /etc/proxydhcp.toml")?;
    let told = machine.sh(&format!("dpkg -i {SHARED}/proxydhcp.next.deb"))?;
    for part in [
        "goes on serving with its old version",
        "/etc/proxydhcp.toml",
    ] {
        ensure!(told.contains(part), "no {part:?} in {told}");
    }
    ensure!(pid(machine)? == before, "the old daemon is gone: {told}");
    machine.sh("mv /root/proxydhcp.toml /etc/")?;
    let told = machine.sh("proxydhcp upgrade")?;
    ensure!(told.contains("has taken over from process"), "{told}");
    let told = machine.sh("proxydhcp upgrade")?;
    ensure!(told.contains("runs this version already"), "{told}");
    Ok(())
}

fn downgrades(site: &Site) -> Result<()> {
    takes_over(site, "a downgrade", || {
        site.machine.sh(&format!("dpkg -i {SHARED}/proxydhcp.deb"))
    })
}

/// Nothing goes on answering; data and settings stay.
fn removes(site: &Site) -> Result<()> {
    let machine = &site.machine;
    machine.sh("dpkg --remove proxydhcp")?;
    has_left_nothing_answering(site)?;
    machine.sh("test -e /etc/proxydhcp.toml -a -e /var/lib/xcat/proxydhcp.cfg")?;
    Ok(())
}

/// What was removed has stopped, and the kernel answers for it no longer.
pub(super) fn has_left_nothing_answering(site: &Site) -> Result<()> {
    let machine = &site.machine;
    ensure!(!site.is_answered()?, "something goes on answering");
    let program = xdp_program(&site.lab.server, SERVER_INTERFACE)?;
    ensure!(program.is_none(), "the XDP program stays");
    machine.sh("test ! -e /sys/fs/bpf/proxydhcp")?;
    machine.sh("! pgrep -x proxydhcp 2> /dev/null; ! ls /proc/[0-9]*/exe -l 2> /dev/null | grep sbin/proxydhcp")?;
    Ok(())
}
