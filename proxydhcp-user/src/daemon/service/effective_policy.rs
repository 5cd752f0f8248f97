//! The policy in effect. It may differ from the configured one: nobody is sent to the default WinPE
//! while it cannot be known that a client has no record.

use crate::names::forward::Names;
use crate::tables::policy::{Policy, Unknown};

/// The policy of tables with these names. Clients without a record get no answer until files have
/// been accepted, and while a name has no answer from the resolver, because the name may be theirs.
/// They ask again within seconds.
pub(super) fn of(policy: &Policy, awaits_tables: bool, names: &Names) -> Policy {
    let unknown = match policy.unknown {
        Unknown::Default | Unknown::Lookup | Unknown::LookupDefault if awaits_tables => {
            Unknown::Ignore
        }
        Unknown::Default if names.unheard() > 0 => Unknown::Ignore,
        Unknown::LookupDefault if names.unheard() > 0 => Unknown::Lookup,
        unknown => unknown,
    };
    Policy {
        unknown,
        ..policy.clone()
    }
}

/// The number of names that clients without a record wait for, where `names` are asked for and
/// `effective` is in effect instead of `policy`.
pub(super) fn waited_for(policy: &Policy, effective: &Policy, names: &Names) -> usize {
    match (&policy.unknown, &effective.unknown) {
        (Unknown::Default, Unknown::Ignore)
        | (Unknown::LookupDefault, Unknown::Ignore | Unknown::Lookup) => names.unheard(),
        _ => 0,
    }
}

/// Whether `policy` should be in effect for clients without a record by now, instead of `effective`.
pub(super) fn is_wait_over(policy: &Policy, effective: &Policy) -> bool {
    let rank = |unknown| match unknown {
        Unknown::Ignore => 0,
        Unknown::Lookup => 1,
        Unknown::Default | Unknown::LookupDefault => 2,
    };
    rank(effective.unknown) < rank(policy.unknown)
}
