//! Reading a DISCOVER as a server that makes proxy offers has to, from the RFCs alone.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};

use crate::architecture::{BIOS, UEFI_BC, UEFI_X64};
use crate::checksum::{internet_checksum, sum};
use crate::datagram::{Datagram, pseudo_header};
use crate::frame::{COOKIE, END};
use crate::reply::{at, joined, read_leniently};

/// What some of the golden nodes are known by; cn003's record is refused, and cn006 has none.
pub const HARDWARE: &str = "cn001 mac=02:00:00:00:00:01\n\
    cn002 mac=02:00:00:00:00:02 uuid=00000000-0000-0000-0000-000000000002\n\
    cn003 mac=02:00:00:00:00:03\n\
    cn006 uuid=00000000-0000-0000-0000-000000000006\n\
    cn007 uuid=00000000-0000-0000-0000-000000000007\n";

/// A DISCOVER of a machine that boots from the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discover {
    /// The Ethernet address in `chaddr`.
    pub mac: Option<[u8; 6]>,
    /// The UUID of option 97.
    pub uuid: Option<[u8; 16]>,
    /// iPXE has sent it.
    pub is_ipxe: bool,
    /// It has no oddity that a server might refuse: each option in one piece, in the options field.
    pub is_plain: bool,
}

impl Discover {
    /// Reads a frame.
    ///
    /// # Errors
    /// Why nobody may make an offer to it, whoever has sent it.
    pub fn read(frame: &[u8]) -> Result<Self> {
        let datagram = Datagram::parse(frame)?;
        ensure!(datagram.destination_port == 67, "not to DHCP's port");
        check_sums(&datagram)?;
        let message = datagram.payload;
        ensure!(at(message, 0, 1)? == [1], "not a request");
        ensure!(at(message, 236, 4)? == COOKIE, "no magic cookie");
        check_source(&datagram, message)?;
        ensure!(read_leniently(message, 53) == [1], "not a DISCOVER");
        let class = read_leniently(message, 60);
        ensure!(class.starts_with(b"PXEClient"), "not a network boot");
        let architectures = read_leniently(message, 93);
        ensure!(
            has_loader(&architectures, &class),
            "an architecture without a loader"
        );
        let hlen = *message.get(2).context("cut off")?;
        ensure!(hlen <= 16, "a hardware address too long for its field");
        let uuid = read_leniently(message, 97);
        Ok(Self {
            mac: Some(at(message, 28, 6)?.try_into()?).filter(|_| hlen == 6),
            uuid: match uuid.split_first() {
                Some((0, uuid)) => uuid.try_into().ok(),
                _ => None,
            },
            is_ipxe: read_leniently(message, 77).starts_with(b"iPXE"),
            is_plain: datagram.vlan_tags.len() < 3
                && [BIOS, UEFI_X64, UEFI_BC]
                    .iter()
                    .any(|it| architectures == it.to_be_bytes())
                && are_plain(message.get(240..).unwrap_or_default()),
        })
    }

    /// Whether the machine is to get an offer, by [`HARDWARE`], or because all are to have one. The MAC
    /// address decides, else the UUID.
    pub fn is_due(&self, to_all: bool) -> bool {
        let is_uuid = |last: u8| self.uuid.map(u128::from_be_bytes) == Some(last.into());
        match self.mac {
            Some([2, 0, 0, 0, 0, 1 | 2]) => true,
            Some([2, 0, 0, 0, 0, 3]) => false,
            _ if [2, 7].into_iter().any(is_uuid) => true,
            _ => to_all && !self.is_ipxe,
        }
    }
}

fn check_sums(datagram: &Datagram) -> Result<()> {
    ensure!(
        internet_checksum(&[datagram.ip_header]) == 0,
        "wrong IP checksum"
    );
    let pseudo = pseudo_header(datagram.source, datagram.destination, datagram.udp.len());
    ensure!(
        datagram.udp_checksum == 0 || sum(&[&pseudo, datagram.udp]) == 0xffff,
        "wrong UDP checksum"
    );
    Ok(())
}

/// A machine has no address yet, unless a relay speaks for it.
fn check_source(datagram: &Datagram, message: &[u8]) -> Result<()> {
    let giaddr: [u8; 4] = at(message, 24, 4)?.try_into()?;
    let giaddr = Ipv4Addr::from(giaddr);
    let [first, ..] = datagram.source_mac;
    ensure!(first & 1 == 0, "from a group");
    if giaddr.is_unspecified() {
        ensure!(
            datagram.source.is_unspecified(),
            "from an address, without a relay"
        );
        ensure!(
            datagram.source_port == 68,
            "from another port than a client's"
        );
        return Ok(());
    }
    for address in [giaddr, datagram.source] {
        let [first, ..] = address.octets();
        ensure!(!matches!(first, 0 | 127 | 224..), "a relay at {address}");
    }
    ensure!(
        matches!(datagram.source_port, 67 | 68),
        "from another port than a relay's"
    );
    Ok(())
}

/// Whether a list of architectures (RFC 4578, section 2.1) has one with a loader, in either order of its
/// bytes; a list that is none is no better than the digits in the vendor class.
fn has_loader(list: &[u8], class: &[u8]) -> bool {
    let has = |number| [BIOS, UEFI_X64, UEFI_BC].contains(&number);
    let (numbers, rest) = list.as_chunks();
    let of_class = || {
        let digits = class.strip_prefix(b"PXEClient:Arch:")?.first_chunk::<5>()?;
        str::from_utf8(digits).ok()?.parse().ok()
    };
    !list.is_empty()
        && (numbers
            .iter()
            .any(|it| has(u16::from_be_bytes(*it)) || has(u16::from_le_bytes(*it)))
            || !rest.is_empty() && of_class().is_some_and(has))
}

/// Whether all options are whole, and none of those that count comes twice or lies elsewhere.
fn are_plain(options: &[u8]) -> bool {
    let mut rest = options;
    loop {
        rest = match rest {
            [] | [END, ..] => break,
            [0, tail @ ..] => tail,
            [_, length, tail @ ..] => match tail.split_at_checked(usize::from(*length)) {
                Some((_, tail)) => tail,
                None => return false,
            },
            [_] => return false,
        }
    }
    let mut once = [53, 60, 77, 82, 93, 97].into_iter();
    once.all(|code| count(options, code) < 2) && joined(&[options], 52).is_empty()
}

fn count(options: &[u8], wanted: u8) -> usize {
    let mut rest = options;
    let mut count = 0;
    loop {
        rest = match rest {
            [0, tail @ ..] => tail,
            [code, length, tail @ ..] if *code != END => {
                count += usize::from(*code == wanted);
                tail.get(usize::from(*length)..).unwrap_or_default()
            }
            _ => return count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestFrame;

    /// What to look for in the fault, and what brings it about.
    type Case = (&'static str, fn(&mut RequestFrame));

    #[test]
    fn what_firmware_sends_is_read_and_what_is_none_is_named() {
        let client = Ipv4Addr::new(10, 77, 1, 1);
        let discover = RequestFrame::edk2(client, UEFI_X64).discover();
        let read = Discover::read(&discover.bytes()).unwrap();
        assert_eq!(read.mac, Some(crate::client_mac(client)));
        assert!(read.uuid.is_some() && read.is_plain && !read.is_ipxe);
        let ipxe = RequestFrame::ipxe(client, BIOS).discover();
        assert!(Discover::read(&ipxe.bytes()).unwrap().is_ipxe);
        let cases: &[Case] = &[
            ("port", |it| it.destination_port = 4011),
            ("not a DISCOVER", |it| it.set_option(53, [3])),
            ("not a network boot", |it| it.remove_option(60)),
            ("architecture", |it| it.remove_option(93)),
            ("without a relay", |it| {
                it.source = Ipv4Addr::new(10, 77, 1, 1);
            }),
            ("too long", |it| it.hlen = 17),
            ("UDP checksum", |it| {
                it.udp_checksum = crate::Checksum::Wrong;
            }),
        ];
        for (why, spoils) in cases {
            let mut spoilt = discover.clone();
            spoils(&mut spoilt);
            let fault = Discover::read(&spoilt.bytes()).unwrap_err().to_string();
            assert!(fault.contains(why), "{why}: {fault}");
        }
    }
}
