//! Asks the resolver for all names at once, where their answers are waited for together.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;

use super::forward::Names;
use super::resolver;

/// Asks for all names that are to be asked for, and waits for the answers up to `limit`. A name whose
/// answer is late is still to be asked for; one that the resolver denies has no address any more.
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
