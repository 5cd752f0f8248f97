//! `proxydhcp probe --follow` fetches what a client would, from the servers that sites have, and says
//! what to do about the first file that does not come.

use std::fs::{self, Permissions};
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::site::{Datapath, Files, Site};
use proxydhcp_lab::tftp_server::TftpServer;
use proxydhcp_lab::{CLIENT_ADDRESS, Ended, SERVER_ADDRESS, binary};

use crate::bcd_write;
use serde_json::Value;
use tempfile::TempDir;

/// The files of a WinPE below the TFTP root, as far as a client fetches them.
struct Root(TempDir);

/// The image: longer than what is fetched of it.
const IMAGE: usize = 6_000_000;
const RAMDISK: usize = 3_000_001;
/// Backslashes for atftpd, a line for each depth, as docs/tftp.md has it.
const ATFTPD_MAP: &str = r"^\\?([^\\]+)\\([^\\]+)\\([^\\]+)\\([^\\]+)$ $1/$2/$3/$4
^\\?([^\\]+)\\([^\\]+)\\([^\\]+)$ $1/$2/$3
^\\?([^\\]+)\\([^\\]+)$ $1/$2
^\\([^\\]+)$ $1
";

impl Root {
    fn new() -> Result<Self> {
        let root = Self(TempDir::new()?);
        let boot = root.path().join("winboot/p/Boot");
        fs::create_dir_all(&boot)?;
        fs::write(boot.join("pxeboot.0"), filled(b"\x90", 30_000))?;
        fs::write(root.path().join("bootmgr.exe"), filled(b"MZ", 400_000))?;
        fs::write(boot.join("boot.sdi"), filled(b"$SDI0001", RAMDISK))?;
        fs::write(boot.join("WinPE_64.wim"), filled(b"MSWIM\0\0\0", IMAGE))?;
        root.write_bcd("winboot/p/Boot/WinPE_64.wim")?;
        Ok(root)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write_bcd(&self, image: &str) -> Result<()> {
        let mut command = bcd_write("bios", image)?;
        command.arg(self.path().join("winboot/p/Boot/BCD"));
        let ended = command.output()?;
        ensure!(ended.status.success(), "{ended:?}");
        Ok(())
    }
}

fn filled(start: &[u8], length: usize) -> Vec<u8> {
    let rest = (0..length - start.len()).map(|at| (at % 251).to_le_bytes()[0]);
    start.iter().copied().chain(rest).collect()
}

/// A daemon that sends the client namespace itself to winboot/p/.
fn site(more: &[&str]) -> Result<Site> {
    let files = Files::usual()?;
    files.write_config(&[("probe", "winboot/p/")])?;
    files.write_hosts(&[(&CLIENT_ADDRESS.to_string(), "probe")])?;
    Site::start(Datapath::Generic, files, more)
}

fn follow(site: &Site, more: &[&str]) -> Result<Ended> {
    let mut command = Command::new(binary()?);
    command.args(["probe", "10.77.0.1", "--follow", "--arch", "bios"]);
    command.args(more);
    Ok(site.lab.client.output(command)?.into())
}

/// The names, the bytes and the sizes of the files that have come.
fn files(ended: &Ended) -> Result<Vec<(String, u64, u64)>> {
    let reply: Value = serde_json::from_str(&ended.stdout)?;
    let files = reply.get("files").and_then(Value::as_array);
    let files = files.context("no files")?;
    let number = |file: &Value, key: &str| file.get(key).and_then(Value::as_u64).unwrap_or(0);
    Ok(files
        .iter()
        .map(|file| {
            let name = file.get("file").and_then(Value::as_str).unwrap_or_default();
            let name = name.to_owned();
            (name, number(file, "bytes"), number(file, "size"))
        })
        .collect())
}

/// All files came, by the names that Windows' boot manager uses; of the image, its start.
fn all_came(ended: &Ended) -> Result<()> {
    ensure!(
        ended.code == Some(0) && ended.stderr.is_empty(),
        "{ended:?}"
    );
    let files = files(ended)?;
    let names: Vec<&str> = files.iter().map(|(name, _, _)| name.as_str()).collect();
    let expected = [
        "winboot/p/Boot/pxeboot.0",
        "bootmgr.exe",
        "\\winboot\\p\\Boot\\BCD",
        "\\winboot\\p\\Boot\\boot.sdi",
        "\\winboot\\p\\Boot\\WinPE_64.wim",
    ];
    ensure!(names == expected, "{names:?}");
    let sizes: Vec<u64> = files.iter().map(|(_, _, size)| *size).collect();
    ensure!(
        sizes.ends_with(&[RAMDISK as u64, IMAGE as u64]),
        "{sizes:?}"
    );
    let bytes = files.last().map(|(_, bytes, _)| *bytes);
    ensure!(
        bytes.is_some_and(|bytes| (4 << 20..IMAGE as u64).contains(&bytes)),
        "{bytes:?}"
    );
    Ok(())
}

#[test]
fn the_embedded_server_sends_all_that_a_client_fetches() -> Result<()> {
    let root = Root::new()?;
    let folder = root.path().display().to_string();
    let site = site(&["--tftp", "--tftp-root", &folder])?;
    all_came(&follow(&site, &["--json"])?)?;
    let ended = follow(&site, &[])?;
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[6], "files by TFTP:", "{ended:?}");
    assert!(
        lines[8].starts_with("  bootmgr.exe ") && lines[8].contains("400000 bytes, "),
        "{ended:?}"
    );
    assert!(lines[11].contains(" of 6000000 bytes, "), "{ended:?}");
    // An image that is not there is missed by the name that the BCD has.
    root.write_bcd("winboot/other.wim")?;
    fs::copy(
        root.path().join("winboot/p/Boot/boot.sdi"),
        root.path().join("winboot/boot.sdi"),
    )?;
    let ended = follow(&site, &[])?;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("\\winboot\\other.wim: "), "{ended:?}");
    // What is no BCD is said to be none.
    fs::write(root.path().join("winboot/p/Boot/BCD"), "text")?;
    let ended = follow(&site, &[])?;
    assert_eq!(ended.code, Some(1));
    assert!(
        ended.stderr.contains("not a BCD (a registry hive)") && ended.stderr.contains("Remedy: "),
        "{ended:?}"
    );
    Ok(())
}

#[test]
fn each_server_sends_all_once_it_is_set_up_as_the_manual_says() -> Result<()> {
    let (root, programs) = (Root::new()?, TempDir::new()?);
    let map = programs.path().join("map");
    for server in TftpServer::ALL {
        let text = match server {
            TftpServer::Hpa => "rg \\\\ /\n",
            TftpServer::Atftpd => ATFTPD_MAP,
            TftpServer::Dnsmasq => "",
        };
        fs::write(&map, text)?;
        let map = map.display().to_string();
        let more = match server {
            TftpServer::Hpa => vec!["--map-file", &map],
            TftpServer::Atftpd => vec!["--pcre", &map],
            TftpServer::Dnsmasq => vec![],
        };
        let site = site(&[])?;
        let running = server.start(
            &site.lab.server,
            programs.path(),
            root.path(),
            SERVER_ADDRESS,
            &more,
        )?;
        all_came(&follow(&site, &["--json"])?)
            .with_context(|| format!("{server:?}: {}", running.log()))?;
    }
    Ok(())
}

/// The first file that does not come, and what is said about it.
fn says(site: &Site, file: &str, texts: &[&str]) -> Result<()> {
    let ended = follow(site, &[])?;
    ensure!(ended.code == Some(1), "{ended:?}");
    for text in [&[file], texts].concat() {
        ensure!(ended.stderr.contains(text), "{text:?}: {ended:?}");
    }
    Ok(())
}

#[test]
fn the_remedy_fits_the_server_and_the_fault() -> Result<()> {
    let (root, programs) = (Root::new()?, TempDir::new()?);
    let boot = root.path().join("winboot/p/Boot");
    let site = site(&[])?;
    says(
        &site,
        "winboot/p/Boot/pxeboot.0",
        &["no program listens on port 69", "start a TFTP server"],
    )?;
    for server in TftpServer::ALL {
        let running = server.start(
            &site.lab.server,
            programs.path(),
            root.path(),
            SERVER_ADDRESS,
            &[],
        )?;
        let check = || -> Result<()> {
            if server != TftpServer::Dnsmasq {
                let texts = ["\\winboot\\p\\Boot\\BCD: ", "by backslashes", "--map-file"];
                says(&site, "BCD", &texts)?;
            }
            fs::rename(boot.join("pxeboot.0"), boot.join("away"))?;
            says(
                &site,
                "winboot/p/Boot/pxeboot.0: ",
                &["put winboot/p/Boot/pxeboot.0 below the TFTP root"],
            )?;
            let lower = root.path().join("winboot/p/boot");
            fs::create_dir(&lower)?;
            fs::write(lower.join("pxeboot.0"), "boot")?;
            says(&site, "pxeboot.0: ", &["in lower case", "tftp-lowercase"])?;
            fs::remove_dir_all(lower)?;
            fs::rename(boot.join("away"), boot.join("pxeboot.0"))?;
            if server == TftpServer::Hpa {
                // The others, which run as root here, may read it all the same.
                fs::set_permissions(boot.join("pxeboot.0"), Permissions::from_mode(0o600))?;
                says(
                    &site,
                    "pxeboot.0: ",
                    &["`chmod a+r winboot/p/Boot/pxeboot.0`"],
                )?;
                fs::set_permissions(boot.join("pxeboot.0"), Permissions::from_mode(0o644))?;
            }
            Ok(())
        };
        check().with_context(|| format!("{server:?}: {}", running.log()))?;
    }
    Ok(())
}

/// What a hostile server sends ends the command in time, and fills no memory.
#[test]
fn a_hostile_server_neither_hangs_nor_floods_the_client() -> Result<()> {
    type Answer = fn(&UdpSocket, std::net::SocketAddr) -> Result<()>;
    let site = site(&[])?;
    let cases: [(Answer, &str); 3] = [
        (
            |socket, client| {
                socket.send_to(b"\0\x06blksize\x0065464\0windowsize\x009000\0", client)?;
                Ok(())
            },
            "blksize 65464 and windowsize 9000",
        ),
        (
            |socket, client| {
                let long = [b"\0\x03\0\x01".to_vec(), vec![7; 1400]].concat();
                socket.send_to(&long, client)?;
                Ok(())
            },
            "a block of 1400 bytes, not 512",
        ),
        (
            // Nothing but strange packets, as fast as they go.
            |socket, client| {
                let started = Instant::now();
                while started.elapsed() < Duration::from_secs(12) {
                    socket.send_to(b"\0\x03\x77\x77strange", client)?;
                    thread::sleep(Duration::from_micros(50));
                }
                Ok(())
            },
            "the server has gone silent after 0 bytes",
        ),
    ];
    for (answer, said) in cases {
        let socket = site
            .lab
            .server
            .run(|| Ok(UdpSocket::bind((SERVER_ADDRESS, 69))?))?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let answering = thread::spawn(move || -> Result<()> {
            let (_, client) = socket.recv_from(&mut [0; 600])?;
            answer(&socket, client)
        });
        says(&site, "pxeboot.0: the server", &[said])?;
        answering
            .join()
            .unwrap_or_else(|_| anyhow::bail!("the server panicked"))?;
    }
    Ok(())
}
