//! Finds out which programs hold a UDP port.

use std::fmt;
use std::fs;
use std::path::Path;

use nix::unistd::{Uid, User};
use serde::{Deserialize, Serialize};

use crate::text::printable;

/// The sockets of this network namespace. The unit hides all of /proc but processes, and these are
/// a process's.
const TABLES: [&str; 2] = ["/proc/self/net/udp", "/proc/self/net/udp6"];

/// The last user id that systems give to services.
const LAST_OF_SERVICES: u32 = 999;
/// The user `nobody`, as which some services run.
const NOBODY: u32 = 65_534;

/// A program that holds the port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The user id of the socket.
    pub user: u32,
    /// The kernel's number for the socket.
    pub inode: u64,
    /// The process that holds it. None if this process may not look into that one.
    #[serde(flatten)]
    pub process: Option<Process>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The name of its main thread.
    pub name: String,
}

/// The programs that hold this UDP port, on any address of this network namespace.
pub fn holders(port: u16) -> Vec<Holder> {
    let tables = TABLES.map(|table| fs::read_to_string(table).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let mut holders: Vec<_> = lines.filter_map(|line| holder(line, port)).collect();
    holders.iter_mut().for_each(Holder::look);
    holders
}

/// The holder of `port` by this line of the kernel's table, if the line is of that port.
fn holder(line: &str, port: u16) -> Option<Holder> {
    let mut fields = line.split_whitespace();
    let (_, held) = fields.nth(1)?.rsplit_once(':')?;
    if u16::from_str_radix(held, 16) != Ok(port) {
        return None;
    }
    Some(Holder {
        user: fields.nth(5)?.parse().ok()?,
        inode: fields.nth(1)?.parse().ok()?,
        process: None,
    })
}

impl Holder {
    /// Looks for the process, unless it is known. That needs root's rights over processes of other
    /// users, which the daemon lacks and root's commands have.
    pub fn look(&mut self) {
        self.process = self.process.take().or_else(|| process_with(self.inode));
    }

    /// Whether it runs as root or as a system user, as services do, and not as a person.
    pub fn is_service(&self) -> bool {
        self.user <= LAST_OF_SERVICES || self.user == NOBODY
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = User::from_uid(Uid::from_raw(self.user)).ok().flatten();
        let user = user.map_or_else(|| self.user.to_string(), |user| user.name);
        match &self.process {
            // Anybody may name a process as he likes.
            Some(Process { pid, name }) => {
                write!(f, "{} (pid {pid}, user {user})", printable(name.as_bytes()))
            }
            None => write!(f, "a program of user {user}"),
        }
    }
}

/// The process that has this socket among its open files.
fn process_with(inode: u64) -> Option<Process> {
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?;
    let mut processes = processes.filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        Some((pid, format!("/proc/{pid}")))
    });
    let (pid, folder) = processes.find(|(_, folder)| has_open(folder, &socket))?;
    let name = fs::read(format!("{folder}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name).trim_end().to_owned();
    Some(Process { pid, name })
}

fn has_open(process: &str, socket: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("{process}/fd")) else {
        return false;
    };
    let mut links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    links.any(|link| link == Path::new(socket))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

    use super::*;

    #[test]
    fn it_is_found_by_the_port_on_whichever_address() {
        let all = || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0));
        let one = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let six = || UdpSocket::bind((Ipv6Addr::LOCALHOST, 0));
        for socket in [all(), one(), six()] {
            let socket = socket.unwrap();
            let port = socket.local_addr().unwrap().port();
            let found = holders(port);
            // Another test may have bound the same number on another address.
            let process = found.iter().filter_map(|holder| holder.process.as_ref());
            let mut pids = process.map(|process| process.pid);
            assert!(pids.any(|pid| pid == std::process::id()), "{found:?}");
            drop(socket);
        }
    }

    #[test]
    fn lines_of_other_ports_and_damaged_ones_name_nobody() {
        let line = "  12: 00000000:0FAB 00000000:0000 07 00000000:00000000 00:00000000 00000000  \
                    1000        0 4711 2 0000000000000000 0";
        let found = holder(line, 4011).unwrap();
        assert_eq!((found.user, found.inode), (1000, 4711));
        assert!(!found.is_service());
        assert_eq!(holder(line, 4012), None);
        for length in 0..line.find(" 4711").unwrap() {
            assert_eq!(holder(&line[..length], 4011), None);
        }
    }

    #[test]
    fn a_name_cannot_garble_the_terminal() {
        let holder = Holder {
            user: u32::MAX - 7,
            inode: 1,
            process: Some(Process {
                pid: 7,
                name: "\u{1b}[2Jx".to_owned(),
            }),
        };
        let told = holder.to_string();
        assert_eq!(told, "\\u{1b}[2Jx (pid 7, user 4294967288)");
    }
}
