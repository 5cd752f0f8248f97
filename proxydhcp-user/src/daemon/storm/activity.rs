//! What nodes have done, as viewers are told it.

use crate::api::activity::NodeActivity;
use crate::api::status::Status;
use crate::api::storm::Row;
use crate::daemon::service::Service;

/// The status, and then the nodes and the time: if files are put into service in between, the number of the tables is
/// the older one, and what is wrong is right at the next look.
pub(super) fn of(service: &Service) -> (Status<()>, Vec<NodeActivity>, f64) {
    let status = service.status(|_, _, _| ());
    let view = service.activity();
    (status, view.nodes().collect(), view.now())
}

/// What viewers are told about a node. Its conversation lasts from the first request of its last boot to
/// the last one, or its answer.
pub(super) fn row(node: &NodeActivity) -> Row {
    let first = milliseconds(node.boot);
    let last = milliseconds(node.last).max(milliseconds(node.answered));
    let bytes = node.transfer.as_ref().map_or(0, |transfer| transfer.bytes);
    Row {
        state: node.state,
        arch: node.arch.unwrap_or(0),
        requests: node.requests,
        first,
        last: last.max(first),
        kib: u32::try_from(bytes / 1024).unwrap_or(u32::MAX),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times since 1970 in milliseconds fill a third of the bits"
)]
pub(super) fn milliseconds(seconds: Option<f64>) -> u64 {
    (seconds.unwrap_or(0.0) * 1e3) as u64
}
