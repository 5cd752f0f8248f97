//! The kernel goes on answering when the daemon is killed, and the next daemon takes over.

use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp::datapath::xdp::pins::LAYOUT;
use proxydhcp_lab::bpf::BpfObjects;
use proxydhcp_lab::link::{self, xdp_program};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, STRANGER, Site, serve_args};
use proxydhcp_lab::{Daemon, Ended, Lab, Namespace, SERVER_INTERFACE, binary};
use serde_json::json;

mod failed_start;
mod limited;
mod namespaces;
mod outlive;
mod trust;
mod without_nodes;

/// The datapaths that answer without a process.
const IN_KERNEL: [Datapath; 2] = [Datapath::Native, Datapath::Generic];
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn the_kernel_goes_on_when_the_daemon_is_killed() -> Result<()> {
    for datapath in IN_KERNEL {
        let mut site = Site::usual(datapath)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        let program = xdp_program(&site.lab.server, SERVER_INTERFACE)?;
        site.daemon.crash()?;
        assert!(site.files.path("control.sock").exists());
        site.ask_bios(NODE_B, "winboot/b/")?;
        site.stays_silent_to(STRANGER)?;
        let killed = xdp_program(&site.lab.server, SERVER_INTERFACE)?;
        assert_eq!(killed, program);
        let status = site.command(&["status"])?;
        assert_eq!(status.code, Some(1));
        for told in [
            "the kernel goes on answering for a daemon that was killed, by tables put into service ",
            " s ago, until the next one starts",
        ] {
            assert!(status.stderr.contains(told), "{status:?}");
        }

        // The next daemon serves the files as they are now, and no count is lost.
        site.files.write_config(&[("a", "winboot/new/")])?;
        restart(&mut site, datapath, &[])?;
        site.ask_uefi(NODE_A, "winboot/new/")?;
        site.stays_silent_to(NODE_B)?;
        let counters = site.counters()?;
        assert_eq!(counters["answered"], 3, "{counters}");
        assert_eq!(counters["refused"], json!({"unknown-client": 2}));

        let held = BpfObjects::of(site.daemon.pid())?;
        site.daemon.stop()?;
        assert_eq!(pinned(&site.lab.server)?, "");
        assert_eq!(xdp_program(&site.lab.server, SERVER_INTERFACE)?, None);
        await_none(&held)?;
    }
    Ok(())
}

#[test]
fn what_needs_the_process_ends_with_it() -> Result<()> {
    let ways = [
        (Datapath::AfXdp, &[][..]),
        (Datapath::Raw, &[]),
        (Datapath::Native, &["--no-pin"]),
        (Datapath::Generic, &["--no-pin"]),
    ];
    for (datapath, more) in ways {
        let mut site = Site::with(datapath, more)?;
        assert_eq!(pinned(&site.lab.server)?, "");
        site.ask_uefi(NODE_A, "winboot/a/")?;
        let held = BpfObjects::of(site.daemon.pid())?;
        site.daemon.crash()?;
        site.stays_silent_to(NODE_A)?;
        assert_eq!(xdp_program(&site.lab.server, SERVER_INTERFACE)?, None);
        // What the nodes have done is kept all the same, by the one map that is pinned.
        await_left(&held, usize::from(datapath == Datapath::AfXdp))?;

        restart(&mut site, datapath, more)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
    }
    Ok(())
}

#[test]
fn the_next_daemon_may_answer_in_another_way() -> Result<()> {
    for before in IN_KERNEL {
        for after in Datapath::ALL {
            let mut site = Site::usual(before)?;
            site.daemon.crash()?;
            restart(&mut site, after, &[])?;
            site.ask_uefi(NODE_A, "winboot/a/")?;
            let interface = &site.status()?["interfaces"][0];
            assert_eq!(interface["datapath"], after.name());
            let is_pinned = !pinned(&site.lab.server)?.is_empty();
            assert_eq!(is_pinned, after.name() == "kernel", "{before:?}, {after:?}");

            restart_killed(&mut site, before, &["--no-pin"])?;
            site.ask_uefi(NODE_A, "winboot/a/")?;
            assert_eq!(pinned(&site.lab.server)?, "");
        }
    }
    Ok(())
}

#[test]
fn detach_ends_what_a_killed_daemon_left() -> Result<()> {
    let mut site = Site::usual(Datapath::Generic)?;
    let refused = detach(&site)?;
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("a daemon is running; stop it"),
        "{refused:?}"
    );
    site.ask_uefi(NODE_A, "winboot/a/")?;

    site.daemon.crash()?;
    let detached = detach(&site)?;
    assert_eq!(
        (detached.code, detached.stdout.as_str()),
        (Some(0), "px0: what a killed daemon left: removed\n")
    );
    site.stays_silent_to(NODE_A)?;
    assert_eq!(xdp_program(&site.lab.server, SERVER_INTERFACE)?, None);
    let again = detach(&site)?;
    assert_eq!(
        (again.code, again.stdout.as_str()),
        (Some(0), "nothing is left of a killed daemon\n")
    );
    Ok(())
}

#[test]
fn what_is_not_taken_over_is_removed_and_told_of() -> Result<()> {
    let lab = Lab::new()?;
    let _wires = (lab.one_more_wire(1)?, lab.one_more_wire(2)?);
    let all = ["-i", "px1", "-i", "px2"];
    let mut site = Site::start_in(lab, Datapath::Generic, Files::usual()?, &all)?;
    site.daemon.crash()?;
    link::delete(&site.lab.server, "px1")?;

    restart(&mut site, Datapath::Generic, &[])?;
    for told in [
        "which no longer exists here: removed",
        "px2: what a killed daemon left: removed",
    ] {
        site.daemon.wait_for(told, PATIENCE)?;
    }
    site.ask_uefi(NODE_A, "winboot/a/")?;
    assert_eq!(xdp_program(&site.lab.server, "px2")?, None);
    assert_eq!(pinned(&site.lab.server)?, link_of(&site)?);
    Ok(())
}

/// Pins of another layout come from another version, whose maps are not taken over.
#[test]
fn the_pins_of_another_layout_are_taken_over_but_for_their_maps() -> Result<()> {
    for datapath in IN_KERNEL {
        let mut site = Site::usual(datapath)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        site.daemon.crash()?;
        let (first, namespace) = (index(&site)?, inode(&site.lab.server)?);
        for layout in [
            format!("mv {LAYOUT} {}", LAYOUT + 1),
            // As it was up to layout 2: no folders of namespaces, and maps for each interface.
            format!(
                "mkdir 2; mv {LAYOUT}/{namespace}/{first} 2; mv {LAYOUT}/{namespace}/* 2/{first}; \
                 rmdir {LAYOUT}/{namespace} {LAYOUT}"
            ),
        ] {
            shell(
                &site.lab.server,
                &format!("cd /sys/fs/bpf/proxydhcp; {layout}"),
            )?;
            site.ask_uefi(NODE_A, "winboot/a/")?;
            restart(&mut site, datapath, &[])?;
            site.ask_uefi(NODE_A, "winboot/a/")?;
            assert_eq!(site.counters()?["answered"], 1);
            assert_eq!(pinned(&site.lab.server)?, link_of(&site)?);
            let folders = shell(&site.lab.server, "ls /sys/fs/bpf/proxydhcp")?;
            assert_eq!(folders.stdout, format!("{LAYOUT}\n").as_bytes());
            site.daemon.crash()?;
        }
    }
    Ok(())
}

/// A daemon that was killed in the midst of its start, or of its end.
#[test]
fn what_is_half_pinned_is_in_nobody_s_way() -> Result<()> {
    for datapath in IN_KERNEL {
        let lab = Lab::new()?;
        let _second = lab.one_more_wire(1)?;
        let mut site = Site::start_in(lab, datapath, Files::usual()?, &["-i", "px1"])?;
        let first = link::index(&site.lab.server, SERVER_INTERFACE)?;
        let second = link::index(&site.lab.server, "px1")?;
        let namespace = inode(&site.lab.server)?;
        for half in [
            // No link yet.
            "find . ! -name COUNTERS -type f -delete".to_owned(),
            // A link to nothing; and what somebody else has pinned there.
            format!("rm -r {first}; mv {second} {first}; mv COUNTERS mine; mv LIMITS {first}/mine"),
        ] {
            site.daemon.crash()?;
            link::delete(&site.lab.server, "px1")?;
            shell(
                &site.lab.server,
                &format!("cd /sys/fs/bpf/proxydhcp/{LAYOUT}/{namespace}; {half}"),
            )?;
            let started = Instant::now();
            while xdp_program(&site.lab.server, SERVER_INTERFACE)?.is_some() {
                ensure!(started.elapsed() < PATIENCE, "it stays attached");
                thread::sleep(Duration::from_millis(1));
            }
            restart(&mut site, datapath, &["-i", "px1"])?;
            site.ask_uefi(NODE_A, "winboot/a/")?;
            assert!(xdp_program(&site.lab.server, SERVER_INTERFACE)?.is_some());
            assert_eq!(pinned(&site.lab.server)?, link_of(&site)?);
            if half.contains("find") {
                let _second = site.lab.one_more_wire(1)?;
                let index = link::index(&site.lab.server, "px1")?;
                site.daemon.wait_for("serving px1 (", PATIENCE)?;
                let folder = format!("/sys/fs/bpf/proxydhcp/{LAYOUT}/{namespace}");
                let rename = format!("cd {folder}; mv {index} {second}");
                shell(&site.lab.server, &rename)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_file_that_is_rejected_at_the_start_leaves_the_kernel_answering() -> Result<()> {
    for datapath in IN_KERNEL {
        let mut site = Site::with(datapath, &["--unknown", "default"])?;
        let good = std::fs::read(site.files.path("proxydhcp.cfg"))?;
        site.daemon.crash()?;
        site.files.write_raw_config(&good[..good.len() - 1])?;
        restart(&mut site, datapath, &["--unknown", "default"])?;
        site.daemon
            .wait_for("from the tables of a daemon that was killed", PATIENCE)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        let status = site.status()?;
        let interface = &status["interfaces"][0];
        assert_eq!(interface["datapath"], "kernel", "{status}");
        assert_eq!(interface["program"]["answered"], 1, "{status}");
        assert!(interface["predecessor_age"].is_number(), "{status}");
        let told = site.command(&["status"])?.stdout;
        let age = "px0: answered from the tables of a daemon that was killed, put into service ";
        assert!(told.contains(age), "{told}");
        // Neither new names nor a new address of this host send anybody to the default meanwhile.
        link::add_address(
            &site.lab.server,
            SERVER_INTERFACE,
            ([10, 77, 0, 9].into(), 16),
        )?;
        site.daemon
            .wait_for("this host's addresses are now", PATIENCE)?;
        let looked = site.command(&["lookup", "10.77.9.9"])?;
        assert!(looked.stdout.contains("NOT answered"), "{looked:?}");
        site.ask_uefi(NODE_A, "winboot/a/")?;

        site.files.write_raw_config(&good)?;
        let reloaded = site.command(&["reload"])?;
        assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
        site.ask_uefi(NODE_A, "winboot/a/")?;
        site.ask_uefi(STRANGER, "")?;
        let status = site.status()?;
        assert_eq!(status["interfaces"][0]["datapath"], "kernel", "{status}");
        assert_eq!(
            status["interfaces"][0]["program"]["answered"], 4,
            "{status}"
        );
        let age = &status["interfaces"][0]["predecessor_age"];
        assert!(age.is_null(), "{status}");
        site.daemon.stop()?;
        assert_eq!(pinned(&site.lab.server)?, "");
        assert_eq!(xdp_program(&site.lab.server, SERVER_INTERFACE)?, None);
    }
    Ok(())
}

#[test]
fn without_a_bpf_file_system_it_serves_and_says_what_is_lacking() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    let mut command = Command::new("unshare");
    let args = serve_args(Datapath::Native, &files, &[]).join(" ");
    // The lab's own, and what the machine has under it.
    let undo = "umount /sys/fs/bpf; while umount /sys/fs/bpf 2>/dev/null; do :; done";
    let script = format!("{undo}; exec {} {args}", binary()?.display());
    command.args(["--mount", "sh", "-euc", &script]);
    let mut daemon = Daemon::start_command(&lab.server, command)?;
    daemon.wait_for("/sys/fs/bpf is no BPF file system", PATIENCE)?;
    let mut site = Site::of(lab, daemon, files)?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    Ok(())
}

/// Starts a daemon in the place of the one that was killed.
fn restart(site: &mut Site, datapath: Datapath, more: &[&str]) -> Result<()> {
    let args = serve_args(datapath, &site.files, more);
    site.daemon = Daemon::start(&site.lab.server, &binary()?, &args)?;
    Ok(())
}

fn restart_killed(site: &mut Site, datapath: Datapath, more: &[&str]) -> Result<()> {
    site.daemon.crash()?;
    restart(site, datapath, more)
}

fn detach(site: &Site) -> Result<Ended> {
    Ok(Ended::from(
        site.daemon.proxydhcp(&site.lab.server, &["detach"])?,
    ))
}

/// The line of the link that belongs to the lab's own interface.
fn link_of(site: &Site) -> Result<String> {
    let (index, namespace) = (index(site)?, inode(&site.lab.server)?);
    Ok(format!("{LAYOUT}/{namespace}/{index}/link\n"))
}

/// The number of the lab's own interface.
fn index(site: &Site) -> Result<u32> {
    link::index(&site.lab.server, SERVER_INTERFACE)
}

/// The kernel's number for the network namespace.
fn inode(namespace: &Namespace) -> Result<u64> {
    Ok(rustix::fs::fstat(namespace)?.st_ino)
}

/// The links that are pinned, each on a line.
fn pinned(namespace: &Namespace) -> Result<String> {
    let output = shell(
        namespace,
        "cd /sys/fs/bpf; test ! -d proxydhcp || find proxydhcp -name link -printf '%P\\n'",
    )?;
    Ok(String::from_utf8(output.stdout)?)
}

fn shell(namespace: &Namespace, script: &str) -> Result<Output> {
    let mut command = Command::new("sh");
    command.args(["-euc", script]);
    let output = namespace.output(command)?;
    ensure!(output.status.success(), "{output:?}");
    Ok(output)
}

fn await_none(held: &BpfObjects) -> Result<()> {
    await_left(held, 0)
}

/// Waits until so many of them are left.
fn await_left(held: &BpfObjects, count: usize) -> Result<()> {
    let started = Instant::now();
    while held.left().context("no list")?.iter().count() != count {
        ensure!(started.elapsed() < PATIENCE, "left: {:?}", held.left()?);
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
