//! The log: its priorities in the journal, and its formats.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use proxydhcp_lab::site::{Datapath, Files, serve_args};
use proxydhcp_lab::{Daemon, Ended, Lab, binary, debian};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(1);

/// Files of which the daemon refuses a record, with a warning.
fn files() -> Result<Files> {
    let files = Files::usual()?;
    files.write_config(&[("a", "winboot/a/"), ("b", "winboot/../b")])?;
    Ok(files)
}

/// The daemon's program, with `stream` as the value of `JOURNAL_STREAM`: a word of the shell.
fn with_stream(stream: &str) -> Result<Command> {
    let script = format!("JOURNAL_STREAM={stream} exec \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).arg(binary()?);
    Ok(command)
}

/// What the daemon writes to stderr until it is asked to reload files that are gone, which is an error.
fn log(stream: &str, more: &[&str]) -> Result<Vec<String>> {
    let (lab, files) = (Lab::new()?, files()?);
    let mut command = with_stream(stream)?;
    command.args(serve_args(Datapath::Raw, &files, more));
    let mut daemon = Daemon::start_command(&lab.server, command)?;
    std::fs::remove_file(files.path("proxydhcp.cfg"))?;
    daemon.signal(rustix::process::Signal::HUP)?;
    daemon.wait_for("not reloaded", PATIENCE)?;
    let log = daemon.log();
    // That line is for stdout.
    let lines = log.lines().filter(|line| !line.starts_with("ready"));
    Ok(lines.map(str::to_owned).collect())
}

fn line<'l>(lines: &'l [String], text: &str) -> Result<&'l str> {
    let line = lines.iter().find(|line| line.contains(text));
    Ok(line.with_context(|| format!("no {text:?} in {lines:#?}"))?)
}

const OURS: &str = "$(stat -L -c %d:%i /proc/self/fd/2)";

#[test]
fn in_the_journal_lines_have_their_priorities_and_no_second_time() -> Result<()> {
    let lines = log(OURS, &[])?;
    for (text, priority) in [
        ("serving px0", "<6>"),
        ("is refused", "<4>"),
        ("not reloaded", "<3>"),
    ] {
        let line = line(&lines, text)?;
        ensure!(line.starts_with(priority), "{line}");
    }
    // A time has a T between digits, and a Z.
    ensure!(
        !lines
            .iter()
            .any(|line| line.contains("Z  ") || line.contains("Z ")),
        "{lines:#?}"
    );
    Ok(())
}

#[test]
fn elsewhere_lines_have_times_and_no_marks() -> Result<()> {
    for stream in ["''", "1:2"] {
        let lines = log(stream, &[])?;
        let line = line(&lines, "is refused")?;
        ensure!(line.contains("Z  WARN"), "{line}");
        ensure!(
            !lines.iter().any(|line| line.starts_with('<')),
            "{lines:#?}"
        );
    }
    Ok(())
}

#[test]
fn as_json_each_line_is_an_object() -> Result<()> {
    for (stream, mark) in [("1:2", ""), (OURS, "<4>")] {
        let lines = log(stream, &["--log-format", "json"])?;
        for line in &lines {
            let object = line.split_once('{').map(|(_, rest)| format!("{{{rest}"));
            let object: Value = serde_json::from_str(&object.context("no object")?)?;
            ensure!(
                object["level"].is_string() && object["message"].is_string(),
                "{line}"
            );
            ensure!(object["timestamp"].is_string() == mark.is_empty(), "{line}");
        }
        ensure!(
            line(&lines, "is refused")?.starts_with(&format!("{mark}{{")),
            "{lines:#?}"
        );
    }
    Ok(())
}

/// What systemd runs beside the daemon, such as its `ExecStartPre` and `ExecReload`, is in the journal, too.
#[test]
fn commands_that_fail_are_errors_in_the_journal() -> Result<()> {
    let output = with_stream(OURS)?
        .args(["reload", "--control", "/nowhere/control.sock"])
        .output()?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(
        text.starts_with("<3>proxydhcp: no daemon listens"),
        "{text}"
    );
    Ok(())
}

/// Runs a journal in `/run` of its own, and the daemon with a stream of it for its stderr, until a reload
/// has failed; prints what `journalctl -p warning` finds.
const JOURNAL: &str = r#"
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal
cat > /run/systemd/journald.conf.d/lab.conf <<END
[Journal]
Storage=volatile
ReadKMsg=no
Audit=no
ForwardToSyslog=no
ForwardToWall=no
END
/lib/systemd/systemd-journald >&2 & journald=$!
trap 'kill $daemon $journald' EXIT
wait_for() { n=0; until eval "$1"; do n=$((n + 1)); test $n -lt 300; sleep 0.1; done; }
wait_for 'test -S /run/systemd/journal/stdout'
systemd-cat -t proxydhcp sh -c 'JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@"' sh "$@" &
daemon=$!
found() { journalctl -q -D /run/log/journal --no-pager "$@"; }
wait_for 'found | grep -q ready'
rm "$CONFIG"
kill -HUP $daemon
wait_for 'found | grep -q "not reloaded"'
found -p warning -o cat
"#;

#[test]
fn a_real_journal_finds_the_warnings() -> Result<()> {
    debian::ensure_installed("/lib/systemd/systemd-journald", "systemd")?;
    let (lab, files) = (Lab::new()?, files()?);
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", JOURNAL, "sh"])
        .arg(binary()?)
        .args(serve_args(Datapath::Raw, &files, &[]))
        .env("CONFIG", files.path("proxydhcp.cfg"));
    let output: Ended = lab.server.output(command)?.into();
    ensure!(output.code == Some(0), "{output:?}");
    let lines: Vec<_> = output.stdout.lines().collect();
    let found = |text: &str| lines.iter().any(|line| line.contains(text));
    ensure!(found("is refused") && found("not reloaded"), "{output:?}");
    let levels = ["WARN ", "ERROR "];
    let others: Vec<_> = lines
        .iter()
        .filter(|line| !levels.iter().any(|level| line.starts_with(level)))
        .collect();
    ensure!(others.is_empty(), "{others:?}");
    Ok(())
}
