//! The XDP program on one interface, and the tables it reads. It is the `kernel` datapath, and the
//! first half of the `af-xdp` one.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::maps::{ArrayOfMaps, Map, PerCpuArray, XskMap};
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, ProgramType, TestRun, TestRunOptions, Xdp};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use log::Log;
use proxydhcp_common::counters::{COUNTERS, Counts};

use crate::sys::interface::AttachMode;

mod attach;
mod extack;
mod pin;
pub mod pins;
mod refusal;
mod remedy;
mod tables;

pub use attach::Refused;
use pin::Pinned;
pub use tables::KernelTables;
use tables::{Nodes, Templates};

/// The compiled `proxydhcp-ebpf`, made by `cargo xtask build-ebpf`.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/proxydhcp.bpf.o"));

/// What the program does with the requests it accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It answers them.
    Answer,
    /// It redirects them to the AF_XDP socket of their queue.
    Redirect,
}

impl Duty {
    /// The name of the program in the object.
    const fn program(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Redirect => "redirect",
        }
    }
}

/// The program on an interface. Dropping it detaches the program and frees its maps, unless they
/// are pinned to stay.
pub struct Program {
    /// What holds it on the interface.
    link: Option<FdLink>,
    pinned: Option<Pinned>,
    ebpf: Ebpf,
    duty: Duty,
    /// The kernel's number for the program.
    id: u32,
    mode: AttachMode,
    has_nodes: bool,
    log: EbpfLogger<&'static dyn Log>,
}

impl Program {
    /// Loads the program with `tables`, without attaching it. With a folder to pin it in, it
    /// continues with the maps of [`pins::ADOPTED`] that are pinned there.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the program or its maps, or the folder cannot be created.
    pub fn load(duty: Duty, tables: &KernelTables, folder: Option<&Path>) -> Result<Self> {
        // If the kernel refuses the probe, it will refuse the program too, and say why.
        let coarse = u8::from(coarse_clock().unwrap_or(false));
        let mut loader = EbpfLoader::new();
        loader.override_global("COARSE_CLOCK", &coarse, true);
        let pinned = folder.map(Pinned::new);
        if let Some(folder) = folder {
            pins::make_folder(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            for map in pins::ADOPTED {
                loader.map_pin_path(map, folder.join(map));
            }
        }
        let mut ebpf = loader.load(OBJECT).map_err(refusal::of_object)?;
        let log = EbpfLogger::init(&mut ebpf).context("cannot read the XDP program's log")?;
        let mut program = Self {
            link: None,
            pinned,
            ebpf,
            duty,
            id: 0,
            mode: AttachMode::Native,
            has_nodes: true,
            log,
        };
        program.xdp()?.load().map_err(refusal::of_program)?;
        program.id = program.loaded()?.info()?.id();
        // The tables are in place before the first frame comes.
        program.install(tables)?;
        Ok(program)
    }

    /// Makes `socket` receive the requests of `queue`.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the socket, or the queue number is too large for the map.
    pub fn set_socket(&mut self, queue: u32, socket: impl AsRawFd) -> Result<()> {
        let mut sockets = XskMap::try_from(self.map("SOCKETS")?)?;
        sockets
            .set(queue, socket, 0)
            .with_context(|| format!("cannot serve queue {queue}"))
    }

    /// Puts a generation's tables into service, in one step: a request sees either the old ones or
    /// these.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to replace a map. What was in service stays.
    pub fn install(&mut self, tables: &KernelTables) -> Result<()> {
        if tables.has_nodes {
            self.set_has_nodes(true);
        }
        // Nothing refers to this bank yet: the node table in service points to the other one. When
        // the kernel returns from replacing the node table, no run of the program reads the old one
        // any longer, so the next generation may replace the other bank.
        let mut templates: ArrayOfMaps<_, Templates> =
            ArrayOfMaps::try_from(self.map("TEMPLATES")?)?;
        templates
            .set(tables.bank, &tables.templates, 0)
            .context("cannot install the templates")?;
        let mut nodes: ArrayOfMaps<_, Nodes> = ArrayOfMaps::try_from(self.map("NODES")?)?;
        nodes
            .set(0, &tables.nodes, 0)
            .context("cannot install the nodes")?;
        if !tables.has_nodes {
            self.set_has_nodes(false);
        }
        Ok(())
    }

    /// The kernel's number for the program.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The mode in which the program is attached.
    pub fn mode(&self) -> AttachMode {
        self.mode
    }

    /// What the program has counted on all CPUs.
    ///
    /// # Errors
    ///
    /// If the kernel does not return the counters.
    pub fn counts(&self) -> Result<Counts> {
        let map = self.ebpf.map("COUNTERS").context("no map COUNTERS")?;
        let counters: PerCpuArray<_, Counts> = PerCpuArray::try_from(map)?;
        let mut sum = [0; COUNTERS];
        for counts in counters.get(&0, 0)?.iter() {
            for (sum, count) in sum.iter_mut().zip(counts) {
                *sum += count;
            }
        }
        Ok(sum)
    }

    /// Runs the program on a frame without an interface. Returns its action (`xdp_action` of
    /// `linux/bpf.h`), the frame as it left it, and how long it took.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the run, as it does for frames of less than 14 bytes.
    pub fn try_on(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>, Duration)> {
        let mut made = vec![0; frame.len() + 1024];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut made);
        let run = self.xdp()?.test_run(options)?;
        made.truncate(run.data_size_out.try_into()?);
        Ok((run.return_value, made, run.duration))
    }

    /// The loaded program, for running or inspecting it alone.
    ///
    /// # Errors
    ///
    /// If the object does not contain the program.
    pub fn loaded(&self) -> Result<&Xdp> {
        let program = self.ebpf.program(self.duty.program());
        Ok(program
            .context("the object has no such program")?
            .try_into()?)
    }

    /// Forwards what the program has logged to the daemon's log.
    pub fn forward_log(&mut self) {
        self.log.flush();
    }

    fn xdp(&mut self) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(self.duty.program());
        Ok(program
            .context("the object has no such program")?
            .try_into()?)
    }

    fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf
            .map_mut(name)
            .with_context(|| format!("the object has no map {name}"))
    }
}

/// Whether the kernel has the cheap clock of [`proxydhcp_common::limit`] (Linux 5.11). A test
/// program that reads it shows that.
fn coarse_clock() -> Result<bool, ProgramError> {
    is_helper_supported(ProgramType::Xdp, BpfHelper::BPF_FUNC_ktime_get_coarse_ns)
}
