//! The connections: a few at a time, and none for long.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::answer::Answers;
use super::feed::PATIENCE;

/// The number of clients at a time; more wait for their turn.
const CLIENTS: usize = 64;
/// The longest head of a request, in bytes.
const HEAD: usize = 16 << 10;
/// The pause after a connection that could not be accepted, such as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves one request on each connection.
///
/// # Errors
///
/// If the socket cannot be used.
pub(super) async fn serve(
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    answers: Answers,
) -> io::Result<()> {
    let socket = net::TcpListener::from_std(socket)?;
    let answers = Arc::new(answers);
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return Ok(());
        };
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!("a client of the metrics is not accepted: {error}");
                sleep(PAUSE).await;
                continue;
            }
        };
        let (tls, answers) = (tls.clone(), Arc::clone(&answers));
        tokio::spawn(async move {
            let _place = place;
            let feeding = Feeding::default();
            let served = async {
                match tls {
                    Some(tls) => match tls.accept(stream).await {
                        Ok(stream) => one(stream, &answers, &feeding).await,
                        Err(error) => debug!("a client of the metrics, in TLS: {error}"),
                    },
                    None => one(stream, &answers, &feeding).await,
                }
            };
            if in_time(served, &feeding).await.is_none() {
                debug!("a client of the metrics was too slow");
            }
        });
    }
}

/// The task that feeds the answer of a connection, if that is a long one.
type Feeding = Mutex<Option<JoinHandle<()>>>;

/// Waits until a client is served; `None` if it was too slow. One whose answer is fed has time as long as
/// that lasts.
async fn in_time(served: impl Future<Output = ()>, feeding: &Feeding) -> Option<()> {
    let mut served = pin!(served);
    if let Ok(()) = timeout(PATIENCE, &mut served).await {
        return Some(());
    }
    let feeding = feeding
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    tokio::select! {
        () = &mut served => Some(()),
        _ = feeding? => timeout(PATIENCE, &mut served).await.ok(),
    }
}

async fn one(stream: impl AsyncRead + AsyncWrite + Unpin, answers: &Answers, feeding: &Feeding) {
    let service = service_fn(|request| async move {
        let (answer, task) = answers.to(request).await;
        *feeding.lock().unwrap_or_else(PoisonError::into_inner) = task;
        Ok::<_, Infallible>(answer)
    });
    let mut http = http1::Builder::new();
    let served = http.keep_alive(false).max_buf_size(HEAD);
    if let Err(error) = served.serve_connection(TokioIo::new(stream), service).await {
        debug!("a client of the metrics: {error}");
    }
}
