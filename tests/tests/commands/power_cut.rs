//! A writer that is killed at any step leaves the old file or the new one, whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use proxydhcp::nodes::cfg;
use proxydhcp_lab::{binary, config};
use tempfile::TempDir;

use crate::traced;

const WRITES: usize = 1000;
const RECORDS: usize = 500;

/// The bytes of two files, and the lists of nodes that they are imported from.
struct Files {
    folder: TempDir,
    contents: [Vec<u8>; 2],
}

impl Files {
    fn new() -> Result<Self> {
        let folder = TempDir::new()?;
        let content = |number: usize, winpe: &str| -> Result<Vec<u8>> {
            let names: Vec<String> = (0..RECORDS).map(|n| format!("cn{n:04}")).collect();
            let lines: Vec<String> = names.iter().map(|name| format!("{name},{winpe}")).collect();
            fs::write(
                folder.path().join(format!("{number}.csv")),
                lines.join("\n"),
            )?;
            config::cfg_bytes(names.iter().map(|name| (name, winpe)))
        };
        let contents = [content(0, "winboot/old")?, content(1, "winboot/new/")?];
        let files = Self { folder, contents };
        fs::create_dir(files.folder.path().join("xcat"))?;
        let [old, _] = &files.contents;
        fs::write(files.config(), old)?;
        Ok(files)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("xcat/proxydhcp.cfg")
    }

    /// Which of the two contents the file has.
    fn which(&self) -> Result<usize> {
        let bytes = cfg::read(&self.config())?;
        let which = self.contents.iter().position(|content| *content == bytes);
        which.with_context(|| format!("{} bytes that nobody wrote", bytes.len()))
    }

    /// The command that makes the file have the other.
    fn import(&self, number: usize) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command
            .args(["cfg", "import"])
            .arg(self.folder.path().join(format!("{number}.csv")))
            .arg("--config")
            .arg(self.config())
            .arg("--control")
            .arg(self.folder.path().join("none"));
        Ok(command)
    }

    fn names(&self) -> Result<BTreeSet<String>> {
        fs::read_dir(self.folder.path().join("xcat"))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }
}

#[test]
fn a_writer_killed_at_any_system_call_leaves_the_old_file_or_the_new() -> Result<()> {
    let files = Files::new()?;
    let mut steps = 0;
    let code = traced::run(files.import(1)?, |call| {
        steps = call.place + 1;
        Ok(true)
    })?;
    ensure!(code == Some(0) && files.which()? == 1, "{code:?}");

    let done = AtomicBool::new(false);
    let (mut old, mut new, mut ended, mut left) = (0, 0, 0, 0);
    thread::scope(|scope| -> Result<()> {
        // All the time, the daemon's own reader sees one or the other.
        let reader = scope.spawn(|| -> Result<usize> {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                files.which()?;
                reads += 1;
            }
            Ok(reads)
        });
        let mut write = |number: usize| -> Result<()> {
            let before = files.which()?;
            let step = number % (steps + 1);
            let code = traced::run(files.import(1 - before)?, |call| Ok(call.place < step))?;
            let after = files
                .which()
                .with_context(|| format!("killed at call {step}"))?;
            match code {
                Some(code) => {
                    ensure!(code == 0 && after != before, "exit code {code} at {step}");
                    ended += 1;
                }
                None if after == before => old += 1,
                None => new += 1,
            }
            left += usize::from(files.names()?.contains(".proxydhcp.cfg.new"));
            Ok(())
        };
        let written = (0..WRITES).try_for_each(&mut write);
        done.store(true, Ordering::Relaxed);
        let reads = reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        println!("{reads} reads meanwhile");
        written
    })?;
    println!(
        "{WRITES} writes of {steps} system calls each, killed before each in turn: {old} times the \
         old file, {new} the new one, {ended} came to their end; {left} left a temporary file"
    );
    ensure!(
        old > 0 && new > 0 && left > 0,
        "it was not killed where it matters"
    );

    // The next writer has no trouble, and leaves nothing but the file and its lock.
    let before = files.which()?;
    let status = files.import(1 - before)?.status()?;
    ensure!(status.success() && files.which()? != before);
    let expected = [".proxydhcp.cfg.lock", "proxydhcp.cfg"].map(str::to_owned);
    ensure!(
        files.names()? == BTreeSet::from(expected),
        "{:?}",
        files.names()
    );
    Ok(())
}

#[test]
fn the_bytes_are_on_the_disk_before_they_have_the_name_and_the_name_before_the_end() -> Result<()> {
    let files = Files::new()?;
    let mut synced: Vec<(PathBuf, usize)> = Vec::new();
    traced::run(files.import(1)?, |call| {
        if let Some(path) = call.syncs()? {
            synced.push((path, files.which()?));
        }
        Ok(true)
    })?;
    let folder = fs::canonicalize(files.folder.path())?.join("xcat");
    let temporary = folder.join(".proxydhcp.cfg.new");
    assert_eq!(synced, [(temporary, 0), (Path::to_owned(&folder), 1)]);
    Ok(())
}
