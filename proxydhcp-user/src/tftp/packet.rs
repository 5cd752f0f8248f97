//! TFTP packets (RFC 1350), with the options of RFC 2347, 2348, 2349 and 7440. Numbers are in network
//! byte order.

use std::fmt::Write as _;
use std::time::Duration;

use crate::text::printable;

const READ: u16 = 1;
const WRITE: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OPTIONS: u16 = 6;

/// The bytes of a data packet before its data: the operation and the number of the block.
pub const HEADER: usize = 4;

/// The block size of a client that does not ask for another (RFC 1350), in bytes.
const BLOCK: u16 = 512;
/// RFC 2348.
const SMALLEST_BLOCK: u16 = 8;
/// RFC 2348.
const LARGEST_BLOCK: u16 = 65_464;
/// The bytes of an IP packet beside a block: 20 of IP, 8 of UDP and the header of TFTP.
pub const AROUND_BLOCK: u32 = 20 + 8 + 4;
/// The most blocks that are sent before an acknowledgement. More was not faster.
const LARGEST_WINDOW: u16 = 64;

/// The longest wait for an acknowledgement that a client may ask for, in seconds. A longer one would keep
/// the place of a client that has gone from others.
const LONGEST_TIMEOUT: u8 = 8;

/// A client's request to read a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The name of the file, as the client wrote it.
    pub file: String,
    /// The options that the client asks for.
    pub asked: Asked,
}

/// The options that a client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `blksize`, in bytes (RFC 2348).
    block_size: Option<u16>,
    /// `timeout`, in seconds (RFC 2349).
    timeout: Option<u8>,
    /// `tsize` (RFC 2349): the client wants to know the file's length.
    size: bool,
    /// `windowsize`, in blocks (RFC 7440).
    window: Option<u16>,
}

/// How a file is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// In bytes.
    pub block_size: u16,
    /// In blocks.
    pub window: u16,
    /// How long to wait for an acknowledgement, if the client says so.
    pub timeout: Option<Duration>,
    /// The packet that tells the client which of its options apply; without any, the first block
    /// comes at once.
    pub acknowledgement: Option<Vec<u8>>,
}

/// The kinds of error that a client is told (RFC 1350, appendix I).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    /// None of the others.
    Undefined = 0,
    /// There is no such file.
    NotFound = 1,
    /// The client may not do that.
    AccessViolation = 2,
    /// The packet is none that is understood.
    IllegalOperation = 4,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of error.
    pub code: Code,
    /// The words for people.
    pub message: &'static str,
}

impl Refusal {
    /// A refusal of this kind, in these words.
    pub const fn new(code: Code, message: &'static str) -> Self {
        Self { code, message }
    }

    /// The packet that tells the client so.
    pub fn packet(self) -> Vec<u8> {
        let mut packet = ERROR.to_be_bytes().to_vec();
        packet.extend((self.code as u16).to_be_bytes());
        packet.extend(self.message.as_bytes());
        packet.push(0);
        packet
    }
}

/// Reads a request.
///
/// # Errors
///
/// The refusal to send, or `None` if the packet is no request at all and gets no answer.
pub fn read_request(packet: &[u8]) -> Result<ReadRequest, Option<Refusal>> {
    let (operation, rest) = packet.split_first_chunk().ok_or(None)?;
    match u16::from_be_bytes(*operation) {
        READ => {}
        WRITE => {
            let refusal = Refusal::new(Code::AccessViolation, "nothing can be written here");
            return Err(Some(refusal));
        }
        _ => return Err(None),
    }
    // The packet ends with NUL, so that the last part is empty.
    let mut words = rest.split(|byte| *byte == 0);
    let (Some(file), Some(mode), Some(_)) = (words.next(), words.next(), words.clone().next())
    else {
        let refusal = Refusal::new(Code::IllegalOperation, "the request is cut off");
        return Err(Some(refusal));
    };
    if !mode.eq_ignore_ascii_case(b"octet") {
        let refusal = Refusal::new(Code::IllegalOperation, "files are sent in octet mode only");
        return Err(Some(refusal));
    }
    let Ok(file) = str::from_utf8(file) else {
        return Err(Some(Refusal::new(Code::NotFound, "file not found")));
    };
    let mut asked = Asked::default();
    while let (Some(option), Some(value)) = (words.next(), words.next()) {
        asked.add(option, value);
    }
    Ok(ReadRequest {
        file: file.to_owned(),
        asked,
    })
}

impl Asked {
    /// Takes an option up. One that is unknown or has no sensible value is left out, which tells the
    /// client that it does not apply (RFC 2347).
    fn add(&mut self, option: &[u8], value: &[u8]) {
        let number = || str::from_utf8(value).ok()?.parse::<u64>().ok();
        let is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        let Some(number) = number() else { return };
        let up_to_16_bits = u16::try_from(number).unwrap_or(u16::MAX);
        if is("blksize") && up_to_16_bits >= SMALLEST_BLOCK {
            self.block_size = Some(up_to_16_bits);
        } else if is("timeout") && (1..=LONGEST_TIMEOUT.into()).contains(&number) {
            self.timeout = u8::try_from(number).ok();
        } else if is("tsize") {
            self.size = true;
        } else if is("windowsize") && number > 0 {
            self.window = Some(up_to_16_bits);
        }
    }

    /// How a file of `size` bytes is sent by an interface with this MTU.
    pub fn agree(self, mtu: u32, size: u64) -> Agreed {
        // A larger block would come in fragments, one of which is easily lost.
        let whole = u16::try_from(mtu.saturating_sub(AROUND_BLOCK)).unwrap_or(LARGEST_BLOCK);
        let whole = whole.min(LARGEST_BLOCK);
        let block_size = self.block_size.map(|asked| asked.min(whole.max(BLOCK)));
        let window = self.window.map(|asked| asked.min(LARGEST_WINDOW));
        let mut options = String::new();
        let mut add = |name: &str, value: Option<u64>| {
            if let Some(value) = value {
                let _ = write!(options, "{name}\0{value}\0");
            }
        };
        add("blksize", block_size.map(u64::from));
        add("timeout", self.timeout.map(u64::from));
        add("tsize", self.size.then_some(size));
        add("windowsize", window.map(u64::from));
        let acknowledgement = (!options.is_empty())
            .then(|| [&OPTIONS.to_be_bytes()[..], options.as_bytes()].concat());
        Agreed {
            block_size: block_size.unwrap_or(BLOCK),
            window: window.unwrap_or(1),
            timeout: self.timeout.map(u64::from).map(Duration::from_secs),
            acknowledgement,
        }
    }
}

/// What a client sends while it receives a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It has everything up to this block, of whose number these are the lowest 16 bits.
    Ack(u16),
    /// It wants no more.
    Error,
    /// Anything else.
    Other,
}

/// Reads what a client sends while it receives a file.
pub fn reply(packet: &[u8]) -> Reply {
    let number = |at: usize| {
        let bytes = packet.get(at..)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    };
    match (number(0), number(2)) {
        (Some(ACK), Some(block)) => Reply::Ack(block),
        (Some(ERROR), _) => Reply::Error,
        _ => Reply::Other,
    }
}

/// What a client asks of a server: its options, or [`None`] for what the server does by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `blksize`, in bytes.
    pub block_size: Option<u16>,
    /// `windowsize`, in blocks.
    pub window: Option<u16>,
    /// `tsize`, the file's length in bytes. Clients ask with 0.
    pub size: Option<u64>,
}

/// A client's request for a file.
pub fn request(file: &str, options: Options) -> Vec<u8> {
    let mut packet = [&READ.to_be_bytes(), file.as_bytes(), b"\0octet\0"].concat();
    let named = [
        ("blksize", options.block_size.map(u64::from)),
        ("tsize", options.size),
        ("windowsize", options.window.map(u64::from)),
    ];
    for (name, value) in named {
        if let Some(value) = value {
            packet.extend(format!("{name}\0{value}\0").as_bytes());
        }
    }
    packet
}

/// A client's word that it has everything up to this block.
pub fn acknowledgement(block: u64) -> [u8; HEADER] {
    numbered(ACK, block)
}

/// What a server sends to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent<'a> {
    /// A block: the lowest 16 bits of its number, and its bytes.
    Data(u16, &'a [u8]),
    /// The options that apply.
    Options(Options),
    /// The server ends the transfer: the code, and its words, printable.
    Error(u16, String),
    /// Anything else.
    Other,
}

/// Reads what a server sends to a client.
pub fn sent(packet: &[u8]) -> Sent<'_> {
    let Some((operation, rest)) = packet.split_first_chunk() else {
        return Sent::Other;
    };
    let operation = u16::from_be_bytes(*operation);
    if operation == OPTIONS {
        return Sent::Options(options(rest));
    }
    match (operation, rest.split_first_chunk()) {
        (DATA, Some((block, data))) => Sent::Data(u16::from_be_bytes(*block), data),
        (ERROR, Some((code, words))) => {
            let words = words.split(|byte| *byte == 0).next().unwrap_or_default();
            Sent::Error(u16::from_be_bytes(*code), printable(words))
        }
        _ => Sent::Other,
    }
}

/// The options in a server's acknowledgement. A value that is none counts as 0, which no client can
/// have asked for.
fn options(text: &[u8]) -> Options {
    let mut told = Options {
        block_size: None,
        window: None,
        size: None,
    };
    let mut words = text.split(|byte| *byte == 0);
    while let (Some(option), Some(value)) = (words.next(), words.next()) {
        let number = str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok());
        let number: u64 = number.unwrap_or(0);
        let short = u16::try_from(number).unwrap_or(0);
        if option.eq_ignore_ascii_case(b"blksize") {
            told.block_size = Some(short);
        } else if option.eq_ignore_ascii_case(b"windowsize") {
            told.window = Some(short);
        } else if option.eq_ignore_ascii_case(b"tsize") {
            told.size = Some(number);
        }
    }
    told
}

/// The header of a data packet. Numbers of blocks begin anew after 65,535, with 0.
pub fn header(block: u64) -> [u8; HEADER] {
    numbered(DATA, block)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the lowest 16 bits are sent"
)]
fn numbered(operation: u16, block: u64) -> [u8; HEADER] {
    let ([a, b], [c, d]) = (operation.to_be_bytes(), (block as u16).to_be_bytes());
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ReadRequest, Option<Refusal>> {
        read_request(&[b"\0\x01", text.as_bytes()].concat())
    }

    fn refused(text: &str) -> Code {
        read(text).unwrap_err().unwrap().code
    }

    #[test]
    fn a_plain_request_is_sent_in_blocks_of_512() {
        let plain = read("boot\\bcd\0Octet\0").unwrap();
        assert_eq!(plain.file, "boot\\bcd");
        let agreed = plain.asked.agree(1500, 10_000);
        assert_eq!((agreed.block_size, agreed.window), (512, 1));
        assert_eq!(agreed.acknowledgement, None);
    }

    #[test]
    fn options_are_agreed_on_within_limits() {
        let agreed = |options: &str, mtu: u32| {
            let request = read(&format!("f\0octet\0{options}")).unwrap();
            request.asked.agree(mtu, 70_000)
        };
        let all = agreed(
            "TSIZE\x000\0blksize\x001456\0windowsize\x0016\0timeout\x003\0",
            1500,
        );
        let expected = b"\0\x06blksize\x001456\0timeout\x003\0tsize\x0070000\0windowsize\x0016\0";
        assert_eq!(all.acknowledgement.unwrap(), expected);
        assert_eq!((all.block_size, all.window), (1456, 16));
        assert_eq!(all.timeout, Some(Duration::from_secs(3)));
        let large = agreed("blksize\x0065464\0windowsize\x0065535\0", 1500);
        assert_eq!((large.block_size, large.window), (1468, 64));
        assert_eq!(agreed("blksize\x0065464\0", 9000).block_size, 8968);
        // A tunnel's small MTU does not go below the size that needs no agreement.
        assert_eq!(agreed("blksize\x001456\0", 100).block_size, 512);
        for nonsense in [
            "blksize\x007\0",
            "windowsize\x000\0",
            "timeout\x009\0",
            "timeout\x00255\0",
            "timeout\x00256\0",
            "timeout\x000\0",
            "blksize\x00many\0",
            "multicast\0\0",
            "blksize\0",
        ] {
            assert_eq!(agreed(nonsense, 1500).acknowledgement, None, "{nonsense:?}");
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        assert_eq!(refused("f\0netascii\0"), Code::IllegalOperation);
        assert_eq!(refused("f\0octet"), Code::IllegalOperation);
        assert_eq!(refused("f"), Code::IllegalOperation);
        let write = read_request(b"\0\x02f\0octet\0").unwrap_err().unwrap();
        assert_eq!(write.code, Code::AccessViolation);
        assert!(write.packet().starts_with(b"\0\x05\0\x02nothing"));
        let no_text = read_request(b"\0\x01\xff\0octet\0").unwrap_err().unwrap();
        assert_eq!(no_text.code, Code::NotFound);
        for silent in [&b""[..], b"\0", b"\0\x03\0\x01data", b"\0\x05\0\0\0"] {
            assert_eq!(read_request(silent).unwrap_err(), None);
        }
    }

    #[test]
    fn replies_are_told_apart() {
        assert_eq!(reply(b"\0\x04\x12\x34"), Reply::Ack(0x1234));
        assert_eq!(reply(b"\0\x05\0\x08no\0"), Reply::Error);
        assert_eq!(reply(b"\0\x04\x12"), Reply::Other);
        assert_eq!(reply(b""), Reply::Other);
        assert_eq!(header(65_537), [0, 3, 0, 1]);
    }

    #[test]
    fn what_a_client_asks_is_read_and_what_a_server_sends() {
        let asked = Options {
            block_size: Some(1456),
            window: Some(16),
            size: Some(0),
        };
        let read = read_request(&request("\\Boot\\BCD", asked)).unwrap();
        assert_eq!(read.file, "\\Boot\\BCD");
        let agreed = read.asked.agree(1500, 70_000).acknowledgement.unwrap();
        let told = Options {
            size: Some(70_000),
            ..asked
        };
        assert_eq!(sent(&agreed), Sent::Options(told));
        assert_eq!(sent(b"\0\x03\0\x07ab"), Sent::Data(7, b"ab"));
        assert_eq!(reply(&acknowledgement(65_538)), Reply::Ack(2));
        let refused = Refusal::new(Code::NotFound, "no\x1b such file").packet();
        assert_eq!(sent(&refused), Sent::Error(1, "no\\u{1b} such file".into()));
        for strange in [&b""[..], b"\0\x03\0", b"\0\x05", b"\0\x04\0\x01"] {
            assert_eq!(sent(strange), Sent::Other);
        }
        let Sent::Options(strange) = sent(b"\0\x06blksize\0many\0windowsize\x0070000\0") else {
            panic!("these are options")
        };
        assert_eq!((strange.block_size, strange.window), (Some(0), Some(0)));
    }
}
