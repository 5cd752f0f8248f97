//! The daemon keeps the rights it needs and no others, and all that it does works with these.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, Site, serve_args};
use proxydhcp_lab::{Daemon, Ended, Lab, binary, debian};
use rustix::process::Signal;
use rustix::thread::CapabilitySet;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);

/// A user without any rights: Debian's `nobody`.
const NOBODY: u32 = 65534;

/// The rights that the daemon keeps.
fn needed(datapath: Datapath) -> CapabilitySet {
    let xdp = CapabilitySet::BPF
        | CapabilitySet::NET_ADMIN
        | CapabilitySet::NET_RAW
        | CapabilitySet::PERFMON;
    match datapath {
        Datapath::Raw => CapabilitySet::NET_RAW,
        Datapath::Native | Datapath::Generic => xdp,
        Datapath::AfXdp => xdp | CapabilitySet::IPC_LOCK,
    }
}

/// What `/proc` says of a thread.
struct Status(BTreeMap<String, String>);

impl Status {
    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }
}

fn threads(pid: u32) -> Result<Vec<Status>> {
    let mut threads = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // It may end meanwhile.
        let Ok(text) = fs::read_to_string(thread?.path().join("status")) else {
            continue;
        };
        let lines = text.lines().filter_map(|line| line.split_once(":\t"));
        let lines = lines.map(|(k, v)| (k.to_owned(), v.to_owned()));
        threads.push(Status(lines.collect()));
    }
    Ok(threads)
}

/// Whether the right concerns only files that are open already.
fn needs_nothing(thread: &Status) -> bool {
    is_packet_thread(thread) || ["log", "watch"].contains(&thread.get("Name"))
}

fn is_packet_thread(thread: &Status) -> bool {
    let name = thread.get("Name");
    name.starts_with("raw-") || name.starts_with("xdp-")
}

/// The faults in the rights of the daemon's threads.
fn faults(pid: u32, needed: CapabilitySet, bounding: CapabilitySet) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for thread in threads(pid)? {
        let held = if needs_nothing(&thread) {
            CapabilitySet::empty()
        } else {
            needed
        };
        let empty = CapabilitySet::empty();
        for (set, value) in [
            ("CapEff", held),
            ("CapPrm", held),
            ("CapInh", empty),
            ("CapAmb", empty),
            ("CapBnd", bounding),
        ] {
            let found = thread.get(set);
            if found != format!("{:016x}", value.bits()) {
                faults.push(format!("{}: {set} {found}", thread.get("Name")));
            }
        }
        if thread.get("NoNewPrivs") != "1" {
            faults.push(format!("{}: it may gain rights", thread.get("Name")));
        }
    }
    Ok(faults)
}

/// The rights are right, as soon as each thread has begun.
fn check(pid: u32, needed: CapabilitySet, bounding: CapabilitySet) -> Result<()> {
    let started = Instant::now();
    loop {
        let faults = faults(pid, needed, bounding)?;
        if faults.is_empty() {
            return Ok(());
        }
        ensure!(started.elapsed() < PATIENCE, "{faults:#?}");
        thread::sleep(Duration::from_millis(1));
    }
}

fn packet_threads(pid: u32) -> Result<Vec<String>> {
    let threads = threads(pid)?;
    let packet = threads.iter().filter(|thread| is_packet_thread(thread));
    Ok(packet.map(|thread| thread.get("Name").to_owned()).collect())
}

/// All that a daemon does: replies, reloads of each kind, its status.
fn works(site: &mut Site, datapath: Datapath) -> Result<()> {
    let generation = |site: &Site| -> Result<Option<u64>> {
        Ok(site.status()?.get("generation").and_then(Value::as_u64))
    };
    let before = generation(site)?.context("no generation")?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    let reload = site.command(&["reload"])?;
    ensure!(reload.code == Some(0), "{reload:?}");
    site.files.write_config(&[("a", "winboot/new/")])?;
    let reload = site.command(&["reload"])?;
    ensure!(reload.code == Some(0), "{reload:?}");
    site.ask_uefi(NODE_A, "winboot/new/")?;
    site.stays_silent_to(NODE_B)?;
    site.files.write_config(&[("a", "winboot/a/"), ("b", "")])?;
    site.daemon.signal(Signal::HUP)?;
    let asked = Instant::now();
    while generation(site)? != Some(before + 3) {
        ensure!(asked.elapsed() < PATIENCE, "{}", site.describe());
    }
    site.ask_uefi(NODE_A, "winboot/a/")?;
    let status = site.status()?;
    let served = status.pointer("/interfaces/0/datapath");
    ensure!(served.and_then(Value::as_str) == Some(datapath.name()));
    let looked = site.command(&["lookup", "a"])?;
    ensure!(looked.code == Some(0), "{looked:?}");
    Ok(())
}

#[test]
fn only_what_is_needed_is_kept_and_all_works() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::usual(datapath)?;
        let pid = site.daemon.pid();
        let needed = needed(datapath);
        check(pid, needed, needed)?;
        let threads = packet_threads(pid)?;
        assert!(threads.contains(&"raw-px0".to_owned()), "{threads:?}");
        let on_queues = threads.iter().filter(|name| name.starts_with("xdp-px0-"));
        assert_eq!(on_queues.count() > 0, datapath == Datapath::AfXdp);

        works(&mut site, datapath)?;
        // With the threads that this has started.
        check(pid, needed, needed)?;
        let (status, _) = site.daemon.stop()?;
        assert_eq!(status.code(), Some(0));
        assert!(!site.files.path("control.sock").exists());
    }
    Ok(())
}

#[test]
fn the_watch_has_no_rights() -> Result<()> {
    let site = Site::with(Datapath::Raw, &["--watch"])?;
    let pid = site.daemon.pid();
    let needed = needed(Datapath::Raw);
    check(pid, needed, needed)?;
    let threads = threads(pid)?;
    assert!(threads.iter().any(|thread| thread.get("Name") == "watch"));
    Ok(())
}

/// The files of a site, where `nobody` may use them.
fn files_of_nobody() -> Result<Files> {
    let files = Files::usual()?;
    chown(files.path(""), Some(NOBODY), Some(NOBODY))?;
    for name in ["proxydhcp.cfg", "hosts"] {
        chown(files.path(name), Some(NOBODY), Some(NOBODY))?;
    }
    Ok(files)
}

/// The program at a place that `nobody` can reach, unlike a developer's folders.
fn program_for_nobody(files: &Files) -> Result<std::path::PathBuf> {
    let program = files.path("proxydhcp");
    fs::copy(binary()?, &program)?;
    Ok(program)
}

#[test]
fn another_user_with_the_same_rights_serves_as_well() -> Result<()> {
    debian::ensure_installed("setpriv", "util-linux")?;
    for (datapath, capabilities) in [
        (Datapath::Native, "+bpf,+net_admin,+net_raw,+perfmon"),
        (Datapath::Generic, "+bpf,+net_admin,+net_raw,+perfmon"),
        (
            Datapath::AfXdp,
            "+bpf,+net_admin,+net_raw,+perfmon,+ipc_lock",
        ),
        (Datapath::Raw, "+net_raw"),
    ] {
        let (lab, files) = (Lab::new()?, files_of_nobody()?);
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
            .arg(format!("--inh-caps=-all,{capabilities}"))
            .arg(format!("--ambient-caps=-all,{capabilities}"))
            .arg(program_for_nobody(&files)?)
            .args(serve_args(datapath, &files, &[]));
        let daemon = Daemon::start_command(&lab.server, command)?;
        let pid = daemon.pid();
        // The daemon lacks the right to narrow the bounding set.
        let all = threads(pid)?;
        let whole = all.first().context("no thread")?.get("CapBnd");
        let whole = CapabilitySet::from_bits_retain(u64::from_str_radix(whole, 16)?);
        check(pid, needed(datapath), whole)?;

        let mut site = Site::of(lab, daemon, files)?;
        let socket = site.files.path("control.sock").display().to_string();
        let mut reload = Command::new(binary()?);
        reload.args(["reload", "--control", &socket]);
        let reload = Ended::from(site.lab.server.output(reload)?);
        assert_eq!(reload.code, Some(0), "{reload:?}");
        site.ask_uefi(NODE_A, "winboot/a/")?;
        let (status, _) = site.daemon.stop()?;
        assert_eq!(status.code(), Some(0));
    }
    Ok(())
}

/// The daemon's command with a process's rights and limits changed first: by `setpriv`, `prlimit`.
fn by(program: &str, arguments: &[&str], datapath: Datapath, files: &Files) -> Result<Command> {
    debian::ensure_installed(program, "util-linux")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .arg(binary()?)
        .args(serve_args(datapath, files, &[]));
    Ok(command)
}

#[test]
fn the_right_that_is_missing_is_named() -> Result<()> {
    for (datapath, right, name) in [
        (Datapath::Native, "-bpf", "CAP_BPF"),
        (Datapath::Native, "-perfmon", "CAP_PERFMON"),
        (Datapath::Generic, "-net_admin", "CAP_NET_ADMIN"),
        (Datapath::AfXdp, "-bpf", "CAP_BPF"),
    ] {
        let (lab, files) = (Lab::new()?, Files::usual()?);
        // CAP_SYS_ADMIN would stand for all of them.
        let bounding = format!("--bounding-set=-sys_admin,{right}");
        let command = by("setpriv", &[&bounding], datapath, &files)?;
        let Err(error) = Daemon::start_command(&lab.server, command) else {
            bail!("{datapath:?} started without {name}");
        };
        let words = format!("it takes root, or the missing {name}");
        let told = error.to_string();
        ensure!(told.lines().any(|line| line.ends_with(&words)), "{told}");
    }
    Ok(())
}

/// Linux before 5.11 counts BPF's maps and programs as locked memory.
#[test]
fn a_limit_of_locked_memory_is_lifted_or_named() -> Result<()> {
    let counts = kernel_is_before(5, 11)?;
    for datapath in [Datapath::Native, Datapath::AfXdp] {
        let (lab, files) = (Lab::new()?, Files::usual()?);
        let command = by("prlimit", &["--memlock=65536:65536"], datapath, &files)?;
        let daemon = Daemon::start_command(&lab.server, command)?;
        Site::of(lab, daemon, files)?.ask_uefi(NODE_A, "winboot/a/")?;

        let (lab, files) = (Lab::new()?, Files::usual()?);
        let arguments = [
            "--memlock=65536:65536",
            "setpriv",
            "--bounding-set=-sys_resource",
        ];
        let command = by("prlimit", &arguments, datapath, &files)?;
        match Daemon::start_command(&lab.server, command) {
            Ok(daemon) => {
                ensure!(!counts, "it started where 64 KiB are not enough");
                Site::of(lab, daemon, files)?.ask_uefi(NODE_A, "winboot/a/")?;
            }
            Err(error) => {
                ensure!(counts, "{error}");
                let error = error.to_string();
                for words in ["there may be 64 KiB", "LimitMEMLOCK=infinity"] {
                    ensure!(error.contains(words), "{error}");
                }
            }
        }
    }
    Ok(())
}

fn kernel_is_before(major: u32, minor: u32) -> Result<bool> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split('.').map(str::parse::<u32>);
    let (Some(Ok(first)), Some(Ok(second))) = (numbers.next(), numbers.next()) else {
        bail!("this kernel calls itself {release}");
    };
    Ok((first, second) < (major, minor))
}

/// A limit that the manual states: root without the right to ignore permissions.
#[test]
fn a_file_that_another_user_keeps_to_himself_is_rejected_until_it_is_opened() -> Result<()> {
    let files = Files::usual()?;
    let config = files.path("proxydhcp.cfg");
    chown(&config, Some(NOBODY), Some(NOBODY))?;
    fs::set_permissions(&config, Permissions::from_mode(0o600))?;
    let mut site = Site::start(Datapath::Raw, files, &[])?;
    let reload = site.command(&["reload"])?;
    assert_eq!(reload.code, Some(1), "{reload:?}");
    let told = "Permission denied (os error 13); make it readable for root or for everybody";
    assert!(reload.stderr.contains(told), "{reload:?}");
    fs::set_permissions(&config, Permissions::from_mode(0o644))?;
    let reload = site.command(&["reload"])?;
    assert_eq!(reload.code, Some(0), "{reload:?}");
    site.ask_uefi(NODE_A, "winboot/a/").map(drop)
}
