//! A BPF file system that anybody may write to, as `mount -t bpf` makes it, and who does so.

use std::fs;
use std::process::Command;

use anyhow::{Result, bail, ensure};
use proxydhcp_lab::link::xdp_program;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site, serve_args};
use proxydhcp_lab::{Daemon, Ended, Lab, RequestFrame, SERVER_INTERFACE, binary};

use super::{PATIENCE, detach, restart, shell};

const FOLDER: &str = "/sys/fs/bpf/proxydhcp";

/// What a user without any rights does.
const AS_USER: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

/// Folders of root's, which a user would have root remove.
fn precious(files: &Files) -> Result<String> {
    let folder = files.path("precious");
    for name in ["4", "link", "4026531840/4"] {
        fs::create_dir_all(folder.join(name))?;
        fs::write(folder.join(name).join("link"), "precious")?;
    }
    Ok(folder.display().to_string())
}

fn is_whole(files: &Files) -> bool {
    ["4", "link", "4026531840/4"].iter().all(|name| {
        let link = files.path("precious").join(name).join("link");
        fs::read(link).is_ok_and(|bytes| bytes == b"precious")
    })
}

#[test]
fn what_a_user_has_made_is_neither_followed_nor_removed() -> Result<()> {
    for path in [&["kernel"][..], &["auto"], &["raw", "--no-pin"]] {
        let (lab, files) = (Lab::new()?, Files::usual()?);
        let precious = precious(&files)?;
        shell(
            &lab.server,
            &format!(
                "{AS_USER} mkdir {FOLDER}; for layout in 1 2 3 7; do \
                 {AS_USER} ln -s {precious} {FOLDER}/$layout; done"
            ),
        )?;
        let mut args = vec!["serve", "-i", SERVER_INTERFACE, "--path"];
        args.extend(path);
        let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        args.extend(files.args());
        let mut daemon = Daemon::start(&lab.server, &binary()?, &args)?;
        daemon.wait_for("belongs to user 65534", PATIENCE)?;
        let mut site = Site::of(lab, daemon, files)?;
        site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
        let is_by_kernel = xdp_program(&site.lab.server, SERVER_INTERFACE)?.is_some();
        assert_eq!(is_by_kernel, path[0] != "raw");
        ensure!(is_whole(&site.files), "{}", site.daemon.log());
        site.daemon.stop()?;

        let detached = detach(&site)?;
        assert_eq!(detached.code, Some(1), "{detached:?}");
        assert!(
            detached.stderr.contains("belongs to user 65534"),
            "{detached:?}"
        );
        ensure!(is_whole(&site.files), "{detached:?}");
        let left = shell(&site.lab.server, &format!("ls {FOLDER}"))?;
        assert_eq!(left.stdout, b"1\n2\n3\n7\n");
    }
    Ok(())
}

#[test]
fn a_folder_that_others_may_change_is_not_used() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    shell(&lab.server, &format!("mkdir -m 777 {FOLDER}"))?;
    let args = serve_args(Datapath::Generic, &files, &[]);
    let mut daemon = Daemon::start(&lab.server, &binary()?, &args)?;
    daemon.wait_for("`chmod go-w /sys/fs/bpf/proxydhcp` ends that", PATIENCE)?;
    let mut site = Site::of(lab, daemon, files)?;
    site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
    Ok(())
}

/// Whoever may look into the folder may lock it.
#[test]
fn a_users_lock_is_not_waited_for() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    shell(&lab.server, &format!("mkdir -m 755 {FOLDER}"))?;
    let mut holder = Command::new("sh");
    holder.args([
        "-euc",
        &format!("exec {AS_USER} flock --no-fork {FOLDER} sleep 600"),
    ]);
    let mut holder = lab.server.spawn(holder)?;
    let is_held = || shell(&lab.server, &format!("! flock -n {FOLDER} true")).is_ok();
    let started = std::time::Instant::now();
    while !is_held() {
        ensure!(started.elapsed() < PATIENCE, "it is not held");
    }
    let args = serve_args(Datapath::Generic, &files, &[]);
    let started = std::time::Instant::now();
    let mut daemon = Daemon::start(&lab.server, &binary()?, &args)?;
    println!("ready in {:?}", started.elapsed());
    daemon.wait_for("the kernel will not go on answering", PATIENCE)?;
    holder.kill()?;
    holder.wait()?;
    Ok(())
}

/// Not even the pins that it is meant to remove.
#[test]
fn what_cannot_be_read_is_not_taken_for_nothing() -> Result<()> {
    let mut site = Site::usual(Datapath::Generic)?;
    site.daemon.crash()?;
    // The daemon has no right to pass over permissions.
    shell(
        &site.lab.server,
        &format!("find {FOLDER} -name link -exec chmod 000 {{}} +"),
    )?;
    let args = serve_args(Datapath::Generic, &site.files, &[]);
    let Err(error) = Daemon::start(&site.lab.server, &binary()?, &args) else {
        bail!("it started");
    };
    ensure!(error.to_string().contains("Permission denied"), "{error}");
    site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
    shell(
        &site.lab.server,
        &format!("find {FOLDER} -name link -exec chmod 600 {{}} +"),
    )?;
    restart(&mut site, Datapath::Generic, &[])?;
    site.ask(&RequestFrame::edk2(NODE_A, 7), "winboot/a/", 7)?;
    Ok(())
}

#[test]
fn a_control_socket_lies_where_nobody_else_can_put_one() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    let folder = files.path("run");
    fs::create_dir(&folder)?;
    for (spoil, told) in [
        ("chmod 777", "may be changed by others"),
        ("chmod 755 $0; chown 65534", "belongs to user 65534"),
    ] {
        let folder = folder.display();
        shell(
            &lab.server,
            &format!("{} {folder}", spoil.replace("$0", &folder.to_string())),
        )?;
        let mut command = Command::new(binary()?);
        command.args(["serve", "-i", SERVER_INTERFACE, "--path", "raw"]);
        let args = files.args();
        let control = format!("{folder}/control.sock");
        let args = args.iter().map(|arg| {
            let is_socket = arg.ends_with("control.sock");
            if is_socket { &control } else { arg }
        });
        command.args(args);
        let ended = Ended::from(lab.server.output(command)?);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(told), "{ended:?}");
    }
    Ok(())
}
