//! Names that the hosts file lacks go to the system resolver: nothing waits for its answers, and
//! nothing is lost while it gives none.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::config::cfg_bytes;
use proxydhcp_lab::resolver::{DeadNameServer, FORWARDED, FORWARDED_PORT, NameServer, Resolver};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site, serve_args};
use proxydhcp_lab::{Lab, RequestFrame, alone, binary};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::resolved::{PATIENCE, count, start, wait_for, wait_until};

/// Much less than the resolver's patience with a dead name server.
const PROMPT: Duration = Duration::from_secs(2);

/// A dead name server costs a second, not ten.
const IMPATIENT: &str = "timeout:1 attempts:1";

#[test]
fn a_hundred_thousand_names_are_joined_in_one_pass() -> Result<()> {
    const NODES: u32 = 100_000;
    let _alone = alone();
    let files = Files::new()?;
    let names: Vec<_> = (0..NODES).map(|n| format!("cn{n:06}")).collect();
    let mut hosts = String::new();
    for (address, name) in (u32::from(Ipv4Addr::new(10, 78, 0, 0))..).zip(&names) {
        writeln!(
            hosts,
            "{} {name}.cluster.test {name}",
            Ipv4Addr::from(address)
        )?;
    }
    fs::write(files.path("hosts"), hosts)?;
    let path = |n: usize| format!("winboot/w{}/", n % 12);
    let records = names.iter().enumerate().map(|(n, name)| (name, path(n)));
    files.write_raw_config(&cfg_bytes(records)?)?;
    let site = Site::start(Datapath::Native, files, &["--suffix=-ib0"])?;
    assert!(site.daemon.ready_line().ends_with("; 100000 nodes"));
    for _ in 0..5 {
        let reload = site.command(&["reload"])?;
        let summary = reload.stdout.lines().next().unwrap_or_default();
        assert!(summary.contains(": 100000 nodes; 0 added"), "{reload:?}");
        println!("100,000 records with 100,000 lines of hosts: {summary}");
    }
    Ok(())
}

#[test]
fn a_thousand_names_that_only_the_dns_has_join_the_others() -> Result<()> {
    let _alone = alone();
    let names: Vec<_> = (0..1000).map(|n| format!("n{n}")).collect();
    let first = u32::from(Ipv4Addr::new(10, 77, 4, 0));
    let addresses = (first..).map(Ipv4Addr::from);
    let known: Vec<_> = addresses.zip(names.iter().map(String::as_str)).collect();

    let lab = Lab::new()?;
    let _server = NameServer::start(&lab.server, &known)?;
    let mut all: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), "winboot/n"))
        .collect();
    all.extend([("a", "winboot/a"), ("nobody", "")]);
    let files = Files::new()?;
    files.write_config(&all)?;
    files.write_hosts(&[("10.77.1.1", "a")])?;
    let started = Instant::now();
    let mut site = start(lab, &Resolver::new("")?, Datapath::Native, files, &[])?;
    let ready = started.elapsed();
    // The others do not wait.
    assert!(site.daemon.ready_line().ends_with("; 1 node"));
    site.ask_uefi(NODE_A, "winboot/a/")?;
    wait_until(&site, |status| {
        count(status, "looking_up") == 0 && status["nodes"] == 1001
    })?;
    println!(
        "1,000 names in the DNS: ready after {ready:?}, all served after {:?}",
        started.elapsed()
    );
    let status = site.status()?;
    assert_eq!(status["unresolved"], json!(["nobody"]));
    assert_eq!(status["failed"], json!([]));
    for n in [0, 500, 999] {
        let address = Ipv4Addr::from(first + n);
        site.ask_uefi(address, "winboot/n/")?;
    }
    let text = site.command(&["status"])?.stdout;
    let unknown = "no address for nobody; add it to the hosts file or the DNS\n";
    assert!(text.contains(unknown), "{text}");
    site.daemon.wait_for("no address for nobody;", PATIENCE)?;

    // A reload asks anew, and all are served meanwhile.
    let reload = site.command(&["reload"])?;
    let summary = ": 1001 nodes; 0 added, 0 removed, 0 changed";
    assert!(reload.stdout.contains(summary), "{reload:?}");
    let took = wait_until(&site, |status| count(status, "looking_up") == 0)?;
    println!("1,000 names in the DNS, asked anew by a reload: {took:?} after it");
    assert_eq!(site.status()?["nodes"], 1001);
    Ok(())
}

#[test]
fn the_addresses_of_one_name_fill_neither_memory_nor_table() -> Result<()> {
    const MOST: u32 = 64;
    let _alone = alone();
    // By a hash that anybody can compute: these addresses agree in bits 32 to 51 of the product.
    let hash = |address: u32| u64::from(address).wrapping_mul(0x9e37_79b9_7f4a_7c15) << 12 >> 44;
    let first = u32::from(Ipv4Addr::new(10, 77, 4, 0));
    let alike = (first..).filter(|address| hash(*address) == hash(first));
    let many: Vec<_> = alike.take(26).map(Ipv4Addr::from).collect();
    let first = u32::from(Ipv4Addr::new(10, 77, 8, 0));
    let more = (first..).take(200).map(|address| (address.into(), "more"));
    let known: Vec<_> = many.iter().map(|it| (*it, "many")).chain(more).collect();

    let lab = Lab::new()?;
    let _server = NameServer::start(&lab.server, &known)?;
    let files = Files::new()?;
    files.write_config(&[("many", "winboot/a"), ("more", "winboot/b")])?;
    files.write_hosts(&[])?;
    let mut site = start(lab, &Resolver::new("")?, Datapath::Native, files, &[])?;
    wait_until(&site, |status| status["nodes"] == 26 + MOST)?;
    for address in many {
        let request = RequestFrame::edk2(address, 7);
        // Some belong to other networks; answers go to the MAC address all the same.
        site.ask(&request, "winboot/a/", 7)?;
    }
    for (address, is_served) in [
        (first, true),
        (first + MOST - 1, true),
        (first + MOST, false),
    ] {
        let request = RequestFrame::edk2(address.into(), 7);
        if is_served {
            site.ask(&request, "winboot/b/", 7)?;
        } else {
            site.stays_silent(&request.bytes())?;
        }
    }
    let text = site.command(&["status"])?.stdout;
    let warning = "the system resolver has 200 addresses for more, and 64 are the limit";
    assert!(text.contains(warning), "{text}");
    // A table that is doubled until the 26 no longer collide takes 128 MiB alone.
    let kernels = fs::read_to_string(format!("/proc/{}/status", site.daemon.pid()))?;
    let peak = kernels.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes: u32 = peak
        .unwrap_or_default()
        .trim_end_matches("kB")
        .trim()
        .parse()?;
    assert!(kibibytes < 100 << 10, "{kibibytes} KiB");
    Ok(())
}

#[test]
fn names_that_take_long_do_not_hold_up_the_others() -> Result<()> {
    const SLOW: usize = 150;
    const QUICK: usize = 500;
    let _alone = alone();
    let slow: Vec<_> = (0..SLOW).map(|n| format!("s{n}.{FORWARDED}")).collect();
    let quick: Vec<_> = (0..QUICK).map(|n| format!("t{n}")).collect();
    let addresses = (u32::from(Ipv4Addr::new(10, 77, 4, 0))..).map(Ipv4Addr::from);
    let known: Vec<_> = addresses.zip(quick.iter().map(String::as_str)).collect();
    let lab = Lab::new()?;
    let _server = NameServer::start(&lab.server, &known)?;
    let _dead = DeadNameServer::on_port(&lab.server, FORWARDED_PORT)?;
    let files = Files::new()?;
    let names = slow.iter().chain(&quick).map(|name| (name.as_str(), ""));
    files.write_config(&names.collect::<Vec<_>>())?;
    files.write_hosts(&[])?;
    let site = start(lab, &Resolver::new("")?, Datapath::Native, files, &[])?;
    let took = wait_until(&site, |status| status["nodes"] == QUICK)?;
    let status = site.status()?;
    println!("{QUICK} names beside {SLOW} that are not answered: served after {took:?}");
    assert_eq!(count(&status, "looking_up"), SLOW, "{status}");
    assert_eq!(count(&status, "unresolved"), SLOW, "{status}");
    Ok(())
}

#[test]
fn what_is_served_stays_while_the_dns_is_down() -> Result<()> {
    const D: Ipv4Addr = Ipv4Addr::new(10, 77, 4, 1);
    const E: Ipv4Addr = Ipv4Addr::new(10, 77, 4, 2);
    let lab = Lab::new()?;
    let files = Files::new()?;
    files.write_config(&[("a", "winboot/a"), ("d", "winboot/d"), ("e", "winboot/e")])?;
    files.write_hosts(&[("10.77.1.1", "a")])?;
    let resolver = Resolver::new(IMPATIENT)?;
    // Nobody listens there yet: the DNS comes up late, and nobody reloads.
    let mut site = start(lab, &resolver, Datapath::Native, files, &[])?;
    wait_until(&site, |status| count(status, "failed") == 2)?;
    let text = site.command(&["status"])?.stdout;
    let failed = "the name server does not answer, or refuses to: there is no address for d, e\n";
    assert!(text.contains(failed), "{text}");
    let server = NameServer::start(&site.lab.server, &[(D, "d"), (E, "e")])?;
    let patience = Duration::from_mins(1);
    wait_for(&site, patience, |status| status["nodes"] == 3)?;
    site.ask_uefi(D, "winboot/d/")?;
    assert_eq!(site.status()?["failed"], json!([]));

    // The name server goes away: at first the port is closed, then it is silent.
    drop(server);
    for dead in [false, true] {
        let silent = dead.then(|| DeadNameServer::start(&site.lab.server));
        let _silent = silent.transpose()?;
        let reload = site.command(&["reload"])?;
        assert!(reload.stdout.contains(": 3 nodes; 0 added"), "{reload:?}");
        wait_until(&site, |status| count(status, "looking_up") == 0)?;
        let status = site.status()?;
        let kept = |failed: &Value| (failed["name"].clone(), failed["kept"].clone());
        assert_eq!(kept(&status["failed"][0]), (json!("d"), json!([D])));
        assert_eq!(kept(&status["failed"][1]), (json!("e"), json!([E])));
        assert_eq!(status["nodes"], 3, "{status}");
        let text = site.command(&["status"])?.stdout;
        assert!(
            text.contains("the last known addresses stay for d, e\n"),
            "{text}"
        );
        site.ask_uefi(D, "winboot/d/")?;
    }

    // It comes back, and denies one of them.
    let server = NameServer::start(&site.lab.server, &[(E, "e")])?;
    assert_eq!(site.command(&["reload"])?.code, Some(0));
    wait_until(&site, |status| status["nodes"] == 2)?;
    assert_eq!(site.status()?["unresolved"], json!(["d"]));
    site.stays_silent_to(D)?;
    site.ask_uefi(E, "winboot/e/")?;
    // A node that has moved to another address.
    server.tell(&[(D, "e")])?;
    let started = Instant::now();
    while site.ask_uefi(D, "winboot/e/").is_err() {
        site.command(&["reload"])?;
        ensure!(started.elapsed() < PATIENCE, "{}", site.describe());
    }
    site.stays_silent_to(E)
}

#[test]
fn a_name_is_not_denied_by_its_form_in_the_search_list() -> Result<()> {
    const D: Ipv4Addr = Ipv4Addr::new(10, 77, 4, 1);
    let name = format!("d.{FORWARDED}");
    let lab = Lab::new()?;
    // The server of the search list knows it, or asks a server that is dead.
    let server = NameServer::start(&lab.server, &[(D, &name)])?;
    let dead = DeadNameServer::on_port(&lab.server, FORWARDED_PORT)?;
    let files = Files::new()?;
    files.write_config(&[("a", "winboot/a"), (&name, "winboot/d")])?;
    files.write_hosts(&[("10.77.1.1", "a")])?;
    let resolver = Resolver::new(IMPATIENT)?;
    let mut site = start(lab, &resolver, Datapath::Native, files, &[])?;
    wait_until(&site, |status| status["nodes"] == 2)?;

    server.tell(&[])?;
    let started = Instant::now();
    while dead.questions() == 0 {
        ensure!(started.elapsed() < PATIENCE, "{}", site.describe());
        site.command(&["reload"])?;
        wait_until(&site, |status| count(status, "looking_up") == 0)?;
    }
    let status = site.status()?;
    assert_eq!(status["failed"][0]["kept"], json!([D]), "{status}");
    assert_eq!(status["nodes"], 2, "{status}");
    site.ask_uefi(D, "winboot/d/")?;
    Ok(())
}

#[test]
fn names_that_the_hosts_file_gets_are_asked_for_no_more() -> Result<()> {
    let (mut site, _server) = with_dead_server(2, "")?;
    assert_eq!(site.status()?["looking_up"], json!(["n0", "n1"]));
    let text = site.command(&["status"])?.stdout;
    assert!(
        text.contains("the resolver is being asked for n0, n1\n"),
        "{text}"
    );
    site.files.write_hosts(&[
        ("10.77.1.1", "a"),
        ("10.77.1.2", "n0"),
        ("10.77.1.3", "n1 n1.cluster.test"),
    ])?;
    let mended = site.command(&["reload"])?;
    assert!(mended.stdout.contains("added: n0, n1\n"), "{mended:?}");
    let status = site.status()?;
    for list in ["unresolved", "looking_up", "failed"] {
        assert_eq!(status[list], json!([]));
    }
    site.ask(
        &RequestFrame::edk2([10, 77, 1, 3].into(), UEFI_X64),
        "",
        UEFI_X64,
    )?;
    Ok(())
}

#[test]
fn a_dead_name_server_holds_up_neither_start_nor_reload_nor_stop() -> Result<()> {
    let _alone = alone();
    let started = Instant::now();
    let (mut site, server) = with_dead_server(300, "")?;
    println!("with a dead name server: ready in {:?}", started.elapsed());
    assert!(site.daemon.ready_line().ends_with("; 1 node"));
    site.ask_uefi(NODE_A, "winboot/a/")?;
    server.wait_for_question()?;
    let status = site.status()?;
    assert_eq!(
        (count(&status, "looking_up"), count(&status, "unresolved")),
        (300, 300)
    );

    let started = Instant::now();
    for generation in 2..7 {
        let reload = site.command(&["reload"])?;
        assert_eq!(reload.code, Some(0), "{reload:?}");
        assert_eq!(site.status()?["generation"], generation);
    }
    println!(
        "with a dead name server: five reloads in {:?}",
        started.elapsed()
    );
    // However often they are asked for, only so many questions are under way.
    let mut questions = server.questions();
    thread::sleep(Duration::from_millis(200));
    questions += server.questions();
    assert!(questions <= 256, "{questions}");

    let (status, took) = site.daemon.stop()?;
    println!("with a dead name server: stopped in {took:?}");
    assert!(status.success() && took < PROMPT, "{status} after {took:?}");
    Ok(())
}

#[test]
fn a_reload_that_would_leave_no_node_asks_first_and_can_be_stopped() -> Result<()> {
    let _alone = alone();
    let (mut site, server) = with_dead_server(1, "")?;
    server.wait_for_question()?;
    site.files.write_hosts(&[])?;
    let reload = site.command(&["reload"])?;
    assert_eq!(reload.code, Some(1), "{reload:?}");
    let fault = "(2 records in all)";
    assert!(reload.stderr.contains(fault), "{reload:?}");
    site.ask_uefi(NODE_A, "winboot/a/")?;

    let (stopped, reload) = thread::scope(|scope| {
        let reload = scope.spawn(|| site.command(&["reload"]));
        // It is under way, and everything else goes on.
        thread::sleep(Duration::from_millis(300));
        let status = site.status()?;
        ensure!(
            status["generation"] == 1 && !reload.is_finished(),
            "{status}"
        );
        site.daemon.signal(Signal::TERM)?;
        let stopped = Instant::now();
        let Ok(reload) = reload.join() else {
            unreachable!("the command does not panic")
        };
        Ok((stopped, reload?))
    })?;
    let status = site.daemon.wait(PATIENCE)?;
    let took = stopped.elapsed();
    println!("while a reload waits for a dead name server: stopped in {took:?}");
    assert!(status.success() && took < PROMPT, "{status} after {took:?}");
    assert_eq!(reload.code, Some(1), "{reload:?}");
    assert!(reload.stderr.contains("ended"), "{reload:?}");
    Ok(())
}

#[test]
fn a_start_with_a_dead_name_server_can_be_stopped() -> Result<()> {
    let _alone = alone();
    for signal in [Signal::TERM, Signal::INT] {
        let lab = Lab::new()?;
        let server = DeadNameServer::start(&lab.server)?;
        let files = files(1)?;
        let mut command = Command::new(binary()?);
        command.args(serve_args(Datapath::Native, &files, &[]));
        command.stdin(Stdio::null());
        let resolver = Resolver::new("")?;
        resolver.give_to(&mut command)?;
        let mut child = lab.server.spawn(command)?;
        server.wait_for_question()?;
        kill_process(Pid::from_child(&child), signal)?;
        let stopped = Instant::now();
        let status = child.wait()?;
        let took = stopped.elapsed();
        assert!(status.success() && took < PROMPT, "{status} after {took:?}");
    }
    Ok(())
}

/// One node that the hosts file knows, and as many as nobody knows.
fn files(unknown: usize) -> Result<Files> {
    let files = Files::new()?;
    let names: Vec<String> = (0..unknown).map(|n| format!("n{n}")).collect();
    let mut records = vec![("a", "winboot/a")];
    records.extend(names.iter().map(|name| (name.as_str(), "")));
    files.write_config(&records)?;
    files.write_hosts(&[("10.77.1.1", "a")])?;
    Ok(files)
}

fn with_dead_server(unknown: usize, options: &str) -> Result<(Site, DeadNameServer)> {
    let lab = Lab::new()?;
    let server = DeadNameServer::start(&lab.server)?;
    let resolver = Resolver::new(options)?;
    let site = start(lab, &resolver, Datapath::Native, files(unknown)?, &[])?;
    Ok((site, server))
}
