//! Password checks that a storm of reconnecting devices cannot turn into minutes of CPU: argon2 runs off the async
//! threads, few at a time, and what it verified is remembered by a keyed digest. Never holds a password.

use argon2::Argon2;
use argon2::password_hash::{PasswordVerifier, phc::PasswordHash};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;

/// argon2 is made to be slow and to take memory: this many at once, so that the rest of the gateway goes on.
const CHECKS_MAX: usize = 2;
/// Clients that may wait for a check. More are told to come back.
const WAITING_MAX: usize = 256;
/// Remembered checks; the oldest leaves first.
const REMEMBERED_MAX: usize = 8_192;
/// Longer passwords are refused unread.
const PASSWORD_LEN_MAX: usize = 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Good,
    Bad,
    /// Too many are waiting.
    Busy,
}

pub struct Passwords {
    /// Random for each start, so that a digest says nothing outside this process.
    key: [u8; 32],
    remembered: Mutex<Remembered>,
    running: Arc<Semaphore>,
    waiting: Semaphore,
}

#[derive(Default)]
struct Remembered {
    known: BTreeSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

/// The argon2 PHC string to store for `password`. Takes tens of milliseconds: not on an async thread.
pub fn hash(password: &str) -> Result<String, String> {
    use argon2::password_hash::PasswordHasher;
    Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            key: rand::random(),
            remembered: Mutex::default(),
            running: Arc::new(Semaphore::new(CHECKS_MAX)),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }
}

impl Passwords {
    /// Checks `password` against an argon2 PHC string.
    pub async fn check(&self, name: &str, hash: &str, password: &[u8]) -> Check {
        if password.len() > PASSWORD_LEN_MAX {
            return Check::Bad;
        }
        let digest = self.digest(name, hash, password);
        if self.remembered.lock().known.contains(&digest) {
            return Check::Good;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Check::Busy };
        let Ok(permit) = self.running.clone().acquire_owned().await else { return Check::Busy };
        if self.remembered.lock().known.contains(&digest) {
            return Check::Good;
        }
        let (hash, password) = (hash.to_owned(), password.to_vec());
        let good = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            PasswordHash::new(&hash).is_ok_and(|hash| Argon2::default().verify_password(&password, &hash).is_ok())
        })
        .await
        .unwrap_or(false);
        if !good {
            return Check::Bad;
        }
        self.remember(digest);
        Check::Good
    }

    /// Takes as long as [`Self::check`] of a wrong password does.
    pub async fn check_for_nobody(&self, password: &[u8]) -> Check {
        static NOBODY: OnceLock<String> = OnceLock::new();
        if NOBODY.get().is_none() {
            // Made once, off the async threads as all others.
            tokio::task::spawn_blocking(|| NOBODY.get_or_init(|| hash("nobody has this password").unwrap_or_default())).await.ok();
        }
        match self.check("", NOBODY.get().map_or("", String::as_str), password).await {
            Check::Busy => Check::Busy,
            Check::Good | Check::Bad => Check::Bad,
        }
    }

    fn remember(&self, digest: [u8; 32]) {
        let mut remembered = self.remembered.lock();
        if !remembered.known.insert(digest) {
            return;
        }
        remembered.order.push_back(digest);
        if remembered.order.len() > REMEMBERED_MAX
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.known.remove(&oldest);
        }
    }

    /// The hash is part of it: a changed password is checked anew.
    fn digest(&self, name: &str, hash: &str, password: &[u8]) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.key);
        for part in [name.as_bytes(), hash.as_bytes(), password] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        // Twice: what is stored cannot be extended.
        Sha256::digest(digest.finalize()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(password: &str) -> String {
        super::hash(password).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_enters_and_is_remembered_until_the_hash_changes() {
        let passwords = Passwords::default();
        let (old, new) = (hash("sesame"), hash("changed"));
        assert_eq!(passwords.check("hq/a", &old, b"wrong").await, Check::Bad);
        assert_eq!(passwords.check("hq/a", &old, b"sesame").await, Check::Good);
        assert_eq!(passwords.remembered.lock().order.len(), 1);
        // The second time nothing is computed: no permit is needed.
        let _all = passwords.running.clone().acquire_many_owned(CHECKS_MAX as u32).await.unwrap();
        assert_eq!(passwords.check("hq/a", &old, b"sesame").await, Check::Good);
        drop(_all);
        assert_eq!(passwords.check("hq/a", &new, b"sesame").await, Check::Bad);
        assert_eq!(passwords.check("hq/a", "no hash at all", b"sesame").await, Check::Bad);
    }
}
