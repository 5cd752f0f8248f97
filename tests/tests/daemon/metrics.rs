//! Metrics: what Prometheus gets, who may ask, and what that may cost.
#![allow(
    clippy::float_cmp,
    reason = "counts are whole, and times are compared as they are printed"
)]

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, STRANGER, Site, serve_args};
use proxydhcp_lab::{Daemon, Ended, Lab, binary, debian};

mod access;
mod prometheus;

const PATIENCE: Duration = Duration::from_secs(30);
const ADDRESS: &str = "127.0.0.1:9941";
const METRICS: [&str; 2] = ["--metrics", ADDRESS];

fn run(site: &Site, program: &str, package: &str, args: &[&str]) -> Result<Ended> {
    debian::ensure_installed(program, package)?;
    let mut command = Command::new(program);
    command.args(args);
    Ok(site.lab.server.output(command)?.into())
}

/// What curl gets: the status code and the body.
fn get(site: &Site, args: &[&str]) -> Result<(String, String)> {
    let usual = [
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "--write-out",
        "\n%{http_code}",
    ];
    let ended = run(site, "curl", "curl", &[&usual, args].concat())?;
    ensure!(ended.code == Some(0), "{ended:?}\n{}", site.daemon.log());
    let (body, code) = ended.stdout.rsplit_once('\n').context("no code")?;
    Ok((code.to_owned(), body.to_owned()))
}

fn page(site: &Site, path: &str) -> Result<(String, String)> {
    get(site, &[&format!("http://{ADDRESS}{path}")])
}

/// Whether promtool finds fault with metrics.
fn check(metrics: &str) -> Result<()> {
    debian::ensure_installed("promtool", "prometheus")?;
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    stdin.write_all(metrics.as_bytes())?;
    drop(stdin);
    let output: Ended = child.wait_with_output()?.into();
    ensure!(
        output.code == Some(0) && output.stderr.is_empty(),
        "{output:?}\n{metrics}"
    );
    Ok(())
}

/// The sum of the samples of a metric whose labels contain all of these texts.
fn sum(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    let lines = metrics.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        let is_it = rest.is_some_and(|rest| rest.starts_with(['{', ' ']));
        is_it && labels.iter().all(|label| line.contains(label))
    });
    lines
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

#[test]
fn the_metrics_say_what_the_status_says() -> Result<()> {
    for datapath in Datapath::ALL {
        let mut site = Site::with(datapath, &METRICS)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
        site.stays_silent_to(STRANGER)?;
        let (code, metrics) = page(&site, "/metrics")?;
        ensure!(code == "200", "{metrics}");
        check(&metrics)?;
        let outcome = |outcome: &str| {
            sum(
                &metrics,
                "proxydhcp_packets_total",
                &[&format!("outcome=\"{outcome}\"")],
            )
        };
        ensure!(
            (outcome("answered"), outcome("refused")) == (1.0, 1.0),
            "{metrics}"
        );
        let unknown = sum(
            &metrics,
            "proxydhcp_packets_refused_total",
            &["unknown-client"],
        );
        ensure!(unknown == 1.0, "{metrics}");
        let received = sum(&metrics, "proxydhcp_packets_received_total", &[]);
        ensure!(
            received == sum(&metrics, "proxydhcp_packets_total", &[]),
            "{metrics}"
        );
        ensure!(sum(&metrics, "proxydhcp_nodes", &[]) == 3.0, "{metrics}");
        let info = format!("datapath=\"{}\"", datapath.name());
        ensure!(
            sum(&metrics, "proxydhcp_interface_info", &["px0", &info]) == 1.0,
            "{metrics}"
        );

        let by_command = site.command(&["status", "--prometheus"])?;
        check(&by_command.stdout)?;
        let names = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with("# TYPE"));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(names(&by_command.stdout), names(&metrics));
    }
    Ok(())
}

#[test]
fn reloads_and_files_are_in_the_metrics() -> Result<()> {
    let site = Site::with(Datapath::Raw, &METRICS)?;
    let value = |name: &str, labels: &[&str]| -> Result<f64> {
        Ok(sum(&page(&site, "/metrics")?.1, name, labels))
    };
    let read = value("proxydhcp_files_read_timestamp_seconds", &[])?;
    ensure!(read >= value("proxydhcp_start_time_seconds", &[])?);
    assert_eq!(
        page(&site, "/readyz")?,
        ("200".to_owned(), "ready\n".to_owned())
    );
    site.files.write_raw_config(b"half a record")?;
    assert_eq!(site.command(&["reload"])?.code, Some(1));
    ensure!(value("proxydhcp_newest_in_service", &[])? == 0.0);
    ensure!(value("proxydhcp_reloads_total", &["rejected"])? == 1.0);
    ensure!(value("proxydhcp_files_read_timestamp_seconds", &[])? == read);
    site.files
        .write_config(&[("a", "winboot/a/"), ("nowhere", "winboot/a/"), ("b", "../")])?;
    assert_eq!(
        site.command(&["reload", "--allow-loss", "100"])?.code,
        Some(2)
    );
    ensure!(value("proxydhcp_newest_in_service", &[])? == 1.0);
    ensure!(value("proxydhcp_reloads_total", &["accepted"])? == 1.0);
    ensure!(value("proxydhcp_files_read_timestamp_seconds", &[])? > read);
    ensure!(value("proxydhcp_last_reload_duration_seconds", &["swap"])? > 0.0);
    ensure!(value("proxydhcp_records_refused", &[])? == 1.0);
    ensure!(value("proxydhcp_names_unresolved", &[])? == 1.0);
    Ok(())
}

#[test]
fn a_daemon_that_can_answer_nobody_is_alive_and_not_ready() -> Result<()> {
    let files = Files::usual()?;
    files.write_raw_config(b"half a record")?;
    let site = Site::start(Datapath::Raw, files, &METRICS)?;
    assert_eq!(
        page(&site, "/healthz")?,
        ("200".to_owned(), "alive\n".to_owned())
    );
    let (code, why) = page(&site, "/readyz")?;
    ensure!(
        code == "503" && why.starts_with("no files are in service: "),
        "{code} {why}"
    );
    Ok(())
}

#[test]
fn what_is_not_for_this_host_or_no_page_is_refused() -> Result<()> {
    let site = Site::with(Datapath::Raw, &METRICS)?;
    let url = format!("http://{ADDRESS}/metrics");
    for host in ["evil.example", "evil.example:9941"] {
        let (code, _) = get(&site, &["--header", &format!("Host: {host}"), &url])?;
        assert_eq!(code, "421", "{host}");
    }
    assert_eq!(
        get(&site, &["--header", "Host: localhost:9941", &url])?.0,
        "200"
    );
    assert_eq!(
        get(&site, &["--request", "POST", "--data", "x", &url])?.0,
        "405"
    );
    assert_eq!(page(&site, "/nodes")?.0, "404");
    Ok(())
}

/// Metrics are no condition for serving.
#[test]
fn a_port_that_is_taken_is_logged_and_nodes_are_answered() -> Result<()> {
    let lab = Lab::new()?;
    let _other = lab.server.run(|| Ok(TcpListener::bind(ADDRESS)?))?;
    let mut site = Site::start_in(lab, Datapath::Raw, Files::usual()?, &METRICS)?;
    let told = format!("there are no metrics: cannot listen on {ADDRESS}");
    site.daemon.wait_for(&told, PATIENCE)?;
    site.ask_uefi(NODE_A, "winboot/a/").map(drop)
}

#[test]
fn clients_that_hang_keep_nobody_from_the_metrics_for_long() -> Result<()> {
    let mut site = Site::with(Datapath::Raw, &METRICS)?;
    let connect = || -> Result<Vec<TcpStream>> {
        site.lab.server.run(|| {
            let connect = |_| -> Result<_> {
                let mut stream = TcpStream::connect(ADDRESS)?;
                stream.write_all(b"GET /metrics HT")?;
                Ok(stream)
            };
            (0..100).map(connect).collect()
        })
    };
    let hanging = connect()?;
    let (code, _) = page(&site, "/metrics")?;
    assert_eq!(code, "200");
    site.ask_uefi(NODE_A, "winboot/a/")?;
    drop(hanging);
    Ok(())
}

#[test]
fn the_thread_that_others_talk_to_has_no_rights() -> Result<()> {
    let site = Site::with(Datapath::Generic, &METRICS)?;
    assert_eq!(page(&site, "/metrics")?.0, "200");
    let mut seen = false;
    for task in fs::read_dir(format!("/proc/{}/task", site.daemon.pid()))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        if status.starts_with("Name:\thttp\n") {
            seen = true;
            for set in ["CapPrm", "CapEff"] {
                ensure!(
                    status.contains(&format!("{set}:\t0000000000000000\n")),
                    "{status}"
                );
            }
        }
    }
    ensure!(seen, "there is no such thread");
    Ok(())
}

#[test]
fn systemd_may_open_the_socket() -> Result<()> {
    debian::ensure_installed("systemd-socket-activate", "systemd")?;
    let (lab, files) = (Lab::new()?, Files::usual()?);
    let mut command = Command::new("systemd-socket-activate");
    // It starts the program when the first client comes, who waits meanwhile.
    command
        .args(["--listen", ADDRESS])
        .arg(binary()?)
        .args(serve_args(Datapath::Raw, &files, &["--metrics", "systemd"]));
    let mut daemon = Daemon::spawn(&lab.server, command)?;
    daemon.wait_for("Listening on", PATIENCE)?;
    let mut site = Site::of(lab, daemon, files)?;
    assert_eq!(
        page(&site, "/readyz")?,
        ("200".to_owned(), "ready\n".to_owned())
    );
    assert_eq!(page(&site, "/metrics")?.0, "200");
    site.ask_uefi(NODE_A, "winboot/a/")?;
    Ok(())
}

fn packaging(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(path)
}
