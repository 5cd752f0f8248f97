//! The judgement on a frame: the order of all rules for plain requests.

use crate::activity::Outcome;
use crate::frame::{Frame, MAX_OFFSET};
use crate::headers::{self, Datagram, Packet};
use crate::limit::{Bucket, Ticks};
use crate::nodes::{Client, Conflict, Lines, Nodes};
use crate::options::{self, Facts};
use crate::source::Source;
use crate::template::{Template, UUID_LEN};
use crate::vendor_class::VendorClass;
use crate::verdict::{Reason, Stop};
use crate::wire::{Address, BROADCAST};

/// The tables that a judgement reads.
pub trait Tables {
    /// The lines of the node table.
    type Lines: Lines + ?Sized;

    /// The node table, or `None` while none is installed.
    fn nodes(&self) -> Option<&Self::Lines>;

    /// Template `number` of a bank; `None` if it does not exist, which is a fault of the tables.
    fn template(&self, bank: u32, number: u32) -> Option<&Template>;

    /// The vendor classes besides `PXEClient` that are served; the node table says whether there are
    /// any.
    fn vendor_classes(&self) -> &[VendorClass] {
        &[]
    }

    /// The bucket of `source`, which is on its way from memory then; `None` if no buckets are kept.
    ///
    /// # Errors
    ///
    /// If there is no such bucket though buckets are kept, which is a fault of the tables.
    #[inline(always)]
    fn bucket(&self, source: &Source) -> Result<Option<Bucket<'_>>, Stop> {
        let _ = source;
        Ok(None)
    }

    /// The time by the clock of the buckets.
    #[inline(always)]
    fn now(&self) -> Ticks {
        0
    }

    /// Notes what became of a request: see [`activity`](crate::activity).
    #[inline(always)]
    fn note(&self, asker: Asker, outcome: Outcome, architecture: Option<u8>) {
        let _ = (asker, outcome, architecture);
    }
}

/// Who has sent a request, as far as it is noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// The packet's source address.
    pub address: Address,
    /// The frame's source address.
    pub mac: [u8; 6],
    /// Its number among the nodes: see [`Nodes::number`].
    pub node: u32,
}

/// Everything that turns a request into its reply.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'t> {
    /// The offsets of the request's parts.
    pub datagram: Datagram,
    /// The template of the reply.
    pub template: &'t Template,
    /// The value of option 97 to send back; the template has room for it if and only if this is
    /// `Some`.
    pub uuid: Option<[u8; UUID_LEN]>,
    /// Its number among the nodes, for noting what was answered: see [`Nodes::number`].
    pub node: u32,
    /// The client's architecture.
    pub architecture: u8,
}

/// The length of the longest BOOTP message that counts as plain, in bytes. Real requests have up to
/// 548.
pub const MAX_PLAIN: usize = 1024;

/// Judges the frame of a packet that [`headers::find`] has found, as the fast path does: plain
/// requests are answered or refused, and everything that takes more than a bounded search is
/// [`Stop::SlowPath`].
///
/// # Errors
///
/// The verdict, if the frame is not answered.
#[inline(always)]
pub fn judge<'t, F: Frame, T: Tables>(
    frame: &F,
    packet: &Packet,
    tables: &'t T,
) -> Result<Answer<'t>, Stop> {
    let nodes = own(packet, tables)?;
    if !packet.is_plain() {
        return Err(Stop::SlowPath);
    }
    // These come first, because both may have to be fetched from memory.
    let source = Source::of(frame, packet);
    let bucket = tables.bucket(&source)?;
    let entry = nodes.entry(packet.source);
    let judged = judge_client(frame, packet, tables, &nodes, bucket, entry);
    if let Err(stop) = judged
        && let Some(outcome) = Outcome::of(stop)
    {
        let asker = Asker {
            address: source.address,
            mac: source.mac,
            node: nodes.number(entry),
        };
        tables.note(asker, outcome, None);
    }
    judged
}

/// Judges the frame, for whose sender's address `entry` is stored.
#[inline(always)]
fn judge_client<'t, F: Frame, T: Tables>(
    frame: &F,
    packet: &Packet,
    tables: &'t T,
    nodes: &Nodes<'_, T::Lines>,
    bucket: Option<Bucket<'_>>,
    entry: u32,
) -> Result<Answer<'t>, Stop> {
    let datagram = headers::admit(frame, packet)?;
    if datagram.bootp_len > MAX_PLAIN {
        return Err(Stop::SlowPath);
    }
    let (facts, uuid_at) = options::walk(frame, &datagram, nodes)?;
    // It is read again, so that the copy that goes into the reply stays one of memory. From single
    // bytes, the compiler would make it up before it is known to be there, which Linux 5.10 refuses.
    let uuid = if nodes.has_hardware() {
        options::uuid(frame, uuid_at)
    } else {
        None
    };
    // Only the slow path can name the nodes that are confused with each other.
    let client = identify(frame, &datagram, uuid, entry, nodes).map_err(|_| Stop::SlowPath)?;
    let answer = decide(datagram, facts, client, nodes, tables)?;
    // The checksum comes last, because it is costly. A wrong one may still belong to a valid
    // request: a sender on this machine leaves it to hardware that does not exist.
    if !headers::is_udp_checksum_right(frame, &answer.datagram) {
        return Err(Stop::SlowPath);
    }
    charge(bucket, nodes, tables)?;
    Ok(answer)
}

/// Charges the source for an answer; nothing else is charged for.
#[inline(always)]
pub(crate) fn charge<T: Tables>(
    bucket: Option<Bucket<'_>>,
    nodes: &Nodes<'_, T::Lines>,
    tables: &T,
) -> Result<(), Stop> {
    let limit = nodes.limit();
    match bucket {
        Some(bucket) if limit.interval != 0 && !bucket.charge(limit, tables.now()) => {
            Err(Stop::Limited)
        }
        _ => Ok(()),
    }
}

/// The node table, if the packet is addressed to this host: packets that merely pass through it, as
/// through a router or a bridge, are ignored, and so are broadcasts.
#[inline(always)]
pub(crate) fn own<'t, T: Tables>(
    packet: &Packet,
    tables: &'t T,
) -> Result<Nodes<'t, T::Lines>, Stop> {
    let nodes = tables.nodes().and_then(Nodes::open);
    nodes
        .filter(|nodes| nodes.is_local(packet.destination))
        .ok_or(match packet.destination {
            BROADCAST => Stop::Refuse(Reason::Broadcast),
            _ => Stop::NotOurs,
        })
}

/// The client that sends a valid request, for whose address `entry` is stored.
#[inline(always)]
pub(crate) fn identify<F: Frame, L: Lines + ?Sized>(
    frame: &F,
    datagram: &Datagram,
    uuid: Option<&[u8; 16]>,
    entry: u32,
    nodes: &Nodes<'_, L>,
) -> Result<Client, Conflict> {
    let mac = if nodes.has_hardware() {
        headers::mac(frame, datagram)
    } else {
        None
    };
    nodes.identify(entry, mac, uuid)
}

/// Finds the reply to a valid request.
#[inline(always)]
pub(crate) fn decide<'t, T: Tables>(
    datagram: Datagram,
    facts: Facts,
    client: Client,
    nodes: &Nodes<'_, T::Lines>,
    tables: &'t T,
) -> Result<Answer<'t>, Stop> {
    let Some(target) = client.node() else {
        return Err(if client.is_to_be_looked_up() {
            Stop::SlowPath
        } else {
            Stop::Refuse(Reason::Unknown)
        });
    };
    let uuid = facts.uuid.filter(|_| nodes.echoes());
    let number = nodes.template(nodes.winpe(target), facts.loader, uuid.is_some());
    let template = tables.template(target.bank(), number);
    Ok(Answer {
        datagram,
        template: template.ok_or(Stop::Refuse(Reason::Unknown))?,
        uuid,
        node: nodes.number(target.stored()),
        architecture: facts.architecture,
    })
}

// The verifier learns the bound of a plain request only from the mask.
const _: () = assert!(22 + 28 + MAX_PLAIN + 4 <= MAX_OFFSET);
