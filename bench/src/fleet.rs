//! Ten service nodes that follow three members of etcd: how long a first load takes, and a change until
//! it is in service on all of them, and the requests that are lost meanwhile.
//!
//! What is in service is what clients get: on each service node's wire, one node asks a hundred times a
//! second, and its answer names the version that it is from.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use proxydhcp_clients::{WiresReport, now, on_wires};
use proxydhcp_lab::{CLIENT_INTERFACE, Namespace, RequestFrame};

use crate::cluster::Node;
use crate::memory::memory;
use crate::plan::{Observer, Plan, Progress, tell};
use crate::results::{FleetCost, Spread};

mod heard;
mod site;
mod spent;
mod writer;

use heard::Heard;
use site::Site;
use spent::{Run, Spent};
use writer::Writer;

/// The number of nodes.
const NODES: u32 = 100_000;
/// The rate of requests to each service node, per second.
const LOAD: usize = 1000;
/// The number of nodes that send them. The first one's answers are watched.
const ASKING: u32 = 1000;
/// How long all have to come to rest before each measurement. What is in service has been written to the
/// disk by then.
const REST: Duration = Duration::from_secs(4);

/// Measures all of it.
pub(crate) fn fleet(plan: &Plan, observer: &mut Observer) -> Result<FleetCost> {
    let runs = plan.fleet_rounds();
    tell(observer, Progress::Step("a fleet"))?;
    let mut site = Site::start(plan)?;
    let mut writer = Writer::new(&site, NODES)?;
    writer.write_all(&site)?;
    let mut go_on = |what: &str, run: usize| -> Result<()> {
        let detail = format!("{what}, {} of {runs}", run + 1);
        tell(observer, Progress::Detail(&detail))?;
        thread::sleep(REST);
        Ok(())
    };

    let wires = site.wires()?;
    let heard = Heard::new(wires.len());
    let (first_load, _) = under_load(&wires, &heard, || {
        let mut times = Vec::new();
        for run in 0..runs {
            site.stop_service_nodes()?;
            heard.forget();
            go_on("first load", run)?;
            let (started, spent) = (now(), Spent::by(&site)?);
            site.start_service_nodes()?;
            let served = heard.wait_for(writer.version(), &site)?;
            times.push(Run::since(started, served, &spent, &site)?);
        }
        Ok(times)
    })?;
    let (one_node, of_one) = under_load(&wires, &heard, || {
        let mut times = Vec::new();
        for run in 0..runs {
            go_on("a change of one node", run)?;
            let (started, spent) = (now(), Spent::by(&site)?);
            writer.write_one(&site)?;
            let served = heard.wait_for(writer.version(), &site)?;
            times.push(Run::since(started, served, &spent, &site)?);
        }
        Ok(times)
    })?;
    let ((all_nodes, in_force), of_all) = under_load(&wires, &heard, || {
        let (mut times, mut in_force) = (Vec::new(), Vec::new());
        for run in 0..runs {
            go_on("a change of all nodes", run)?;
            let (started, spent) = (now(), Spent::by(&site)?);
            let written = writer.write_all(&site)?;
            let served = heard.wait_for(writer.version(), &site)?;
            times.push(Run::since(started, served, &spent, &site)?);
            in_force.push(Run::since(written, served, &spent, &site)?);
            writer.compact(&site)?;
        }
        Ok((times, in_force))
    })?;
    let resident = site
        .daemons()
        .map(|pid| memory(pid).map(|memory| memory.resident));
    let resident = resident.collect::<Result<Vec<_>>>()?;
    Ok(FleetCost {
        nodes: NODES,
        service_nodes: wires.len(),
        members: site::MEMBERS,
        runs,
        load_per_second: LOAD,
        first_load: Spread::of(first_load)?,
        one_node: Spread::of(one_node)?,
        all_nodes: Spread::of(all_nodes)?,
        all_nodes_in_force: Spread::of(in_force)?,
        asked: of_one.sent + of_all.sent,
        lost: of_one.missing() + of_all.missing(),
        wrong: heard.wrong(),
        resident: resident.into_iter().max().unwrap_or_default(),
    })
}

/// Does some work while nodes ask on all wires.
fn under_load<T>(
    wires: &[Namespace],
    heard: &Heard,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, WiresReport)> {
    let requests: Vec<RequestFrame> = Node::all(ASKING).map(Node::request).collect();
    let wires: Vec<_> = wires
        .iter()
        .map(|client| (client, CLIENT_INTERFACE))
        .collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| {
            let go_on = || !done.load(Ordering::Acquire);
            on_wires(&wires, &requests, LOAD, &go_on, &mut |it| heard.note(&it))
        });
        let result = work();
        done.store(true, Ordering::Release);
        let report = load
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((result?, report?))
    })
}
