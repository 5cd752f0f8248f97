//! Threads that read packets: requests that come while a thread is held up, or after it has ended.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::packet::FrameSender;
use proxydhcp_lab::site::{Datapath, NODE_A, NODE_B, Site};
use proxydhcp_lab::{CLIENT_INTERFACE, RequestFrame};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_mins(1);

/// A CPU quota or a lack of CPUs holds a daemon up like this.
#[test]
fn what_comes_while_the_daemon_is_held_up_is_answered_later() -> Result<()> {
    const REQUESTS: u64 = 300;
    for datapath in [Datapath::AfXdp, Datapath::Raw] {
        let site = Site::usual(datapath)?;
        let sender = FrameSender::open(&site.lab.client, CLIENT_INTERFACE)?;
        let request = RequestFrame::edk2(NODE_A, UEFI_X64).bytes();
        site.daemon.signal(Signal::STOP)?;
        for _ in 0..REQUESTS {
            sender.send(&request)?;
            // Each is a block of the packet ring.
            thread::sleep(Duration::from_millis(1));
        }
        site.daemon.signal(Signal::CONT)?;
        let started = Instant::now();
        while site.counters()?["answered"] != REQUESTS {
            ensure!(started.elapsed() < PATIENCE, "{}", site.describe());
            thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(())
}

#[test]
fn what_no_reader_takes_is_answered_by_raw() -> Result<()> {
    let mut site = Site::usual(Datapath::AfXdp)?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    let pid = site.daemon.pid();
    let reader = task(pid, "xdp-px0-0")?.context("no such thread")?;
    fail_its_call(reader)?;
    site.daemon.wait_for("cannot wait for requests", PATIENCE)?;
    let started = Instant::now();
    while task(pid, "xdp-px0-0")?.is_some() {
        ensure!(started.elapsed() < PATIENCE, "it has not ended");
        thread::sleep(Duration::from_millis(1));
    }

    site.ask_uefi(NODE_A, "winboot/a/")?;
    site.ask_bios(NODE_B, "winboot/b/")?;
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

/// Makes the poll(2) or ppoll(2) that a thread waits in return ENOMEM.
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
