//! Encodes reply templates.

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode, UnknownOption};
use dhcproto::{Encodable, Encoder};
use proxydhcp_common::checksum::Sum;
use proxydhcp_common::template::{BODY_AT, Loader, MAX_BODY, MIN_BODY, Template, UUID_LEN, WORD};
use std::net::Ipv4Addr;

use crate::winpe::WinPe;

/// Option 252: the path of the BCD, for Windows' boot manager.
const BCD_OPTION: u8 = 252;

/// A reply would not hold what it has to say.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The encoder refuses it.
    #[error("the reply for WinPE '{path}' cannot be encoded: {source}")]
    Encode {
        /// The WinPE's path.
        path: String,
        /// What the encoder says.
        source: dhcproto::error::EncodeError,
    },
    /// It is longer than any client need accept.
    #[error("the reply for WinPE '{0}' is longer than 548 bytes; give it a shorter path")]
    TooLong(String),
}

/// The templates of one WinPE, in the order of [`proxydhcp_common::template::number`].
///
/// # Errors
///
/// See [`TemplateError`].
pub fn encode(
    winpe: &WinPe,
    next_server: Option<Ipv4Addr>,
) -> Result<Vec<Template>, TemplateError> {
    let mut templates = Vec::with_capacity(2 * Loader::ALL.len());
    for loader in Loader::ALL {
        for uuid in [false, true] {
            templates.push(encode_one(winpe, loader, uuid, next_server)?);
        }
    }
    Ok(templates)
}

fn encode_one(
    winpe: &WinPe,
    loader: Loader,
    uuid: bool,
    next_server: Option<Ipv4Addr>,
) -> Result<Template, TemplateError> {
    let message = message(winpe, loader, uuid);
    let mut bytes = Vec::with_capacity(BODY_AT + MAX_BODY);
    message
        .encode(&mut Encoder::new(&mut bytes))
        .map_err(|source| TemplateError::Encode {
            path: winpe.path().to_owned(),
            source,
        })?;
    let too_long = || TemplateError::TooLong(winpe.path().to_owned());
    let encoded = bytes.get(BODY_AT..).unwrap_or_default();
    let len = encoded.len().next_multiple_of(WORD).max(MIN_BODY);
    // One word is left for the echo of a boot item.
    if len > MAX_BODY - WORD {
        return Err(too_long());
    }
    let mut body = [0; MAX_BODY];
    body.get_mut(..encoded.len())
        .ok_or_else(too_long)?
        .copy_from_slice(encoded);
    Ok(Template {
        siaddr: next_server.unwrap_or(Ipv4Addr::UNSPECIFIED).octets(),
        len: u16::try_from(len).map_err(|_| too_long())?,
        sum: Sum::default().bytes(&body).fold(),
        body,
    })
}

/// The reply with zeros for what is patched in. Options are encoded by rising code, which puts the
/// patched ones where [`proxydhcp_common::template`] says; `layout` tests that they are there.
fn message(winpe: &WinPe, loader: Loader, uuid: bool) -> Message {
    let mut message = Message::default();
    let file = match loader {
        Loader::Bios => winpe.bios_loader(),
        Loader::Uefi => winpe.uefi_loader(),
    };
    let mut bcd = winpe.bcd().into_bytes();
    bcd.push(0);
    message.set_opcode(Opcode::BootReply).set_fname_str(file);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(MessageType::Ack));
    options.insert(DhcpOption::ServerIdentifier(Ipv4Addr::UNSPECIFIED));
    options.insert(DhcpOption::ClassIdentifier(b"PXEClient".to_vec()));
    if uuid {
        options.insert(DhcpOption::ClientMachineIdentifier(vec![0; UUID_LEN]));
    }
    options.insert(DhcpOption::Unknown(UnknownOption::new(
        OptionCode::from(BCD_OPTION),
        bcd,
    )));
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use proxydhcp_common::template::{SERVER_ID_AT, UUID_AT, number};
    use std::path::Path;

    fn winpe(path: &str) -> WinPe {
        WinPe::parse(path.as_bytes(), Path::new("/tftpboot")).unwrap()
    }

    fn at(template: &Template, offset: usize, len: usize) -> &[u8] {
        &template.body[offset - BODY_AT..][..len]
    }

    #[test]
    fn layout() {
        let templates = encode(&winpe("winboot/a"), None).unwrap();
        for loader in Loader::ALL {
            for uuid in [false, true] {
                let template = &templates[number(0, loader, uuid) as usize];
                let file: &[u8] = match loader {
                    Loader::Bios => b"winboot/a/Boot/pxeboot.0\0",
                    Loader::Uefi => b"winboot/a/Boot/bootmgfw.efi\0",
                };
                assert_eq!(at(template, 108, file.len()), file);
                assert_eq!(at(template, 236, 9), [99, 130, 83, 99, 53, 1, 5, 54, 4]);
                assert_eq!(at(template, SERVER_ID_AT, 4), [0; 4]);
                let mut next = SERVER_ID_AT + 4;
                assert_eq!(at(template, next, 11), b"\x3c\x09PXEClient");
                next += 11;
                if uuid {
                    assert_eq!(at(template, UUID_AT - 2, 2), [97, 17]);
                    assert_eq!(at(template, UUID_AT, UUID_LEN), [0; UUID_LEN]);
                    next = UUID_AT + UUID_LEN;
                }
                let tail = b"\xfc\x13winboot/a/Boot/BCD\0\xff\0";
                assert_eq!(at(template, next, tail.len()), tail);
                assert_eq!(template.len % 8, 0);
                assert_eq!(template.sum, Sum::default().bytes(&template.body).fold());
            }
        }
    }

    #[test]
    fn the_longest_path_that_is_served_fits() {
        let longest = winpe(&"x".repeat(109));
        let last = encode(&longest, None).unwrap().pop().unwrap();
        assert_eq!(last.body[64 + 126], b'i');
        assert_eq!(last.body[64 + 127], 0);
        assert!(usize::from(last.len) <= MAX_BODY - WORD);
    }

    #[test]
    fn the_shortest_reply_has_300_bytes() {
        let template = encode(&WinPe::default(), None).unwrap().remove(0);
        assert_eq!(usize::from(template.len), 300 - BODY_AT);
    }
}
