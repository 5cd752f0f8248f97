//! The daemon's memory, as the kernel reports it.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

use crate::machine::field;
use crate::results::Memory;

/// The memory of a process and of its BPF maps.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let kibibytes: u64 = field(&status, "VmRSS:").context("a process without a resident set")?;
    Ok(Memory {
        resident: kibibytes * 1024,
        maps: map_memory(pid)?,
    })
}

fn map_memory(pid: u32) -> Result<u64> {
    let folder = format!("/proc/{pid}/fdinfo");
    // Several descriptors may refer to the same map.
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        // The descriptor may have been closed meanwhile.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        maps.extend(map_of(&text));
    }
    Ok(maps.values().sum())
}

/// The number and the memory of the map that a descriptor refers to, if it refers to one.
fn map_of(text: &str) -> Option<(u32, u64)> {
    Some((field(text, "map_id:")?, field(text, "memlock:")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::small_xdp::Counter;

    #[test]
    fn a_map_is_known_by_its_descriptor() {
        let text = "pos:\t0\nmap_type:\t2\nmemlock:\t4368\nmap_id:\t31\nfrozen:\t0\n";
        assert_eq!(map_of(text), Some((31, 4368)));
        assert_eq!(map_of("pos:\t0\nprog_id:\t3\nmemlock:\t4096\n"), None);
    }

    #[test]
    fn this_process_has_memory_and_maps() {
        let _map = Counter::new().unwrap();
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.resident > 1 << 20 && memory.maps > 0, "{memory:?}");
    }
}
