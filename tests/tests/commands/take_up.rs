//! A running daemon takes up what the commands write.

use std::fs;
use std::process::Command;

use anyhow::Result;
use proxydhcp_lab::site::{Datapath, NODE_B, STRANGER, Site};
use proxydhcp_lab::{Ended, binary};

#[test]
fn a_running_daemon_takes_up_what_is_imported() -> Result<()> {
    let mut site = Site::usual(Datapath::Raw)?;
    site.stays_silent_to(STRANGER)?;
    site.files
        .write_hosts(&[("10.77.1.1", "a"), ("10.77.1.2", "b"), ("10.77.9.9", "new")])?;
    fs::write(site.files.path("n.csv"), "new,winboot/new\nb,winboot/c\n")?;
    let (nodes, config) = (site.files.path("n.csv"), site.files.path("proxydhcp.cfg"));
    let (nodes, config) = (nodes.display().to_string(), config.display().to_string());
    let import = site.command(&["cfg", "import", &nodes, "--config", &config])?;
    assert_eq!(import.code, Some(0), "{}", import.stderr);
    assert!(
        import
            .stdout
            .ends_with("in service: generation 2, 3 nodes\n"),
        "{}",
        import.stdout
    );
    // The warnings are about all nodes, for the file is taken up as a whole.
    assert!(import.stderr.contains(" default"), "{}", import.stderr);
    site.ask_uefi(STRANGER, "winboot/new/")?;
    site.ask_uefi(NODE_B, "winboot/c/")?;

    // A daemon that serves other files is left alone.
    let other = site.files.path("other.cfg").display().to_string();
    let import = site.command(&["cfg", "import", &nodes, "--config", &other])?;
    assert_eq!(import.code, Some(0), "{}", import.stderr);
    assert!(
        import
            .stderr
            .starts_with("the daemon was not reloaded: it serves"),
        "{}",
        import.stderr
    );
    assert_eq!(site.status()?["generation"], 2);
    Ok(())
}

#[test]
fn a_daemon_that_rejects_its_files_keeps_what_it_had() -> Result<()> {
    let mut site = Site::usual(Datapath::Raw)?;
    fs::remove_file(site.files.path("hosts"))?;
    fs::create_dir(site.files.path("hosts"))?;
    let node = |site: &Site, config: &str| -> Result<Ended> {
        let mut command = Command::new(binary()?);
        command.args(["node", "set", "b", "winpepath=winboot/c", "--settings"]);
        command.arg(site.files.path("proxydhcp.toml"));
        command.arg("--config").arg(site.files.path(config));
        command.arg("--hosts").arg(site.files.path("hosts"));
        command
            .arg("--control")
            .arg(site.files.path("control.sock"));
        Ok(command.output()?.into())
    };
    let set = node(&site, "proxydhcp.cfg")?;
    assert_eq!(set.code, Some(1), "{}", set.stderr);
    let config = site.files.path("proxydhcp.cfg").display().to_string();
    let told = format!(
        "proxydhcp: {config} is written, but the daemon has not taken it up: not reloaded: "
    );
    assert!(set.stderr.starts_with(&told), "{}", set.stderr);
    assert!(
        set.stdout.starts_with("changed b: winboot/b -> winboot/c/"),
        "{}",
        set.stdout
    );
    site.ask_uefi(NODE_B, "winboot/b/")?;

    // A daemon that serves other files has nothing to reject.
    fs::remove_dir(site.files.path("hosts"))?;
    site.files.write_hosts(&[("10.77.1.2", "b")])?;
    let set = node(&site, "other.cfg")?;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let told = format!("the daemon was not reloaded: it serves {config}\n");
    assert_eq!(set.stderr, told);
    Ok(())
}
