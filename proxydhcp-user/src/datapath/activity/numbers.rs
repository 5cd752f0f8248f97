//! Gives numbers to nodes. A node is known by its name: it keeps its number, and so its record, across
//! reloads and restarts, whatever addresses it has.

use std::collections::{HashMap, HashSet};

use proxydhcp_common::nodes::Target;

use super::Memory;
use crate::tables::followed::Followed;
use crate::tables::table::Table;

/// The numbers of a table's nodes. New nodes get those that were nobody's, or else those of nodes that
/// have gone. If there are more nodes than that, the rest is not followed.
pub(super) fn give(memory: &Memory, table: &Table) -> Followed {
    let capacity = memory.capacity();
    let numbers = Followed::FIRST..capacity;
    let mut known: HashMap<u64, u32> = HashMap::new();
    let mut free = Vec::new();
    for number in numbers {
        match memory.key(number) {
            0 => free.push(number),
            key => {
                known.insert(key, number);
            }
        }
    }
    let keys: Vec<u64> = table.names().map(key).collect();
    let is_short = keys.iter().filter(|key| !known.contains_key(key)).count() > free.len();
    if is_short {
        let wanted: HashSet<u64> = keys.iter().copied().collect();
        let gone = known.extract_if(|key, _| !wanted.contains(key));
        free.extend(gone.map(|(_, number)| number));
    }
    // The lowest come first.
    free.sort_unstable_by(|a, b| b.cmp(a));
    let given = keys.into_iter().map(|key| {
        if let Some(number) = known.get(&key) {
            return *number;
        }
        let Some(number) = free.pop() else {
            return Target::ANONYMOUS;
        };
        if let Some(record) = memory.node(number) {
            record.clear();
        }
        memory.set_key(number, key);
        known.insert(key, number);
        number
    });
    let end = if capacity == 0 {
        0
    } else {
        super::memory::records(capacity)
    };
    Followed::new(given.collect(), end)
}

/// What stands for a name, in whatever case it is written; never 0 (FNV-1a). Two of a million names share
/// it once in 40,000,000 clusters.
fn key(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    });
    hash.max(1)
}

#[cfg(test)]
mod tests {
    use proxydhcp_common::activity::Outcome;

    use super::*;
    use crate::tables::table::tests::table;

    fn given(memory: &Memory, names: &[&str]) -> Vec<Option<u32>> {
        let records: Vec<_> = names.iter().map(|name| (*name, "")).collect();
        let followed = give(memory, &table(&records, ""));
        (0..)
            .take(names.len())
            .map(|it| followed.number(it))
            .collect()
    }

    #[test]
    fn a_node_keeps_its_number_wherever_its_record_is() {
        let memory = Memory::anonymous(1 << 17);
        assert_eq!(given(&memory, &["a", "b", "c"]), [2, 3, 4].map(Some));
        memory.node(3).unwrap().note(9, Outcome::Answered, None);
        assert_eq!(given(&memory, &["d", "B", "a"]), [5, 3, 2].map(Some));
        assert_eq!(memory.node(3).unwrap().read().unwrap().requests, 1);
        // c was away.
        assert_eq!(given(&memory, &["c"]), [Some(4)]);
    }

    #[test]
    fn the_numbers_of_those_who_have_gone_are_given_to_others_if_there_are_no_more() {
        let memory = Memory::anonymous(1 << 17);
        let all = usize::try_from(memory.capacity() - Followed::FIRST).unwrap();
        let names: Vec<String> = (0..=all).map(|it| format!("n{it}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let numbers = given(&memory, &names);
        assert_eq!(numbers.iter().filter(|it| it.is_none()).count(), 1);
        let last = memory.node(memory.capacity() - 1).unwrap();
        last.note(1, Outcome::Answered, None);
        // The last one and a new one take the places of two that have gone.
        let (_, without) = names.split_at(2);
        let with: Vec<&str> = without.iter().chain(&["new"]).copied().collect();
        let numbers = given(&memory, &with);
        assert!(numbers.iter().all(Option::is_some));
        let new = memory.node(numbers[all - 1].unwrap()).unwrap();
        assert_eq!(new.read(), None);
        assert_eq!(last.read().unwrap().requests, 1);
    }
}
