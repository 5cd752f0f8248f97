//! What the running kernel's verifier makes of the XDP programs. A process of its own: for a moment,
//! it can open nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by what it says")]

use std::fs::File;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use aya::programs::{ProgramError, Xdp};
use aya::{EbpfLoader, VerifierLogLevel};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

static OBJECT: &[u8] = aya::include_bytes_aligned!("../../proxydhcp-user/ebpf/proxydhcp.bpf.o");
/// Of as many instructions, the verifier refuses to look at one more.
const MOST: u32 = 1_000_000;

#[test]
fn it_follows_the_programs_to_their_ends() -> Result<()> {
    // Before Linux 5.11, maps count as locked memory. Where the limit cannot be raised, and matters, the maps are
    // refused below.
    let all = Rlimit {
        current: None,
        maximum: None,
    };
    let _ = setrlimit(Resource::Memlock, all);
    for program in ["answer", "redirect"] {
        let count = count(program).with_context(|| program.to_owned())?;
        println!("verifier: {program} {count}");
        ensure!((1..MOST).contains(&count), "{program}: {count}");
    }
    Ok(())
}

/// How many instructions the verifier looks at: `processed` in its log. A kernel shows the log of a
/// program that it refuses alone; the last thing for which it may refuse it is that there is no
/// descriptor left for it.
fn count(program: &str) -> Result<u32> {
    let mut loader = EbpfLoader::new();
    loader.verifier_log_level(VerifierLogLevel::STATS);
    let mut ebpf = loader.load(OBJECT)?;
    let program: &mut Xdp = ebpf.program_mut(program).context("none")?.try_into()?;

    let before = getrlimit(Resource::Nofile);
    // The least number that is free, which is so again when the file is closed.
    let free = File::open("/dev/null")?.as_raw_fd();
    let none = Rlimit {
        current: Some(free.try_into()?),
        ..before
    };
    setrlimit(Resource::Nofile, none)?;
    let loaded = program.load();
    setrlimit(Resource::Nofile, before)?;

    let error = loaded.err().context("it was loaded without a descriptor")?;
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return Err(error.into());
    };
    let log = verifier_log.to_string();
    ensure!(
        io_error.raw_os_error() == Some(libc::EMFILE),
        "{io_error}: {log}"
    );
    let count = log.lines().find_map(|line| line.strip_prefix("processed "));
    let count = count.and_then(|rest| rest.split(' ').next());
    Ok(count.with_context(|| log.clone())?.parse()?)
}
