//! `proxydhcp probe` asks as firmware does: on every datapath, and where nobody answers.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use proxydhcp_lab::site::{Datapath, Files, Site};
use proxydhcp_lab::{CLIENT_ADDRESS, Ended, Lab, Namespace, SERVER_ADDRESS, binary};
use serde_json::{Value, json};

/// Runs a probe in the namespace.
fn probe(namespace: &Namespace, args: &[&str]) -> Result<Ended> {
    let mut command = Command::new(binary()?);
    command.arg("probe").args(args);
    Ok(Ended::from(namespace.output(command)?))
}

/// The usual files, and a record for the client namespace's own address.
fn files() -> Result<Files> {
    let files = Files::usual()?;
    files.write_config(&[("probe", "winboot/p/")])?;
    files.write_hosts(&[(&CLIENT_ADDRESS.to_string(), "probe")])?;
    Ok(files)
}

#[test]
fn a_daemon_that_answers_is_sound_on_every_datapath() -> Result<()> {
    for datapath in Datapath::ALL {
        let site = Site::start(datapath, files()?, &[])?;
        let server = SERVER_ADDRESS.to_string();
        for (arch, loader, port) in [
            ("bios", "pxeboot.0", 68),
            ("0", "pxeboot.0", 68),
            ("uefi", "bootmgfw.efi", 4011),
            ("9", "bootmgfw.efi", 4011),
        ] {
            let ended = probe(&site.lab.client, &[&server, "--arch", arch, "--json"])?;
            assert_eq!(
                (ended.code, ended.stderr.as_str()),
                (Some(0), ""),
                "{datapath:?} {arch}: {ended:?}; {}",
                site.describe()
            );
            let reply: Value = serde_json::from_str(&ended.stdout)?;
            let expected = json!([
                format!("winboot/p/Boot/{loader}"),
                "winboot/p/Boot/BCD",
                server,
                server,
                "PXEClient",
                [],
                port,
                1,
                CLIENT_ADDRESS.to_string(),
            ]);
            let keys = [
                "loader",
                "bcd",
                "next_server",
                "server_id",
                "vendor_class",
                "faults",
                "port",
                "tries",
                "client",
            ];
            let told: Vec<&Value> = keys.iter().map(|key| &reply[key]).collect();
            assert_eq!(json!(told), expected, "{datapath:?}");
        }
        assert_eq!(site.counters()?["answered"], 4);
    }
    Ok(())
}

/// It is the XDP program that is probed where that answers, and it answers without a daemon.
#[test]
fn the_kernel_answers_a_probe_with_the_daemon_and_after_its_end_by_kill() -> Result<()> {
    for datapath in [Datapath::Native, Datapath::Generic] {
        let mut site = Site::start(datapath, files()?, &[])?;
        for arch in ["uefi", "bios"] {
            let ended = probe(&site.lab.client, &["10.77.0.1", "--arch", arch])?;
            assert_eq!(ended.code, Some(0), "{datapath:?}: {ended:?}");
        }
        let interface = site.status()?["interfaces"][0].clone();
        assert_eq!(
            (
                &interface["program"]["answered"],
                &interface["raw"]["received"]
            ),
            (&json!(2), &json!(0)),
            "{datapath:?}: {interface}"
        );
        site.daemon.crash()?;
        for arch in ["uefi", "bios"] {
            let ended = probe(&site.lab.client, &["10.77.0.1", "--arch", arch])?;
            assert_eq!(ended.code, Some(0), "{datapath:?}: {ended:?}");
        }
    }
    Ok(())
}

#[test]
fn a_reply_is_told_in_a_few_lines() -> Result<()> {
    let site = Site::start(Datapath::Generic, files()?, &["--next-server", "10.77.0.5"])?;
    let from = CLIENT_ADDRESS.to_string();
    let ended = probe(&site.lab.client, &["10.77.0.1", "--from", &from])?;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(
        lines[0].starts_with("10.77.0.1 answered 10.77.255.254, port 4011 (UEFI on x64"),
        "{ended:?}"
    );
    assert_eq!(
        lines[1..],
        [
            "loader        winboot/p/Boot/bootmgfw.efi (file)",
            "BCD           winboot/p/Boot/BCD (option 252)",
            "next server   10.77.0.5 (siaddr: where both are fetched by TFTP)",
            "server id     10.77.0.1 (option 54)",
            "vendor class  PXEClient (option 60)",
        ]
    );
    Ok(())
}

#[test]
fn a_probe_from_an_address_without_a_record_gets_no_reply_and_says_why() -> Result<()> {
    for datapath in Datapath::ALL {
        let site = Site::usual(datapath)?;
        let ended = probe(&site.lab.client, &["10.77.0.1", "--timeout", "0.6"])?;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(1), ""),
            "{ended:?}"
        );
        for text in [
            "no reply from 10.77.0.1 to 10.77.255.254",
            "to 3 requests",
            "`proxydhcp lookup 10.77.255.254 --arch 7`",
        ] {
            assert!(ended.stderr.contains(text), "{text}: {ended:?}");
        }
        // The daemon has seen each of them, and refused it.
        assert_eq!(site.counters()?["refused"], json!({"unknown-client": 3}));
    }
    Ok(())
}

#[test]
fn where_nobody_listens_the_probe_says_so_at_once() -> Result<()> {
    let lab = Lab::new()?;
    let ended = probe(&lab.client, &["10.77.0.1", "--timeout", "60"])?;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("no program listens on 10.77.0.1"),
        "{ended:?}"
    );
    // No machine has this address; no route leads to that one.
    let ended = probe(&lab.client, &["10.77.3.3", "--timeout", "60"])?;
    assert!(ended.stderr.contains("10.77.3.3 is not there"), "{ended:?}");
    let ended = probe(&lab.client, &["192.0.2.1"])?;
    assert!(ended.stderr.contains("no route to 192.0.2.1"), "{ended:?}");
    let ended = probe(&lab.client, &["10.77.0.1", "--from", "10.77.0.9"])?;
    assert!(
        ended
            .stderr
            .contains("10.77.0.9 is not an address of this host"),
        "{ended:?}"
    );
    let taken = |port| {
        lab.client
            .run(move || Ok(UdpSocket::bind((CLIENT_ADDRESS, port))?))
    };
    let _taken = (taken(68)?, taken(4011)?);
    let ended = probe(&lab.client, &["10.77.0.1"])?;
    assert!(
        ended.stderr.contains("port 4011 is taken") && ended.stderr.contains("port 68 is taken"),
        "{ended:?}"
    );
    Ok(())
}

#[test]
fn from_the_host_to_itself_the_probe_tells_that_it_cannot() -> Result<()> {
    for datapath in Datapath::ALL {
        let files = files()?;
        files.write_hosts(&[("10.77.0.1", "probe")])?;
        let site = Site::start(datapath, files, &[])?;
        for server in ["10.77.0.1", "127.0.0.1"] {
            let ended = probe(&site.lab.server, &[server])?;
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
            // What does not help is not advised.
            assert!(!ended.stderr.contains("probe 127.0.0.1"), "{ended:?}");
            for text in ["sends to itself crosses no interface", "`ip netns exec"] {
                assert!(ended.stderr.contains(text), "{text}: {ended:?}");
            }
        }
        // And that is true: no datapath sees a request that is sent all the same.
        let socket = site.lab.server.run(|| {
            let socket = UdpSocket::bind((SERVER_ADDRESS, 68))?;
            socket.send_to(&[1; 300], (SERVER_ADDRESS, 4011))?;
            Ok(socket)
        })?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        assert!(socket.recv(&mut [0; 600]).is_err());
        let counters = site.counters()?;
        assert_eq!(
            (&counters["answered"], &counters["refused"]),
            (&json!(0), &json!({}))
        );
    }
    Ok(())
}

/// A server that answers with what the test wants it to.
#[test]
fn a_malformed_reply_is_named_field_by_field() -> Result<()> {
    let lab = Lab::new()?;
    let server = lab
        .server
        .run(|| Ok(UdpSocket::bind((SERVER_ADDRESS, 4011))?))?;
    server.set_read_timeout(Some(Duration::from_secs(10)))?;
    let answering = std::thread::spawn(move || -> Result<Ipv4Addr> {
        let mut request = [0; 600];
        let (length, client) = server.recv_from(&mut request)?;
        // Another transaction's reply first: it is passed over.
        let mut reply = request[..length].to_vec();
        reply[0] = 2;
        reply[4] ^= 1;
        server.send_to(&reply, client)?;
        reply[4] ^= 1;
        // The request again, but for op: no ACK, no server, no files.
        server.send_to(&reply, client)?;
        Ok(client.ip().to_string().parse()?)
    });
    let ended = probe(&lab.client, &["10.77.0.1", "--timeout", "10"])?;
    assert_eq!(ended.code, Some(1));
    for text in [
        "malformed",
        "siaddr is 0.0.0.0",
        "file is empty",
        "option 53 (message type) is 3, not 5",
        "there is no option 54",
        "there is no option 252",
    ] {
        assert!(ended.stderr.contains(text), "{text}: {ended:?}");
    }
    let asked_from = answering
        .join()
        .unwrap_or_else(|_| anyhow::bail!("the server panicked"))?;
    assert_eq!(asked_from, CLIENT_ADDRESS);
    Ok(())
}
