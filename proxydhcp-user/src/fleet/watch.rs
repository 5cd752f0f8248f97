//! What happens to keys, as etcd tells it: a line for each answer.

use crate::fleet::transport::{Lines, TransportError};
use crate::fleet::wire::{Line, WatchResponse};

/// A watch over a range.
pub struct Watch {
    lines: Lines,
}

impl Watch {
    pub(super) fn of(lines: Lines) -> Self {
        Self { lines }
    }

    /// Waits for what happens next, for as long as it takes. Dropping the future loses nothing.
    ///
    /// # Errors
    /// If the watch has ended.
    pub async fn next(&mut self) -> Result<WatchResponse, TransportError> {
        let line = self.lines.next().await?;
        response(&line)
    }
}

/// What a line of a watch says.
///
/// # Errors
/// If it is none, or says that the watch has failed.
pub fn response(line: &[u8]) -> Result<WatchResponse, TransportError> {
    let malformed = |why: String| TransportError::Malformed {
        member: "etcd".to_owned(),
        why,
    };
    let line: Line<WatchResponse> =
        serde_json::from_slice(line).map_err(|error| malformed(error.to_string()))?;
    match (line.result, line.error) {
        (Some(response), None) => Ok(response),
        (_, Some(failure)) => Err(TransportError::Refused(failure)),
        (None, None) => Err(malformed("an empty line".to_owned())),
    }
}
