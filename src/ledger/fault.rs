//! Errors of the stores in the ledger's words.
//!
//! What matters to the caller is whether the same call may succeed later, and whether this one may
//! have happened all the same. The second is possible only while a commit is under way: then the
//! store's silence says nothing about what it did.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::LedgerError;

/// How a schema is brought to where this program needs it.
pub(super) const HOW_TO_MIGRATE: &str = "run `ganger migrate up`, or start with `ganger serve --migrate`";

/// Whether a call has come to the point where the store may commit without being able to say so.
#[derive(Debug, Clone, Default)]
pub(super) struct Stage(Arc<AtomicBool>);

impl Stage {
    /// From here on the store may commit.
    pub(super) fn committing(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether that point was reached.
    pub(super) fn is_committing(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The store is silent, away or too busy.
pub(super) fn unavailable(place: &str, reason: impl Into<String>, in_commit: bool) -> LedgerError {
    LedgerError::Unavailable { place: place.to_owned(), reason: reason.into(), in_commit }
}

/// What a failed call to Postgres means.
pub(super) fn postgres(place: &str, error: &sqlx::Error, committing: bool) -> LedgerError {
    let Some(told) = error.as_database_error() else { return without_answer(place, error, committing) };
    let reason = told.message().to_owned();
    let code = told.code().unwrap_or_default();
    match code.get(..2).unwrap_or_default() {
        _ if code == "53100" => LedgerError::Full { place: place.to_owned() },
        // Data that is wrong in itself: bad values, broken constraints, rows beyond a limit.
        "22" | "23" | "54" => LedgerError::Refused { place: place.to_owned(), reason },
        "42" if code == "42501" => unavailable(place, reason, false),
        "42" | "0A" => schema(place, &format!("{reason}; {HOW_TO_MIGRATE}")),
        // A server that is told to stop, or a broken connection, may answer after it has committed.
        "57" if code != "57014" => unavailable(place, reason, committing),
        "08" => unavailable(place, reason, committing),
        // Everything else was rolled back before it was told: deadlocks, timeouts, too many connections.
        _ => unavailable(place, reason, false),
    }
}

/// What a failed call to `SQLite` means.
pub(super) fn sqlite(place: &str, error: &sqlx::Error, committing: bool) -> LedgerError {
    /// Sizing the shared index of the log fails with a code of its own when the disk is full.
    const IOERR_SHMSIZE: i32 = 4874;
    let Some(told) = error.as_database_error() else { return without_answer(place, error, committing) };
    let reason = told.message().to_owned();
    let code: i32 = told.code().and_then(|code| code.parse().ok()).unwrap_or_default();
    match code & 0xff {
        13 => LedgerError::Full { place: place.to_owned() },
        _ if code == IOERR_SHMSIZE => LedgerError::Full { place: place.to_owned() },
        // Too big, a broken constraint, a wrong type, a wrong number of parameters.
        18 | 19 | 20 | 25 => LedgerError::Refused { place: place.to_owned(), reason },
        1 if reason.starts_with("no such") || reason.contains("has no column") => {
            schema(place, &format!("{reason}; {HOW_TO_MIGRATE}"))
        }
        26 => schema(place, "the file is not a SQLite database"),
        // A write or fsync that failed leaves open what reached the disk.
        10 => unavailable(place, reason, committing),
        _ => unavailable(place, reason, false),
    }
}

/// The schema is not what this program needs.
pub(super) fn schema(place: &str, reason: &str) -> LedgerError {
    LedgerError::Schema { place: place.to_owned(), reason: reason.to_owned() }
}

fn without_answer(place: &str, error: &sqlx::Error, committing: bool) -> LedgerError {
    match error {
        sqlx::Error::Encode(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::InvalidArgument(_)
        | sqlx::Error::Configuration(_) => LedgerError::Refused { place: place.to_owned(), reason: error.to_string() },
        // No connection was had, so nothing was asked.
        sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => unavailable(place, error.to_string(), false),
        _ => unavailable(place, error.to_string(), committing),
    }
}
