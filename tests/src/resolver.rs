//! The resolver of a test's own: a private `/etc/resolv.conf` for the daemon, and name servers in
//! the lab, real ones and dead ones.

use std::ffi::CString;
use std::fmt::Write;
use std::fs;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use tempfile::TempDir;

use crate::Namespace;

/// The domain of the names in the lab.
pub const DOMAIN: &str = "cluster.test";

/// The domain that [`NameServer`] asks another for, on [`FORWARDED_PORT`].
pub const FORWARDED: &str = "elsewhere.test";

/// Where the name server for [`FORWARDED`] should be, on the loopback.
pub const FORWARDED_PORT: u16 = 5353;

const PATIENCE: Duration = Duration::from_mins(1);

/// What a process sees in the place of the machine's own files.
#[derive(Debug)]
pub struct Resolver {
    folder: TempDir,
}

impl Resolver {
    /// One that asks the name server on the namespace's own loopback, for names in [`DOMAIN`] too,
    /// with these options of resolv.conf(5).
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn new(options: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::write(
            folder.path().join("resolv.conf"),
            format!("nameserver 127.0.0.1\nsearch {DOMAIN}\noptions {options}\n"),
        )?;
        fs::write(folder.path().join("nsswitch.conf"), "hosts: files dns\n")?;
        fs::write(folder.path().join("hosts"), "127.0.0.1 localhost\n")?;
        Ok(Self { folder })
    }

    /// Has the command see it, in a mount namespace of its own.
    ///
    /// # Errors
    /// When the machine has no `/etc/resolv.conf` that another could take the place of.
    pub fn give_to(&self, command: &mut Command) -> Result<()> {
        ensure!(
            Path::new("/etc/resolv.conf").exists(),
            "this machine has no /etc/resolv.conf, which a private one is put over"
        );
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
        let mounts = self
            .places()
            .map(|(source, target)| Ok((text(&source)?, text(&target)?)))
            .collect::<Result<Vec<_>>>()?;
        // SAFETY: the closure runs between fork and exec and makes system calls alone, on strings
        // that were made before; it neither allocates nor takes a lock.
        unsafe {
            command.pre_exec(move || {
                unshare_unsafe(UnshareFlags::NEWNS)?;
                let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
                mount_change(c"/", private)?;
                for (source, target) in &mounts {
                    mount_bind(source.as_c_str(), target.as_c_str())?;
                }
                Ok(())
            });
        }
        Ok(())
    }

    /// The commands by which a shell sees it that has a mount namespace of its own.
    pub fn mounts(&self) -> String {
        let mount = |(source, target): (PathBuf, PathBuf)| {
            format!("mount --bind {} {}; ", source.display(), target.display())
        };
        self.places().map(mount).collect()
    }

    /// Its files, and those of this machine that they take the place of.
    fn places(&self) -> impl Iterator<Item = (PathBuf, PathBuf)> {
        ["resolv.conf", "nsswitch.conf", "hosts"]
            .into_iter()
            .map(|name| (self.folder.path().join(name), Path::new("/etc").join(name)))
            .filter(|(_, target)| target.exists())
    }
}

/// dnsmasq as a name server on the namespace's loopback. It knows the names it is given, in
/// [`DOMAIN`], and denies all others. Dropping it ends it.
#[derive(Debug)]
pub struct NameServer {
    child: Child,
    folder: TempDir,
}

impl NameServer {
    /// Starts it.
    ///
    /// # Errors
    /// When dnsmasq is not installed or does not answer.
    pub fn start(namespace: &Namespace, hosts: &[(Ipv4Addr, &str)]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("hosts");
        write_hosts(&file, hosts)?;
        let mut command = Command::new("dnsmasq");
        command
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--pid-file=",
                "--user=root",
                "--no-resolv",
                "--no-hosts",
                "--expand-hosts",
                // Whatever it does not know does not exist.
                "--address=/#/",
                "--bogus-priv",
                "--listen-address=127.0.0.1",
                "--bind-interfaces",
            ])
            .arg(format!("--domain={DOMAIN}"))
            .arg(format!("--server=/{FORWARDED}/127.0.0.1#{FORWARDED_PORT}"))
            .arg("--dns-forward-max=1000")
            .arg(format!("--addn-hosts={}", file.display()))
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        let child = namespace
            .spawn(command)
            .context("the tests need dnsmasq (Debian: dnsmasq-base)")?;
        let mut server = Self { child, folder };
        let started = Instant::now();
        while namespace
            .run(|| Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, 53))?))
            .is_err()
        {
            if let Some(status) = server.child.try_wait()? {
                anyhow::bail!("dnsmasq has ended with {status}");
            }
            ensure!(started.elapsed() < PATIENCE, "dnsmasq does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// Replaces all that it knows. It takes a moment.
    ///
    /// # Errors
    /// When it is gone.
    pub fn tell(&self, hosts: &[(Ipv4Addr, &str)]) -> Result<()> {
        write_hosts(&self.folder.path().join("hosts"), hosts)?;
        Ok(kill_process(Pid::from_child(&self.child), Signal::HUP)?)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_hosts(path: &Path, hosts: &[(Ipv4Addr, &str)]) -> Result<()> {
    let mut text = String::new();
    for (address, name) in hosts {
        writeln!(text, "{address} {name}")?;
    }
    Ok(fs::write(path, text)?)
}

/// A name server that takes questions and never answers.
#[derive(Debug)]
pub struct DeadNameServer {
    socket: UdpSocket,
}

impl DeadNameServer {
    /// Takes the place of the one on the namespace's loopback.
    ///
    /// # Errors
    /// When another is there.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        Self::on_port(namespace, 53)
    }

    /// Takes the place of another one on the namespace's loopback.
    ///
    /// # Errors
    /// When another is there.
    pub fn on_port(namespace: &Namespace, port: u16) -> Result<Self> {
        let socket = namespace.run(|| Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// Waits until it is asked.
    ///
    /// # Errors
    /// When nobody asks.
    pub fn wait_for_question(&self) -> Result<()> {
        let started = Instant::now();
        while self.questions() == 0 {
            ensure!(
                started.elapsed() < PATIENCE,
                "the name server was not asked"
            );
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// How many questions have come since the last call.
    pub fn questions(&self) -> usize {
        let mut question = [0; 512];
        std::iter::from_fn(|| self.socket.recv(&mut question).ok()).count()
    }

    /// Answers the questions that have come after all, with this address whatever the name is.
    ///
    /// # Errors
    /// When a reply cannot be sent.
    pub fn answer(&self, address: Ipv4Addr) -> Result<()> {
        let mut message = [0; 512];
        while let Ok((length, client)) = self.socket.recv_from(&mut message) {
            let mut answer = message.get(..length).context("too long")?.to_vec();
            // Of the question (RFC 1035, section 4.1.1): a response, and one record that answers
            // it. What else the question has comes after its name, and is cut off.
            let name = answer.iter().skip(12).position(|&byte| byte == 0);
            answer.truncate(12 + name.context("a question without a name")? + 5);
            let counts = [0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
            answer
                .get_mut(2..12)
                .context("no header")?
                .copy_from_slice(&counts);
            // Its name is at 12; type A, class IN, a minute, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            answer.extend(address.octets());
            self.socket.send_to(&answer, client)?;
        }
        Ok(())
    }
}
