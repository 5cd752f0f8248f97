//! The client's end of the control socket.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::unistd::{Gid, Group};

use crate::api::activity::{EventsPage, NodesPage, StrangersPage};
use crate::api::control::{Allowed, PATIENCE, Reply, Request};
use crate::api::status::{Problems, Reloaded, Status};
use crate::api::storm::{Position, Update};
use crate::tables::explain::Looked;
use crate::text::Few;

/// How long a command waits for its reply, because a reload may wait for slow files and names. A
/// daemon that is suspended never replies.
const LIMIT: Duration = Duration::from_mins(1);

/// The length in bytes of a reply that no daemon gives: the status with the names of a million nodes
/// has a quarter of it. Whatever listens there may be no daemon.
const LONGEST_REPLY: u64 = if cfg!(test) { 1 << 20 } else { 1 << 28 };

/// The number of names in a request: it has 4,096 bytes at most, and a name 64, or more if it is escaped.
const AT_ONCE: usize = 32;

/// The error that no daemon listens on this socket.
#[derive(Debug, thiserror::Error)]
#[error(
    "no daemon listens on {}; start one with `proxydhcp serve`, or name its socket with --control",
    .0.display()
)]
pub struct NoDaemon(pub PathBuf);

/// Makes the daemon read its files again.
///
/// # Errors
///
/// If no daemon listens there ([`NoDaemon`]), it does not reply, or it rejects the files; what was
/// in service stays.
pub fn reload(socket: &Path, allowed: Allowed) -> Result<Reloaded> {
    match ask(socket, &Request::Reload(allowed))? {
        Reply::Reloaded(reloaded) => Ok(Arc::unwrap_or_clone(reloaded)),
        Reply::Rejected(reason) => bail!("not reloaded: {reason}"),
        other => Err(unexpected(other)),
    }
}

/// The daemon's status, with all problems.
///
/// # Errors
///
/// If no daemon listens there ([`NoDaemon`]), or it does not reply.
pub fn status(socket: &Path) -> Result<Status> {
    match ask(socket, &Request::Status { whole: true })? {
        Reply::Status(status) => Ok(*status),
        other => Err(unexpected(other)),
    }
}

/// The daemon's status, with the problems summarised for people.
///
/// # Errors
///
/// If no daemon listens there ([`NoDaemon`]), or it does not reply.
pub fn brief_status(socket: &Path) -> Result<Status<Problems>> {
    match ask(socket, &Request::Status { whole: false })? {
        Reply::Brief(status) => Ok(*status),
        other => Err(unexpected(other)),
    }
}

/// The nodes in service that have this WinPE.
///
/// # Errors
///
/// If no daemon listens there ([`NoDaemon`]), or it does not reply.
pub(crate) fn users(socket: &Path, winpe: &str) -> Result<Few<String>> {
    let winpe = winpe.to_owned();
    match ask(socket, &Request::Users { winpe })? {
        Reply::Users(users) => Ok(users),
        other => Err(unexpected(other)),
    }
}

/// What a client gets, for each of its addresses, and why.
///
/// # Errors
///
/// If no daemon listens there ([`NoDaemon`]), or it does not reply.
pub fn look_up(socket: &Path, client: &str, arch: u16) -> Result<Vec<Looked>> {
    let client = client.to_owned();
    match ask(socket, &Request::Lookup { client, arch })? {
        Reply::Looked(looked) => Ok(looked),
        other => Err(unexpected(other)),
    }
}

/// What the nodes with these names have done, or all nodes.
///
/// # Errors
///
/// If no daemon listens there ([`NoDaemon`]), or it does not reply.
pub fn nodes(socket: &Path, names: Option<&[String]>) -> Result<NodesPage> {
    let mut pages = Vec::new();
    if let Some(names) = names {
        for names in names.chunks(AT_ONCE) {
            pages.push(nodes_page(socket, Some(names.to_vec()), 0)?);
        }
        if names.is_empty() {
            pages.push(nodes_page(socket, Some(Vec::new()), 0)?);
        }
    } else {
        let mut from = Some(0);
        while let Some(at) = from {
            let page = nodes_page(socket, None, at)?;
            from = page.next.filter(|next| *next > at);
            pages.push(page);
        }
    }
    let mut pages = pages.into_iter();
    let mut all = pages.next().context("there is no page")?;
    for page in pages {
        all.nodes.extend(page.nodes);
        all.now = page.now;
    }
    all.next = None;
    Ok(all)
}

fn nodes_page(socket: &Path, names: Option<Vec<String>>, from: usize) -> Result<NodesPage> {
    match ask(socket, &Request::Nodes { names, from })? {
        Reply::Nodes(page) => Ok(page),
        other => Err(unexpected(other)),
    }
}

/// The last clients that are no node, the newest first.
///
/// # Errors
///
/// If no daemon listens there ([`NoDaemon`]), or it does not reply.
pub fn strangers(socket: &Path) -> Result<StrangersPage> {
    match ask(socket, &Request::Strangers)? {
        Reply::Strangers(strangers) => Ok(strangers),
        other => Err(unexpected(other)),
    }
}

/// What has happened after the event with this number.
///
/// # Errors
///
/// If no daemon listens there ([`NoDaemon`]), or it does not reply.
pub fn events(socket: &Path, after: u64) -> Result<EventsPage> {
    match ask(socket, &Request::Events { after })? {
        Reply::Events(events) => Ok(events),
        other => Err(unexpected(other)),
    }
}

/// What is new about the nodes from this position on.
///
/// # Errors
///
/// If no daemon listens there ([`NoDaemon`]), or it does not reply.
pub fn storm(socket: &Path, from: Position) -> Result<Update> {
    match ask(socket, &Request::Storm(from))? {
        Reply::Storm(update) => Ok(*update),
        other => Err(unexpected(other)),
    }
}

/// The error for a reply that does not belong to the request.
fn unexpected(reply: Reply) -> anyhow::Error {
    match reply {
        Reply::Rejected(reason) => anyhow!("{reason}"),
        _ => anyhow!("the daemon has another version"),
    }
}

/// Sends a request to the daemon and waits for its reply.
fn ask(socket: &Path, request: &Request) -> Result<Reply> {
    ask_within(LIMIT, socket, request)
}

fn ask_within(limit: Duration, socket: &Path, request: &Request) -> Result<Reply> {
    let shown = socket.display();
    let mut stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            anyhow::Error::new(NoDaemon(socket.to_owned()))
        }
        io::ErrorKind::PermissionDenied => not_allowed(socket),
        _ => anyhow::Error::new(error).context(format!("cannot connect to {shown}")),
    })?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream
        .write_all(&line)
        .with_context(|| format!("cannot ask the daemon on {shown}"))?;
    let mut reply = String::new();
    let bounded = stream.take(LONGEST_REPLY);
    if let Err(error) = BufReader::new(bounded).read_line(&mut reply) {
        return Err(match (error.kind(), request) {
            (io::ErrorKind::WouldBlock, Request::Reload(_)) => anyhow!(
                "the daemon on {shown} has not reported the outcome of the reload within {limit:?}, and \
                 goes on with it; `proxydhcp status` and the daemon's log tell"
            ),
            (io::ErrorKind::WouldBlock, _) => {
                anyhow!("the daemon on {shown} has not replied within {limit:?}")
            }
            _ => anyhow::Error::new(error).context(format!("the daemon on {shown} did not reply")),
        });
    }
    if reply.len() as u64 == LONGEST_REPLY {
        bail!("the reply of the daemon on {shown} does not end");
    }
    if !reply.ends_with('\n') {
        bail!(
            "the daemon on {shown} hung up before the end of its reply: it ended, or did not wait \
             for this command to take it"
        );
    }
    serde_json::from_str(&reply)
        .with_context(|| format!("the daemon on {shown} has another version"))
}

/// Explains which users may connect: those who may write to the socket.
fn not_allowed(socket: &Path) -> anyhow::Error {
    let group = fs::metadata(socket).map(|socket| Gid::from_raw(socket.gid()));
    let group = group.ok().filter(|group| group.as_raw() != 0);
    let or_in_group = group.map_or_else(String::new, |group| {
        let name = Group::from_gid(group).ok().flatten();
        let name = name.map_or_else(|| group.to_string(), |group| group.name);
        format!(" or in the group {name}")
    });
    anyhow!(
        "you may not ask the daemon on {}: you need to be root{or_in_group}; run it with sudo",
        socket.display()
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    /// The error of a client whose daemon says only this, and then stays silent or ends.
    fn error(request: &Request, said: &[u8], ends: bool) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let said = said.to_vec();
        let daemon = std::thread::spawn(move || {
            let (client, _) = listener.accept().unwrap();
            let mut asked = String::new();
            BufReader::new(&client).read_line(&mut asked).unwrap();
            (&client).write_all(&said).unwrap();
            (!ends).then_some(client)
        });
        let error = ask_within(Duration::from_millis(100), &path, request).unwrap_err();
        drop(daemon.join());
        format!("{error:#}").replace(&path.display().to_string(), "SOCKET")
    }

    #[test]
    fn it_is_told_what_became_of_the_reply() {
        let reload = Request::Reload(Allowed::default());
        let status = Request::Status { whole: false };
        assert_eq!(
            error(&reload, b"", false),
            "the daemon on SOCKET has not reported the outcome of the reload within 100ms, and goes on \
             with it; `proxydhcp status` and the daemon's log tell"
        );
        assert_eq!(
            error(&status, b"{\"brief\":", false),
            "the daemon on SOCKET has not replied within 100ms"
        );
        assert_eq!(
            error(&status, b"{\"brief\":", true),
            "the daemon on SOCKET hung up before the end of its reply: it ended, or did not wait \
             for this command to take it"
        );
        let endless = vec![b' '; usize::try_from(LONGEST_REPLY).unwrap()];
        assert_eq!(
            error(&status, &endless, false),
            "the reply of the daemon on SOCKET does not end"
        );
        let other = error(&status, b"{\"short\":1}\n", true);
        let start = "the daemon on SOCKET has another version: unknown variant";
        assert!(other.starts_with(start), "{other}");
    }
}
