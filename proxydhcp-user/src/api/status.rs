//! The daemon's reports about itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use proxydhcp_common::counters::{
    ANSWERED, Counts, EXPIRED, HANDED_UP, LIMITED, PASSED, RECEIVED, refused,
};
use proxydhcp_common::verdict::Reason;
use serde::{Deserialize, Serialize};

use crate::names::forward::waiting;
use crate::names::reverse::LookupStatus;
use crate::nodes::cfg::Refused;
use crate::sys::interface::{AttachMode, Interface};
use crate::sys::port_holder::Holder;
use crate::tables::table::Changes;
use crate::text::{and_more, count, with_causes};

mod confused;
mod names;
mod offers;
mod port;
mod problems;
mod shortfall;
mod source;
mod tftp;

pub use confused::ConfusedClient;
pub use names::{NamesStatus, NamesTold};
pub use offers::OfferStatus;
pub use port::{named, port_held};
pub use problems::{Lists, Problems};
pub use shortfall::{Better, Fallback, Lost};
pub use source::SourceStatus;
pub use tftp::{TftpStatus, TftpTransfer};

/// The datapath that answers on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Datapath {
    /// The XDP program; the raw datapath handles what it hands up.
    Kernel,
    /// The sockets that the XDP program redirects to; the raw datapath handles what the program
    /// lets pass.
    AfXdp,
    /// The raw datapath alone.
    Raw,
}

impl fmt::Display for Datapath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::AfXdp => "af-xdp",
            Self::Raw => "raw",
        })
    }
}

/// The daemon's status, with its problems: all of them in [`Lists`], or summarised in [`Problems`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status<P = Lists> {
    /// The program's version.
    pub version: String,
    /// The daemon's process id.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime: f64,
    /// When that was, in seconds since 1970.
    #[serde(default)]
    pub started: f64,
    /// The number of tables installed since then.
    pub generation: u64,
    /// The number of addresses served.
    pub nodes: usize,
    /// The number of records in the file, bad ones included.
    pub records: usize,
    /// The file that they come from.
    pub config: PathBuf,
    /// What has become of reloads.
    #[serde(default)]
    pub reloads: Reloads,
    /// How long a reload has been running, in seconds, if one is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reloading: Option<f64>,
    /// Why the newest file is not in service, if it is not.
    pub rejected: Option<String>,
    /// Why the resolver's newest answers, or this host's newest addresses, are not in service, if
    /// they are not. It is tried again by and by.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uninstalled: Option<String>,
    /// The problems with the files in service.
    #[serde(flatten)]
    pub problems: P,
    /// For how many names the resolver must answer before clients without a record get the default
    /// WinPE.
    #[serde(skip_serializing_if = "is_none", default)]
    pub waited_for: usize,
    /// What has become of clients without a record, if they are looked up.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lookups: Option<LookupStatus>,
    /// The last clients that are not answered, because they are two nodes.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub confused: Vec<ConfusedClient>,
    /// What the TFTP server does, if there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tftp: Option<TftpStatus>,
    /// Why no files are served by TFTP, although they should be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tftp_fault: Option<String>,
    /// The source of the fleet that the nodes come from, if they do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<SourceStatus>,
    /// The interfaces in service.
    pub interfaces: Vec<InterfaceStatus>,
    /// The interfaces that should be served, and are not.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unserved: Vec<Unserved>,
    /// The other programs that hold UDP port 4011.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub port_holders: Vec<Holder>,
}

impl<P> Status<P> {
    /// Whether the newest files, names and addresses are in service, on all interfaces that should be
    /// served.
    pub fn is_all_in_service(&self) -> bool {
        let is_current = |source: &SourceStatus| source.stale_since.is_none();
        self.rejected.is_none()
            && self.uninstalled.is_none()
            && self.unserved.is_empty()
            && self.source.as_ref().is_none_or(is_current)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a field so")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a field so")]
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// An interface that should be served, and is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unserved {
    /// Its name.
    pub name: String,
    /// Whether the interface exists.
    pub is_there: bool,
    /// What is wrong.
    pub why: String,
}

impl Unserved {
    pub(crate) fn missing(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            is_there: false,
            why: "there is no such interface yet; it is served as soon as there is".to_owned(),
        }
    }

    pub(crate) fn failed(interface: &Interface, error: &anyhow::Error) -> Self {
        Self {
            name: interface.name.clone(),
            is_there: true,
            why: with_causes(error),
        }
    }
}

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is NOT served: {}", self.name, self.why)
    }
}

/// An interface in service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// The datapath that answers there.
    pub datapath: Datapath,
    /// The mode in which the XDP program is attached, if it is.
    pub mode: Option<AttachMode>,
    /// Where a program answers that a daemon which was killed has left, for as long as the files have
    /// not passed: how many seconds ago its tables were put into service.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub predecessor_age: Option<f64>,
    /// Whether the driver writes frames directly into the memory of the AF_XDP sockets, if there
    /// are any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub zero_copy: Option<bool>,
    /// Why it is not served in the best way, if it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fallback: Option<Fallback>,
    /// The XDP program's replies that the driver has dropped, if the driver counts them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub lost: Option<Lost>,
    /// The counters of all datapaths together.
    pub counters: Counters,
    /// The XDP program's counters, if there is a program.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub program: Option<Counters>,
    /// The counters of the AF_XDP sockets, if there are any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub af_xdp: Option<Counters>,
    /// The raw datapath's counters.
    pub raw: Counters,
    /// What has become of DISCOVERs, if offers are made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub offers: Option<OfferStatus>,
}

/// What has become of packets to port 4011.
///
/// Each packet is received once by each datapath that it reaches, and has one outcome there:
/// `received` is the sum of `answered`, `handed_up`, `passed`, `limited`, `expired`, all of `refused`,
/// and `unsent`, on each datapath and in total, except for packets that are in progress while the
/// counters are read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets to port 4011 that arrived.
    pub received: u64,
    /// Replies sent.
    pub answered: u64,
    /// Frames that the XDP program left to another datapath, which counts them again.
    pub handed_up: u64,
    /// Packets to other hosts, left alone.
    pub passed: u64,
    /// Requests from sources that had exceeded the rate limit.
    pub limited: u64,
    /// Packets that the XDP program has let pass because no daemon had given a sign of life for
    /// `outlive`.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub expired: u64,
    /// Requests not answered, by reason; only reasons that have occurred.
    pub refused: BTreeMap<String, u64>,
    /// Replies that the interface did not take.
    pub unsent: u64,
    /// Frames that a datapath did not receive because its ring was full.
    pub lost: u64,
}

impl Counters {
    /// Assigns names to a datapath's counts.
    pub fn new(counts: &Counts) -> Self {
        let get = |counter: usize| counts.get(counter).copied().unwrap_or(0);
        let refused = Reason::ALL
            .iter()
            .map(|&reason| (reason.name().to_owned(), get(refused(reason))))
            .filter(|(_, count)| *count > 0)
            .collect();
        Self {
            received: get(RECEIVED),
            answered: get(ANSWERED),
            handed_up: get(HANDED_UP),
            passed: get(PASSED),
            limited: get(LIMITED),
            expired: get(EXPIRED),
            refused,
            ..Self::default()
        }
    }

    /// Adds two sets of counters.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.received += other.received;
        self.answered += other.answered;
        self.handed_up += other.handed_up;
        self.passed += other.passed;
        self.limited += other.limited;
        self.expired += other.expired;
        self.unsent += other.unsent;
        self.lost += other.lost;
        for (reason, count) in &other.refused {
            *self.refused.entry(reason.clone()).or_default() += count;
        }
        self
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "received {}, answered {}", self.received, self.answered)?;
        for (outcome, count) in [
            ("handed up", self.handed_up),
            ("passed", self.passed),
            ("limited", self.limited),
            ("expired", self.expired),
        ] {
            if count > 0 {
                write!(f, ", {outcome} {count}")?;
            }
        }
        if !self.refused.is_empty() {
            let refused: Vec<_> = self
                .refused
                .iter()
                .map(|(reason, count)| format!("{reason} {count}"))
                .collect();
            write!(f, "; refused: {}", refused.join(", "))?;
        }
        if (self.lost, self.unsent) != (0, 0) {
            write!(f, "; LOST {}, UNSENT {}", self.lost, self.unsent)?;
        }
        Ok(())
    }
}

impl<P: fmt::Display> fmt::Display for Status<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "proxydhcp {}, pid {}, up {:.0} s, generation {}: {} from {} of {}",
            self.version,
            self.pid,
            self.uptime,
            self.generation,
            count(self.nodes, "node"),
            count(self.records, "record"),
            self.config.display()
        )?;
        for interface in &self.interfaces {
            write!(f, "{}: {}", interface.name, interface.datapath)?;
            if let Some(mode) = interface.mode {
                write!(f, " ({mode}")?;
                match interface.zero_copy {
                    Some(true) => write!(f, ", zero-copy)")?,
                    Some(false) => write!(f, ", copying)")?,
                    None => write!(f, ")")?,
                }
            }
            writeln!(f, ", {}", interface.counters)?;
            if let Some(offers) = &interface.offers {
                writeln!(f, "{}: {offers}", interface.name)?;
            }
            if let Some(seconds) = interface.predecessor_age {
                let (name, age) = (&interface.name, age(Duration::from_secs_f64(seconds)));
                writeln!(
                    f,
                    "{name}: answered from the tables of a daemon that was killed, put into service \
                     {age} ago"
                )?;
            }
            if let Some(fallback) = &interface.fallback {
                writeln!(f, "{} is served {fallback}", interface.name)?;
            }
            if let Some(lost) = interface.lost.as_ref().filter(|lost| lost.replies > 0) {
                writeln!(f, "{}: {lost}", interface.name)?;
            }
        }
        for unserved in &self.unserved {
            writeln!(f, "{unserved}")?;
        }
        if !self.port_holders.is_empty() {
            writeln!(f, "{}", port_held(&self.port_holders))?;
        }
        if self.waited_for > 0 {
            writeln!(f, "{}", waiting(self.waited_for))?;
        }
        if let Some(lookups) = &self.lookups {
            writeln!(f, "{lookups}")?;
        }
        for confused in &self.confused {
            writeln!(f, "{confused}")?;
        }
        if let Some(tftp) = &self.tftp {
            writeln!(f, "{tftp}")?;
        }
        if let Some(fault) = &self.tftp_fault {
            writeln!(f, "no files are served by TFTP: {fault}")?;
        }
        if let Some(seconds) = self.reloading {
            writeln!(f, "a reload has been running for {seconds:.0} s")?;
        }
        if let Some(source) = &self.source {
            writeln!(f, "{source}")?;
        }
        if let Some(rejected) = &self.rejected {
            writeln!(f, "the newest file is NOT in service: {rejected}")?;
        }
        if let Some(uninstalled) = &self.uninstalled {
            writeln!(
                f,
                "the newest names and addresses are NOT in service, and tried again: {uninstalled}"
            )?;
        }
        self.problems.fmt(f)
    }
}

/// A length of time as people say it: in the largest unit that there is more than one of.
pub fn age(age: Duration) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "days"), (3600, "hours"), (60, "minutes")];
    let seconds = age.as_secs();
    let unit = UNITS.iter().find(|(unit, _)| seconds >= 2 * unit);
    let &(unit, name) = unit.unwrap_or(&(1, "s"));
    format!("{} {name}", seconds / unit)
}

/// The reloads since the start.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Reloads {
    /// Those whose files are, or were, in service.
    pub accepted: u64,
    /// Those that were rejected.
    pub rejected: u64,
    /// When the files in service were read, in seconds since 1970; `None` if none are.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub files_read: Option<f64>,
    /// How long the last accepted reload took.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub took: Option<Took>,
}

impl Reloads {
    /// Counts a reload that has ended: as rejected if it took nothing.
    pub fn count(&mut self, took: Option<Took>, now: f64) {
        match took {
            Some(took) => {
                self.accepted += 1;
                self.files_read = Some(now);
                self.took = Some(took);
            }
            None => self.rejected += 1,
        }
    }
}

/// The outcome of a reload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reloaded {
    /// The number of the tables now in service.
    pub generation: u64,
    /// The number of addresses served.
    pub nodes: usize,
    /// What the reload has changed.
    pub changes: Changes,
    /// Records that cannot be served.
    pub refused: Vec<Refused>,
    /// Names without an address, and what the resolver says about them.
    #[serde(flatten)]
    pub names: NamesStatus,
    /// Other problems with the files.
    pub warnings: Vec<String>,
    /// How long the reload took.
    pub took: Took,
}

/// How long a reload took, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Took {
    /// The whole reload.
    pub total: f64,
    /// Reading and joining the files.
    pub read: f64,
    /// Asking the system resolver.
    pub resolve: f64,
    /// Building the tables and copying them into the kernel.
    pub fill: f64,
    /// Putting them into service.
    pub swap: f64,
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes = &self.changes;
        let Took {
            total,
            read,
            resolve,
            fill,
            swap,
        } = self.took;
        writeln!(
            f,
            "generation {}: {}; {} added, {} removed, {} changed; {total:.1} ms \
             (read {read:.1}, resolve {resolve:.1}, fill {fill:.1}, swap {swap:.1})",
            self.generation,
            count(self.nodes, "node"),
            changes.added.count,
            changes.removed.count,
            changes.changed.count,
        )?;
        for (what, change) in [
            ("added", &changes.added),
            ("removed", &changes.removed),
            ("changed", &changes.changed),
        ] {
            if change.count > 0 {
                let more = change.count.saturating_sub(change.examples.len());
                write!(f, "{what}: {}", change.examples.join(", "))?;
                writeln!(f, "{}", and_more(more))?;
            }
        }
        write!(f, "{}", self.problems())
    }
}

impl Reloaded {
    /// The problems with the files in service, one on each line; empty if all is well.
    pub fn problems(&self) -> impl fmt::Display {
        Problems::of(&self.refused, &self.names, &self.warnings)
    }
}
