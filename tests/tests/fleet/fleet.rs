//! A service node and the commands for its fleet.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::etcd::{Clients, Etcd};
use proxydhcp_lab::site::{Files, Site};
use proxydhcp_lab::{Daemon, Ended, Lab, SERVER_INTERFACE, binary};
use serde_json::Value;

/// Far longer than anything takes, on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const PREFIX: &str = "site/a";

/// A service node whose nodes are in etcd.
pub(crate) struct Fleet {
    pub(crate) etcd: Etcd,
    pub(crate) site: Site,
}

impl Fleet {
    /// Pushes the usual nodes, and serves them.
    pub(crate) fn start(size: usize, clients: Clients) -> Result<Self> {
        let (lab, files) = (Lab::new()?, Files::usual()?);
        let etcd = Etcd::start(&lab.server, size, clients)?;
        run(&lab, &etcd, &["fleet", "push", &path(&files)])?;
        let daemon = serve(&lab, &etcd, &files)?;
        let site = Site::of(lab, daemon, files)?;
        let fleet = Self { etcd, site };
        fleet.wait_until(|source| source["revision"].as_i64() > Some(0))?;
        Ok(fleet)
    }

    /// Starts the service node in the place of one that has ended.
    pub(crate) fn serve_again(&mut self) -> Result<()> {
        self.site.daemon = serve(&self.site.lab, &self.etcd, &self.site.files)?;
        Ok(())
    }

    /// Runs a command of `fleet` or `node`, which must succeed. Returns what it prints.
    pub(crate) fn run(&self, args: &[&str]) -> Result<String> {
        run(&self.site.lab, &self.etcd, args)
    }

    /// Sets a node's WinPE, and waits until the service node has that revision.
    pub(crate) fn set(&self, node: &str, winpe: &str) -> Result<()> {
        self.change(&["node", "set", node, &format!("winpepath={winpe}")])?;
        Ok(())
    }

    /// Runs a command that puts a revision into force, and waits until the service node has it. Returns the
    /// revision.
    pub(crate) fn change(&self, args: &[&str]) -> Result<i64> {
        let revision = revision(&self.run(args)?)?;
        self.wait_until(|source| source["revision"].as_i64() >= Some(revision))?;
        Ok(revision)
    }

    /// Waits until what is in service is on the disk, too.
    pub(crate) fn wait_until_kept(&self) -> Result<()> {
        self.wait_until(|source| {
            let kept = std::fs::read(self.site.files.path("state/last/origin.json"));
            let kept: Option<Value> = kept.ok().and_then(|it| serde_json::from_slice(&it).ok());
            kept.is_some_and(|kept| kept.get("revision") == source.get("revision"))
        })
    }

    /// Waits until what the status says of the source is so.
    pub(crate) fn wait_until(&self, is_so: impl Fn(&Value) -> bool) -> Result<()> {
        let started = Instant::now();
        loop {
            let status = self.site.status()?;
            if is_so(status.get("source").unwrap_or(&Value::Null)) {
                return Ok(());
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "{status:#}\n{}",
                self.site.daemon.log()
            );
        }
    }
}

fn path(files: &Files) -> String {
    files.path("proxydhcp.cfg").display().to_string()
}

fn serve(lab: &Lab, etcd: &Etcd, files: &Files) -> Result<Daemon> {
    let text = |path: PathBuf| path.display().to_string();
    let (hosts, control) = (text(files.path("hosts")), text(files.path("control.sock")));
    let (settings, state) = (
        text(files.path("proxydhcp.toml")),
        text(files.path("state")),
    );
    let mut args: Vec<String> = [
        "serve",
        "-i",
        SERVER_INTERFACE,
        "--path",
        "raw",
        "--hosts",
        &hosts,
        "--control",
        &control,
        "--settings",
        &settings,
        "--fleet-state",
        &state,
        "--fleet-name",
        "sn1",
    ]
    .map(str::to_owned)
    .into();
    args.extend(etcd.options(PREFIX));
    Daemon::start(&lab.server, &binary()?, &args)
}

/// A command of `fleet` or `node`.
pub(crate) fn command(etcd: &Etcd, args: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(args).args(etcd.options(PREFIX));
    if args.first() == Some(&"node") {
        command.args(["--control", "none", "--hosts", "/dev/null"].iter().take(
            match args.get(1) {
                Some(&"set") => 4,
                _ => 2,
            },
        ));
    }
    Ok(command)
}

/// The revision that a command says it has put into force, with its last word.
pub(crate) fn revision(said: &str) -> Result<i64> {
    let number = said.trim_end().rsplit(' ').next();
    let revision = number.and_then(|number| number.parse().ok());
    revision.with_context(|| said.to_owned())
}

/// The manifest in etcd.
pub(crate) fn manifest(etcd: &Etcd) -> Result<Value> {
    let key = format!("{PREFIX}/v1/manifest");
    let manifest = etcd.ctl(&["get", "--print-value-only", &key])?;
    Ok(serde_json::from_str(&manifest)?)
}

/// The id of the content in force.
pub(crate) fn content_id(etcd: &Etcd) -> Result<String> {
    let manifest = manifest(etcd)?;
    let id = manifest.get("content").and_then(Value::as_str);
    Ok(id.context("no content")?.to_owned())
}

pub(crate) fn ended(lab: &Lab, etcd: &Etcd, args: &[&str]) -> Result<Ended> {
    Ok(lab.server.output(command(etcd, args)?)?.into())
}

fn run(lab: &Lab, etcd: &Etcd, args: &[&str]) -> Result<String> {
    let ended = ended(lab, etcd, args)?;
    ensure!(ended.code == Some(0), "{args:?}: {ended:?}");
    Ok(ended.stdout)
}
