//! `proxydhcp node prune` removes the nodes that no longer have an address, and no others.

use anyhow::Result;
use proxydhcp_lab::resolver::{DeadNameServer, FORWARDED, FORWARDED_PORT, NameServer, Resolver};
use proxydhcp_lab::site::Files;
use proxydhcp_lab::{Ended, Lab};

use crate::node::command;

fn prune(lab: &Lab, resolver: &Resolver, files: &Files, more: &[&str]) -> Result<Ended> {
    let mut command = command(files, &[&["prune"], more].concat())?;
    command.arg("--hosts").arg(files.path("hosts"));
    resolver.give_to(&mut command)?;
    Ok(Ended::from(lab.server.output(command)?))
}

fn names(files: &Files) -> Result<Vec<String>> {
    let list = command(files, &["list", "--json"])?.output()?;
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&list.stdout)?;
    Ok(rows
        .iter()
        .filter_map(|row| Some(row["node"].as_str()?.to_owned()))
        .collect())
}

#[test]
fn a_name_that_only_cannot_be_asked_for_stays() -> Result<()> {
    let slow = format!("slow.{FORWARDED}");
    let lab = Lab::new()?;
    let server = NameServer::start(&lab.server, &[("10.77.4.1".parse()?, "indns")])?;
    let dead = DeadNameServer::on_port(&lab.server, FORWARDED_PORT)?;
    let resolver = Resolver::new("timeout:1 attempts:1")?;
    let files = Files::new()?;
    files.write_config(&[
        ("inhosts", "winboot/x"),
        ("GONE", "winboot/x"),
        ("other-interface", "winboot/x"),
        ("indns", "winboot/x"),
        (&slow, "winboot/x"),
        ("gone-and-bad", "../x"),
        ("loopback", "winboot/x"),
    ])?;
    std::fs::write(
        files.path("hosts"),
        "10.77.1.1 inhosts.cluster\n10.77.1.2 other-interface-ib0\n::1 loopback\n10.77.1.300 x\n",
    )?;
    std::fs::write(files.path("proxydhcp.cfg.disabled"), "gone-too\ngone\n")?;
    let before = std::fs::read(files.path("proxydhcp.cfg"))?;

    let asked =
        format!("proxydhcp: the resolver could not be asked for these nodes, which stay: {slow}\n");
    let removed = "removed GONE: winboot/x (was disabled)\nremoved gone-and-bad: ../x\n\
        removed gone-too (was disabled)\n0 added, 0 changed, 3 removed, 0 unchanged";
    let dry = prune(&lab, &resolver, &files, &["--suffix=-ib0", "--dry-run"])?;
    assert_eq!(
        dry.stdout,
        format!("{removed}; dry run, nothing is written\n"),
        "{dry:?}"
    );
    assert_eq!((dry.code, dry.stderr.as_str()), (Some(0), asked.as_str()));
    assert_eq!(std::fs::read(files.path("proxydhcp.cfg"))?, before);

    let done = prune(&lab, &resolver, &files, &["--suffix=-ib0"])?;
    assert_eq!(done.stdout, format!("{removed}\n"), "{done:?}");
    assert_eq!(done.code, Some(0));
    let left = ["inhosts", "other-interface", "indns", &slow, "loopback"];
    assert_eq!(names(&files)?, left);
    let again = prune(&lab, &resolver, &files, &["--suffix=-ib0"])?;
    assert_eq!(
        again.stdout, "0 added, 0 changed, 0 removed, 0 unchanged\n",
        "{again:?}"
    );

    // Without the rule for suffixes, that name does not belong to the node.
    let dry = prune(&lab, &resolver, &files, &["--dry-run"])?;
    assert!(
        dry.stdout.starts_with("removed other-interface: "),
        "{dry:?}"
    );

    // A name server that is down denies nothing.
    drop((server, dead));
    let _dead = DeadNameServer::start(&lab.server)?;
    let down = prune(&lab, &resolver, &files, &[])?;
    assert_eq!(
        down.stdout, "0 added, 0 changed, 0 removed, 0 unchanged\n",
        "{down:?}"
    );
    assert!(
        down.stderr
            .contains("which stay: other-interface, indns, slow"),
        "{down:?}"
    );
    assert_eq!(names(&files)?, left);
    Ok(())
}

#[test]
fn no_slip_forgets_all_nodes() -> Result<()> {
    let lab = Lab::new()?;
    let _server = NameServer::start(&lab.server, &[])?;
    let resolver = Resolver::new("timeout:1 attempts:1")?;
    let files = Files::usual()?;
    std::fs::write(files.path("hosts"), "10.77.1.1 elsewhere\n")?;
    let ended = prune(&lab, &resolver, &files, &[])?;
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(1), ""),
        "{ended:?}"
    );
    assert!(
        ended
            .stderr
            .contains("none of the 3 nodes is known any longer; check "),
        "{ended:?}"
    );
    std::fs::remove_file(files.path("hosts"))?;
    let ended = prune(&lab, &resolver, &files, &[])?;
    assert!(
        ended
            .stderr
            .contains("hosts: no such file; name one with --hosts"),
        "{ended:?}"
    );
    assert_eq!(names(&files)?, ["a", "b", "default"]);
    Ok(())
}
