//! What a benchmark should measure, and how thoroughly.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::contender::Contender;
use crate::siege::attack::Attack;
use crate::tftp::crowd;
use crate::{flood, reload};

/// The figures that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// A boot storm.
    Storm,
    /// Full load.
    Flood,
    /// Boot storms while hostile packets come in.
    Siege,
    /// Offers, and the conversations that follow them.
    Offers,
    /// Downloads by TFTP.
    Tftp,
    /// Nanoseconds that the XDP program takes for an answer.
    Ns,
    /// The time of a reload, and the requests it loses.
    Reload,
    /// The daemon's memory.
    Memory,
    /// The making of a WinPE.
    Winpe,
    /// Service nodes that follow etcd.
    Fleet,
}

/// The figures to measure, and the means.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The daemon's release binary.
    pub binary: PathBuf,
    /// A folder for temporary files.
    pub folder: PathBuf,
    /// The responders in storms and floods.
    pub contenders: Vec<Contender>,
    /// The figures to measure.
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

    pub(crate) fn siege_effort(&self) -> SiegeEffort {
        SiegeEffort {
            storms: if self.quick { 2 } else { 5 },
            each_kind: !self.quick,
        }
    }

    pub(crate) fn offer_rounds(&self) -> usize {
        if self.quick { 1 } else { 3 }
    }

    pub(crate) fn download_rounds(&self) -> usize {
        if self.quick { 1 } else { 3 }
    }

    pub(crate) fn reload_effort(&self) -> reload::Effort {
        reload::Effort {
            quiet: 5,
            loaded: Duration::from_secs(if self.quick { 1 } else { 3 }),
        }
    }

    pub(crate) fn tables(&self) -> &'static [u32] {
        if self.quick {
            &[1_000, 100_000]
        } else {
            &[1_000, 10_000, 100_000, 1_000_000]
        }
    }

    /// How often a load and each change of a fleet are measured.
    pub(crate) fn fleet_rounds(&self) -> usize {
        if self.quick { 3 } else { 20 }
    }

    pub(crate) fn rounds(&self) -> u32 {
        if self.quick { 20 } else { 100 }
    }

    pub(crate) fn wants_any(&self, figures: [Figure; 2]) -> bool {
        figures.into_iter().any(|figure| self.wants(figure))
    }

    pub(crate) fn wants(&self, figure: Figure) -> bool {
        self.figures.contains(&figure)
    }

    /// The number of steps in a run, for its progress bar.
    pub fn steps(&self) -> u64 {
        let times = |wanted, steps: usize| if wanted { steps } else { 0 };
        let contest = self.wants_any([Figure::Storm, Figure::Flood]);
        let each = 1
            + times(self.wants(Figure::Storm), self.storms().len())
            + times(self.wants(Figure::Flood), 1);
        let steps = times(contest, self.contenders.len() * each)
            + times(self.wants(Figure::Siege), self.siege_effort().steps())
            + times(
                self.wants(Figure::Offers),
                self.contenders
                    .iter()
                    .filter_map(Contender::offering)
                    .count(),
            )
            + times(
                self.wants(Figure::Tftp),
                1 + self.download_rounds() * crowd::count(self.quick),
            )
            + times(self.wants(Figure::Ns), 1)
            + times(
                self.wants_any([Figure::Reload, Figure::Memory]),
                self.tables().len(),
            )
            + times(self.wants(Figure::Winpe), 1)
            + times(self.wants(Figure::Fleet), 1);
        steps as u64
    }
}

/// The effort of the sieges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SiegeEffort {
    /// The number of storms in each siege.
    pub(crate) storms: usize,
    /// Whether each kind of hostile packets also comes alone.
    pub(crate) each_kind: bool,
}

impl SiegeEffort {
    /// The number of steps in all sieges.
    fn steps(self) -> usize {
        Contender::as_installed().len() * Attack::all(self.each_kind).len()
    }
}

/// The progress of a run.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// The next step begins.
    Step(&'a str),
    /// Further detail about the current step.
    Detail(&'a str),
}

/// Receives the progress of a run, and may abort the run.
pub type Observer<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

/// Reports the progress of the run to the observer.
///
/// # Errors
/// If the observer aborts the run.
pub(crate) fn tell(observer: &mut Observer, progress: Progress) -> Result<()> {
    if observer(progress).is_break() {
        bail!("the benchmark was broken off");
    }
    Ok(())
}
