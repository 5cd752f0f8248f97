//! A whole benchmark.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::answer_cost::answer_cost;
use crate::cluster::Files;
use crate::contender::{Contender, Start};
use crate::contest::contest;
use crate::machine::{Machine, date};
use crate::memory::memory;
use crate::pin::Cores;
use crate::results::{Results, TableCost};
use crate::session::Session;
use crate::siege::sieges;
use crate::{flood, reload, siege};

/// The nodes that an answer's cost is measured with in random order.
const MANY_NODES: u32 = 1_000_000;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// A boot storm.
    Storm,
    /// Full load.
    Flood,
    /// Boot storms while hostile packets come in.
    Siege,
    /// Nanoseconds for an answer.
    Ns,
    /// The time of a reload, and what it loses.
    Reload,
    /// The daemon's memory.
    Memory,
}

/// What to measure, and with what.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The daemon's release binary.
    pub binary: PathBuf,
    /// A folder for temporary files.
    pub folder: PathBuf,
    /// Who takes part in storms and floods.
    pub contenders: Vec<Contender>,
    /// The figures that are wanted.
    pub figures: Vec<Figure>,
    /// Fewer sizes and shorter runs.
    pub quick: bool,
    /// The command line, for the record.
    pub command: String,
}

impl Plan {
    pub(crate) fn storms(&self) -> &'static [u32] {
        if self.quick {
            &[1_000, 10_000]
        } else {
            &[1_000, 10_000, 50_000]
        }
    }

    pub(crate) fn flood_effort(&self) -> flood::Effort {
        let milliseconds = Duration::from_millis;
        if self.quick {
            flood::Effort {
                full_speed: milliseconds(800),
                paced: milliseconds(300),
                steps: 6,
            }
        } else {
            flood::Effort {
                full_speed: milliseconds(2000),
                paced: milliseconds(1000),
                steps: 8,
            }
        }
    }

    pub(crate) fn siege_effort(&self) -> siege::Effort {
        siege::Effort {
            storms: if self.quick { 2 } else { 5 },
            each_kind: !self.quick,
        }
    }

    fn reload_effort(&self) -> reload::Effort {
        reload::Effort {
            quiet: 5,
            loaded: Duration::from_secs(if self.quick { 1 } else { 3 }),
        }
    }

    fn tables(&self) -> &'static [u32] {
        if self.quick {
            &[1_000, 100_000]
        } else {
            &[1_000, 10_000, 100_000, 1_000_000]
        }
    }

    fn rounds(&self) -> u32 {
        if self.quick { 20 } else { 100 }
    }

    fn wants_any(&self, figures: [Figure; 2]) -> bool {
        figures.into_iter().any(|figure| self.wants(figure))
    }

    pub(crate) fn wants(&self, figure: Figure) -> bool {
        self.figures.contains(&figure)
    }

    /// How many steps a run has, for its progress bar.
    pub fn steps(&self) -> u64 {
        let times = |wanted, steps: usize| if wanted { steps } else { 0 };
        let contest = self.wants_any([Figure::Storm, Figure::Flood]);
        let each = 1
            + times(self.wants(Figure::Storm), self.storms().len())
            + times(self.wants(Figure::Flood), 1);
        let steps = times(contest, self.contenders.len() * each)
            + times(self.wants(Figure::Siege), siege::steps(self.siege_effort()))
            + times(self.wants(Figure::Ns), 1)
            + times(
                self.wants_any([Figure::Reload, Figure::Memory]),
                self.tables().len(),
            );
        steps as u64
    }
}

/// How a run is going.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// The next step begins.
    Step(&'a str),
    /// Something more of the same step.
    Detail(&'a str),
}

/// Is told how the run is going, and may break it off.
pub type Observer<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// Measures all that is planned.
///
/// # Errors
/// When it is broken off or the lab itself fails; a contender that fails is noted in the results.
pub fn run(plan: &Plan, observer: &mut Observer) -> Result<Results> {
    let machine = Machine::this();
    let cores = Cores::choose()?;
    cores.pin_generator()?;
    let mut results = Results {
        date: date(),
        command: plan.command.clone(),
        notes: notes(cores, &machine),
        machine,
        storm: Vec::new(),
        flood: Vec::new(),
        siege: Vec::new(),
        answer_cost: None,
        tables: Vec::new(),
        failures: Vec::new(),
    };
    if plan.wants_any([Figure::Storm, Figure::Flood]) {
        contest(plan, cores, &mut results, observer)?;
    }
    if plan.wants(Figure::Siege) {
        sieges(plan, cores, &mut results, observer)?;
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
    Ok(results)
}

/// Reload and memory at one size, on the kernel datapath.
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

pub(crate) fn tell(observer: &mut Observer, progress: Progress) -> Result<()> {
    if observer(progress).is_break() {
        bail!("the benchmark was broken off");
    }
    Ok(())
}
