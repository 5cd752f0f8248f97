//! Makes frames sound again that a fuzzer has changed, so that it comes past the checksums.

/// Puts right the lengths, the checksums or both of a frame with UDP over IPv4, or takes its UDP
/// checksum out. What is no such frame stays as it is.
pub(super) fn mend(frame: &mut [u8], lengths: bool, checksums: bool, without: bool) {
    if let Some(at) = find(frame) {
        mend_at(frame, at, lengths, checksums, without);
    }
}

/// Where IP and UDP begin.
fn find(frame: &[u8]) -> Option<(usize, usize)> {
    let mut ip = 14;
    while let [0x81, 0x00] | [0x88, 0xa8] = frame.get(ip - 2..ip)? {
        ip += 4;
    }
    let words = usize::from(frame.get(ip)? & 15);
    let udp = ip + 4 * words.max(5);
    (frame.len() >= udp + 8).then_some((ip, udp))
}

fn mend_at(
    frame: &mut [u8],
    (ip, udp): (usize, usize),
    lengths: bool,
    checksums: bool,
    without: bool,
) {
    if lengths {
        for (at, from) in [(ip + 2, ip), (udp + 4, udp)] {
            let len = u16::try_from(frame.len() - from).unwrap_or(u16::MAX);
            frame[at..at + 2].copy_from_slice(&len.to_be_bytes());
        }
    }
    if checksums {
        frame[ip + 10..ip + 12].fill(0);
        let sum = add(0, &frame[ip..udp]);
        frame[ip + 10..ip + 12].copy_from_slice(&(!sum).to_be_bytes());
        let len = u16::from_be_bytes([frame[udp + 4], frame[udp + 5]]);
        frame[udp + 6..udp + 8].fill(0);
        if let Some(datagram) = frame.get(udp..udp + usize::from(len)) {
            let sum = add(0, &[0, 17]);
            let sum = add(sum, &len.to_be_bytes());
            let sum = add(add(sum, &frame[ip + 12..ip + 20]), datagram);
            let field = if sum == 0xffff { sum } else { !sum };
            frame[udp + 6..udp + 8].copy_from_slice(&field.to_be_bytes());
        }
    }
    if without {
        frame[udp + 6..udp + 8].fill(0);
    }
}

/// The sum of RFC 1071, by the book.
pub(super) fn add(sum: u16, bytes: &[u8]) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let last = rest.iter().map(|&byte| [byte, 0]);
    let words = pairs.iter().copied().chain(last).map(u16::from_be_bytes);
    let mut sum = words.fold(u32::from(sum), |sum, word| sum + u32::from(word));
    while let (low, high @ 1..) = (sum & 0xffff, sum >> 16) {
        sum = low + high;
    }
    u16::try_from(sum).expect("it is folded")
}
