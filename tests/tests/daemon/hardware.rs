//! Nodes that are known by their hardware addresses, whatever address a lease has given them.

use std::fs;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, NODE_DEFAULT, STRANGER, Site};
use proxydhcp_lab::{Ended, RequestFrame};
use serde_json::json;

/// A hang is noticed, and nothing else.
const PATIENCE: Duration = Duration::from_secs(20);
const MAC_A: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0xa];
const MAC_A2: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0xa2];
const MAC_B: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0xb];
const UUID_DEFAULT: [u8; 16] = [0xd; 16];
const HARDWARE: &str = "a mac=52:54:00:00:00:0a,52:54:00:00:00:a2\nb mac=52:54:00:00:00:0b\n\
    default uuid=0d0d0d0d-0d0d-0d0d-0d0d-0d0d0d0d0d0d\n";

fn files() -> Result<Files> {
    let files = Files::usual()?;
    fs::write(files.path("proxydhcp.cfg.hardware"), HARDWARE)?;
    Ok(files)
}

/// The request of a machine with this address and this network card.
fn request(client: Ipv4Addr, mac: [u8; 6]) -> RequestFrame {
    let mut request = RequestFrame::edk2(client, UEFI_X64);
    request.chaddr = [0; 16];
    request.chaddr[..6].copy_from_slice(&mac);
    request
}

/// The same, with a boot item, which only the slow path answers.
fn discovery(client: Ipv4Addr, mac: [u8; 6]) -> RequestFrame {
    let chaddr = request(client, mac).chaddr;
    RequestFrame {
        chaddr,
        ..RequestFrame::edk2_discovery(client, UEFI_X64, 0, 0)
    }
}

#[test]
fn a_node_with_a_lease_from_any_pool_boots_its_own_winpe() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::start(datapath, files()?, &[])?;
        for mac in [MAC_A, MAC_A2] {
            site.ask(&request(STRANGER, mac), "winboot/a/", UEFI_X64)?;
            site.ask(&request(NODE_A, mac), "winboot/a/", UEFI_X64)?;
            site.ask(&discovery(STRANGER, mac), "winboot/a/", UEFI_X64)?;
        }
        site.ask(&request(STRANGER, MAC_B), "winboot/b/", UEFI_X64)?;
        // By its UUID, and by its address alone.
        let mut by_uuid = request(STRANGER, [2; 6]);
        by_uuid.set_option(97, [&[0][..], &UUID_DEFAULT].concat());
        site.ask(&by_uuid, "", UEFI_X64)?;
        site.ask(&request(NODE_DEFAULT, [2; 6]), "", UEFI_X64)?;
        site.stays_silent(&request(STRANGER, [2; 6]).bytes())?;
        let kernel = site
            .status()?
            .pointer("/interfaces/0/program/answered")
            .cloned();
        if matches!(datapath, Datapath::Native | Datapath::Generic) {
            ensure!(kernel == Some(json!(7)), "{kernel:?}: {}", site.describe());
        }
    }
    Ok(())
}

#[test]
fn a_lease_of_one_nodes_address_to_anothers_machine_boots_neither() -> Result<()> {
    for datapath in Datapath::ALL {
        // Two nodes with the same WinPE are confused, too.
        let files = files()?;
        files.write_config(&[("a", "winboot/a/"), ("b", "winboot/a/"), ("default", "")])?;
        let mut site = Site::start(datapath, files, &["--unknown", "default"])?;
        site.ask(&request(NODE_B, MAC_B), "winboot/a/", UEFI_X64)?;
        for client in [request(NODE_A, MAC_B), discovery(NODE_B, MAC_A)] {
            site.stays_silent(&client.bytes())?;
        }
        // A node without a hardware address has its address all the same.
        let mut machine = request(NODE_A, [2; 6]);
        machine.set_option(97, [&[0][..], &UUID_DEFAULT].concat());
        site.stays_silent(&machine.bytes())?;
        ensure!(
            site.counters()?["refused"] == json!({"identity": 3}),
            "{}",
            site.describe()
        );
        let status = site.status()?;
        let confused = status["confused"].as_array().context("nobody is named")?;
        let names: Vec<_> = confused
            .iter()
            .map(|it| (&it["address_of"], &it["hardware_of"], &it["requests"]))
            .collect();
        let [a, b, default, one] = [json!("a"), json!("b"), json!("default"), json!(1)];
        ensure!(
            names == [(&a, &b, &one), (&b, &a, &one), (&a, &default, &one)],
            "{confused:?}"
        );
        let told = site.command(&["status"])?.stdout;
        let line = "identity: 10.77.1.1 is an address of a, but 52:54:00:00:00:0b is of b: neither is booted";
        ensure!(told.contains(line), "{told}");
    }
    Ok(())
}

#[test]
fn a_disabled_node_stays_so_by_whatever_it_is_known() -> Result<()> {
    for datapath in Datapath::ALL {
        let files = files()?;
        fs::write(files.path("proxydhcp.cfg.disabled"), "a\n")?;
        let mut site = Site::start(datapath, files, &["--unknown", "default"])?;
        for client in [NODE_A, STRANGER] {
            site.stays_silent(&request(client, MAC_A).bytes())?;
        }
        // Its address boots no other node either.
        site.stays_silent(&request(NODE_A, MAC_B).bytes())?;
        site.ask(&request(STRANGER, [2; 6]), "", UEFI_X64)?;
        ensure!(
            site.counters()?["refused"] == json!({"unknown-client": 2, "identity": 1}),
            "{}",
            site.describe()
        );
    }
    Ok(())
}

#[test]
fn a_refused_node_stays_so_by_whatever_it_is_known() -> Result<()> {
    for datapath in Datapath::ALL {
        let files = files()?;
        files.write_config(&[("a", "winboot/../x"), ("b", "winboot/b"), ("default", "")])?;
        let mut site = Site::start(datapath, files, &["--unknown", "default"])?;
        for client in [NODE_A, STRANGER] {
            site.stays_silent(&request(client, MAC_A).bytes())?;
        }
        site.ask(&request(STRANGER, MAC_B), "winboot/b/", UEFI_X64)?;
        ensure!(
            site.counters()?["refused"] == json!({"unknown-client": 2}),
            "{}",
            site.describe()
        );
    }
    Ok(())
}

#[test]
fn hardware_addresses_are_reloaded_watched_and_explained() -> Result<()> {
    let files = Files::usual()?;
    fs::write(
        files.path("ethers"),
        "52:54:00:00:00:0b b\n52:54:00:00:00:0a b\n52:54:00:00:00:99 printer\n",
    )?;
    let ethers = files.path("ethers").display().to_string();
    let mut site = Site::start(Datapath::Generic, files, &["--watch", "--ethers", &ethers])?;
    site.ask(&request(STRANGER, MAC_B), "winboot/b/", UEFI_X64)?;
    let by_mac = site.command(&["lookup", "52:54:00:00:00:0b"])?;
    ensure!(
        by_mac.code == Some(0) && by_mac.stdout.contains("52:54:00:00:00:0b is b."),
        "{by_mac:?}"
    );
    ensure!(site.command(&["lookup", "52:54:00:00:00:99"])?.code == Some(1));
    let by_name = site.command(&["lookup", "b"])?;
    ensure!(
        by_name
            .stdout
            .contains("b is also known by 52:54:00:00:00:0b"),
        "{by_name:?}"
    );

    // The file beside proxydhcp.cfg comes first.
    let beside = site.files.path("proxydhcp.cfg.hardware");
    fs::write(&beside, "a mac=52:54:00:00:00:0a\n")?;
    let claimed = "52:54:00:00:00:0a is of both a and b; a, which has it first, is served by it";
    let started = Instant::now();
    while !site.command(&["status"])?.stdout.contains(claimed) {
        ensure!(started.elapsed() < PATIENCE, "{}", site.describe());
        thread::sleep(Duration::from_millis(50));
    }
    site.ask(&request(STRANGER, MAC_A), "winboot/a/", UEFI_X64)?;
    let check = site.files.path("proxydhcp.cfg").display().to_string();
    let hosts = site.files.path("hosts").display().to_string();
    let check = site.daemon.proxydhcp(
        &site.lab.server,
        &[
            "cfg", "check", "--config", &check, "--hosts", &hosts, "--ethers", &ethers,
        ],
    )?;
    let check = Ended::from(check);
    ensure!(check.stdout.contains(claimed), "{check:?}");
    Ok(())
}

#[test]
fn a_node_without_any_address_is_served_by_its_hardware_alone() -> Result<()> {
    for datapath in Datapath::ALL {
        let files = files()?;
        files.write_hosts(&[])?;
        let mut site = Site::start(datapath, files, &[])?;
        site.ask(&request(STRANGER, MAC_A), "winboot/a/", UEFI_X64)?;
        site.stays_silent(&request(NODE_A, [2; 6]).bytes())?;
        let reload = site.command(&["reload"])?;
        ensure!(reload.code == Some(0), "{reload:?}");
        ensure!(site.status()?["nodes"] == json!(3), "{}", site.status()?);
    }
    Ok(())
}
