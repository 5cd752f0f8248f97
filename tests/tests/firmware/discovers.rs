//! The DISCOVERs of a machine.

use dhcproto::v4::{Message, MessageType};
use dhcproto::{Decodable, Decoder};
use proxydhcp_lab::datagram::Datagram;

/// The number of DISCOVERs that the network card with this address has sent, among the frames that it has
/// sent and received: those of others are broadcast.
pub(crate) fn discovers(frames: &[Vec<u8>], mac: [u8; 6]) -> usize {
    let own = frames.iter().filter(|it| it.get(6..12) == Some(&mac[..]));
    let is_one = |frame: &&Vec<u8>| {
        let datagram = Datagram::parse(frame).ok();
        let datagram = datagram.filter(|datagram| datagram.destination_port == 67);
        let message = datagram.map(|it| Message::decode(&mut Decoder::new(it.payload)));
        message.is_some_and(|message| {
            message.is_ok_and(|it| it.opts().msg_type() == Some(MessageType::Discover))
        })
    };
    own.filter(is_one).count()
}
