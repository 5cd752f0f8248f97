//! The control socket keeps working whatever its clients do.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::unistd::Group;
use proxydhcp_lab::site::{Datapath, Files, NODE_A, Site, serve_args};
use proxydhcp_lab::{Daemon, Ended, Lab, binary, debian};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};

/// Far longer than any reply takes, but less than the daemon's own patience with its clients: a
/// reply that had to wait for another client comes too late.
const PATIENCE: Duration = Duration::from_secs(3);

/// Against hanging.
const GENEROUS: Duration = Duration::from_secs(30);

#[test]
fn it_is_for_root_and_its_group_alone() -> Result<()> {
    // Whatever the umask.
    for umask in ["000", "077", "777"] {
        let (lab, files) = (Lab::new()?, Files::usual()?);
        // The daemon makes the folder.
        let folder = files.path("run");
        let socket = folder.join("control.sock");
        let (from, to) = (files.path("control.sock"), socket.display().to_string());
        let args = serve_args(Datapath::Raw, &files, &[]).into_iter();
        let args: Vec<_> = args
            .map(|arg| {
                if from.as_os_str() == &*arg {
                    to.clone()
                } else {
                    arg
                }
            })
            .collect();
        let _daemon = start_by(&lab, &format!("umask {umask}"), &args)?;
        let metadata = fs::metadata(&socket)?;
        assert!(metadata.file_type().is_socket());
        assert_eq!(mode(&socket)?, 0o660, "{umask}");
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0));
        assert_eq!(mode(&folder)?, 0o755, "{umask}");
        assert_eq!(fs::metadata(&folder)?.uid(), 0);
    }
    Ok(())
}

#[test]
fn a_group_may_be_let_in_and_nobody_else_is() -> Result<()> {
    debian::ensure_installed("setpriv", "util-linux")?;
    for group in [Some("games"), None] {
        let more = group.map_or(vec![], |group| vec!["--control-group", group]);
        let mut site = Site::with(Datapath::Native, &more)?;
        let socket = site.files.path("control.sock");
        fs::set_permissions(site.files.path(""), Permissions::from_mode(0o755))?;
        let number = Group::from_name("games")?.context("no group games")?.gid;
        let expected = group.map_or(0, |_| number.as_raw());
        assert_eq!(fs::metadata(&socket)?.gid(), expected);
        assert_eq!(mode(&socket)?, 0o660);
        // The daemon has given up its right over groups since.
        let program = site.files.path("proxydhcp");
        fs::copy(binary()?, &program)?;
        let ask = |command: &str, groups: &str| {
            let mut setpriv = Command::new("setpriv");
            setpriv
                .args(["--reuid", "65534", "--regid", "65534", groups, "--"])
                .args([program.as_os_str(), command.as_ref(), "--control".as_ref()])
                .arg(&socket)
                .arg("--settings")
                .arg(site.files.path("proxydhcp.toml"));
            Ok::<_, anyhow::Error>(Ended::from(site.lab.server.output(setpriv)?))
        };
        let member = format!("--groups={number}");
        for (groups, is_let_in) in [("--clear-groups", false), (&*member, group.is_some())] {
            for command in ["status", "reload"] {
                let ended = ask(command, groups)?;
                let or_in_group =
                    group.map_or(String::new(), |group| format!(" or in the group {group}"));
                if is_let_in {
                    assert_eq!(ended.code, Some(0), "{ended:?}");
                } else {
                    assert_eq!(ended.code, Some(1), "{ended:?}");
                    let told = format!(
                        "proxydhcp: you may not ask the daemon on {}: \
                         you need to be root{or_in_group}; run it with sudo\n",
                        socket.display()
                    );
                    assert_eq!(ended.stderr, told);
                }
            }
        }
        if group.is_some() {
            site.daemon
                .wait_for("reload asked for by uid 65534, pid ", PATIENCE)?;
        }
        site.command(&["reload"])?;
        site.daemon
            .wait_for("reload asked for by uid 0, pid ", PATIENCE)?;
    }
    Ok(())
}

#[test]
fn a_group_that_is_not_there_is_told() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    let mut command = Command::new(binary()?);
    command.args(serve_args(
        Datapath::Raw,
        &files,
        &["--control-group", "no-such-group"],
    ));
    let ended = Ended::from(lab.server.output(command)?);
    assert_eq!(ended.code, Some(1));
    assert_eq!(
        ended.stderr,
        "proxydhcp: there is no group no-such-group; make it, or name another with \
         --control-group\n"
    );
    Ok(())
}

/// More clients than there are places: some wait until the daemon has hung up on others.
#[test]
fn a_hundred_that_are_stuck_hold_up_nobody() -> Result<()> {
    let site = Site::usual(Datapath::Raw)?;
    // A reply that is too long for any socket buffer.
    let records = vec![("b", ".."); 5_000];
    site.files
        .write_config(&[&[("a", "")], &records[..]].concat())?;
    assert_eq!(site.command(&["reload"])?.code, Some(2));
    let status = b"{\"command\":\"status\",\"whole\":true}\n";
    let reload = b"{\"command\":\"reload\"}\n";
    for (kind, said) in [
        ("silent", &b""[..]),
        ("in the middle of a line", b"{\"command\":"),
        ("not taking a status", status),
        ("not taking the report of a reload", reload),
    ] {
        let mut stuck = Vec::new();
        for _ in 0..100 {
            let mut client = connect(&site)?;
            client.write_all(said)?;
            stuck.push(client);
        }
        let started = Instant::now();
        assert_eq!(
            site.status()?["refused"].as_array().map(Vec::len),
            Some(5_000)
        );
        let status = started.elapsed();
        assert_eq!(site.command(&["reload"])?.code, Some(2));
        println!(
            "100 clients {kind}: status in {status:?}, reload in {:?}",
            started.elapsed().saturating_sub(status)
        );
        assert!(started.elapsed() < GENEROUS, "{kind}");
    }
    Ok(())
}

#[test]
fn a_reload_goes_on_when_who_asked_for_it_goes_away() -> Result<()> {
    let mut site = Site::usual(Datapath::Native)?;
    site.files.write_config(&[("a", "winboot/new")])?;
    let mut client = connect(&site)?;
    client.write_all(b"{\"command\":\"reload\"}\n")?;
    drop(client);
    let started = Instant::now();
    while site.status()?["generation"] != 2 {
        assert!(started.elapsed() < GENEROUS, "{}", site.describe());
    }
    site.ask_uefi(NODE_A, "winboot/new/")?;
    Ok(())
}

#[test]
fn silent_clients_hold_up_nobody() -> Result<()> {
    let site = Site::usual(Datapath::Raw)?;
    let mut idle = (0..50)
        .map(|_| connect(&site))
        .collect::<Result<Vec<_>>>()?;
    // Half of them stop in the middle of a request.
    for client in idle.iter_mut().step_by(2) {
        client.write_all(b"{\"command\":")?;
    }
    let mut client = connect(&site)?;
    client.write_all(b"{\"command\":\"status\"}\n")?;
    assert!(reply(client)?.starts_with("{\"brief\":{"));

    // Later the daemon hangs up on them.
    for mut client in idle {
        client.set_read_timeout(Some(Duration::from_secs(20)))?;
        assert_eq!(client.read(&mut [0; 1])?, 0);
    }
    Ok(())
}

#[test]
fn clients_that_do_not_take_their_reply_hold_up_nobody() -> Result<()> {
    let site = Site::usual(Datapath::Raw)?;
    // A reply that is too long for any socket buffer.
    let records = vec![("b", ".."); 20_000];
    site.files
        .write_config(&[&[("a", "")], &records[..]].concat())?;
    assert_eq!(site.command(&["reload"])?.code, Some(2));
    let mut stuck = Vec::new();
    for _ in 0..20 {
        let mut client = connect(&site)?;
        client.write_all(b"{\"command\":\"status\",\"whole\":true}\n")?;
        stuck.push(client);
    }
    let mut client = connect(&site)?;
    client.write_all(b"{\"command\":\"status\",\"whole\":true}\n")?;
    assert!(reply(client)?.ends_with("}}\n"));
    assert_eq!(
        site.status()?["refused"].as_array().map(Vec::len),
        Some(20_000)
    );
    Ok(())
}

#[test]
fn garbage_is_answered_or_hung_up_on() -> Result<()> {
    let site = Site::usual(Datapath::Raw)?;
    for garbage in [
        &b"\n"[..],
        b"status\n",
        b"{}\n",
        b"[]\n",
        b"{\"command\":\"halt\"}\n",
        b"{\"command\":\"reload\",\"allow_empty\":3}\n",
        b"{\"command\":{\"command\":{\"command\":{}}}}\n",
    ] {
        let mut client = connect(&site)?;
        client.write_all(garbage)?;
        let reply = reply(client)?;
        assert!(
            reply.starts_with("{\"rejected\":\"not a request: "),
            "{reply}"
        );
    }
    // Bytes that are not text are answered, too.
    for garbage in [vec![0xff; 100], vec![0; 3000]] {
        let mut client = connect(&site)?;
        client.write_all(&garbage)?;
        client.shutdown(Shutdown::Write)?;
        let reply = reply(client)?;
        assert!(
            reply.starts_with("{\"rejected\":\"not a request: "),
            "{reply}"
        );
    }
    // The daemon may hang up on a request that is too long without a word.
    for garbage in [vec![b'['; 4096], vec![b'x'; 1 << 20]] {
        let mut client = connect(&site)?;
        // The daemon need not read all of it.
        let _ = client.write_all(&garbage);
        let _ = client.shutdown(Shutdown::Write);
        // Hung up, not waiting: the end of the stream or a reset.
        let mut rest = Vec::new();
        if let Err(error) = client.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        assert_eq!(site.status()?["generation"], 1);
    }
    Ok(())
}

#[test]
fn the_oversized_are_hung_up_on_before_they_end() -> Result<()> {
    let site = Site::usual(Datapath::Raw)?;
    let mut client = connect(&site)?;
    // No newline, no end: only the daemon's limit ends it.
    let _ = client.write_all(&vec![b' '; 1 << 20]);
    let mut rest = Vec::new();
    if let Err(error) = client.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert_eq!(site.status()?["generation"], 1);
    Ok(())
}

#[test]
fn the_oversized_are_told_why() -> Result<()> {
    let site = Site::usual(Datapath::Raw)?;
    let mut client = connect(&site)?;
    client.write_all(&vec![b' '; 5000])?;
    let reply = reply(client)?;
    assert_eq!(
        reply,
        "{\"rejected\":\"not a request: longer than 4096 bytes\"}\n"
    );
    Ok(())
}

#[test]
fn a_socket_that_another_has_is_left_alone() -> Result<()> {
    let (lab, files) = (Lab::new()?, Files::usual()?);
    let path = files.path("control.sock");
    let start = || {
        // Against hanging.
        let mut command = Command::new("timeout");
        command
            .args(["--signal=KILL", &GENEROUS.as_secs().to_string()])
            .arg(binary()?)
            .args(serve_args(Datapath::Raw, &files, &[]));
        Ok::<_, anyhow::Error>(Ended::from(lab.server.output(command)?))
    };
    let shown = path.display();
    let elsewhere = "another socket with --control";

    // The other socket accepts nobody, and its queue is full.
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    bind(&listener, &SocketAddrUnix::new(&path)?)?;
    listen(&listener, 0)?;
    let _waits = UnixStream::connect(&path)?;
    let ended = start()?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told = format!("proxydhcp: another daemon listens on {shown}; use {elsewhere}\n");
    assert_eq!(ended.stderr, told);
    drop(listener);

    // The daemon cannot ignore permissions.
    chown(&path, Some(65534), None)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    let ended = start()?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told = format!(
        "proxydhcp: cannot find out whether a daemon listens on {shown}; remove it if none does, \
         or use {elsewhere}: Permission denied (os error 13)\n"
    );
    assert_eq!(ended.stderr, told);
    assert!(path.exists());
    Ok(())
}

/// The permissions of a file.
fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
}

/// Starts the daemon from a shell, after a command of that.
fn start_by(lab: &Lab, first: &str, args: &[String]) -> Result<Daemon> {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!(r#"{first}; exec "$@""#), "sh"])
        .arg(binary()?)
        .args(args);
    Daemon::start_command(&lab.server, command)
}

fn connect(site: &Site) -> Result<UnixStream> {
    let client = UnixStream::connect(site.files.path("control.sock"))?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    Ok(client)
}

fn reply(client: UnixStream) -> Result<String> {
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line)?;
    Ok(line)
}
