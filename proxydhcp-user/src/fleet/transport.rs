//! HTTP to a member of etcd: over TLS, or in the clear on this host. All that waits has an end, and all
//! that comes in has a limit.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::fleet::address::Member;
use crate::fleet::wire::Failure;

/// How long a member may take to connect, and to answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer, in bytes: a page of many nodes.
const LONGEST: usize = 64 << 20;
/// When a connection that is silent is looked after, and how often.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Nobody has answered, or not in time.
    #[error("{member}: {why}")]
    Unreachable {
        /// The member.
        member: String,
        /// What went wrong.
        why: String,
    },
    /// etcd has answered that it will not.
    #[error("etcd says: {}", .0.message)]
    Refused(Failure),
    /// What came is not what etcd says.
    #[error("{member}: not an answer of etcd: {why}")]
    Malformed {
        /// The member.
        member: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file that is needed to ask is missing or wrong.
    #[error("{0}")]
    File(String),
}

/// A connection to a member.
pub struct Connection {
    member: Member,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects to a member, by TLS if there is a file with the certificates of those who may vouch for
    /// it.
    ///
    /// # Errors
    /// If it does not answer, or cannot show who it is.
    pub async fn open(member: &Member, ca: Option<&Path>) -> Result<Self, TransportError> {
        let unreachable = |why: String| TransportError::Unreachable {
            member: member.to_string(),
            why,
        };
        // Read each time, so that a new one is taken up.
        let tls = match ca {
            Some(file) => Some(connector(file.to_owned()).await?),
            None => None,
        };
        let connected = async {
            let stream = TcpStream::connect((member.host.as_str(), member.port)).await?;
            stream.set_nodelay(true)?;
            // A peer that has vanished is noticed though nothing is sent to it.
            let keepalive = TcpKeepalive::new()
                .with_time(KEEPALIVE)
                .with_interval(KEEPALIVE)
                .with_retries(3);
            SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
            let Some(tls) = tls else {
                return shake(stream).await;
            };
            let name = ServerName::try_from(member.host.clone()).map_err(io::Error::other)?;
            shake(tls.connect(name, stream).await?).await
        };
        let sender = timeout(PATIENCE, connected).await;
        let sender = sender.map_err(|_| unreachable(late()))?;
        Ok(Self {
            member: member.clone(),
            sender: sender.map_err(|error| unreachable(error.to_string()))?,
        })
    }

    /// Sends a request, and takes the whole answer.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub async fn ask(
        &mut self,
        path: &str,
        token: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Vec<u8>, TransportError> {
        let asked = async {
            let response = self.send(path, token, body).await?;
            self.body(response).await
        };
        let answered = timeout(PATIENCE, asked).await;
        answered.unwrap_or_else(|_| Err(self.unreachable(late())))
    }

    /// Sends a request, and takes the answer piece by piece. The connection is for nothing else.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub async fn stream(
        mut self,
        path: &str,
        token: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Lines, TransportError> {
        let response = timeout(PATIENCE, self.send(path, token, body)).await;
        let response = response.unwrap_or_else(|_| Err(self.unreachable(late())))?;
        Ok(Lines {
            connection: self,
            body: response.into_body(),
            buffer: Vec::new(),
            searched: 0,
        })
    }

    async fn send(
        &mut self,
        path: &str,
        token: Option<&str>,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, TransportError> {
        let mut request = Request::post(path)
            .header(HOST, self.member.to_string())
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| self.malformed(&error))?;
        let ready = self.sender.ready().await;
        ready.map_err(|error| self.unreachable(told(&error)))?;
        let response = self.sender.send_request(request).await;
        let response = response.map_err(|error| self.unreachable(told(&error)))?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let body = self.body(response).await?;
        Err(TransportError::Refused(Failure::parse(&body)))
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Vec<u8>, TransportError> {
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let body = body.map_err(|error| match error.downcast::<LengthLimitError>() {
            Ok(_) => self.malformed(&format!("more than {LONGEST} bytes")),
            Err(error) => self.unreachable(error.to_string()),
        })?;
        Ok(body.to_bytes().into())
    }

    fn unreachable(&self, why: String) -> TransportError {
        let member = self.member.to_string();
        TransportError::Unreachable { member, why }
    }

    fn malformed(&self, why: &dyn std::fmt::Display) -> TransportError {
        TransportError::Malformed {
            member: self.member.to_string(),
            why: why.to_string(),
        }
    }
}

/// The lines of an answer that goes on.
pub struct Lines {
    connection: Connection,
    body: Incoming,
    buffer: Vec<u8>,
    /// The part of the buffer that has no end of a line.
    searched: usize,
}

impl Lines {
    /// Waits for the next line, for as long as it takes. Dropping the future loses nothing.
    ///
    /// # Errors
    /// If the answer ends, or a line is too long.
    pub async fn next(&mut self) -> Result<Vec<u8>, TransportError> {
        loop {
            let unseen = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(end) = unseen.iter().position(|&byte| byte == b'\n') {
                let rest = self.buffer.split_off(self.searched + end + 1);
                self.searched = 0;
                return Ok(std::mem::replace(&mut self.buffer, rest));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > LONGEST {
                let why = format!("a line of more than {LONGEST} bytes");
                return Err(self.connection.malformed(&why));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(self.connection.unreachable(told(&error))),
                None => {
                    let why = "it has ended the watch".to_owned();
                    return Err(self.connection.unreachable(why));
                }
            }
        }
    }
}

async fn shake<S>(stream: S) -> io::Result<SendRequest<Full<Bytes>>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(io::Error::other)?;
    // It ends with its sender; what is wrong with it, whoever asks is told.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

async fn connector(file: PathBuf) -> Result<TlsConnector, TransportError> {
    let read = tokio::task::spawn_blocking(move || {
        let roots = roots(&file);
        roots.map_err(|why| format!("{}: {why}; name etcd's CA by source-ca", file.display()))
    });
    let read = read.await.map_err(|error| error.to_string());
    let roots = read.and_then(|roots| roots).map_err(TransportError::File)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TransportError::File(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let all = CertificateDer::pem_file_iter(file).map_err(|error| error.to_string())?;
    for root in all {
        let root = root.map_err(|error| error.to_string())?;
        roots.add(root).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(roots)
}

fn late() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}

/// What went wrong, with its cause, which hyper leaves out.
fn told(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
