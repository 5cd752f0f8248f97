//! The XDP program: answers plain requests of known nodes in place, drops and counts what must not
//! be answered, and lets everything else pass untouched.
//!
//! What a request is and what the reply says is decided by `proxydhcp-common`; this program lends
//! it the packet ([`packet`]) and the tables ([`maps`]), and turns the verdict into an XDP action.
#![no_std]
#![no_main]
#![allow(missing_docs, unreachable_pub, reason = "of what the xdp macro makes")]
// The one assembly instruction of packet::bound.
#![feature(asm_experimental_arch)]

mod maps;
mod packet;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::error;
use proxydhcp_common::counters::{ANSWERED, HANDED_UP, refused};
use proxydhcp_common::judge::{Reason, Stop, judge};
use proxydhcp_common::reply::{self, Fault};

use crate::maps::{Maps, count};
use crate::packet::Packet;

/// Attached to each interface that the `kernel` datapath serves.
#[xdp]
pub fn proxydhcp(ctx: XdpContext) -> u32 {
    let mut packet = Packet::new(&ctx);
    match judge(&packet, &Maps) {
        Ok(answer) => match reply::write(&mut packet, &answer) {
            Ok(()) => act(ANSWERED, XDP_TX),
            // It is still the request that came.
            Err(Fault::NoRoom) => act(HANDED_UP, XDP_PASS),
            // Unreachable; a spoilt frame must not reach anybody.
            Err(Fault::Spoilt) => {
                error!(&ctx, "a reply did not fit the frame that was made for it");
                act(refused(Reason::Length), XDP_DROP)
            }
        },
        Err(Stop::NotOurs) => XDP_PASS,
        Err(Stop::Unusual) => act(HANDED_UP, XDP_PASS),
        Err(Stop::Refuse(reason)) => act(refused(reason), XDP_DROP),
    }
}

#[inline(always)]
fn act(counter: usize, action: u32) -> u32 {
    count(counter);
    action
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // The verifier rejects a program that could come here.
    loop {}
}

/// Helpers such as adjust_tail are reserved to programs under the GPL by none of their calls here,
/// but tracing of this one should be open to all tools.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
