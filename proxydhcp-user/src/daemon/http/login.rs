//! Basic authentication (RFC 7617), with passwords as bcrypt hashes.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// The hash of a password that nobody has: so that an unknown user takes as long as a known one.
const NOBODY: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

/// The users.
pub(super) struct Login {
    /// The hash of each user's password.
    users: BTreeMap<String, String>,
    /// Which logins have been accepted, by a keyed hash: each scrape would take a tenth of a second of
    /// a processor otherwise.
    accepted: Mutex<HashSet<u64>>,
    key: RandomState,
    /// One password is checked at a time, so that guessing takes no more than one processor.
    one_at_a_time: Arc<Semaphore>,
}

impl Login {
    /// `None` if there are no users, and nobody needs to log in.
    ///
    /// # Errors
    ///
    /// If one of the hashes is none of bcrypt's.
    pub(super) fn new(users: BTreeMap<String, String>) -> Result<Option<Self>, String> {
        for (user, hash) in &users {
            HashParts::from_str(hash).map_err(|_| {
                format!(
                    "basic_auth_users: the password of {user} is no bcrypt hash; make one with \
                     `htpasswd -nB {user}`"
                )
            })?;
        }
        Ok((!users.is_empty()).then(|| Self {
            users,
            accepted: Mutex::default(),
            key: RandomState::new(),
            one_at_a_time: Arc::new(Semaphore::new(1)),
        }))
    }

    /// Whether the value of a header `Authorization` is a user's.
    pub(super) async fn accepts(self: &Arc<Self>, header: &[u8]) -> bool {
        let Some((user, password)) = credentials(header) else {
            return false;
        };
        let key = self.key.hash_one((&user, &password));
        if self.accepted().contains(&key) {
            return true;
        }
        let turn = Arc::clone(&self.one_at_a_time).acquire_owned().await;
        let Ok(turn) = turn else {
            return false;
        };
        let hash = self.users.get(&user).cloned();
        let checked = spawn_blocking(move || {
            // Even if the client has hung up meanwhile, the next one's turn comes after this.
            let _turn = turn;
            let is_known = hash.is_some();
            let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
            bcrypt::verify(password, &hash).unwrap_or(false) && is_known
        });
        let accepts = checked.await.unwrap_or(false);
        if accepts {
            self.accepted().insert(key);
        }
        accepts
    }

    fn accepted(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user and the password in a header.
fn credentials(header: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, coded) = header.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let plain = STANDARD.decode(coded.trim_ascii()).ok()?;
    let colon = plain.iter().position(|&byte| byte == b':')?;
    let (user, password) = plain.split_at_checked(colon)?;
    let user = String::from_utf8(user.to_owned()).ok()?;
    Some((user, password.get(1..)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn only_the_users_and_their_passwords_are_accepted() {
        let hash = bcrypt::hash("secret:1", 4).unwrap();
        let users = BTreeMap::from([("prom".to_owned(), hash)]);
        let login = Arc::new(Login::new(users).unwrap().unwrap());
        let header = |scheme: &str, plain: &str| format!("{scheme} {}", STANDARD.encode(plain));
        for _ in 0..2 {
            for good in [
                header("Basic", "prom:secret:1"),
                header("basic", "prom:secret:1"),
            ] {
                assert!(login.accepts(good.as_bytes()).await, "{good}");
            }
            for bad in [
                header("Basic", "prom:secret"),
                header("Basic", "root:secret:1"),
                header("Basic", "prom"),
                header("Bearer", "prom:secret:1"),
                "Basic".to_owned(),
                "Basic ?".to_owned(),
                String::new(),
            ] {
                assert!(!login.accepts(bad.as_bytes()).await, "{bad}");
            }
        }
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_leaves_its_turn_to_nobody_before_it_is_over() {
        let hash = bcrypt::hash("secret", 12).unwrap();
        let users = BTreeMap::from([("prom".to_owned(), hash)]);
        let login = Arc::new(Login::new(users).unwrap().unwrap());
        let guess = format!("Basic {}", STANDARD.encode("prom:guess"));
        let hung_up = timeout(Duration::from_millis(5), login.accepts(guess.as_bytes()));
        assert!(hung_up.await.is_err());
        assert_eq!(login.one_at_a_time.available_permits(), 0);
        assert!(!login.accepts(guess.as_bytes()).await);
        assert_eq!(login.one_at_a_time.available_permits(), 1);
    }

    #[test]
    fn a_password_that_is_not_hashed_is_no_password() {
        let users = BTreeMap::from([("prom".to_owned(), "secret".to_owned())]);
        let why = Login::new(users).err().unwrap();
        assert!(why.contains("htpasswd -nB prom"), "{why}");
        assert!(Login::new(BTreeMap::new()).unwrap().is_none());
    }
}
