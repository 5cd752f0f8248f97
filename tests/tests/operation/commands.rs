//! What the commands print, for people and for programs.

use std::process::Command;

use anyhow::Result;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, NODE_B, STRANGER, Site};
use proxydhcp_lab::{RequestFrame, binary};
use serde_json::{Value, json};

use crate::DATAPATHS;
use crate::ended::Ended;

#[test]
fn status_tells_programs_all_there_is() -> Result<()> {
    for datapath in DATAPATHS {
        let mut site = Site::usual(datapath)?;
        site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
        site.ask(&RequestFrame::ipxe(NODE_B, 0), "winboot/b/", 0)?;
        site.stays_silent(&RequestFrame::edk2(STRANGER, 7).bytes())?;
        let status = site.status()?;
        assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(status["pid"], site.daemon.pid());
        assert_eq!(status["generation"], 1);
        assert_eq!(
            (&status["nodes"], &status["records"]),
            (&json!(3), &json!(3))
        );
        let config = site.files.path("proxydhcp.cfg");
        assert_eq!(status["config"], config.display().to_string());
        assert_eq!(status["rejected"], Value::Null);
        for problems in ["refused", "unresolved", "warnings"] {
            assert_eq!(status[problems], json!([]), "{problems}");
        }
        let interface = &status["interfaces"][0];
        let mode = match datapath {
            Datapath::Native => json!("native"),
            Datapath::Generic | Datapath::AfXdp => json!("generic"),
            Datapath::Raw => Value::Null,
        };
        assert_eq!(interface["name"], "px0");
        assert_eq!(interface["datapath"], datapath.name());
        assert_eq!(interface["mode"], mode);
        let counters = &interface["counters"];
        assert_eq!(counters["answered"], 2, "{status}");
        assert_eq!(counters["refused"], json!({"unknown-client": 1}));
        assert_eq!(
            (&counters["unsent"], &counters["lost"]),
            (&json!(0), &json!(0))
        );
        // Whoever is to answer has answered.
        let share = match datapath {
            Datapath::Native | Datapath::Generic => "program",
            Datapath::AfXdp => "af_xdp",
            Datapath::Raw => "raw",
        };
        assert_eq!(interface[share]["answered"], 2, "{status}");

        let uptime = |status: &Value| status["uptime"].as_f64().unwrap_or(-1.0);
        assert!(uptime(&status) > 0.0, "{status}");
        assert!(uptime(&site.status()?) > uptime(&status), "{status}");
    }
    Ok(())
}

#[test]
fn status_tells_people_the_same_in_a_few_lines() -> Result<()> {
    let mut site = Site::usual(Datapath::Generic)?;
    site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
    site.stays_silent(&RequestFrame::edk2(STRANGER, 7).bytes())?;
    let status = Ended::command(&site, &["status"])?;
    assert_eq!(status.code, Some(0), "{status:?}");
    let lines: Vec<&str> = status.stdout.lines().collect();
    let config = site.files.path("proxydhcp.cfg");
    let [pid, config] = [site.daemon.pid().to_string(), config.display().to_string()];
    assert!(
        lines[0].starts_with(&format!(
            "proxydhcp {}, pid {pid}, up ",
            env!("CARGO_PKG_VERSION")
        )),
        "{status:?}"
    );
    assert!(
        lines[0].ends_with(&format!("generation 1: 3 nodes from 3 records of {config}")),
        "{status:?}"
    );
    let px0 = "px0: kernel (generic), received 2, answered 1; refused: unknown-client 1";
    assert_eq!(lines[1..], [px0]);
    Ok(())
}

#[test]
fn without_a_daemon_the_commands_say_how_to_start_one() -> Result<()> {
    // There never was one; there was one, and it was killed.
    let files = Files::new()?;
    let mut site = Site::usual(Datapath::Raw)?;
    site.daemon.crash()?;
    for files in [&files, &site.files] {
        let socket = files.path("control.sock");
        for args in [&["status"][..], &["status", "--json"], &["reload"]] {
            let mut command = Command::new(binary()?);
            command.args(args).arg("--control").arg(&socket);
            let ended = Ended::new(&command.output()?);
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
        Ok(Ended::new(&Command::new(binary()?).args(args).output()?))
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
    // The version is what the status tells, too.
    let version = run(&["--version"])?.stdout;
    assert_eq!(
        version,
        format!("proxydhcp {}\n", env!("CARGO_PKG_VERSION"))
    );
    Ok(())
}

/// As by `proxydhcp ... | head -0`.
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
    ] {
        let ended = Ended::new(&Command::new(binary()?).args(args).output()?);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(said), "{ended:?}");
    }
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
