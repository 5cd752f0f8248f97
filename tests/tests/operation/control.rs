//! The control socket keeps working whatever its clients do.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Result;
use proxydhcp_lab::site::{Datapath, Site};

/// Far longer than any reply takes; less than the daemon's own patience with its clients, so that
/// whoever waited for those is found out.
const PATIENCE: Duration = Duration::from_secs(3);

#[test]
fn it_is_for_root_and_its_group_alone() -> Result<()> {
    let site = Site::usual(Datapath::Raw)?;
    let metadata = fs::metadata(site.files.path("control.sock"))?;
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o660);
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
    assert!(reply(client)?.starts_with("{\"status\":{"));

    // Later they are hung up on.
    for mut client in idle {
        client.set_read_timeout(Some(Duration::from_secs(20)))?;
        assert_eq!(client.read(&mut [0; 1])?, 0);
    }
    Ok(())
}

#[test]
fn clients_that_do_not_take_their_reply_hold_up_nobody() -> Result<()> {
    let site = Site::usual(Datapath::Raw)?;
    // A reply that no socket buffer takes whole.
    let records = vec![("b", ".."); 20_000];
    site.files
        .write_config(&[&[("a", "")], &records[..]].concat())?;
    assert_eq!(site.command(&["reload"])?.status.code(), Some(2));
    let mut stuck = Vec::new();
    for _ in 0..20 {
        let mut client = connect(&site)?;
        client.write_all(b"{\"command\":\"status\"}\n")?;
        stuck.push(client);
    }
    let mut client = connect(&site)?;
    client.write_all(b"{\"command\":\"status\"}\n")?;
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
    // What is no text may be hung up on without a word.
    for garbage in [
        vec![0xff; 100],
        vec![0; 3000],
        vec![b'['; 4096],
        vec![b'x'; 1 << 20],
    ] {
        let mut client = connect(&site)?;
        // The daemon need not read it all.
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
