//! The command line: help, mistakes, and commands without a daemon.

use std::process::Command;

use anyhow::{Context, Result};
use proxydhcp_lab::site::{Datapath, Files, Site};
use proxydhcp_lab::{Ended, binary};

#[test]
fn without_a_daemon_the_commands_say_how_to_start_one() -> Result<()> {
    // One site never had a daemon; the daemon of the other was killed.
    let files = Files::new()?;
    let mut site = Site::usual(Datapath::Raw)?;
    site.daemon.crash()?;
    for files in [&files, &site.files] {
        let socket = files.path("control.sock");
        for args in [&["status"][..], &["status", "--json"], &["reload"]] {
            let mut command = Command::new(binary()?);
            command.args(args).arg("--control").arg(&socket);
            let ended = Ended::from(command.output()?);
            assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
            let said = format!(
                "proxydhcp: no daemon listens on {}; start one with `proxydhcp serve`, \
                 or name its socket with --control\n",
                socket.display()
            );
            assert_eq!(ended.stderr, said);
        }
    }
    Ok(())
}

#[test]
fn the_help_of_every_command_has_an_example() -> Result<()> {
    let run = |args: &[&str]| -> Result<Ended> {
        Ok(Ended::from(Command::new(binary()?).args(args).output()?))
    };
    let all = run(&["--help"])?;
    let commands: Vec<&str> = all
        .stdout
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .map_while(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert!(
        commands.contains(&"serve") && commands.contains(&"reload"),
        "{all:?}"
    );
    for command in commands {
        assert!(has_example(&all, ""), "{all:?}");
        let help = run(&[command, "--help"])?;
        assert_eq!(help.code, Some(0));
        assert!(has_example(&help, command), "{help:?}");
    }
    // The status shows this version, too.
    let version = run(&["--version"])?.stdout;
    let begin = format!("proxydhcp {} (", env!("CARGO_PKG_VERSION"));
    assert!(version.starts_with(&begin), "{version}");
    let (_, object) = version.split_once("XDP object ").context(version.clone())?;
    let lock = include_str!("../../../proxydhcp-user/ebpf/proxydhcp.bpf.lock");
    let hash = object.trim_end().trim_end_matches(')');
    assert!(lock.contains(&format!("object = \"{hash}")), "{version}");
    Ok(())
}

/// For example in `proxydhcp ... | head -0`.
#[test]
fn a_pipe_that_nobody_reads_is_no_failure() -> Result<()> {
    let site = Site::usual(Datapath::Raw)?;
    let socket = site.files.path("control.sock").display().to_string();
    for args in [
        &["--help"][..],
        &["completions", "bash"],
        &["man"],
        &["status", "--control", &socket],
        &["lookup", "10.77.1.1", "--json", "--control", &socket],
    ] {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let mut command = Command::new(binary()?);
        let output = command.args(args).stdout(writer).output()?;
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert_eq!(output.stderr, b"", "{args:?}: {output:?}");
    }
    Ok(())
}

#[test]
fn a_command_line_that_makes_no_sense_is_explained() -> Result<()> {
    for (args, said) in [
        (&["reload", "--allow-emty"][..], "--allow-empty"),
        (&["serve", "--path", "fast"], "auto, kernel, af-xdp, raw"),
        (&["serve", "--next-server", "10.0.0.256"], "--next-server"),
        (&["stauts"], "status"),
        (
            &["serve", "--path", "raw", "--xdp-mode", "native"],
            "leave out one of path and xdp-mode",
        ),
        (&["serve", "-i", ""], "no interface can have this name"),
        (&["lookup", "fe80::1"], "PXE clients ask by IPv4 alone"),
        (&["lookup", "n1", "--arch", "arm"], "arm64 (11)"),
        (&[], "Usage:"),
    ] {
        let ended = Ended::from(Command::new(binary()?).args(args).output()?);
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
    Ok(())
}

/// From a number that is too small to load the program, to one that suffices.
#[test]
fn where_too_few_files_may_be_open_the_limit_is_named() -> Result<()> {
    let files = Files::usual()?;
    let binary = binary()?;
    let mut named = 0;
    for limit in 4..=40 {
        let script = format!(
            "ulimit -n {limit}; exec '{}' serve --check -i lo --config '{}' --control '{}'",
            binary.display(),
            files.path("proxydhcp.cfg").display(),
            files.path("control.sock").display()
        );
        let ended = Ended::from(Command::new("sh").args(["-c", &script]).output()?);
        assert_ne!(ended.code, Some(0), "{limit}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{limit}: {ended:?}");
        named += u32::from(ended.stderr.contains("raise `ulimit -n`"));
    }
    assert!(named > 30, "{named}");
    Ok(())
}

/// Whether there is a line under "Examples:" that runs the command.
fn has_example(help: &Ended, command: &str) -> bool {
    let start = format!("  proxydhcp {command}");
    help.stdout
        .lines()
        .skip_while(|line| *line != "Examples:")
        .skip(1)
        .any(|line| line.starts_with(&start))
}
