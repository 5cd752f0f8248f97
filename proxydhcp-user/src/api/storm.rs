//! The storm as those see it who watch it: which state each node is in, first as a whole, and then what
//! changes.
//!
//! A viewer has a [`Position`], and is given an [`Update`] from there. Nodes are numbered, since an update
//! with their names has all of them; later ones have only the numbers of those that have changed. The
//! form is made for 100,000 nodes and more: [`names`] and [`rows`] say how it looks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::activity::State;

mod base64_text;
pub mod names;
pub mod rows;
mod view;
mod wire;

pub use names::{Named, Names};
pub use view::View;

/// How far a viewer's knowledge goes. The one who knows nothing has the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The number of the list of names that nodes are counted in.
    pub list: u64,
    /// All changes up to this one are known.
    pub known: u64,
    /// And up to this one, of the nodes before `node`: what has changed since may be more than one
    /// update holds.
    pub pass: u64,
    /// The first node that is yet to be told about in this pass.
    pub node: u32,
}

/// What is new for a viewer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Update {
    /// The viewer's position behind this update.
    pub position: Position,
    /// The time of the daemon's clock, in milliseconds since 1970.
    pub now: u64,
    /// Sums over all nodes.
    pub totals: Totals,
    /// The names, if the viewer's list was another one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub names: Option<Names>,
    /// The states of nodes, as [`rows`] has them.
    #[serde(with = "base64_text")]
    pub rows: Vec<u8>,
}

/// Sums over all nodes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// The number of nodes in each state, in the order of [`State::ALL`].
    pub states: [u32; State::ALL.len()],
    /// Half of the conversations that have ended took no longer than this, in milliseconds.
    pub p50: Option<u64>,
    /// And 99 of 100 no longer than this.
    pub p99: Option<u64>,
    /// What has become of packets, on each interface.
    pub interfaces: Vec<Counted>,
}

/// What has become of the packets to an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The interface.
    pub name: String,
    /// The datapath that answers there.
    pub datapath: String,
    /// Replies sent.
    pub answered: u64,
    /// Requests from sources that had exceeded the rate limit.
    pub limited: u64,
    /// Requests not answered, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Replies and requests that were lost here.
    pub lost: u64,
}

/// The state of a node. Times are in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Where it is.
    pub state: State,
    /// Its architecture, as in option 93.
    pub arch: u8,
    /// The requests that it has sent.
    pub requests: u32,
    /// When the conversation began.
    pub first: u64,
    /// When it was heard of last.
    pub last: u64,
    /// What it has fetched, in KiB.
    pub kib: u32,
}

/// The number of a state: its place in [`State::ALL`].
pub fn number(state: State) -> usize {
    let place = State::ALL.iter().position(|other| *other == state);
    place.unwrap_or_default()
}

impl Default for Row {
    /// A node that has never asked.
    fn default() -> Self {
        Self {
            state: State::Silent,
            arch: 0,
            requests: 0,
            first: 0,
            last: 0,
            kib: 0,
        }
    }
}

impl Row {
    /// How long its conversation took, in milliseconds, if it got an answer.
    pub fn took(&self) -> Option<u64> {
        let is_answered = matches!(
            self.state,
            State::Answered | State::Fetching | State::Fetched
        );
        is_answered.then(|| self.last.saturating_sub(self.first))
    }
}
