//! What a probe sends as a client would, and the contents of the reply.

use std::net::Ipv4Addr;

use dhcproto::v4::borrowed;
use dhcproto::v4::{Architecture, DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Encodable, error::EncodeError};
use serde::Serialize;

use crate::text::printable;

/// The length of a BOOTP message's fixed part and magic cookie, in bytes; options follow.
const OPTIONS_AT: usize = 240;
/// The magic cookie (RFC 2131, section 3).
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// The longest reply that every client accepts, in bytes of BOOTP message.
const MAX_REPLY: usize = 548;

/// The contents of the request that the reply must repeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) xid: u32,
    pub(crate) client: Ipv4Addr,
    pub(crate) server: Ipv4Addr,
    pub(crate) mac: [u8; 6],
}

/// The contents of a reply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Answer {
    /// The boot loader's path on the TFTP server (the file field).
    pub loader: Option<String>,
    /// The BCD's path on the TFTP server (option 252).
    pub bcd: Option<String>,
    /// The TFTP server (the siaddr field).
    pub next_server: Option<Ipv4Addr>,
    /// The server identifier, option 54.
    pub server_id: Option<Ipv4Addr>,
    /// The vendor class, option 60.
    pub vendor_class: Option<String>,
    /// What a client would reject, field by field.
    pub faults: Vec<String>,
}

/// A request like that of UEFI firmware, for any architecture.
pub(crate) fn request(
    client: Ipv4Addr,
    mac: [u8; 6],
    architecture: u16,
) -> Result<(u32, Vec<u8>), EncodeError> {
    request_of(client, mac, None, architecture)
}

/// A request like that of UEFI firmware on a machine with this UUID, or any.
pub(crate) fn request_of(
    client: Ipv4Addr,
    mac: [u8; 6],
    uuid: Option<[u8; 16]>,
    architecture: u16,
) -> Result<(u32, Vec<u8>), EncodeError> {
    let mut message = message(client, mac, MessageType::Request);
    add_firmware(&mut message, mac, uuid, architecture);
    Ok((message.xid(), message.to_vec()?))
}

/// The first message of a client that has no address yet, whose answers are to be broadcast.
pub(crate) fn discover(
    mac: [u8; 6],
    uuid: Option<[u8; 16]>,
    architecture: u16,
) -> Result<(u32, Vec<u8>), EncodeError> {
    let mut message = message(Ipv4Addr::UNSPECIFIED, mac, MessageType::Discover);
    message.set_flags(Flags::default().set_broadcast());
    add_firmware(&mut message, mac, uuid, architecture);
    Ok((message.xid(), message.to_vec()?))
}

fn message(client: Ipv4Addr, mac: [u8; 6], kind: MessageType) -> Message {
    const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
    let mut message = Message::new(client, NONE, NONE, NONE, &mac);
    let mut wanted = vec![
        OptionCode::VendorExtensions,
        OptionCode::ServerIdentifier,
        OptionCode::ClassIdentifier,
    ];
    if kind == MessageType::Discover {
        wanted.extend([
            OptionCode::SubnetMask,
            OptionCode::Router,
            OptionCode::TFTPServerName,
            OptionCode::BootfileName,
        ]);
    }
    wanted.extend([OptionCode::ClientMachineIdentifier, OptionCode::from(252)]);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ParameterRequestList(wanted));
    options.insert(DhcpOption::MaxMessageSize(1472));
    message
}

/// Adds what firmware says of itself.
fn add_firmware(message: &mut Message, mac: [u8; 6], uuid: Option<[u8; 16]>, architecture: u16) {
    // Firmware takes the UUID from the board; any other unique one will do.
    let mut sent = [0; 17];
    let last: &[u8] = uuid.as_ref().map_or(&mac, |uuid| uuid);
    for (at, byte) in sent.iter_mut().rev().zip(last.iter().rev()) {
        *at = *byte;
    }
    let class = format!("PXEClient:Arch:{architecture:05}:UNDI:003016");
    let options = message.opts_mut();
    options.insert(DhcpOption::ClassIdentifier(class.into_bytes()));
    options.insert(DhcpOption::ClientSystemArchitecture(Architecture::from(
        architecture,
    )));
    options.insert(DhcpOption::ClientNetworkInterface(1, 3, 16));
    options.insert(DhcpOption::ClientMachineIdentifier(sent.to_vec()));
}

/// The transaction that a message belongs to, if it is long enough to contain one.
pub(crate) fn xid(bytes: &[u8]) -> Option<u32> {
    let xid = bytes.get(4..8)?.try_into().ok()?;
    Some(u32::from_be_bytes(xid))
}

/// Reads a reply as firmware does, and lists everything that firmware would reject.
pub(crate) fn read(bytes: &[u8], asked: &Asked) -> Answer {
    let mut answer = Answer::default();
    let message = match borrowed::Message::new(bytes) {
        Ok(message) if bytes.len() > OPTIONS_AT => message,
        _ => {
            answer.fault(format!(
                "the reply has {} bytes, and its fixed part alone is {OPTIONS_AT}",
                bytes.len()
            ));
            return answer;
        }
    };
    if message.opcode() != Opcode::BootReply {
        answer.fault(format!(
            "op is {}, not 2 (reply)",
            u8::from(message.opcode())
        ));
    }
    if message.ciaddr() != asked.client {
        answer.fault(format!(
            "ciaddr is {}, not {}",
            message.ciaddr(),
            asked.client
        ));
    }
    if !message.chaddr().starts_with(&asked.mac) {
        let chaddr = message.chaddr().iter().map(|byte| format!("{byte:02x}"));
        let chaddr: Vec<_> = chaddr.collect();
        answer.fault(format!("chaddr is {}, not the client's", chaddr.join(":")));
    }
    if bytes.get(OPTIONS_AT - COOKIE.len()..OPTIONS_AT) != Some(&COOKIE) {
        answer.fault("the magic cookie is not 99.130.83.99".to_owned());
    }
    if bytes.len() > MAX_REPLY {
        answer.fault(format!(
            "the reply has {} bytes, and clients take {MAX_REPLY}",
            bytes.len()
        ));
    }
    match message.siaddr() {
        Ipv4Addr::UNSPECIFIED => answer.fault("siaddr is 0.0.0.0: no TFTP server".to_owned()),
        server => answer.next_server = Some(server),
    }
    // Read from the raw bytes, because the NUL matters.
    answer.loader = answer.text("file", bytes.get(108..236).unwrap_or_default());
    if let Err(fault) = answer.options(bytes.get(OPTIONS_AT..).unwrap_or_default()) {
        answer.fault(fault);
    }
    answer.judge_options(asked);
    answer
}

impl Answer {
    fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// The text of a field up to its NUL.
    fn text(&mut self, field: &str, bytes: &[u8]) -> Option<String> {
        let mut parts = bytes.split(|&byte| byte == 0);
        let text = parts.next().unwrap_or_default();
        if text.is_empty() {
            self.fault(format!("{field} is empty"));
            return None;
        }
        if parts.next().is_none() {
            self.fault(format!("{field} has no NUL at its end"));
        }
        Some(printable(text))
    }

    /// Iterates over the options.
    fn options(&mut self, mut rest: &[u8]) -> Result<(), String> {
        let mut kind = None;
        loop {
            let (code, tail) = match rest {
                [] => return Err("the options have no end (255)".to_owned()),
                [0, tail @ ..] => {
                    rest = tail;
                    continue;
                }
                [255, ..] => break,
                [code, tail @ ..] => (*code, tail),
            };
            let value = tail
                .split_first()
                .and_then(|(length, tail)| tail.split_at_checked(usize::from(*length)));
            let Some((value, after)) = value else {
                return Err(format!("option {code} runs past the end of the reply"));
            };
            match (code, value) {
                (53, _) => kind = Some(value),
                (54, &[a, b, c, d]) => self.server_id = Some([a, b, c, d].into()),
                (54, _) => self.fault(format!("option 54 has {} bytes, not 4", value.len())),
                (60, _) => self.vendor_class = Some(printable(value)),
                (252, _) => self.bcd = self.text("option 252 (BCD)", value),
                _ => {}
            }
            rest = after;
        }
        match kind {
            Some([5]) => Ok(()),
            Some([other]) => Err(format!("option 53 (message type) is {other}, not 5 (ACK)")),
            Some(_) => Err("option 53 (message type) is not 1 byte long".to_owned()),
            None => Err("there is no option 53 (message type)".to_owned()),
        }
    }

    fn judge_options(&mut self, asked: &Asked) {
        match self.server_id {
            Some(id) if id == asked.server => {}
            Some(id) => self.fault(format!(
                "option 54 (server identifier) is {id}, not {}, which was asked",
                asked.server
            )),
            None => self.fault("there is no option 54 (server identifier)".to_owned()),
        }
        // xCAT's own daemon omits it, and firmware does not mind.
        if let Some(class) = self.vendor_class.clone()
            && !class.starts_with("PXEClient")
        {
            self.fault(format!(
                "option 60 (vendor class) is {class}, not PXEClient"
            ));
        }
        if self.bcd.is_none() && !self.faults.iter().any(|fault| fault.contains("252")) {
            self.fault("there is no option 252 (BCD)".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked = Asked {
        xid: 7,
        client: Ipv4Addr::new(10, 0, 0, 9),
        server: Ipv4Addr::new(10, 0, 0, 1),
        mac: [2, 0, 0, 0, 0, 9],
    };

    /// A valid reply.
    fn reply() -> Vec<u8> {
        let mut bytes = vec![0; OPTIONS_AT];
        bytes[..4].copy_from_slice(&[2, 1, 6, 0]);
        bytes[7] = 7;
        bytes[12..16].copy_from_slice(&ASKED.client.octets());
        bytes[20..24].copy_from_slice(&[10, 0, 0, 2]);
        bytes[28..34].copy_from_slice(&ASKED.mac);
        bytes[108..113].copy_from_slice(b"w/ldr");
        bytes[236..240].copy_from_slice(&COOKIE);
        bytes.extend([53, 1, 5, 54, 4, 10, 0, 0, 1, 60, 9]);
        bytes.extend(b"PXEClient\xfc\x06w/BCD\0\xff\0\0");
        bytes
    }

    #[test]
    fn a_sound_reply_is_read() {
        let bytes = reply();
        assert_eq!(xid(&bytes), Some(ASKED.xid));
        let expected = Answer {
            loader: Some("w/ldr".into()),
            bcd: Some("w/BCD".into()),
            next_server: Some(Ipv4Addr::new(10, 0, 0, 2)),
            server_id: Some(ASKED.server),
            vendor_class: Some("PXEClient".into()),
            faults: vec![],
        };
        assert_eq!(read(&bytes, &ASKED), expected);
    }

    #[test]
    fn each_malformed_field_is_named() {
        type Spoil = fn(&mut Vec<u8>);
        let cases: [(Spoil, &str); 16] = [
            (|b| b.truncate(200), "the reply has 200 bytes"),
            (|b| b[0] = 1, "op is 1"),
            (|b| b[12] = 11, "ciaddr is 11.0.0.9, not 10.0.0.9"),
            (|b| b[33] = 1, "chaddr is 02:00:00:00:00:01"),
            (|b| b[20..24].fill(0), "siaddr is 0.0.0.0"),
            (|b| b[108] = 0, "file is empty"),
            (|b| b[108..236].fill(b'x'), "file has no NUL"),
            (|b| b[239] = 0, "magic cookie"),
            (|b| b[242] = 2, "option 53 (message type) is 2, not 5"),
            (|b| b[240] = 12, "there is no option 53"),
            (|b| b[248] = 2, "option 54 (server identifier) is 10.0.0.2"),
            (|b| b[243] = 12, "there is no option 54"),
            (|b| b[251] = b'X', "option 60 (vendor class) is XXEClient"),
            (|b| b[260] = 250, "there is no option 252"),
            (|b| b[267] = b'x', "option 252 (BCD) has no NUL"),
            (|b| b.truncate(264), "option 252 runs past the end"),
        ];
        for (spoil, fault) in cases {
            let mut bytes = reply();
            spoil(&mut bytes);
            let faults = read(&bytes, &ASKED).faults;
            assert!(
                faults
                    .iter()
                    .any(|found| found.starts_with(fault) || found.contains(fault)),
                "{fault}: {faults:?}"
            );
            assert_eq!(faults.len(), 1, "{fault}: {faults:?}");
        }
        let mut bytes = reply();
        bytes.truncate(268);
        assert_eq!(
            read(&bytes, &ASKED).faults,
            ["the options have no end (255)"]
        );
        bytes.resize(600, 0);
        assert_eq!(read(&bytes, &ASKED).faults.len(), 2);
    }

    #[test]
    fn any_bytes_are_read() {
        let sound = reply();
        for length in 0..sound.len() {
            read(&sound[..length], &ASKED);
            assert_eq!(xid(&sound[..length]).is_some(), length >= 8);
        }
    }

    #[test]
    fn the_request_is_one_that_is_answered() {
        let (xid, bytes) = request(ASKED.client, ASKED.mac, 9).unwrap();
        let message = borrowed::Message::new(&bytes).unwrap();
        assert_eq!((message.xid(), message.ciaddr()), (xid, ASKED.client));
        let options: Vec<u8> = message.opts().map(|option| option.code().into()).collect();
        assert_eq!(options, [53, 55, 57, 60, 93, 94, 97]);
        let class = message.opts().nth(3).unwrap();
        assert_eq!(class.data(), b"PXEClient:Arch:00009:UNDI:003016");
        let arch = message.opts().nth(4).unwrap();
        assert_eq!(arch.data(), [0, 9]);
    }
}
