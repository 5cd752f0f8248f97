//! `proxydhcp check-dhcp` asks real DHCP servers as a PXE client would, and says what keeps clients from
//! booting.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::dhcp_server::{DhcpServer, ToPxe, start_proxy};
use proxydhcp_lab::site::Files;
use proxydhcp_lab::{
    CLIENT_INTERFACE, Daemon, Ended, Lab, Namespace, SERVER_INTERFACE, binary, bridge,
};
use serde_json::Value;
use tempfile::TempDir;

fn check(lab: &Lab, more: &[&str]) -> Result<Ended> {
    let mut command = Command::new(binary()?);
    command.args(["check-dhcp", "-i", "pc0"]).args(more);
    Ok(lab.client.output(command)?.into())
}

fn says(ended: &Ended, code: i32, texts: &[&str]) -> Result<()> {
    ensure!(
        ended.code == Some(code) && ended.stderr.is_empty(),
        "{ended:?}"
    );
    for text in texts {
        ensure!(ended.stdout.contains(text), "{text:?}: {ended:?}");
    }
    Ok(())
}

#[test]
fn each_server_is_shown_with_what_keeps_clients_from_booting() -> Result<()> {
    for server in DhcpServer::ALL {
        for to_pxe in [ToPxe::Nothing, ToPxe::BootFile, ToPxe::Option60] {
            let (lab, folder) = (Lab::new()?, TempDir::new()?);
            let running =
                server.start_ordinary(&lab.server, SERVER_INTERFACE, folder.path(), to_pxe)?;
            let context = || format!("{server:?} {to_pxe:?}: {}", running.log());
            let ended = check(&lab, &["--timeout", "2"])?;
            let texts: &[&str] = match to_pxe {
                ToPxe::Nothing => &["no server sends PXE clients to proxydhcp", "dhcp-conf isc"],
                ToPxe::BootFile => &["sends the boot file pxelinux.0", "and ask no further"],
                ToPxe::Option60 => &["a stale option 60", "10.77.0.1 on port 4011, where nobody"],
            };
            says(&ended, 1, texts).with_context(context)?;
            for line in ["BIOS      10.77.0.1  10.77.", "UEFI x64  10.77.0.1  10.77."] {
                ensure!(ended.stdout.contains(line), "{line:?}: {ended:?}");
            }
            // It has taken no lease, and asked for nothing: nobody has an address.
            let leases = fs::read_to_string(folder.path().join("leases"))?;
            ensure!(!leases.contains("binding state active"), "{leases}");
            ensure!(!running.log().contains("DHCPREQUEST"), "{}", running.log());
        }
    }
    Ok(())
}

#[test]
fn where_no_server_is_it_says_so_and_exits_with_1() -> Result<()> {
    let lab = Lab::new()?;
    let ended = check(&lab, &["--timeout", "0.5"])?;
    let texts = [
        "no server has offered anything on pc0 to 02:50:58:00:00:02",
        "BIOS, architecture 0: no DHCP server has offered an address",
        "--mac",
    ];
    says(&ended, 1, &texts)?;
    let ended = check(&lab, &["--timeout", "0.5", "--json", "--arch", "uefi"])?;
    let checked: Value = serde_json::from_str(&ended.stdout)?;
    assert_eq!(checked["offers"].as_array().map(Vec::len), Some(0));
    assert_eq!(checked["findings"].as_array().map(Vec::len), Some(1));
    assert_eq!(checked["findings"][0]["is_fatal"], true);
    Ok(())
}

#[test]
fn a_proxy_beside_a_dhcp_server_is_what_is_wanted_and_option_60_beside_it_is_not() -> Result<()> {
    for (to_pxe, code, text) in [
        (ToPxe::Nothing, 0, "nothing here keeps clients from booting"),
        (
            ToPxe::BootFile,
            2,
            "or ask the proxy, as their firmware likes",
        ),
        (ToPxe::Option60, 1, "and not the proxy 10.77.255.254"),
    ] {
        let (lab, folder) = (Lab::new()?, TempDir::new()?);
        let server =
            DhcpServer::Isc.start_ordinary(&lab.server, SERVER_INTERFACE, folder.path(), to_pxe)?;
        let proxy = Proxy::start(&lab)?;
        let ended = check(&lab, &["--arch", "uefi", "--timeout", "2"])?;
        says(&ended, code, &["as a proxy", text])
            .with_context(|| format!("{to_pxe:?}: {}", server.log()))?;
        drop(proxy);
    }
    Ok(())
}

/// A network with two proxies: proxydhcp, and another one on a host of its own. The check is run on a third.
struct TwoProxies {
    _first: Daemon,
    _dhcp: Daemon,
    asks: Namespace,
    second: Namespace,
    _lab: Lab,
}

const SECOND: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
const ASKS: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 4);
const MAC_A: &str = "52:54:00:00:00:0a";

impl TwoProxies {
    fn new(files: &Files, folder: &Path) -> Result<Self> {
        let (lab, asks, second) = (Lab::new()?, Namespace::new()?, Namespace::new()?);
        bridge::make(&lab.client, "switch")?;
        bridge::add_port(&lab.client, "switch", CLIENT_INTERFACE)?;
        bridge::add_host(&lab.client, "switch", &second, SECOND)?;
        bridge::add_host(&lab.client, "switch", &asks, ASKS)?;
        let dhcp = DhcpServer::Isc;
        Ok(Self {
            _first: Self::serve(&lab.server, SERVER_INTERFACE, files)?,
            _dhcp: dhcp.start_ordinary(&lab.server, SERVER_INTERFACE, folder, ToPxe::Nothing)?,
            asks,
            second,
            _lab: lab,
        })
    }

    fn serve(host: &Namespace, interface: &str, files: &Files) -> Result<Daemon> {
        let mut args: Vec<String> = ["serve", "-i", interface, "--offers", "known"]
            .map(str::to_owned)
            .into();
        args.extend(files.args());
        Daemon::start(host, &binary()?, &args)
    }

    /// Asks as a's machine.
    fn check(&self) -> Result<Ended> {
        let mut command = Command::new(binary()?);
        command.args(["check-dhcp", "-i", "eth0", "--timeout", "2", "--mac", MAC_A]);
        Ok(self.asks.output(command)?.into())
    }
}

/// The files of a site whose node a is known by its hardware, and boots this WinPE.
fn files_with(winpe: &str) -> Result<Files> {
    let files = Files::usual()?;
    files.write_config(&[("a", winpe), ("b", "winboot/b")])?;
    fs::write(
        files.path("proxydhcp.cfg.hardware"),
        format!("a mac={MAC_A}\n"),
    )?;
    Ok(files)
}

#[test]
fn two_proxies_that_disagree_are_both_named() -> Result<()> {
    const BIOS: &str = "error: BIOS, architecture 0: proxies disagree: 10.77.0.1 and 10.77.0.3";
    const UEFI: &str =
        "error: UEFI on x64, architecture 7: proxies disagree: 10.77.0.1 and 10.77.0.3";
    let (files, folder, other) = (files_with("winboot/a")?, TempDir::new()?, TempDir::new()?);
    let network = TwoProxies::new(&files, folder.path())?;
    says(
        &network.check()?,
        0,
        &["nothing here keeps clients from booting"],
    )?;
    let dnsmasq = start_proxy(&network.second, "eth0", other.path())?;
    says(&network.check()?, 1, &[BIOS, UEFI]).with_context(|| dnsmasq.log())?;
    drop(dnsmasq);
    // Another proxydhcp, with other files.
    let files = files_with("winboot/new")?;
    let second = TwoProxies::serve(&network.second, "eth0", &files)?;
    says(&network.check()?, 1, &[BIOS, UEFI]).with_context(|| second.log())
}

#[test]
fn two_proxies_that_agree_are_no_fault_and_those_that_may_are_a_warning() -> Result<()> {
    let (files, folder) = (files_with("winboot/a")?, TempDir::new()?);
    let network = TwoProxies::new(&files, folder.path())?;
    let same = files_with("winboot/a")?;
    let second = TwoProxies::serve(&network.second, "eth0", &same)?;
    let sound = "nothing here keeps clients from booting";
    says(&network.check()?, 0, &["10.77.0.3  as a proxy", sound]).with_context(|| second.log())?;
    drop(second);
    // Where the host that asks is another node, a's machine is not answered there.
    same.write_hosts(&[("10.77.0.4", "b")])?;
    let second = TwoProxies::serve(&network.second, "eth0", &same)?;
    let told = [
        "warning: BIOS, architecture 0: several proxies offer, 10.77.0.1 and 10.77.0.3",
        "if they are proxydhcp with the same files",
    ];
    says(&network.check()?, 2, &told).with_context(|| second.log())
}

/// Answers each DISCOVER on the wire as a proxy of 10.77.255.254 would.
struct Proxy {
    stop: std::sync::mpsc::Sender<()>,
    thread: Option<std::thread::JoinHandle<Result<()>>>,
}

impl Proxy {
    fn start(lab: &Lab) -> Result<Self> {
        let socket = lab.server.run(|| {
            let socket = socket2::Socket::new(
                socket2::Domain::IPV4,
                socket2::Type::DGRAM,
                Some(socket2::Protocol::UDP),
            )?;
            socket.set_broadcast(true)?;
            socket.bind_device(Some(SERVER_INTERFACE.as_bytes()))?;
            Ok(socket)
        })?;
        let socket: UdpSocket = socket.into();
        let mut tap = proxydhcp_lab::Tap::open(&lab.server, SERVER_INTERFACE)?;
        let (stop, stopped) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || -> Result<()> {
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                let Some(frame) = tap.receive(Duration::from_millis(50))? else {
                    continue;
                };
                // A DISCOVER of PXE's, behind the headers of Ethernet, IP and UDP.
                let is_discover = frame.get(36..38) == Some(&[0, 67]);
                let fixed = frame.get(43..42 + 240).filter(|_| is_discover);
                let Some(fixed) = fixed else {
                    continue;
                };
                // A reply, to the same client.
                let mut offer = [&[2], fixed].concat();
                offer.extend([53, 1, 2, 54, 4, 10, 77, 255, 254, 60, 9]);
                offer.extend(b"PXEClient\xff");
                offer.resize(300, 0);
                socket.send_to(&offer, ("255.255.255.255", 68))?;
            }
            Ok(())
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(matches!(ended, Ok(Ok(()))), "{ended:?}");
        }
    }
}
