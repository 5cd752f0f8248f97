//! `proxydhcp check-dhcp` asks real DHCP servers as a PXE client would, and says what keeps clients from
//! booting.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::debian::ensure_installed;
use proxydhcp_lab::{Daemon, Ended, Lab, Namespace, SERVER_INTERFACE, binary};
use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);

/// A DHCP server that knows nothing of proxydhcp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Dnsmasq,
    Isc,
    Kea,
}

/// What its configuration says of PXE clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Plain,
    BootFile,
    Option60,
}

impl Server {
    const ALL: [Self; 3] = [Self::Dnsmasq, Self::Isc, Self::Kea];

    fn start(self, namespace: &Namespace, folder: &Path, manner: Manner) -> Result<Daemon> {
        let (conf, leases) = (folder.join("conf"), folder.join("leases"));
        fs::write(&leases, "")?;
        let (text, program, package, ready) = match self {
            Self::Dnsmasq => (
                format!(
                    "port=0\nuser=root\ngroup=root\npid-file=\nno-ping\ninterface={SERVER_INTERFACE}\n\
                     dhcp-leasefile={}\ndhcp-range=10.77.2.1,10.77.2.99\n{}\n",
                    leases.display(),
                    match manner {
                        Manner::Plain => "",
                        Manner::BootFile => "dhcp-boot=pxelinux.0",
                        Manner::Option60 => "dhcp-option-force=60,PXEClient",
                    }
                ),
                "dnsmasq",
                "dnsmasq-base",
                "DHCP, IP range",
            ),
            Self::Isc => (
                format!(
                    "ping-check false;\nauthoritative;\n{}\n\
                     subnet 10.77.0.0 netmask 255.255.0.0 {{ range 10.77.2.1 10.77.2.99; }}\n",
                    match manner {
                        Manner::Plain => "",
                        Manner::BootFile => "filename \"pxelinux.0\";",
                        Manner::Option60 => "option vendor-class-identifier \"PXEClient\";",
                    }
                ),
                "dhcpd",
                "isc-dhcp-server",
                "Server starting service",
            ),
            Self::Kea => (
                format!(
                    r#"{{ "Dhcp4": {{ "interfaces-config": {{ "interfaces": [ "{SERVER_INTERFACE}" ] }},
                    "lease-database": {{ "type": "memfile", "persist": false }}, {}
                    "subnet4": [ {{ "id": 1, "subnet": "10.77.0.0/16",
                      "pools": [ {{ "pool": "10.77.2.1 - 10.77.2.99" }} ] }} ],
                    "loggers": [ {{ "name": "kea-dhcp4", "severity": "INFO",
                      "output_options": [ {{ "output": "stdout" }} ] }} ] }} }}"#,
                    match manner {
                        Manner::Plain => "",
                        Manner::BootFile => r#""boot-file-name": "pxelinux.0","#,
                        Manner::Option60 =>
                            r#""option-data": [ { "name": "vendor-class-identifier",
                            "data": "PXEClient", "always-send": true } ],"#,
                    }
                ),
                "kea-dhcp4",
                "kea-dhcp4-server",
                "DHCP4_STARTED",
            ),
        };
        ensure_installed(program, package)?;
        fs::write(&conf, text)?;
        // Where there is AppArmor, its profiles let the original read its own files in /etc alone.
        let copy = folder.join(program);
        proxydhcp_lab::copy_program(&Path::new("/usr/sbin").join(program), &copy)?;
        let mut command = Command::new(copy);
        match self {
            Self::Dnsmasq => command
                .args(["--keep-in-foreground", "--log-facility=-"])
                .arg("-C")
                .arg(&conf),
            Self::Isc => command
                .args(["-4", "-f", "-d", "--no-pid", "-cf"])
                .arg(&conf)
                .arg("-lf")
                .arg(&leases)
                .arg(SERVER_INTERFACE),
            Self::Kea => command
                .env("KEA_PIDFILE_DIR", folder)
                .env("KEA_LOCKFILE_DIR", folder)
                .arg("-c")
                .arg(&conf),
        };
        let mut server = Daemon::spawn(namespace, command)?;
        server.wait_for(ready, PATIENCE)?;
        Ok(server)
    }
}

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
    for server in Server::ALL {
        for manner in [Manner::Plain, Manner::BootFile, Manner::Option60] {
            let (lab, folder) = (Lab::new()?, TempDir::new()?);
            let running = server.start(&lab.server, folder.path(), manner)?;
            let context = || format!("{server:?} {manner:?}: {}", running.log());
            let ended = check(&lab, &["--timeout", "2"])?;
            let texts: &[&str] = match manner {
                Manner::Plain => &["no server sends PXE clients to proxydhcp", "dhcp-conf isc"],
                Manner::BootFile => &["sends the boot file pxelinux.0", "and ask no further"],
                Manner::Option60 => &["a stale option 60", "10.77.0.1 on port 4011, where nobody"],
            };
            says(&ended, 1, texts).with_context(context)?;
            for line in [
                "BIOS      10.77.0.1  10.77.2.",
                "UEFI x64  10.77.0.1  10.77.2.",
            ] {
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
    for (manner, code, text) in [
        (Manner::Plain, 0, "nothing here keeps clients from booting"),
        (
            Manner::BootFile,
            2,
            "or ask the proxy, as their firmware likes",
        ),
        (Manner::Option60, 1, "and not the proxy 10.77.255.254"),
    ] {
        let (lab, folder) = (Lab::new()?, TempDir::new()?);
        let server = Server::Isc.start(&lab.server, folder.path(), manner)?;
        let proxy = Proxy::start(&lab)?;
        let ended = check(&lab, &["--arch", "uefi", "--timeout", "2"])?;
        says(&ended, code, &["as a proxy", text])
            .with_context(|| format!("{manner:?}: {}", server.log()))?;
        drop(proxy);
    }
    Ok(())
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
