//! Fast path and slow path in one call, for callers that support both.

use crate::activity::Outcome;
use crate::frame::Slice;
use crate::headers::Packet;
use crate::judge::{Answer, Asker, Tables, judge};
use crate::verdict::{Reason, Stop};
use crate::{reply, slow_path};

/// The verdict on a frame that does not fit into its buffer, or whose reply does not.
pub const NO_ROOM: Stop = Stop::Refuse(Reason::Length);

/// Turns the frame of a packet that [`crate::headers::find`] has found into its own reply. The
/// frame came in by the interface with the address `mac`; for `vouched` see [`slow_path::judge`].
///
/// # Errors
///
/// The verdict, if the frame is not answered.
pub fn reply(
    frame: &mut Slice<'_>,
    packet: &Packet,
    tables: &impl Tables,
    mac: [u8; 6],
    vouched: bool,
) -> Result<(), Stop> {
    match judge(frame, packet, tables) {
        Ok(answer) => {
            reply::write(frame, &answer).map_err(|_| NO_ROOM)?;
            note(&answer, packet, tables);
        }
        Err(Stop::SlowPath) => {
            let answer = slow_path::judge(frame, packet, tables, mac, vouched)?;
            slow_path::write(frame, &answer).map_err(|_| NO_ROOM)?;
            note(answer.plain(), packet, tables);
        }
        Err(stop) => return Err(stop),
    }
    Ok(())
}

/// Notes that a node was answered.
#[inline(always)]
pub fn note(answer: &Answer<'_>, packet: &Packet, tables: &impl Tables) {
    let asker = Asker {
        address: packet.source,
        mac: [0; 6],
        node: answer.node,
    };
    tables.note(asker, Outcome::Answered, Some(answer.architecture));
}
