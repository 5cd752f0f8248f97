//! The web configuration file of Prometheus' exporters: TLS and logins. The form is that of their
//! exporter-toolkit, so that one file does for all exporters of a host.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::login::Login;
use crate::sys::text_file;

/// What is wrong with an address that others can get to, and the remedy.
pub const PUBLIC: &str = "other hosts can get to this address of metrics: name a web-config with TLS, a \
    login or both, or use 127.0.0.1 or [::1]";

/// The error that the web configuration file is wrong, or missing.
#[derive(Debug, thiserror::Error)]
pub enum WebConfigError {
    /// There is none, and there must be one.
    #[error("{PUBLIC}")]
    Missing,
    /// It is wrong.
    #[error("{}: {why}", .file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl WebConfigError {
    fn new(file: &Path, why: impl fmt::Display) -> Self {
        Self::Content {
            file: file.to_owned(),
            why: why.to_string(),
        }
    }

    pub(super) fn letting_all_in(file: &Path) -> Self {
        Self::new(
            file,
            "it has neither tls_server_config nor basic_auth_users, and other hosts can get to the \
             metrics: add one of them, or listen on 127.0.0.1 or [::1]",
        )
    }
}

/// Who is let in, and how.
#[derive(Default)]
pub(super) struct WebConfig {
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) login: Option<Arc<Login>>,
}

impl fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tls, login) = (self.tls.is_some(), self.login.is_some());
        let mut all = f.debug_struct("WebConfig");
        all.field("tls", &tls).field("login", &login).finish()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    tls_server_config: Option<Tls>,
    #[serde(default)]
    basic_auth_users: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    #[serde(default)]
    client_auth_type: ClientAuth,
    client_ca_file: Option<PathBuf>,
    #[serde(default)]
    min_version: Version,
}

/// Which clients must have a certificate, in the words of Go's crypto/tls.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum ClientAuth {
    #[default]
    NoClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

#[derive(Clone, Copy, Default, Deserialize)]
enum Version {
    #[default]
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

impl WebConfig {
    /// Reads the file, and those that it names.
    pub(super) fn read(file: &Path) -> Result<Self, WebConfigError> {
        let wrong = |why: &dyn fmt::Display| WebConfigError::new(file, why);
        let bytes = text_file::read(file).map_err(|error| wrong(&error))?;
        let text = str::from_utf8(&bytes).map_err(|error| wrong(&error))?;
        let content: Option<Content> =
            serde_saphyr::from_str(text).map_err(|error| wrong(&error))?;
        let Some(content) = content else {
            return Ok(Self::default());
        };
        let folder = file.parent().unwrap_or(Path::new("/"));
        let tls = content.tls_server_config;
        let tls = tls.map(|tls| tls.acceptor(folder)).transpose();
        let login = Login::new(content.basic_auth_users).map_err(|why| wrong(&why))?;
        Ok(Self {
            tls: tls.map_err(|why| wrong(&why))?,
            login: login.map(Arc::new),
        })
    }

    pub(super) fn lets_all_in(&self) -> bool {
        self.tls.is_none() && self.login.is_none()
    }
}

impl Tls {
    /// Files are beside the one that names them, unless their paths are absolute.
    fn acceptor(&self, folder: &Path) -> Result<TlsAcceptor, String> {
        let versions = match self.min_version {
            Version::Tls12 => &[&TLS13, &TLS12][..],
            Version::Tls13 => &[&TLS13],
        };
        let chain = certificates(&folder.join(&self.cert_file))?;
        let key_file = folder.join(&self.key_file);
        let key = PrivateKeyDer::from_pem_file(&key_file)
            .map_err(|error| format!("key_file {}: {error}", key_file.display()))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?;
        let config = match self.verifier(folder)? {
            Some(verifier) => config.with_client_cert_verifier(verifier),
            None => config.with_no_client_auth(),
        };
        let config = config
            .with_single_cert(chain, key)
            .map_err(|error| format!("cert_file and key_file: {error}"))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn verifier(&self, folder: &Path) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
        if self.client_auth_type == ClientAuth::NoClientCert {
            return match &self.client_ca_file {
                Some(_) => Err(
                    "client_ca_file is without use: set client_auth_type, too, such as \
                                RequireAndVerifyClientCert"
                        .to_owned(),
                ),
                None => Ok(None),
            };
        }
        let file = self.client_ca_file.as_ref();
        let file = file.ok_or("client_auth_type needs a client_ca_file")?;
        let mut roots = RootCertStore::empty();
        for root in certificates(&folder.join(file))? {
            let added = roots.add(root);
            added.map_err(|error| format!("client_ca_file {}: {error}", file.display()))?;
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = match self.client_auth_type {
            ClientAuth::RequireAndVerifyClientCert => verifier,
            _ => verifier.allow_unauthenticated(),
        };
        let verifier = verifier.build().map_err(|error| error.to_string())?;
        Ok(Some(verifier))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn fmt::Display| format!("{}: {error}", file.display());
    let all = CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?;
    let all: Result<Vec<_>, _> = all.collect();
    let all = all.map_err(|error| wrong(&error))?;
    if all.is_empty() {
        return Err(wrong(&"there is no certificate in it"));
    }
    Ok(all)
}
