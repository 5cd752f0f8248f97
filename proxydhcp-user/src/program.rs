//! The XDP program on one interface, and the tables it reads. It is the `kernel` datapath, and the
//! first half of the `af-xdp` one.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use aya::maps::{Array, ArrayOfMaps, IterableMap, Map, MapData, PerCpuArray, XskMap};
use aya::programs::links::FdLink;
use aya::programs::xdp::XdpLink;
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
use tracing::{debug, warn};
use zerocopy::IntoBytes;

use crate::generation::Generation;
use crate::interface::{AttachedXdp, Interface};
use crate::pins::{self, Remainder};

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

/// The program on an interface. Dropping it detaches the program and frees its maps, unless they
/// are pinned to stay.
pub struct Program {
    /// What holds it on the interface.
    link: Option<FdLink>,
    pinned: Option<Pinned>,
    ebpf: Ebpf,
    duty: Duty,
    mode: Mode,
    log: EbpfLogger<&'static dyn Log>,
}

/// Where a program outlives this process.
struct Pinned {
    folder: PathBuf,
    /// It has been in service, by this daemon or one before: only a clean stop ends it.
    stays: bool,
}

impl Program {
    /// Loads the program with `tables`; it is not attached yet. With a folder to pin it in, it
    /// goes on with the maps of [`pins::ADOPTED`] that are pinned there.
    ///
    /// # Errors
    ///
    /// Why the kernel refuses it.
    pub fn load(duty: Duty, tables: &KernelTables, folder: Option<&Path>) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        let pinned = folder.map(|folder| Pinned {
            folder: folder.to_owned(),
            stays: folder.join(pins::LINK).exists(),
        });
        if let Some(folder) = folder {
            pins::make_folder(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            for map in pins::ADOPTED {
                loader.map_pin_path(map, folder.join(map));
            }
        }
        let mut ebpf = loader
            .load(OBJECT)
            .context("cannot load the XDP program's maps")?;
        let log = EbpfLogger::init(&mut ebpf).context("cannot read the XDP program's log")?;
        let mut program = Self {
            link: None,
            pinned,
            ebpf,
            duty,
            mode: Mode::Native,
            log,
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

    /// Attaches the program to `interface` in the first of `modes` that works; or, in one step, in
    /// the place of the program that a daemon `before` has left there, if that is attached in one
    /// of them.
    ///
    /// # Errors
    ///
    /// Why it cannot be attached in any of the modes.
    pub fn attach(
        &mut self,
        interface: &Interface,
        modes: &[Mode],
        before: Option<Remainder>,
    ) -> Result<()> {
        if let Some(before) = before
            && self.take_over(interface, modes, before)?
        {
            return Ok(());
        }
        let program = self.xdp()?;
        let mut refusals = Vec::new();
        for &mode in modes {
            let xdp_mode = match mode {
                Mode::Native => XdpMode::Driver,
                Mode::Generic => XdpMode::Skb,
            };
            match program.attach_to_if_index(interface.index, xdp_mode) {
                Ok(id) => {
                    self.link = Some(program.take_link(id)?.try_into()?);
                    self.mode = mode;
                    return self.pin(interface, None);
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

    /// Puts the program on the link of one before, if that is attached in one of `modes`; else
    /// removes that.
    fn take_over(
        &mut self,
        interface: &Interface,
        modes: &[Mode],
        before: Remainder,
    ) -> Result<bool> {
        let folder = before.folder().to_owned();
        let mode = interface.xdp.and_then(|xdp| xdp.mode);
        let (Some(mode), Some(link)) =
            (mode.filter(|mode| modes.contains(mode)), before.into_link())
        else {
            pins::remove(&folder)?;
            return Ok(false);
        };
        let program = self.xdp()?;
        let id = program
            .attach_to_link(XdpLink::try_from(link)?)
            .with_context(|| {
                format!(
                    "{}: the program cannot take the place of the one that is pinned in {}; \
                     `proxydhcp detach` removes that",
                    interface.name,
                    folder.display()
                )
            })?;
        self.link = Some(program.take_link(id)?.try_into()?);
        self.mode = mode;
        self.stays();
        self.pin(interface, Some(&folder))?;
        Ok(true)
    }

    /// Pins all that answers without this process; its link is pinned in the folder `before`
    /// already, if that is given. Without pins it serves as well.
    fn pin(&mut self, interface: &Interface, before: Option<&Path>) -> Result<()> {
        match self.try_to_pin(before) {
            // The link is lost where it cannot be pinned.
            Err(error) if self.link.is_none() => {
                Err(error.context("cannot pin the program's link; --no-pin does without"))
            }
            Err(error) => {
                let name = &interface.name;
                warn!("{name}: a killed daemon's successor will start anew: {error:#}");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn try_to_pin(&mut self, before: Option<&Path>) -> Result<()> {
        let folder = self.pinned.as_ref().map(|pinned| pinned.folder.clone());
        if let Some(folder) = &folder {
            pins::make_folder(folder)?;
            for map in ["NODES", "TEMPLATES"].iter().chain(&pins::ADOPTED) {
                let path = folder.join(map);
                unpin(&path)?;
                self.map(map)?.pin(path)?;
            }
            let path = folder.join("program");
            unpin(&path)?;
            self.xdp()?.pin(path)?;
            // Last: a folder with a link is whole.
            if Some(folder.as_path()) != before
                && let Some(link) = self.link.take()
            {
                self.link = Some(link.pin(folder.join(pins::LINK))?.into());
            }
        }
        if let Some(before) = before.filter(|before| folder.as_deref() != Some(before)) {
            pins::forget(before)?;
        }
        Ok(())
    }

    /// From now on, only [`Program::detach`] takes it out of the kernel, where it is pinned.
    pub fn stays(&mut self) {
        if let Some(pinned) = &mut self.pinned {
            pinned.stays = true;
        }
    }

    /// Detaches the program, pinned or not.
    pub fn detach(mut self) {
        if let Some(pinned) = &mut self.pinned {
            pinned.stays = false;
        }
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

    /// The kernel's number for the program.
    pub fn id(&self) -> Option<u32> {
        Some(self.loaded().ok()?.info().ok()?.id())
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

    /// Passes what the program has logged on to the daemon's log.
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

impl Drop for Pinned {
    fn drop(&mut self) {
        if !self.stays
            && let Err(error) = pins::remove(&self.folder)
        {
            warn!("cannot remove {}: {error}", self.folder.display());
        }
    }
}

/// Removes the pin of a program before, if there is one.
fn unpin(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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
    match (code.map(Errno::from_raw), interface.xdp) {
        (Some(Errno::EBUSY | Errno::EEXIST), Some(AttachedXdp { program: id, .. })) => format!(
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
