//! The BPF objects that a process holds, and whether the kernel still has them.

use std::ffi::{c_int, c_long};
use std::fs;
use std::io;
use std::mem::size_of;
use std::ptr;

use anyhow::{Context, Result};

// Of `linux/bpf.h`.
const PROG_GET_NEXT_ID: c_int = 11;
const MAP_GET_NEXT_ID: c_int = 12;
const LINK_GET_NEXT_ID: c_int = 31;
const ENOENT: i32 = 2;

/// What kinds of objects there are: as `fdinfo` names their ids, and how to list them.
const KINDS: [(&str, c_int); 3] = [
    ("prog_id", PROG_GET_NEXT_ID),
    ("map_id", MAP_GET_NEXT_ID),
    ("link_id", LINK_GET_NEXT_ID),
];

/// Maps, programs and links, by the kernel's numbers for them.
#[derive(Clone, Debug, Default)]
pub struct BpfObjects {
    objects: Vec<(&'static str, c_int, u32)>,
}

impl BpfObjects {
    /// Those that this process has descriptors of.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/fdinfo");
        let mut objects = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            // A descriptor may be closed meanwhile.
            let Ok(text) = fs::read_to_string(entry?.path()) else {
                continue;
            };
            for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
                let kind = KINDS.into_iter().find(|(kind, _)| *kind == key);
                if let (Some((kind, command)), Ok(id)) = (kind, value.trim().parse()) {
                    objects.push((kind, command, id));
                }
            }
        }
        objects.sort_unstable();
        objects.dedup();
        Ok(Self { objects })
    }

    /// The kernel's hash of the first program that this process has a descriptor of.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn program_tag(pid: u32) -> Result<Option<String>> {
        let folder = format!("/proc/{pid}/fdinfo");
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            let text = fs::read_to_string(entry?.path()).unwrap_or_default();
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            // A link has it too, of its program.
            for (key, value) in lines {
                if key == "prog_tag" {
                    return Ok(Some(value.trim().to_owned()));
                }
            }
        }
        Ok(None)
    }

    /// Their kinds and numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.objects.iter().map(|(kind, _, id)| (*kind, *id))
    }

    /// Those that the kernel still has. Numbers are not used again.
    ///
    /// # Errors
    /// When the kernel does not say: this needs `CAP_SYS_ADMIN`.
    pub fn left(&self) -> Result<Self> {
        let mut left = Self::default();
        for &(kind, command, id) in &self.objects {
            if exists(command, id).context("cannot list the kernel's BPF objects")? {
                left.objects.push((kind, command, id));
            }
        }
        Ok(left)
    }
}

/// The part of `union bpf_attr` that lists ids.
#[repr(C)]
#[derive(Default)]
struct Listing {
    start: u32,
    next: u32,
    flags: u32,
}

/// Asks for the next id from the one before: to open the object would keep it alive.
fn exists(command: c_int, id: u32) -> io::Result<bool> {
    let mut listing = Listing {
        start: id.saturating_sub(1),
        ..Listing::default()
    };
    // SAFETY: the kernel reads and writes as many bytes of the listing as it has.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            c_long::from(command),
            ptr::from_mut(&mut listing),
            size_of::<Listing>(),
        )
    };
    if result == 0 {
        return Ok(listing.next == id);
    }
    match io::Error::last_os_error() {
        none if none.raw_os_error() == Some(ENOENT) => Ok(false),
        error => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::process;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{Lab, SERVER_INTERFACE, link};

    #[test]
    fn an_object_is_there_until_its_last_descriptor_closes() {
        let lab = Lab::new().unwrap();
        let held = link::occupy_xdp(&lab.server, SERVER_INTERFACE).unwrap();
        let program = link::xdp_program(&lab.server, SERVER_INTERFACE).unwrap();
        let program = ("prog_id", program.unwrap());
        let objects = BpfObjects::of(process::id()).unwrap();
        let is_left = || {
            objects
                .left()
                .unwrap()
                .iter()
                .any(|object| object == program)
        };
        assert!(is_left());
        drop(held);
        assert_eq!(
            link::xdp_program(&lab.server, SERVER_INTERFACE).unwrap(),
            None
        );
        let dropped = Instant::now();
        while is_left() {
            assert!(dropped.elapsed() < Duration::from_mins(1));
            sleep(Duration::from_millis(1));
        }
    }
}
