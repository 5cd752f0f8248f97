//! The XDP programs: one answers plain requests of known nodes in place, one gives them to a
//! socket. Both drop and count what must not be answered, and let everything else pass untouched.
//!
//! What a request is and what the reply says is decided by `proxydhcp-common`; these programs lend
//! it the packet ([`packet`]) and the tables ([`maps`]), and turn the verdict into an XDP action.
#![no_std]
#![no_main]
#![allow(missing_docs, unreachable_pub, reason = "of what the xdp macro makes")]
// The assembly of packet.rs.
#![feature(asm_experimental_arch)]

mod maps;
mod packet;
mod table;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::error;
use proxydhcp_common::answer::note;
use proxydhcp_common::counters::{
    ANSWERED, EXPIRED, HANDED_UP, LIMITED, PASSED, RECEIVED, refused,
};
use proxydhcp_common::headers;
use proxydhcp_common::judge::judge;
use proxydhcp_common::reply::{self, Fault};
use proxydhcp_common::verdict::{Reason, Stop};

use crate::maps::{Maps, Tally};
use crate::packet::{Packet, hidden};

/// Attached to the interfaces that the `kernel` datapath serves: answers.
#[xdp]
pub fn answer(ctx: XdpContext) -> u32 {
    let mut packet = Packet::new(&ctx);
    let Some((found, maps, tally)) = receive(&ctx, &packet) else {
        return XDP_PASS;
    };
    match judge(&packet, &found, &maps) {
        Ok(answer) => match reply::write(&mut packet, &answer) {
            Ok(()) => {
                note(&answer, &found, &maps);
                tally.act(ANSWERED, XDP_TX)
            }
            // It is still the request that came.
            Err(Fault::NoRoom) => tally.act(HANDED_UP, XDP_PASS),
            // Unreachable; a spoilt frame must not reach anybody.
            Err(Fault::Spoilt) => {
                error!(&ctx, "a reply did not fit the frame that was made for it");
                tally.act(refused(Reason::Length), XDP_DROP)
            }
        },
        Err(stop) => refrain(stop, &tally),
    }
}

/// Attached to the interfaces that the `af-xdp` datapath serves: gives what it would have answered
/// to the socket of the queue it came by, or lets it pass where there is none.
#[xdp]
pub fn redirect(ctx: XdpContext) -> u32 {
    let packet = Packet::new(&ctx);
    let Some((found, maps, tally)) = receive(&ctx, &packet) else {
        return XDP_PASS;
    };
    match judge(&packet, &found, &maps) {
        Ok(_) => tally.act(HANDED_UP, tally.to_socket(ctx.rx_queue_index())),
        Err(stop) => refrain(stop, &tally),
    }
}

/// Counts a packet to port 4011; everything else is `None`, and so is a packet that comes too long
/// after the last sign of life from a daemon: whoever has taken the port answers it.
#[inline(always)]
fn receive(ctx: &XdpContext, packet: &Packet) -> Option<(headers::Packet, Maps, Tally)> {
    let found = headers::find(packet)?;
    // It has its place before the program is attached to it.
    let tally = Tally::of(ctx.ingress_ifindex() as u32)?;
    tally.add(RECEIVED);
    let Some(maps) = Maps::in_time(&tally) else {
        tally.add(EXPIRED);
        return None;
    };
    Some((found, maps, tally))
}

#[inline(always)]
fn refrain(stop: Stop, tally: &Tally) -> u32 {
    match stop {
        Stop::NotOurs => tally.act(PASSED, XDP_PASS),
        Stop::SlowPath => tally.act(HANDED_UP, XDP_PASS),
        // Others may have to see it.
        Stop::Refuse(Reason::Broadcast) => tally.act(refused(Reason::Broadcast), XDP_PASS),
        // Compared and used in one register: the verifiers of Linux 5.10 to 6.2 forget what they have
        // learnt of a number when it is read from the stack again.
        Stop::Refuse(reason) => tally.act(hidden(refused(reason)), XDP_DROP),
        Stop::Limited => tally.act(LIMITED, XDP_DROP),
    }
}

impl Tally {
    /// Counts what becomes of the packet, and has it become so.
    #[inline(always)]
    fn act(&self, counter: usize, action: u32) -> u32 {
        self.add(counter);
        action
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects a program that could come here.
    loop {}
}

/// The licence of this project, by the name that the kernel knows: some helpers are reserved to
/// programs under the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
