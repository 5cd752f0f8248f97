//! The thread that reads the sockets of af-xdp ends, and the daemon goes on without it.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use proxydhcp_lab::RequestFrame;
use proxydhcp_lab::site::{Datapath, NODE_A, NODE_B, Site};

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn what_no_reader_takes_is_answered_by_raw() -> Result<()> {
    let mut site = Site::usual(Datapath::AfXdp)?;
    site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
    let pid = site.daemon.pid();
    let reader = task(pid, "xdp-px0-0")?.context("no such thread")?;
    fail_its_call(reader)?;
    site.daemon.wait_for("cannot wait for requests", PATIENCE)?;
    let started = Instant::now();
    while task(pid, "xdp-px0-0")?.is_some() {
        ensure!(started.elapsed() < PATIENCE, "it has not ended");
        thread::sleep(Duration::from_millis(1));
    }

    site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
    site.ask(&RequestFrame::edk2(NODE_B, 0), "winboot/b/", 0)?;
    let status = site.status()?;
    let answered = |by| {
        status
            .pointer(&format!("/interfaces/0/{by}/answered"))
            .cloned()
    };
    assert_eq!(answered("af_xdp"), Some(1.into()), "{status}");
    assert_eq!(answered("raw"), Some(2.into()), "{status}");
    assert_eq!(answered("counters"), Some(3.into()), "{status}");
    Ok(())
}

/// The kernel's number for a thread of this name.
fn task(pid: u32, name: &str) -> Result<Option<Pid>> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?;
        let comm = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if comm.trim_end() == name {
            let number = task.file_name().to_string_lossy().parse()?;
            return Ok(Some(Pid::from_raw(number)));
        }
    }
    Ok(None)
}

/// Has the poll(2) or ppoll(2) that a thread waits in return ENOMEM.
fn fail_its_call(reader: Pid) -> Result<()> {
    let started = Instant::now();
    loop {
        ensure!(started.elapsed() < PATIENCE, "it never waits");
        ptrace::attach(reader)?;
        waitpid(reader, Some(WaitPidFlag::__WALL))?;
        let mut registers = ptrace::getregs(reader)?;
        let call = registers.orig_rax.cast_signed();
        let waits = [libc::SYS_poll, libc::SYS_ppoll].contains(&call);
        if waits {
            // The number of a call that the kernel would begin anew; none.
            registers.orig_rax = u64::MAX;
            registers.rax = i64::from(-libc::ENOMEM).cast_unsigned();
            ptrace::setregs(reader, registers)?;
        }
        ptrace::detach(reader, None)?;
        if waits {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
}
