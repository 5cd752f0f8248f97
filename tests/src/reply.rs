//! Judging a reply frame against the request that it answers.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};
use dhcproto::v4::borrowed::Message;
use dhcproto::v4::{MessageType, Opcode};

use crate::architecture::BIOS;
use crate::datagram::Datagram;
use crate::frame::{COOKIE, END};
use crate::lab::SERVER_ADDRESS;

const OPTIONS_OFFSET: usize = 240;
const SHORTEST_MESSAGE: usize = 300;
const LONGEST_MESSAGE: usize = 548;
const BOOT_ITEM: u8 = 71;

/// The contents that a right reply has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The boot loader's path.
    pub loader: String,
    /// The path of the boot configuration data.
    pub bcd: String,
    /// The TFTP server.
    pub siaddr: Ipv4Addr,
    /// The vendor class.
    pub class: &'static str,
}

impl Expected {
    /// The reply of the lab's server to a node with this WinPE, `winboot/name/` or empty for the
    /// default, and this architecture.
    pub fn new(winpe: &str, architecture: u16) -> Self {
        let loader = if architecture == BIOS {
            "pxeboot.0"
        } else {
            "bootmgfw.efi"
        };
        Self {
            loader: format!("{winpe}Boot/{loader}"),
            bcd: format!("{winpe}Boot/BCD"),
            siaddr: SERVER_ADDRESS,
            class: "PXEClient",
        }
    }
}

/// Checks every rule that a reply must keep for all known clients to accept it, from its
/// hardware addresses to the last zero of its padding.
///
/// # Errors
/// Names the first rule that is broken.
pub fn check_reply(request: &[u8], reply: &[u8], expected: &Expected) -> Result<()> {
    let asked = Datagram::parse(request).context("the request")?;
    let answered = Datagram::parse(reply).context("the reply")?;
    check_addressing(&asked, &answered).context("the reply's addressing")?;
    check_fields(asked.payload, answered.payload, asked.destination, expected)
        .context("the reply's fixed fields")?;
    check_options(asked.payload, answered.payload, asked.destination, expected)
        .context("the reply's options")
}

fn check_addressing(asked: &Datagram, answered: &Datagram) -> Result<()> {
    same(
        "destination MAC",
        answered.destination_mac,
        asked.source_mac,
    )?;
    let [first, ..] = asked.destination_mac;
    if first & 1 == 0 {
        same("source MAC", answered.source_mac, asked.destination_mac)?;
    } else {
        let [first, ..] = answered.source_mac;
        ensure!(first & 1 == 0, "source MAC is a group address");
    }
    same("VLAN tags", &answered.vlan_tags, &asked.vlan_tags)?;
    same("IP header length", answered.ip_header.len(), 20)?;
    let ttl = answered.ip_header.get(8).copied().unwrap_or(0);
    ensure!(ttl >= 64, "a TTL of {ttl} may not reach a routed client");
    same("source address", answered.source, asked.destination)?;
    same("destination address", answered.destination, asked.source)?;
    same("source port", answered.source_port, 4011)?;
    same(
        "destination port",
        answered.destination_port,
        asked.source_port,
    )?;
    ensure!(
        answered.trailer.is_empty(),
        "{} bytes after the packet",
        answered.trailer.len()
    );
    answered.verify_checksums()
}

fn check_fields(
    request: &[u8],
    answered: &[u8],
    server: Ipv4Addr,
    expected: &Expected,
) -> Result<()> {
    let length = answered.len();
    ensure!(
        length >= SHORTEST_MESSAGE,
        "{length} bytes, fewer than {SHORTEST_MESSAGE}"
    );
    ensure!(
        length <= LONGEST_MESSAGE,
        "{length} bytes, more than {LONGEST_MESSAGE}"
    );
    let asked = Message::new(request).context("the request is too short")?;
    let reply = Message::new(answered)?;
    same("op", reply.opcode(), Opcode::BootReply)?;
    same("htype", reply.htype(), asked.htype())?;
    same("hlen", reply.hlen(), asked.hlen())?;
    same("hops", reply.hops(), 0)?;
    same("xid", reply.xid(), asked.xid())?;
    same("secs", reply.secs(), 0)?;
    same("flags", u16::from(reply.flags()), 0)?;
    same("ciaddr", reply.ciaddr(), asked.ciaddr())?;
    same("yiaddr", reply.yiaddr(), Ipv4Addr::UNSPECIFIED)?;
    same("siaddr", reply.siaddr(), expected.siaddr)?;
    ensure!(
        !expected.siaddr.is_unspecified(),
        "siaddr zero for a request to {server}"
    );
    same("giaddr", reply.giaddr(), Ipv4Addr::UNSPECIFIED)?;
    same("chaddr", at(answered, 28, 16)?, at(request, 28, 16)?)?;
    ensure!(
        at(answered, 44, 64)?.iter().all(|byte| *byte == 0),
        "sname is not all zeros"
    );
    let file = at(answered, 108, 128)?;
    same("file", &text(reply.fname()), &expected.loader)?;
    let rest = file.get(expected.loader.len()..).unwrap_or_default();
    ensure!(!rest.is_empty(), "file has no NUL");
    ensure!(
        rest.iter().all(|byte| *byte == 0),
        "file has bytes after its NUL"
    );
    same("magic cookie", at(answered, 236, 4)?, COOKIE.as_slice())
}

fn check_options(
    asked: &[u8],
    answered: &[u8],
    server: Ipv4Addr,
    expected: &Expected,
) -> Result<()> {
    let options = read_strictly(answered)?;
    let of_request = |code| read_leniently(asked, code);
    let mut wanted: Vec<(u8, Vec<u8>)> = vec![
        (53, vec![u8::from(MessageType::Ack)]),
        (54, server.octets().to_vec()),
        (60, expected.class.as_bytes().to_vec()),
        (252, [expected.bcd.as_bytes(), b"\0"].concat()),
    ];
    let uuid = of_request(97);
    if uuid.len() == 17 {
        wanted.push((97, uuid));
    }
    if let Some(item) = boot_item(&of_request(43)) {
        wanted.push((43, item));
    }
    for (code, value) in &options {
        let Some(place) = wanted
            .iter()
            .position(|(code_wanted, _)| code_wanted == code)
        else {
            bail!("option {code} has no place there, or comes twice");
        };
        let (_, value_wanted) = wanted.swap_remove(place);
        // The echo of a boot item may close with the end mark of encapsulated options.
        let value = match value {
            [item @ .., END] if *code == 43 => item,
            whole => whole,
        };
        same(&format!("option {code}"), &hex(value), &hex(&value_wanted))?;
    }
    if let Some((code, _)) = wanted.first() {
        bail!("option {code} is missing");
    }
    Ok(())
}

/// The options of a reply: nothing is forgiven.
pub(crate) fn read_strictly(message: &[u8]) -> Result<Vec<(u8, &[u8])>> {
    let mut options = Vec::new();
    let mut rest = message.get(OPTIONS_OFFSET..).context("no options")?;
    loop {
        match rest {
            [] => bail!("no end option (255)"),
            [0, ..] => bail!("a pad before the end option"),
            [END, padding @ ..] => {
                ensure!(
                    padding.iter().all(|byte| *byte == 0),
                    "bytes after the end option"
                );
                return Ok(options);
            }
            [code, 0, ..] => bail!("option {code} is empty"),
            [code, length, tail @ ..] => {
                let (value, tail) = tail
                    .split_at_checked(usize::from(*length))
                    .with_context(|| format!("option {code} runs past the end"))?;
                options.push((*code, value));
                rest = tail;
            }
            [code] => bail!("option {code} has no length"),
        }
    }
}

/// The value of a request's option, its parts joined as RFC 3396 has it, overloaded fields
/// (option 52) included; empty when absent.
pub fn read_leniently(message: &[u8], code: u8) -> Vec<u8> {
    let mut fields = vec![message.get(OPTIONS_OFFSET..).unwrap_or_default()];
    let overload = joined(&fields, 52).first().copied().unwrap_or(0);
    if overload & 1 != 0 {
        fields.push(message.get(108..236).unwrap_or_default());
    }
    if overload & 2 != 0 {
        fields.push(message.get(44..108).unwrap_or_default());
    }
    joined(&fields, code)
}

pub(crate) fn joined(fields: &[&[u8]], wanted: u8) -> Vec<u8> {
    let mut whole = Vec::new();
    for field in fields {
        let mut rest = *field;
        loop {
            rest = match rest {
                [0, tail @ ..] => tail,
                [code, length, tail @ ..] if *code != END => {
                    let Some((value, tail)) = tail.split_at_checked(usize::from(*length)) else {
                        break;
                    };
                    if *code == wanted {
                        whole.extend(value);
                    }
                    tail
                }
                _ => break,
            }
        }
    }
    whole
}

/// The sub-option with the boot item, as it must be echoed.
fn boot_item(vendor: &[u8]) -> Option<Vec<u8>> {
    let item = joined(&[vendor], BOOT_ITEM);
    (item.len() == 4).then(|| [&[BOOT_ITEM, 4], item.as_slice()].concat())
}

#[expect(clippy::needless_pass_by_value, reason = "callers compare temporaries")]
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, wanted: T) -> Result<()> {
    ensure!(got == wanted, "{what} is {got:?}, should be {wanted:?}");
    Ok(())
}

pub(crate) fn at(bytes: &[u8], offset: usize, length: usize) -> Result<&[u8]> {
    bytes
        .get(offset..offset + length)
        .context("the message is too short")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
