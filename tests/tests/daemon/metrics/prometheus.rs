//! A real Prometheus watches a storm, by the rules and the dashboard of `packaging/`.
#![allow(clippy::indexing_slicing, reason = "what JSON lacks is null")]

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::packet::FrameSender;
use proxydhcp_lab::site::{Datapath, Files, Site};
use proxydhcp_lab::{CLIENT_INTERFACE, Daemon, RequestFrame, debian};
use serde_json::Value;

use super::{ADDRESS, METRICS, PATIENCE, get, packaging};
use crate::cluster::Cluster;

const NODES: u16 = 10_000;
/// Frames at a time, with a pause behind them: no more than a ring holds.
const BATCH: usize = 100;
const SERVER: &str = "127.0.0.1:9090";

/// Prometheus in the daemon's namespace.
struct Prometheus<'s> {
    site: &'s Site,
    _process: Daemon,
}

impl<'s> Prometheus<'s> {
    fn start(site: &'s Site) -> Result<Self> {
        debian::ensure_installed("prometheus", "prometheus")?;
        let config = site.files.path("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [{}]\n\
             scrape_configs:\n- job_name: proxydhcp\n  static_configs: [{{targets: ['{ADDRESS}']}}]\n",
            packaging("prometheus/proxydhcp.rules.yml").display()
        );
        fs::write(&config, text)?;
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                site.files.path("tsdb").display()
            ))
            .arg(format!("--web.listen-address={SERVER}"));
        let mut process = Daemon::spawn(&site.lab.server, command)?;
        process.wait_for("Server is ready", PATIENCE)?;
        Ok(Self {
            site,
            _process: process,
        })
    }

    fn api(&self, path: &str, args: &[&str]) -> Result<Value> {
        let url = format!("http://{SERVER}/api/v1/{path}");
        let (_, body) = get(self.site, &[&["--get", &url], args].concat())?;
        let reply: Value = serde_json::from_str(&body)?;
        ensure!(reply["status"] == "success", "{path} {args:?}: {reply}");
        Ok(reply["data"].clone())
    }

    /// The values that an expression has now.
    fn values(&self, expression: &str) -> Result<Vec<f64>> {
        let query = format!("query={expression}");
        let data = self.api("query", &["--data-urlencode", &query])?;
        let series = data["result"].as_array().context("no series")?;
        let value = |series: &Value| series["value"][1].as_str()?.parse().ok();
        let values: Option<_> = series.iter().map(value).collect();
        values.with_context(|| format!("{expression}: {data}"))
    }

    /// Waits until an expression has this value.
    fn comes_to(&self, expression: &str, value: f64) -> Result<()> {
        let started = Instant::now();
        loop {
            let values = self.values(expression)?;
            if values == [value] {
                return Ok(());
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "{expression}: {values:?} instead of {value}; {}",
                self.site.describe()
            );
            thread::sleep(Duration::from_millis(200));
        }
    }
}

fn storm(site: &Site, cluster: &Cluster) -> Result<()> {
    let sender = FrameSender::open(&site.lab.client, CLIENT_INTERFACE)?;
    let requests = cluster.requests();
    let mut frames: Vec<_> = requests.iter().map(|(frame, _)| frame.bytes()).collect();
    for last in 0..100 {
        let stranger = Ipv4Addr::new(10, 77, 250, last);
        frames.push(RequestFrame::edk2(stranger, UEFI_X64).bytes());
    }
    for batch in frames.chunks(BATCH) {
        let mut sent = 0;
        while let Some(rest) = batch.get(sent..).filter(|rest| !rest.is_empty()) {
            sent += sender.send_batch(rest)?;
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The expressions of the dashboard, as Grafana would send them.
fn dashboard() -> Result<Vec<String>> {
    let text = fs::read_to_string(packaging("grafana/proxydhcp.json"))?;
    let dashboard: Value = serde_json::from_str(&text)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let expressions = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str());
    let filled = expressions.map(|it| {
        it.replace("$__rate_interval", "30s")
            .replace("$instance", ".*")
    });
    Ok(filled.collect())
}

#[test]
fn prometheus_counts_each_request_of_a_storm() -> Result<()> {
    let cluster = Cluster::new(NODES);
    let files = Files::new()?;
    cluster.write_hosts(&files)?;
    cluster.write_config(&files, "winboot/x/")?;
    fs::create_dir(files.path("tftp"))?;
    let root = files.path("tftp").display().to_string();
    let more = ["--tftp", "--tftp-root", &root, METRICS[0], METRICS[1]];
    let site = Site::start(Datapath::Native, files, &more)?;
    let prometheus = Prometheus::start(&site)?;
    prometheus.comes_to("proxydhcp_nodes", f64::from(NODES))?;
    storm(&site, &cluster)?;
    assert_eq!(site.command(&["reload"])?.code, Some(0));

    prometheus.comes_to(
        "sum(proxydhcp_packets_total{outcome=\"answered\"})",
        f64::from(NODES),
    )?;
    prometheus.comes_to(
        "sum(proxydhcp_packets_refused_total{reason=\"unknown-client\"})",
        100.0,
    )?;
    let counters = site.counters()?;
    let received = counters["received"].as_f64().context("no count")?;
    prometheus.comes_to("sum(proxydhcp_packets_received_total)", received)?;
    prometheus.comes_to("sum(proxydhcp_packets_total)", received)?;
    prometheus.comes_to("sum(proxydhcp_reloads_total)", 1.0)?;

    let expressions = dashboard()?;
    ensure!(expressions.len() > 10, "{expressions:?}");
    for expression in &expressions {
        let values = prometheus.values(expression)?;
        ensure!(!values.is_empty(), "no data: {expression}");
    }
    rules(&prometheus)
}

/// Rules are sound, and those that record have data.
fn rules(prometheus: &Prometheus) -> Result<()> {
    debian::ensure_installed("promtool", "prometheus")?;
    let checked = Command::new("promtool")
        .args(["check", "rules"])
        .arg(packaging("prometheus/proxydhcp.rules.yml"))
        .output()?;
    ensure!(checked.status.success(), "{checked:?}");
    let data = prometheus.api("rules", &[])?;
    let groups = data["groups"].as_array().context("no groups")?;
    let all: Vec<_> = groups
        .iter()
        .filter_map(|group| group["rules"].as_array())
        .flatten()
        .collect();
    ensure!(all.len() > 10, "{data}");
    for rule in all {
        ensure!(rule["health"] == "ok", "{rule}");
        let name = rule["name"].as_str().context("no name")?;
        if rule["type"] == "recording" {
            ensure!(!prometheus.values(name)?.is_empty(), "no data: {name}");
            continue;
        }
        // What an alert asks about must exist: each metric that it names has data.
        let query = rule["query"].as_str().context("no query")?;
        let is_part = |char: char| char.is_alphanumeric() || char == '_';
        let words = query.split(|char: char| !is_part(char));
        for metric in words.filter(|word| word.starts_with("proxydhcp_")) {
            ensure!(!prometheus.values(metric)?.is_empty(), "no data: {metric}");
        }
        let firing = rule["alerts"].as_array().context("no alerts")?;
        ensure!(firing.is_empty(), "{rule}");
    }
    Ok(())
}
