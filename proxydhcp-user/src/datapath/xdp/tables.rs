//! A generation's tables as maps in the kernel.

use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use aya::maps::{Array, ArrayOfMaps, IterableMap, Map, MapData};
use memmap2::MmapOptions;
use proxydhcp_common::nodes::Line;
use proxydhcp_common::template::Template;
use zerocopy::IntoBytes;

use super::refusal;
use crate::tables::generation::Generation;

type Nodes = Array<MapData, [u8; Line::SIZE]>;
type Templates = Array<MapData, [u8; Template::SIZE]>;

/// The flags of the program's own definition of both: `BPF_F_MMAPABLE` and `BPF_F_INNER_MAP`.
const TABLE: u32 = 0x400 | 0x1000;

/// A generation's tables for the kernel, ready to be installed.
pub struct KernelTables {
    nodes: Nodes,
    templates: Vec<Template>,
    bank: u32,
    has_nodes: bool,
}

impl KernelTables {
    /// Copies a generation's tables, that of nodes into a new map.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the map for lack of memory or capabilities.
    pub fn new(generation: &Generation) -> Result<Self> {
        let nodes = Nodes::create(u32::try_from(generation.lines().len())?, TABLE)
            .map_err(|error| refusal::of_map("the map of nodes", error))?;
        write(nodes.map(), generation.lines().as_bytes())?;
        Ok(Self {
            nodes,
            templates: generation.templates().to_vec(),
            bank: generation.bank(),
            has_nodes: generation.has_nodes(),
        })
    }

    /// Whether there is any node.
    pub(crate) fn has_nodes(&self) -> bool {
        self.has_nodes
    }
}

/// The maps of templates that the program has been given, of each bank the last.
#[derive(Default)]
pub(super) struct Banks {
    maps: [Option<Templates>; 2],
    /// The bank of the nodes in service.
    in_service: Option<u32>,
}

impl Banks {
    /// Puts templates into their bank in `all`, the map of banks. No node in service may refer to it, and
    /// no run of the program that began when some did may still go on.
    ///
    /// # Errors
    ///
    /// If the kernel refuses a map.
    pub(super) fn fill(&mut self, all: &mut Map, tables: &KernelTables) -> Result<()> {
        let KernelTables {
            templates, bank, ..
        } = tables;
        let place = usize::try_from(*bank)?;
        let map = self.maps.get_mut(place).context("no such bank")?;
        // Whenever a map is replaced, the kernel waits for all runs of programs. Nobody reads this one.
        let has_room = |map: &&Templates| map.len() as usize >= templates.len();
        if let Some(map) = map.as_ref().filter(has_room)
            && self.in_service != Some(*bank)
        {
            return write(map.map(), templates.as_bytes());
        }
        // With room for some more.
        let size = templates.len().next_power_of_two();
        let new = Templates::create(u32::try_from(size)?, TABLE)
            .map_err(|error| refusal::of_map("the map of templates", error))?;
        write(new.map(), templates.as_bytes())?;
        let mut all: ArrayOfMaps<_, Templates> = ArrayOfMaps::try_from(all)?;
        all.set(*bank, &new, 0)
            .context("cannot install the templates")?;
        *map = Some(new);
        Ok(())
    }

    /// Puts nodes into service by their entry in `all`. When the kernel returns from replacing it, no run of
    /// the program reads the old one any longer, so the next templates may go into the other bank.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to replace it. What was in service stays.
    pub(super) fn serve(&mut self, all: &mut Map, tables: &KernelTables) -> Result<()> {
        let mut all: ArrayOfMaps<_, Nodes> = ArrayOfMaps::try_from(all)?;
        all.set(0, &tables.nodes, 0)
            .context("cannot install the nodes")?;
        self.in_service = Some(tables.bank);
        Ok(())
    }
}

/// Writes to a map from its beginning through its memory, which saves a million system calls for as many
/// nodes.
fn write(map: &MapData, elements: &[u8]) -> Result<()> {
    // SAFETY: the map is new, or of a bank that no node in service refers to, and no other code knows it: only
    // this function changes its memory, and nobody reads it meanwhile.
    let mut memory = unsafe {
        MmapOptions::new()
            .len(elements.len())
            .map_mut(map.fd().as_fd().as_raw_fd())
    }
    .context("cannot reach a map's memory")?;
    memory.copy_from_slice(elements);
    Ok(())
}
