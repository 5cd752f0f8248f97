//! Logs which files each node is sent to.

use tracing::info;

use crate::tables::table::{Table, news};
use crate::winpe::loaders::Loaders;

/// Logs the loaders and the BCDs of each node that is new in `new`, or served differently than by
/// `old`, in the words of xCAT's daemon. That daemon logs them at each request. Here the kernel
/// answers, and it is not known beforehand which of its loaders a node will ask for.
pub(super) fn announce(old: &Table, new: &Table, loaders: &Loaders) {
    for (name, winpe) in news(old, new) {
        for loader in loaders.paths() {
            let loader = winpe.loader(loader);
            info!("The boot loader path for node {name} is {loader}");
        }
        for bcd in winpe.bcds(loaders) {
            info!("The BCD path for node {name} is {bcd}");
        }
    }
}
