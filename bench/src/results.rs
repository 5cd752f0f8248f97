//! The results of a benchmark, as stored in `results.json`.

use proxydhcp::api::status::Counters;
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// All figures of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    /// When the run began: UTC, RFC 3339.
    pub date: String,
    /// The command line.
    pub command: String,
    /// The machine it ran on.
    pub machine: Machine,
    /// What a reader must know to interpret the figures.
    pub notes: Vec<String>,
    /// Boot storms.
    pub storm: Vec<Storm>,
    /// Full load.
    pub flood: Vec<Flood>,
    /// Boot storms while hostile packets come in.
    #[serde(default)]
    pub siege: Vec<Siege>,
    /// Offers, and the conversations that follow them.
    #[serde(default)]
    pub offers: Vec<Offers>,
    /// Downloads by TFTP.
    #[serde(default)]
    pub download: Vec<Download>,
    /// TFTP requests that nobody acknowledges.
    #[serde(default)]
    pub unacknowledged: Option<Unacknowledged>,
    /// The cost of the XDP program alone.
    pub answer_cost: Option<AnswerCost>,
    /// The cost of tables, by size.
    pub tables: Vec<TableCost>,
    /// The making of a WinPE.
    #[serde(default)]
    pub winpe: Option<WinpeCreation>,
    /// A fleet.
    #[serde(default)]
    pub fleet: Option<FleetCost>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
}

/// A boot storm: all clients ask at the same instant, and again at EDK2's retry times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Storm {
    /// The responder.
    pub contender: String,
    /// The number of clients.
    pub clients: usize,
    /// The number of clients answered within a second of their first request.
    pub first_second: usize,
    /// The number of clients without an answer when they gave up.
    pub never: usize,
    /// The number of clients with a wrong answer.
    pub wrong: usize,
    /// The median time from a client's first request to its answer, among clients with an answer.
    pub p50_ms: Option<f64>,
    /// The 99th percentile of this time.
    pub p99_ms: Option<f64>,
    /// The maximum of this time.
    pub max_ms: Option<f64>,
    /// The times by which 1 %, 2 %, ... of all clients had an answer, as far as any had.
    pub percent_answered_by_ms: Vec<f64>,
}

/// Full load from 20,000 clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flood {
    /// The responder.
    pub contender: String,
    /// The rate that the generator offered, in requests per second.
    pub offered_per_second: f64,
    /// The rate of replies.
    pub replies_per_second: f64,
    /// The highest rate at which every request was answered.
    pub lossless_per_second: Option<f64>,
    /// Whether the generator could ask no more than was answered, so that the contender may be
    /// faster.
    pub bounded_by_generator: bool,
}

/// A series of boot storms while hostile packets come in. The daemon has its default rate limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Siege {
    /// The datapath that answered.
    pub datapath: String,
    /// The kind of hostile packets.
    pub hostile: String,
    /// The rate of hostile packets that the generator aimed at, per second; `None` stands for full
    /// speed.
    pub pace: Option<f64>,
    /// The rate of hostile packets that reached the server's interface, per second. It is measured
    /// over all storms, each from its first request to its last answer.
    pub hostile_per_second: f64,
    /// The rate of hostile packets in the storm with the lowest one.
    pub hostile_per_second_least: f64,
    /// The number of hostile packets sent, including those before, between and after storms.
    pub hostile_sent: u64,
    /// The number of them that found the wire's queue full, and never arrived.
    pub no_room: u64,
    /// The number of storms.
    pub storms: usize,
    /// The number of clients in each storm.
    pub clients: usize,
    /// The number of clients, over all storms, whose first request was answered.
    pub first_try: usize,
    /// The number of clients whose first request was answered, in the storm with the fewest.
    pub first_try_least: usize,
    /// The number of clients, over all storms, without an answer when they gave up.
    pub never: usize,
    /// The 99th percentile of the time from a client's last request to its answer.
    pub p99_ms: Option<f64>,
    /// The maximum of this time.
    pub max_ms: Option<f64>,
    /// The daemon's counters since its start, summed over all datapaths.
    pub counters: Counters,
}

/// Clients that send their DISCOVERs at the same instant, and ask on port 4011 once they have an offer.
/// Nothing is sent twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offers {
    /// The responder.
    pub contender: String,
    /// The number of conversations, over all rounds.
    pub conversations: usize,
    /// The number of clients with an offer within a second of their DISCOVER.
    pub offered_in_a_second: usize,
    /// The number of clients without an offer, or without an answer on port 4011.
    pub lost: usize,
    /// The median time from a client's DISCOVER to its offer.
    pub offer_p50_ms: Option<f64>,
    /// The 99th percentile of this time.
    pub offer_p99_ms: Option<f64>,
    /// The maximum of this time.
    pub offer_max_ms: Option<f64>,
    /// The 99th percentile of the time from a client's request on port 4011 to the answer.
    pub answer_p99_ms: Option<f64>,
    /// The maximum of this time.
    pub answer_max_ms: Option<f64>,
    /// From the first DISCOVER to the last answer, in the round in which that took longest.
    pub longest_ms: f64,
}

/// A crowd of clients that begin to fetch the same file by TFTP at the same instant. Times and rates are
/// those of the round whose rate is the median.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Download {
    /// The server.
    pub server: String,
    /// Whether its interface has an XDP program.
    #[serde(default)]
    pub xdp: bool,
    /// The number of clients.
    pub clients: usize,
    /// The length of the file, in bytes.
    pub size: u64,
    /// The window that the server has agreed to, in blocks of 1456 bytes.
    pub window: u16,
    /// The share of packets that each client loses, of those that come and those that go.
    pub loss: f64,
    /// The number of rounds.
    pub rounds: usize,
    /// The number of clients that did not get the whole file, over all rounds.
    pub failed: usize,
    /// Why the first of them did not.
    pub failure: Option<String>,
    /// The bytes that all clients together got each second, from the first request to the last block.
    pub bytes_per_second: f64,
    /// The median time from the first request until a client had its file.
    pub p50_ms: Option<f64>,
    /// The 99th percentile of this time.
    pub p99_ms: Option<f64>,
    /// The maximum of this time.
    pub max_ms: Option<f64>,
}

/// TFTP requests that nobody acknowledges, each from another address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unacknowledged {
    /// Their number.
    pub requests: usize,
    /// What the daemon's resident set grew by, in bytes.
    pub bytes: u64,
    /// The time in which a client that comes after them gets 1 MiB.
    pub fresh_ms: f64,
}

/// The making of a WinPE by `winpe create`, from an ISO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WinpeCreation {
    /// The length of its image on the medium, in bytes.
    pub image: u64,
    /// The number of drivers that are put into the image.
    pub drivers: usize,
    /// The time it takes.
    pub seconds: f64,
    /// The greatest resident set of all its programs together, in bytes.
    pub memory: u64,
}

/// Service nodes that follow members of etcd. Times are from the first write, or from the start of the
/// service nodes, until clients of all of them get what is new.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FleetCost {
    /// The number of nodes.
    pub nodes: u32,
    /// The number of service nodes.
    pub service_nodes: usize,
    /// The number of members.
    pub members: usize,
    /// How often each was measured.
    pub runs: usize,
    /// The rate of requests to each service node, per second.
    pub load_per_second: usize,
    /// The first load, by all service nodes at the same time, from the start of their processes.
    pub first_load: Spread,
    /// A change of one node.
    pub one_node: Spread,
    /// A change of all nodes.
    pub all_nodes: Spread,
    /// The same, from when all was written and only had to be put into force.
    pub all_nodes_in_force: Spread,
    /// The number of requests during changes.
    pub asked: u64,
    /// The number of these requests without an answer.
    pub lost: u64,
    /// The number of answers that were of an earlier version than one before them, or of none.
    pub wrong: u64,
    /// The greatest resident set of a service node in the end, in bytes.
    pub resident: u64,
}

/// Several measurements of a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The shortest.
    pub least_ms: f64,
    /// The median.
    pub median_ms: f64,
    /// The longest.
    pub most_ms: f64,
    /// Whose work the cores did in the longest.
    pub slowest: Shares,
}

/// Shares of the time of all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shares {
    /// All members of etcd.
    pub etcd: f64,
    /// All service nodes.
    pub daemons: f64,
    /// The clients, and whoever writes the change.
    pub clients: f64,
}

/// The cost of the XDP program, which runs alone on a frame in memory. Nanoseconds are medians,
/// after subtracting those of a program that does nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerCost {
    /// An answer, with 1,000 nodes in turn.
    pub hot_ns: f64,
    /// The number of nodes in the large table.
    pub many_nodes: u32,
    /// An answer, with that many nodes in random order.
    pub random_ns: f64,
    /// The reflector, which only exchanges addresses.
    pub reflector_ns: f64,
    /// The bare responder in C, with 1,000 nodes in turn; old results lack it.
    pub responder_ns: Option<f64>,
    /// The subtracted time: the run of a program that does nothing.
    pub empty_ns: f64,
    /// The number of instructions that the verifier examined, out of 1,000,000 allowed.
    pub verified_instructions: Option<u32>,
    /// The program's size in BPF instructions of 8 bytes.
    pub instructions: Option<u32>,
    /// The program's size in machine code, in bytes.
    pub machine_code_bytes: Option<u32>,
}

/// The cost of a table of this size to the daemon, on the kernel datapath.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableCost {
    /// The number of nodes.
    pub nodes: u32,
    /// A reload from the files; times are medians of several.
    pub reload: Option<Reload>,
    /// Memory in steady state.
    pub memory: Option<Memory>,
}

/// How long a reload takes, in milliseconds, and the requests it loses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reload {
    /// The whole of one by which nearly all nodes boot something else.
    pub total_ms: f64,
    /// The whole of one after another line of the hosts file, for which all nodes are joined again.
    #[serde(default)]
    pub joined_ms: f64,
    /// Reading and joining the files.
    pub read_ms: f64,
    /// Asking the system resolver.
    pub resolve_ms: f64,
    /// Building the tables and copying them into the kernel.
    pub fill_ms: f64,
    /// Putting them into service.
    pub swap_ms: f64,
    /// The number of reloads while known nodes sent requests.
    pub reloads_under_load: u32,
    /// The rate of these requests, per second.
    pub load_per_second: f64,
    /// The number of these requests.
    pub asked: u32,
    /// The number of these requests without an answer, or with a wrong one.
    pub lost: u32,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The daemon's resident set, which includes a map's memory only while the map is mapped.
    pub resident: u64,
    /// The daemon's BPF maps in the kernel.
    pub maps: u64,
}
