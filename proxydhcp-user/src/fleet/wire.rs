//! What etcd's JSON gateway takes and gives: keys and values in base64, numbers of 64 bits as texts, and
//! what is zero or empty left out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest value of a key, in bytes.
pub(super) const LONGEST_VALUE: usize = 16 << 10;

/// What the value of a key says, which is JSON.
///
/// # Errors
/// If it is too long or something else: why.
pub(super) fn parsed<T: de::DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    if value.len() > LONGEST_VALUE {
        return Err(format!(
            "it has {} bytes, more than {LONGEST_VALUE}",
            value.len()
        ));
    }
    serde_json::from_slice(value).map_err(|error| error.to_string())
}

/// Bytes, in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bytes64(pub Vec<u8>);

impl Serialize for Bytes64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Bytes64;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes in base64")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes64, E> {
                STANDARD.decode(text).map(Bytes64).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// A number of 64 bits: a text, or a number where it is small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Int(pub i64);

impl Serialize for Int {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either<'a> {
            Number(i64),
            #[serde(borrow)]
            Text(std::borrow::Cow<'a, str>),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(number) => Ok(Self(number)),
            Either::Text(text) => text.parse().map(Self).map_err(de::Error::custom),
        }
    }
}

/// What heads each answer.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Header {
    /// The revision of the store.
    #[serde(default)]
    pub revision: Int,
}

/// A question for the keys of a range.
#[derive(Clone, Debug, Default, Serialize)]
pub struct RangeRequest {
    /// The first key.
    pub key: Bytes64,
    /// The first key that is none of them any more; none: only the first key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_end: Option<Bytes64>,
    /// The most keys to give.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Int>,
    /// The revision to look at; none: the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<Int>,
    /// Whether values are left out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keys_only: bool,
}

/// A key with its value.
#[derive(Clone, Debug, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes64,
    /// The value.
    #[serde(default)]
    pub value: Bytes64,
    /// The revision that has written it.
    #[serde(default)]
    pub mod_revision: Int,
    /// The number of times that it was written since it was made.
    #[serde(default)]
    pub version: Int,
}

/// The keys of a range.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct RangeResponse {
    /// What heads it.
    #[serde(default)]
    pub header: Header,
    /// The keys, in their order.
    #[serde(default)]
    pub kvs: Vec<KeyValue>,
    /// Whether there are more.
    #[serde(default)]
    pub more: bool,
}

/// A condition of a transaction: the revision that has written a key; 0: there is no such key.
#[derive(Clone, Debug, Serialize)]
pub struct Compare {
    target: &'static str,
    result: &'static str,
    /// The key.
    pub key: Bytes64,
    /// The revision.
    pub mod_revision: Int,
}

impl Compare {
    /// That the key was written by this revision.
    pub fn written_by(key: Vec<u8>, revision: i64) -> Self {
        Self {
            target: "MOD",
            result: "EQUAL",
            key: Bytes64(key),
            mod_revision: Int(revision),
        }
    }
}

/// An operation of a transaction.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// Writes a key.
    RequestPut {
        /// The key.
        key: Bytes64,
        /// The value.
        value: Bytes64,
    },
    /// Removes the keys of a range.
    RequestDeleteRange {
        /// The first.
        key: Bytes64,
        /// The first that is none of them any more.
        range_end: Bytes64,
    },
}

impl Operation {
    /// Writes a key.
    pub fn put(key: Vec<u8>, value: Vec<u8>) -> Self {
        Self::RequestPut {
            key: Bytes64(key),
            value: Bytes64(value),
        }
    }

    /// Removes the keys of a range.
    pub fn delete_range((first, end): (Vec<u8>, Vec<u8>)) -> Self {
        Self::RequestDeleteRange {
            key: Bytes64(first),
            range_end: Bytes64(end),
        }
    }
}

/// A transaction: if all conditions hold, all operations are done, at one revision; else none.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Transaction {
    /// The conditions.
    pub compare: Vec<Compare>,
    /// The operations.
    pub success: Vec<Operation>,
}

/// What has become of a transaction.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct TransactionResponse {
    /// What heads it; its revision is that of the operations.
    #[serde(default)]
    pub header: Header,
    /// Whether the conditions held.
    #[serde(default)]
    pub succeeded: bool,
}

/// An event of a watch.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    /// `DELETE`, or nothing: a key was written.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    /// The key.
    pub kv: KeyValue,
}

impl Event {
    /// Whether the key was removed.
    pub fn is_delete(&self) -> bool {
        self.kind.as_deref() == Some("DELETE")
    }
}

/// An answer of a watch.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct WatchResponse {
    /// What heads it: all events up to this revision have been given.
    #[serde(default)]
    pub header: Header,
    /// Whether it begins the watch.
    #[serde(default)]
    pub created: bool,
    /// Whether it ends the watch.
    #[serde(default)]
    pub canceled: bool,
    /// Why, if it does.
    #[serde(default)]
    pub cancel_reason: String,
    /// Where the revisions begin that there still are, if the one asked for is gone.
    #[serde(default)]
    pub compact_revision: Int,
    /// Whether the rest of its events follows in another answer.
    #[serde(default)]
    pub fragment: bool,
    /// What has happened, in the order of revisions.
    #[serde(default)]
    pub events: Vec<Event>,
}

/// A line of a stream.
#[derive(Clone, Debug, Deserialize)]
pub struct Line<T> {
    /// The answer.
    pub result: Option<T>,
    /// Why there is none.
    pub error: Option<Failure>,
}

/// Why etcd has refused something.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Failure {
    /// What it says.
    #[serde(default, alias = "error")]
    pub message: String,
    /// The number of gRPC's status.
    #[serde(default, alias = "grpc_code")]
    pub code: i64,
}

impl Failure {
    /// What the body of a refusal says.
    pub fn parse(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            #[serde(default)]
            error: String,
            #[serde(default)]
            message: String,
            #[serde(default)]
            code: i64,
        }
        match serde_json::from_slice::<Body>(body) {
            Ok(Body {
                error,
                message,
                code,
            }) => Self {
                message: if message.is_empty() { error } else { message },
                code,
            },
            Err(_) => Self {
                message: String::from_utf8_lossy(body.get(..200).unwrap_or(body)).into_owned(),
                code: 0,
            },
        }
    }

    /// Whether the token is no longer good, and another one may be.
    pub fn wants_a_token(&self) -> bool {
        const UNAUTHENTICATED: i64 = 16;
        self.code == UNAUTHENTICATED
            || self.message.contains("invalid auth token")
            || self.message.contains("revision of auth store is old")
    }

    /// Whether a revision is asked for that is gone.
    pub fn is_compacted(&self) -> bool {
        self.message.contains("has been compacted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_etcd_writes_it() {
        let text = r#"{"header":{"cluster_id":"14841639068965178418","member_id":"10276657743932975437","revision":"9007199254740993","raft_term":"2"},
            "kvs":[{"key":"YQ==","create_revision":"2","mod_revision":"3","version":"2","value":"Yg=="},{"key":"Yw==","mod_revision":4}],"more":true,"count":"7"}"#;
        let page: RangeResponse = serde_json::from_str(text).unwrap();
        assert_eq!(page.header.revision, Int(9_007_199_254_740_993));
        assert!(page.more);
        let [first, second] = &page.kvs[..] else {
            panic!("{page:?}")
        };
        assert_eq!(
            (&first.key.0[..], &first.value.0[..]),
            (&b"a"[..], &b"b"[..])
        );
        assert_eq!((first.mod_revision, first.version), (Int(3), Int(2)));
        assert_eq!((second.value.0.len(), second.mod_revision), (0, Int(4)));
        let empty: RangeResponse = serde_json::from_str("{}").unwrap();
        assert!(empty.kvs.is_empty() && !empty.more);
        for wrong in [r#"{"kvs":[{"key":"*"}]}"#, r#"{"kvs":[{}]}"#, "[]x"] {
            assert!(serde_json::from_str::<RangeResponse>(wrong).is_err());
        }
    }

    #[test]
    fn a_transaction_is_written_as_etcd_reads_it() {
        let transaction = Transaction {
            compare: vec![Compare::written_by(b"a".to_vec(), 7)],
            success: vec![
                Operation::put(b"a".to_vec(), b"b".to_vec()),
                Operation::delete_range((b"c".to_vec(), b"d".to_vec())),
            ],
        };
        assert_eq!(
            serde_json::to_string(&transaction).unwrap(),
            r#"{"compare":[{"target":"MOD","result":"EQUAL","key":"YQ==","mod_revision":"7"}],"success":[{"requestPut":{"key":"YQ==","value":"Yg=="}},{"requestDeleteRange":{"key":"Yw==","range_end":"ZA=="}}]}"#
        );
    }

    #[test]
    fn a_watch_has_events_and_an_end() {
        let text = r#"{"result":{"header":{"revision":"5"},"events":[{"kv":{"key":"YQ==","mod_revision":"5","value":"Yg=="}},{"type":"DELETE","kv":{"key":"Yw==","mod_revision":"5"}}]}}"#;
        let line: Line<WatchResponse> = serde_json::from_str(text).unwrap();
        let events = line.result.unwrap().events;
        let deleted: Vec<_> = events.iter().map(Event::is_delete).collect();
        assert_eq!(deleted, [false, true]);
        let text =
            r#"{"result":{"header":{"revision":"9"},"canceled":true,"compact_revision":"3"}}"#;
        let line: Line<WatchResponse> = serde_json::from_str(text).unwrap();
        let end = line.result.unwrap();
        assert_eq!((end.canceled, end.compact_revision), (true, Int(3)));
    }

    #[test]
    fn a_refusal_is_told_whatever_its_form() {
        let refusal = Failure::parse(
            br#"{"error":"etcdserver: invalid auth token","message":"etcdserver: invalid auth token","code":16}"#,
        );
        assert!(refusal.wants_a_token() && !refusal.is_compacted());
        let compacted = "etcdserver: mvcc: required revision has been compacted";
        let refusal = Failure::parse(format!(r#"{{"error":"{compacted}","code":11}}"#).as_bytes());
        assert!(refusal.is_compacted() && refusal.message == compacted);
        assert_eq!(
            Failure::parse(b"404 page not found").message,
            "404 page not found"
        );
        let line: Line<WatchResponse> =
            serde_json::from_str(r#"{"error":{"grpc_code":16,"message":"x","http_code":401}}"#)
                .unwrap();
        assert!(line.error.unwrap().wants_a_token());
    }
}
