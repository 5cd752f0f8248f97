//! A generation's tables as maps in the kernel.

use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use aya::maps::{Array, IterableMap, MapData};
use memmap2::MmapOptions;
use proxydhcp_common::nodes::Line;
use proxydhcp_common::template::Template;
use zerocopy::IntoBytes;

use super::refusal;
use crate::tables::generation::Generation;

pub(super) type Nodes = Array<MapData, [u8; Line::SIZE]>;
pub(super) type Templates = Array<MapData, [u8; Template::SIZE]>;

/// A generation's tables as maps in the kernel, ready to be installed.
pub struct KernelTables {
    pub(super) nodes: Nodes,
    pub(super) templates: Templates,
    pub(super) bank: u32,
    has_nodes: bool,
}

impl KernelTables {
    /// Copies a generation's tables into new maps.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the maps for lack of memory or capabilities.
    pub fn new(generation: &Generation) -> Result<Self> {
        // The flags of the program's own definition: BPF_F_MMAPABLE and BPF_F_INNER_MAP.
        const TABLE: u32 = 0x400 | 0x1000;
        let nodes = Nodes::create(u32::try_from(generation.lines().len())?, TABLE)
            .map_err(|error| refusal::of_map("the map of nodes", error))?;
        write(nodes.map(), generation.lines().as_bytes())?;
        let templates = Templates::create(u32::try_from(generation.templates().len())?, TABLE)
            .map_err(|error| refusal::of_map("the map of templates", error))?;
        write(templates.map(), generation.templates().as_bytes())?;
        Ok(Self {
            nodes,
            templates,
            bank: generation.bank(),
            has_nodes: generation.has_nodes(),
        })
    }

    /// Whether there is any node.
    pub(crate) fn has_nodes(&self) -> bool {
        self.has_nodes
    }
}

/// Writes a whole map through its memory, which saves a million system calls for as many nodes.
fn write(map: &MapData, elements: &[u8]) -> Result<()> {
    // SAFETY: the map is new and no other code knows it, so only this function changes its memory.
    let mut memory = unsafe {
        MmapOptions::new()
            .len(elements.len())
            .map_mut(map.fd().as_fd().as_raw_fd())
    }
    .context("cannot reach a map's memory")?;
    memory.copy_from_slice(elements);
    Ok(())
}
