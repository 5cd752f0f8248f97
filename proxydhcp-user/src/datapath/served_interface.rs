//! An interface in service, with its datapaths.

use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use tracing::{info, warn};

use crate::api::status::{Better, Counters, Datapath, Fallback, InterfaceStatus, Lost};
use crate::datapath::Shared;
use crate::datapath::af_xdp::AfXdpDatapath;
use crate::datapath::losses::{self, Losses, Prone};
use crate::datapath::modes::{self, AttachOptions, Modes};
use crate::datapath::packet_thread::PacketThread;
use crate::datapath::raw::offers::OfferDatapath;
use crate::datapath::raw::{RawDatapath, Room};
use crate::datapath::xdp::pins::{Leftover, Pins};
use crate::datapath::xdp::{Attachment, Duty, KernelTables, Left, Program, Refused};
use crate::sys::interface::{AttachMode, Interface};
use crate::text::with_causes;

/// The datapath that should answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatapathPlan {
    /// The XDP program, or the sockets it redirects to.
    Xdp(AttachOptions),
    /// The raw datapath alone.
    Raw,
}

/// The parts that are needed to serve an interface by XDP.
pub(crate) struct Xdp<'a> {
    pub(crate) options: AttachOptions,
    pub(crate) program: &'a mut Program,
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
    attached: Option<Attachment>,
    /// What answers until the program is attached.
    left: Option<Left>,
    af_xdp: Option<AfXdpDatapath>,
    raw: RawDatapath,
    room: Room,
    /// The offers, if any are made.
    offers: Option<OfferDatapath>,
}

impl Served {
    /// Serves an interface by the raw datapath from now on; for `room` see [`Room`].
    pub(crate) fn start(
        interface: &Interface,
        room: Room,
        carriers: Vec<Interface>,
        shared: &Arc<Shared>,
    ) -> Result<Self> {
        let offers = shared
            .offers
            .map(|offers| OfferDatapath::start(interface, offers, Arc::clone(shared)))
            .transpose()?;
        Ok(Self {
            interface: interface.clone(),
            carriers,
            fallback: None,
            losses: None,
            attached: None,
            left: None,
            af_xdp: None,
            raw: RawDatapath::start(interface, room, Arc::clone(shared))?,
            room,
            offers,
        })
    }

    /// Whether the raw datapath should serve alone, because the choice is free and replies of the
    /// program would be lost. Records the reason.
    pub(crate) fn prefers_raw(&mut self, options: AttachOptions) -> bool {
        if options.or_raw
            && options.mode.is_none()
            && let Some(Prone { why, remedy }) = losses::expected(&self.carriers)
        {
            self.falls_back(Better::Kernel, why, remedy);
            return true;
        }
        false
    }

    /// Serves by the XDP program from now on, and by the raw datapath what the program leaves.
    ///
    /// # Errors
    ///
    /// If the program cannot serve.
    pub(crate) fn attach(&mut self, xdp: Xdp<'_>, shared: &Arc<Shared>) -> Result<()> {
        let interface = &self.interface;
        let duty = xdp.options.duty;
        let Modes { tried, fallback } = Modes::of(xdp.options, interface, &self.carriers)?;
        // Sockets end with the process, so a program that needs them must end with it, too.
        let pins = xdp.pins.filter(|_| duty == Duty::Answer);
        let program = xdp.program;
        let goes_on = xdp.before.as_ref().is_some_and(Leftover::shares_counters);
        program.count_for(interface.index, goes_on && pins.is_some())?;
        // The program's sockets are ready before the first request comes.
        let af_xdp = match duty {
            Duty::Answer => None,
            Duty::Redirect => Some(AfXdpDatapath::start(interface, program, shared)?),
        };
        let attached = program.attach(interface, &self.carriers, tried, xdp.before, pins)?;
        let uncovered = af_xdp
            .as_ref()
            .map_or(0, |sockets| sockets.uncovered(interface));
        let refused = attached.refused().cloned();
        let is_native = attached.mode() == AttachMode::Native && duty == Duty::Answer;
        let folder = pins.map(|pins| pins.of(interface.index));
        self.losses = is_native.then(|| Losses::new(&self.carriers, folder.as_deref()));
        self.attached = Some(attached);
        self.left = None;
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
        if uncovered > 0 {
            info!(
                "{} receives by {uncovered} queues by which no socket can transmit; the raw datapath \
                 answers what comes by these",
                self.interface.name
            );
            self.goes_on_raw(shared)?;
        }
        Ok(())
    }

    /// Until the program is attached, what a killed daemon has left answers.
    pub(crate) fn await_program(&mut self, left: Left) {
        self.left = Some(left);
    }

    /// Has the raw datapath serve from now on, with room for all requests.
    ///
    /// # Errors
    ///
    /// If the ring cannot be opened.
    pub(crate) fn goes_on_raw(&mut self, shared: &Arc<Shared>) -> Result<()> {
        self.left = None;
        if self.room == Room::Rest {
            self.raw = RawDatapath::start(&self.interface, Room::All, Arc::clone(shared))?;
            self.room = Room::All;
        }
        Ok(())
    }

    /// Records that the raw datapath serves alone, and why the XDP program cannot.
    pub(crate) fn stays_raw(&mut self, error: &anyhow::Error) {
        let (why, remedy) = match error.downcast_ref::<Refused>() {
            Some(refused) => (refused.why.clone(), refused.remedy.clone()),
            None => (with_causes(error), None),
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
        if let Some(attached) = &mut self.attached {
            attached.stays();
        }
    }

    /// Ends the service of this interface, in the kernel too.
    pub(crate) fn stop(mut self) {
        if let Some(attached) = self.attached.take() {
            attached.detach();
        }
    }

    pub(crate) fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Records the interface's current name and addresses, and the interfaces whose drivers run its program now.
    pub(crate) fn follow(&mut self, now: &Interface, carriers: Vec<Interface>) {
        now.name.clone_into(&mut self.interface.name);
        if let Some(offers) = &self.offers {
            offers.readdress(&now.addresses);
        }
        self.raw.readdress(&now.addresses);
        self.interface.addresses.clone_from(&now.addresses);
        if let Some(losses) = &mut self.losses {
            losses.follow(&carriers);
        }
        self.carriers = carriers;
    }

    /// The kernel's number for the program that should be on the interface, if one should.
    pub(crate) fn program(&self, ours: Option<&Program>) -> Option<u32> {
        match (&self.attached, &self.left) {
            (Some(_), _) => ours.map(Program::id),
            (None, left) => left.as_ref().map(Left::program),
        }
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.attached.is_some()
    }

    /// Whether everything that should be pinned is.
    pub(crate) fn is_pinned_as_meant(&self) -> bool {
        let is_meant = Attachment::is_pinned_as_meant;
        self.attached.as_ref().is_none_or(is_meant)
    }

    /// The threads that answer, or would.
    pub(crate) fn threads(&self) -> impl Iterator<Item = &PacketThread> {
        let af_xdp = self.af_xdp.iter().flat_map(AfXdpDatapath::threads);
        let offers = self.offers.iter().map(OfferDatapath::thread);
        af_xdp.chain([self.raw.thread()]).chain(offers)
    }

    fn datapath(&self) -> Datapath {
        match (&self.attached, &self.left, &self.af_xdp) {
            (Some(_), _, Some(_)) => Datapath::AfXdp,
            (Some(_), _, None) | (None, Some(_), _) => Datapath::Kernel,
            (None, None, _) => Datapath::Raw,
        }
    }

    fn mode(&self) -> Option<AttachMode> {
        match &self.attached {
            Some(attached) => Some(attached.mode()),
            None => self.left.as_ref().and_then(Left::mode),
        }
    }

    /// The interface's part of the line that says that requests are answered.
    pub(crate) fn describe(&self) -> String {
        let (name, datapath) = (&self.interface.name, self.datapath());
        match self.mode() {
            _ if self.left.is_some() => {
                format!("{name} (the program of a daemon that was killed)")
            }
            Some(mode) => format!("{name} ({datapath}, {mode})"),
            None => format!("{name} ({datapath})"),
        }
    }

    /// What the XDP program has counted here, be it this daemon's or that of a killed one.
    fn program_counters(&self, program: Option<&Program>, lost: Option<&Lost>) -> Option<Counters> {
        let counts = match (&self.attached, &self.left) {
            (Some(_), _) => program?.counts(self.interface.index),
            (None, left) => left.as_ref()?.counts()?,
        };
        Some(match counts {
            Ok(counts) => {
                let mut counters = Counters::new(&counts);
                let replies = lost.map_or(0, |lost| lost.replies);
                counters.unsent = replies.min(counters.answered);
                counters.answered -= counters.unsent;
                counters
            }
            Err(error) => {
                let name = &self.interface.name;
                warn!("{name}: cannot read the counters: {}", with_causes(&error));
                Counters::default()
            }
        })
    }

    pub(crate) fn status(&self, program: Option<&Program>) -> InterfaceStatus {
        let lost = self.losses.as_ref().and_then(Losses::count);
        let program = self.program_counters(program, lost.as_ref());
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
            mode: self.mode(),
            predecessor_age: self.left.as_ref().and_then(Left::age),
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
            offers: self.offers.as_ref().map(OfferDatapath::status),
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

/// Installs the tables for all interfaces, or else leaves those in service.
pub(crate) fn install(
    served: &[Served],
    program: &mut Program,
    tables: &KernelTables,
) -> Result<()> {
    let attached = || served.iter().filter_map(|served| served.attached.as_ref());
    // That there are nodes is recorded before the first tables with nodes, that there are none after
    // the first without.
    if tables.has_nodes() {
        attached().for_each(|attached| attached.set_has_nodes(true));
    }
    program
        .install(tables)
        .context("cannot install the tables")?;
    if !tables.has_nodes() {
        attached().for_each(|attached| attached.set_has_nodes(false));
    }
    attached().for_each(Attachment::set_time);
    Ok(())
}
