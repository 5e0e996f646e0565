//! Names and ids: checked once where they enter, trusted afterwards.
//!
//! They are reference-counted strings, because every job carries several of them across tasks.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::Timestamp;

/// The longest id, name, idempotency key or label that is accepted, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Why a text cannot be a name or an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Longer than [`NAME_BYTES_MAX`].
    #[error("is {0} bytes long; at most {NAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// A character outside the alphabet.
    #[error("has the character {0:?} at byte {1}; allowed are letters, digits and . _ : - (a letter or digit first)")]
    Character(char, usize),
    /// A word that the API uses itself.
    #[error("is {0:?}, a word that the API keeps for itself")]
    Reserved(String),
}

/// Checks `[A-Za-z0-9][A-Za-z0-9._:-]{0,127}`.
fn check(text: &str) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty);
    }
    let odd = text
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_alphanumeric() || (at > 0 && matches!(c, '.' | '_' | ':' | '-'))));
    if let Some((at, c)) = odd {
        return Err(InvalidName::Character(c, at));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(InvalidName::TooLong(text.len()));
    }
    Ok(())
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and keeps `text`: letters, digits, `.`, `_`, `:` and `-`, at most
            /// [`NAME_BYTES_MAX`] bytes, the first a letter or digit.
            ///
            /// # Errors
            /// What is wrong with `text`.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// Takes a text that was checked when it was stored.
            #[must_use]
            pub fn stored(text: &str) -> Self {
                Self(Arc::from(text))
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )+};
}

names! {
    /// A job's id: a `UUIDv7` unless the caller gave one.
    JobId
    /// A queue's name; it is part of Redis keys and metric labels.
    QueueName
    /// A job type's name; it names a lane of its queue too.
    TypeName
    /// A worker pool's name.
    PoolName
    /// One running `ganger serve`, new at every start.
    NodeId
    /// A worker's name, such as `exec-worker-3`; unique within its node.
    WorkerName
}

impl JobId {
    /// Checks an id that a caller gives to its own job.
    ///
    /// # Errors
    /// What is wrong with `text`; `batch` and `stuck` are routes of the API.
    pub fn given(text: &str) -> Result<Self, InvalidName> {
        if matches!(text, "batch" | "stuck") {
            return Err(InvalidName::Reserved(text.to_owned()));
        }
        Self::new(text)
    }

    /// A fresh, time-ordered id for callers outside the engine, by the machine's own time and chance.
    #[must_use]
    pub fn generate() -> Self {
        Self::of(uuid::Uuid::now_v7())
    }

    fn of(uuid: uuid::Uuid) -> Self {
        Self::stored(uuid.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()))
    }
}

/// Draws fresh job ids: `UUIDv7`, each greater than the one before, so that jobs of one millisecond keep
/// their order. The 12 bits below the time are a counter (RFC 9562, section 6.2, method 1) that runs over
/// into the time; the rest is chance.
#[derive(Debug, Default)]
pub struct JobIds {
    /// Time and counter of the last id.
    last: AtomicU64,
}

impl JobIds {
    const COUNTER_BITS: u32 = 12;

    /// The next id at `now`; `roll` is 64 random bits.
    pub fn draw(&self, now: Timestamp, roll: u64) -> JobId {
        let earliest = now.millis().max(0).unsigned_abs() << Self::COUNTER_BITS;
        let after = |last: u64| earliest.max(last + 1);
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last)));
        let at = after(last.unwrap_or_else(|last| last));
        let (ms, count) = (at >> Self::COUNTER_BITS, at & ((1 << Self::COUNTER_BITS) - 1));
        // The version goes above the counter, the variant above the chance.
        let high = (ms << 16) | 0x7000 | count;
        let low = (1 << 63) | (roll >> 2);
        JobId::of(uuid::Uuid::from_u64_pair(high, low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_reserved_words_are_named() {
        assert_eq!(JobId::given("a\u{7}b"), Err(InvalidName::Character('\u{7}', 1)));
        assert_eq!(JobId::given("stuck"), Err(InvalidName::Reserved("stuck".into())));
        assert_eq!(JobId::given("-x"), Err(InvalidName::Character('-', 0)));
        assert_eq!(JobId::given(&"x".repeat(129)), Err(InvalidName::TooLong(129)));
        assert!(JobId::given("order-7:line.2_b").is_ok());
    }

    #[test]
    fn generated_ids_are_valid_and_ordered() {
        let ids: Vec<JobId> = (0..100).map(|_| JobId::generate()).collect();
        assert!(ids.iter().all(|id| JobId::given(id.as_str()).is_ok()));
        assert!(ids.is_sorted());
    }

    #[test]
    fn drawn_ids_follow_from_time_and_chance_and_keep_their_order() {
        let ids = JobIds::default();
        let first = ids.draw(Timestamp(1_767_323_045_678), 0);
        assert_eq!(first.as_str(), "019b7ca9-8f2e-7000-8000-000000000000");
        // Many in one millisecond, a clock that steps back, chance at its highest.
        let more: Vec<JobId> = (0..5_000).map(|n| ids.draw(Timestamp(1_767_323_045_678 - n), u64::MAX)).collect();
        assert!(more.is_sorted_by(|one, next| one < next) && first < more[0]);
        for id in more {
            let uuid = uuid::Uuid::parse_str(id.as_str()).unwrap();
            assert_eq!((uuid.get_version_num(), uuid.get_variant()), (7, uuid::Variant::RFC4122));
        }
    }
}
