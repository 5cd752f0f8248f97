//! Reading a frame down to its UDP payload, as the RFCs have it and nothing cleverer.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};

use crate::checksum::{internet_checksum, sum};
use crate::frame::VlanTag;

/// An Ethernet frame that carries a UDP datagram over IPv4.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// The destination's hardware address.
    pub destination_mac: [u8; 6],
    /// The source's hardware address.
    pub source_mac: [u8; 6],
    /// The VLAN tags, outermost first.
    pub vlan_tags: Vec<VlanTag>,
    /// The IP header with its options.
    pub ip_header: &'a [u8],
    /// The source address.
    pub source: Ipv4Addr,
    /// The destination address.
    pub destination: Ipv4Addr,
    /// The source port.
    pub source_port: u16,
    /// The destination port.
    pub destination_port: u16,
    /// The checksum field of the UDP header.
    pub udp_checksum: u16,
    /// The UDP header and payload.
    pub udp: &'a [u8],
    /// The UDP payload.
    pub payload: &'a [u8],
    /// What follows the IP packet in the frame.
    pub trailer: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Takes a frame apart. Lengths must agree; checksums are not looked at.
    ///
    /// # Errors
    /// Says what is not as it should be.
    pub fn parse(frame: &'a [u8]) -> Result<Self> {
        let (destination_mac, rest) = frame.split_first_chunk::<6>().context("no destination")?;
        let (source_mac, mut rest) = rest.split_first_chunk::<6>().context("no source")?;
        let mut vlan_tags = Vec::new();
        let ether_type = loop {
            let word = half(rest, 0)?;
            if !matches!(word, 0x8100 | 0x88a8) {
                break word;
            }
            vlan_tags.push(VlanTag {
                protocol: word,
                control: half(rest, 2)?,
            });
            rest = rest.get(4..).context("frame ends in its VLAN tags")?;
        };
        ensure!(
            ether_type == 0x0800,
            "EtherType {ether_type:#06x}, not IPv4"
        );
        let ip = rest.get(2..).context("no IP packet")?;
        let first = *ip.first().context("no IP packet")?;
        ensure!(first >> 4 == 4, "IP version {}", first >> 4);
        let header_length = usize::from(first & 0x0f) * 4;
        ensure!(header_length >= 20, "IP header of {header_length} bytes");
        let total_length = usize::from(half(ip, 2)?);
        ensure!(
            total_length >= header_length,
            "IP total length within its header"
        );
        ensure!(total_length <= ip.len(), "IP packet longer than its frame");
        let (packet, trailer) = ip.split_at(total_length);
        let (ip_header, udp) = packet.split_at(header_length);
        ensure!(half(ip_header, 6)? << 2 == 0, "a fragment");
        ensure!(ip_header.get(9) == Some(&17), "not UDP");
        ensure!(
            usize::from(half(udp, 4)?) == udp.len(),
            "UDP length disagrees with IP length"
        );
        Ok(Self {
            destination_mac: *destination_mac,
            source_mac: *source_mac,
            vlan_tags,
            ip_header,
            source: address(ip_header, 12)?,
            destination: address(ip_header, 16)?,
            source_port: half(udp, 0)?,
            destination_port: half(udp, 2)?,
            udp_checksum: half(udp, 6)?,
            udp,
            payload: udp.get(8..).context("no whole UDP header")?,
            trailer,
        })
    }

    /// Checks both checksums; a UDP checksum of zero, "none", does not pass.
    ///
    /// # Errors
    /// Says which one is wrong.
    pub fn verify_checksums(&self) -> Result<()> {
        ensure!(
            internet_checksum(&[self.ip_header]) == 0,
            "wrong IP checksum"
        );
        ensure!(self.udp_checksum != 0, "no UDP checksum");
        let pseudo = pseudo_header(self.source, self.destination, self.udp.len());
        ensure!(sum(&[&pseudo, self.udp]) == 0xffff, "wrong UDP checksum");
        Ok(())
    }
}

/// The pseudo header of RFC 768 that a UDP checksum covers besides the datagram.
pub(crate) fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, length: usize) -> [u8; 12] {
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let bytes = source
        .octets()
        .into_iter()
        .chain(destination.octets())
        .chain([0, 17]);
    let mut header = [0; 12];
    for (to, from) in header.iter_mut().zip(bytes.chain(length)) {
        *to = from;
    }
    header
}

fn half(bytes: &[u8], at: usize) -> Result<u16> {
    let pair = bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .context("frame ends early")?;
    Ok(u16::from_be_bytes(*pair))
}

fn address(bytes: &[u8], at: usize) -> Result<Ipv4Addr> {
    let octets: &[u8; 4] = bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .context("frame ends early")?;
    Ok(Ipv4Addr::from(*octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::frames;

    #[test]
    fn real_exchanges_verify() {
        for name in ["edk2-uefi.pcap", "ipxe-bios.pcap"] {
            for frame in frames(name).unwrap() {
                let datagram = Datagram::parse(&frame).unwrap();
                assert!(datagram.trailer.is_empty());
                assert!(datagram.payload.len() >= 240);
                let verdict = datagram.verify_checksums();
                if datagram.source_port == 4011 && datagram.payload[0] == 2 {
                    // The original's replies were captured before a device finished their sums.
                    assert_eq!(verdict.unwrap_err().to_string(), "wrong UDP checksum");
                } else {
                    verdict.unwrap();
                }
            }
        }
    }
}
