//! A DHCP server's offer, as far as it matters to a client that boots.

use std::net::Ipv4Addr;

use dhcproto::v4::borrowed;
use dhcproto::v4::{Opcode, OptionCode};
use serde::Serialize;

use crate::nodes::hardware::Mac;
use crate::text::printable;
use crate::winpe::architecture::Architecture;

/// The type of an offer, in option 53 (RFC 2132, section 9.6).
const OFFER: [u8; 1] = [2];

/// An offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Offer {
    /// The architecture that it is an answer to.
    pub(super) arch: Architecture,
    /// The address that it came from: a server's, or a relay's.
    pub(super) source: Option<Ipv4Addr>,
    /// Option 54.
    pub(super) server: Option<Ipv4Addr>,
    /// The address that is offered; none by a proxy.
    pub(super) address: Option<Ipv4Addr>,
    /// Option 60.
    pub(super) vendor_class: Option<String>,
    /// The file field, or option 67.
    pub(super) boot_file: Option<String>,
    /// The siaddr field.
    pub(super) next_server: Option<Ipv4Addr>,
    /// Option 66.
    pub(super) tftp_server: Option<String>,
    /// Whether there is an option 43.
    pub(super) has_vendor_options: bool,
}

impl Offer {
    /// Reads a message; `None` if it is no offer to this client.
    pub(super) fn read(
        bytes: &[u8],
        arch: Architecture,
        source: Ipv4Addr,
        mac: Mac,
    ) -> Option<Self> {
        let message = borrowed::Message::new(bytes).ok()?;
        if message.opcode() != Opcode::BootReply || !message.chaddr().starts_with(&mac.0) {
            return None;
        }
        let given = |address: Ipv4Addr| Some(address).filter(|it| !it.is_unspecified());
        let mut offer = Self {
            arch,
            source: given(source),
            address: given(message.yiaddr()),
            next_server: given(message.siaddr()),
            boot_file: text(bytes.get(108..236)?),
            ..Self::default()
        };
        let mut kind = None;
        for option in message.opts() {
            let value = option.data();
            match option.code() {
                OptionCode::MessageType => kind = Some(value == OFFER),
                OptionCode::ServerIdentifier => {
                    let address: [u8; 4] = value.try_into().ok()?;
                    offer.server = Some(address.into());
                }
                OptionCode::ClassIdentifier => offer.vendor_class = text(value),
                OptionCode::VendorExtensions => offer.has_vendor_options = true,
                OptionCode::TFTPServerName => offer.tftp_server = text(value),
                OptionCode::BootfileName => offer.boot_file = text(value).or(offer.boot_file),
                _ => {}
            }
        }
        (kind == Some(true)).then_some(offer)
    }

    /// The server's address.
    pub(super) fn name(&self) -> String {
        let address = self.server.or(self.source);
        address.map_or_else(
            || "a server without an address".to_owned(),
            |it| it.to_string(),
        )
    }

    /// Whether option 60 has the client ask port 4011.
    pub(super) fn is_for_pxe(&self) -> bool {
        let class = self.vendor_class.as_deref();
        class.is_some_and(|class| class.starts_with("PXEClient"))
    }

    /// Whether it is a proxy's: no address, but option 60.
    pub(super) fn is_proxy(&self) -> bool {
        self.address.is_none() && self.is_for_pxe()
    }

    /// The server that the client asks on port 4011, as EDK2 chooses it.
    pub(super) fn port_4011(&self) -> Option<Ipv4Addr> {
        self.next_server
            .or(self.server)
            .filter(|_| self.is_for_pxe())
    }

    /// Its line of the table.
    pub(super) fn row(&self) -> [String; 6] {
        let shown = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let firmware = match self.arch.0 {
            0 => "BIOS".to_owned(),
            7 => "UEFI x64".to_owned(),
            other => format!("arch. {other}"),
        };
        let next_server = self.next_server.map(|address| address.to_string());
        [
            firmware,
            self.name(),
            match self.address {
                Some(address) => address.to_string(),
                None if self.is_proxy() => "as a proxy".to_owned(),
                None => "no address".to_owned(),
            },
            shown(self.vendor_class.clone()),
            shown(self.boot_file.clone()),
            shown(next_server.or_else(|| self.tftp_server.clone())),
        ]
    }
}

/// The text of a field up to its NUL, if there is any.
fn text(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next()?;
    (!text.is_empty()).then(|| printable(text))
}
