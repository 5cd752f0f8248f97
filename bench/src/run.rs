//! Runs a whole benchmark.

use std::fs;

use anyhow::{Context, Result};

use crate::answer_cost::answer_cost;
use crate::cluster::Files;
use crate::contender::{Contender, Start};
use crate::contest::contest;
use crate::conversations::offers;
use crate::fleet::fleet;
use crate::machine::{Machine, date};
use crate::memory::memory;
use crate::pin::Cores;
use crate::plan::{Figure, Observer, Plan, Progress, tell};
use crate::reload;
use crate::results::{Results, TableCost};
use crate::session::Session;
use crate::siege::sieges;
use crate::tftp::downloads;
use crate::winpe;

/// The number of nodes in random order for which the cost of an answer is measured.
const MANY_NODES: u32 = 1_000_000;

/// Measures everything that is planned.
///
/// # Errors
/// If the run is aborted or the lab itself fails. A contender that fails is noted in the results.
pub fn run(plan: &Plan, observer: &mut Observer) -> Result<Results> {
    let machine = Machine::this();
    let cores = Cores::choose()?;
    // It needs all cores, and what is started from a pinned thread is pinned, too.
    let fleet = plan.wants(Figure::Fleet).then(|| fleet(plan, observer));
    let fleet = fleet.transpose()?;
    cores.pin_generator()?;
    let mut results = Results {
        date: date(),
        command: plan.command.clone(),
        notes: notes(cores, &machine),
        machine,
        storm: Vec::new(),
        flood: Vec::new(),
        siege: Vec::new(),
        offers: Vec::new(),
        download: Vec::new(),
        unacknowledged: None,
        answer_cost: None,
        tables: Vec::new(),
        winpe: None,
        fleet,
        failures: Vec::new(),
    };
    if plan.wants_any([Figure::Storm, Figure::Flood]) {
        contest(plan, cores, &mut results, observer)?;
    }
    if plan.wants(Figure::Siege) {
        sieges(plan, cores, &mut results, observer)?;
    }
    if plan.wants(Figure::Offers) {
        offers(plan, cores, &mut results, observer)?;
    }
    if plan.wants(Figure::Tftp) {
        downloads(plan, cores, &mut results, observer)?;
    }
    if plan.wants(Figure::Ns) {
        tell(observer, Progress::Step("the XDP program by itself"))?;
        let mut go_on = |detail: &str| tell(observer, Progress::Detail(detail));
        go_on("files")?;
        let folder = plan.folder.join("many");
        let files = Files::write(&folder, MANY_NODES)?;
        let many = (&files, MANY_NODES);
        let cost = answer_cost(&plan.folder, many, plan.rounds(), &mut go_on)?;
        results.answer_cost = Some(cost);
        fs::remove_dir_all(folder)?;
    }
    if plan.wants_any([Figure::Reload, Figure::Memory]) {
        for &nodes in plan.tables() {
            tell(
                observer,
                Progress::Step(&format!("a table of {nodes} nodes")),
            )?;
            let cost = table_cost(plan, cores, nodes);
            match cost.with_context(|| format!("a table of {nodes} nodes")) {
                Ok(cost) => results.tables.push(cost),
                Err(error) => results.failures.push(format!("{error:#}")),
            }
        }
    }
    if plan.wants(Figure::Winpe) {
        results.winpe = Some(winpe::creation(plan, observer)?);
    }
    Ok(results)
}

/// Measures reload and memory at one size, on the kernel datapath.
fn table_cost(plan: &Plan, cores: Cores, nodes: u32) -> Result<TableCost> {
    let folder = plan.folder.join("table");
    let files = Files::write(&folder, nodes)?;
    let start = Start {
        binary: &plan.binary,
        files: &files,
        folder: &plan.folder,
        cores,
    };
    let session = Session::start(&Contender::usual("kernel")?, &start)?;
    let daemon = session.daemon().context("no daemon")?;
    let reload = plan
        .wants(Figure::Reload)
        .then(|| reload::reload(&session.lab, daemon, &files, plan.reload_effort()))
        .transpose()
        .with_context(|| format!("the daemon's log:\n{}", session.log()))?;
    let memory = plan
        .wants(Figure::Memory)
        .then(|| memory(daemon.pid()))
        .transpose()?;
    drop(session);
    fs::remove_dir_all(folder)?;
    Ok(TableCost {
        nodes,
        reload,
        memory,
    })
}

fn notes(cores: Cores, machine: &Machine) -> Vec<String> {
    const QUIET: f64 = 0.5;
    let mut notes = vec![
        cores.describe(),
        "storm: times are from a client's own first request to its answer, by the kernel's stamps \
         at the clients' end; requests go out one after another, by a packet socket"
            .to_owned(),
        "flood: an XDP program of the clients' makes the requests (BPF_PROG_TEST_RUN with live \
         frames), another counts the replies; kernel and reflector answer on the generator's own \
         core, and both share it: that is all that bounds them where nothing is lost"
            .to_owned(),
        "siege: the generator of the flood sends hostile packets, while storms of 1,000 clients are \
         sent from the other core, which the daemon is on too; both come in by the same queue of \
         256 places. What has come in is what the server's interface has counted"
            .to_owned(),
        "offers: a client sends its request on port 4011 once its offer is read, and nothing twice; \
         nodes are known by their hardware addresses, and dnsmasq is in proxy mode"
            .to_owned(),
        "tftp: all clients of a crowd fetch the same file, from one thread; a client takes up to a \
         window in one call. Beside XDP, dnsmasq's interface has a program that passes everything, and \
         proxydhcp's has its own; otherwise none has one (--path raw). tftpd-hpa and dnsmasq know no \
         window"
            .to_owned(),
        "clients are behind one router, so that the kernel's neighbour table limits no contender"
            .to_owned(),
        "dnsmasq and the reflector give all clients the same answer; dnsmasq logs no requests"
            .to_owned(),
    ];
    if machine.load_before > QUIET {
        notes.push(format!(
            "THE MACHINE WAS NOT IDLE (load {:.2} before the run): latencies and losses may be \
             those of other programs",
            machine.load_before
        ));
    }
    notes
}
