//! Whether xCAT and the daemon agree: `proxydhcp xcat status`, and the interfaces that xCAT names.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::binary;
use serde_json::Value;

use crate::node::{Node, wait_until};
use crate::tables::install;

/// The tables of a site with the node `a`, which boots `winboot/a`.
const TABLES: [(&str, &str); 8] = [
    ("nodelist", "node,groups\n\"a\",\"all\",\n"),
    ("noderes", "node,servicenode,proxydhcp\n"),
    (
        "nodetype",
        "node,os,provmethod\n\"all\",\"win2k22\",\"win\",\n",
    ),
    (
        "chain",
        "node,currstate\n\"a\",\"install win2k22-x86_64-compute\",\n",
    ),
    ("osimage", "imagename\n\"win\",\n"),
    ("winimage", "imagename,winpepath\n\"win\",\"winboot/a\",\n"),
    ("hosts", "node,ip,otherinterfaces\n"),
    ("mac", "node,mac\n"),
];

impl Node {
    fn write_table(&self, name: &str, text: &str) -> Result<()> {
        let (columns, rows) = text.split_once('\n').context("no columns")?;
        let path = self.path(&format!("opt/xcat/sbin/{name}.csv"));
        Ok(fs::write(path, format!("#{columns},disable\n{rows}"))?)
    }

    fn write_tables(&self) -> Result<()> {
        install(&self.path("opt/xcat/sbin"))?;
        TABLES
            .iter()
            .try_for_each(|(name, text)| self.write_table(name, text))
    }

    /// What is wrong, by what was looked at.
    fn wrong(&self) -> Result<Vec<(String, String)>> {
        let output = self.run(binary()?, &["xcat", "status", "--json"])?;
        let checks: Vec<Value> = serde_json::from_slice(&output.stdout)?;
        let text = |check: &Value, key| check[key].as_str().unwrap_or_default().to_owned();
        let wrong: Vec<_> = checks
            .iter()
            .filter(|check| check["sound"] == false)
            .map(|check| (text(check, "what"), text(check, "found")))
            .collect();
        ensure!(output.status.success() == wrong.is_empty(), "{output:?}");
        Ok(wrong)
    }

    /// What is wrong must be this, and these words must be in what is said about it.
    fn is_wrong(&self, expected: &[(&str, &str)]) -> Result<()> {
        let wrong = self.wrong()?;
        let alike = wrong.len() == expected.len()
            && wrong
                .iter()
                .zip(expected)
                .all(|((what, found), (part, told))| what == part && found.contains(told));
        ensure!(alike, "{wrong:#?}, not {expected:?}");
        Ok(())
    }
}

#[test]
fn what_does_not_agree_is_told() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/")])?;
    node.is_wrong(&[
        (
            "daemon",
            "no daemon runs; systemctl restart xcatd starts it",
        ),
        ("tables", "/opt/xcat/sbin/tabdump nodelist: cannot be run"),
    ])?;
    node.write_tables()?;
    node.start(&["-d"])?;
    node.is_wrong(&[])?;
    let text = node.succeed(binary()?, &["xcat", "status"])?;
    ensure!(text.contains("daemon    ok     process "), "{text}");

    // An update of xCAT restores its own daemon.
    let link = node.path("opt/xcat/sbin/proxydhcp-xcat");
    fs::remove_file(&link)?;
    fs::write(&link, "#!/usr/bin/perl\n")?;
    node.is_wrong(&[("link", "is xCAT's own daemon")])?;
    fs::remove_file(&link)?;
    symlink(binary()?, &link)?;

    // xcatd's start by systemd has emptied the folder.
    let file = fs::read(node.pid_file())?;
    fs::remove_file(node.pid_file())?;
    node.is_wrong(&[("pid file", "nodeset and xcatd do not reach the daemon")])?;
    fs::write(node.pid_file(), "1")?;
    node.is_wrong(&[("pid file", "names process 1")])?;
    fs::write(node.pid_file(), file)?;

    // Another image, which nobody has run nodeset for.
    node.write_table("winimage", "imagename,winpepath\n\"win\",\"winboot/b\",\n")?;
    node.is_wrong(&[("tables", "0 added, 1 changed, 0 removed, 0 unchanged")])?;
    node.succeed(binary()?, &["xcat", "sync", "--settle", "0"])?;
    node.is_wrong(&[])?;

    node.kill(9)?;
    wait_until("the end", || Ok(node.processes()?.is_empty()))?;
    node.is_wrong(&[
        (
            "daemon",
            "the kernel goes on answering for a daemon that was killed",
        ),
        ("pid file", "names process "),
    ])
}

#[test]
fn where_no_interface_is_named_those_of_xcats_dhcp_server_are_served() -> Result<()> {
    let node = Node::with(&[("a", "winboot/a/")])?;
    let _wire = node.lab.one_more_wire(1)?;
    let served = |node: &Node| -> Result<Vec<String>> {
        let status = node.status()?;
        let interfaces = status["interfaces"].as_array().context("none")?;
        let names = interfaces.iter().map(|one| one["name"].as_str());
        Ok(names.flatten().map(str::to_owned).collect())
    };
    let restart = |expected: &[&str]| -> Result<()> {
        node.start(&["-d"])?;
        let names = served(&node)?;
        node.kill(15)?;
        wait_until("the end", || Ok(node.processes()?.is_empty()))?;
        ensure!(names == expected, "{names:?}, not {expected:?}");
        Ok(())
    };
    restart(&["px0", "px1"])?;
    node.write_tables()?;
    for (value, expected) in [
        ("px1:noboot", &["px1"][..]),
        ("nobody|px1", &["px0", "px1"]),
        ("", &["px0", "px1"]),
    ] {
        let row = format!("key,value\n\"dhcpinterfaces\",\"{value}\",\n");
        node.write_table("site", &row)?;
        restart(expected)?;
    }
    // xcatd starts the daemon, and so cannot answer: it is not waited for.
    fs::write(
        node.path("opt/xcat/sbin/tabdump"),
        "#!/bin/sh\nexec sleep 1000\n",
    )?;
    restart(&["px0", "px1"])
}
