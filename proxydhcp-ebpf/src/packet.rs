//! The packet under XDP, as the protocol core sees a frame. All `unsafe` access to it is here.
//!
//! Safety: between `start` and `end` lies the packet's memory, and nobody else touches it while
//! the program runs. Each access compares its own end with `end` first, in the form that the
//! verifier recognizes; it rejects the program otherwise. `resize` is the only call that moves the
//! packet, and takes both anew.

use core::arch::asm;
use core::hint::assert_unchecked;
use core::slice;

use aya_ebpf::helpers::generated::bpf_xdp_adjust_tail;
use aya_ebpf::programs::XdpContext;
use proxydhcp_common::checksum::Sum;
use proxydhcp_common::frame::{Frame, MAX_OFFSET, NoRoom};

/// In memory that userspace could change, as far as the verifier knows.
static mut ZERO: usize = 0;

/// The packet of one run of the program.
pub(crate) struct Packet<'c> {
    ctx: &'c XdpContext,
    start: usize,
    end: usize,
    /// Zero, which the verifier takes for any number.
    zero: usize,
}

impl<'c> Packet<'c> {
    /// The packet that the program was called for.
    #[inline(always)]
    pub(crate) fn new(ctx: &'c XdpContext) -> Self {
        Self {
            ctx,
            start: ctx.data(),
            end: ctx.data_end(),
            // SAFETY: nobody writes to it.
            zero: unsafe { core::ptr::read_volatile(&raw const ZERO) },
        }
    }

    /// Where the `len` bytes at `offset` lie, if the packet has them.
    #[inline(always)]
    fn pointer(&self, offset: usize, len: usize) -> Option<usize> {
        let at = self.start + offset;
        // SAFETY: no packet lies at address 0. Told so, LLVM need not make sure each time.
        unsafe { assert_unchecked(at != 0) };
        (at + len <= self.end).then_some(at)
    }
}

impl Frame for Packet<'_> {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn bytes(&self, offset: usize, len: usize) -> Option<&[u8]> {
        let at = self.pointer(offset, len)?;
        // SAFETY: see the module.
        Some(unsafe { slice::from_raw_parts(at as *const u8, len) })
    }

    #[inline(always)]
    fn bytes_mut(&mut self, offset: usize, len: usize) -> Option<&mut [u8]> {
        let at = self.pointer(offset, len)?;
        // SAFETY: see the module.
        Some(unsafe { slice::from_raw_parts_mut(at as *mut u8, len) })
    }

    /// Makes the verifier forget all it knows of the offset but its bound. Without it, each way
    /// through the options leads to a state of its own, a million of them; with it, they all look
    /// alike and are looked at once.
    ///
    /// LLVM must not see it: it knows that nothing changes here, and would leave it out.
    #[inline(always)]
    fn bound(&self, mut offset: usize) -> usize {
        // SAFETY: two instructions on one register.
        unsafe {
            asm!(
                "{0} += {1}",
                "{0} &= {2}",
                inout(reg) offset,
                in(reg) self.zero,
                const MAX_OFFSET,
                options(nomem, nostack)
            );
        }
        offset
    }

    #[inline(always)]
    fn add_block<const N: usize>(&self, mut sum: Sum, offset: usize) -> Option<Sum> {
        for four in self.at::<N>(offset)?.as_chunks::<4>().0 {
            sum = settled(sum, *four);
        }
        Some(sum)
    }

    #[inline(always)]
    fn add(&self, mut sum: Sum, offset: usize, len: usize) -> Option<Sum> {
        const BLOCK: usize = 32;
        const WORD: usize = 8;
        let run = Self {
            end: hidden(self.end),
            ..*self
        };
        let mut at = offset;
        let mut left = self.bound(len);
        while left >= BLOCK {
            sum = sum.block(run.at::<BLOCK>(at)?);
            at += BLOCK;
            left = less::<BLOCK>(left);
        }
        let mut at = self.bound(offset + len / BLOCK * BLOCK);
        while left >= WORD {
            sum = sum.block(run.at::<WORD>(at)?);
            at += WORD;
            left = less::<WORD>(left);
        }
        // The bytes that are left, less than a word, are the last of the word that ends with them.
        let word = u64::from_le_bytes(*run.at(self.bound(offset + len - WORD))?);
        let rest = word >> 1 >> (63 - len % WORD * 8);
        Some(sum.rest(rest))
    }

    #[inline(always)]
    fn resize(&mut self, len: usize) -> Result<(), NoRoom> {
        let change = len as i32 - self.len() as i32;
        // SAFETY: the context is the one the program was called with.
        let failed = unsafe { bpf_xdp_adjust_tail(self.ctx.ctx, change) };
        if failed != 0 {
            return Err(NoRoom);
        }
        self.start = self.ctx.data();
        self.end = self.ctx.data_end();
        Ok(())
    }
}

/// The same value, which LLVM takes for any: it would leave out the comparisons with the packet's
/// end that follow from earlier ones, in ways that the verifier cannot follow.
///
/// It takes an instruction: of one that is none, the object may tell the source line twice for the
/// same place, and then the kernel refuses it.
#[inline(always)]
pub(crate) fn hidden(value: usize) -> usize {
    let same;
    // SAFETY: it copies a register.
    unsafe {
        asm!("{0} = {1}", lateout(reg) same, in(reg) value, options(pure, nomem, nostack));
    }
    same
}

/// What is left of `left`, of which there is so much.
///
/// LLVM must not know: it would work out how often a loop turns and wait for that very number. The
/// verifiers of Linux 5.10 to 6.2 learn nothing from two numbers that differ, and turn on past the
/// packet's end; one that is less than a constant, they understand.
#[inline(always)]
fn less<const BY: usize>(mut left: usize) -> usize {
    // SAFETY: one instruction on one register.
    unsafe {
        asm!("{0} -= {1}", inout(reg) left, const BY, options(pure, nomem, nostack));
    }
    left
}

/// `sum` with a word added, there and then: LLVM would put it off, and fill the stack with all that
/// is still to be added.
#[inline(always)]
fn settled(mut sum: Sum, word: [u8; 4]) -> Sum {
    // SAFETY: one instruction, on two registers.
    unsafe {
        asm!(
            "{0} += {1}",
            inout(reg) sum.0,
            in(reg) u64::from(u32::from_ne_bytes(word)),
            options(nostack)
        );
    }
    sum
}
