//! Offers to PXE clients beside DHCP servers that know nothing of them: `--offers`.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by what it says"
)]

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::{BIOS, UEFI_X64};
use proxydhcp_lab::debian::ensure_installed;
use proxydhcp_lab::link::{End, LinkOptions, connect};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, STRANGER, Site};
use proxydhcp_lab::{Ended, Lab, Namespace, RequestFrame, SERVER_ADDRESS, SERVER_MAC, bridge};
use serde_json::{Value, json};

/// A hang is noticed, and nothing else.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait for an offer that must not come.
const SILENCE: Duration = Duration::from_millis(150);

const MAC_A: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0xa];
const MAC_B: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0xb];
const NOBODY: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x99];
const KNOWN: [&str; 2] = ["--offers", "known"];
const ALL: [&str; 4] = ["--offers", "all", "--unknown", "default"];

fn files() -> Result<Files> {
    let files = Files::usual()?;
    fs::write(
        files.path("proxydhcp.cfg.hardware"),
        "a mac=52:54:00:00:00:0a\nb mac=52:54:00:00:00:0b\n",
    )?;
    Ok(files)
}

/// The DISCOVER of a machine with this network card, as its firmware sends it.
fn discover(mac: [u8; 6], architecture: u16) -> RequestFrame {
    const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
    let mut discover = if architecture == BIOS {
        RequestFrame::legacy(STRANGER, architecture)
    } else {
        RequestFrame::edk2(STRANGER, architecture)
    };
    discover.source_mac = mac;
    discover.destination_mac = [0xff; 6];
    (discover.source, discover.destination) = (NONE, Ipv4Addr::BROADCAST);
    (discover.source_port, discover.destination_port) = (68, 67);
    discover.ciaddr = NONE;
    discover.flags = 0x8000;
    discover.xid = u32::from_be_bytes([mac[2], mac[3], mac[4], mac[5]]);
    discover.chaddr = [0; 16];
    discover.chaddr[..6].copy_from_slice(&mac);
    discover.set_option(53, [1]);
    discover
}

/// An offer, as a client reads it.
#[derive(Debug)]
struct Offer {
    to: [u8; 6],
    from: [u8; 6],
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    bootp: Vec<u8>,
    options: Vec<(u8, Vec<u8>)>,
}

impl Offer {
    /// Reads a frame, if it is a BOOTP reply from port 67. Its checksums must be right.
    fn read(frame: &[u8]) -> Option<Self> {
        let ip = frame.get(14..34)?;
        let udp = frame.get(34..42)?;
        let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        if frame[12..14] != [8, 0] || ip[9] != 17 || port(0) != 67 || frame[42] != 2 {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        assert_eq!(length, frame.len() - 14);
        assert_eq!(sum(&[ip]), 0xffff, "the IP checksum");
        let pseudo = [&ip[12..20], &[0, 17], &udp[4..6]].concat();
        assert_eq!(sum(&[&pseudo, &frame[34..]]), 0xffff, "the UDP checksum");
        let bootp = frame[42..].to_vec();
        assert!((300..=576).contains(&bootp.len()), "{}", bootp.len());
        assert_eq!(bootp[236..240], [99, 130, 83, 99]);
        let mut options = Vec::new();
        let mut rest = &bootp[240..];
        while rest[0] != 255 {
            let (value, behind) = rest[2..].split_at(usize::from(rest[1]));
            options.push((rest[0], value.to_vec()));
            rest = behind;
        }
        let address = |at: usize| Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]);
        Some(Self {
            to: frame[..6].try_into().ok()?,
            from: frame[6..12].try_into().ok()?,
            source: (address(12), port(0)),
            destination: (address(16), port(2)),
            bootp,
            options,
        })
    }

    fn option(&self, code: u8) -> Option<&[u8]> {
        let mut options = self.options.iter().filter(|(is, _)| *is == code);
        let first = options.next().map(|(_, value)| value.as_slice());
        assert!(options.next().is_none(), "twice: {self:?}");
        first
    }

    fn xid(&self) -> u32 {
        u32::from_be_bytes(self.bootp[4..8].try_into().unwrap())
    }
}

fn sum(parts: &[&[u8]]) -> u32 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum & 0xffff) + (sum >> 16)
}

/// The next offer within this time.
fn next(site: &mut Site, timeout: Duration) -> Result<Option<Offer>> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match site.tap.receive(left)? {
            None => return Ok(None),
            Some(frame) => {
                if let Some(offer) = Offer::read(&frame).filter(|it| it.from == SERVER_MAC) {
                    return Ok(Some(offer));
                }
            }
        }
    }
}

/// Sends a DISCOVER, and takes the offer to it, which it checks.
fn offered(site: &mut Site, discover: &RequestFrame) -> Result<Offer> {
    site.tap.send(&discover.bytes())?;
    let offer = next(site, PATIENCE)?.with_context(|| site.describe())?;
    let bootp = &offer.bootp;
    ensure!(offer.xid() == discover.xid && bootp[28..44] == discover.chaddr);
    ensure!(offer.source == (SERVER_ADDRESS, 67), "{offer:?}");
    // ciaddr, yiaddr, siaddr, giaddr; nothing that looks like a lease.
    ensure!(bootp[12..20] == [0; 8] && bootp[20..24] == SERVER_ADDRESS.octets());
    ensure!(bootp[24..28] == discover.giaddr.octets() && bootp[44..236] == [0; 192]);
    ensure!(offer.option(53) == Some(&[2]) && offer.option(60) == Some(b"PXEClient"));
    ensure!(offer.option(54) == Some(&SERVER_ADDRESS.octets()[..]));
    for lease in [1, 3, 6, 43, 51, 66, 67, 252] {
        ensure!(offer.option(lease).is_none(), "{lease}: {offer:?}");
    }
    Ok(offer)
}

fn is_not_offered(site: &mut Site, discover: &RequestFrame) -> Result<()> {
    site.tap.send(&discover.bytes())?;
    let offer = next(site, SILENCE)?;
    ensure!(offer.is_none(), "{offer:?}");
    Ok(())
}

fn offers(site: &Site) -> Result<Value> {
    let status = site.status()?;
    let offers = status.pointer("/interfaces/0/offers");
    offers
        .cloned()
        .with_context(|| format!("no offers in {status}"))
}

#[test]
fn a_whole_conversation_leads_to_the_nodes_own_winpe() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::start(datapath, files()?, &KNOWN)?;
        for (mac, winpe, architecture) in
            [(MAC_A, "winboot/a/", UEFI_X64), (MAC_B, "winboot/b/", BIOS)]
        {
            let discover = discover(mac, architecture);
            let offer = offered(&mut site, &discover)?;
            ensure!(offer.to == [0xff; 6] && offer.destination == (Ipv4Addr::BROADCAST, 68));
            let uuid = discover.options.iter().find(|(code, _)| *code == 97);
            ensure!(offer.option(97) == uuid.map(|(_, uuid)| uuid.as_slice()));

            // With whatever lease the client then has.
            let mut request = if architecture == BIOS {
                RequestFrame::legacy(STRANGER, architecture)
            } else {
                RequestFrame::edk2(STRANGER, architecture)
            };
            request.chaddr = discover.chaddr;
            let reply = site.ask(&request, winpe, architecture)?;
            ensure!(reply[42 + 20..42 + 24] == offer.bootp[20..24], "siaddr");
        }
        let offers = offers(&site)?;
        ensure!(
            (&offers["received"], &offers["answered"]) == (&json!(2), &json!(2)),
            "{offers}"
        );
    }
    Ok(())
}

#[test]
fn a_stranger_a_disabled_and_a_refused_node_get_no_offer() -> Result<()> {
    for datapath in [Datapath::Generic, Datapath::Raw] {
        for more in [&KNOWN[..], &ALL] {
            let files = files()?;
            files.write_config(&[("a", "winboot/a"), ("b", ".."), ("default", "")])?;
            fs::write(files.path("proxydhcp.cfg.disabled"), "a\n")?;
            let mut site = Site::start(datapath, files, more)?;
            for mac in [MAC_A, MAC_B] {
                is_not_offered(&mut site, &discover(mac, UEFI_X64))?;
            }
            let stranger = discover(NOBODY, UEFI_X64);
            if more.len() == KNOWN.len() {
                is_not_offered(&mut site, &stranger)?;
                ensure!(offers(&site)?["refused"] == json!({"unknown-client": 3}));
            } else {
                offered(&mut site, &stranger)?;
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_no_pxe_discover_is_left_alone() -> Result<()> {
    let mut site = Site::start(Datapath::Generic, files()?, &ALL)?;
    let mut ordinary = discover(MAC_A, UEFI_X64);
    ordinary
        .options
        .retain(|(code, _)| *code != 60 && *code != 93);
    let mut request = discover(MAC_A, UEFI_X64);
    request.set_option(53, [3]);
    let mut reply = discover(MAC_A, UEFI_X64);
    reply.op = 2;
    let mut no_architecture = discover(MAC_A, UEFI_X64);
    no_architecture.options.retain(|(code, _)| *code != 93);
    let mut http = discover(MAC_A, UEFI_X64);
    http.set_option(60, *b"HTTPClient:Arch:00016:UNDI:003001");
    let mut arm = discover(MAC_A, 11);
    arm.set_option(93, [0, 11]);
    // A second stage that has a script of its own.
    let mut ipxe = discover(NOBODY, BIOS);
    ipxe.set_option(77, *b"iPXE");
    for frame in [
        &ordinary,
        &request,
        &reply,
        &no_architecture,
        &http,
        &arm,
        &ipxe,
    ] {
        is_not_offered(&mut site, frame)?;
    }
    let offers = offers(&site)?;
    ensure!(
        (&offers["received"], &offers["http"], &offers["ipxe"])
            == (&json!(2), &json!(1), &json!(1)),
        "{offers}"
    );
    ensure!(offers["refused"] == json!({"architecture": 2}), "{offers}");
    // A node is to boot its WinPE whatever its network card has for firmware.
    let mut rom = discover(MAC_A, BIOS);
    rom.set_option(77, *b"iPXE");
    offered(&mut site, &rom)?;
    Ok(())
}

#[test]
fn a_relay_gets_the_offer_with_its_own_option() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::start(datapath, files()?, &KNOWN)?;
        let relay = Ipv4Addr::new(10, 77, 200, 1);
        let mut relayed = discover(MAC_A, UEFI_X64);
        relayed.source_mac = [2, 0, 0, 0, 0, 0x77];
        relayed.destination_mac = SERVER_MAC;
        (relayed.source, relayed.destination) = (relay, SERVER_ADDRESS);
        relayed.source_port = 67;
        relayed.giaddr = relay;
        relayed.hops = 1;
        let circuit = vec![1, 4, b'p', b'o', b'r', b't'];
        relayed.options.push((82, circuit.clone()));
        let offer = offered(&mut site, &relayed)?;
        ensure!(
            offer.to == relayed.source_mac && offer.destination == (relay, 67),
            "{offer:?}"
        );
        ensure!(offer.options.last() == Some(&(82, circuit)), "{offer:?}");
        // Not for a client that says so itself.
        let mut direct = discover(MAC_A, UEFI_X64);
        direct.options.push((82, vec![1, 1, b'x']));
        ensure!(offered(&mut site, &direct)?.option(82).is_none());
    }
    Ok(())
}

#[test]
fn ten_thousand_at_once_all_get_their_offer() -> Result<()> {
    const CLIENTS: u32 = 10_000;
    for datapath in Datapath::ALL {
        let mut site = Site::start(datapath, files()?, &ALL)?;
        let discovers: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let [_, _, high, low] = number.to_be_bytes();
                discover([0x52, 0x54, 1, 0, high, low], UEFI_X64).bytes()
            })
            .collect();
        let started = Instant::now();
        for frame in &discovers {
            site.tap.send(frame)?;
        }
        let mut seen = std::collections::HashSet::new();
        while seen.len() < CLIENTS as usize {
            let offer = next(&mut site, PATIENCE)?;
            let offer = offer.with_context(|| format!("{}: {}", seen.len(), site.describe()))?;
            seen.insert(offer.xid());
        }
        println!("{datapath:?}: {CLIENTS} offers in {:?}", started.elapsed());
    }
    Ok(())
}

#[test]
fn an_offer_may_wait() -> Result<()> {
    let mut site = Site::start(
        Datapath::Generic,
        files()?,
        &["--offers", "known", "--offer-delay", "300"],
    )?;
    let started = Instant::now();
    offered(&mut site, &discover(MAC_A, UEFI_X64))?;
    ensure!(started.elapsed() >= Duration::from_millis(300));
    Ok(())
}

#[test]
fn offers_are_limited_by_the_clients_hardware_address() -> Result<()> {
    let files = files()?;
    files.write_settings("rate-limit = 1\nburst = 2\n")?;
    let mut site = Site::start(Datapath::Generic, files, &KNOWN)?;
    for _ in 0..2 {
        offered(&mut site, &discover(MAC_A, UEFI_X64))?;
    }
    is_not_offered(&mut site, &discover(MAC_A, UEFI_X64))?;
    offered(&mut site, &discover(MAC_B, UEFI_X64))?;
    ensure!(offers(&site)?["limited"] == json!(1));
    Ok(())
}

#[test]
fn a_broadcast_request_of_a_node_is_answered_where_offers_are_made() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut request = RequestFrame::edk2(NODE_A, UEFI_X64);
        request.destination = Ipv4Addr::BROADCAST;
        request.destination_mac = [0xff; 6];
        let mut site = Site::start(datapath, files()?, &[])?;
        site.stays_silent(&request.bytes())?;
        drop(site);
        site = Site::start(datapath, files()?, &KNOWN)?;
        let reply = site.tap.ask(&request)?;
        ensure!(reply[26..30] == SERVER_ADDRESS.octets() && reply[30..34] == NODE_A.octets());
        ensure!(reply[42 + 108..].starts_with(b"winboot/a/"), "{reply:02x?}");
    }
    Ok(())
}

#[test]
fn offers_are_off_unless_asked_for_and_all_needs_a_policy() -> Result<()> {
    let mut site = Site::start(Datapath::Generic, files()?, &[])?;
    is_not_offered(&mut site, &discover(MAC_A, UEFI_X64))?;
    ensure!(site.status()?.pointer("/interfaces/0/offers").is_none());
    let all = site
        .daemon
        .proxydhcp(&site.lab.server, &["serve", "--check", "--offers", "all"])?;
    let all = Ended::from(all);
    ensure!(
        all.code != Some(0) && all.stderr.contains("set unknown = \"default\""),
        "{all:?}"
    );
    // Nobody could be offered anything.
    let site = Site::start(Datapath::Generic, Files::usual()?, &KNOWN)?;
    let status = site.command(&["status"])?.stdout;
    ensure!(status.contains("offers: no node gets one"), "{status}");
    Ok(())
}

/// An ordinary DHCP server that has never heard of PXE.
struct Dnsmasq {
    child: Child,
    log: std::path::PathBuf,
}

impl Dnsmasq {
    fn start(namespace: &Namespace, interface: &str, files: &Files) -> Result<Self> {
        ensure_installed("dnsmasq", "dnsmasq-base")?;
        let log = files.path("dnsmasq.log");
        let log_file = fs::File::create(&log)?;
        let leases = files.path("leases").display().to_string();
        let mut command = Command::new("dnsmasq");
        command
            .args([
                "--keep-in-foreground",
                "--port=0",
                "--conf-file=/dev/null",
                "--user=root",
            ])
            .args([
                "--log-facility=-",
                "--log-dhcp",
                "--dhcp-authoritative",
                "--no-ping",
            ])
            .arg("--dhcp-range=10.77.40.1,10.77.60.254,255.255.0.0,1h")
            .arg(format!("--dhcp-leasefile={leases}"))
            .arg(format!("--interface={interface}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file);
        let child = namespace.run(move || Ok(command.spawn()?))?;
        let server = Self { child, log };
        let started = Instant::now();
        while !server.text()?.contains("started") {
            ensure!(started.elapsed() < PATIENCE, "{}", server.text()?);
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn text(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.log)?)
    }

    /// Waits until it has received this many DISCOVERs.
    fn has_received(&self, discovers: usize) -> Result<()> {
        let started = Instant::now();
        let count = || -> Result<usize> { Ok(self.text()?.matches("DHCPDISCOVER").count()) };
        while count()? < discovers {
            ensure!(started.elapsed() < PATIENCE, "{} of {discovers}", count()?);
            thread::sleep(Duration::from_millis(20));
        }
        ensure!(count()? == discovers);
        Ok(())
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_dhcp_server_on_this_host_receives_every_discover() -> Result<()> {
    const DISCOVERS: u8 = 100;
    for datapath in Datapath::ALL {
        let site = Site::start(datapath, files()?, &ALL)?;
        let dhcp = Dnsmasq::start(&site.lab.server, "px0", &site.files)?;
        for number in 0..DISCOVERS {
            let discover = discover([0x52, 0x54, 2, 0, 0, number], UEFI_X64);
            site.tap.send(&discover.bytes())?;
            thread::sleep(Duration::from_millis(2));
        }
        dhcp.has_received(DISCOVERS.into())?;
        let offers = offers(&site)?;
        ensure!(offers["answered"] == json!(DISCOVERS), "{offers}");
        // Nobody holds port 67 but the DHCP server.
        drop(dhcp);
        site.lab
            .server
            .run(|| Ok(UdpSocket::bind(("0.0.0.0", 67))?))
            .context("port 67 is held")?;
    }
    Ok(())
}

#[test]
fn a_dhcp_server_behind_a_port_of_this_hosts_bridge_receives_every_discover() -> Result<()> {
    const DISCOVERS: u8 = 100;
    for datapath in [Datapath::Generic, Datapath::AfXdp, Datapath::Raw] {
        let lab = Lab::new()?;
        // The server's interface is a port of a bridge, and the DHCP server is behind another port.
        let behind = Namespace::new()?;
        let end = |namespace, interface, mac, address| End {
            namespace,
            interface,
            mac,
            address: (address, 24),
        };
        let near = end(
            &lab.server,
            "pb0",
            [2, 0, 0, 0, 9, 1],
            Ipv4Addr::new(10, 99, 0, 1),
        );
        let mut far = end(
            &behind,
            "dh0",
            [2, 0, 0, 0, 9, 2],
            Ipv4Addr::new(10, 77, 30, 1),
        );
        far.address.1 = 16;
        let options = LinkOptions {
            takes_xdp: false,
            ..LinkOptions::default()
        };
        connect(&near, &far, &options)?;
        bridge::make(&lab.server, "br0")?;
        for port in ["px0", "pb0"] {
            bridge::add_port(&lab.server, "br0", port)?;
        }
        let site = Site::start_in(lab, datapath, files()?, &ALL)?;
        let dhcp = Dnsmasq::start(&behind, "dh0", &site.files)?;
        for number in 0..DISCOVERS {
            let discover = discover([0x52, 0x54, 3, 0, 0, number], UEFI_X64);
            site.tap.send(&discover.bytes())?;
            thread::sleep(Duration::from_millis(2));
        }
        dhcp.has_received(DISCOVERS.into())?;
        ensure!(offers(&site)?["answered"] == json!(DISCOVERS));
    }
    Ok(())
}

#[test]
fn the_address_of_one_node_offered_to_anothers_machine_boots_neither() -> Result<()> {
    let mut site = Site::start(Datapath::Generic, files()?, &KNOWN)?;
    offered(&mut site, &discover(MAC_A, UEFI_X64))?;
    // Its DHCP server has given it b's address.
    let mut request = RequestFrame::edk2(NODE_B, UEFI_X64);
    request.chaddr = discover(MAC_A, UEFI_X64).chaddr;
    site.stays_silent(&request.bytes())?;
    ensure!(site.counters()?["refused"] == json!({"identity": 1}));
    Ok(())
}
