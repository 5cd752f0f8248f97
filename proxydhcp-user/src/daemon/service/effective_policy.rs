//! What clients are told, and when nobody is sent to the default WinPE though that is the policy:
//! while it cannot be known that a client has no record.

use super::catalogue::Catalogue;
use crate::names::forward::Names;
use crate::tables::policy::{Policy, Unknown};

/// What clients are told by tables with these names. Those without a record get no answer while the
/// files have not passed, and while the resolver has not been heard of a name: it may be theirs. They ask
/// again within seconds.
pub(super) fn of(policy: &Policy, awaits_tables: bool, names: &Names) -> Policy {
    let unknown = match policy.unknown {
        Unknown::Default | Unknown::Lookup if awaits_tables => Unknown::Ignore,
        Unknown::Default if names.unheard() > 0 => Unknown::Ignore,
        unknown => unknown,
    };
    Policy {
        unknown,
        ..policy.clone()
    }
}

impl Catalogue {
    /// How many names clients without a record wait for.
    pub(super) fn waited_for(&self, policy: &Policy) -> usize {
        match (&policy.unknown, &self.policy.unknown) {
            (Unknown::Default, Unknown::Ignore) => self.names.unheard(),
            _ => 0,
        }
    }

    /// Whether clients without a record are to be told something else by now.
    pub(super) fn is_wait_over(&self, policy: &Policy) -> bool {
        matches!(self.policy.unknown, Unknown::Ignore) && !matches!(policy.unknown, Unknown::Ignore)
    }
}
