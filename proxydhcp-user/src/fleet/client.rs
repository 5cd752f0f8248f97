//! A client of etcd's JSON gateway. It asks one member after another until one answers, and logs in anew
//! when its token has expired.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::fleet::address::Address;
use crate::fleet::keys::Range;
use crate::fleet::login::Login;
use crate::fleet::transport::{Connection, TransportError};
use crate::fleet::watch::Watch;
use crate::fleet::wire::{
    Bytes64, Int, KeyValue, Line, RangeRequest, RangeResponse, Transaction, TransactionResponse,
};

/// The most keys of a range: as many records as a file may have.
const MOST: usize = 2_000_000;

/// How etcd is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its members, and the prefix of the keys.
    pub address: Address,
    /// The certificates of those who may vouch for the members.
    pub ca: PathBuf,
    /// The file with the user and the password, if there is one.
    pub login: Option<PathBuf>,
}

/// What the program asks of etcd.
pub struct Client {
    access: Access,
    /// The member that is asked.
    member: usize,
    connection: Option<Connection>,
    token: Option<String>,
}

impl Client {
    /// A client, which connects when it asks.
    pub fn new(access: Access) -> Self {
        Self {
            access,
            member: 0,
            connection: None,
            token: None,
        }
    }

    /// The client of a host, which begins with a member that follows from the host's name, so that many
    /// hosts share the members' load.
    pub fn of_host(access: Access, name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let mut client = Self::new(access);
        let members = client.access.address.members.len().max(1);
        client.member = usize::try_from(hasher.finish() % members as u64).unwrap_or_default();
        client
    }

    /// The key with its value, if there is one, and the revision of the store.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub async fn get(
        &mut self,
        key: Vec<u8>,
        at: Option<i64>,
    ) -> Result<(Option<KeyValue>, i64), TransportError> {
        let request = RangeRequest {
            key: Bytes64(key),
            revision: at.map(Int),
            ..RangeRequest::default()
        };
        let part: RangeResponse = self.ask("/v3/kv/range", &request).await?;
        Ok((part.kvs.into_iter().next(), part.header.revision.0))
    }

    /// All keys of a range, `some` at a time, all as they were at one revision: at this one, or the newest.
    /// Returns that revision.
    ///
    /// # Errors
    /// See [`TransportError`]; also if there are more than two millions, which no fleet has.
    pub async fn range(
        &mut self,
        (first, end): Range,
        at: Option<i64>,
        some: i64,
        mut take: impl FnMut(KeyValue),
    ) -> Result<i64, TransportError> {
        let mut request = RangeRequest {
            key: Bytes64(first),
            range_end: Some(Bytes64(end)),
            limit: Some(Int(some)),
            revision: at.map(Int),
            keys_only: false,
        };
        let mut left = MOST;
        loop {
            let part: RangeResponse = self.ask("/v3/kv/range", &request).await?;
            let revision = *request.revision.get_or_insert(part.header.revision);
            let count = part.kvs.len();
            left = left.checked_sub(count).ok_or_else(|| self.too_many())?;
            let more = part.more;
            let mut last = None;
            for (number, kv) in (1..).zip(part.kvs) {
                if number == count {
                    last = Some(kv.key.clone());
                }
                take(kv);
            }
            match last {
                Some(mut last) if more => {
                    last.0.push(0);
                    // A member that gives the same again and again is not followed for ever.
                    if last.0 <= request.key.0 {
                        return Err(self.malformed("keys in disorder"));
                    }
                    request.key = last;
                }
                _ => return Ok(revision.0),
            }
        }
    }

    /// The first keys of a range, so many at most.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub async fn keys(
        &mut self,
        (first, end): Range,
        most: i64,
    ) -> Result<Vec<Vec<u8>>, TransportError> {
        let request = RangeRequest {
            key: Bytes64(first),
            range_end: Some(Bytes64(end)),
            limit: Some(Int(most)),
            keys_only: true,
            ..RangeRequest::default()
        };
        let part: RangeResponse = self.ask("/v3/kv/range", &request).await?;
        Ok(part.kvs.into_iter().map(|kv| kv.key.0).collect())
    }

    /// Does a transaction. If it is unknown whether it was done, as when a member has died meanwhile, it
    /// is tried again: its conditions must not hold twice.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub async fn transact(
        &mut self,
        transaction: &Transaction,
    ) -> Result<TransactionResponse, TransportError> {
        self.ask("/v3/kv/txn", transaction).await
    }

    /// Writes a key, which goes with a lease.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub async fn put(
        &mut self,
        key: Vec<u8>,
        value: Vec<u8>,
        lease: i64,
    ) -> Result<(), TransportError> {
        #[derive(Serialize)]
        struct Put {
            key: Bytes64,
            value: Bytes64,
            lease: Int,
        }
        let put = Put {
            key: Bytes64(key),
            value: Bytes64(value),
            lease: Int(lease),
        };
        self.ask("/v3/kv/put", &put).await.map(|_: Nothing| ())
    }

    /// Takes a lease for this many seconds. Returns its id.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub async fn grant(&mut self, seconds: i64) -> Result<i64, TransportError> {
        #[derive(Serialize)]
        struct Grant {
            #[serde(rename = "TTL")]
            ttl: Int,
        }
        let granted: Lease = self
            .ask("/v3/lease/grant", &Grant { ttl: Int(seconds) })
            .await?;
        Ok(granted.id.0)
    }

    /// Renews a lease. Returns whether it was still there.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub async fn keep_alive(&mut self, lease: i64) -> Result<bool, TransportError> {
        let lease = Lease {
            id: Int(lease),
            ttl: Int(0),
        };
        let line: Line<Lease> = self.ask("/v3/lease/keepalive", &lease).await?;
        Ok(line.result.is_some_and(|lease| lease.ttl.0 > 0))
    }

    /// Watches a range from a revision on, over a connection of its own to the member that has answered
    /// last.
    ///
    /// # Errors
    /// See [`TransportError`].
    pub async fn watch(&mut self, (first, end): Range, from: i64) -> Result<Watch, TransportError> {
        #[derive(Serialize)]
        struct Create {
            key: Bytes64,
            range_end: Bytes64,
            start_revision: Int,
            progress_notify: bool,
            fragment: bool,
        }
        #[derive(Serialize)]
        struct Request {
            create_request: Create,
        }
        let request = Request {
            create_request: Create {
                key: Bytes64(first),
                range_end: Bytes64(end),
                start_revision: Int(from),
                progress_notify: true,
                fragment: true,
            },
        };
        let connection = self.open().await?;
        let body = serde_json::to_vec(&request).map_err(|error| self.malformed(&error))?;
        let token = self.token.clone();
        let lines = connection.stream("/v3/watch", token.as_deref(), body).await;
        if lines.is_err() {
            self.next_member();
        }
        Ok(Watch::of(lines?))
    }

    /// Turns to the next member, because this one has not what the others have.
    pub fn next_member(&mut self) {
        self.connection = None;
        self.member = (self.member + 1) % self.access.address.members.len().max(1);
    }

    async fn ask<T: DeserializeOwned>(
        &mut self,
        path: &str,
        request: &impl Serialize,
    ) -> Result<T, TransportError> {
        let body = serde_json::to_vec(request).map_err(|error| self.malformed(&error))?;
        let mut is_renewed = false;
        // Each member once, and the first twice: its connection may have ended long ago.
        let mut left = self.access.address.members.len();
        loop {
            let asked = match self.log_in().await {
                Ok(()) => self.once(path, body.clone()).await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(answer) => {
                    return serde_json::from_slice(&answer).map_err(|error| self.malformed(&error));
                }
                Err(TransportError::Refused(failure))
                    if failure.wants_a_token() && !is_renewed && self.access.login.is_some() =>
                {
                    self.token = None;
                    is_renewed = true;
                }
                Err(error) => {
                    let is_of_member = match &error {
                        TransportError::Unreachable { .. } => true,
                        TransportError::Refused(failure) => is_of_member(&failure.message),
                        _ => false,
                    };
                    if left == 0 || !is_of_member {
                        self.connection = None;
                        return Err(error);
                    }
                    left -= 1;
                    self.next_member();
                }
            }
        }
    }

    async fn once(&mut self, path: &str, body: Vec<u8>) -> Result<Vec<u8>, TransportError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        let answer = connection.ask(path, self.token.as_deref(), body).await;
        if !matches!(answer, Err(TransportError::Unreachable { .. })) {
            self.connection = Some(connection);
        }
        answer
    }

    async fn open(&self) -> Result<Connection, TransportError> {
        let Access { address, ca, .. } = &self.access;
        let member = address.members.get(self.member);
        let member = member.ok_or_else(|| self.malformed("no member"))?;
        Connection::open(member, address.tls.then_some(ca)).await
    }

    /// Takes a token, if there is a login and no token yet.
    async fn log_in(&mut self) -> Result<(), TransportError> {
        #[derive(Serialize)]
        struct Authenticate {
            name: String,
            password: String,
        }
        #[derive(Deserialize)]
        struct Authenticated {
            token: String,
        }
        let Some(file) = self.access.login.clone().filter(|_| self.token.is_none()) else {
            return Ok(());
        };
        let login = tokio::task::spawn_blocking(move || Login::read(&file)).await;
        let login = login.map_err(|error| TransportError::File(error.to_string()))?;
        let login = login.map_err(|error| TransportError::File(format!("{error:#}")))?;
        let request = Authenticate {
            name: login.user,
            password: login.password,
        };
        let body = serde_json::to_vec(&request).map_err(|error| self.malformed(&error))?;
        let answer = self.once("/v3/auth/authenticate", body).await?;
        let answer = serde_json::from_slice::<Authenticated>(&answer);
        self.token = Some(answer.map_err(|error| self.malformed(&error))?.token);
        Ok(())
    }

    fn too_many(&self) -> TransportError {
        self.malformed("more keys than a fleet may have nodes")
    }

    fn malformed(&self, why: impl std::fmt::Display) -> TransportError {
        let members = &self.access.address.members;
        TransportError::Malformed {
            member: members
                .get(self.member)
                .map(ToString::to_string)
                .unwrap_or_default(),
            why: why.to_string(),
        }
    }
}

/// Whether another member may answer better.
fn is_of_member(message: &str) -> bool {
    [
        "no leader",
        "timed out",
        "leader changed",
        "server stopped",
        "not capable",
    ]
    .iter()
    .any(|sign| message.contains(sign))
}

/// What is in an answer does not matter.
#[derive(Deserialize)]
struct Nothing {}

#[derive(Serialize, Deserialize)]
struct Lease {
    #[serde(rename = "ID", default)]
    id: Int,
    #[serde(rename = "TTL", default, skip_serializing)]
    ttl: Int,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_share_the_members() {
        let access = Access {
            address: "etcds://a:2379,b:2379,c:2379/p".parse().unwrap(),
            ca: PathBuf::new(),
            login: None,
        };
        let mut hosts = [0; 3];
        for number in 0..300 {
            let name = format!("sn{number}");
            let first = Client::of_host(access.clone(), &name).member;
            assert_eq!(Client::of_host(access.clone(), &name).member, first);
            hosts[first] += 1;
        }
        assert!(hosts.iter().all(|&hosts| hosts > 60), "{hosts:?}");
    }
}
