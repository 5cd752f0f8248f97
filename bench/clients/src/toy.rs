//! A responder for testing the storm itself: it knows every client's answer in advance.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use proxydhcp_lab::datagram::Datagram;
use proxydhcp_lab::packet::{FrameReceiver, FrameSender};
use proxydhcp_lab::{Namespace, RequestFrame, SERVER_INTERFACE};

use crate::Client;
use crate::numbered::NumberedFrame;
use crate::wire::{send_all, xid_of};

/// How it treats a client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toy {
    Answers,
    MissesFirst,
    Silent,
    NamesAnotherLoader,
    AnswersTwice,
}

/// Answers until it is dropped.
pub(crate) struct Responder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let outcome = self.thread.take().unwrap().join();
        assert!(outcome.is_ok() || thread::panicking(), "the toy failed");
    }
}

impl Toy {
    pub(crate) fn serve(
        namespace: &Namespace,
        clients: impl Iterator<Item = (Client, Self)>,
    ) -> Responder {
        let mut known: HashMap<Ipv4Addr, (Self, NumberedFrame)> = clients
            .map(|(client, toy)| (client.request.source, (toy, toy.reply_to(&client))))
            .collect();
        let sender = FrameSender::open(namespace, SERVER_INTERFACE).unwrap();
        let mut receiver = FrameReceiver::open(namespace, SERVER_INTERFACE, &[]).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut replies = Vec::new();
                let mut answer = |frame: &[u8]| {
                    let datagram = Datagram::parse(frame).ok()?;
                    let (toy, reply) = known.get_mut(&datagram.source)?;
                    let count = match toy {
                        Self::Silent => 0,
                        Self::MissesFirst => {
                            *toy = Self::Answers;
                            0
                        }
                        Self::Answers | Self::NamesAnotherLoader => 1,
                        Self::AnswersTwice => 2,
                    };
                    for _ in 0..count {
                        let mut frame_out = Vec::new();
                        reply.write(xid_of(frame)?, &mut frame_out);
                        replies.push(frame_out);
                    }
                    Some(())
                };
                let wait = Duration::from_millis(10);
                receiver
                    .receive(wait, |arrival| answer(arrival.frame).unwrap_or_default())
                    .unwrap();
                send_all(&sender, &replies).unwrap();
            }
        });
        Responder {
            stop,
            thread: Some(thread),
        }
    }

    fn reply_to(self, client: &Client) -> NumberedFrame {
        let (request, expected) = (&client.request, client.expected.as_ref().unwrap());
        let mut reply = RequestFrame {
            destination_mac: request.source_mac,
            source_mac: request.destination_mac,
            source: request.destination,
            destination: request.source,
            source_port: 4011,
            destination_port: request.source_port,
            op: 2,
            flags: 0,
            siaddr: expected.siaddr,
            minimum_length: 300,
            ..request.clone()
        };
        let loader = match self {
            Self::NamesAnotherLoader => "Boot/wdsnbp.com",
            _ => &expected.loader,
        };
        reply.file[..loader.len()].copy_from_slice(loader.as_bytes());
        reply.options = vec![
            (53, vec![5]),
            (54, request.destination.octets().to_vec()),
            (60, b"PXEClient".to_vec()),
            (97, request.option(97).unwrap().to_vec()),
            (252, format!("{}\0", expected.bcd).into_bytes()),
        ];
        NumberedFrame::new(&reply).unwrap()
    }
}
