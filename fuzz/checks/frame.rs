//! What holds for any frame that comes in.

use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};

use proxydhcp::tables::followed::Followed;
use proxydhcp::tables::generation::Generation;
use proxydhcp::tables::policy::{Policy, ReplyFormat, Unknown};
use proxydhcp::tables::table::Table;
use proxydhcp::winpe::path::WinPe;
use proxydhcp_common::frame::{Frame, Slice};
use proxydhcp_common::headers::{self as packet, Packet};
use proxydhcp_common::judge::judge;
use proxydhcp_common::verdict::{Reason, Stop};
use proxydhcp_common::{answer, reply, slow_path};
use proxydhcp_lab::discover::HARDWARE;

#[path = "golden.rs"]
mod golden;
#[path = "frame/headers.rs"]
mod headers;
#[path = "frame/mend.rs"]
mod mend;
#[path = "frame/well_formed.rs"]
mod well_formed;

/// The longest frame that is tried.
const LONGEST: usize = 1600;
/// Room for the longest reply, or the longest frame.
const ROOM: usize = 2048;
/// The interface's own address.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
/// The addresses of this host.
const LOCAL: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(192, 168, 7, 1)];

/// Tables, and what they must lead to.
struct Tables {
    generation: Generation,
    policy: Policy,
    table: Table,
    /// Whether nodes are known by their hardware addresses, too.
    has_hardware: bool,
}

impl Tables {
    /// The nodes of the golden exchanges: those with the default WinPE and with others, and one
    /// whose record is refused.
    fn new(policy: Policy) -> Self {
        let has_hardware = policy.unknown == Unknown::Lookup;
        let table = golden::table(has_hardware.then_some(HARDWARE));
        let before = Generation::default();
        let followed = Arc::new(Followed::in_order(&table));
        let generation = Generation::following(&before, &table, &LOCAL, &policy, &followed);
        Self {
            generation: generation.expect("the golden files can be served"),
            policy,
            table,
            has_hardware,
        }
    }

    /// The WinPE's folder that a client with this MAC address and this UUID, if it has them, is to be sent
    /// to, if it is to be answered at all.
    fn winpe(&self, client: Ipv4Addr, mac: Option<[u8; 6]>, uuid: Option<u128>) -> Option<&str> {
        let node = self.table.nodes().find(|node| node.address == client);
        let known = match (mac, uuid) {
            // cn003 is refused, and cn006 has no record.
            (Some([2, 0, 0, 0, 0, last @ 1..=3]), _) => Some(last),
            (_, Some(2)) => Some(2),
            (_, Some(7)) => Some(7),
            _ => None,
        };
        if let Some(known) = known.filter(|_| self.has_hardware) {
            // The addresses of nodes are their own alone.
            let name = format!("cn{known:03}");
            let owner = self.table.nodes().find(|node| node.name == name)?;
            let is_its =
                node.is_none_or(|node| node.name == name) && client != Ipv4Addr::new(10, 77, 16, 3);
            let winpe = self.table.winpes().get(owner.winpe);
            return winpe.map(WinPe::path).filter(|_| is_its);
        }
        match (node, &self.policy.unknown) {
            (Some(node), _) => self.table.winpes().get(node.winpe).map(WinPe::path),
            // cn003, whose path is too long.
            (None, Unknown::Default) => (client != Ipv4Addr::new(10, 77, 16, 3)).then_some(""),
            (None, Unknown::Ignore | Unknown::Lookup | Unknown::LookupDefault) => None,
        }
    }
}

/// One for each policy.
static TABLES: LazyLock<[Tables; 4]> = LazyLock::new(|| {
    [
        Policy::default(),
        Policy {
            unknown: Unknown::Default,
            ..Policy::default()
        },
        Policy {
            unknown: Unknown::Lookup,
            ..Policy::default()
        },
        Policy {
            unknown: Unknown::Default,
            next_server: Some(Ipv4Addr::new(10, 77, 0, 9)),
            reply_format: ReplyFormat::Xcat,
            ..Policy::default()
        },
    ]
    .map(Tables::new)
});

/// A frame in a buffer.
struct Buffer {
    bytes: [u8; ROOM],
    len: usize,
}

impl Buffer {
    /// The frame, with `rest` in the buffer behind it: no reply may show that.
    fn new(frame: &[u8], rest: u8) -> Self {
        let mut bytes = [rest; ROOM];
        bytes[..frame.len()].copy_from_slice(frame);
        Self {
            bytes,
            len: frame.len(),
        }
    }

    fn frame(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Makes the frame what `write` makes of it.
    fn through(
        mut self,
        write: impl FnOnce(&mut Slice<'_>) -> Result<(), Stop>,
    ) -> (Result<(), Stop>, Self) {
        let mut slice = Slice::new(&mut self.bytes, self.len).expect("it has room");
        let verdict = write(&mut slice);
        self.len = slice.len();
        (verdict, self)
    }
}

/// Judges a frame by the fast path, by the full judgement and as packet threads do. The first byte
/// says how, and the frame follows:
///
/// | bits | |
/// |---|---|
/// | 0, 1 | the policy |
/// | 2 | the kernel vouches for the UDP checksum |
/// | 3 | lengths are put right |
/// | 4 | checksums are put right |
/// | 5 | there is no UDP checksum |
/// | 6 | what follows is the options of an ordinary request alone; bits 3 and 4 are taken as set |
///
/// # Panics
/// Where something does not hold.
pub(crate) fn frame(data: &[u8]) {
    let Some((&control, rest)) = data.split_first() else {
        return;
    };
    let is = |bit| control & bit != 0;
    let tables = &TABLES[usize::from(control & 3)];
    let headers: &[u8] = if is(64) { &HEADERS } else { &[] };
    let rest = &rest[..rest.len().min(LONGEST)];
    let mut bytes = [0; ROOM];
    let (start, end) = bytes[..headers.len() + rest.len()].split_at_mut(headers.len());
    start.copy_from_slice(headers);
    end.copy_from_slice(rest);
    let request = &mut bytes[..headers.len() + rest.len()];
    mend::mend(request, is(8 | 64), is(16 | 64), is(32));
    check(request, tables, is(4));
}

static HEADERS: LazyLock<Vec<u8>> = LazyLock::new(|| headers::headers(LOCAL[0]));

/// What is not found at all is left alone too.
fn found(frame: &Slice<'_>) -> Result<Packet, Stop> {
    packet::find(frame).ok_or(Stop::NotOurs)
}

/// Answers as packet threads do, who is not limited here, and returns the reply's length.
fn answer(
    buffer: &mut [u8],
    len: usize,
    tables: &Generation,
    vouched: bool,
) -> Result<usize, Stop> {
    let mut slice = Slice::new(buffer, len).expect("it has room");
    let packet = found(&slice)?;
    answer::reply(&mut slice, &packet, tables, MAC, vouched)?;
    Ok(slice.len())
}

fn check(request: &[u8], tables: &Tables, vouched: bool) {
    let generation = &tables.generation;
    let (fast, fast_frame) = Buffer::new(request, 0).through(|slice| {
        let answer = judge(slice, &found(slice)?, generation)?;
        reply::write(slice, &answer).expect("it has room");
        Ok(())
    });
    let (full, full_frame) = Buffer::new(request, 0x55).through(|slice| {
        let answer = slow_path::judge(slice, &found(slice)?, generation, MAC, vouched)?;
        slow_path::write(slice, &answer).expect("it has room");
        Ok(())
    });
    // The last word is said there.
    assert_ne!(full, Err(Stop::SlowPath));
    if fast == Err(Stop::SlowPath) {
        assert_eq!(fast_frame.frame(), request);
    } else {
        // The fast path may leave a frame to the full judgement, but says nothing else than that.
        assert_eq!(fast, full);
    }
    if fast.is_ok() {
        assert_eq!(fast_frame.frame(), full_frame.frame());
    } else {
        assert_eq!(fast_frame.frame(), request);
    }
    if full == Err(Stop::NotOurs) {
        assert_eq!(full_frame.frame(), request);
    }

    check_threads(request, tables, vouched, fast, (full, &full_frame));
    if full.is_ok() {
        well_formed::check(request, full_frame.frame(), tables);
        // Whatever is sent back is no request, or two servers could keep each other busy.
        let (again, _) =
            full_frame.through(|slice| judge(slice, &found(slice)?, generation).map(|_| ()));
        assert!(again.is_err());
    }
}

/// Packet threads say what the two judgements say.
fn check_threads(
    request: &[u8],
    tables: &Tables,
    vouched: bool,
    fast: Result<(), Stop>,
    (full, full_frame): (Result<(), Stop>, &Buffer),
) {
    let mut buffer = Buffer::new(request, 0xaa);
    let answered = answer(
        &mut buffer.bytes,
        request.len(),
        &tables.generation,
        vouched,
    );
    assert_eq!(answered.map(|_| ()), full);
    match answered {
        Ok(len) => assert_eq!(&buffer.bytes[..len], full_frame.frame()),
        Err(_) if fast != Err(Stop::SlowPath) => assert_eq!(buffer.frame(), request),
        Err(_) => {}
    }

    // In a buffer that the reply does not fit into, the request is whole.
    let mut tight = Buffer::new(request, 0);
    let answered = answer(
        &mut tight.bytes[..request.len()],
        request.len(),
        &tables.generation,
        vouched,
    );
    if fast.is_ok() && full_frame.len > request.len() {
        assert_eq!(answered, Err(Stop::Refuse(Reason::Length)));
        assert_eq!(tight.frame(), request);
    } else if full_frame.len <= request.len() {
        assert_eq!(answered.map(|_| ()), full);
    }
}
