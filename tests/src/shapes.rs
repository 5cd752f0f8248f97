//! The shapes that real firmware gives its requests.

use std::net::Ipv4Addr;

use crate::frame::RequestFrame;

/// DHCP option codes of RFC 2132 and RFC 4578, and those that PXE adds.
mod code {
    pub(super) const VENDOR: u8 = 43;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const PARAMETERS: u8 = 55;
    pub(super) const MAXIMUM_SIZE: u8 = 57;
    pub(super) const CLASS: u8 = 60;
    pub(super) const CLIENT: u8 = 61;
    pub(super) const USER_CLASS: u8 = 77;
    pub(super) const ARCHITECTURE: u8 = 93;
    pub(super) const INTERFACE: u8 = 94;
    pub(super) const UUID: u8 = 97;
    pub(super) const IPXE: u8 = 175;
    pub(super) const WDS: u8 = 250;
}

const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;

impl RequestFrame {
    /// UEFI firmware built from EDK2: port 4011, options ascending, 347 bytes of BOOTP.
    pub fn edk2(client: Ipv4Addr, architecture: u16) -> Self {
        let parameters = [
            1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59,
            60, 66, 67, 97, 128, 129, 130, 131, 132, 133, 134, 135,
        ];
        Self {
            source_port: 4011,
            dont_fragment: true,
            options: vec![
                (code::MESSAGE_TYPE, vec![REQUEST]),
                (code::PARAMETERS, parameters.to_vec()),
                (code::MAXIMUM_SIZE, vec![0x05, 0xc0]),
                (code::CLASS, class(architecture, "003016")),
                (code::ARCHITECTURE, architecture.to_be_bytes().to_vec()),
                (code::INTERFACE, vec![1, 3, 16]),
                (code::UUID, uuid(client)),
            ],
            ..Self::bare(client)
        }
    }

    /// The DISCOVER that the same machine sends before the request, by broadcast: it has no address yet.
    #[must_use]
    pub fn discover(&self) -> Self {
        const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
        let mut discover = Self {
            destination_mac: [0xff; 6],
            source: NONE,
            destination: Ipv4Addr::BROADCAST,
            source_port: 68,
            destination_port: 67,
            flags: 0x8000,
            ciaddr: NONE,
            ..self.clone()
        };
        discover.set_option(code::MESSAGE_TYPE, [DISCOVER]);
        discover.remove_option(code::SERVER);
        discover
    }

    /// EDK2 that discovers boot servers: option 43 with a boot item, 356 bytes of BOOTP.
    pub fn edk2_discovery(client: Ipv4Addr, architecture: u16, item: u16, layer: u16) -> Self {
        let mut request = Self::edk2(client, architecture);
        let mut vendor = vec![71, 4];
        vendor.extend(item.to_be_bytes());
        vendor.extend(layer.to_be_bytes());
        vendor.push(255);
        request.options.insert(0, (code::VENDOR, vendor));
        request
    }

    /// iPXE, as network cards and virtual machines carry it: port 68, broadcast flag set.
    pub fn ipxe(client: Ipv4Addr, architecture: u16) -> Self {
        let mut request = Self {
            source_port: 68,
            flags: 0x8000,
            ..Self::bare(client)
        };
        let mut identifier = vec![1];
        identifier.extend(request.source_mac);
        let parameters = [
            1, 3, 6, 7, 12, 15, 17, 26, 43, 60, 66, 67, 119, 128, 129, 130, 131, 132, 133, 134,
            135, 175, 203,
        ];
        // Encapsulated: priority, bus identity, version and one flag for each feature.
        let features = [
            0xb1, 5, 1, 0x80, 0x86, 0x10, 0x0e, 0xeb, 3, 1, 0, 0, 0x17, 1, 1, 0x22, 1, 1, 0x13, 1,
            1, 0x11, 1, 1, 0x27, 1, 1, 0x19, 1, 1, 0x29, 1, 1, 0x10, 1, 2, 0x21, 1, 1, 0x15, 1, 1,
            0x18, 1, 1, 0x12, 1, 1,
        ];
        request.options = vec![
            (code::MESSAGE_TYPE, vec![REQUEST]),
            (code::MAXIMUM_SIZE, vec![0x05, 0xc0]),
            (code::ARCHITECTURE, architecture.to_be_bytes().to_vec()),
            (code::INTERFACE, vec![1, 2, 1]),
            (code::CLASS, class(architecture, "002001")),
            (code::USER_CLASS, b"iPXE".to_vec()),
            (code::PARAMETERS, parameters.to_vec()),
            (code::IPXE, features.to_vec()),
            (code::CLIENT, identifier),
            (code::UUID, uuid(client)),
            (code::SERVER, request.destination.octets().to_vec()),
        ];
        request
    }

    /// A PXE ROM of the old kind: port 68, zero padded to 548 bytes of BOOTP.
    pub fn legacy(client: Ipv4Addr, architecture: u16) -> Self {
        Self {
            source_port: 68,
            options: vec![
                (code::MESSAGE_TYPE, vec![REQUEST]),
                (code::PARAMETERS, (1..=24).collect()),
                (code::MAXIMUM_SIZE, vec![0x04, 0xec]),
                (code::UUID, uuid(client)),
                (code::ARCHITECTURE, architecture.to_be_bytes().to_vec()),
                (code::INTERFACE, vec![1, 2, 1]),
                (code::CLASS, class(architecture, "002001")),
            ],
            minimum_length: 548,
            ..Self::bare(client)
        }
    }

    /// Windows' second stage, `wdsmgfw.efi`: 306 bytes of BOOTP and a bare vendor class.
    pub fn wdsmgfw(client: Ipv4Addr, architecture: u16) -> Self {
        let details = [0x0c, 1, 1, 0x0d, 2, 8, 0, 0x0e, 1, 0, 1, 2, 0, 7, 0xff];
        Self {
            source_port: 4011,
            options: vec![
                (code::ARCHITECTURE, architecture.to_be_bytes().to_vec()),
                (code::UUID, uuid(client)),
                (code::MESSAGE_TYPE, vec![REQUEST]),
                (code::CLASS, b"PXEClient".to_vec()),
                (
                    code::PARAMETERS,
                    vec![60, 128, 129, 130, 131, 132, 133, 134, 135],
                ),
                (code::WDS, details.to_vec()),
            ],
            ..Self::bare(client)
        }
    }
}

fn class(architecture: u16, interface: &str) -> Vec<u8> {
    format!("PXEClient:Arch:{architecture:05}:UNDI:{interface}").into_bytes()
}

/// Type 0 and a UUID of the client's own.
fn uuid(client: Ipv4Addr) -> Vec<u8> {
    let mut value = vec![
        0, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x41, 0x11, 0x81, 0x11, 0x11, 0x11,
    ];
    value.extend(client.octets());
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{BIOS, UEFI_X64};
    use crate::capture::{frames, golden};
    use crate::datagram::Datagram;

    fn captured(name: &str) -> Vec<u8> {
        let to_4011 = |frame: &Vec<u8>| Datagram::parse(frame).unwrap().destination_port == 4011;
        let request = |frame: &Vec<u8>| Datagram::parse(frame).unwrap().payload[0] == 1;
        frames(name)
            .unwrap()
            .into_iter()
            .find(|frame| to_4011(frame) && request(frame))
            .unwrap()
    }

    /// Gives a request what differs between any two clients of one shape.
    fn as_captured(mut request: RequestFrame, frame: &[u8]) -> RequestFrame {
        let datagram = Datagram::parse(frame).unwrap();
        request.destination_mac = datagram.destination_mac;
        request.source_mac = datagram.source_mac;
        request.chaddr[..6].copy_from_slice(&datagram.source_mac);
        request.ip_id = u16::from_be_bytes([frame[18], frame[19]]);
        request.xid = u32::from_be_bytes(datagram.payload[4..8].try_into().unwrap());
        request.secs = u16::from_be_bytes([datagram.payload[8], datagram.payload[9]]);
        request
    }

    #[test]
    fn edk2_is_as_captured() {
        let frame = captured("edk2-uefi.pcap");
        let client = Datagram::parse(&frame).unwrap().source;
        let mut request = as_captured(RequestFrame::edk2(client, UEFI_X64), &frame);
        request.set_option(60, class(UEFI_X64, "003000"));
        request.set_option(94, [1, 3, 0]);
        request.set_option(97, [0; 17]);
        assert_eq!(request.bytes(), frame);
    }

    #[test]
    fn ipxe_is_as_captured() {
        let frame = captured("ipxe-bios.pcap");
        let client = Datagram::parse(&frame).unwrap().source;
        let mut request = as_captured(RequestFrame::ipxe(client, BIOS), &frame);
        request.set_option(60, *b"PXEClient");
        request.set_option(61, [1, 0x52, 0x54, 0, 0, 0, 1]);
        request.set_option(97, [0; 17]);
        assert_eq!(request.bytes(), frame);
    }

    #[test]
    fn legacy_is_as_in_the_golden_exchanges() {
        let exchange = golden()
            .unwrap()
            .into_iter()
            .find(|e| e.kind == "legacy")
            .unwrap();
        let mut request = RequestFrame::legacy(exchange.client, exchange.architecture);
        request.xid = u32::from_be_bytes(exchange.request[4..8].try_into().unwrap());
        request.secs = u16::from_be_bytes(exchange.request[8..10].try_into().unwrap());
        request.flags = u16::from_be_bytes(exchange.request[10..12].try_into().unwrap());
        let uuid = exchange
            .request
            .windows(19)
            .find(|w| w[..2] == [97, 17])
            .unwrap();
        request.set_option(97, &uuid[2..]);
        assert_eq!(request.bootp(), exchange.request);
    }

    #[test]
    fn lengths_are_those_of_the_field() {
        let client = Ipv4Addr::new(10, 77, 1, 2);
        assert_eq!(RequestFrame::edk2(client, UEFI_X64).bootp().len(), 347);
        assert_eq!(
            RequestFrame::edk2_discovery(client, UEFI_X64, 1, 0)
                .bootp()
                .len(),
            356
        );
        assert!((380..=420).contains(&RequestFrame::ipxe(client, BIOS).bootp().len()));
        assert_eq!(RequestFrame::legacy(client, BIOS).bootp().len(), 548);
        assert_eq!(RequestFrame::wdsmgfw(client, UEFI_X64).bootp().len(), 306);
    }

    #[test]
    fn every_shape_verifies() {
        let client = Ipv4Addr::new(10, 77, 1, 2);
        for mut request in [
            RequestFrame::edk2(client, UEFI_X64),
            RequestFrame::ipxe(client, BIOS),
            RequestFrame::legacy(client, BIOS),
            RequestFrame::wdsmgfw(client, UEFI_X64),
        ] {
            request.ip_options = vec![0x94, 4, 0, 0, 1];
            request.trailer = vec![0xee; 7];
            let frame = request.bytes();
            let datagram = Datagram::parse(&frame).unwrap();
            datagram.verify_checksums().unwrap();
            assert_eq!(datagram.trailer, [0xee; 7]);
            assert_eq!(datagram.payload, request.bootp());
            assert_eq!(frame.len(), request.udp_offset() + datagram.udp.len() + 7);
        }
    }
}
