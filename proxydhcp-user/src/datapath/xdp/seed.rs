//! The seed of the program's buckets, which is kept beside them: the line of `LIMITS` after the last
//! one with buckets begins with it. So a successor that adopts the buckets finds them by the same
//! seed.

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};
use proxydhcp_common::limit::LINES;
use proxydhcp_common::source::Seed;

use super::pins::Pins;

/// The map, read by numbers.
type Lines<M> = Array<M, [u64; 8]>;

/// The seed of the buckets that are pinned. A daemon that was killed before it had left one has not
/// charged any of them either.
pub(super) fn adopted(pins: Option<&Pins>) -> Option<Seed> {
    let map = MapData::from_pin(pins?.folder().join("LIMITS")).ok()?;
    let lines: Lines<_> = Array::try_from(Map::Array(map)).ok()?;
    let [a, b, c, d, ..] = lines.get(&LINES, 0).ok()?;
    let seed = Seed([a, b, c, d]);
    (seed != Seed([0; 4])).then_some(seed)
}

/// Leaves the seed for a successor.
pub(super) fn leave(limits: &mut Map, Seed([a, b, c, d]): Seed) -> Result<()> {
    let mut lines: Lines<_> = Array::try_from(limits)?;
    lines
        .set(LINES, [a, b, c, d, 0, 0, 0, 0], 0)
        .context("cannot leave the seed of the buckets")
}
