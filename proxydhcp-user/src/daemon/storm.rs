//! The storm, followed for those who watch it: on the page and in `proxydhcp top`.
//!
//! As long as nobody watches, nothing is done. However many watch, the nodes are looked at twice a second
//! at most, and what a viewer knows is a few numbers that it brings along.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::interval;

use crate::api::status::Status;
use crate::api::storm::{Counted, Position, Update};
use crate::daemon::service::Service;
use crate::sys::heap;

mod activity;
mod changes;
mod groups;

use changes::Changes;

/// How old what viewers see may be.
const FRESH: Duration = Duration::from_millis(400);
/// Looking at all nodes takes no more than this share of the time: one part of so many.
const SHARE: u32 = 10;
/// When what was followed is forgotten because nobody has asked.
const IDLE: Duration = Duration::from_mins(1);

/// The storm.
pub(crate) struct Storm {
    service: Arc<Service>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    changes: Changes,
    /// When it is time to look again.
    due: Option<Instant>,
    asked: Option<Instant>,
}

impl Storm {
    /// Follows the storm of this service. What it holds is given back when nobody watches any longer.
    pub(crate) fn new(service: &Arc<Service>) -> Arc<Self> {
        let storm = Arc::new(Self {
            service: Arc::clone(service),
            state: Mutex::default(),
        });
        tokio::spawn(forget_when_idle(Arc::clone(&storm)));
        storm
    }

    /// What is new from this position on, with about `most` bytes of rows unless the viewer has none yet.
    /// It may take as long as looking at all nodes does.
    pub(crate) fn update(&self, from: Position, most: usize) -> Update {
        let mut state = self.state();
        let began = Instant::now();
        if state.due.is_none_or(|due| began >= due) {
            self.look(&mut state.changes);
            let pause = FRESH.max(began.elapsed() * SHARE);
            state.due = began.checked_add(pause);
        }
        state.asked = Some(Instant::now());
        state.changes.update(from, most)
    }

    fn look(&self, changes: &mut Changes) {
        let (status, nodes, now) = activity::of(&self.service);
        changes.look(now, status.generation, &nodes, &groups::of);
        changes.counted(counted(&status));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A viewer that comes later gets a new list of names.
async fn forget_when_idle(storm: Arc<Storm>) {
    let mut looks = interval(IDLE);
    loop {
        looks.tick().await;
        let mut state = storm.state();
        if state.asked.is_some_and(|asked| asked.elapsed() >= IDLE) {
            *state = State::default();
            drop(state);
            heap::give_back();
        }
    }
}

fn counted<P>(status: &Status<P>) -> Vec<Counted> {
    let interfaces = status.interfaces.iter();
    let counted = interfaces.map(|interface| Counted {
        name: interface.name.clone(),
        datapath: interface.datapath.to_string(),
        answered: interface.counters.answered,
        limited: interface.counters.limited,
        refused: interface.counters.refused.clone(),
        lost: interface.counters.lost + interface.counters.unsent,
    });
    counted.collect()
}
