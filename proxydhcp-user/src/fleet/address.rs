//! Where a fleet's source is: `etcds://HOST:2379[,HOST:2379]/PREFIX`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The port that etcd's clients use.
const PORT: u16 = 2379;
/// The most members that are tried.
const MEMBERS: usize = 16;

/// The members of an etcd cluster, and what all keys of a fleet begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The members, in the order in which they are tried.
    pub members: Vec<Member>,
    /// Whether they are asked by TLS.
    pub tls: bool,
    /// What the keys begin with, without a slash at either end.
    pub prefix: String,
}

/// A member of an etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, or its address; that of IPv6 without brackets.
    pub host: String,
    /// The port of its clients.
    pub port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tls, rest) = match text.split_once("://") {
            Some(("etcds", rest)) => (true, rest),
            Some(("etcd", rest)) => (false, rest),
            _ => return Err(form()),
        };
        let (members, prefix) = rest.split_once('/').ok_or_else(form)?;
        let is_part = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
        let is_prefix = prefix
            .split('/')
            .all(|part| !part.is_empty() && part.chars().all(is_part));
        if !is_prefix {
            return Err(format!(
                "{prefix:?} is no prefix of keys, which is letters, digits, '-', '_' and '.', such as \
                 proxydhcp or site/a"
            ));
        }
        let members: Vec<_> = members
            .split(',')
            .map(str::parse::<Member>)
            .collect::<Result<_, _>>()?;
        if members.len() > MEMBERS {
            return Err(format!("name at most {MEMBERS} members"));
        }
        if let Some(other) = members.iter().find(|member| !tls && !member.is_loopback()) {
            return Err(format!(
                "{} is another host, and what crosses a network needs TLS: write etcds://",
                other.host
            ));
        }
        Ok(Self {
            members,
            tls,
            prefix: prefix.to_owned(),
        })
    }
}

fn form() -> String {
    "write etcds://HOST:2379/PREFIX, with several members as HOST:2379,HOST:2379".to_owned()
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "etcds" } else { "etcd" };
        let members: Vec<_> = self.members.iter().map(ToString::to_string).collect();
        write!(f, "{scheme}://{}/{}", members.join(","), self.prefix)
    }
}

impl FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no member: write HOST:2379 or [IPV6]:2379");
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
                host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
                (host, after)
            }
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let is_part = |char: char| char.is_ascii_alphanumeric() || "-_.:".contains(char);
        if host.is_empty() || !host.chars().all(is_part) {
            return Err(wrong());
        }
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|&port| port != 0),
            None if port.is_empty() => Some(PORT),
            None => None,
        };
        Ok(Self {
            host: host.to_owned(),
            port: port.ok_or_else(wrong)?,
        })
    }
}

impl Member {
    fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        address.map_or(self.host == "localhost", |address| address.is_loopback())
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        text.parse::<Address>().map(|address| address.to_string())
    }

    #[test]
    fn an_address_has_members_and_a_prefix() {
        for (text, shown) in [
            (
                "etcds://a.example,10.0.0.2:1,[fd00::3]:2379/site/a",
                "etcds://a.example:2379,10.0.0.2:1,[fd00::3]:2379/site/a",
            ),
            ("etcd://localhost/p", "etcd://localhost:2379/p"),
            (
                "etcd://127.0.0.1:7,[::1]/p",
                "etcd://127.0.0.1:7,[::1]:2379/p",
            ),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(shown));
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "http://a/p",
            "etcds://a",
            "etcds://a/",
            "etcds:///p",
            "etcds://a//p",
            "etcds://a/p/",
            "etcds://a/p?x",
            "etcds://a:0/p",
            "etcds://a:x/p",
            "etcds://a,/p",
            "etcds://[::1/p",
            "etcds://[a]:1/p",
            "etcds://a b/p",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let error = parse("etcd://localhost,10.0.0.2/p").unwrap_err();
        assert!(error.contains("10.0.0.2 is another host"), "{error}");
    }
}
