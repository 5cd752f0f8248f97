//! The XDP program on one interface, and the tables it reads. It is the `kernel` datapath, and the
//! first half of the `af-xdp` one.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use aya::maps::{Array, ArrayOfMaps, IterableMap, Map, MapData, PerCpuArray, XskMap};
use aya::programs::{ProgramError, TestRun, TestRunOptions, Xdp, XdpMode};
use aya::sys::SyscallError;
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use log::Log;
use memmap2::MmapOptions;
use nix::errno::Errno;
use proxydhcp_common::counters::{COUNTERS, Counts};
use proxydhcp_common::nodes::Line;
use proxydhcp_common::template::Template;
use serde::{Deserialize, Serialize};
use tracing::debug;
use zerocopy::IntoBytes;

use crate::generation::Generation;
use crate::interface::Interface;

/// The compiled `proxydhcp-ebpf`; `cargo xtask build-ebpf` makes it.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/ebpf/proxydhcp.bpf.o"));

/// What the program does with the requests that are to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// It answers them.
    Answer,
    /// It gives them to the socket of their queue.
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

type Nodes = Array<MapData, [u8; Line::SIZE]>;
type Templates = Array<MapData, [u8; Template::SIZE]>;

/// A generation's tables as maps in the kernel, ready to be installed.
pub struct KernelTables {
    nodes: Nodes,
    templates: Templates,
    bank: u32,
}

impl KernelTables {
    /// Copies a generation's tables into fresh maps.
    ///
    /// # Errors
    ///
    /// The kernel's, lack of memory or of rights.
    pub fn new(generation: &Generation) -> Result<Self> {
        // As the program's own definition has it: BPF_F_MMAPABLE and BPF_F_INNER_MAP.
        const TABLE: u32 = 0x400 | 0x1000;
        let nodes = Nodes::create(u32::try_from(generation.lines().len())?, TABLE)
            .context("cannot make the map of nodes (it takes root, or CAP_BPF)")?;
        write(nodes.map(), generation.lines().as_bytes())?;
        let templates = Templates::create(u32::try_from(generation.templates().len())?, TABLE)
            .context("cannot make the map of templates")?;
        write(templates.map(), generation.templates().as_bytes())?;
        Ok(Self {
            nodes,
            templates,
            bank: generation.bank(),
        })
    }
}

/// Writes a whole map by way of its memory: a million system calls fewer for as many nodes.
fn write(map: &MapData, elements: &[u8]) -> Result<()> {
    // SAFETY: the map is new and nobody else knows it: its memory changes by this function alone.
    let mut memory = unsafe {
        MmapOptions::new()
            .len(elements.len())
            .map_mut(map.fd().as_fd().as_raw_fd())
    }
    .context("cannot reach a map's memory")?;
    memory.copy_from_slice(elements);
    Ok(())
}

/// How the program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// By the driver, before the kernel makes a socket buffer.
    Native,
    /// By the network core, on any interface.
    Generic,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// The program on an interface. Dropping it detaches the program and frees its maps.
pub struct Program {
    ebpf: Ebpf,
    duty: Duty,
    mode: Mode,
    log: Option<EbpfLogger<&'static dyn Log>>,
}

impl Program {
    /// Loads the program with `tables`; it is not attached yet.
    ///
    /// # Errors
    ///
    /// Why the kernel refuses it.
    pub fn load(duty: Duty, tables: &KernelTables) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .load(OBJECT)
            .context("cannot load the XDP program's maps")?;
        let log = EbpfLogger::init(&mut ebpf).context("cannot read the XDP program's log")?;
        let mut program = Self {
            ebpf,
            duty,
            mode: Mode::Native,
            log: Some(log),
        };
        program.xdp()?.load().map_err(explain_refusal)?;
        // Before the first frame comes.
        program.install(tables)?;
        Ok(program)
    }

    /// Makes `socket` the one that takes the requests of `queue`.
    ///
    /// # Errors
    ///
    /// The kernel's; a queue number that is too large.
    pub fn set_socket(&mut self, queue: u32, socket: impl AsRawFd) -> Result<()> {
        let mut sockets = XskMap::try_from(self.map("SOCKETS")?)?;
        sockets
            .set(queue, socket, 0)
            .with_context(|| format!("cannot serve queue {queue}"))
    }

    /// Attaches the program to `interface` in the first of `modes` that works.
    ///
    /// # Errors
    ///
    /// Why it cannot be attached in any of the modes.
    pub fn attach(&mut self, interface: &Interface, modes: &[Mode]) -> Result<()> {
        let program = self.xdp()?;
        let mut refusals = Vec::new();
        for &mode in modes {
            let xdp_mode = match mode {
                Mode::Native => XdpMode::Driver,
                Mode::Generic => XdpMode::Skb,
            };
            match program.attach_to_if_index(interface.index, xdp_mode) {
                Ok(_) => {
                    self.mode = mode;
                    return Ok(());
                }
                Err(error) => refusals.push(format!("{mode}: {}", explain(&error, interface))),
            }
        }
        bail!(
            "XDP does not attach to {}: {}",
            interface.name,
            refusals.join("; ")
        )
    }

    /// Puts a generation's tables into service, in one step: a request sees those before or these.
    ///
    /// # Errors
    ///
    /// The kernel's; what was in service stays.
    pub fn install(&mut self, tables: &KernelTables) -> Result<()> {
        // Nothing refers to this bank yet: the node table in service points to the other one. And
        // when the kernel returns from replacing the node table, no run of the program reads the
        // old one any more, so that the next generation may replace the other bank.
        let mut templates: ArrayOfMaps<_, Templates> =
            ArrayOfMaps::try_from(self.map("TEMPLATES")?)?;
        templates
            .set(tables.bank, &tables.templates, 0)
            .context("cannot install the templates")?;
        let mut nodes: ArrayOfMaps<_, Nodes> = ArrayOfMaps::try_from(self.map("NODES")?)?;
        nodes
            .set(0, &tables.nodes, 0)
            .context("cannot install the nodes")?;
        Ok(())
    }

    /// How the program is attached.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What the program has counted on all CPUs.
    ///
    /// # Errors
    ///
    /// The kernel's.
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

    /// Runs the program on a frame, on no interface, and returns its action (`xdp_action` of
    /// `linux/bpf.h`), what it made of the frame, and how long it took.
    ///
    /// # Errors
    ///
    /// The kernel's; frames of less than 14 bytes are none to it.
    pub fn try_on(&mut self, frame: &[u8]) -> Result<(u32, Vec<u8>, Duration)> {
        let mut made = vec![0; frame.len() + 1024];
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(&mut made);
        let run = self.xdp()?.test_run(options)?;
        made.truncate(run.data_size_out.try_into()?);
        Ok((run.return_value, made, run.duration))
    }

    /// The program as it is loaded, to be run or looked at by itself.
    ///
    /// # Errors
    ///
    /// The object is not the one that this was written for.
    pub fn loaded(&self) -> Result<&Xdp> {
        let program = self.ebpf.program(self.duty.program());
        Ok(program
            .context("the object has no such program")?
            .try_into()?)
    }

    /// The program's log, once; reading from it is the caller's part.
    pub fn take_log(&mut self) -> Option<EbpfLogger<&'static dyn Log>> {
        self.log.take()
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

/// Why the kernel does not load the program, without the verifier's log of many pages.
fn explain_refusal(error: ProgramError) -> anyhow::Error {
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        return anyhow::Error::new(error).context("the XDP program cannot be loaded");
    };
    debug!("the verifier says: {verifier_log}");
    anyhow!(
        "the kernel refuses the XDP program: {io_error}; it takes root, or CAP_BPF, CAP_PERFMON \
         and CAP_NET_ADMIN (RUST_LOG=debug shows the verifier's log)"
    )
}

/// The kernel's error codes in the words of an administrator.
fn explain(error: &ProgramError, interface: &Interface) -> String {
    let code = match error {
        ProgramError::SyscallError(SyscallError { io_error, .. }) => io_error.raw_os_error(),
        _ => None,
    };
    match (code.map(Errno::from_raw), interface.xdp_program) {
        (Some(Errno::EBUSY | Errno::EEXIST), Some(id)) => format!(
            "another XDP program (id {id}; see `bpftool prog show id {id}`) holds the interface"
        ),
        (Some(Errno::EBUSY | Errno::EEXIST), None) => {
            "another XDP program holds the interface".to_owned()
        }
        (Some(Errno::EOPNOTSUPP), _) => "the driver has no support for it".to_owned(),
        (Some(Errno::EINVAL | Errno::ERANGE | Errno::E2BIG), _) => format!(
            "the driver refuses it; its MTU of {} may be too large",
            interface.mtu
        ),
        _ => match error {
            ProgramError::SyscallError(error) => error.io_error.to_string(),
            error => error.to_string(),
        },
    }
}
