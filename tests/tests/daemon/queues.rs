//! An interface that receives by several queues.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Result;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site, serve_args};
use proxydhcp_lab::{Daemon, Lab, LinkOptions, binary};

const QUEUES: u32 = 3;

/// What comes by a queue without a socket waits in the small ring for the rest, which a storm
/// overflows.
#[test]
fn each_queue_has_its_af_xdp_socket() -> Result<()> {
    let lab = Lab::with(&LinkOptions {
        queues: Some(QUEUES),
        ..LinkOptions::default()
    })?;
    let files = Files::usual()?;
    let args = serve_args(Datapath::AfXdp, &files, &[]);
    let daemon = Daemon::start(&lab.server, &binary()?, &args)?;
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid()))?;
    let mut names = BTreeSet::new();
    for task in tasks {
        names.insert(fs::read_to_string(task?.path().join("comm"))?);
    }
    for queue in 0..QUEUES {
        let name = format!("xdp-px0-{queue}\n");
        assert!(names.contains(&name), "no {name}in {names:?}");
    }
    let mut site = Site::of(lab, daemon, files)?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    Ok(())
}
