//! What holds for any packet to the TFTP server.

use proxydhcp::tftp::packet::{read_request, reply};

/// Reads a packet as a request, agrees on its options, and reads it as a reply.
///
/// # Panics
/// Where something is agreed that cannot be sent.
pub(crate) fn tftp(data: &[u8]) {
    let _ = reply(data);
    match read_request(data) {
        Ok(request) => {
            for (mtu, size) in [(0, 0), (1500, 300 << 20), (9000, u64::MAX), (u32::MAX, 1)] {
                let agreed = request.asked.agree(mtu, size);
                assert!((8..=65_464).contains(&agreed.block_size) && agreed.window <= 64);
                assert!(agreed.window > 0);
                if mtu == 1500 {
                    assert!(u32::from(agreed.block_size) + 32 <= mtu);
                }
                // It is longer than what asked for it by no more than the numbers in it.
                let told = agreed.acknowledgement.map_or(0, |told| told.len());
                assert!(told <= data.len() + 40, "{told} bytes for {}", data.len());
            }
        }
        Err(Some(refusal)) => assert!(refusal.packet().len() < 64),
        Err(None) => {}
    }
}
