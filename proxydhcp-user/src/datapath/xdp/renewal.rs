//! Puts the deadline of the XDP program off for as long as this process lives.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::deadline::Deadline;
use crate::sys::privileges;

/// Renews deadlines by a thread that waits for nothing but time. Dropping it ends the thread, and
/// the deadlines stay as they are.
#[derive(Debug)]
pub struct Renewal {
    /// How long a program goes on answering without this process; `None`: for ever.
    outlive: Option<Duration>,
    /// The thread, if there is anything to renew.
    thread: Option<Sender<Deadline>>,
}

impl Renewal {
    /// Begins to renew, of no program yet.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub fn start(outlive: Option<Duration>) -> Result<Self> {
        let thread = outlive.map(|outlive| {
            let (sender, deadlines) = channel();
            let renew = move || {
                privileges::give_up();
                renew(&deadlines, outlive);
            };
            let thread = thread::Builder::new().name("outlive".to_owned());
            let thread = thread.spawn(renew);
            thread.context("cannot start the thread that keeps the kernel answering")?;
            anyhow::Ok(sender)
        });
        Ok(Self {
            outlive,
            thread: thread.transpose()?,
        })
    }

    /// Renews this program's deadline, now and from now on.
    pub(crate) fn renew(&self, deadline: Deadline) {
        deadline.set(self.outlive);
        if let Some(thread) = &self.thread {
            // The thread ends after this.
            let _ = thread.send(deadline);
        }
    }
}

fn renew(new: &Receiver<Deadline>, outlive: Duration) {
    let mut deadlines = Vec::new();
    loop {
        match new.recv_timeout(outlive / 3) {
            Ok(deadline) => deadlines.push(deadline),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        for deadline in &deadlines {
            deadline.set(Some(outlive));
        }
    }
}
