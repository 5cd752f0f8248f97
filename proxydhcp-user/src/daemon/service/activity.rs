//! What the nodes have done, with their names: what `proxydhcp nodes`, the page and others show.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use proxydhcp_common::activity::{Activity, FileKind, Moment, Outcome, Transfer, TransferState};

use super::Service;
use super::moments::Clock;
use crate::api::activity::{
    NodeActivity, NodesPage, State, StrangerActivity, StrangersPage, TransferActivity,
};
use crate::daemon::tftp::{Shown, Tftp};
use crate::datapath::Shared;
use crate::datapath::activity::{Memory, strangers};
use crate::nodes::hardware::Mac;
use crate::tables::followed::Followed;
use crate::tables::table::Table;
use crate::winpe::loaders::Loaders;

/// The most different names of files that are remembered.
const MOST_FILES: usize = 4096;

/// A view of what the nodes of the tables in service have done. It shows what they do meanwhile, too.
pub(crate) struct ActivityView {
    table: Arc<Table>,
    followed: Arc<Followed>,
    addresses: Arc<Addresses>,
    memory: Arc<Memory>,
    loaders: Loaders,
    running: HashMap<Ipv4Addr, Shown>,
    fetched: Arc<FetchedFiles>,
    /// The requests of strangers that were not noted.
    not_noted: u64,
    clock: Clock,
}

/// The addresses of each record, sorted by the record.
#[derive(Debug)]
struct Addresses(Vec<(u32, Ipv4Addr)>);

/// The addresses of the tables that were viewed last.
#[derive(Default)]
pub(super) struct KnownAddresses(Mutex<Option<(Weak<Table>, Arc<Addresses>)>>);

impl KnownAddresses {
    fn of(&self, table: &Arc<Table>) -> Arc<Addresses> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, addresses)) = &*known
            && Weak::as_ptr(of) == Arc::as_ptr(table)
        {
            return Arc::clone(addresses);
        }
        let mut all: Vec<_> = table.nodes().map(|it| (it.record, it.address)).collect();
        all.sort_unstable();
        let addresses = Arc::new(Addresses(all));
        *known = Some((Arc::downgrade(table), Arc::clone(&addresses)));
        addresses
    }
}

impl Addresses {
    fn of(&self, record: u32) -> impl Iterator<Item = Ipv4Addr> {
        let start = self.0.partition_point(|(of, _)| *of < record);
        let from = self.0.get(start..).unwrap_or_default();
        let its = from.iter().take_while(move |(of, _)| *of == record);
        its.map(|(_, address)| *address)
    }
}

impl Service {
    /// The table in service, and which of its nodes are followed.
    pub(super) fn followed(&self) -> (Arc<Table>, Arc<Followed>) {
        let catalogue = self.catalogue();
        let generation = self.shared.tables.load();
        (
            Arc::clone(&catalogue.table),
            Arc::clone(generation.followed()),
        )
    }

    /// What the nodes have done. All of it is read from memory: it costs those who answer nothing.
    pub(crate) fn activity(&self) -> ActivityView {
        let loaders = self.catalogue().policy.loaders.clone();
        let (table, followed) = self.followed();
        let tftp = self.tftp.get().and_then(|tftp| tftp.as_ref().ok());
        let running = tftp.map(Tftp::running).unwrap_or_default();
        ActivityView {
            followed,
            addresses: self.known_addresses.of(&table),
            memory: self.shared.activity.memory(),
            loaders,
            running: running
                .into_iter()
                .map(|it| (*it.client.ip(), it))
                .collect(),
            fetched: Arc::clone(&self.fetched),
            not_noted: self.interfaces().unnoted(),
            clock: self.start.clock(),
            table,
        }
    }
}

impl ActivityView {
    /// The number of nodes and of records that are none: positions are below it.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The daemon's time, in seconds since 1970.
    pub(crate) fn now(&self) -> f64 {
        self.clock.now()
    }

    /// What the node at this position has done; `None` if it is not to be served.
    pub(crate) fn node(&self, position: usize) -> Option<NodeActivity> {
        let record = u32::try_from(position).ok()?;
        let (name, winpe) = self.table.of_record(record)?;
        let addresses: Vec<_> = self.addresses.of(record).collect();
        let number = self.followed.number(record);
        let activity = number.and_then(|it| self.memory.activity(it));
        let running = addresses.iter().find_map(|it| self.running.get(it));
        let transfer = activity.and_then(|it| it.transfer);
        let transfer = self.transfer(number, transfer, running);
        let arch = activity.and_then(|it| it.architecture);
        let loader = arch.and_then(|arch| self.loader(arch));
        let time = |moment: fn(&Activity) -> Moment| {
            activity.as_ref().map(|it| self.clock.time(moment(it)))
        };
        let answered = activity.and_then(|it| it.answered);
        Some(NodeActivity {
            node: name.to_owned(),
            addresses,
            winpe: winpe.path().to_owned(),
            state: state(activity.as_ref(), transfer.as_ref()),
            reason: activity.and_then(|it| reason(it.outcome?)),
            requests: activity.map_or(0, |it| it.requests),
            tries: activity.map_or(0, |it| it.tries),
            first: time(|it| it.first),
            boot: time(|it| it.boot),
            last: time(|it| it.last),
            answered: answered.map(|moment| self.clock.time(moment)),
            arch,
            loader: loader.map(|loader| format!("{}{loader}", winpe.path())),
            transfer,
            followed: number.is_some(),
        })
    }

    /// What all nodes have done.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeActivity> {
        (0..self.len()).filter_map(|position| self.node(position))
    }

    /// So many nodes from a position on.
    pub(crate) fn page(&self, from: usize, most: usize) -> NodesPage {
        let end = from.saturating_add(most).min(self.len());
        self.pages((from..end).filter_map(|it| self.node(it)), Some(end))
    }

    /// The nodes with these names.
    pub(crate) fn named(&self, names: &[String]) -> NodesPage {
        let records = names.iter().filter_map(|name| self.table.record(name));
        self.pages(records.filter_map(|it| self.node(it as usize)), None)
    }

    fn pages(&self, nodes: impl Iterator<Item = NodeActivity>, end: Option<usize>) -> NodesPage {
        let is_node = |record: &u32| self.table.of_record(*record).is_some();
        let all = (0_u32..).take(self.len()).filter(is_node);
        let (mut total, mut not_followed) = (0, 0);
        for record in all {
            total += 1;
            not_followed += usize::from(self.followed.number(record).is_none());
        }
        NodesPage {
            nodes: nodes.collect(),
            next: end.filter(|end| *end < self.len()),
            total,
            not_followed,
            now: self.clock.now(),
        }
    }

    /// The loader of an architecture, below the WinPE's folder.
    fn loader(&self, arch: u8) -> Option<&str> {
        let index = *self.loaders.indexes().get(usize::from(arch))?;
        let path = self.loaders.paths().get(usize::from(index?))?;
        Some(path)
    }

    /// The clients that are no node.
    pub(crate) fn strangers(&self) -> StrangersPage {
        StrangersPage {
            strangers: self.last_strangers(),
            not_noted: self.not_noted,
        }
    }

    /// The last clients that are no node, the newest first.
    fn last_strangers(&self) -> Vec<StrangerActivity> {
        let all = strangers(&self.memory, self.clock.moment());
        let shown = all.iter().map(|it| StrangerActivity {
            address: it.address.into(),
            mac: Mac(it.mac).to_string(),
            reason: reason(it.outcome).unwrap_or_default(),
            requests: it.requests,
            first: self.clock.time(it.first),
            last: self.clock.time(it.last),
        });
        shown.collect()
    }

    fn transfer(
        &self,
        number: Option<u32>,
        noted: Option<Transfer>,
        running: Option<&Shown>,
    ) -> Option<TransferActivity> {
        if let Some(shown) = running {
            return Some(TransferActivity {
                file: Some(shown.file.to_string()),
                kind: kind_name(kind(&shown.file)).to_owned(),
                state: "running".to_owned(),
                bytes: shown.progress.bytes(),
                size: Some(shown.size),
            });
        }
        let noted = noted?;
        Some(TransferActivity {
            file: number.and_then(|it| self.fetched.of(it)),
            kind: kind_name(noted.kind).to_owned(),
            state: match noted.state {
                TransferState::Complete => "complete",
                // It ended with the daemon that ran it.
                TransferState::Failed | TransferState::Running => "failed",
            }
            .to_owned(),
            bytes: noted.bytes,
            size: None,
        })
    }
}

fn state(activity: Option<&Activity>, transfer: Option<&TransferActivity>) -> State {
    let Some(activity) = activity else {
        return State::Silent;
    };
    if let Some(transfer) = transfer {
        let is_image = transfer.kind == kind_name(FileKind::Image);
        return match transfer.state.as_str() {
            "complete" if is_image => State::Fetched,
            "failed" => State::Failed,
            // The next one has not begun yet.
            _ => State::Fetching,
        };
    }
    match activity.outcome {
        Some(Outcome::Answered) => State::Answered,
        Some(Outcome::Refused(_) | Outcome::Limited) => State::Refused,
        Some(Outcome::Offered) | None => State::Asked,
    }
}

/// Why a request got no answer, by the name that `status` counts it by.
pub(super) fn reason(outcome: Outcome) -> Option<String> {
    match outcome {
        Outcome::Refused(reason) => Some(reason.name().to_owned()),
        Outcome::Limited => Some("limited".to_owned()),
        Outcome::Answered | Outcome::Offered => None,
    }
}

fn kind(file: &str) -> FileKind {
    let name = file.rsplit('/').next().unwrap_or(file).to_ascii_lowercase();
    if matches!(name.rsplit_once('.'), Some((_, "wim"))) {
        FileKind::Image
    } else if name.starts_with("bcd") {
        FileKind::Bcd
    } else {
        FileKind::Loader
    }
}

const fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Loader => "loader",
        FileKind::Bcd => "bcd",
        FileKind::Image => "image",
    }
}

/// The last file that each node has fetched, by the node's number.
#[derive(Debug, Default)]
pub(super) struct FetchedFiles(Mutex<Fetched>);

#[derive(Debug, Default)]
struct Fetched {
    names: HashSet<Arc<str>>,
    of_nodes: HashMap<u32, Arc<str>>,
}

impl FetchedFiles {
    /// Notes what the TFTP server does for a client, if that is a node.
    pub(super) fn note(
        &self,
        shared: &Shared,
        client: Ipv4Addr,
        file: &Arc<str>,
        state: TransferState,
        bytes: u64,
    ) {
        let number = shared.tables.load().number_of(client);
        let memory = shared.activity.memory();
        let Some(record) = (number >= Followed::FIRST)
            .then(|| memory.node(number))
            .flatten()
        else {
            return;
        };
        let transfer = Transfer {
            kind: kind(file),
            state,
            bytes,
        };
        let before = record.read().and_then(|it| it.transfer);
        let is_complete =
            |it: Transfer| (it.kind, it.state) == (FileKind::Image, TransferState::Complete);
        // What comes behind the image is not of the boot.
        if before.is_some_and(is_complete) && transfer.kind != FileKind::Image {
            return;
        }
        record.note_transfer(transfer);
        let mut fetched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = fetched.names.get(file).cloned();
        let name = known.or_else(|| {
            (fetched.names.len() < MOST_FILES).then(|| {
                fetched.names.insert(Arc::clone(file));
                Arc::clone(file)
            })
        });
        match name {
            Some(name) => fetched.of_nodes.insert(number, name),
            None => fetched.of_nodes.remove(&number),
        };
    }

    fn of(&self, number: u32) -> Option<String> {
        let fetched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.of_nodes.get(&number).map(ToString::to_string)
    }
}
