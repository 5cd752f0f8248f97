//! An interface in service, with its datapaths.

use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use tracing::{info, warn};

use crate::api::status::{Better, Counters, Datapath, Fallback, InterfaceStatus};
use crate::datapath::Shared;
use crate::datapath::af_xdp::AfXdpDatapath;
use crate::datapath::losses::{self, Losses, Prone};
use crate::datapath::modes::{self, Modes};
use crate::datapath::packet_thread::PacketThread;
use crate::datapath::raw::RawDatapath;
use crate::datapath::xdp::pins::{Leftover, Pins};
use crate::datapath::xdp::{Duty, KernelTables, Program, Refused};
use crate::sys::interface::{AttachMode, Interface};

/// The datapath that should answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatapathPlan {
    /// The XDP program, or the sockets it redirects to.
    Xdp(AttachOptions),
    /// The raw datapath alone.
    Raw,
}

/// How the XDP program should be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachOptions {
    /// What the program does.
    pub duty: Duty,
    /// The mode in which it is attached; `None` leaves the choice to the daemon.
    pub mode: Option<AttachMode>,
    /// Whether the raw datapath serves if the program does not attach. Otherwise that is an error.
    pub or_raw: bool,
}

/// The parts that are needed to serve an interface by XDP.
pub(crate) struct Xdp<'a> {
    pub(crate) options: AttachOptions,
    pub(crate) tables: &'a KernelTables,
    /// Where to pin the program, if it should be.
    pub(crate) pins: Option<&'a Pins>,
    /// What a killed daemon has left on the interface.
    pub(crate) before: Option<Leftover>,
}

/// An interface in service.
pub(crate) struct Served {
    interface: Interface,
    /// The interfaces whose drivers run its program: itself, or the members of a bond.
    carriers: Vec<Interface>,
    /// Why it is not served in the best way, if it is not.
    fallback: Option<Fallback>,
    losses: Option<Losses>,
    /// Declared first, so that it is detached before the datapaths behind it stop.
    program: Option<Program>,
    af_xdp: Option<AfXdpDatapath>,
    raw: RawDatapath,
}

impl Served {
    /// Serves an interface by the raw datapath from now on.
    pub(crate) fn start(
        interface: &Interface,
        carriers: Vec<Interface>,
        shared: &Arc<Shared>,
    ) -> Result<Self> {
        Ok(Self {
            interface: interface.clone(),
            carriers,
            fallback: None,
            losses: None,
            program: None,
            af_xdp: None,
            raw: RawDatapath::start(interface, Arc::clone(shared))?,
        })
    }

    /// Serves by the XDP program from now on, and by the raw datapath what the program leaves. If
    /// the choice is free, the raw datapath alone goes on serving interfaces that would lose
    /// replies of the program.
    ///
    /// # Errors
    ///
    /// If the program cannot serve.
    pub(crate) fn attach(&mut self, xdp: Xdp<'_>, shared: &Arc<Shared>) -> Result<()> {
        if xdp.options.or_raw
            && xdp.options.mode.is_none()
            && let Some(Prone { why, remedy }) = losses::expected(&self.carriers)
        {
            self.falls_back(Better::Kernel, why, remedy);
            return Ok(());
        }
        let interface = &self.interface;
        let duty = xdp.options.duty;
        let Modes { tried, fallback } = Modes::of(xdp.options, interface, &self.carriers)?;
        // Sockets end with the process, so a program that needs them must end with it, too.
        let pins = xdp.pins.filter(|_| duty == Duty::Answer);
        let folder = pins.map(|pins| pins.of(interface.index));
        let mut program = Program::load(duty, xdp.tables, folder.as_deref())?;
        // The program's sockets are ready before the first request comes.
        let af_xdp = match duty {
            Duty::Answer => None,
            Duty::Redirect => Some(AfXdpDatapath::start(interface, &mut program, shared)?),
        };
        let refused = program.attach(interface, &self.carriers, tried, xdp.before)?;
        let is_native = program.mode() == AttachMode::Native && duty == Duty::Answer;
        self.losses = is_native.then(|| Losses::new(&self.carriers, folder.as_deref()));
        self.program = Some(program);
        self.af_xdp = af_xdp;
        if let Some(Refused { why, remedy }) = refused {
            self.falls_back(Better::Native, why, remedy);
        } else if let Some(Fallback { why, remedy, .. }) = fallback {
            self.falls_back(Better::Native, why, remedy);
        }
        if let Some(veth) = modes::veth(&self.carriers).filter(|_| is_native) {
            warn!(
                "{} is a veth: its peer takes the replies of a native XDP program only if it has \
                 an XDP program itself; --xdp-mode generic works with any peer",
                veth.name
            );
        }
        Ok(())
    }

    /// Records that the raw datapath serves alone, and why the XDP program cannot.
    pub(crate) fn stays_raw(&mut self, error: &anyhow::Error) {
        let (why, remedy) = match error.downcast_ref::<Refused>() {
            Some(refused) => (refused.why.clone(), refused.remedy.clone()),
            None => (format!("{error:#}"), None),
        };
        self.falls_back(Better::Kernel, why, remedy);
    }

    /// Records that the interface is served in the second-best way, and why.
    fn falls_back(&mut self, instead_of: Better, why: String, remedy: Option<String>) {
        let fallback = Fallback {
            instead_of,
            why,
            remedy,
        };
        let name = &self.interface.name;
        match instead_of {
            Better::Native => info!("serving {name} {fallback}"),
            Better::Kernel => warn!("serving {name} {fallback}"),
        }
        self.fallback = Some(fallback);
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

    /// Records the interface's current name, and the interfaces whose drivers run its program now.
    pub(crate) fn follow(&mut self, name: &str, carriers: Vec<Interface>) {
        name.clone_into(&mut self.interface.name);
        if let Some(losses) = &mut self.losses {
            losses.follow(&carriers);
        }
        self.carriers = carriers;
    }

    /// The kernel's number for its XDP program, if there is one.
    pub(crate) fn program(&self) -> Option<u32> {
        self.program.as_ref().map(Program::id)
    }

    pub(crate) fn has_program(&self) -> bool {
        self.program.is_some()
    }

    /// Forwards what the XDP program has logged to the daemon's log.
    pub(crate) fn forward_log(&mut self) {
        if let Some(program) = &mut self.program {
            program.forward_log();
        }
    }

    /// The threads that answer, or would.
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

    /// The interface's part of the line that says that requests are answered.
    pub(crate) fn describe(&self) -> String {
        let (name, datapath) = (&self.interface.name, self.datapath());
        match &self.program {
            Some(program) => format!("{name} ({datapath}, {})", program.mode()),
            None => format!("{name} ({datapath})"),
        }
    }

    pub(crate) fn status(&self) -> InterfaceStatus {
        let lost = self.losses.as_ref().and_then(Losses::count);
        let program = self.program.as_ref().map(|program| match program.counts() {
            Ok(counts) => {
                let mut counters = Counters::new(&counts);
                let replies = lost.as_ref().map_or(0, |lost| lost.replies);
                counters.unsent = replies.min(counters.answered);
                counters.answered -= counters.unsent;
                counters
            }
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
            fallback: self.fallback.clone(),
            lost,
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

/// Ends the service of these interfaces at the same time, because the kernel releases each slowly.
pub(crate) fn stop(served: Vec<Served>) {
    thread::scope(|scope| {
        for one in served {
            scope.spawn(move || one.stop());
        }
    });
}

/// Installs the tables on all interfaces, or else restores those of `before` on all.
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
