//! `proxydhcp node set` of nodes that nobody knows is no mistake, but may come from one.

use std::process::Command;

use anyhow::Result;
use proxydhcp_lab::resolver::{DeadNameServer, NameServer, Resolver};
use proxydhcp_lab::site::Files;
use proxydhcp_lab::{Ended, Lab, binary};

use crate::node::command;

fn set(lab: &Lab, resolver: &Resolver, files: &Files, range: &str) -> Result<Ended> {
    set_with(lab, resolver, files, range, &[])
}

fn set_with(
    lab: &Lab,
    resolver: &Resolver,
    files: &Files,
    range: &str,
    more: &[&str],
) -> Result<Ended> {
    let usual = ["set", range, "winpepath=winboot/x", "--suffix=-ib0"];
    let mut command = command(files, &[&usual, more].concat())?;
    resolver.give_to(&mut command)?;
    Ok(Ended::from(lab.server.output(command)?))
}

#[test]
fn names_that_neither_the_files_nor_the_dns_know_are_told() -> Result<()> {
    let lab = Lab::new()?;
    let server = NameServer::start(&lab.server, &[("10.77.4.1".parse()?, "indns")])?;
    let resolver = Resolver::new("timeout:1 attempts:1")?;
    let files = Files::usual()?;
    std::fs::write(
        files.path("hosts"),
        "10.77.1.1 inhosts.cluster\n10.77.1.2 other-ib0\n",
    )?;
    let no_daemon = format!(
        "no daemon listens on {}; the file is read at its next start\n",
        files.path("control.sock").display()
    );
    let hosts = files.path("hosts").display().to_string();
    for (range, unknown) in [
        ("a,inhosts,other,indns", ""),
        // Groups that are none.
        (
            "a,rack1,rack2",
            "2 new nodes that neither HOSTS nor the resolver knows: rack1, rack2",
        ),
        (
            "rack1,n01-10",
            "1 new node that neither HOSTS nor the resolver knows: n01-10",
        ),
        (
            "x[01-30],indns",
            "30 new nodes that neither HOSTS nor the resolver knows: x01, x02, x03, x04, x05, x06, x07, \
             x08, x09, x10, x11, x12, x13, x14, x15, x16, x17, x18, x19, x20 and 10 more",
        ),
    ] {
        let set = set(&lab, &resolver, &files, range)?;
        assert_eq!(set.code, Some(0), "{set:?}");
        let mut told = unknown.replace("HOSTS", &hosts);
        if !told.is_empty() {
            told = format!("proxydhcp: {told}; is there a mistake in the range?\n");
        }
        assert_eq!(set.stderr, format!("{told}{no_daemon}"));
    }
    // One that is known by its hardware needs no name that others know.
    let known = set_with(&lab, &resolver, &files, "z1", &["mac=52:54:00:00:00:01"])?;
    assert_eq!(known.stderr, no_daemon);
    let unknown = set_with(&lab, &resolver, &files, "z2", &["mac="])?;
    assert!(
        unknown.stderr.contains("1 new node that neither"),
        "{unknown:?}"
    );
    // A name server that is down knows nothing about them.
    drop(server);
    let _dead = DeadNameServer::start(&lab.server)?;
    assert_eq!(set(&lab, &resolver, &files, "whoever")?.stderr, no_daemon);
    Ok(())
}

#[test]
fn on_a_host_without_xcat_the_folder_of_the_default_file_is_made() -> Result<()> {
    const SCRIPT: &str = r#"
        set -e
        mount -t tmpfs none /var/lib
        : > /var/lib/settings
        "$1" node set n1 winpepath=winboot/a --control /var/lib/none.sock --settings /var/lib/settings
        stat -c %s /var/lib/xcat/proxydhcp.cfg
        ! "$1" node set n1 winpepath=winboot/a --config /var/lib/xact/proxydhcp.cfg --settings /var/lib/settings
    "#;
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", SCRIPT, "sh"]);
    let ended = Ended::from(command.arg(binary()?).output()?);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.ends_with("200\n"), "{ended:?}");
    assert!(ended.stderr.contains("make its folder first"), "{ended:?}");
    Ok(())
}
