//! Writers at the same time, and writers that are killed.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::config::cfg_bytes;
use proxydhcp_lab::etcd::{Clients, Etcd};
use proxydhcp_lab::{Ended, Lab};
use serde_json::Value;
use tempfile::TempDir;

use crate::fleet::{command, ended};

fn nodes(lab: &Lab, etcd: &Etcd) -> Result<Vec<(String, String)>> {
    let listed = ended(lab, etcd, &["node", "list", "--json"])?;
    let listed: Vec<Value> =
        serde_json::from_str(&listed.stdout).with_context(|| format!("{listed:?}"))?;
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    Ok(listed
        .iter()
        .map(|row| (text(row, "node"), text(row, "winpepath")))
        .collect())
}

#[test]
fn twenty_writers_through_three_commands_lose_no_update() -> Result<()> {
    const WRITERS: usize = 20;
    let (lab, folder) = (Lab::new()?, TempDir::new()?);
    let etcd = Etcd::start(&lab.server, 1, Clients::All)?;
    let config = folder.path().join("proxydhcp.cfg");
    let old = (0..WRITERS).map(|number| (format!("old{number}"), "winboot/old"));
    let new = (0..WRITERS).map(|number| (format!("pushed{number}"), "winboot/pushed"));
    fs::write(&config, cfg_bytes(old.clone())?)?;
    let config_text = config.display().to_string();
    let first = ended(&lab, &etcd, &["fleet", "push", &config_text])?;
    ensure!(first.code == Some(0), "{first:?}");
    fs::write(&config, cfg_bytes(new)?)?;

    thread::scope(|scope| -> Result<()> {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (lab, etcd, config) = (&lab, &etcd, &config_text);
                scope.spawn(move || -> Result<()> {
                    let name = match writer % 3 {
                        0 => format!("set{writer}"),
                        1 => format!("old{writer}"),
                        _ => format!("pushed{writer}"),
                    };
                    let args = match writer % 3 {
                        0 => vec!["node", "set", &name, "winpepath=winboot/set"],
                        1 => vec!["node", "rm", &name],
                        _ => vec!["fleet", "push", config, "--range", &name],
                    };
                    let ended = ended(lab, etcd, &args)?;
                    ensure!(ended.code == Some(0), "{ended:?}");
                    Ok(())
                })
            })
            .collect();
        for writer in writers {
            writer
                .join()
                .map_err(|_| anyhow::anyhow!("a writer has panicked"))??;
        }
        Ok(())
    })?;

    let mut wanted: BTreeSet<_> = old.map(|(name, path)| (name, path.to_owned())).collect();
    for writer in 0..WRITERS {
        match writer % 3 {
            0 => wanted.insert((format!("set{writer}"), "winboot/set".to_owned())),
            1 => wanted.remove(&(format!("old{writer}"), "winboot/old".to_owned())),
            _ => wanted.insert((format!("pushed{writer}"), "winboot/pushed".to_owned())),
        };
    }
    let found: BTreeSet<_> = nodes(&lab, &etcd)?
        .into_iter()
        .map(|(name, path)| (name, path.trim_end_matches('/').to_owned()))
        .collect();
    assert_eq!(found, wanted);
    let history = ended(
        &lab,
        &etcd,
        &["fleet", "history", "--json", "--limit", "100"],
    )?;
    let history: Vec<Value> = serde_json::from_str(&history.stdout)?;
    assert_eq!(history.len(), 1 + WRITERS);
    Ok(())
}

#[test]
fn a_push_that_is_killed_is_whole_or_not_there() -> Result<()> {
    const NODES: usize = 50_000;
    let (lab, folder) = (Lab::new()?, TempDir::new()?);
    let etcd = Etcd::start(&lab.server, 1, Clients::All)?;
    let config = folder.path().join("proxydhcp.cfg");
    let config_text = config.display().to_string();
    let write = |winpe: &str| -> Result<()> {
        let nodes = (0..NODES).map(|number| (format!("n{number}"), winpe.to_owned()));
        Ok(fs::write(&config, cfg_bytes(nodes)?)?)
    };
    write("winboot/one")?;
    let push = ["fleet", "push", config_text.as_str()];
    let first = ended(&lab, &etcd, &push)?;
    ensure!(first.code == Some(0), "{first:?}");

    write("winboot/two")?;
    let (mut before, mut after) = (0, 0);
    for step in 1..=10 {
        let mut child = lab.server.spawn(command(&etcd, &push)?)?;
        thread::sleep(Duration::from_millis(step * 40));
        child.kill()?;
        child.wait()?;
        let winpes: BTreeSet<_> = nodes(&lab, &etcd)?
            .into_iter()
            .map(|(_, winpe)| winpe)
            .collect();
        let winpes: Vec<_> = winpes
            .iter()
            .map(|winpe| winpe.trim_end_matches('/'))
            .collect();
        match winpes[..] {
            ["winboot/one"] => before += 1,
            ["winboot/two"] => after += 1,
            _ => anyhow::bail!("after {step}: {winpes:?}"),
        }
    }
    println!("killed {before} times before it was in force, {after} times after");
    let last: Ended = ended(&lab, &etcd, &push)?;
    ensure!(last.code == Some(0), "{last:?}");
    assert!(
        nodes(&lab, &etcd)?
            .iter()
            .all(|(_, winpe)| winpe.contains("two"))
    );
    assert_eq!(nodes(&lab, &etcd)?.len(), NODES);
    // Nothing of the other pushes is left.
    let keys = etcd.ctl(&["get", "--prefix", "--keys-only", "site/a/v1/"])?;
    let keys: Vec<_> = keys.lines().filter(|line| !line.is_empty()).collect();
    let of = |key: &str| key.rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let folders: BTreeSet<_> = keys.iter().filter_map(|key| of(key)).collect();
    // The manifest's, and that of one content's pages.
    assert!(keys.len() > 4 && folders.len() == 2, "{keys:?}");
    Ok(())
}
