//! Names and ids: checked once where they enter, trusted afterwards.
//!
//! They are reference-counted strings, because every job carries several of them across tasks.

use std::fmt;
use std::sync::Arc;

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

    /// A fresh, time-ordered id.
    #[must_use]
    pub fn generate() -> Self {
        Self::stored(uuid::Uuid::now_v7().hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()))
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
}
