//! xCAT's services under a real systemd: what `systemctl stop` and `restart` make of the daemon.
//!
//! systemd runs as the first process of namespaces of its own: of processes, mounts, control groups
//! and the lab's network. The service is xcatd's unit as xCAT has it, from 2.18 on and before. A
//! script stands for xcatd: it does what xcatd does to the daemon, and nothing else.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::config::{cfg_bytes, hosts_text};
use proxydhcp_lab::site::NODE_A;
use proxydhcp_lab::{Daemon, Expected, Lab, RequestFrame, Tap, binary, check_reply, debian};
use tempfile::TempDir;

use crate::node::wait_until;
use crate::stream::Stream;

/// As in xCAT's place, but shorter.
const SETTINGS: &str = "outlive = \"3s\"\nrate-limit = 0\n";
/// What is awaited takes a few seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);

/// The first process. In a control group of its own, it becomes systemd.
const INIT: &str = r#"
mount --bind "$1/etc" /etc
mount --bind "$1/opt" /opt
mount --bind "$1/var-lib" /var/lib
mount -n -t tmpfs tmpfs /run
mount -n -t sysfs sysfs /sys
mount -n -t cgroup2 cgroup2 /sys/fs/cgroup
mount -n -t bpf -o mode=0700 bpf /sys/fs/bpf
mkdir -p /run/systemd/system
echo ready
exec env -i container=lxc PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=test.target >"$1/systemd.log" 2>&1
"#;

/// xCAT's units, without the rest of a system that they would wait for.
pub(crate) const SINCE_2_18: &str = "\
[Unit]
Description=xCAT management service
DefaultDependencies=no
[Service]
Type=forking
PIDFile=/run/xcatd.pid
RuntimeDirectory=xcat
RuntimeDirectoryMode=0755
ExecStart=/opt/xcat/sbin/xcatd -p /run/xcatd.pid
ExecStop=/bin/sh -c 'if [ -s /run/xcatd.pid ]; then kill -TERM \"$(cat /run/xcatd.pid)\" 2>/dev/null || true; fi'
Restart=on-failure
RestartSec=5s
TimeoutStartSec=600
TimeoutStopSec=30
KillMode=mixed
";
const BEFORE: &str = "\
[Unit]
Description=xCAT management service
DefaultDependencies=no
[Service]
Type=forking
PIDFile=/run/xcatd.pid
ExecStartPre=/bin/mkdir -p /run/xcat
ExecStart=/etc/init.d/xcatd start
ExecStop=/etc/init.d/xcatd stop
RemainAfterExit=no
Restart=on-failure
RestartSec=5s
TimeoutStartSec=600
";

/// Kills xcatd, like xCAT's script.
const INIT_SCRIPT: &str = r#"#!/bin/sh
case $1 in
start) exec /opt/xcat/sbin/xcatd -p /run/xcatd.pid ;;
stop) kill -TERM "$(cat /run/xcatd.pid)" && rm -f /run/xcatd.pid ;;
esac
"#;

/// What xcatd does to the daemon when it starts: the old one is interrupted, and a new one started
/// where `setupproxydhcp` asks for it.
const XCATD: &str = r#"#!/usr/bin/perl
my $file = $ARGV[1];
if (my $child = fork) {
    open(my $out, ">", $file); print $out $child; close $out;
    exit 0;
}
$SIG{TERM} = sub { exit 0 };
my $pid;
if (open(my $in, "<", "/var/run/xcat/proxydhcp-xcat.pid")) { $pid = <$in>; }
kill 2, $pid if $pid;
system("/opt/xcat/sbin/proxydhcp-xcat -d") if -e "/opt/xcat/setupproxydhcp";
open(my $ready, ">", "/run/xcatd-is-up");
sleep 1000 while 1;
"#;

/// Another daemon of that name, which takes the port and answers nobody; it notes who asks.
const OTHER: &str = r#"#!/usr/bin/perl
use IO::Socket::INET;
exit 0 if fork;
my $socket = IO::Socket::INET->new(LocalPort => 4011, Proto => "udp") or die "no port";
while ($socket->recv(my $data, 1500)) {
    open(my $out, ">>", "/opt/asked"); print $out $socket->peerhost . "\n"; close $out;
}
"#;

/// The host: systemd, and all that it starts.
pub(crate) struct Host {
    lab: Lab,
    pub(crate) tap: Tap,
    folder: TempDir,
    init: Daemon,
    group: Group,
}

/// A control group for systemd. Dropping it removes it, when its processes have ended.
struct Group(PathBuf);

/// The number of the next control group.
static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Group {
    fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let root = mounts.lines().find_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let is_group = kind.starts_with("cgroup2 ");
            is_group.then(|| mount.split(' ').nth(4)).flatten()
        });
        let root = Path::new(root.context("no cgroup2 file system is mounted")?);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let group = root.join(format!("proxydhcp-test-{}-{number}", process::id()));
        fs::create_dir(&group)?;
        Ok(Self(group))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let started = Instant::now();
        while remove_groups(&self.0).is_err() && started.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn remove_groups(group: &Path) -> Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    Ok(fs::remove_dir(group)?)
}

fn write_program(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o755))?)
}

impl Host {
    /// A host with this unit, which serves the node `a`.
    pub(crate) fn new(unit: &str) -> Result<Self> {
        for (program, package) in [("systemctl", "systemd"), ("perl", "perl-base")] {
            debian::ensure_installed(program, package)?;
        }
        let lab = Lab::new()?;
        let folder = TempDir::new()?;
        let path = |name: &str| folder.path().join(name);
        for name in [
            "etc/systemd/system",
            "etc/init.d",
            "opt/xcat/sbin",
            "var-lib/xcat",
        ] {
            fs::create_dir_all(path(name))?;
        }
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        fs::write(path("etc/machine-id"), "0123456789abcdef0123456789abcdef\n")?;
        fs::write(path("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        fs::write(path("etc/group"), "root:x:0:\n")?;
        fs::write(path("etc/hosts"), hosts_text([(NODE_A, "a")]))?;
        fs::write(path("etc/proxydhcp.toml"), SETTINGS)?;
        fs::write(
            path("etc/systemd/system/test.target"),
            "[Unit]\nDefaultDependencies=no\n",
        )?;
        fs::write(path("etc/systemd/system/xcatd.service"), unit)?;
        write_program(&path("etc/init.d/xcatd"), INIT_SCRIPT)?;
        write_program(&path("opt/xcat/sbin/xcatd"), XCATD)?;
        symlink(binary()?, path("opt/xcat/sbin/proxydhcp-xcat"))?;
        fs::write(path("opt/xcat/setupproxydhcp"), "")?;
        let config = cfg_bytes([("a", "winboot/a/")])?;
        fs::write(path("var-lib/xcat/proxydhcp.cfg"), config)?;
        // Programs are linked with these.
        for name in ["ld.so.cache", "alternatives", "perl"] {
            let from = Path::new("/etc").join(name);
            if from.exists() {
                let copied = Command::new("cp")
                    .arg("-a")
                    .arg(from)
                    .arg(path("etc"))
                    .status()?;
                ensure!(copied.success(), "cannot copy {name}");
            }
        }

        let group = Group::new()?;
        let mut init = Command::new("sh");
        let unshare = "echo $$ >\"$2/cgroup.procs\"; exec unshare --mount --pid --cgroup --uts --ipc \
            --fork --kill-child --mount-proc sh -euc \"$3\" sh \"$1\"";
        init.args(["-euc", unshare, "sh"]);
        init.arg(folder.path()).arg(&group.0).arg(INIT);
        let init = Daemon::start_command(&lab.server, init)?;
        let tap = lab.tap()?;
        let host = Self {
            lab,
            tap,
            folder,
            init,
            group,
        };
        wait_until("systemd", || Ok(host.systemctl(&["list-units"]).is_ok()))?;
        Ok(host)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<process::Output> {
        let of_init = |name| format!("/proc/{}/ns/{name}", self.init.pid());
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount={}", of_init("mnt")))
            .arg(format!("--pid={}", of_init("pid_for_children")))
            .args(["--", program])
            .args(args);
        self.lab.server.output(command)
    }

    pub(crate) fn systemctl(&self, args: &[&str]) -> Result<()> {
        let output = self.run("systemctl", args)?;
        let log = || fs::read_to_string(self.path("systemd.log")).unwrap_or_default();
        ensure!(output.status.success(), "{args:?}: {output:?}: {}", log());
        Ok(())
    }

    fn is_answered(&mut self) -> Result<bool> {
        let request = RequestFrame::edk2(NODE_A, UEFI_X64);
        let Ok(reply) = self.tap.ask(&request) else {
            return Ok(false);
        };
        let expected = Expected::new("winboot/a/", UEFI_X64);
        check_reply(&request.bytes(), &reply, &expected)?;
        Ok(true)
    }

    /// Waits until the node is answered, or is not.
    fn await_answers(&mut self, answered: bool) -> Result<()> {
        let started = Instant::now();
        while self.is_answered()? != answered {
            ensure!(started.elapsed() < PATIENCE, "answered is not {answered}");
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Restarts xcatd while nodes ask. What is lost is what the gap is.
    fn restart(&self) -> Result<()> {
        let stream = Stream::start(&self.lab, vec![NODE_A])?;
        thread::sleep(Duration::from_millis(300));
        let from = Instant::now();
        self.systemctl(&["restart", "xcatd"])?;
        // xcatd has forked, and starts the daemon yet.
        wait_until("the daemon", || {
            let status = self.run(&binary()?.display().to_string(), &["status"])?;
            Ok(matches!(status.status.code(), Some(0 | 2)))
        })?;
        let until = Instant::now();
        thread::sleep(Duration::from_millis(300));
        let asked = stream.finish()?;
        let lost: Vec<_> = asked.iter().filter(|it| it.loader.is_none()).collect();
        println!(
            "restart: {} of {} lost in {:?}",
            lost.len(),
            asked.len(),
            until - from
        );
        let slack = Duration::from_millis(10);
        let strays: Vec<_> = lost
            .iter()
            .filter(|it| it.after + slack < from || it.before > until + slack)
            .collect();
        ensure!(strays.is_empty(), "{strays:?}");
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // All others end with it; then their control groups can be removed.
        let _ = self.init.crash();
        let _ = &self.group;
    }
}

fn lives_with_xcat(unit: &str) -> Result<()> {
    let mut host = Host::new(unit)?;
    host.systemctl(&["start", "xcatd"])?;
    host.await_answers(true)?;
    host.restart()?;
    host.await_answers(true)?;

    host.systemctl(&["stop", "xcatd"])?;
    host.await_answers(false)?;
    host.systemctl(&["start", "xcatd"])?;
    host.await_answers(true)?;

    // chdef ... setupproxydhcp=0
    fs::remove_file(host.path("opt/xcat/setupproxydhcp"))?;
    host.systemctl(&["restart", "xcatd"])?;
    host.await_answers(false)?;

    // Back to another daemon: the link is replaced, and xcatd restarted.
    fs::write(host.path("opt/xcat/setupproxydhcp"), "")?;
    host.systemctl(&["restart", "xcatd"])?;
    host.await_answers(true)?;
    let link = host.path("opt/xcat/sbin/proxydhcp-xcat");
    fs::remove_file(&link)?;
    write_program(&link, OTHER)?;
    host.systemctl(&["restart", "xcatd"])?;
    host.await_answers(false)?;
    let asked = host.path("opt/asked");
    let before = fs::read_to_string(&asked)
        .unwrap_or_default()
        .lines()
        .count();
    ensure!(!host.is_answered()?, "it answers again");
    wait_until("the other daemon", || {
        let text = fs::read_to_string(&asked).unwrap_or_default();
        Ok(text.lines().count() > before)
    })
}

#[test]
fn it_lives_with_xcat_since_2_18() -> Result<()> {
    lives_with_xcat(SINCE_2_18)
}

#[test]
fn it_lives_with_older_xcat() -> Result<()> {
    lives_with_xcat(BEFORE)
}
