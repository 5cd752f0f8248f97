//! What became of the requests: it is counted and logged.

use std::fmt::Arguments;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proxydhcp_common::activity::TransferState;
use tracing::{debug, info};

use super::few::Few;
use super::sent::SentFiles;
use super::transfer::{End, SLOWEST};
use super::transfers::{Place, Shown};

/// Counts and logs.
#[derive(Debug)]
pub(super) struct Outcomes {
    pub(super) counts: Counts,
    sent: SentFiles,
    /// About single requests.
    few: Few,
    /// About too many of them.
    crowded: Few,
}

/// How many had each outcome; see [`crate::api::status::TftpStatus`].
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) complete: AtomicU64,
    pub(super) declined: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) unbegun: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) turned_away: AtomicU64,
    pub(super) displaced: AtomicU64,
    pub(super) bytes: AtomicU64,
}

impl Outcomes {
    pub(super) fn new() -> Self {
        Self {
            counts: Counts::default(),
            sent: SentFiles::default(),
            few: Few::new(10, Duration::from_secs(1)),
            crowded: Few::new(1, Duration::from_secs(10)),
        }
    }

    /// A transfer has ended. Returns what has become of it, if it had begun.
    pub(super) fn ended(
        &self,
        file: &str,
        size: u64,
        place: &Place,
        end: End,
    ) -> Option<TransferState> {
        let progress = &place.progress;
        let (client, bytes) = (place.client().ip().to_owned(), progress.bytes());
        let counts = &self.counts;
        add(&counts.bytes, bytes);
        let seconds = progress.since().elapsed().as_secs_f64();
        let repeated = progress.repeated();
        match end {
            End::Complete => {
                add(&counts.complete, 1);
                if self.sent.is_logged(client, bytes) {
                    info!(%client, bytes, seconds, repeated, "sent {file}");
                }
                Some(TransferState::Complete)
            }
            End::Silent | End::Declined if !progress.has_begun() => {
                // Clients that want to know only the length of a file end it so, and so do forged
                // requests.
                add(&counts.unbegun, 1);
                debug!(%client, "{file} was not fetched: {end:?}");
                None
            }
            End::Declined if bytes == 0 => {
                add(&counts.declined, 1);
                None
            }
            end => {
                add(&counts.failed, 1);
                let why = match end {
                    End::Failed(error) => error.to_string(),
                    End::Declined => "the client has given up".to_owned(),
                    _ => "the client no longer answers".to_owned(),
                };
                self.few.warn(format_args!(
                    "{file} was not sent to {client}: {why}, after {bytes} of {size} bytes, \
                     {repeated} blocks repeated"
                ));
                Some(TransferState::Failed)
            }
        }
    }

    /// A request is refused.
    pub(super) fn refused(&self, why: Arguments<'_>) {
        add(&self.counts.refused, 1);
        self.few.warn(format_args!("TFTP: {why}"));
    }

    /// A request gets no answer, as too many are being served.
    pub(super) fn turned_away(&self, client: SocketAddrV4) {
        add(&self.counts.turned_away, 1);
        self.crowded.warn(format_args!(
            "a TFTP request by {client} was turned away, because too many others are being served"
        ));
    }

    /// A transfer has had to yield to another.
    pub(super) fn displaced(&self, transfer: &Shown) {
        let Shown {
            client,
            file,
            size,
            progress,
        } = transfer;
        add(&self.counts.displaced, 1);
        let bytes = progress.bytes();
        add(&self.counts.bytes, bytes);
        if progress.has_begun() {
            let seconds = progress.since().elapsed().as_secs();
            self.few.warn(format_args!(
                "{file} was not sent to {client}: it was slower than {} KiB a second, and the client has \
                 had to give its place to another, after {bytes} of {size} bytes in {seconds} seconds",
                SLOWEST / 1024
            ));
        } else {
            self.crowded.warn(format_args!(
                "a TFTP request by {client}, which has not answered, has had to give its place to \
                 another: are requests forged?"
            ));
        }
    }
}

fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}
