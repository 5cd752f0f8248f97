//! An interface in service, with the datapaths that serve it.

use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use tracing::warn;

use crate::api::status::{Counters, Datapath, InterfaceStatus};
use crate::datapath::Shared;
use crate::datapath::af_xdp::AfXdpDatapath;
use crate::datapath::packet_thread::PacketThread;
use crate::datapath::raw::RawDatapath;
use crate::datapath::xdp::pins::{Leftover, Pins};
use crate::datapath::xdp::{Duty, KernelTables, Program};
use crate::sys::interface::{AttachMode, Interface};

/// Who is to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatapathPlan {
    /// The XDP program, or the sockets it redirects to.
    Xdp(AttachOptions),
    /// The raw datapath alone.
    Raw,
}

/// What is asked of the XDP program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachOptions {
    /// What it does.
    pub duty: Duty,
    /// How it is attached; else as it works best.
    pub mode: Option<AttachMode>,
    /// Where it does not attach, the raw datapath serves; else that is an error.
    pub or_raw: bool,
}

impl AttachOptions {
    /// The modes to try, the best first.
    fn modes(self, interface: &Interface) -> &'static [AttachMode] {
        match self.mode {
            Some(AttachMode::Native) => &[AttachMode::Native],
            Some(AttachMode::Generic) => &[AttachMode::Generic],
            // A veth peer keeps what a native program sends back, unless it has an XDP program
            // itself, which cannot be told from this end.
            None if interface.is_veth => &[AttachMode::Generic],
            None => &[AttachMode::Native, AttachMode::Generic],
        }
    }
}

/// What it takes to serve an interface by XDP.
pub(crate) struct Xdp<'a> {
    pub(crate) options: AttachOptions,
    pub(crate) tables: &'a KernelTables,
    /// Where the program is to be pinned, if it is.
    pub(crate) pins: Option<&'a Pins>,
    /// What a daemon that was killed has left on the interface.
    pub(crate) before: Option<Leftover>,
}

/// An interface in service.
pub(crate) struct Served {
    interface: Interface,
    /// First, so that it is detached before those behind it stop.
    program: Option<Program>,
    af_xdp: Option<AfXdpDatapath>,
    raw: RawDatapath,
}

impl Served {
    /// Serves an interface by the raw datapath from now on.
    pub(crate) fn start(interface: &Interface, shared: &Arc<Shared>) -> Result<Self> {
        Ok(Self {
            interface: interface.clone(),
            program: None,
            af_xdp: None,
            raw: RawDatapath::start(interface, Arc::clone(shared))?,
        })
    }

    /// Serves by the XDP program from now on, and by the raw datapath what the program leaves.
    pub(crate) fn attach(&mut self, xdp: Xdp<'_>, shared: &Arc<Shared>) -> Result<()> {
        let interface = &self.interface;
        let duty = xdp.options.duty;
        // Sockets end with the process, so that a program which needs them is to end with it too.
        let pins = xdp.pins.filter(|_| duty == Duty::Answer);
        let folder = pins.map(|pins| pins.of(interface.index));
        let mut program = Program::load(duty, xdp.tables, folder.as_deref())?;
        // Its sockets are ready before the first request comes.
        let af_xdp = match duty {
            Duty::Answer => None,
            Duty::Redirect => Some(AfXdpDatapath::start(interface, &mut program, shared)?),
        };
        program.attach(interface, xdp.options.modes(interface), xdp.before)?;
        if interface.is_veth && program.mode() == AttachMode::Native && duty == Duty::Answer {
            warn!(
                "{} is a veth: its peer takes the replies of a native XDP program only if it has \
                 an XDP program itself; --xdp-mode generic works with any peer",
                interface.name
            );
        }
        self.program = Some(program);
        self.af_xdp = af_xdp;
        Ok(())
    }

    /// From now on, the kernel goes on answering if this process is killed.
    pub(crate) fn stays(&mut self) {
        if let Some(program) = &mut self.program {
            program.stays();
        }
    }

    /// Ends the service of this interface, in the kernel too.
    pub(crate) fn stop(mut self) {
        if let Some(program) = self.program.take() {
            program.detach();
        }
    }

    pub(crate) fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Takes note that the interface has another name now.
    pub(crate) fn rename(&mut self, name: &str) {
        name.clone_into(&mut self.interface.name);
    }

    /// The kernel's number for its XDP program, if there is one.
    pub(crate) fn program(&self) -> Option<u32> {
        self.program.as_ref().map(Program::id)
    }

    pub(crate) fn has_program(&self) -> bool {
        self.program.is_some()
    }

    /// Passes what the XDP program has logged on to the daemon's log.
    pub(crate) fn forward_log(&mut self) {
        if let Some(program) = &mut self.program {
            program.forward_log();
        }
    }

    /// The threads that answer, or could.
    pub(crate) fn threads(&self) -> impl Iterator<Item = &PacketThread> {
        let af_xdp = self.af_xdp.iter().flat_map(AfXdpDatapath::threads);
        af_xdp.chain([self.raw.thread()])
    }

    fn datapath(&self) -> Datapath {
        match (&self.program, &self.af_xdp) {
            (Some(_), Some(_)) => Datapath::AfXdp,
            (Some(_), None) => Datapath::Kernel,
            (None, _) => Datapath::Raw,
        }
    }

    /// Its part of the line that says that requests are answered.
    pub(crate) fn describe(&self) -> String {
        let (name, datapath) = (&self.interface.name, self.datapath());
        match &self.program {
            Some(program) => format!("{name} by {datapath} ({})", program.mode()),
            None => format!("{name} by {datapath}"),
        }
    }

    pub(crate) fn status(&self) -> InterfaceStatus {
        let program = self.program.as_ref().map(|program| match program.counts() {
            Ok(counts) => Counters::new(&counts),
            Err(error) => {
                let name = &self.interface.name;
                warn!("{name}: cannot read the counters: {error:#}");
                Counters::default()
            }
        });
        let af_xdp = self.af_xdp.as_ref().map(|af_xdp| Counters {
            unsent: af_xdp.unsent(),
            lost: af_xdp.lost(),
            ..Counters::new(&af_xdp.counts())
        });
        let raw = Counters {
            unsent: self.raw.unsent(),
            lost: self.raw.lost(),
            ..Counters::new(&self.raw.counts())
        };
        let parts = [program.as_ref(), af_xdp.as_ref(), Some(&raw)];
        InterfaceStatus {
            name: self.interface.name.clone(),
            datapath: self.datapath(),
            mode: self.program.as_ref().map(Program::mode),
            zero_copy: self.af_xdp.as_ref().map(AfXdpDatapath::is_zero_copy),
            counters: parts
                .into_iter()
                .flatten()
                .fold(Counters::default(), Counters::plus),
            program,
            af_xdp,
            raw,
        }
    }
}

/// Ends the service of these interfaces, all at once: the kernel takes its time to let go of each.
pub(crate) fn stop(served: Vec<Served>) {
    thread::scope(|scope| {
        for one in served {
            scope.spawn(move || one.stop());
        }
    });
}

/// Installs the tables on all interfaces, or else leaves those of `before` on all.
pub(crate) fn install(
    served: &mut [Served],
    tables: &KernelTables,
    before: Option<&KernelTables>,
) -> Result<()> {
    let failure = served.iter_mut().find_map(|served| {
        let error = served.program.as_mut()?.install(tables).err()?;
        let name = &served.interface.name;
        Some(error.context(format!("{name}: cannot install the tables")))
    });
    let Some(failure) = failure else {
        return Ok(());
    };
    if let Some(before) = before {
        for program in served
            .iter_mut()
            .filter_map(|served| served.program.as_mut())
        {
            program.install(before).context("cannot go back either")?;
        }
    }
    Err(failure)
}
