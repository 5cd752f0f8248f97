//! The program of a daemon that was killed, as long as it goes on answering while this one runs.

use std::time::Duration;

use anyhow::Result;
use aya::maps::MapData;
use proxydhcp_common::counters::Counts;

use super::counters::CounterMap;
use super::pins::{Leftover, Pins};
use crate::sys::interface::{AttachMode, Interface};

/// The program of a daemon that was killed, on an interface that this one serves.
pub struct Left {
    leftover: Leftover,
    program: u32,
    interface: u32,
    mode: Option<AttachMode>,
    /// Its counters, if this daemon can read them.
    counters: Option<CounterMap<MapData>>,
}

impl Left {
    /// Of what is left on `interface`, if that answers there.
    pub(crate) fn new(leftover: Leftover, interface: &Interface, pins: &Pins) -> Option<Self> {
        let counters = leftover.shares_counters().then(|| CounterMap::pinned(pins));
        Some(Self {
            program: leftover.program()?,
            interface: interface.index,
            mode: interface.xdp.and_then(|xdp| xdp.mode),
            counters: counters.and_then(Result::ok),
            leftover,
        })
    }

    /// The kernel's number for the program.
    pub(crate) fn program(&self) -> u32 {
        self.program
    }

    /// How it is attached.
    pub(crate) fn mode(&self) -> Option<AttachMode> {
        self.mode
    }

    /// How many seconds ago its tables were put into service.
    pub(crate) fn age(&self) -> Option<f64> {
        self.leftover.age().as_ref().map(Duration::as_secs_f64)
    }

    /// What it has counted, if this daemon can read that.
    pub(crate) fn counts(&self) -> Option<Result<Counts>> {
        let counters = self.counters.as_ref()?;
        Some(counters.counts(self.interface))
    }
}
