//! What happens, for `proxydhcp events`. Boots are seen in the nodes' records, which are looked at twice a
//! second: so there is never a line for each packet, whatever floods the host, and packets pay nothing.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use proxydhcp_common::activity::{Activity, FileKind, Moment, Outcome, PAUSE, TransferState};
use tokio::task::block_in_place;
use tokio::time::{MissedTickBehavior, interval};

use super::Service;
use super::activity::reason;
use super::moments::MOMENT;
use crate::api::activity::{Event, EventsPage, Happened};
use crate::api::status::Reloaded;
use crate::datapath::activity::now;
use crate::sys::clock;
use crate::text::with_causes;

/// How often the records are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The number of events that are remembered: a storm of 50,000, and its end.
const REMEMBERED: usize = 1 << 17;

/// The number of events that are said at once.
const PAGE: usize = 10_000;

/// The last events.
#[derive(Debug, Default)]
pub(super) struct Events(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    events: VecDeque<Event>,
    /// The number of the last one; 0 before the first.
    last: u64,
}

impl Events {
    /// Remembers what has happened.
    pub(super) fn add(&self, what: Happened) {
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.last += 1;
        let event = Event {
            number: remembered.last,
            time: clock::since_1970(),
            what,
        };
        if remembered.events.len() >= REMEMBERED {
            remembered.events.pop_front();
        }
        remembered.events.push_back(event);
    }

    /// A reload has ended.
    pub(super) fn reloaded(&self, result: &anyhow::Result<Reloaded>) {
        self.add(match result {
            Ok(reloaded) => Happened::Reloaded {
                generation: reloaded.generation,
                nodes: reloaded.nodes,
                milliseconds: reloaded.took.total,
            },
            Err(error) => Happened::Rejected {
                reason: with_causes(error),
            },
        });
    }

    /// The events behind the one with this number.
    fn after(&self, number: u64, most: usize, daemon: f64) -> EventsPage {
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was never given belongs to another daemon.
        let number = if number > remembered.last { 0 } else { number };
        let oldest = remembered.last - remembered.events.len() as u64;
        let skipped = usize::try_from(number.saturating_sub(oldest)).unwrap_or(usize::MAX);
        let events: Vec<_> = remembered
            .events
            .iter()
            .skip(skipped)
            .take(most)
            .cloned()
            .collect();
        let last = events.last().map_or(remembered.last, |event| event.number);
        EventsPage {
            more: last < remembered.last,
            lost: oldest.saturating_sub(number),
            last,
            events,
            daemon,
        }
    }
}

/// What was seen of a node last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    boot: Moment,
    tries: u16,
    /// The end of the boot, or what has failed, was reported.
    told: Told,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    /// That it gets no answer, at this number of requests.
    Refused,
    /// That a transfer has failed.
    Failed,
    /// That the boot has ended.
    Ended,
}

impl Seen {
    /// Takes what the node has done, and reports what is new.
    fn take(
        &mut self,
        activity: &Activity,
        now: Moment,
        name: &str,
        mut tell: impl FnMut(Happened),
    ) {
        let node = || name.to_owned();
        let tries = u16::try_from(activity.tries).unwrap_or(u16::MAX);
        if self.boot != activity.boot {
            *self = Self {
                boot: activity.boot,
                tries,
                told: Told::Nothing,
            };
            tell(Happened::Begins {
                node: node(),
                arch: activity.architecture,
            });
        } else if self.tries != tries {
            let is_first = self.tries == 0;
            self.tries = tries;
            if self.told != Told::Ended {
                self.told = Told::Nothing;
            }
            if !is_first {
                tell(Happened::Retries {
                    node: node(),
                    tries: activity.tries,
                });
            }
        }
        let seconds = |until: Moment| f64::from(until.wrapping_sub(activity.boot)) * MOMENT;
        let silent = now.wrapping_sub(activity.last).cast_signed();
        let state = match (activity.transfer, activity.outcome) {
            (Some(transfer), _) => match (transfer.state, transfer.kind) {
                (TransferState::Complete, FileKind::Image) => Told::Ended,
                (TransferState::Failed, _) => Told::Failed,
                _ => Told::Nothing,
            },
            (None, Some(Outcome::Refused(_) | Outcome::Limited)) => Told::Refused,
            (None, Some(Outcome::Answered)) if silent > PAUSE.cast_signed() => Told::Ended,
            (None, _) => Told::Nothing,
        };
        if state == self.told || self.told == Told::Ended {
            return;
        }
        match state {
            // Between two files.
            Told::Nothing => {}
            Told::Refused => tell(Happened::Fails {
                node: node(),
                reason: activity.outcome.and_then(reason).unwrap_or_default(),
            }),
            Told::Failed => tell(Happened::Fails {
                node: node(),
                reason: "transfer".to_owned(),
            }),
            Told::Ended => tell(Happened::Ends {
                node: node(),
                fetched: activity.transfer.is_some(),
                seconds: seconds(if activity.transfer.is_some() {
                    now
                } else {
                    activity.last
                }),
            }),
        }
        self.told = state;
    }
}

/// What was seen at the last look.
#[derive(Default)]
struct Looked {
    /// By the nodes' numbers.
    nodes: Vec<Seen>,
    interfaces: BTreeSet<String>,
    is_first_over: bool,
}

impl Service {
    /// The events behind the one with this number; from the first one that is remembered on for 0.
    pub(crate) fn events(&self, after: u64) -> EventsPage {
        self.events.after(after, PAGE, self.started_at)
    }

    /// Looks for events, until the daemon ends.
    pub(crate) async fn watch_for_events(&self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked = Looked::default();
        loop {
            looks.tick().await;
            block_in_place(|| self.look(&mut looked));
        }
    }

    fn look(&self, looked: &mut Looked) {
        let (table, followed) = self.followed();
        let (memory, now) = (self.shared.activity.memory(), now());
        // What happened before this daemon is no news.
        let is_news = looked.is_first_over;
        for record in (0..).take(table.len()) {
            let Some(number) = followed.number(record) else {
                continue;
            };
            let at = number as usize;
            if looked.nodes.len() <= at {
                looked.nodes.resize(at + 1, Seen::default());
            }
            let Some(seen) = looked.nodes.get_mut(at) else {
                continue;
            };
            match memory.activity(number) {
                Some(activity) => {
                    let name = table.of_record(record).map_or("", |(name, _)| name);
                    seen.take(&activity, now, name, |what| {
                        if is_news {
                            self.events.add(what);
                        }
                    });
                }
                None => *seen = Seen::default(),
            }
        }
        looked.is_first_over = true;
        let interfaces: BTreeSet<_> = self.interfaces().describe().into_iter().collect();
        for gone in looked.interfaces.difference(&interfaces) {
            self.events.add(Happened::NotServing {
                interface: gone.clone(),
            });
        }
        for fresh in interfaces.difference(&looked.interfaces) {
            self.events.add(Happened::Serving {
                interface: fresh.clone(),
            });
        }
        looked.interfaces = interfaces;
    }
}

#[cfg(test)]
mod tests {
    use proxydhcp_common::activity::{Record, Transfer};
    use proxydhcp_common::verdict::Reason;

    use super::*;

    fn told(seen: &mut Seen, record: &Record, now: Moment) -> Vec<String> {
        let mut told = Vec::new();
        let activity = record.read().unwrap();
        seen.take(&activity, now, "n1", |what| {
            let json = serde_json::to_value(what).unwrap();
            told.push(format!(
                "{}{}",
                json["event"].as_str().unwrap(),
                json["tries"]
                    .as_u64()
                    .map_or_else(String::new, |tries| format!(" {tries}"))
            ));
        });
        told
    }

    #[test]
    fn a_boot_is_told_step_by_step_and_each_step_once() {
        let (mut seen, record) = (Seen::default(), Record::default());
        record.note(100, Outcome::Answered, Some(7));
        assert_eq!(told(&mut seen, &record, 100), ["begins"]);
        assert_eq!(told(&mut seen, &record, 101), [""; 0]);
        record.note(160, Outcome::Answered, Some(7));
        record.note(161, Outcome::Answered, Some(7));
        assert_eq!(told(&mut seen, &record, 162), ["retries 3"]);
        let transfer = |kind, state| Transfer {
            kind,
            state,
            bytes: 1,
        };
        record.note_transfer(transfer(FileKind::Loader, TransferState::Complete));
        assert_eq!(told(&mut seen, &record, 170), [""; 0]);
        record.note_transfer(transfer(FileKind::Image, TransferState::Failed));
        assert_eq!(told(&mut seen, &record, 180), ["fails"]);
        record.note_transfer(transfer(FileKind::Image, TransferState::Complete));
        assert_eq!(told(&mut seen, &record, 190), ["ends"]);
        assert_eq!(told(&mut seen, &record, 100_000), [""; 0]);
    }

    #[test]
    fn without_transfers_a_boot_ends_when_the_node_asks_no_more() {
        let (mut seen, record) = (Seen::default(), Record::default());
        record.note(100, Outcome::Refused(Reason::Architecture), None);
        assert_eq!(told(&mut seen, &record, 100), ["begins", "fails"]);
        record.note(200, Outcome::Answered, Some(7));
        assert_eq!(told(&mut seen, &record, 200), ["retries 2"]);
        assert_eq!(told(&mut seen, &record, 200 + PAUSE), [""; 0]);
        assert_eq!(told(&mut seen, &record, 201 + PAUSE), ["ends"]);
        record.note(300 + PAUSE, Outcome::Answered, Some(7));
        assert_eq!(told(&mut seen, &record, 300 + PAUSE), ["begins"]);
    }

    #[test]
    fn what_was_forgotten_is_counted() {
        let events = Events::default();
        let what = || Happened::Rejected {
            reason: String::new(),
        };
        for _ in 0..REMEMBERED + 10 {
            events.add(what());
        }
        let page = events.after(0, 5, 1.0);
        assert_eq!((page.lost, page.last, page.more), (10, 15, true));
        let page = events.after(page.last, usize::MAX, 1.0);
        assert_eq!(
            (page.lost, page.events.len(), page.more),
            (0, REMEMBERED - 5, false)
        );
        let end = events.after(page.last, 5, 1.0);
        assert_eq!((end.events.len(), end.last, end.lost), (0, page.last, 0));
        // The number of another daemon.
        assert_eq!(events.after(1 << 40, 1, 1.0).lost, 10);
    }
}
