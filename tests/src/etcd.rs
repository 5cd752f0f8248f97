//! etcd, as one member or several, on a host of its own or on that of the daemon: with TLS and users, or
//! without.
#![allow(
    clippy::missing_errors_doc,
    missing_docs,
    reason = "a test fails by what they say"
)]

use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::debian::ensure_installed;
use crate::{Daemon, Namespace};

/// The time a member has to be ready: an election takes a second, and more on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
const PASSWORD: &str = "of the test";

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Whoever is on this host, in the clear.
    All,
    /// Users with a password, by TLS.
    Users,
}

/// A cluster. Dropping it ends its members.
pub struct Etcd {
    namespace: Namespace,
    /// Where clients find the members.
    address: Ipv4Addr,
    folder: TempDir,
    clients: Clients,
    members: Vec<Option<Daemon>>,
    /// The user that etcdctl needs, once there are users.
    user: Option<&'static str>,
}

impl Etcd {
    /// Starts a cluster of this many members on the loopback, and waits until it has a leader.
    pub fn start(namespace: &Namespace, size: usize, clients: Clients) -> Result<Self> {
        Self::start_at(namespace, Ipv4Addr::LOCALHOST, size, clients)
    }

    /// Starts a cluster for clients on other hosts, too, and waits until it has a leader.
    pub fn start_at(
        namespace: &Namespace,
        address: Ipv4Addr,
        size: usize,
        clients: Clients,
    ) -> Result<Self> {
        ensure_installed("etcd", "etcd-server")?;
        ensure_installed("etcdctl", "etcd-client")?;
        let mut cluster = Self {
            namespace: namespace.try_clone()?,
            address,
            folder: TempDir::new()?,
            clients,
            members: (0..size).map(|_| None).collect(),
            user: None,
        };
        if clients == Clients::Users {
            cluster.make_certificates()?;
            let login = cluster.login();
            fs::write(&login, format!("root:{PASSWORD}\n"))?;
            fs::set_permissions(login, Permissions::from_mode(0o600))?;
        }
        cluster.start_again()?;
        if clients == Clients::Users {
            cluster.ctl(&["user", "add", &format!("root:{PASSWORD}")])?;
            cluster.ctl(&["user", "grant-role", "root", "root"])?;
            cluster.ctl(&["auth", "enable"])?;
            cluster.user = Some("root");
        }
        Ok(cluster)
    }

    /// Starts the members that do not run, with what they had, and waits until there is a leader.
    pub fn start_again(&mut self) -> Result<()> {
        for number in 0..self.members.len() {
            let is_there = self.members.get(number).is_some_and(Option::is_some);
            if !is_there {
                let member = self.spawn(number)?;
                if let Some(place) = self.members.get_mut(number) {
                    *place = Some(member);
                }
            }
        }
        let started = Instant::now();
        loop {
            // It has the answer of a majority.
            let health = self.command(&["endpoint", "health"]);
            let output = self.namespace.output(health)?;
            if output.status.success() {
                return Ok(());
            }
            ensure!(started.elapsed() < PATIENCE, "{}", self.log());
        }
    }

    /// Kills members, as kill -9 does.
    pub fn kill(&mut self, numbers: impl IntoIterator<Item = usize>) -> Result<()> {
        for number in numbers {
            if let Some(mut member) = self.members.get_mut(number).and_then(Option::take) {
                member.crash()?;
            }
        }
        Ok(())
    }

    pub fn kill_all(&mut self) -> Result<()> {
        self.kill(0..self.members.len())
    }

    /// The process numbers of the members that run.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.members.iter().flatten().map(Daemon::pid)
    }

    /// The number of the member that leads.
    pub fn leader(&self) -> Result<usize> {
        let status = self.ctl(&["endpoint", "status", "--write-out", "fields"])?;
        let of = |key: &str| -> Vec<String> {
            let lines = status.lines().filter_map(|line| line.strip_prefix(key));
            lines
                .map(|rest| rest.trim_matches([' ', ':']).to_owned())
                .collect()
        };
        let (ids, leaders) = (of("\"MemberID\""), of("\"Leader\""));
        let leader = leaders.first().context("there is no leader")?;
        let number = ids.iter().position(|id| id == leader);
        number.with_context(|| status.clone())
    }

    /// The URL of a fleet in it.
    pub fn url(&self, prefix: &str) -> String {
        let members: Vec<_> = (0..self.members.len())
            .map(|number| format!("{}:{}", self.address, port(number)))
            .collect();
        let scheme = match self.clients {
            Clients::All => "etcd",
            Clients::Users => "etcds",
        };
        format!("{scheme}://{}/{prefix}", members.join(","))
    }

    /// The options of `serve`, `fleet` and `node` that lead to a fleet in it.
    pub fn options(&self, prefix: &str) -> Vec<String> {
        let mut options = vec!["--source".to_owned(), self.url(prefix)];
        if self.clients == Clients::Users {
            let of = |path: PathBuf| path.display().to_string();
            options.extend(["--source-ca".to_owned(), of(self.path("ca.crt"))]);
            options.extend(["--source-login".to_owned(), of(self.login())]);
        }
        options
    }

    /// Runs etcdctl, which must succeed. Returns what it prints.
    pub fn ctl(&self, args: &[&str]) -> Result<String> {
        let output = self.namespace.output(self.command(args))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "etcdctl {args:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    fn command(&self, args: &[&str]) -> Command {
        let scheme = self.scheme();
        let members: Vec<_> = (0..self.members.len())
            .map(|number| format!("{scheme}://{}:{}", self.address, port(number)))
            .collect();
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3");
        command.arg("--endpoints").arg(members.join(","));
        if self.clients == Clients::Users {
            command.arg("--cacert").arg(self.path("ca.crt"));
        }
        if let Some(user) = self.user {
            command.arg("--user").arg(format!("{user}:{PASSWORD}"));
        }
        command.args(args);
        command
    }

    fn scheme(&self) -> &'static str {
        match self.clients {
            Clients::All => "http",
            Clients::Users => "https",
        }
    }

    fn spawn(&self, number: usize) -> Result<Daemon> {
        let peer = |number: usize| format!("http://127.0.0.1:{}", port(number) + 1);
        let scheme = self.scheme();
        let client = format!("{scheme}://{}:{}", self.address, port(number));
        let all: Vec<_> = (0..self.members.len())
            .map(|number| format!("m{number}={}", peer(number)))
            .collect();
        let mut command = Command::new("etcd");
        // Nothing of the machine's own etcd.
        command.env_clear();
        command
            .args(["--name", &format!("m{number}")])
            .arg("--data-dir")
            .arg(self.path(&format!("m{number}")))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer(number)])
            .args(["--initial-advertise-peer-urls", &peer(number)])
            .args(["--initial-cluster", &all.join(",")])
            // A busy machine is no reason for an election.
            .args(["--heartbeat-interval", "200", "--election-timeout", "2000"]);
        if self.clients == Clients::Users {
            command.arg("--cert-file").arg(self.path("etcd.crt"));
            command.arg("--key-file").arg(self.path("etcd.key"));
        }
        Daemon::spawn(&self.namespace, command)
    }

    fn make_certificates(&self) -> Result<()> {
        ensure_installed("openssl", "openssl")?;
        let folder = self.folder.path();
        let curve = [
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ];
        let ca = [
            "req", "-x509", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.crt",
        ];
        openssl(folder, &[&ca[..], &curve].concat())?;
        let etcd = [
            "req", "-x509", "-subj", "/CN=etcd", "-keyout", "etcd.key", "-out", "etcd.crt", "-CA",
            "ca.crt", "-CAkey", "ca.key",
        ];
        let names = format!("subjectAltName=IP:{},DNS:localhost", self.address);
        let names = [
            "-addext",
            &names,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ];
        openssl(folder, &[&etcd[..], &curve, &names].concat())
    }

    fn login(&self) -> PathBuf {
        self.path("login")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log(&self) -> String {
        let members = self.members.iter().flatten();
        members.map(Daemon::log).collect::<Vec<_>>().join("\n")
    }
}

/// The port of a member's clients; that of its peers follows.
fn port(number: usize) -> usize {
    2379 + 10 * number
}

fn openssl(folder: &Path, args: &[&str]) -> Result<()> {
    let output = Command::new("openssl")
        .args(args)
        .current_dir(folder)
        .output()?;
    ensure!(
        output.status.success(),
        "openssl {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
