//! A reply in words.

use anyhow::Result;
use dhcproto::v4::borrowed::Message;
use dhcproto::v4::{MessageType, OptionCode};

use crate::datagram::Datagram;
use crate::reply::{hex, read_strictly, text};

/// Describes a reply frame, one fact a line.
///
/// # Errors
/// When the frame is not a BOOTP message in UDP over IPv4.
pub fn describe_reply(frame: &[u8]) -> Result<String> {
    let datagram = Datagram::parse(frame)?;
    let reply = Message::new(datagram.payload)?;
    let mut lines = vec![
        format!(
            "from     {}:{} ({})",
            datagram.source,
            datagram.source_port,
            mac(datagram.source_mac)
        ),
        format!(
            "to       {}:{} ({})",
            datagram.destination,
            datagram.destination_port,
            mac(datagram.destination_mac)
        ),
        format!("xid      {:#010x}", reply.xid()),
        format!(
            "server   {} (siaddr: where to fetch by TFTP)",
            reply.siaddr()
        ),
        format!("loader   {} (file)", text(reply.fname())),
    ];
    let options = read_strictly(datagram.payload)?;
    let bcd = options.iter().find(|(code, _)| *code == 252);
    lines.extend(bcd.map(|(_, value)| format!("BCD      {} (option 252)", path(value))));
    lines.push(format!(
        "options  in {} bytes of BOOTP:",
        datagram.payload.len()
    ));
    lines.extend(
        options
            .iter()
            .map(|(code, value)| option_line(*code, value)),
    );
    Ok(lines.join("\n"))
}

fn option_line(code: u8, value: &[u8]) -> String {
    let (name, meaning) = match (code, value) {
        (53, [kind]) => ("message type", format!("{:?}", MessageType::from(*kind))),
        (54, [a, b, c, d]) => ("server identifier", format!("{a}.{b}.{c}.{d}")),
        (60, class) => ("vendor class", text(class)),
        (97, [0, uuid @ ..]) => ("client UUID", hyphenated(uuid)),
        (252, bcd) => ("BCD path", path(bcd)),
        (43, vendor) => ("vendor options", hex(vendor)),
        (_, other) => {
            return format!("  {code:>3} {:?} = {}", OptionCode::from(code), hex(other));
        }
    };
    format!("  {code:>3} {name} = {meaning}")
}

/// The written form of a UUID.
fn hyphenated(uuid: &[u8]) -> String {
    let groups: Vec<String> = [0..4, 4..6, 6..8, 8..10, 10..uuid.len()]
        .into_iter()
        .map(|group| hex(uuid.get(group).unwrap_or_default()))
        .collect();
    groups.join("-")
}

/// A path as its reader takes it: without the NUL that ends it.
fn path(value: &[u8]) -> String {
    text(value.strip_suffix(&[0]).unwrap_or(value))
}

fn mac(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::frames;

    #[test]
    fn a_uuid_is_written_as_usual() {
        let uuid: Vec<u8> = (0..16).collect();
        assert_eq!(hyphenated(&uuid), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }

    #[test]
    fn a_real_reply_is_told() {
        let reply = frames("edk2-uefi.pcap")
            .unwrap()
            .into_iter()
            .nth(5)
            .unwrap();
        let told = describe_reply(&reply).unwrap();
        for fact in [
            "from     10.77.0.1:4011 (02:00:00:00:00:01)",
            "loader   winboot/new/Boot/bootmgfw.efi",
            "BCD      winboot/new/Boot/BCD",
            "53 message type = Ack",
            "54 server identifier = 10.77.0.1",
        ] {
            assert!(told.contains(fact), "{fact:?} is not in:\n{told}");
        }
    }
}
