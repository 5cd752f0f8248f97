//! What each node has done is seen, whatever answers it, and is kept.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{
    Datapath, Files, NODE_A, NODE_B, NODE_DEFAULT, STRANGER, Site, serve_args,
};
use proxydhcp_lab::tftp::Fetch;
use proxydhcp_lab::{CLIENT_ADDRESS, Daemon, RequestFrame, SERVER_ADDRESS, binary};
use serde_json::{Value, json};
use tempfile::TempDir;

mod flood;
mod killed;

/// A hang is noticed, and nothing else.
const PATIENCE: Duration = Duration::from_secs(30);

fn json_of(site: &Site, args: &[&str]) -> Result<Value> {
    let ended = site.command(&[args, &["--json"]].concat())?;
    ensure!(ended.code == Some(0), "{ended:?}\n{}", site.daemon.log());
    Ok(serde_json::from_str(&ended.stdout)?)
}

/// What `proxydhcp nodes` says of this node.
fn node(site: &Site, name: &str) -> Result<Value> {
    let nodes = json_of(site, &["nodes"])?;
    let nodes = nodes.as_array().context("no array")?;
    let node = nodes.iter().find(|node| node["node"] == name);
    Ok(node.context("no such node")?.clone())
}

/// Its state, and the numbers of its requests in all and in this boot.
fn state(site: &Site, name: &str) -> Result<Value> {
    let node = node(site, name)?;
    Ok(json!([
        node.get("state"),
        node.get("requests"),
        node.get("tries")
    ]))
}

/// A request that names an architecture without a loader.
fn unusable(site: &mut Site) -> Result<()> {
    let request = RequestFrame::edk2(NODE_B, 16);
    site.stays_silent(&request.bytes())
}

fn restart(site: &mut Site, datapath: Datapath, more: &[&str]) -> Result<()> {
    let args = serve_args(datapath, &site.files, more);
    site.daemon = Daemon::start(&site.lab.server, &binary()?, &args)?;
    Ok(())
}

#[test]
fn it_is_seen_who_asked_and_what_became_of_it_on_each_datapath() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::usual(datapath)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        // Options that only the slow path takes.
        let slow = RequestFrame::edk2_discovery(NODE_A, UEFI_X64, 0, 0);
        site.tap.ask(&slow)?;
        unusable(&mut site)?;
        site.stays_silent_to(STRANGER)?;

        let a = node(&site, "a")?;
        let what = format!("{datapath:?}: {a}");
        ensure!(a["state"] == "answered" && a["requests"] == 2, "{what}");
        ensure!(
            a["arch"] == 7 && a["addresses"] == json!(["10.77.1.1"]),
            "{what}"
        );
        ensure!(a["loader"] == "winboot/a/Boot/bootmgfw.efi", "{what}");
        let times = ["first", "boot", "answered", "last"].map(|it| a[it].as_f64());
        ensure!(times.is_sorted() && times[0] > Some(0.0), "{what}");
        let b = node(&site, "b")?;
        ensure!(
            b["state"] == "refused" && b["reason"] == "architecture",
            "{b}"
        );
        ensure!(b["answered"].is_null() && b["requests"] == 1, "{b}");
        ensure!(state(&site, "default")? == json!(["silent", 0, 0]));

        let strangers = json_of(&site, &["nodes", "--strangers"])?;
        ensure!(
            strangers[0]["address"] == STRANGER.to_string(),
            "{strangers}"
        );
        ensure!(strangers[0]["reason"] == "unknown-client", "{strangers}");
        ensure!(
            strangers.as_array().is_some_and(|all| all.len() == 1),
            "{strangers}"
        );

        let silent = site.command(&["nodes", "--silent", "10m"])?;
        ensure!(silent.stdout.contains("default") && !silent.stdout.contains("10.77.1.1"));
        let since = site.command(&["nodes", "--since", "10m", "--state", "refused"])?;
        ensure!(since.stdout.lines().count() == 2, "{since:?}");
        ensure!(since.stdout.contains("architecture"), "{since:?}");
    }
    Ok(())
}

#[test]
fn it_is_kept_across_reloads_that_move_the_records() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::usual(datapath)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        site.ask_uefi(NODE_DEFAULT, "")?;
        site.ask_uefi(NODE_DEFAULT, "")?;
        // b has gone, and another is in its place.
        let records = [("default", ""), ("new", "winboot/b"), ("a", "winboot/new/")];
        site.files.write_config(&records)?;
        site.files.write_hosts(&[
            ("10.77.1.1", "a"),
            ("10.77.1.2", "new"),
            ("10.77.1.3", "default"),
        ])?;
        let reload = site.command(&["reload"])?;
        ensure!(reload.code == Some(0), "{reload:?}");
        site.ask_uefi(NODE_A, "winboot/new/")?;
        ensure!(
            state(&site, "a")? == json!(["answered", 2, 2]),
            "{datapath:?}"
        );
        ensure!(state(&site, "default")? == json!(["answered", 2, 2]));
        ensure!(state(&site, "new")? == json!(["silent", 0, 0]));
        site.ask_uefi(NODE_B, "winboot/b/")?;
        ensure!(state(&site, "new")? == json!(["answered", 1, 1]));
    }
    Ok(())
}

#[test]
fn the_next_daemon_goes_on_after_a_kill_and_after_a_stop() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::usual(datapath)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        site.stays_silent_to(STRANGER)?;
        site.daemon.crash()?;
        if matches!(datapath, Datapath::Native | Datapath::Generic) {
            // The kernel notes it alone.
            site.ask_uefi(NODE_A, "winboot/a/")?;
        }
        restart(&mut site, datapath, &[])?;
        let before = node(&site, "a")?["requests"].as_u64().unwrap_or_default();
        let wanted = match datapath {
            Datapath::Native | Datapath::Generic => 2,
            Datapath::AfXdp | Datapath::Raw => 1,
        };
        ensure!(
            before == wanted,
            "{datapath:?}: {before}\n{}",
            site.daemon.log()
        );
        site.daemon.stop()?;
        restart(&mut site, datapath, &[])?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        let after = node(&site, "a")?;
        ensure!(after["requests"] == before + 1, "{datapath:?}: {after}");
        let strangers = json_of(&site, &["nodes", "--strangers"])?;
        ensure!(
            strangers[0]["address"] == STRANGER.to_string(),
            "{strangers}"
        );
    }
    Ok(())
}

#[test]
fn it_is_seen_what_a_node_fetches() -> Result<()> {
    let root = TempDir::new()?;
    let folder = root.path().display().to_string();
    let files = Files::usual()?;
    files.write_hosts(&[(&CLIENT_ADDRESS.to_string(), "a"), ("10.77.1.2", "b")])?;
    let more = ["--tftp", "--tftp-root", &folder];
    let mut site = Site::start(Datapath::Generic, files, &more)?;
    fs::create_dir_all(root.path().join("winboot/a/Boot"))?;
    for (name, length) in [("Boot/bootmgfw.efi", 2000), ("Boot/boot.wim", 30_000)] {
        fs::write(root.path().join("winboot/a").join(name), vec![7; length])?;
    }
    let fetch = |site: &Site, name: &str| {
        Fetch::new(&format!("winboot/a/{name}"), &[]).run(
            &site.lab.client,
            CLIENT_ADDRESS,
            SERVER_ADDRESS,
        )
    };
    site.ask_uefi(CLIENT_ADDRESS, "winboot/a/")?;
    // Nobody waits for an image that nobody fetches.
    let waited = site.command(&[
        "wait",
        "--fetched",
        "--since",
        "1h",
        "--timeout",
        "1s",
        "--config",
        &site.files.path("proxydhcp.cfg").display().to_string(),
        "a",
    ])?;
    ensure!(
        waited.code == Some(2) && waited.stdout.contains("a: answered"),
        "{waited:?}"
    );
    fetch(&site, "Boot/bootmgfw.efi")?;
    until(&site, "fetching")?;
    fetch(&site, "Boot/boot.wim")?;
    let a = until(&site, "fetched")?;
    let transfer = json!({"file": "winboot/a/Boot/boot.wim", "kind": "image",
        "state": "complete", "bytes": 30_000, "size": null});
    ensure!(a["transfer"] == transfer, "{a}");
    let config = site.files.path("proxydhcp.cfg").display().to_string();
    let wait = [
        "wait",
        "a",
        "--fetched",
        "--since",
        "1h",
        "--timeout",
        "30s",
        "--config",
        &config,
    ];
    let waited = site.command(&wait)?;
    ensure!(waited.code == Some(0), "{waited:?}");
    ensure!(
        waited.stderr.contains("1 of 1 node fetched their image"),
        "{waited:?}"
    );
    site.daemon.crash()?;
    restart(&mut site, Datapath::Generic, &more)?;
    let a = node(&site, "a")?;
    ensure!(
        a["state"] == "fetched" && a["transfer"]["bytes"] == 30_000,
        "{a}"
    );
    Ok(())
}

/// Waits until node a is in this state.
fn until(site: &Site, state: &str) -> Result<Value> {
    let started = Instant::now();
    loop {
        let a = node(site, "a")?;
        if a.get("state").and_then(Value::as_str) == Some(state) {
            return Ok(a);
        }
        ensure!(started.elapsed() < PATIENCE, "{a}\n{}", site.daemon.log());
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn wait_ends_when_all_are_answered_and_names_who_is_missing() -> Result<()> {
    let mut site = Site::usual(Datapath::Generic)?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    unusable(&mut site)?;
    let waited = site.command(&["wait", "--since", "1h", "--timeout", "1s"])?;
    ensure!(waited.code == Some(2), "{waited:?}");
    ensure!(
        waited.stderr.contains("1 of 3 nodes were answered"),
        "{waited:?}"
    );
    ensure!(
        waited.stdout.contains("default: has never asked"),
        "{waited:?}"
    );
    ensure!(waited.stdout.contains("b: refused"), "{waited:?}");
    ensure!(!waited.stdout.contains("a: "), "{waited:?}");
    // What was done before does not count.
    let waited = site.command(&["wait", "--timeout", "1s"])?;
    ensure!(waited.stderr.contains("0 of 3 nodes"), "{waited:?}");
    site.ask_uefi(NODE_B, "winboot/b/")?;
    site.ask_uefi(NODE_DEFAULT, "")?;
    let waited = site.command(&["wait", "--since", "1h", "--timeout", "30s"])?;
    ensure!(
        waited.code == Some(0) && waited.stdout.trim().is_empty(),
        "{waited:?}"
    );
    Ok(())
}

#[test]
fn events_have_a_line_for_each_boot_and_reload() -> Result<()> {
    let mut site = Site::usual(Datapath::Generic)?;
    site.ask_uefi(NODE_A, "winboot/a/")?;
    unusable(&mut site)?;
    ensure!(site.command(&["reload"])?.code == Some(0));
    let started = Instant::now();
    loop {
        let shown = site.command(&["events"])?;
        let has = |text: &str| shown.stdout.lines().filter(|it| it.ends_with(text)).count() == 1;
        let wanted = [
            "a begins to boot (UEFI on x64, architecture 7)",
            "b begins to boot",
            "b gets no answer: architecture",
            "serving px0 (kernel, generic)",
            "generation 2, 3 nodes",
        ];
        if wanted.iter().all(|text| has(text)) {
            break;
        }
        ensure!(started.elapsed() < PATIENCE, "{shown:?}");
        thread::sleep(Duration::from_millis(50));
    }
    let lines = site.command(&["events", "--json"])?.stdout;
    let events: Result<Vec<Value>, _> = lines.lines().map(serde_json::from_str).collect();
    ensure!(
        events?
            .iter()
            .any(|it| it["event"] == "begins" && it["node"] == "a")
    );
    Ok(())
}

#[test]
fn names_that_deceive_are_escaped_wherever_they_are_shown() -> Result<()> {
    let files = Files::usual()?;
    files.write_config(&[("a", "winboot/a/"), ("b", "../\u{202e}gpj.exe\u{200b}")])?;
    let site = Site::start(Datapath::Raw, files, &[])?;
    let status = site.command(&["status"])?;
    let log = site.daemon.log();
    for (what, shown) in [("status", &status.stdout), ("the log", &log)] {
        ensure!(shown.contains("202e"), "{what}: {shown}");
        ensure!(!shown.contains(['\u{202e}', '\u{200b}']), "{what}: {shown}");
    }
    let dump = {
        let mut command = Command::new(binary()?);
        command.args(["cfg", "dump", "--config"]);
        command.arg(site.files.path("proxydhcp.cfg"));
        command.output()?
    };
    let dump = String::from_utf8(dump.stdout)?;
    ensure!(!dump.contains(['\u{202e}', '\u{200b}']), "{dump}");
    Ok(())
}
