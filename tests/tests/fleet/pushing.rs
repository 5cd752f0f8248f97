//! `fleet push --watch`: a file that another program writes, such as xCAT, and service nodes that follow.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::Daemon;
use proxydhcp_lab::config::cfg_bytes;
use proxydhcp_lab::site::{NODE_A, NODE_B, STRANGER};
use tempfile::TempDir;

use crate::fleet::{PATIENCE, command};
use crate::segment::Segment;

/// A management node's file, and the command that carries it into etcd.
struct Carried {
    folder: TempDir,
    push: Daemon,
    /// How many pushes have been seen.
    pushes: usize,
}

impl Carried {
    /// Has the command carry a file with these nodes, and waits for the first push.
    fn start(segment: &Segment, records: &[(&str, &str)]) -> Result<Self> {
        let folder = TempDir::new()?;
        let config = folder.path().join("proxydhcp.cfg");
        fs::write(&config, cfg_bytes(records.iter().copied())?)?;
        let args = ["fleet", "push", &config.display().to_string(), "--watch"];
        let push = Daemon::spawn(&segment.head, command(&segment.etcd, &args)?)?;
        let mut carried = Self {
            folder,
            push,
            pushes: 0,
        };
        carried.next()?;
        Ok(carried)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("proxydhcp.cfg")
    }

    /// Replaces the file by rename.
    fn replace(&self, records: &[(&str, &str)]) -> Result<()> {
        let new = self.folder.path().join("new");
        fs::write(&new, cfg_bytes(records.iter().copied())?)?;
        Ok(fs::rename(new, self.config())?)
    }

    /// Waits for the next push, and returns its revision.
    fn next(&mut self) -> Result<String> {
        self.pushes += 1;
        let number = self.pushes;
        self.wait_until(|log| {
            let said = log
                .lines()
                .filter_map(|line| line.strip_prefix("in force: revision "));
            said.map(str::to_owned).nth(number - 1)
        })
    }

    fn wait_until<T>(&self, is_so: impl Fn(&str) -> Option<T>) -> Result<T> {
        let started = Instant::now();
        loop {
            let log = self.push.log();
            if let Some(found) = is_so(&log) {
                return Ok(found);
            }
            ensure!(started.elapsed() < PATIENCE, "{log}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until this has been said so often.
    fn says(&self, text: &str, times: usize) -> Result<()> {
        self.wait_until(|log| (log.matches(text).count() >= times).then_some(()))
    }
}

#[test]
fn what_xcat_writes_is_served_by_all_service_nodes() -> Result<()> {
    let mut segment = Segment::new(1)?;
    let mut carried = Carried::start(&segment, &[("a", "winboot/a"), ("b", "winboot/b")])?;
    for place in 0..2 {
        segment.serve(&[])?;
        segment.ask(place, NODE_A, "winboot/a/")?;
    }
    let everywhere = |segment: &mut Segment, revision: &str, winpe: &str| -> Result<()> {
        segment.run(&["fleet", "wait", revision])?;
        for place in 0..2 {
            segment.ask(place, NODE_A, winpe)?;
            segment.ask(place, NODE_B, "winboot/b/")?;
        }
        Ok(())
    };
    carried.replace(&[("a", "winboot/renamed"), ("b", "winboot/b")])?;
    let revision = carried.next()?;
    everywhere(&mut segment, &revision, "winboot/renamed/")?;
    // As xCAT's own writer does it.
    let new = cfg_bytes([("a", "winboot/in-place"), ("b", "winboot/b")])?;
    fs::write(carried.config(), new)?;
    let revision = carried.next()?;
    everywhere(&mut segment, &revision, "winboot/in-place/")?;
    // The files beside it.
    fs::write(beside(&carried.config(), ".disabled"), "a\n")?;
    let revision = carried.next()?;
    segment.run(&["fleet", "wait", &revision])?;
    for place in 0..2 {
        segment.stays_silent(place, NODE_A)?;
    }
    fs::write(beside(&carried.config(), ".hosts"), "10.77.9.9 b\n")?;
    let revision = carried.next()?;
    segment.run(&["fleet", "wait", &revision])?;
    for place in 0..2 {
        segment.ask(place, STRANGER, "winboot/b/")?;
    }
    let history = segment.run(&["fleet", "history"])?;
    assert_eq!(history.matches("push ").count(), 5, "{history}");
    Ok(())
}

fn beside(config: &Path, suffix: &str) -> PathBuf {
    let mut path = config.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

#[test]
fn a_change_while_etcd_is_away_is_carried_later_and_a_bad_file_is_not() -> Result<()> {
    let mut segment = Segment::new(1)?;
    let mut carried = Carried::start(&segment, &[("a", "winboot/a"), ("b", "winboot/b")])?;
    let node = segment.serve(&[])?;
    segment.etcd.kill_all()?;
    carried.replace(&[("a", "winboot/away"), ("b", "winboot/b")])?;
    carried.says("not pushed, what is in force stays", 1)?;
    // It is tried again and again, and said once for each reason.
    thread::sleep(Duration::from_secs(4));
    let said = carried.push.log().matches("not pushed").count();
    assert!(said <= 2, "{}", carried.push.log());
    carried.replace(&[("a", "winboot/later"), ("b", "winboot/b")])?;
    segment.etcd.start_again()?;
    let revision = carried.next()?;
    segment.run(&["fleet", "wait", &revision])?;
    segment.ask(node, NODE_A, "winboot/later/")?;

    // A file that is wrong, one without nodes, and none.
    let before = carried.push.log().matches("not pushed").count();
    carried.replace(&[("a", "winboot/../x"), ("b", "winboot/b")])?;
    carried.says("has a '..'", 1)?;
    fs::write(carried.config(), "")?;
    carried.says("it has no nodes, as if its writer had just begun", 1)?;
    fs::remove_file(carried.config())?;
    carried.says("not pushed", before + 3)?;
    segment.ask(node, NODE_A, "winboot/later/")?;
    carried.replace(&[("a", "winboot/sound"), ("b", "winboot/b")])?;
    let revision = carried.next()?;
    segment.run(&["fleet", "wait", &revision])?;
    segment.ask(node, NODE_A, "winboot/sound/")?;

    // It has died and is started again: nothing that the file says is missing.
    carried.push.crash().context("it runs on")?;
    carried.replace(&[("a", "winboot/again"), ("b", "winboot/b")])?;
    let config = carried.config().display().to_string();
    let args = ["fleet", "push", &config, "--watch"];
    carried.push = Daemon::spawn(&segment.head, command(&segment.etcd, &args)?)?;
    carried.pushes = 0;
    let revision = carried.next()?;
    segment.run(&["fleet", "wait", &revision])?;
    segment.ask(node, NODE_A, "winboot/again/")?;
    Ok(())
}
