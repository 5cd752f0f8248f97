//! What was pushed in pages, and what is changed of it by keys.

use std::fs;

use anyhow::{Result, ensure};
use proxydhcp_lab::config::cfg_bytes;
use proxydhcp_lab::etcd::Clients;
use proxydhcp_lab::site::{NODE_A, NODE_B};

use crate::fleet::{Fleet, PREFIX, content_id};

/// More nodes than fit one transaction, or one page.
const MANY: usize = 20_000;

/// The records of a and b, and many others, which boot `others`.
fn records(others: &str) -> Result<Vec<u8>> {
    let others = (0..MANY).map(|number| (format!("n{number}"), others.to_owned()));
    let own = [("a", "winboot/a"), ("b", "winboot/b")];
    let own = own.map(|(name, winpe)| (name.to_owned(), winpe.to_owned()));
    cfg_bytes(own.into_iter().chain(others))
}

impl Fleet {
    /// Pushes such records. Returns the revision.
    fn push(&self, others: &str) -> Result<i64> {
        let config = self.site.files.path("pushed.cfg");
        fs::write(&config, records(others)?)?;
        self.change(&["fleet", "push", &config.display().to_string()])
    }

    /// What `fleet pull` writes into a file: the names and paths of those records that are of no `n...`, and
    /// the number of all.
    fn pulled(&self, options: &[&str]) -> Result<(Vec<(String, String)>, usize)> {
        let config = self.site.files.path("pulled.cfg");
        let shown = config.display().to_string();
        self.run(&[&["fleet", "pull", &shown], options].concat())?;
        let records = fs::read(config)?;
        let text = |field: &[u8]| {
            let end = field.iter().position(|&byte| byte == 0);
            let text = field.get(..end.unwrap_or(field.len())).unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        };
        let records = records.chunks_exact(200).map(|record| {
            let (name, path) = record.split_at(50);
            // `node set` ends a path with a slash.
            let path = text(path).trim_end_matches('/').to_owned();
            (text(name), path)
        });
        let all: Vec<_> = records.collect();
        let count = all.len();
        let own = all.into_iter().filter(|(name, _)| !name.starts_with('n'));
        Ok((own.collect(), count))
    }

    /// The keys below this, behind the prefix and the version.
    fn keys(&self, below: &str) -> Result<Vec<String>> {
        let prefix = format!("{PREFIX}/v1/{below}");
        let keys = self
            .etcd
            .ctl(&["get", "--prefix", "--keys-only", &prefix])?;
        let keys = keys.lines().filter(|line| !line.is_empty());
        Ok(keys.map(str::to_owned).collect())
    }
}

fn own(records: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = records.iter();
    own.map(|&(name, winpe)| (name.to_owned(), winpe.to_owned()))
        .collect()
}

#[test]
fn nodes_that_were_pushed_in_pages_change_go_and_come_again() -> Result<()> {
    let mut fleet = Fleet::start(1, Clients::All)?;
    fleet.push("winboot/one")?;
    let id = content_id(&fleet.etcd)?;
    let (pages, keys) = (fleet.keys("pages/")?, fleet.keys("content/")?);
    ensure!(pages.len() > 2 && keys.is_empty(), "{pages:?} {keys:?}");
    let first = fleet.etcd.ctl(&["get", "--print-value-only", &pages[0]])?;
    let line = "nodes/a\t{\"winpe\":\"winboot/a\"}\nnodes/b\t";
    ensure!(first.starts_with(line), "{first}");
    fleet.site.ask_uefi(NODE_A, "winboot/a/")?;

    let b = ("b", "winboot/b");
    let set = |winpe: &str| format!("winpepath={winpe}");
    for round in 0..2 {
        let winpe = format!("winboot/new{round}");
        fleet.change(&["node", "set", "a", &set(&winpe)])?;
        fleet.site.ask_uefi(NODE_A, &format!("{winpe}/"))?;
        let (pulled, all) = fleet.pulled(&[])?;
        assert_eq!((pulled, all), (own(&[("a", &winpe), b]), MANY + 2));
        fleet.change(&["node", "rm", "a"])?;
        fleet.site.stays_silent_to(NODE_A)?;
        assert_eq!(fleet.pulled(&[])?, (own(&[b]), MANY + 1));
    }
    // A start, and a command, see the same as who has followed.
    fleet.site.daemon.crash()?;
    fs::remove_dir_all(fleet.site.files.path("state"))?;
    fleet.serve_again()?;
    fleet.wait_until(|source| source["nodes"] == MANY + 1)?;
    fleet.site.stays_silent_to(NODE_A)?;
    fleet.site.ask_uefi(NODE_B, "winboot/b/")?;
    assert_eq!(
        fleet.keys("content/")?,
        [format!("{PREFIX}/v1/content/{id}/nodes/a")]
    );
    let back = fleet.change(&["node", "set", "a", &set("winboot/back")])?;
    fleet.site.ask_uefi(NODE_A, "winboot/back/")?;

    // The next push has all of it in pages again, and what was before can be had back.
    fleet.push("winboot/two")?;
    fleet.site.ask_uefi(NODE_A, "winboot/a/")?;
    assert_ne!(content_id(&fleet.etcd)?, id);
    assert_eq!(
        (fleet.keys("content/")?.len(), fleet.keys("pages/")?.len()),
        (0, pages.len())
    );
    let at = back.to_string();
    let before = own(&[("a", "winboot/back"), b]);
    assert_eq!(
        fleet.pulled(&["--revision", &at])?,
        (before.clone(), MANY + 2)
    );
    fleet.change(&["fleet", "rollback", &at])?;
    fleet.site.ask_uefi(NODE_A, "winboot/back/")?;
    assert_eq!(fleet.pulled(&[])?.0, before);
    let diff = crate::fleet::ended(
        &fleet.site.lab,
        &fleet.etcd,
        &[
            "fleet",
            "diff",
            &fleet.site.files.path("pulled.cfg").display().to_string(),
        ],
    )?;
    assert_eq!((diff.code, diff.stdout.as_str()), (Some(0), ""), "{diff:?}");
    Ok(())
}

#[test]
fn what_other_programs_write_counts_before_the_pages() -> Result<()> {
    let mut fleet = Fleet::start(1, Clients::All)?;
    fleet.push("winboot/one")?;
    let id = content_id(&fleet.etcd)?;
    let key = format!("{PREFIX}/v1/content/{id}/nodes/a");
    let has = |fleet: &Fleet, nodes: usize| fleet.wait_until(|source| source["nodes"] == nodes);
    fleet
        .etcd
        .ctl(&["put", &key, r#"{"winpe":"winboot/by-hand"}"#])?;
    fleet.site.daemon.wait_for(
        "the nodes are not those of the manifest",
        crate::fleet::PATIENCE,
    )?;
    fleet.site.ask_uefi(NODE_A, "winboot/by-hand/")?;
    // An empty value says that there is none, and without a key, the page's counts.
    fleet.etcd.ctl(&["put", &key, ""])?;
    has(&fleet, MANY + 1)?;
    fleet.site.stays_silent_to(NODE_A)?;
    fleet.etcd.ctl(&["del", &key])?;
    has(&fleet, MANY + 2)?;
    fleet.site.ask_uefi(NODE_A, "winboot/a/")?;

    // A line that is none costs itself alone, and what is served is not what the manifest says.
    let page = format!("{PREFIX}/v1/pages/{id}/999999");
    let lines = "nodes/c {}\nnodes/d\t{\"winpe\":\"winboot/d\"}\n";
    fleet.etcd.ctl(&["put", &page, lines])?;
    fleet.site.daemon.crash()?;
    fs::remove_dir_all(fleet.site.files.path("state"))?;
    fleet.serve_again()?;
    has(&fleet, MANY + 3)?;
    fleet
        .site
        .daemon
        .wait_for("is not what its manifest says", crate::fleet::PATIENCE)?;
    fleet.site.ask_uefi(NODE_A, "winboot/a/")?;
    fleet.push("winboot/one")?;
    has(&fleet, MANY + 2)?;
    Ok(())
}

#[test]
fn a_content_without_pages_is_one_too() -> Result<()> {
    let mut fleet = Fleet::start(1, Clients::All)?;
    let put = |key: &str, value: &str| -> Result<()> {
        fleet
            .etcd
            .ctl(&["put", &format!("{PREFIX}/v1/{key}"), value])?;
        Ok(())
    };
    put("content/old/nodes/a", r#"{"winpe":"winboot/old"}"#)?;
    put("content/old/nodes/b", r#"{"winpe":"winboot/b"}"#)?;
    put("manifest", r#"{"content":"old","nodes":2,"hash":""}"#)?;
    fleet.wait_until(|source| source["nodes"] == 2)?;
    fleet.site.ask_uefi(NODE_A, "winboot/old/")?;
    fleet.set("a", "winboot/new")?;
    fleet.site.ask_uefi(NODE_A, "winboot/new/")?;
    fleet.change(&["node", "rm", "b"])?;
    fleet.site.stays_silent_to(NODE_B)?;
    assert_eq!(fleet.pulled(&[])?, (own(&[("a", "winboot/new")]), 1));
    Ok(())
}
