//! The rights of the daemon, which runs as root and yet may do little.
//!
//! Before there is any thread but the first, it keeps these capabilities(7) and gives up all others,
//! for good: no program that it could start would get them back (`no_new_privs`).
//!
//! | capability | on | for |
//! |---|---|---|
//! | `CAP_BPF` | kernel, af-xdp | maps: a reload makes new ones; loading the XDP program |
//! | `CAP_NET_ADMIN` | kernel, af-xdp | loading an XDP program, which is one of the network's |
//! | `CAP_PERFMON` | kernel, af-xdp | loading it: the program compares packet pointers |
//! | `CAP_NET_RAW` | all | packet sockets and AF_XDP sockets |
//! | `CAP_IPC_LOCK` | af-xdp | the packets' memory, which is more than `ulimit -l` allows |
//!
//! All but the first are for opening an interface, and stay for those that come later. What sends
//! and receives on sockets that are open needs none: the packet threads have none at all, nor have
//! those of the log and of `--watch`.
//!
//! It is missed nowhere that there is no right to pass over file permissions (`CAP_DAC_OVERRIDE`,
//! `CAP_DAC_READ_SEARCH`): xCAT's files, the folders under /run and the pins under /sys/fs/bpf are
//! root's. A file that belongs to another user must let root read it, as it would any other user.
//! Nor are there rights over groups (`CAP_CHOWN`, `CAP_SETGID`): the group of the control socket is
//! joined before, and whoever owns a file may give it to a group of his own.
//!
//! Before they go, the limit of locked memory is lifted: Linux before 5.11 takes BPF's maps and
//! programs for such memory, and usually allows 64 KiB of it.
//!
//! A daemon that is started as another user with these capabilities, ambient say, works the same. The
//! bounding set stays as it is then, for narrowing it takes `CAP_SETPCAP`; it counts for programs that
//! are started, which `no_new_privs` covers.

use std::io;

use anyhow::{Context, Result};
use nix::unistd::{Gid, Group};
use rustix::process::{Resource, Rlimit, getegid, getgroups, getrlimit, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs, set_thread_groups,
};
use tracing::warn;

/// What the daemon does that takes capabilities, as long as it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// It has packet sockets alone.
    PacketSockets,
    /// It loads XDP programs and fills their maps, too.
    XdpProgram,
    /// It has AF_XDP sockets besides.
    AfXdpSockets,
}

/// What the daemon is left with.
#[derive(Debug)]
pub struct Privileges {
    /// The group that the control socket is to have, which this process is in.
    pub control_group: Option<Gid>,
}

/// Joins the group of the control socket, if there is one, and gives up what is not needed. To be
/// called before any thread is started: threads have capabilities of their own, and inherit these.
///
/// # Errors
///
/// There is no such group, or it cannot be joined; the system refuses to take a capability away.
pub fn keep(needs: Needs, control_group: Option<&str>) -> Result<Privileges> {
    let group = control_group.map(join).transpose()?;
    if needs != Needs::PacketSockets {
        lift_memory_limit();
    }
    narrow(capabilities_for(needs)).context("cannot give up the rights that are not needed")?;
    Ok(Privileges {
        control_group: group,
    })
}

/// Lets this process lock as much memory as it wants, or, without `CAP_SYS_RESOURCE`, as much as
/// it may.
///
/// Where that is not enough, what then fails says so: most kernels do not ask.
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

/// Gives up all capabilities of this thread, which needs none.
pub(crate) fn give_up() {
    if let Err(error) = set(CapabilitySet::empty()) {
        warn!("a thread keeps its rights: {error}");
    }
}

/// The capabilities of the table in the module's description.
fn capabilities_for(needs: Needs) -> CapabilitySet {
    let raw = CapabilitySet::NET_RAW;
    let xdp = raw | CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
    match needs {
        Needs::PacketSockets => raw,
        Needs::XdpProgram => xdp,
        Needs::AfXdpSockets => xdp | CapabilitySet::IPC_LOCK,
    }
}

/// Keeps what there is of `needed`. What lacks is told by what then fails.
fn narrow(needed: CapabilitySet) -> io::Result<()> {
    let held = capabilities(None)?;
    // The bounding set first, which takes a right that is given up next.
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
            // This kernel has no more.
            Err(_) => break,
        }
    }
    Ok(())
}

fn set(capabilities: CapabilitySet) -> io::Result<()> {
    let sets = CapabilitySets {
        effective: capabilities,
        permitted: capabilities,
        inheritable: CapabilitySet::empty(),
    };
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
