//! Words that kernel and daemon share: each is read and written as a whole.

use core::sync::atomic::AtomicU64;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::Ordering;

/// Loads a whole word at once.
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn load(word: &AtomicU64) -> u64 {
    word.load(Ordering::Relaxed)
}

/// Stores a whole word at once.
#[cfg(not(target_arch = "bpf"))]
pub(crate) fn store(word: &AtomicU64, to: u64) {
    word.store(to, Ordering::Relaxed);
}

/// Loads a whole word at once, in the kernel, where LLVM has no relaxed loads and stores for BPF.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn load(word: &AtomicU64) -> u64 {
    // SAFETY: the word exists and is aligned. BPF loads 64 bits by one instruction, so another
    // CPU's store cannot come in between.
    unsafe { word.as_ptr().read_volatile() }
}

/// Stores a whole word at once.
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub(crate) fn store(word: &AtomicU64, to: u64) {
    // SAFETY: the word exists and is aligned, and BPF stores 64 bits by one instruction.
    unsafe { word.as_ptr().write_volatile(to) };
}

/// The lower half.
#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
#[inline(always)]
pub(crate) const fn low(word: u64) -> u32 {
    word as u32
}

/// The upper half.
#[inline(always)]
pub(crate) const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}
