//! What a steady load loses while the daemon is killed, upgraded, restarted and reloaded, and while
//! its interface goes down.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use proxydhcp_bench::{Load, LoadReport, steady};
use proxydhcp_lab::bpf::BpfObjects;
use proxydhcp_lab::link::{self, xdp_program};
use proxydhcp_lab::site::{Datapath, Files, Site, serve_args};
use proxydhcp_lab::{
    CLIENT_INTERFACE, Daemon, RequestFrame, SERVER_INTERFACE, Tap, alone, binary, copy_program,
};

use crate::cluster::{Cluster, rate};

const NODES: u16 = 1000;
const RELOADS: usize = 100;
/// Before and after what is done: the load is under way, and goes on.
const CALM: Duration = Duration::from_millis(200);
/// Nothing must hang.
const PATIENCE: Duration = Duration::from_mins(1);

#[test]
fn what_is_lost_by_native_xdp() -> Result<()> {
    in_turn(Datapath::Native)
}

#[test]
fn what_is_lost_by_generic_xdp() -> Result<()> {
    in_turn(Datapath::Generic)
}

fn in_turn(datapath: Datapath) -> Result<()> {
    let _alone = alone();
    let cluster = Cluster::new(NODES);
    let files = Files::new()?;
    cluster.write_hosts(&files)?;
    cluster.write_config(&files, "winboot/x/")?;
    let mut site = Site::start(datapath, files, &[])?;
    // The tap would take a copy of each frame from now on.
    site.tap = Tap::open(&site.lab.client, "lo")?;
    let frames: Vec<RequestFrame> = cluster
        .requests()
        .into_iter()
        .map(|(frame, _)| frame)
        .collect();
    let lost = |site: &mut Site, what: &str, work: &mut dyn FnMut(&mut Site) -> Result<()>| {
        let report = under_load(site, &frames, work)?;
        println!(
            "{datapath:?}, {what}: {} of {} requests lost at {:.0} a second, {:.1} ms of them",
            report.missing(),
            report.sent,
            report.rate(),
            f64::from(report.missing()) / report.rate() * 1e3,
        );
        ensure!(report.duplicates + report.strays == 0, "{what}: {report:?}");
        Ok(report.missing())
    };

    let nothing = lost(
        &mut site,
        "kill -9, 0.2 s, and the next start",
        &mut |site| {
            site.daemon.crash()?;
            thread::sleep(CALM);
            restart(site, datapath, &binary()?)
        },
    )?;
    assert_eq!(nothing, 0);

    let upgrade = Upgrade::new(&site.files)?;
    let before = tag(&site)?;
    let nothing = lost(
        &mut site,
        "kill -9, and the start of another version",
        &mut |site| {
            site.daemon.crash()?;
            restart(site, datapath, &upgrade.binary)
        },
    )?;
    assert_eq!(nothing, 0);
    assert_ne!(tag(&site)?, before, "the same program");

    let nothing = lost(&mut site, "100 reloads", &mut |site| {
        for winpe in ["winboot/y/", "winboot/x/"].iter().cycle().take(RELOADS) {
            cluster.write_config(&site.files, winpe)?;
            let output = site.command(&["reload"])?;
            ensure!(output.code == Some(0), "{output:?}");
        }
        Ok(())
    })?;
    assert_eq!(nothing, 0);

    // These two make a gap, whose length the system says.
    lost(
        &mut site,
        "SIGTERM, the end awaited, and a start",
        &mut |site| {
            site.daemon.stop()?;
            restart(site, datapath, &binary()?)
        },
    )?;
    lost(&mut site, "the interface down and up", &mut |site| {
        link::set_down(&site.lab.server, SERVER_INTERFACE)?;
        link::set_up(&site.lab.server, SERVER_INTERFACE)?;
        link::wait_until_up(&site.lab.server, SERVER_INTERFACE)?;
        link::wait_until_up(&site.lab.client, CLIENT_INTERFACE)
    })?;
    // After all that, nothing is amiss.
    let nothing = lost(&mut site, "nothing at all", &mut |_| {
        thread::sleep(CALM);
        Ok(())
    })?;
    assert_eq!(nothing, 0);
    site.daemon.stop()?;
    assert_eq!(xdp_program(&site.lab.server, SERVER_INTERFACE)?, None);
    Ok(())
}

/// Does `work` in the midst of a steady load.
fn under_load(
    site: &mut Site,
    frames: &[RequestFrame],
    work: &mut dyn FnMut(&mut Site) -> Result<()>,
) -> Result<LoadReport> {
    let client = site.lab.client.try_clone()?;
    let rate = rate()?;
    let over = std::sync::atomic::AtomicBool::new(false);
    let relaxed = std::sync::atomic::Ordering::Relaxed;
    let (report, worked) = thread::scope(|scope| {
        let load = scope.spawn(|| {
            let load = Load {
                rate,
                requests: frames,
            };
            let go_on = |elapsed| !over.load(relaxed) && elapsed < PATIENCE;
            steady(&client, CLIENT_INTERFACE, &load, &go_on, &mut |_| Ok(()))
        });
        thread::sleep(CALM);
        let started = Instant::now();
        let worked = work(site);
        let worked = worked.and_then(|()| {
            ensure!(started.elapsed() < PATIENCE, "it took too long");
            Ok(())
        });
        thread::sleep(CALM);
        over.store(true, relaxed);
        (load.join(), worked)
    });
    worked?;
    match report {
        Ok(report) => report,
        Err(_) => bail!("the load failed"),
    }
}

fn restart(site: &mut Site, datapath: Datapath, binary: &Path) -> Result<()> {
    let args = serve_args(datapath, &site.files, &[]);
    site.daemon = Daemon::start(&site.lab.server, binary, &args)?;
    Ok(())
}

/// The kernel's hash of the program that the daemon holds.
fn tag(site: &Site) -> Result<String> {
    BpfObjects::program_tag(site.daemon.pid())?.context("it holds no program")
}

/// The daemon with another program, that does the same.
struct Upgrade {
    binary: PathBuf,
}

impl Upgrade {
    /// Two neighbouring instructions, which put numbers into two registers, change places.
    fn new(files: &Files) -> Result<Self> {
        const ELF_HEADER: usize = 64;
        const INSTRUCTION: usize = 8;
        // BPF_ALU64 | BPF_MOV | BPF_K, as the first byte of an instruction.
        const MOVE_NUMBER: u8 = 0xb7;
        let object = include_bytes!("../../../proxydhcp-user/ebpf/proxydhcp.bpf.o");
        let mut bytes = fs::read(binary()?)?;
        let place = bytes
            .windows(object.len())
            .position(|window| window == object)
            .context("the binary does not have the object as it lies beside its source")?;
        let pair = (ELF_HEADER..object.len())
            .step_by(INSTRUCTION)
            .find(|&at| {
                let puts = |at: usize| {
                    let is_move = object.get(at) == Some(&MOVE_NUMBER);
                    is_move.then(|| object.get(at + 1)).flatten()
                };
                let (first, second) = (puts(at), puts(at + INSTRUCTION));
                first.is_some() && second.is_some() && first != second
            })
            .context("the object has no such instructions")?;
        let pair = bytes.get_mut(place + pair..).context("cut off")?;
        let pair = pair.get_mut(..2 * INSTRUCTION).context("cut off")?;
        pair.rotate_left(INSTRUCTION);
        let upgrade = Self {
            binary: files.path("proxydhcp-of-another-version"),
        };
        let changed = files.path("changed");
        fs::write(&changed, bytes)?;
        fs::set_permissions(&changed, fs::Permissions::from_mode(0o755))?;
        copy_program(&changed, &upgrade.binary)?;
        Ok(upgrade)
    }
}
