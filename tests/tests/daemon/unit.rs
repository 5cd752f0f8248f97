//! The systemd unit is sound, and leaves the daemon few rights.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site, serve_args};
use proxydhcp_lab::{Daemon, Lab, binary, debian};
use tempfile::TempDir;

/// The worst exposure that `systemd-analyze security` may find, from 0 (safe) to 10.
const EXPOSURE: f64 = 2.2;

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(name)
}

fn analyze(arguments: &[&str], unit: &Path) -> Result<String> {
    debian::ensure_installed("systemd-analyze", "systemd")?;
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .output()
        .context("cannot start systemd-analyze")?;
    let text = String::from_utf8(output.stdout)? + &String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{text}");
    Ok(text)
}

#[test]
fn it_exposes_little() -> Result<()> {
    let unit = packaging("proxydhcp.service");
    let text = analyze(&["security", "--offline=true", "--no-pager"], &unit)?;
    let figure = text
        .split("Overall exposure level for proxydhcp.service: ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .with_context(|| format!("no figure in {text}"))?;
    println!("exposure {figure}");
    let figure: f64 = figure.parse()?;
    ensure!(figure <= EXPOSURE, "{text}");
    Ok(())
}

#[test]
fn systemd_understands_all_of_it() -> Result<()> {
    let folder = TempDir::new()?;
    let unit = folder.path().join("proxydhcp.service");
    let text = fs::read_to_string(packaging("proxydhcp.service"))?;
    // Programs are looked for, and this one need not be installed.
    let program = binary()?.canonicalize()?.display().to_string();
    let text = text.replace("/usr/sbin/proxydhcp", &program);
    ensure!(text.matches(&program).count() == 4, "{text}");
    fs::write(&unit, &text)?;
    for with_af_xdp in [false, true] {
        if with_af_xdp {
            let folder = unit.with_extension("service.d");
            fs::create_dir(&folder)?;
            fs::copy(packaging("af-xdp.conf"), folder.join("af-xdp.conf"))?;
        }
        // It complains with exit code 0 as well.
        let complaints = analyze(&["verify", "--man=no"], &unit)?;
        assert_eq!(complaints, "");
    }
    // systemd-analyze would complain about it.
    fs::write(&unit, text.replace("ProtectClock", "ProtectCloak"))?;
    let complaints = analyze(&["verify", "--man=no"], &unit)?;
    ensure!(complaints.contains("ProtectCloak"), "{complaints}");
    Ok(())
}

#[test]
fn systemd_understands_the_units_that_follow_xcats_tables() -> Result<()> {
    let folder = TempDir::new()?;
    let program = binary()?.canonicalize()?.display().to_string();
    for kind in ["service", "timer", "path"] {
        let name = format!("proxydhcp-xcat-sync.{kind}");
        let text = fs::read_to_string(packaging(&name))?;
        let text = text.replace(
            "ExecStart=/usr/sbin/proxydhcp",
            &format!("ExecStart={program}"),
        );
        fs::write(folder.path().join(&name), text)?;
    }
    for kind in ["service", "timer", "path"] {
        let unit = folder.path().join(format!("proxydhcp-xcat-sync.{kind}"));
        assert_eq!(analyze(&["verify", "--man=no"], &unit)?, "", "{kind}");
    }
    Ok(())
}

#[test]
fn systemd_understands_the_socket_for_metrics() -> Result<()> {
    let folder = TempDir::new()?;
    let program = binary()?.canonicalize()?.display().to_string();
    for name in ["proxydhcp.service", "proxydhcp-metrics.socket"] {
        let text = fs::read_to_string(packaging(name))?;
        let text = text.replace("/usr/sbin/proxydhcp", &program);
        fs::write(folder.path().join(name), text)?;
    }
    let unit = folder.path().join("proxydhcp-metrics.socket");
    assert_eq!(analyze(&["verify", "--man=no"], &unit)?, "");
    Ok(())
}

/// The values of a key in a file of `packaging/`.
fn values(file: &str, key: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(packaging(file))?;
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let values = lines.filter(|(name, _)| *name == key);
    Ok(values
        .flat_map(|(_, value)| value.split_whitespace())
        .map(str::to_owned)
        .collect())
}

#[test]
fn what_is_for_the_next_process_outlives_a_restart() -> Result<()> {
    let value = |key| values("proxydhcp.service", key);
    assert_eq!(value("RuntimeDirectory")?, ["proxydhcp"]);
    assert_eq!(value("RuntimeDirectoryPreserve")?, ["restart"]);
    Ok(())
}

/// systemd heeds this code of the main process alone, so that the check before it must not fail.
#[test]
fn a_mistake_in_the_settings_does_not_make_it_start_again_and_again() -> Result<()> {
    let prevents = values("proxydhcp.service", "RestartPreventExitStatus")?;
    let checks = values("proxydhcp.service", "ExecStartPre")?;
    ensure!(
        checks.contains(&"-/usr/sbin/proxydhcp".to_owned()),
        "{checks:?}"
    );
    let folder = TempDir::new()?;
    let settings = folder.path().join("settings");
    fs::write(&settings, "interfaces = \"eth1\"\n")?;
    for more in [&[][..], &["--check"]] {
        let mut command = Command::new(binary()?);
        command
            .arg("serve")
            .args(more)
            .arg("--settings")
            .arg(&settings);
        let code = command.output()?.status.code().context("a signal")?;
        assert_eq!(prevents, [code.to_string()]);
    }
    Ok(())
}

#[test]
fn the_rights_that_it_leaves_are_enough() -> Result<()> {
    debian::ensure_installed("setpriv", "util-linux")?;
    for datapath in Datapath::ALL {
        let mut capabilities = values("proxydhcp.service", "CapabilityBoundingSet")?;
        if datapath == Datapath::AfXdp {
            capabilities.extend(values("af-xdp.conf", "CapabilityBoundingSet")?);
        }
        let capabilities: String = capabilities
            .iter()
            .map(|name| name.to_lowercase().replace("cap_", ",+"))
            .collect();
        let (lab, files) = (Lab::new()?, Files::usual()?);
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--bounding-set=-all{capabilities}"))
            .args(["--inh-caps=-all", "--no-new-privs"])
            .arg(binary()?)
            .args(serve_args(datapath, &files, &[]));
        let daemon = Daemon::start_command(&lab.server, command)?;
        let mut site = Site::of(lab, daemon, files)?;
        site.ask_uefi(NODE_A, "winboot/a/")?;
    }
    Ok(())
}
