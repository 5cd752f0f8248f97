//! The XDP program and the protocol core over a slice agree on every frame: the same verdict, the
//! same reply to the byte, the same counts.
//!
//! `cargo xtask test --cases N --seed S` runs N random cases from a seed; a failure names the seed
//! and the number of its case.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use proxydhcp::datapath::activity;
use proxydhcp::datapath::xdp::{Duty, KernelTables, Program};
use proxydhcp::tables::followed::Followed;
use proxydhcp::tables::generation::Generation;
use proxydhcp::tables::policy::{Policy, Unknown};
use proxydhcp::tables::table::{Files, Sources, Table};
use proxydhcp::winpe::loaders::Loaders;
use proxydhcp_common::counters::{
    ANSWERED, COUNTERS, Counts, HANDED_UP, LIMITED, PASSED, RECEIVED, refused,
};
use proxydhcp_common::frame::{Frame, Slice};
use proxydhcp_common::judge::judge;
use proxydhcp_common::vendor_class::VendorClass;
use proxydhcp_common::verdict::{Reason, Stop};
use proxydhcp_common::{headers, reply};
use proxydhcp_lab::corpus::{Corpus, requests};
use proxydhcp_lab::discover::HARDWARE;
use proxydhcp_lab::xdp::INTERFACE;
use proxydhcp_lab::{RequestFrame, SERVER_ADDRESS, capture, require_rights};

const XDP_DROP: u32 = 1;
pub(crate) const XDP_PASS: u32 = 2;
const XDP_TX: u32 = 3;

/// The verdict of one reader on a frame, and its reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) action: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Both readers, with the same tables.
pub(crate) struct Pair {
    program: Program,
    pub(crate) tables: Generation,
    counts: Counts,
}

impl Pair {
    /// With the golden nodes, and the default for all others.
    fn new(unknown: Unknown) -> Result<Self> {
        Self::knowing(unknown, "")
    }

    /// With these hardware addresses of the golden nodes.
    pub(crate) fn knowing(unknown: Unknown, hardware: &str) -> Result<Self> {
        require_rights()?;
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("golden.cfg");
        std::fs::copy(capture::data_path("golden.cfg"), &config)?;
        std::fs::write(folder.path().join("golden.cfg.hardware"), hardware)?;
        let sources = Sources {
            config,
            hosts: capture::data_path("golden.hosts"),
            tftp_root: PathBuf::from("/tftpboot"),
            loaders: Loaders::default(),
            suffixes: Vec::new(),
            ethers: None,
        };
        let table = Table::of_files(Arc::new(Files::read(&sources)?));
        // Requests of other classes are refused, or handed up.
        let others = VendorClass::new(b"HW-Client").filter(|_| unknown != Unknown::Ignore);
        let policy = Policy {
            unknown,
            vendor_classes: others.into_iter().collect(),
            ..Policy::default()
        };
        let tables = Generation::following(
            &Generation::default(),
            &table,
            &[SERVER_ADDRESS],
            &policy,
            &Arc::new(Followed::in_order(&table)),
        )?;
        let capacity = activity::capacity(table.len());
        let mut program =
            Program::load(Duty::Answer, &KernelTables::new(&tables)?, capacity, None)?;
        program.count_for(INTERFACE, false)?;
        Ok(Self {
            program,
            tables,
            counts: [0; COUNTERS],
        })
    }

    pub(crate) fn in_kernel(&mut self, frame: &[u8]) -> Result<Outcome> {
        let (action, bytes, _) = self.program.try_on(frame)?;
        Ok(Outcome { action, bytes })
    }

    fn in_userspace(&mut self, frame: &[u8]) -> Outcome {
        let mut buffer = [0; 4096];
        buffer[..frame.len()].copy_from_slice(frame);
        let mut slice = Slice::new(&mut buffer, frame.len()).unwrap();
        let verdict = headers::find(&slice).map(|found| judge(&slice, &found, &self.tables));
        let (action, counter) = match verdict {
            None => (XDP_PASS, None),
            Some(Ok(answer)) => {
                reply::write(&mut slice, &answer).unwrap();
                (XDP_TX, Some(ANSWERED))
            }
            // There is no limit here.
            Some(Err(Stop::Limited)) => (XDP_DROP, Some(LIMITED)),
            Some(Err(Stop::NotOurs)) => (XDP_PASS, Some(PASSED)),
            Some(Err(Stop::Refuse(Reason::Broadcast))) => {
                (XDP_PASS, Some(refused(Reason::Broadcast)))
            }
            Some(Err(Stop::SlowPath)) => (XDP_PASS, Some(HANDED_UP)),
            Some(Err(Stop::Refuse(reason))) => (XDP_DROP, Some(refused(reason))),
        };
        if let Some(counter) = counter {
            self.counts[RECEIVED] += 1;
            self.counts[counter] += 1;
        }
        Outcome {
            action,
            bytes: slice.bytes(0, slice.len()).unwrap().to_vec(),
        }
    }

    pub(crate) fn check(&mut self, frame: &[u8]) -> Result<()> {
        // The kernel takes nothing shorter than Ethernet's header for a frame.
        if frame.len() < 14 {
            return Ok(());
        }
        let kernel = self.in_kernel(frame)?;
        let userspace = self.in_userspace(frame);
        ensure!(
            kernel == userspace,
            "frame     {frame:02x?}\nkernel    {kernel:02x?}\nuserspace {userspace:02x?}"
        );
        Ok(())
    }

    /// Checks, at the end, that the program's counters agree with the core's verdicts.
    pub(crate) fn check_counts(&self) -> Result<()> {
        ensure!(
            self.program.counts(INTERFACE)? == self.counts,
            "kernel {:?}, userspace {:?}",
            self.program.counts(INTERFACE)?,
            self.counts
        );
        let [received, outcomes @ ..] = self.counts;
        ensure!(
            received == outcomes.iter().sum::<u64>(),
            "{:?}",
            self.counts
        );
        Ok(())
    }
}

pub(crate) fn setting(name: &str, default: u64) -> Result<u64> {
    std::env::var(name).map_or(Ok(default), |value| {
        value
            .parse()
            .with_context(|| format!("{name}={value} is no number"))
    })
}

#[test]
fn on_what_firmware_sends() -> Result<()> {
    for unknown in [Unknown::Ignore, Unknown::Default, Unknown::Lookup] {
        let mut pair = Pair::new(unknown)?;
        for name in ["edk2-uefi.pcap", "ipxe-bios.pcap"] {
            for frame in capture::frames(name)? {
                pair.check(&frame).context(name)?;
            }
        }
        for golden in capture::golden()? {
            let request =
                RequestFrame::carrying(golden.client, golden.source_port, golden.request.clone());
            pair.check(&request.bytes())?;
        }
        assert!(pair.counts[ANSWERED] > 80, "{:?}", pair.counts);
        pair.check_counts()?;
    }
    Ok(())
}

#[test]
fn on_corner_cases_cut_at_every_byte() -> Result<()> {
    let mut pair = Pair::new(Unknown::Default)?;
    for request in requests(Ipv4Addr::new(10, 77, 16, 1)) {
        let frame = request.bytes();
        for len in 0..=frame.len() {
            pair.check(&frame[..len])?;
        }
    }
    pair.check_counts()
}

#[test]
fn on_random_frames() -> Result<()> {
    let cases = setting("PROXYDHCP_CASES", 20_000)?;
    let seed = setting("PROXYDHCP_SEED", 1)?;
    let mut pair = Pair::new(Unknown::Ignore)?;
    let clients = [
        // Nodes with paths of different lengths, and one that is none.
        Ipv4Addr::new(10, 77, 16, 0),
        Ipv4Addr::new(10, 77, 16, 1),
        Ipv4Addr::new(10, 77, 16, 6),
        Ipv4Addr::new(10, 77, 99, 9),
    ];
    let mut corpus = Corpus::new(seed, &clients);
    for case in 0..cases {
        pair.check(&corpus.frame())
            .with_context(|| format!("case {case} of seed {seed}"))?;
    }
    pair.check_counts()?;
    println!("{cases} cases of seed {seed}: {:?}", pair.counts);
    // The corpus is worth something only if it comes to every verdict but those of the limit, of a
    // daemon that has been away too long, and of what the slow path alone refuses.
    let met = pair.counts.iter().filter(|count| **count > 0).count();
    assert!(cases < 20_000 || met == COUNTERS - 3, "{:?}", pair.counts);
    Ok(())
}

#[test]
fn on_random_frames_of_machines_known_by_their_hardware() -> Result<()> {
    let cases = setting("PROXYDHCP_CASES", 20_000)? / 3;
    let seed = setting("PROXYDHCP_SEED", 1)?;
    let clients = [0, 1, 3, 6, 99].map(|last| Ipv4Addr::new(10, 77, 16, last));
    let mut machines = Vec::new();
    for mac in 0..5 {
        for uuid in [0, 2, 6] {
            for mut request in clients.into_iter().flat_map(requests) {
                request.chaddr = [0; 16];
                request.chaddr[..6].copy_from_slice(&[2, 0, 0, 0, 0, mac]);
                for (code, value) in &mut request.options {
                    if *code == 97 {
                        *value = vec![0; 17];
                        value[16] = uuid;
                    }
                }
                machines.push(request);
            }
        }
    }
    for unknown in [Unknown::Ignore, Unknown::Default, Unknown::Lookup] {
        let mut pair = Pair::knowing(unknown, HARDWARE)?;
        let mut corpus = Corpus::of(seed, machines.clone());
        for case in 0..cases {
            pair.check(&corpus.frame())
                .with_context(|| format!("case {case} of seed {seed}"))?;
        }
        pair.check_counts()?;
        println!("{cases} cases of seed {seed}: {:?}", pair.counts);
        for counter in [ANSWERED, HANDED_UP, refused(Reason::Unknown)] {
            // Whoever is to be looked up is handed up.
            assert!(pair.counts[counter] > 0, "{counter}: {:?}", pair.counts);
        }
    }
    Ok(())
}
