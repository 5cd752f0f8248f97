//! What bash completes by the script that `proxydhcp completions` prints.

use std::fs;
use std::process::Command;

use anyhow::Result;
use proxydhcp_lab::site::Files;
use proxydhcp_lab::{Ended, Lab, binary};

/// Asks for completions of the last word, as bash does: it ends words at equals signs.
const SCRIPT: &str = r#"
program=$1; shift
source <("$program" completions bash)
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9
word=${COMP_WORDS[COMP_CWORD]}
[[ $word != = ]] || word=
_clap_complete_proxydhcp proxydhcp "$word" 2> /dev/null
printf '%s\n' "${COMPREPLY[@]}"
"#;

#[test]
fn interfaces_nodes_and_winpes_are_completed() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    for name in ["winpe-a", "winpe-b"] {
        fs::create_dir_all(files.path("tftp/winboot").join(name))?;
    }
    let path = |name: &str| files.path(name).display().to_string();
    let text = [("config", "proxydhcp.cfg"), ("tftp-root", "tftp")]
        .map(|(key, name)| format!("{key} = {:?}\n", path(name)));
    files.write_settings(&text.concat())?;
    let complete = |words: &str| -> Result<Vec<String>> {
        let mut command = Command::new("bash");
        command
            .args(["-c", SCRIPT, "bash"])
            .arg(binary()?)
            .arg("proxydhcp");
        let (start, end) = words.split_once(" | ").unwrap_or((words, ""));
        command.args(start.split(' '));
        command.args(["--settings", &path("proxydhcp.toml")]);
        command.args(end.split(' '));
        let ended = Ended::from(lab.server.output(command)?);
        assert_eq!(ended.stderr, "", "{words}");
        Ok(ended.stdout.lines().map(str::to_owned).collect())
    };
    for (words, completed) in [
        ("serve | -i p", &["px0"][..]),
        ("serve | -i px7,p", &["px7,px0"]),
        ("serve | --path k", &["kernel"]),
        ("node rm | d", &["default"]),
        ("node list | a,b,d", &["a,b,default"]),
        ("lookup | d", &["default"]),
        ("node set | a w", &["winpepath="]),
        (
            "node set | a winpepath =",
            &["winboot/winpe-a", "winboot/winpe-b"],
        ),
        (
            "node set | a winpepath = winb",
            &["winboot/winpe-a", "winboot/winpe-b"],
        ),
        (
            "node set | a winpepath=winboot/winpe-b",
            &["winpepath=winboot/winpe-b"],
        ),
        ("winpe check | winpe", &["winpe-a", "winpe-b"]),
        ("winpe activate | winpe-a d", &["default"]),
    ] {
        assert_eq!(complete(words)?, completed, "{words}");
    }
    Ok(())
}
