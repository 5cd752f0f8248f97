//! What holds for any line on the control socket.

use std::sync::Arc;

use proxydhcp::api::control::{Reply, Request};
use proxydhcp::api::status::Took;

/// Reads a line as the daemon reads its requests, and as the commands read its replies.
///
/// # Panics
/// Where what was read is not what is written.
pub(crate) fn control(data: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(data) {
        let written = serde_json::to_string(&request).expect("a request can be written");
        assert!(!written.contains('\n'));
        let again: Request = serde_json::from_str(&written).expect("it is a request");
        assert_eq!(format!("{request:?}"), format!("{again:?}"));
    }
    // What is not UTF-8 is no line.
    let Ok(line) = str::from_utf8(data) else {
        return;
    };
    if let Ok(mut reply) = serde_json::from_str::<Reply>(line) {
        show(&reply);
        without_times(&mut reply);
        let written = serde_json::to_string(&reply).expect("a reply can be written");
        assert!(!written.contains('\n'));
        let again: Reply = serde_json::from_str(&written).expect("it is a reply");
        assert_eq!(format!("{reply:?}"), format!("{again:?}"));
    }
}

/// The last digit of a time may be another when it is read again.
fn without_times(reply: &mut Reply) {
    match reply {
        Reply::Reloaded(reloaded) => {
            Arc::make_mut(reloaded).took = Took {
                total: 0.0,
                read: 0.0,
                resolve: 0.0,
                fill: 0.0,
                swap: 0.0,
            };
        }
        Reply::Status(status) => (status.uptime, status.reloading) = (0.0, None),
        Reply::Brief(status) => (status.uptime, status.reloading) = (0.0, None),
        Reply::Nodes(page) => {
            page.now = 0.0;
            for node in &mut page.nodes {
                (node.first, node.boot, node.last, node.answered) = (None, None, None, None);
            }
        }
        Reply::Strangers(page) => {
            for stranger in &mut page.strangers {
                (stranger.first, stranger.last) = (0.0, 0.0);
            }
        }
        Reply::Events(page) => {
            page.daemon = 0.0;
            page.events.clear();
        }
        Reply::Rejected(_) | Reply::Looked(_) | Reply::Users(_) | Reply::Storm(_) => {}
    }
}

/// What people are told of it.
fn show(reply: &Reply) {
    match reply {
        Reply::Reloaded(reloaded) => drop(reloaded.to_string()),
        Reply::Rejected(_)
        | Reply::Nodes(_)
        | Reply::Strangers(_)
        | Reply::Events(_)
        | Reply::Storm(_) => {}
        Reply::Status(status) => assert!(status.to_string().ends_with('\n')),
        Reply::Brief(status) => assert!(status.to_string().ends_with('\n')),
        Reply::Users(users) => drop(users.to_string()),
        Reply::Looked(looked) => {
            for looked in looked {
                let told = looked.to_string();
                let (_, verdict) = told.rsplit_once("=> ").expect("there is a verdict");
                assert!(verdict.contains("answered"));
            }
        }
    }
}
