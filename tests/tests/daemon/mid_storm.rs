//! What a steady load loses while the daemon is killed, upgraded, restarted and reloaded, and while
//! its interface goes down.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proxydhcp_clients::Reply;
use proxydhcp_lab::bpf::BpfObjects;
use proxydhcp_lab::link::{self, xdp_program};
use proxydhcp_lab::site::{Datapath, Files, Site, serve_args};
use proxydhcp_lab::{
    CLIENT_INTERFACE, Daemon, Expected, RequestFrame, SERVER_INTERFACE, alone, binary, check_reply,
    copy_program,
};

use crate::amid_load::{Amid, amid_load};
use crate::cluster::Cluster;

const NODES: u16 = 1000;
const RELOADS: usize = 100;
/// How long the kernel answers alone until the next daemon starts.
const ALONE: Duration = Duration::from_millis(200);
/// As in xCAT's place.
const OUTLIVE: [&str; 2] = ["--outlive", "30s"];
/// The WinPE of all nodes, and the one that they are moved to and fro from.
const WINPE: &str = "winboot/x/";
const OTHER: &str = "winboot/y/";
/// How many requests are answered at least while something is done that may lose none.
const LEAST: u32 = 100;

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
    let mut storm = Storm::new(datapath)?;
    storm.loses_nothing("kill -9, 0.2 s, and the next start", &[WINPE], |site| {
        site.daemon.crash()?;
        thread::sleep(ALONE);
        restart(site, datapath, &binary()?)
    })?;

    let upgrade = Upgrade::new(&storm.site.files)?;
    let before = tag(&storm.site)?;
    let what = "kill -9, and the start of another version";
    storm.loses_nothing(what, &[WINPE], |site| {
        site.daemon.crash()?;
        restart(site, datapath, &upgrade.binary)
    })?;
    assert_ne!(tag(&storm.site)?, before, "the same program");

    let cluster = Cluster::new(NODES);
    storm.loses_nothing("100 reloads", &[WINPE, OTHER], |site| {
        for winpe in [OTHER, WINPE].iter().cycle().take(RELOADS) {
            cluster.write_config(&site.files, winpe)?;
            let output = site.command(&["reload"])?;
            ensure!(output.code == Some(0), "{output:?}");
        }
        Ok(())
    })?;

    // These two make a gap, which is measured and not judged.
    storm.amid("SIGTERM, the end awaited, and a start", &[WINPE], |site| {
        site.daemon.stop()?;
        restart(site, datapath, &binary()?)
    })?;
    storm.amid("the interface down and up", &[WINPE], |site| {
        link::set_down(&site.lab.server, SERVER_INTERFACE)?;
        link::set_up(&site.lab.server, SERVER_INTERFACE)?;
        link::wait_until_up(&site.lab.server, SERVER_INTERFACE)?;
        link::wait_until_up(&site.lab.client, CLIENT_INTERFACE)
    })?;
    // After all that, nothing is amiss.
    storm.loses_nothing("nothing at all", &[WINPE], |_| {
        thread::sleep(ALONE);
        Ok(())
    })?;
    let mut site = storm.site;
    site.daemon.stop()?;
    assert_eq!(xdp_program(&site.lab.server, SERVER_INTERFACE)?, None);
    Ok(())
}

/// A site whose nodes ask all the time.
struct Storm {
    site: Site,
    datapath: Datapath,
    /// What each node sends, and its architecture.
    requests: Vec<(RequestFrame, u16)>,
}

impl Storm {
    fn new(datapath: Datapath) -> Result<Self> {
        let cluster = Cluster::new(NODES);
        let site = cluster.unlimited(datapath, WINPE, &OUTLIVE)?;
        Ok(Self {
            site,
            datapath,
            requests: cluster.requests(),
        })
    }

    /// Does `work` while all nodes ask, and prints what is lost meanwhile. No answer may be wrong:
    /// each sends its node to one of these WinPEs.
    fn amid(
        &mut self,
        what: &str,
        winpes: &[&str],
        work: impl FnOnce(&mut Site) -> Result<()>,
    ) -> Result<Amid<()>> {
        let frames: Vec<RequestFrame> = self.requests.iter().map(|(r, _)| r.clone()).collect();
        let requests = &self.requests;
        let mut check = |reply: &Reply| {
            let (_, architecture) = requests.get(reply.request_index).context("no request")?;
            let judge = |winpe: &&str| {
                let expected = Expected::new(winpe, *architecture);
                check_reply(reply.request, reply.frame, &expected)
            };
            let (first, others) = winpes.split_first().context("no WinPE")?;
            judge(first).or_else(|fault| {
                let is_another = others.iter().any(|winpe| judge(winpe).is_ok());
                is_another.then_some(()).ok_or(fault)
            })
        };
        let amid = amid_load(&mut self.site, &frames, &mut check, work)
            .with_context(|| what.to_owned())?;
        let load = &amid.load;
        println!(
            "{:?}, {what}: {} of {} requests lost at {:.0} a second, {:.1} ms of them; {} answered \
             meanwhile",
            self.datapath,
            load.missing(),
            load.sent,
            load.rate(),
            f64::from(load.missing()) / load.rate() * 1e3,
            amid.meanwhile,
        );
        ensure!(
            load.duplicates + load.strays + load.wrong == 0,
            "{what}: {load:?}"
        );
        Ok(amid)
    }

    /// Does `work` while all nodes ask, and each request is answered.
    fn loses_nothing(
        &mut self,
        what: &str,
        winpes: &[&str],
        work: impl FnOnce(&mut Site) -> Result<()>,
    ) -> Result<()> {
        let amid = self.amid(what, winpes, work)?;
        ensure!(amid.load.missing() == 0, "{what}: {:?}", amid.load);
        ensure!(amid.meanwhile >= LEAST, "{what}: {} only", amid.meanwhile);
        Ok(())
    }
}

fn restart(site: &mut Site, datapath: Datapath, binary: &Path) -> Result<()> {
    let args = serve_args(datapath, &site.files, &OUTLIVE);
    site.daemon = Daemon::start(&site.lab.server, binary, &args)?;
    Ok(())
}

/// The kernel's hash of the program that the daemon holds.
fn tag(site: &Site) -> Result<String> {
    BpfObjects::program_tag(site.daemon.pid())?.context("it holds no program")
}

/// A daemon with a different XDP program that does the same.
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
