//! Measures the nanoseconds for an answer: the XDP program runs alone, on frames in memory.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proxydhcp::datapath::activity;
use proxydhcp::datapath::xdp::{Duty, KernelTables, Program};
use proxydhcp::tables::followed::Followed;
use proxydhcp::tables::generation::Generation;
use proxydhcp::tables::policy::Policy;
use proxydhcp::tables::table::{self, Sources, Table};
use proxydhcp::winpe::loaders::Loaders;
use proxydhcp_common::limit::Limit;
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::xdp::{self, action};
use proxydhcp_lab::{Expected, SERVER_ADDRESS, check_reply};

use crate::cluster::{Files, Node};
use crate::responder::Responder;
use crate::results::AnswerCost;
use crate::small_xdp;
use proxydhcp_clients::percentile;

/// The number of runs of one program before the next one's turn.
const RUNS: u32 = 1000;
/// The number of nodes in the small table.
const FEW_NODES: u32 = 1000;
/// A length in bytes that no frame of a program exceeds.
const LONGEST_FRAME: usize = 2048;

/// The length of a BPF instruction, in bytes.
const INSTRUCTION: u32 = 8;

/// Measures in this many rounds; `files` are those of `many_nodes`.
pub(crate) fn answer_cost(
    folder: &Path,
    (files, many_nodes): (&Files, u32),
    rounds: u32,
    go_on: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<AnswerCost> {
    go_on("1,000 nodes in turn")?;
    let few = Files::write(&folder.join("few"), FEW_NODES)?;
    let generation = generation(&few)?;
    let program = load(&generation)?;
    let responder = Responder::load(folder, generation.0.templates(), FEW_NODES)?;
    let empty = small_xdp::pass()?;
    let reflector = small_xdp::reflector()?;
    let programs = [
        (empty.as_fd(), action::PASS),
        (reflector.as_fd(), action::TX),
        (responder.fd()?.as_fd(), action::TX),
        (program.loaded()?.fd()?.as_fd(), action::TX),
    ];
    let [empty_ns, reflector_ns, responder_ns, hot_ns] =
        interleave(&programs, rounds, |run| Node(run % FEW_NODES))?;
    check(Some(responder.fd()?.as_fd()), Node(0)).context("the responder in C")?;
    let info = program.loaded()?.info()?;
    let mut cost = AnswerCost {
        hot_ns: hot_ns - empty_ns,
        many_nodes,
        random_ns: 0.0,
        reflector_ns: reflector_ns - empty_ns,
        responder_ns: Some(responder_ns - empty_ns),
        empty_ns,
        verified_instructions: info.verified_instruction_count(),
        instructions: info.size_translated().map(|bytes| bytes / INSTRUCTION),
        machine_code_bytes: Some(info.size_jitted()),
    };
    drop(program);

    go_on("a large table is loaded")?;
    let program = load(&self::generation(files)?)?;
    go_on("nodes in random order")?;
    let programs = [
        (empty.as_fd(), action::PASS),
        (program.loaded()?.fd()?.as_fd(), action::TX),
    ];
    let mut random = Random::default();
    let [empty_ns, random_ns] =
        interleave(&programs, rounds, |_| Node(random.next() % many_nodes))?;
    cost.random_ns = random_ns - empty_ns;
    Ok(cost)
}

/// The tables that the daemon would make from `files`, and the number of nodes.
fn generation(files: &Files) -> Result<(Generation, usize)> {
    let sources = Sources {
        config: files.config.clone(),
        hosts: files.hosts.clone(),
        tftp_root: "/tftpboot".into(),
        loaders: Loaders::default(),
        suffixes: Vec::new(),
        ethers: None,
    };
    let table = Table::of_files(Arc::new(table::Files::read(&sources)?));
    let generation = Generation::following(
        &Generation::default(),
        &table,
        &[SERVER_ADDRESS],
        &Policy {
            // Each request is charged, and none exceeds the limit.
            limit: Limit::new(Limit::MOST, Limit::MOST),
            ..Policy::default()
        },
        // As the daemon does.
        &Arc::new(Followed::in_order(&table)),
    )?;
    Ok((generation, table.len()))
}

/// Loads the program with the tables of this number of nodes.
fn load((generation, nodes): &(Generation, usize)) -> Result<Program> {
    let mut program = Program::load(
        Duty::Answer,
        &KernelTables::new(generation)?,
        activity::capacity(*nodes),
        None,
    )?;
    program.count_for(xdp::INTERFACE, false)?;
    Ok(program)
}

/// Runs the programs in turn, round after round, on requests of the nodes that `node` selects for
/// each run. Returns their times in nanoseconds: of each program, the median of the rounds'
/// medians.
fn interleave<const N: usize>(
    programs: &[(BorrowedFd, i32); N],
    rounds: u32,
    mut node: impl FnMut(u32) -> Node,
) -> Result<[f64; N]> {
    let mut medians = [const { Vec::new() }; N];
    let mut out = [0; LONGEST_FRAME];
    // The first round meets cold caches and does not count.
    for round in 0..=rounds {
        for ((program, wanted), medians) in programs.iter().zip(&mut medians) {
            let mut times = Vec::with_capacity(RUNS as usize);
            for run in 0..RUNS {
                let node = node(round * RUNS + run);
                let request = node.request().bytes();
                let run = xdp::run(*program, &request, &mut out)?;
                ensure!(
                    run.action == *wanted,
                    "a program said {} of the request of {node:?}, not {wanted}",
                    run.action
                );
                times.push(run.took);
            }
            if round > 0 {
                medians.push(median(&mut times)?);
            }
        }
    }
    let mut result = [0.0; N];
    for (result, medians) in result.iter_mut().zip(&mut medians) {
        *result = median(medians)?.as_secs_f64() * 1e9;
    }
    check(programs.last().map(|(program, _)| *program), node(0))?;
    Ok(result)
}

/// Checks every field of a program's answer.
fn check(program: Option<BorrowedFd>, node: Node) -> Result<()> {
    let program = program.context("no program")?;
    let mut out = [0; LONGEST_FRAME];
    let request = node.request().bytes();
    let run = xdp::run(program, &request, &mut out)?;
    let reply = out.get(..run.length).context("too long a reply")?;
    check_reply(&request, reply, &Expected::new(&node.winpe(), UEFI_X64))
}

fn median(times: &mut [Duration]) -> Result<Duration> {
    times.sort_unstable();
    percentile(times, 50).context("nothing was measured")
}

/// Xorshift, so that the order is the same in each run of the benchmark.
struct Random(u32);

impl Default for Random {
    fn default() -> Self {
        Self(0x9e37_79b9)
    }
}

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_order_reaches_most_nodes() {
        let mut random = Random::default();
        let seen: HashSet<u32> = (0..100_000).map(|_| random.next() % 1000).collect();
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn an_answer_costs_more_than_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files::write(&folder.path().join("many"), 2000).unwrap();
        let cost = answer_cost(folder.path(), (&files, 2000), 3, &mut |_| Ok(())).unwrap();
        assert!(cost.hot_ns > 0.0 && cost.random_ns > 0.0, "{cost:?}");
        assert!(cost.instructions.is_some_and(|count| count > 100));
    }
}
