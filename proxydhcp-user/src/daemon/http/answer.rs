//! Which page a request gets.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use http_body_util::{Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HOST, HeaderName, HeaderValue, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Uri};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::feed::{Body, Feed};
use super::login::Login;
use super::page;
use super::pages::{Asked, Text};
use super::storm::Storms;
use super::web_config::WebConfig;
use crate::api::metrics;
use crate::api::storm::Position;

const STOPPING: &str = "the daemon is stopping\n";
const BYTES: &str = "application/octet-stream";
const EVENTS: &str = "text/event-stream";
const PLAIN: &str = "text/plain; charset=utf-8";
/// What a browser may do with what it gets here.
const FOR_BROWSERS: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (CONTENT_SECURITY_POLICY, page::POLICY),
    (REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// Answers requests.
pub(super) struct Answers {
    login: Option<Arc<Login>>,
    /// Whether names in requests must be this host's. A web page of somebody else could have a browser
    /// ask here otherwise, under a name that leads to the loopback address (DNS rebinding). It does not
    /// get through TLS or a login.
    checks_host: bool,
    ask: mpsc::Sender<Asked>,
    storms: Storms,
}

type Answer = Response<Body>;

impl Answers {
    pub(super) fn new(config: &WebConfig, ask: mpsc::Sender<Asked>) -> Self {
        Self {
            login: config.login.clone(),
            checks_host: config.lets_all_in(),
            storms: Storms::new(ask.clone()),
            ask,
        }
    }

    /// The answer to a request, whose body is left alone, and the task that feeds a long one.
    pub(super) async fn to(&self, request: Request<Incoming>) -> (Answer, Option<JoinHandle<()>>) {
        let (parts, _) = request.into_parts();
        if let Some(refused) = self.refused(&parts).await {
            return (refused, None);
        }
        match parts.uri.path() {
            "/storm" => self.snapshot().await,
            "/storm/events" => self.events(&parts.uri),
            path => (self.short(path).await, None),
        }
    }

    /// Why a request gets nothing, if it does not; and whether the daemon is alive, which anybody may
    /// ask.
    async fn refused(&self, parts: &Parts) -> Option<Answer> {
        if self.checks_host && !is_ours(&parts.uri, parts.headers.get(HOST)) {
            return Some(text(
                StatusCode::MISDIRECTED_REQUEST,
                "ask for this host by its IP address, or as localhost\n",
            ));
        }
        if parts.method != Method::GET && parts.method != Method::HEAD {
            let answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            return Some(with(answer, ALLOW, "GET, HEAD"));
        }
        if parts.uri.path() == "/healthz" {
            return Some(text(StatusCode::OK, "alive\n"));
        }
        if is_of_another_page(parts) {
            return Some(text(StatusCode::FORBIDDEN, "this is for its own page\n"));
        }
        let login = self.login.as_ref()?;
        let header = parts.headers.get(AUTHORIZATION);
        let header = header.map(HeaderValue::as_bytes).unwrap_or_default();
        if login.accepts(header).await {
            return None;
        }
        let answer = text(StatusCode::UNAUTHORIZED, "log in\n");
        let realm = "Basic realm=\"proxydhcp\"";
        Some(with(answer, WWW_AUTHENTICATE, realm))
    }

    async fn short(&self, path: &str) -> Answer {
        if let Some(file) = page::File::find(path) {
            let answer = text(StatusCode::OK, file.content);
            return with(answer, CONTENT_TYPE, file.content_type());
        }
        match path {
            "/metrics" => match self.page(Asked::Metrics).await {
                Ok(page) => with(
                    text(StatusCode::OK, page),
                    CONTENT_TYPE,
                    metrics::CONTENT_TYPE,
                ),
                Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, why),
            },
            "/readyz" => match self.page(Asked::Ready).await {
                Ok(page) => text(StatusCode::OK, page),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
            },
            _ => text(
                StatusCode::NOT_FOUND,
                "there is /, /metrics, /healthz and /readyz\n",
            ),
        }
    }

    async fn page(&self, asked: impl FnOnce(oneshot::Sender<Text>) -> Asked) -> Text {
        let (reply, made) = oneshot::channel();
        let stopping = || STOPPING.to_owned();
        let sent = self.ask.send(asked(reply)).await;
        sent.map_err(|_| stopping())?;
        made.await.map_err(|_| stopping())?
    }

    async fn snapshot(&self) -> (Answer, Option<JoinHandle<()>>) {
        let Some(bytes) = self.storms.snapshot().await else {
            return (text(StatusCode::SERVICE_UNAVAILABLE, STOPPING), None);
        };
        let length = HeaderValue::from(bytes.len());
        let (body, task) = Feed::body(|feed| Storms::send(feed, bytes));
        let mut answer = with(answer(StatusCode::OK, body), CONTENT_TYPE, BYTES);
        answer.headers_mut().insert(CONTENT_LENGTH, length);
        (answer, Some(task))
    }

    fn events(&self, uri: &Uri) -> (Answer, Option<JoinHandle<()>>) {
        let Some(from) = position(uri.query().unwrap_or_default()) else {
            let why = "name a position: /storm/events?list=NUMBER&known=NUMBER\n";
            return (text(StatusCode::BAD_REQUEST, why), None);
        };
        let Ok(follower) = self.storms.place() else {
            let why = "as many pages as there may be follow the storm already\n";
            return (text(StatusCode::SERVICE_UNAVAILABLE, why), None);
        };
        let (body, task) = Feed::body(|feed| follower.follow(feed, from));
        let answer = with(answer(StatusCode::OK, body), CONTENT_TYPE, EVENTS);
        (answer, Some(task))
    }
}

/// The position that a query names.
fn position(query: &str) -> Option<Position> {
    let number = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, number) = pairs.find(|(key, _)| *key == name)?;
        number.parse().ok()
    };
    Some(Position {
        list: number("list")?,
        known: number("known")?,
        ..Position::default()
    })
}

/// Whether a browser asks for another site's page, which could take the places of others so.
fn is_of_another_page(parts: &Parts) -> bool {
    let site = parts.headers.get("sec-fetch-site");
    let is_followed = parts.headers.get("sec-fetch-mode");
    let is_followed = is_followed.is_some_and(|mode| mode == "navigate");
    !is_followed && site.is_some_and(|site| site != "same-origin" && site != "none")
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
    let answer = answer(status, Either::Left(Full::new(body.into())));
    with(answer, CONTENT_TYPE, PLAIN)
}

fn answer(status: StatusCode, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = FOR_BROWSERS.into_iter();
    headers.fold(answer, |answer, (name, value)| with(answer, name, value))
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
