//! Encodes reply templates.

use dhcproto::v4::{DhcpOption, Message, MessageType, Opcode, OptionCode, UnknownOption};
use dhcproto::{Encodable, Encoder};
use proxydhcp_common::checksum::Sum;
use proxydhcp_common::template::{BODY_AT, MAX_BODY, MIN_BODY, Template, UUID_LEN};
use std::net::Ipv4Addr;

use crate::tables::policy::{Policy, ReplyFormat};
use crate::winpe::loaders::BcdChoice;
use crate::winpe::path::WinPe;

/// Option 252: the path of the BCD, for Windows' boot manager.
const BCD_OPTION: u8 = 252;

/// Why a reply cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The DHCP encoder refuses it.
    #[error("the reply for WinPE '{path}' cannot be encoded: {source}")]
    Encode {
        /// The WinPE's path.
        path: String,
        /// The encoder's error.
        source: dhcproto::error::EncodeError,
    },
    /// The reply is longer than clients have to accept.
    #[error("the reply for WinPE '{0}' is longer than 548 bytes; give it a shorter path")]
    TooLong(String),
}

/// The bytes left free for the echo of a boot item.
const BOOT_ITEM: usize = 8;

/// Encodes the templates of one WinPE, in the order of
/// [`proxydhcp_common::nodes::Nodes::template`].
///
/// # Errors
///
/// If a reply cannot be encoded or is too long: see [`TemplateError`].
pub fn encode(winpe: &WinPe, policy: &Policy) -> Result<Vec<Template>, TemplateError> {
    let mut templates = Vec::with_capacity(2 * policy.loaders.paths().len());
    let loaders = policy.loaders.paths().iter().zip(policy.loaders.bcds());
    for (loader, bcd) in loaders {
        for uuid in [false, true] {
            let message = message(winpe, loader, bcd, uuid, policy.reply_format);
            templates.push(encode_one(winpe, &message, policy)?);
        }
    }
    Ok(templates)
}

fn encode_one(
    winpe: &WinPe,
    message: &Message,
    policy: &Policy,
) -> Result<Template, TemplateError> {
    let mut bytes = Vec::with_capacity(BODY_AT + MAX_BODY);
    message
        .encode(&mut Encoder::new(&mut bytes))
        .map_err(|source| TemplateError::Encode {
            path: winpe.path().to_owned(),
            source,
        })?;
    let too_long = || TemplateError::TooLong(winpe.path().to_owned());
    let encoded = bytes.get(BODY_AT..).unwrap_or_default();
    let len = match policy.reply_format {
        // Padded to whole words, which are the quickest to copy.
        ReplyFormat::Pxe => encoded.len().next_multiple_of(8).max(MIN_BODY),
        ReplyFormat::Xcat => encoded.len(),
    };
    if len > MAX_BODY - BOOT_ITEM {
        return Err(too_long());
    }
    let mut body = [0; MAX_BODY];
    body.get_mut(..encoded.len())
        .ok_or_else(too_long)?
        .copy_from_slice(encoded);
    Ok(Template {
        siaddr: policy.next_server.unwrap_or(Ipv4Addr::UNSPECIFIED).octets(),
        len: u16::try_from(len).map_err(|_| too_long())?,
        sum: Sum::default().bytes(&body).fold(),
        body,
    })
}

/// The reply with zeros in place of patched values. Options are encoded in ascending order, which
/// puts the patched ones where [`proxydhcp_common::template`] expects them; the test `layout`
/// checks that.
fn message(
    winpe: &WinPe,
    loader: &str,
    bcd: &BcdChoice,
    uuid: bool,
    format: ReplyFormat,
) -> Message {
    let mut message = Message::default();
    let mut bcd = winpe.bcd(bcd).into_bytes();
    bcd.push(0);
    message
        .set_opcode(Opcode::BootReply)
        .set_fname_str(winpe.loader(loader));
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(MessageType::Ack));
    options.insert(DhcpOption::ServerIdentifier(Ipv4Addr::UNSPECIFIED));
    if format == ReplyFormat::Pxe {
        options.insert(DhcpOption::ClassIdentifier(b"PXEClient".to_vec()));
        if uuid {
            options.insert(DhcpOption::ClientMachineIdentifier(vec![0; UUID_LEN]));
        }
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
    use proxydhcp_common::template::{SERVER_ID_AT, UUID_AT};
    use std::path::Path;

    use crate::winpe::path::Rules;

    fn winpe(path: &str) -> WinPe {
        WinPe::parse(path.as_bytes(), Rules::within(Path::new("/tftpboot"))).unwrap()
    }

    fn at(template: &Template, offset: usize, len: usize) -> &[u8] {
        &template.body[offset - BODY_AT..][..len]
    }

    #[test]
    fn layout() {
        let templates = encode(&winpe("winboot/a"), &Policy::default()).unwrap();
        let files: [&[u8]; 2] = [
            b"winboot/a/Boot/pxeboot.0\0",
            b"winboot/a/Boot/bootmgfw.efi\0",
        ];
        for (templates, file) in templates.chunks(2).zip(files) {
            for (template, uuid) in templates.iter().zip([false, true]) {
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
        let last = encode(&longest, &Policy::default()).unwrap().pop().unwrap();
        assert_eq!(last.body[64 + 126], b'i');
        assert_eq!(last.body[64 + 127], 0);
        assert!(usize::from(last.len) <= MAX_BODY - BOOT_ITEM);
    }

    #[test]
    fn xcats_format_has_what_its_daemon_sends_and_no_more() {
        let policy = Policy {
            reply_format: ReplyFormat::Xcat,
            ..Policy::default()
        };
        let templates = encode(&winpe("winboot/a"), &policy).unwrap();
        let options =
            b"\x63\x82\x53\x63\x35\x01\x05\x36\x04\0\0\0\0\xfc\x13winboot/a/Boot/BCD\0\xff";
        for template in templates {
            assert_eq!(at(&template, 236, options.len()), options);
            assert_eq!(usize::from(template.len), 192 + options.len());
        }
    }

    #[test]
    fn the_shortest_reply_has_300_bytes() {
        let template = encode(&WinPe::default(), &Policy::default())
            .unwrap()
            .remove(0);
        assert_eq!(usize::from(template.len), 300 - BODY_AT);
    }
}
