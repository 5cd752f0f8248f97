//! Which page a request gets.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, HeaderValue,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use tokio::sync::{mpsc, oneshot};

use super::login::Login;
use super::pages::{Asked, Page};
use super::web_config::WebConfig;
use crate::api::metrics;

const PLAIN: &str = "text/plain; charset=utf-8";

/// Answers requests.
pub(super) struct Answers {
    login: Option<Arc<Login>>,
    /// Whether names in requests must be this host's. A web page of somebody else could have a browser
    /// ask here otherwise, under a name that leads to the loopback address (DNS rebinding). It does not
    /// get through TLS or a login.
    checks_host: bool,
    ask: mpsc::Sender<Asked>,
}

type Answer = Response<Full<Bytes>>;

impl Answers {
    pub(super) fn new(config: &WebConfig, ask: mpsc::Sender<Asked>) -> Self {
        Self {
            login: config.login.clone(),
            checks_host: config.lets_all_in(),
            ask,
        }
    }

    /// The answer to a request, whose body is left alone.
    pub(super) async fn to(&self, request: Request<Incoming>) -> Answer {
        let (parts, _) = request.into_parts();
        if self.checks_host && !is_ours(&parts.uri, parts.headers.get(HOST)) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "ask for this host by its IP address, or as localhost\n",
            );
        }
        if parts.method != Method::GET && parts.method != Method::HEAD {
            let answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            return with(answer, ALLOW, "GET, HEAD");
        }
        if parts.uri.path() == "/healthz" {
            return text(StatusCode::OK, "alive\n");
        }
        if let Some(login) = &self.login {
            let header = parts.headers.get(AUTHORIZATION);
            let header = header.map(HeaderValue::as_bytes).unwrap_or_default();
            if !login.accepts(header).await {
                let answer = text(StatusCode::UNAUTHORIZED, "log in\n");
                return with(answer, WWW_AUTHENTICATE, "Basic realm=\"proxydhcp\"");
            }
        }
        match parts.uri.path() {
            "/metrics" => match self.page(Page::Metrics).await {
                Ok(page) => with(
                    text(StatusCode::OK, page),
                    CONTENT_TYPE,
                    metrics::CONTENT_TYPE,
                ),
                Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, why),
            },
            "/readyz" => match self.page(Page::Ready).await {
                Ok(page) => text(StatusCode::OK, page),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
            },
            "/" => text(StatusCode::OK, "/metrics\n/healthz\n/readyz\n"),
            _ => text(
                StatusCode::NOT_FOUND,
                "there is /metrics, /healthz and /readyz\n",
            ),
        }
    }

    async fn page(&self, page: Page) -> Result<String, String> {
        let (reply, made) = oneshot::channel();
        let stopping = || "the daemon is stopping\n".to_owned();
        let asked = self.ask.send((page, reply)).await;
        asked.map_err(|_| stopping())?;
        made.await.map_err(|_| stopping())?
    }
}

/// Whether the request is for this host: by an IP address, or as localhost.
fn is_ours(uri: &Uri, header: Option<&HeaderValue>) -> bool {
    let host = match (uri.authority(), header) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(header)) => header.to_str().unwrap_or_default(),
        (None, None) => return false,
    };
    if let Some(end) = host.strip_prefix('[') {
        let address = end.split(']').next().unwrap_or_default();
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let answer = with(answer, CONTENT_TYPE, PLAIN);
    let answer = with(answer, CACHE_CONTROL, "no-store");
    with(answer, X_CONTENT_TYPE_OPTIONS, "nosniff")
}

fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_for_an_address_or_localhost() {
        let is_ours = |host: &str| {
            let header = HeaderValue::from_str(host).unwrap();
            is_ours(&Uri::from_static("/metrics"), Some(&header))
        };
        for host in [
            "127.0.0.1:9941",
            "127.0.0.1",
            "[::1]:9941",
            "[::1]",
            "LocalHost:1",
        ] {
            assert!(is_ours(host), "{host}");
        }
        for host in [
            "",
            "evil.example:9941",
            "localhost.evil.example",
            "[evil]",
            "127.0.0.1.evil",
        ] {
            assert!(!is_ours(host), "{host}");
        }
        assert!(!super::is_ours(&Uri::from_static("/"), None));
        assert!(!super::is_ours(
            &Uri::from_static("http://evil.example/"),
            None
        ));
    }
}
