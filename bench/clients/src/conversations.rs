//! Conversations: clients that ask for an offer, all at the same instant, and then on port 4011, without a
//! second try.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use proxydhcp_lab::datagram::Datagram;
use proxydhcp_lab::packet::{BATCH, FrameReceiver, FrameSender};
use proxydhcp_lab::{Expected, Namespace, RequestFrame, check_offer, check_reply};

use crate::wire::{ensure_none_lost, now, send_all, xid_of};

/// The wait for one more packet after which all others are lost.
const PATIENCE: Duration = Duration::from_secs(5);
const TURN: Duration = Duration::from_millis(20);
const OFFER_PORT: u16 = 67;
const REPLY_PORT: u16 = 4011;

/// A client.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// Its DISCOVER. The xid must be unique among the clients.
    pub discover: RequestFrame,
    /// What it sends once it has an offer: with the same xid, and with whatever lease it then has.
    pub request: RequestFrame,
    /// The answer that it must get. If `None`, any offer and any answer with its xid are right.
    pub expected: Option<Expected>,
}

/// What became of one client.
#[derive(Clone, Debug, Default)]
pub struct Conversed {
    /// From its DISCOVER to the offer.
    pub offered: Option<Duration>,
    /// From its request to the answer.
    pub answered: Option<Duration>,
    /// The first fault of either.
    pub fault: Option<String>,
}

/// What became of all.
#[derive(Clone, Debug, Default)]
pub struct ConversationReport {
    /// In the order of the clients.
    pub clients: Vec<Conversed>,
    /// The number of offers and answers to clients that had one already.
    pub duplicates: usize,
    /// From the first DISCOVER until the last answer had come.
    pub took: Duration,
}

impl ConversationReport {
    /// The number of clients without an offer or without an answer.
    pub fn lost(&self) -> usize {
        let lacks = |it: &&Conversed| it.offered.is_none() || it.answered.is_none();
        self.clients.iter().filter(lacks).count()
    }

    /// The first fault, for a failure message.
    pub fn fault(&self) -> Option<&str> {
        self.clients.iter().find_map(|it| it.fault.as_deref())
    }
}

/// Has all clients talk to the server from `interface` in `namespace`: the DISCOVERs go out one after
/// another without a pause, and each request as soon as its offer is read. `go_on` is given the number of
/// answers so far, and may break it off.
///
/// # Errors
/// If it is broken off, a socket fails, or the receiving socket itself lost frames.
pub fn converse(
    namespace: &Namespace,
    interface: &str,
    conversations: &[Conversation],
    go_on: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<ConversationReport> {
    let by_xid = conversations
        .iter()
        .zip(0..)
        .map(|(it, index)| (it.discover.xid, index));
    let mut talk = Talk {
        sender: FrameSender::open(namespace, interface)?,
        conversations,
        by_xid: by_xid.collect(),
        discovers: conversations.iter().map(|it| it.discover.bytes()).collect(),
        requests: conversations.iter().map(|it| it.request.bytes()).collect(),
        sent: vec![Sent::default(); conversations.len()],
        report: ConversationReport {
            clients: vec![Conversed::default(); conversations.len()],
            ..ConversationReport::default()
        },
    };
    ensure!(
        talk.by_xid.len() == conversations.len(),
        "two clients have the same xid"
    );
    // Nothing else is on the wire.
    let mut receiver = FrameReceiver::open(namespace, interface, &[])?;
    let started = Instant::now();
    talk.discover()?;
    let mut heard = Instant::now();
    let mut answered = 0;
    while answered < conversations.len() && heard.elapsed() < PATIENCE {
        let mut offered = Vec::new();
        let received = receiver.receive(TURN, |arrival| {
            if let Some(index) = talk.take(arrival.frame, arrival.time) {
                offered.push(index);
            }
        })?;
        talk.request(&offered)?;
        if received > 0 {
            heard = Instant::now();
        }
        answered = talk
            .report
            .clients
            .iter()
            .filter(|it| it.answered.is_some())
            .count();
        if go_on(answered).is_break() {
            bail!("the conversations were broken off");
        }
    }
    ensure_none_lost(&mut receiver)?;
    talk.report.took = started.elapsed();
    Ok(talk.report)
}

/// When a client has sent what, since the epoch.
#[derive(Clone, Debug, Default)]
struct Sent {
    discover: Duration,
    request: Duration,
}

struct Talk<'a> {
    sender: FrameSender,
    conversations: &'a [Conversation],
    by_xid: HashMap<u32, usize>,
    discovers: Vec<Vec<u8>>,
    requests: Vec<Vec<u8>>,
    sent: Vec<Sent>,
    report: ConversationReport,
}

impl Talk<'_> {
    fn discover(&mut self) -> Result<()> {
        for (frames, sent) in self
            .discovers
            .chunks(BATCH)
            .zip(self.sent.chunks_mut(BATCH))
        {
            let now = now();
            for it in sent {
                it.discover = now;
            }
            send_all(&self.sender, frames)?;
        }
        Ok(())
    }

    fn request(&mut self, clients: &[usize]) -> Result<()> {
        let now = now();
        let mut frames = Vec::with_capacity(clients.len());
        for index in clients {
            if let (Some(frame), Some(sent)) =
                (self.requests.get(*index), self.sent.get_mut(*index))
            {
                sent.request = now;
                frames.push(frame);
            }
        }
        send_all(&self.sender, &frames)
    }

    /// Takes a frame. Returns whose offer it was.
    fn take(&mut self, frame: &[u8], time: Duration) -> Option<usize> {
        let port = Datagram::parse(frame).ok()?.source_port;
        let index = *self.by_xid.get(&xid_of(frame)?)?;
        let client = self.report.clients.get_mut(index)?;
        let (sent, expected) = (
            self.sent.get(index)?,
            self.conversations.get(index)?.expected.as_ref(),
        );
        let (place, since) = match port {
            OFFER_PORT => (&mut client.offered, sent.discover),
            REPLY_PORT => (&mut client.answered, sent.request),
            _ => return None,
        };
        if place.is_some() {
            self.report.duplicates += 1;
            return None;
        }
        *place = Some(time.saturating_sub(since));
        let is_offer = port == OFFER_PORT;
        let checked = match expected {
            None => Ok(()),
            Some(_) if is_offer => check_offer(self.discovers.get(index)?, frame),
            Some(expected) => check_reply(self.requests.get(index)?, frame, expected),
        };
        if let Err(fault) = checked {
            client
                .fault
                .get_or_insert(format!("client {index}: {fault:#}"));
        }
        is_offer.then_some(index)
    }
}
