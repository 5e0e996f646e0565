//! Which migrations a ledger has and which it needs.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::fault::{self, HOW_TO_MIGRATE};
use super::{LedgerError, Result};

/// One migration of a ledger's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Its number; they are applied in order.
    pub version: i64,
    /// What it does.
    pub name: String,
    /// Whether this ledger has it.
    pub applied: bool,
}

/// The migrations of one kind of store: number, name and text of each.
pub(super) type Known = &'static [(i64, &'static str, &'static str)];

/// A migrator of `known`.
pub(super) fn migrator(known: Known) -> Migrator {
    let migration = |&(version, name, text): &(i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, text.into_sql_str(), false)
    };
    Migrator::with_migrations(known.iter().map(migration).collect())
}

/// `known` beside those that the ledger has; ones that this program does not know come last.
pub(super) fn status(known: Known, applied: &[i64]) -> Vec<MigrationStatus> {
    let ours = known.iter().map(|&(version, name, _)| MigrationStatus {
        version,
        name: name.to_owned(),
        applied: applied.contains(&version),
    });
    let foreign = applied.iter().filter(|version| known.iter().all(|known| known.0 != **version));
    let foreign = foreign.map(|&version| MigrationStatus {
        version,
        name: "unknown to this version of ganger".to_owned(),
        applied: true,
    });
    ours.chain(foreign).collect()
}

/// Refuses a ledger whose schema this program cannot use.
pub(super) fn check(place: &str, known: Known, applied: &[i64]) -> Result<()> {
    let needed = known.last().map_or(0, |last| last.0);
    let found = applied.iter().copied().max().unwrap_or(0);
    if found > needed {
        let reason = format!("it has version {found} and this ganger knows {needed}; use a newer ganger");
        return Err(fault::schema(place, &reason));
    }
    match status(known, applied).iter().find(|migration| !migration.applied) {
        None => Ok(()),
        Some(_) if applied.is_empty() => {
            Err(fault::schema(place, &format!("its tables are missing; {HOW_TO_MIGRATE}")))
        }
        Some(missing) => {
            let reason = format!("migration {} ({}) is missing; {HOW_TO_MIGRATE}", missing.version, missing.name);
            Err(fault::schema(place, &reason))
        }
    }
}

/// What a failed migration means; `store` knows the store's own errors.
pub(super) fn failed(
    place: &str,
    error: sqlx::migrate::MigrateError,
    store: fn(&str, &sqlx::Error, bool) -> LedgerError,
) -> LedgerError {
    use sqlx::migrate::MigrateError as E;
    match error {
        E::Execute(cause) | E::ExecuteMigration(cause, _) => store(place, &cause, true),
        E::VersionMissing(version) => fault::schema(
            place,
            &format!("it has version {version}, which this ganger does not know; use a newer ganger"),
        ),
        other => fault::schema(place, &other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Known = &[(1, "one", ""), (2, "two", "")];

    #[test]
    fn a_schema_is_refused_with_what_to_do() {
        let refusal = |applied: &[i64]| check("x", KNOWN, applied).unwrap_err().to_string();
        assert!(check("x", KNOWN, &[1, 2]).is_ok());
        assert!(refusal(&[]).contains("ganger migrate up"));
        assert!(refusal(&[1]).contains("migration 2 (two) is missing"));
        assert!(refusal(&[1, 2, 3]).contains("newer ganger"));
        assert_eq!(status(KNOWN, &[1, 9]).iter().map(|m| m.applied).collect::<Vec<_>>(), [true, false, true]);
    }
}
