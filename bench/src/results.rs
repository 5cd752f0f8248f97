//! What a benchmark found, as it stands in `results.json`.

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
    /// Where it ran.
    pub machine: Machine,
    /// What a reader must know to read the figures rightly.
    pub notes: Vec<String>,
    /// Boot storms.
    pub storm: Vec<Storm>,
    /// Full load.
    pub flood: Vec<Flood>,
    /// Boot storms while hostile packets come in.
    #[serde(default)]
    pub siege: Vec<Siege>,
    /// The XDP program by itself.
    pub answer_cost: Option<AnswerCost>,
    /// Tables by their size.
    pub tables: Vec<TableCost>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
}

/// One boot storm: all clients ask at the same instant, and again by EDK2's clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Storm {
    /// Who answered.
    pub contender: String,
    /// How many clients asked.
    pub clients: usize,
    /// How many of them had an answer within a second of their first request.
    pub first_second: usize,
    /// How many had none when they gave up.
    pub never: usize,
    /// How many had a wrong one.
    pub wrong: usize,
    /// Times from a client's first request to its answer, of those that had one.
    pub p50_ms: Option<f64>,
    /// 99 of 100 had their answer in this time.
    pub p99_ms: Option<f64>,
    /// The longest time.
    pub max_ms: Option<f64>,
    /// The time by which 1 %, 2 %, ... of all clients had an answer, as far as it goes.
    pub percent_answered_by_ms: Vec<f64>,
}

/// Full load from 20,000 clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flood {
    /// Who answered.
    pub contender: String,
    /// What the generator offered, in requests a second.
    pub offered_per_second: f64,
    /// What came back.
    pub replies_per_second: f64,
    /// The highest rate at which every request was answered.
    pub lossless_per_second: Option<f64>,
    /// The generator could not ask more than was answered: the contender may do better.
    pub bounded_by_generator: bool,
}

/// Boot storms, one after another, while hostile packets come in. The daemon has its usual limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Siege {
    /// Who answered.
    pub datapath: String,
    /// What else came in.
    pub hostile: String,
    /// Hostile packets a second that the generator was to send; none: as many as it can.
    pub pace: Option<f64>,
    /// Hostile packets a second that came onto the server's interface, over all storms: each from
    /// its first request to its last answer.
    pub hostile_per_second: f64,
    /// Hostile packets a second that came in during the storm with the fewest.
    pub hostile_per_second_least: f64,
    /// Hostile packets that the generator has sent, before, between and after storms too.
    pub hostile_sent: u64,
    /// Those of them that found the wire's queue full, and have not come in.
    pub no_room: u64,
    /// The storms, of so many clients each.
    pub storms: usize,
    /// The clients of one storm.
    pub clients: usize,
    /// Clients of all storms that had an answer to their first request.
    pub first_try: usize,
    /// Clients with an answer to their first request, of the storm with the fewest.
    pub first_try_least: usize,
    /// Clients of all storms that had none when they gave up.
    pub never: usize,
    /// Times from a client's last request to its answer: 99 of 100 had it in this time.
    pub p99_ms: Option<f64>,
    /// The longest time.
    pub max_ms: Option<f64>,
    /// What the daemon has counted since its start: all datapaths together.
    pub counters: Counters,
}

/// What the XDP program costs, run by itself on a frame in memory. Nanoseconds are medians, and
/// less those of a program that does nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerCost {
    /// An answer, with 1,000 nodes in turn.
    pub hot_ns: f64,
    /// How many nodes the large table has.
    pub many_nodes: u32,
    /// An answer, with that many nodes in random order.
    pub random_ns: f64,
    /// The reflector, which only exchanges addresses.
    pub reflector_ns: f64,
    /// What was subtracted: the run of a program that does nothing.
    pub empty_ns: f64,
    /// Instructions that the verifier looked at; it allows 1,000,000.
    pub verified_instructions: Option<u32>,
    /// The program's size in BPF instructions of 8 bytes.
    pub instructions: Option<u32>,
    /// The program's size in machine code, in bytes.
    pub machine_code_bytes: Option<u32>,
}

/// What a table of this size costs the daemon, on the kernel datapath.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableCost {
    /// Its nodes.
    pub nodes: u32,
    /// A reload from the files, the median of several.
    pub reload: Option<Reload>,
    /// Memory in steady state.
    pub memory: Option<Memory>,
}

/// How long a reload takes, in milliseconds, and what it loses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reload {
    /// All of it.
    pub total_ms: f64,
    /// Reading and joining the files.
    pub read_ms: f64,
    /// Asking the system resolver.
    pub resolve_ms: f64,
    /// Building the tables and copying them into the kernel.
    pub fill_ms: f64,
    /// Putting them into service.
    pub swap_ms: f64,
    /// Reloads while known nodes asked.
    pub reloads_under_load: u32,
    /// The rate that they asked at.
    pub load_per_second: f64,
    /// Their requests.
    pub asked: u32,
    /// Those of them without an answer, or with a wrong one.
    pub lost: u32,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The daemon's resident set. It counts the maps' memory only where they are mapped.
    pub resident: u64,
    /// Its BPF maps in the kernel.
    pub maps: u64,
}
