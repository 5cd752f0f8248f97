//! The privileges of the daemon, which runs as root and yet may do little.
//!
//! Before any second thread starts, the daemon keeps these capabilities(7) and drops all others for
//! good: no program that it could start would get them back (`no_new_privs`).
//!
//! | capability | on | purpose |
//! |---|---|---|
//! | `CAP_BPF` | kernel, af-xdp | maps: a reload makes new ones; loading the XDP program |
//! | `CAP_BPF` | raw, on Linux before 5.19 | seeing the XDP program that a killed daemon has left |
//! | `CAP_NET_ADMIN` | kernel, af-xdp | loading an XDP program, which is one of the network's |
//! | `CAP_PERFMON` | kernel, af-xdp | loading it: the program compares packet pointers |
//! | `CAP_NET_RAW` | all | packet sockets and AF_XDP sockets |
//! | `CAP_IPC_LOCK` | af-xdp | the packets' memory, which is more than `ulimit -l` allows |
//!
//! All except the first are for opening an interface, and are kept for interfaces that come later.
//! Sending and receiving on open sockets needs none: the packet threads have none at all, and
//! neither have those of the log and of `--watch`.
//!
//! Capabilities to bypass file permissions (`CAP_DAC_OVERRIDE`, `CAP_DAC_READ_SEARCH`) are not
//! needed: xCAT's files, the folders under /run and the pins under /sys/fs/bpf belong to root. A
//! file of another user must be readable by root as by any other user. Capabilities over groups
//! (`CAP_CHOWN`, `CAP_SETGID`) are not needed either: the group of the control socket is joined
//! before they are dropped, and the owner of a file may give it to one of the owner's groups.
//!
//! Before they are dropped, the limit on locked memory is raised: Linux before 5.11 counts BPF maps
//! and programs as locked memory, of which it usually allows 64 KiB.
//!
//! A daemon that is started as another user with these capabilities, for example ambient ones,
//! works the same way. Its bounding set is not narrowed, because that takes `CAP_SETPCAP`. The set
//! only matters for programs that are started, which `no_new_privs` covers.

use std::io;

use anyhow::{Context, Result, bail};
use nix::sys::utsname::uname;
use nix::unistd::{Gid, Group};
use rustix::process::{Resource, Rlimit, getegid, getgroups, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs, set_thread_groups,
};
use tracing::warn;

/// The daemon's work that takes capabilities, as long as it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// It uses only packet sockets.
    PacketSockets,
    /// It also loads XDP programs and fills their maps.
    XdpProgram,
    /// It uses AF_XDP sockets as well.
    AfXdpSockets,
}

/// The capabilities of the module's table, spelt as in units and manuals.
const NAMES: [(CapabilitySet, &str); 5] = [
    (CapabilitySet::NET_RAW, "CAP_NET_RAW"),
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
    (CapabilitySet::IPC_LOCK, "CAP_IPC_LOCK"),
];

/// What the daemon keeps.
#[derive(Debug)]
pub struct Privileges {
    /// The group for the control socket, which this process has joined.
    pub control_group: Option<Gid>,
}

/// Joins the group of the control socket, if there is one, and drops all capabilities that are not
/// needed. Call it before any thread is started: threads inherit capabilities, and then have their
/// own.
///
/// # Errors
///
/// If this process may not open packet sockets, which every datapath needs, the group does not exist
/// or cannot be joined, or the system refuses to drop a capability.
pub fn keep(needs: Needs, control_group: Option<&str>) -> Result<Privileges> {
    refuse_without(needs)?;
    let group = control_group.map(join).transpose()?;
    if needs != Needs::PacketSockets {
        lift_memory_limit();
    }
    narrow(capabilities_for(needs)).context("cannot drop the capabilities that are not needed")?;
    Ok(Privileges {
        control_group: group,
    })
}

/// Refuses to begin without the one right that there is no serving without, and names all that are
/// missing. Without the others, an interface may still be served, if only by the raw datapath.
fn refuse_without(needs: Needs) -> Result<()> {
    let held = capabilities(None)?.permitted;
    if held.contains(CapabilitySet::NET_RAW) {
        return Ok(());
    }
    let needed = NAMES
        .iter()
        .filter(|(right, _)| capabilities_for(needs).contains(*right));
    let missing = needed.filter(|(right, _)| !held.contains(*right));
    let missing: Vec<_> = missing.map(|(_, name)| *name).collect();
    bail!(
        "serving takes root: run it with sudo, or give it the missing {}",
        missing.join(", ")
    )
}

/// Gives up the right to ignore the permissions of files, which the daemon gives up too: what this
/// thread and those that it starts find readable from now on, the daemon can read. For a user other
/// than root this changes nothing.
pub(crate) fn read_as_the_daemon() {
    let rights = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
    // A process that may not ask for its capabilities has no such rights.
    if let Ok(held) = capabilities(None) {
        let _ = set_to(CapabilitySets {
            effective: held.effective - rights,
            ..held
        });
    }
}

/// Lets this process lock as much memory as it wants, or, without `CAP_SYS_RESOURCE`, up to the
/// hard limit.
///
/// If that is not enough, the operation that fails says so: most kernels do not check the limit.
pub fn lift_memory_limit() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if setrlimit(Resource::Memlock, unlimited).is_err() {
        let maximum = getrlimit(Resource::Memlock).maximum;
        let most = Rlimit {
            current: maximum,
            maximum,
        };
        let _ = setrlimit(Resource::Memlock, most);
    }
}

/// Drops all capabilities of this thread, which needs none.
pub(crate) fn give_up() {
    if let Err(error) = set(CapabilitySet::empty()) {
        warn!("a thread keeps its capabilities: {error}");
    }
}

/// The capabilities in the module's table.
fn capabilities_for(needs: Needs) -> CapabilitySet {
    let release = uname().map_or_else(
        |_| String::new(),
        |host| host.release().to_string_lossy().into_owned(),
    );
    capabilities_on(&release, needs)
}

fn capabilities_on(release: &str, needs: Needs) -> CapabilitySet {
    let mut raw = CapabilitySet::NET_RAW;
    if refuses_all_of_bpf(release) {
        raw |= CapabilitySet::BPF;
    }
    let xdp = raw | CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
    match needs {
        Needs::PacketSockets => raw,
        Needs::XdpProgram => xdp,
        Needs::AfXdpSockets => xdp | CapabilitySet::IPC_LOCK,
    }
}

/// Whether a kernel of this release refuses each call of bpf(2) without `CAP_BPF`, as most
/// distributions set it (`kernel.unprivileged_bpf_disabled`). Since Linux 5.19 it refuses only to make
/// maps and programs.
fn refuses_all_of_bpf(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next()?.parse::<u32>().ok();
    matches!((next(), next()), (Some(major), Some(minor)) if (major, minor) < (5, 19))
}

/// Keeps those of the `needed` capabilities that the process has. An operation that lacks one
/// reports it.
fn narrow(needed: CapabilitySet) -> io::Result<()> {
    let held = capabilities(None)?;
    // The bounding set comes first, because narrowing it takes a capability that is dropped next.
    if held.effective.contains(CapabilitySet::SETPCAP) {
        narrow_bounding_set(needed)?;
    }
    clear_ambient_capability_set()?;
    set(held.permitted & needed)?;
    Ok(set_no_new_privs(true)?)
}

fn narrow_bounding_set(needed: CapabilitySet) -> io::Result<()> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(true) if !needed.contains(capability) => {
                remove_capability_from_bounding_set(capability)?;
            }
            Ok(_) => {}
            // This kernel has no further capabilities.
            Err(_) => break,
        }
    }
    Ok(())
}

fn set(capabilities: CapabilitySet) -> io::Result<()> {
    set_to(CapabilitySets {
        effective: capabilities,
        permitted: capabilities,
        inheritable: CapabilitySet::empty(),
    })
}

fn set_to(sets: CapabilitySets) -> io::Result<()> {
    Ok(set_capabilities(None, sets)?)
}

/// Makes this process a member of the group.
fn join(name: &str) -> Result<Gid> {
    let group = Group::from_name(name)
        .with_context(|| format!("cannot look up the group {name}"))?
        .with_context(|| {
            format!("there is no group {name}; make it, or name another with --control-group")
        })?;
    let joined = rustix::process::Gid::from_raw(group.gid.as_raw());
    let mut groups = getgroups()?;
    if getegid() != joined && !groups.contains(&joined) {
        groups.push(joined);
        set_thread_groups(&groups).with_context(|| {
            format!(
                "cannot join the group {name}, to give it the control socket; \
                 in a systemd unit, say SupplementaryGroups={name}"
            )
        })?;
    }
    Ok(group.gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_seen_on_old_kernels_too() {
        for (release, keeps) in [
            ("5.10.0-46-amd64", true),
            ("5.15.0-139-generic", true),
            ("4.18.0-553.el8_10.x86_64", true),
            ("5.19.0", false),
            ("6.1.0-57-amd64", false),
            ("7.3.4+deb13-amd64", false),
            ("unknown", false),
        ] {
            let kept = capabilities_on(release, Needs::PacketSockets);
            assert_eq!(kept.contains(CapabilitySet::BPF), keeps, "{release}");
        }
    }
}
