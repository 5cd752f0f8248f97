//! `proxydhcp lookup` explains, from a running daemon or from the files alone, what a client is
//! sent; and that is what the client gets.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::Result;
use proxydhcp_lab::architecture::{BIOS, UEFI_BC, UEFI_IA32, UEFI_X64};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, NODE_DEFAULT, STRANGER, Site};
use proxydhcp_lab::{Ended, RequestFrame, SERVER_ADDRESS, binary};
use serde_json::{Value, json};

const BAD: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 4);

fn files() -> Result<Files> {
    let files = Files::usual()?;
    files.write_config(&[
        ("a", "winboot/a/"),
        ("b", "winboot/b"),
        ("default", ""),
        ("bad", "winboot/../x"),
        ("server", "winboot/a/"),
    ])?;
    files.write_hosts(&[
        ("10.77.1.1", "a.cluster a"),
        ("10.77.1.2", "b b.cluster"),
        ("10.77.1.3", "default"),
        ("10.77.1.4", "bad"),
        ("10.77.0.1", "server"),
    ])?;
    Ok(files)
}

/// Looks up in the daemon, or in the files that it was started with.
fn look_up(site: &Site, offline: bool, args: &[&str]) -> Result<Ended> {
    if !offline {
        return site.command(&[&["lookup"], args].concat());
    }
    let mut command = Command::new(binary()?);
    command.arg("lookup").args(args);
    command
        .arg("--config")
        .arg(site.files.path("proxydhcp.cfg"));
    command.arg("--hosts").arg(site.files.path("hosts"));
    Ok(Ended::from(site.lab.server.output(command)?))
}

#[test]
fn what_lookup_tells_is_what_clients_get() -> Result<()> {
    for (datapath, offline) in Datapath::ALL
        .iter()
        .flat_map(|&path| [(path, false), (path, true)])
    {
        let mut site = Site::start(datapath, files()?, &[])?;
        let cases = [
            (NODE_A, UEFI_X64, Some(("winboot/a/", "bootmgfw.efi", 1))),
            (NODE_B, BIOS, Some(("winboot/b/", "pxeboot.0", 2))),
            (NODE_DEFAULT, UEFI_BC, Some(("", "bootmgfw.efi", 3))),
            (NODE_A, UEFI_IA32, None),
            (BAD, UEFI_X64, None),
            (SERVER_ADDRESS, UEFI_X64, None),
            (STRANGER, UEFI_X64, None),
        ];
        for (client, arch, expected) in cases {
            let args = [&client.to_string(), "--arch", &arch.to_string(), "--json"];
            let ended = look_up(&site, offline, &args)?;
            let looked: Value = serde_json::from_str(&ended.stdout)?;
            let request = RequestFrame::edk2(client, arch);
            if let Some((winpe, loader, record)) = expected {
                assert_eq!(
                    (ended.code, ended.stderr.as_str()),
                    (Some(0), ""),
                    "{ended:?}"
                );
                assert_eq!(looked[0]["loader"], format!("{winpe}Boot/{loader}"));
                assert_eq!(looked[0]["bcd"], format!("{winpe}Boot/BCD"));
                assert_eq!(looked[0]["record"], record);
                assert_eq!(looked[0]["offset"], (record - 1) * 200);
                site.ask(&request, winpe, arch)?;
            } else {
                assert_eq!(ended.code, Some(1), "{ended:?}");
                assert_eq!(looked[0]["answered"], json!(false));
                site.stays_silent(&request.bytes())?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_node_without_support_is_told_as_such() -> Result<()> {
    let files = files()?;
    std::fs::write(files.path("proxydhcp.cfg.disabled"), "b\nelsewhere\n")?;
    files.write_hosts(&[("10.77.1.2", "b"), ("10.77.9.9", "elsewhere")])?;
    // With no node at all, nothing would be in service.
    let site = Site::start(Datapath::Raw, files, &["--unknown", "default"])?;
    for offline in [false, true] {
        for (client, name, record) in [
            ("10.77.1.2", "b", "b is record 2 of "),
            ("elsewhere", "elsewhere", "elsewhere has no record in "),
        ] {
            let ended = look_up(&site, offline, &[client])?;
            assert_eq!(ended.code, Some(1), "{ended:?}");
            let told = format!(
                "Its supportproxydhcp is no, so it is ignored; `proxydhcp node set {name} \
                 supportproxydhcp=yes` ends that."
            );
            for text in [record, &told, "=> NOT answered"] {
                assert!(ended.stdout.contains(text), "{text}: {}", ended.stdout);
            }
        }
    }
    Ok(())
}

#[test]
fn what_a_discover_gets_is_told_by_the_daemon_and_by_the_settings() -> Result<()> {
    let files = files()?;
    files.write_settings("rate-limit = 0\noffers = \"known\"\noffer-delay = 300\n")?;
    std::fs::write(
        files.path("proxydhcp.cfg.hardware"),
        "a mac=52:54:00:00:00:0a\n",
    )?;
    let site = Site::start(Datapath::Raw, files, &[])?;
    let settings = site.files.path("proxydhcp.toml").display().to_string();
    let asks = "When it asks for an address, it gets";
    for offline in [false, true] {
        for (client, offered, step) in [
            ("a", true, "an offer after 300ms (--offers known)."),
            (
                "52:54:00:00:00:0a",
                true,
                "an offer after 300ms (--offers known).",
            ),
            (
                "b",
                false,
                "no offer (--offers known), because b is known by no hardware",
            ),
            ("10.77.9.9", false, "no offer either (--offers known)."),
        ] {
            let by_settings = ["--settings", &settings];
            let ended = look_up(&site, offline, &[&[client][..], &by_settings].concat())?;
            let told = format!("{asks} {step}");
            assert!(ended.stdout.contains(&told), "{told}: {ended:?}");
            let json = [&[client, "--json"][..], &by_settings].concat();
            let looked: Value = serde_json::from_str(&look_up(&site, offline, &json)?.stdout)?;
            assert_eq!(looked[0]["offered"], offered, "{client}");
        }
    }
    let ended = look_up(
        &site,
        true,
        &["a", "--settings", &settings, "--offers", "off"],
    )?;
    let told = format!("{asks} no offer (--offers off)");
    assert!(ended.stdout.contains(&told), "{ended:?}");
    Ok(())
}

#[test]
fn without_a_daemon_the_settings_tell_what_it_would_say() -> Result<()> {
    let site = Site::start(Datapath::Raw, files()?, &[])?;
    let settings = site.files.path("proxydhcp.toml").display().to_string();
    let next = |args: &[&str]| -> Result<Value> {
        let common = ["10.77.1.2", "--json", "--settings", &settings];
        let ended = look_up(&site, true, &[&common, args].concat())?;
        let looked: Value = serde_json::from_str(&ended.stdout)?;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        Ok(looked[0]["next_server"].clone())
    };
    assert_eq!(next(&[])?, Value::Null);
    site.files
        .write_settings("next-server = \"10.77.0.5\"\nreply-format = \"xcat\"\n")?;
    assert_eq!(next(&[])?, "10.77.0.5");
    assert_eq!(next(&["--next-server", "10.77.0.6"])?, "10.77.0.6");
    Ok(())
}

#[test]
fn the_steps_are_told_in_plain_words() -> Result<()> {
    let site = Site::start(Datapath::Raw, files()?, &["--next-server", "10.77.0.5"])?;
    for (args, code, texts) in [
        (
            &["10.77.1.2"][..],
            0,
            &[
                "1. 10.77.1.2 is b, by line 3 of",
                "from 10.77.0.5",
                "=> answered",
            ][..],
        ),
        (
            &["B.cluster", "--arch", "bios"],
            0,
            &["has the address 10.77.1.2", "pxeboot.0"],
        ),
        (
            &["10.77.1.4"],
            1,
            &["record 4", "at byte 600", "has a '..'", "=> NOT answered"],
        ),
        (&["10.77.0.1"], 1, &["an address of this host itself"]),
        (&["10.77.9.9"], 1, &["No line of", "--unknown ignore"]),
        (&["nobody"], 1, &["has no record of nobody"]),
    ] {
        let ended = look_up(&site, false, args)?;
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(code), ""),
            "{ended:?}"
        );
        for text in texts {
            assert!(ended.stdout.contains(text), "{text}: {ended:?}");
        }
    }
    Ok(())
}

#[test]
fn the_daemon_tells_what_it_has_and_not_what_the_files_have_become() -> Result<()> {
    let site = Site::start(Datapath::Raw, files()?, &["--unknown", "default"])?;
    site.files.write_config(&[("a", "winboot/new/")])?;
    let loader = |offline| -> Result<Value> {
        let ended = look_up(&site, offline, &["10.77.1.1", "--json"])?;
        Ok(serde_json::from_str::<Value>(&ended.stdout)?[0]["loader"].clone())
    };
    assert_eq!(loader(false)?, "winboot/a/Boot/bootmgfw.efi");
    assert_eq!(loader(true)?, "winboot/new/Boot/bootmgfw.efi");
    // The settings file of `serve` names files too; that does not make it read them.
    let settings = site.files.path("settings.toml");
    let [config, socket] = ["proxydhcp.cfg", "control.sock"].map(|file| site.files.path(file));
    std::fs::write(
        &settings,
        format!("config = {config:?}\ncontrol = {socket:?}\nunknown = \"default\"\n"),
    )?;
    let mut command = Command::new(binary()?);
    command
        .args(["lookup", "10.77.1.1", "--settings"])
        .arg(&settings);
    let ended = Ended::from(command.output()?);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(
        ended.stdout.contains("winboot/a/Boot/bootmgfw.efi"),
        "{ended:?}"
    );
    site.files.write_raw_config(b"half a record")?;
    assert_eq!(site.command(&["reload"])?.code, Some(1));
    let ended = look_up(&site, false, &["10.77.9.9"])?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for text in ["The newest files are NOT in service", "(--unknown default)"] {
        assert!(ended.stdout.contains(text), "{text}: {ended:?}");
    }
    let ended = look_up(&site, true, &["10.77.1.1"])?;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(
        ended
            .stderr
            .contains("not a multiple of the 200-byte record"),
        "{ended:?}"
    );
    Ok(())
}

/// Before a file has been read, the daemon does not know which clients are unknown.
#[test]
fn a_policy_that_is_not_in_service_is_not_told() -> Result<()> {
    let files = Files::usual()?;
    files.write_raw_config(b"no record")?;
    let mut site = Site::start(Datapath::Raw, files, &["--unknown", "default"])?;
    site.stays_silent_to(STRANGER)?;
    let ended = site.command(&["lookup", &STRANGER.to_string()])?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told = "Clients without a record get no answer (--unknown ignore).";
    assert!(ended.stdout.contains(told), "{ended:?}");
    Ok(())
}
