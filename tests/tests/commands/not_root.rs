//! What a user without root's rights is told: what is missing, once, and how to have it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use proxydhcp_lab::site::Files;
use proxydhcp_lab::{Ended, Lab, binary, copy_program};

/// Runs the command line as a user.
fn run(lab: &Lab, program: &Path, args: &[&str]) -> Result<Ended> {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=54321", "--regid=54321", "--clear-groups"]);
    command.arg(program).args(args);
    Ok(lab.server.output(command)?.into())
}

#[test]
fn every_refusal_has_its_remedy_and_each_cause_once() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    fs::set_permissions(files.path("."), Permissions::from_mode(0o755))?;
    let program = files.path("program");
    copy_program(&binary()?, &program)?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    let path = |name: &str| files.path(name).display().to_string();
    let [config, hosts, settings, secret] =
        ["proxydhcp.cfg", "hosts", "proxydhcp.toml", "secret"].map(path);
    fs::copy(&config, &secret)?;
    fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
    let folder = path("folder");
    fs::create_dir(&folder)?;
    fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
    let socket = format!("{folder}/control.sock");
    let settings = ["--settings", &settings];
    for (args, told) in [
        (&["serve", "--path", "raw"][..], "the missing CAP_NET_RAW"),
        (
            &["serve"],
            "the missing CAP_NET_RAW, CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON",
        ),
        (&["serve", "--check"], "the missing CAP_NET_RAW"),
        (
            &["node", "set", "a", "winpepath=x", "--config", &config],
            "",
        ),
        (&["node", "rm", "a", "--config", &config], ""),
        (
            &["cfg", "check", "--config", &secret, "--hosts", &hosts],
            &secret,
        ),
        (&["cfg", "repair", "--config", &secret], ""),
        (&["status", "--control", &socket], "you need to be root"),
        (&["reload", "--control", &socket], "you need to be root"),
        (
            &["man", "--dir", "/usr/share/proxydhcp"],
            "/usr/share/proxydhcp",
        ),
    ] {
        let takes_settings = !["man"].contains(&args[0]);
        let more = if takes_settings { &settings[..] } else { &[] };
        let ended = run(&lab, &program, &[args, more].concat())?;
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(1), ""),
            "{args:?} {ended:?}"
        );
        let said = ended.stderr;
        assert!(
            said.contains(told) && said.contains("run it with sudo"),
            "{args:?}: {said}"
        );
        for once in ["Permission denied", "sudo"] {
            assert!(said.matches(once).count() < 2, "{args:?}: {said}");
        }
    }
    Ok(())
}
