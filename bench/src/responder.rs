//! A bare XDP responder that is written in C by hand (`responder/responder.c`), to compare with.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use aya::Ebpf;
use aya::maps::{Array, HashMap, Map};
use aya::programs::{ProgramFd, Xdp};
use proxydhcp_common::template::Template;
use proxydhcp_lab::SERVER_ADDRESS;
use proxydhcp_lab::debian::ensure_installed;
use zerocopy::IntoBytes;

use crate::cluster::Node;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/responder/responder.c");

/// The number of a WinPE's templates: two loaders, with and without UUID.
const FOR_A_WINPE: usize = 4;

/// The responder, which serves the first nodes of the cluster.
pub(crate) struct Responder {
    ebpf: Ebpf,
}

impl Responder {
    /// Compiles it to `folder`, loads it, and fills its maps.
    pub(crate) fn load(folder: &Path, templates: &[Template], nodes: u32) -> Result<Self> {
        ensure_installed("clang", "clang")?;
        let object = folder.join("responder.o");
        let mut clang = Command::new("clang");
        clang.args([
            "-O2", "-target", "bpf", "-Wall", "-Werror", "-c", SOURCE, "-o",
        ]);
        let output = clang.arg(&object).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{SOURCE} does not compile: {said}");
        let mut ebpf = Ebpf::load(&fs::read(object)?)?;
        let program: &mut Xdp = ebpf
            .program_mut("respond")
            .context("no program")?
            .try_into()?;
        program.load()?;
        let mut responder = Self { ebpf };
        responder.fill(templates, nodes)?;
        Ok(responder)
    }

    fn fill(&mut self, templates: &[Template], nodes: u32) -> Result<()> {
        let mut server: Array<_, [u8; 4]> = Array::try_from(self.map("SERVER")?)?;
        server.set(0, SERVER_ADDRESS.octets(), 0)?;
        let mut map: Array<_, [u8; Template::SIZE]> = Array::try_from(self.map("TEMPLATES")?)?;
        for (number, template) in (0..).zip(templates) {
            let bytes: [u8; Template::SIZE] = template.as_bytes().try_into()?;
            map.set(number, bytes, 0)?;
        }
        let mut map: HashMap<_, [u8; 4], u32> = HashMap::try_from(self.map("NODES")?)?;
        for node in Node::all(nodes) {
            let number = winpe(templates, &node.winpe()).context("a WinPE has no template")?;
            map.insert(node.address().octets(), number, 0)?;
        }
        Ok(())
    }

    fn map(&mut self, name: &str) -> Result<&mut Map> {
        self.ebpf
            .map_mut(name)
            .with_context(|| format!("no map {name}"))
    }

    pub(crate) fn fd(&self) -> Result<&ProgramFd> {
        let program: &Xdp = self
            .ebpf
            .program("respond")
            .context("no program")?
            .try_into()?;
        Ok(program.fd()?)
    }
}

/// The number of a WinPE in the order of the templates, each of which contains its path.
fn winpe(templates: &[Template], path: &str) -> Option<u32> {
    let is_its = |template: &Template| {
        let mut windows = template.body.windows(path.len());
        windows.any(|window| window == path.as_bytes())
    };
    let at = templates.iter().position(is_its)?;
    u32::try_from(at / FOR_A_WINPE).ok()
}
