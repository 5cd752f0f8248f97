//! Anonymous network namespaces.
//!
//! A namespace here has neither a name nor a mount: a file descriptor and the processes inside are
//! all that hold it, so the kernel removes it, links and all, when they are gone, even after a
//! `kill -9` of the test. A mount namespace goes with it, for a BPF file system of its own: what is
//! pinned there is gone with it too.

use std::env;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::process::{Child, Command, Output};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{
    Resource, Rlimit, Signal, chdir, getpid, getppid, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{
    CapabilitySet, LinkNameSpaceType, UnshareFlags, capabilities, move_into_link_name_space,
    unshare_unsafe,
};

/// A network namespace of our own. Dropping it closes our hold on it.
#[derive(Debug)]
pub struct Namespace {
    handle: OwnedFd,
    mounts: OwnedFd,
}

impl Namespace {
    /// Makes an empty namespace; its loopback is still down.
    ///
    /// # Errors
    /// When this process lacks the rights, which the error names.
    pub fn new() -> Result<Self> {
        require_rights()?;
        let made = thread::scope(|scope| {
            scope
                .spawn(|| -> io::Result<Self> {
                    // SAFETY: only the namespaces of this short-lived thread change; the file
                    // descriptor table stays shared.
                    unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }?;
                    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
                    mount_change(c"/", private)?;
                    mount(c"bpf", c"/sys/fs/bpf", c"bpf", MountFlags::empty(), None)?;
                    Ok(Self {
                        handle: File::open("/proc/thread-self/ns/net")?.into(),
                        mounts: File::open(MOUNTS)?.into(),
                    })
                })
                .join()
        });
        made.unwrap_or_else(|panic| resume_unwind(panic))
            .context("cannot make a network namespace with a BPF file system")
    }

    /// One more hold on the namespace.
    ///
    /// # Errors
    /// When this process has no descriptors left.
    pub fn try_clone(&self) -> Result<Self> {
        let copy = |handle: &OwnedFd| handle.try_clone();
        copy(&self.handle)
            .and_then(|handle| {
                let mounts = copy(&self.mounts)?;
                Ok(Self { handle, mounts })
            })
            .context("cannot copy the namespace's descriptors")
    }

    /// Runs `work` on a thread inside the namespace. Sockets that it opens stay there.
    ///
    /// # Errors
    /// When the namespace cannot be entered, and whatever `work` returns.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let result = thread::scope(|scope| {
            scope
                .spawn(|| {
                    enter(&self.handle).context("cannot enter the network namespace")?;
                    work()
                })
                .join()
        });
        // A failed assertion inside is the caller's failed assertion.
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Starts `command` inside the namespace; the kernel kills it when this process ends, however
    /// it ends, unless the child changes its user, which clears that wish.
    ///
    /// # Errors
    /// When the command cannot be started.
    pub fn spawn(&self, mut command: Command) -> Result<Child> {
        let Self { handle, mounts } = self.try_clone()?;
        let ours = mount_namespace()?;
        let folder = env::current_dir()?.join(command.get_current_dir().unwrap_or("".as_ref()));
        let folder = CString::new(folder.as_os_str().as_bytes())?;
        let parent = getpid();
        // SAFETY: the closure runs between fork and exec and makes system calls alone; it neither
        // allocates nor takes a lock.
        unsafe {
            command.pre_exec(move || {
                enter(&handle)?;
                // A command that has mounts of its own keeps them.
                if mount_namespace()? == ours {
                    move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount))?;
                    chdir(&folder)?;
                }
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // The parent may have died before the wish was in place.
                if getppid() != Some(parent) {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                Ok(())
            });
        }
        let name = command.get_program().to_os_string();
        spawn_from_lasting_thread(command)
            .with_context(|| format!("cannot start {}", name.display()))
    }

    /// Runs `command` inside the namespace to its end and collects what it prints.
    ///
    /// # Errors
    /// When the command cannot be started or waited for.
    pub fn output(&self, mut command: Command) -> Result<Output> {
        use std::process::Stdio;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        self.spawn(command)?
            .wait_with_output()
            .context("cannot wait for the command")
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

const MOUNTS: &str = "/proc/thread-self/ns/mnt";

/// The kernel's number for the mount namespace that this thread is in.
fn mount_namespace() -> io::Result<u64> {
    let file = open(c"/proc/thread-self/ns/mnt", OFlags::CLOEXEC, Mode::empty())?;
    Ok(fstat(file)?.st_ino)
}

fn enter(handle: &OwnedFd) -> io::Result<()> {
    Ok(move_into_link_name_space(
        handle.as_fd(),
        Some(LinkNameSpaceType::Network),
    )?)
}

/// Checks that this process may make namespaces, links in them and packet sockets, and lets it have
/// as many BPF programs as it wants.
///
/// # Errors
/// Names the rights that are missing, and the remedy.
pub fn require_rights() -> Result<()> {
    let held = capabilities(None)
        .context("cannot read this process's capabilities")?
        .effective;
    let missing: Vec<&str> = [
        (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        (CapabilitySet::NET_RAW, "CAP_NET_RAW"),
    ]
    .into_iter()
    .filter_map(|(right, name)| (!held.contains(right)).then_some(name))
    .collect();
    if !missing.is_empty() {
        bail!(
            "this needs root: network namespaces, links and packet sockets of its own; \
             this process lacks {}; run it with sudo",
            missing.join(", ")
        );
    }
    lift_memory_limit();
    Ok(())
}

/// Linux before 5.11 counts BPF's maps and programs as locked memory, all of one user's together.
/// Others do not ask, so that a process that may not lift the limit goes on.
fn lift_memory_limit() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let _ = setrlimit(Resource::Memlock, unlimited);
}

struct SpawnRequest {
    command: Command,
    answer: Sender<io::Result<Child>>,
}

/// The parent-death signal follows the *thread* that forked, and test threads come and go: all
/// children are started by one thread that lasts as long as the process.
static SPAWNER: LazyLock<Sender<SpawnRequest>> = LazyLock::new(|| {
    let (requests, inbox) = channel::<SpawnRequest>();
    // Should the thread not start, the inbox is dropped and every request fails to send.
    let _ = thread::Builder::new()
        .name("lab-spawner".into())
        .spawn(move || {
            for mut request in inbox {
                // A caller that no longer waits for its answer needs none.
                let _ = request.answer.send(request.command.spawn());
            }
        });
    requests
});

fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    let (answer, outcome) = channel();
    let gone = || io::Error::other("the lab's spawner thread is gone");
    SPAWNER
        .send(SpawnRequest { command, answer })
        .map_err(|_| gone())?;
    outcome.recv().map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_only_its_loopback() {
        let namespace = Namespace::new().unwrap();
        let output = namespace.output({
            let mut command = Command::new("cat");
            command.arg("/proc/self/net/dev");
            command
        });
        let listing = String::from_utf8(output.unwrap().stdout).unwrap();
        assert_eq!(
            listing.lines().filter(|line| line.contains("lo:")).count(),
            1
        );
        assert_eq!(
            listing.lines().count(),
            3,
            "two header lines and lo: {listing}"
        );
    }

    #[test]
    fn children_outlive_the_thread_that_asked_for_them() {
        let namespace = Namespace::new().unwrap();
        let mut child = namespace
            .run(|| {
                let mut command = Command::new("sleep");
                command.arg("60");
                namespace.spawn(command)
            })
            .unwrap();
        thread::sleep(std::time::Duration::from_millis(50));
        assert!(
            child.try_wait().unwrap().is_none(),
            "the child died with the thread"
        );
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
