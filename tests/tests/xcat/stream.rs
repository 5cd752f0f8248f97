//! A node that asks a thousand times a second, by turns from each of its addresses so as not to be
//! limited, and keeps account of each request.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use proxydhcp_lab::architecture::UEFI_X64;
use proxydhcp_lab::datagram::Datagram;
use proxydhcp_lab::packet::{FrameReceiver, FrameSender};
use proxydhcp_lab::{CLIENT_INTERFACE, Lab, RequestFrame, udp_from_port};

const PAUSE: Duration = Duration::from_millis(1);
/// How long after the last request answers may come.
const PATIENCE: Duration = Duration::from_secs(1);
const XID: std::ops::Range<usize> = 4..8;
const FILE: std::ops::Range<usize> = 108..236;

/// A request, and the loader that it was answered with.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Just before it went out.
    pub(crate) before: Instant,
    /// Just after it had gone.
    pub(crate) after: Instant,
    pub(crate) loader: Option<String>,
}

#[derive(Default)]
struct Account {
    asked: Mutex<Vec<Asked>>,
    over: AtomicBool,
    latest: Mutex<String>,
}

/// The stream. It ends with [`Stream::finish`].
pub(crate) struct Stream {
    account: Arc<Account>,
    threads: [JoinHandle<Result<()>>; 2],
}

impl Stream {
    /// Asks for the node with these addresses over and over, each time with another number for its
    /// xid.
    pub(crate) fn start(lab: &Lab, addresses: Vec<Ipv4Addr>) -> Result<Self> {
        let account = Arc::new(Account::default());
        let sender = FrameSender::open(&lab.client, CLIENT_INTERFACE)?;
        let receiver =
            FrameReceiver::open(&lab.client, CLIENT_INTERFACE, &udp_from_port(4011, None))?;
        let [asking, hearing] = [&account, &account].map(Arc::clone);
        Ok(Self {
            account,
            threads: [
                thread::spawn(move || ask(&asking, &sender, &addresses)),
                thread::spawn(move || hear(&hearing, receiver)),
            ],
        })
    }

    /// The loader that the latest answer named; empty before the first.
    pub(crate) fn latest(&self) -> String {
        lock(&self.account.latest).clone()
    }

    /// Ends the stream and returns all that was asked.
    pub(crate) fn finish(self) -> Result<Vec<Asked>> {
        self.account.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            match thread.join() {
                Ok(outcome) => outcome?,
                Err(_) => bail!("a thread of the stream failed"),
            }
        }
        Ok(std::mem::take(&mut lock(&self.account.asked)))
    }
}

fn ask(account: &Account, sender: &FrameSender, addresses: &[Ipv4Addr]) -> Result<()> {
    for (number, address) in (0..).zip(addresses.iter().cycle()) {
        if account.over.load(Ordering::Relaxed) {
            break;
        }
        let mut request = RequestFrame::edk2(*address, UEFI_X64);
        request.xid = number;
        let frame = request.bytes();
        let before = Instant::now();
        // The answer must find its request, so none comes between.
        let mut asked = lock(&account.asked);
        sender.send(&frame).context("cannot send")?;
        let after = Instant::now();
        asked.push(Asked {
            before,
            after,
            loader: None,
        });
        drop(asked);
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn hear(account: &Account, mut receiver: FrameReceiver) -> Result<()> {
    let mut last = Instant::now();
    while !account.over.load(Ordering::Relaxed) || last.elapsed() < PATIENCE {
        if !account.over.load(Ordering::Relaxed) {
            last = Instant::now();
        }
        receiver.receive(Duration::from_millis(20), |arrival| {
            let Ok(datagram) = Datagram::parse(arrival.frame) else {
                return;
            };
            let payload = datagram.payload;
            let (Some(xid), Some(file)) = (payload.get(XID), payload.get(FILE)) else {
                return;
            };
            let number = xid
                .iter()
                .fold(0, |number, byte| number << 8 | usize::from(*byte));
            let name = file.split(|byte| *byte == 0).next().unwrap_or_default();
            let loader = String::from_utf8_lossy(name).into_owned();
            lock(&account.latest).clone_from(&loader);
            if let Some(asked) = lock(&account.asked).get_mut(number) {
                asked.loader = Some(loader);
            }
        })?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
