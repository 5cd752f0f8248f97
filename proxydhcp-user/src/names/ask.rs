//! Asks the resolver for all names at once, and waits for the answers.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;

use super::forward::Names;
use super::resolver;

/// Asks for all names that should be asked for, and waits up to `limit` for the answers. A name
/// whose answer is late is still to ask for; one that the resolver denies loses its addresses.
pub(crate) async fn ask_for_all(names: &mut Names, limit: Duration) {
    let mut answers = resolver::addresses(names.asked()).boxed();
    let answered = async {
        while let Some((name, answer)) = answers.next().await {
            names.answer(&name, answer);
        }
    };
    let _ = timeout(limit, answered).await;
    names.settle();
}
