//! Long tables on a terminal.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use proxydhcp_lab::binary;
use proxydhcp_lab::site::Files;

/// The output of a command on a terminal, which is script(1).
fn on_terminal(files: &Files, line: &str, pager: Option<&str>) -> Result<String> {
    let mut command = Command::new("script");
    let line = format!("{} {line} --config proxydhcp.cfg", binary()?.display());
    command.args(["-qec", &line, "/dev/null"]);
    command.env_remove("PAGER").env_remove("LESS");
    command.envs(pager.map(|pager| ("PAGER", pager)));
    command.env("TERM", "dumb").stdin(Stdio::null());
    let output = command.current_dir(files.path("")).output()?;
    let text = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
    ensure!(output.status.success(), "{text}");
    Ok(text)
}

#[test]
fn a_terminal_gets_a_pager_and_nobody_else() -> Result<()> {
    let files = Files::usual()?;
    let settings = files.path("proxydhcp.toml").display().to_string();
    for line in ["node list", "cfg dump"] {
        let line = format!("{line} --settings {settings}");
        let words: Vec<_> = line.split(' ').collect();
        let mut piped = Command::new(binary()?);
        piped.args(words).args(["--config", "proxydhcp.cfg"]);
        piped.env("PAGER", "false").current_dir(files.path(""));
        let plain = String::from_utf8(piped.output()?.stdout)?;
        assert!(plain.lines().count() > 3, "{plain}");

        let paged = on_terminal(&files, &line, Some("sed 's/^/page: /'"))?;
        let expected: Vec<_> = plain.lines().map(|line| format!("page: {line}")).collect();
        assert_eq!(paged.lines().collect::<Vec<_>>(), expected);
        for none in ["", "cat"] {
            assert_eq!(on_terminal(&files, &line, Some(none))?, plain);
        }
        // Without the pager, the table is printed plainly; a pager need not read all of it.
        let lost = on_terminal(&files, &line, Some("/nonexistent/pager"))?;
        assert!(lost.ends_with(&plain), "{lost}");
        assert_eq!(
            on_terminal(&files, &line, Some("head -n 1 >/dev/null"))?,
            ""
        );
        // It is less(1), or none where that is not installed: three nodes fit any screen.
        let less = on_terminal(&files, &line, None)?;
        assert!(
            less.contains(plain.lines().nth(1).unwrap_or("none")),
            "{less}"
        );
    }
    Ok(())
}

#[test]
fn a_pager_is_told_to_print_short_texts_and_to_run_nothing() -> Result<()> {
    let files = Files::usual()?;
    let options = on_terminal(&files, "node list", Some("echo $LESS $LESSSECURE #"))?;
    assert_eq!(options, "FRX 1\n");
    // Programs read JSON, on a terminal too.
    let json = on_terminal(&files, "node list --json", Some("false"))?;
    assert!(json.starts_with('['), "{json}");
    Ok(())
}
