//! The judgement on a frame: the order of all rules for plain requests.

use crate::frame::{Frame, MAX_OFFSET};
use crate::headers::{self, Datagram, Packet};
use crate::limit::Limit;
use crate::nodes::{Client, Lines, Nodes};
use crate::options::{self, Facts};
use crate::template::{Template, UUID_LEN};
use crate::verdict::{Reason, Stop};
use crate::wire::Address;

/// What a judgement looks things up in.
pub trait Tables {
    /// The lines of the node table.
    type Lines: Lines + ?Sized;

    /// The node table, or `None` while none is installed.
    fn nodes(&self) -> Option<&Self::Lines>;

    /// Template `number` of a bank, or `None` where there is none, which is a fault of the tables.
    fn template(&self, bank: u32, number: u32) -> Option<&Template>;

    /// Says that the bucket of `source` will be wanted soon, as it may have to come from far away.
    #[inline(always)]
    fn expect_charge(&self, source: Address) {
        let _ = source;
    }

    /// Takes one request out of the bucket of `source`; false where it is empty. Where nobody keeps
    /// buckets, all are full.
    #[inline(always)]
    fn charge(&self, source: Address, limit: Limit) -> bool {
        let _ = (source, limit);
        true
    }
}

/// All that turns a request into its reply.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'t> {
    /// Where the request's parts lie.
    pub datagram: Datagram,
    /// What to reply.
    pub template: &'t Template,
    /// The value of option 97 to send back; the template has room for it exactly if it is there.
    pub uuid: Option<[u8; UUID_LEN]>,
}

/// The longest BOOTP message, in bytes, that counts as plain. Real requests have up to 548.
pub const MAX_PLAIN: usize = 1024;

/// Judges the frame of a packet that [`headers::find`] has found as the fast path does: plain
/// requests are answered or refused, all that takes more than a bounded look is [`Stop::SlowPath`].
///
/// # Errors
///
/// The verdict, where it is not to answer.
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
    // First, as both may have to come from far away.
    tables.expect_charge(packet.source);
    let client = nodes.client(packet.source);
    let datagram = headers::admit(frame, packet)?;
    if datagram.bootp_len > MAX_PLAIN {
        return Err(Stop::SlowPath);
    }
    let facts = options::walk(frame, &datagram, &nodes)?;
    let answer = decide(datagram, facts, client, &nodes, tables)?;
    // Last, because it is the costly one. What fails may yet be sound: a sender on this machine
    // leaves the checksum to hardware that is not there.
    if !headers::is_udp_checksum_right(frame, &answer.datagram) {
        return Err(Stop::SlowPath);
    }
    charge(&answer, &nodes, tables)?;
    Ok(answer)
}

/// Charges the source for an answer: nothing else is charged for.
#[inline(always)]
pub(crate) fn charge<T: Tables>(
    answer: &Answer<'_>,
    nodes: &Nodes<'_, T::Lines>,
    tables: &T,
) -> Result<(), Stop> {
    let limit = nodes.limit();
    if limit.interval == 0 || tables.charge(answer.datagram.client, limit) {
        return Ok(());
    }
    Err(Stop::Limited)
}

/// The node table, where the packet is to one of this host's own addresses: what merely passes
/// through it, as a router or a bridge, is not its business.
#[inline(always)]
pub(crate) fn own<'t, T: Tables>(
    packet: &Packet,
    tables: &'t T,
) -> Result<Nodes<'t, T::Lines>, Stop> {
    let nodes = tables.nodes().and_then(Nodes::open);
    nodes
        .filter(|nodes| nodes.is_local(packet.destination))
        .ok_or(Stop::NotOurs)
}

/// Finds the reply to a request that is sound.
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
    let number = nodes.template(target.winpe(), facts.loader, uuid.is_some());
    let template = tables.template(target.bank(), number);
    Ok(Answer {
        datagram,
        template: template.ok_or(Stop::Refuse(Reason::Unknown))?,
        uuid,
    })
}

// The verifier learns a plain request's bound from the mask alone.
const _: () = assert!(22 + 28 + MAX_PLAIN + 4 <= MAX_OFFSET);
