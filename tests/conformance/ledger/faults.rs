//! What goes wrong is told so that the caller knows what to do.

use std::sync::Arc;

use ganger::clock::{Clock, SystemClock};
use ganger::job::NewJob;
use ganger::ledger::postgres::{self, PostgresLedger, PostgresParams};
use ganger::ledger::sqlite::{self, SqliteLedger, SqliteParams};
use ganger::ledger::{Batch, Connected, Ledger, LedgerError};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use super::shared::node;
use super::{Bench, created};
use crate::support::postgres::Postgres;
use crate::support::wait::until;

const QUICK: PostgresParams = PostgresParams { pool_size: 4, timeout_ms: 2_000 };

async fn on_file(path: &std::path::Path, statement: &str) {
    let mut file = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut file).await.unwrap();
    file.close().await.unwrap();
}

async fn open(path: &std::path::Path) -> ganger::ledger::Result<SqliteLedger> {
    SqliteLedger::open(path, SqliteParams::default(), Arc::new(SystemClock)).await
}

#[tokio::test]
async fn a_sqlite_file_keeps_its_jobs_and_its_identity_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    assert!(sqlite::migration_status(&path).await.unwrap().iter().all(|migration| !migration.applied));
    let ledger = open(&path).await.unwrap();
    let identity = ledger.identity().await.unwrap();
    let bench = Bench::sqlite().await;
    let batch = Batch { accepts: vec![bench.job()], ..Batch::default() };
    let seq = created(&ledger.commit(&batch).await.unwrap().accepts[0]);
    ledger.close().await;
    let ledger = open(&path).await.unwrap();
    assert_eq!(ledger.identity().await.unwrap(), identity);
    assert_eq!(ledger.live_jobs(&[seq]).await.unwrap()[0].spec, batch.accepts[0]);
    assert!(sqlite::migration_status(&path).await.unwrap().iter().all(|migration| migration.applied));
}

#[tokio::test]
async fn a_sqlite_file_knows_no_node_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let now = SystemClock.now();
    let ledger = open(&path).await.unwrap();
    ledger.heartbeat(&node("ann", now), 60_000).await.unwrap();
    assert!(ledger.take_term("rebuild", &node("ann", now).id, 60_000).await.unwrap());
    // Killed rather than closed: nobody took leave.
    drop(ledger);
    let ledger = open(&path).await.unwrap();
    let heard = ledger.heartbeat(&node("bob", now), 60_000).await.unwrap();
    assert_eq!(heard.nodes.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), ["bob"]);
    assert!(ledger.take_term("rebuild", &node("bob", now).id, 60_000).await.unwrap());
}

#[tokio::test]
async fn a_sqlite_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    open(&path).await.unwrap().close().await;
    on_file(
        &path,
        "INSERT INTO _sqlx_migrations SELECT 99, 'later', installed_on, 1, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
    )
    .await;
    let refused = open(&path).await.unwrap_err();
    assert!(matches!(&refused, LedgerError::Schema { reason, .. } if reason.contains("newer ganger")), "{refused}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    std::fs::write(&path, "this is a letter to my aunt and no database at all, however long it may be\n".repeat(99))
        .unwrap();
    let refused = open(&path).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Schema { .. }), "{refused}");
}

#[tokio::test]
async fn a_sqlite_file_that_is_held_by_another_writer_is_unavailable_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let params = SqliteParams { timeout_ms: 100, ..SqliteParams::default() };
    let ledger = SqliteLedger::open(&path, params, Arc::new(SystemClock)).await.unwrap();
    let mut other = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let bench = Bench::sqlite().await;
    let batch = Batch { accepts: vec![bench.job()], ..Batch::default() };
    let busy = ledger.commit(&batch).await.unwrap_err();
    assert!(matches!(busy, LedgerError::Unavailable { in_commit: false, .. }), "{busy}");
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    created(&ledger.commit(&batch).await.unwrap().accepts[0]);
}

#[tokio::test]
async fn a_full_disk_is_told_with_the_file_and_reads_go_on() {
    let mount = SmallDisk::new();
    let path = mount.path().join("ledger.db");
    let ledger = open(&path).await.unwrap();
    let bench = Bench::sqlite().await;
    let job = || NewJob { payload: format!("\"{}\"", "x".repeat(200_000)).into(), ..bench.job() };
    let first = job();
    ledger.commit(&Batch { accepts: vec![first.clone()], ..Batch::default() }).await.unwrap();
    let mut full = None;
    for _ in 0..1_000 {
        let batch = Batch { accepts: vec![job()], ..Batch::default() };
        if let Err(error) = ledger.commit(&batch).await {
            full = Some(error);
            break;
        }
    }
    let full = full.expect("the disk is full some time");
    assert!(matches!(&full, LedgerError::Full { place } if place.ends_with("ledger.db")), "{full:?}");
    assert!(full.is_transient() && !full.is_unknown());
    assert_eq!(ledger.jobs(&[first.id]).await.unwrap().len(), 1);
    ledger.close().await;
}

#[tokio::test]
async fn a_postgres_without_tables_says_how_to_get_them() {
    let database = Postgres::shared().await.database().await;
    let refused = PostgresLedger::connect(&database.url, QUICK).await.unwrap_err();
    assert!(
        matches!(&refused, LedgerError::Schema { reason, .. } if reason.contains("ganger migrate up")),
        "{refused}"
    );
    let status = postgres::migration_status(&database.url, QUICK).await.unwrap();
    assert!(!status.is_empty() && status.iter().all(|migration| !migration.applied));
    postgres::migrate(&database.url).await.unwrap();
    postgres::migrate(&database.url).await.unwrap();
    let status = postgres::migration_status(&database.url, QUICK).await.unwrap();
    assert!(status.iter().all(|migration| migration.applied));
    PostgresLedger::connect(&database.url, QUICK).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn a_postgres_of_a_newer_version_is_refused() {
    let database = Postgres::shared().await.migrated().await;
    let later = "INSERT INTO _sqlx_migrations SELECT 99, 'later', installed_on, TRUE, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
    database.execute(later).await;
    for refused in [
        PostgresLedger::connect(&database.url, QUICK).await.map(drop).unwrap_err(),
        postgres::migrate(&database.url).await.unwrap_err(),
    ] {
        assert!(matches!(&refused, LedgerError::Schema { reason, .. } if reason.contains("newer ganger")), "{refused}");
    }
}

#[tokio::test]
async fn a_table_that_was_dropped_is_a_matter_of_the_schema() {
    let database = Postgres::shared().await.migrated().await;
    let ledger = PostgresLedger::connect(&database.url, QUICK).await.unwrap();
    database.execute("DROP TABLE pauses").await;
    assert!(matches!(ledger.pauses().await, Err(LedgerError::Schema { .. })));
}

#[tokio::test]
async fn data_that_the_store_refuses_is_no_fault_of_the_weather() {
    let odd = |bench: &Bench| NewJob { max_attempts: u32::MAX, ..bench.keyed("k") };
    let bench = Bench::postgres().await;
    let batch = Batch { accepts: vec![bench.job(), odd(&bench)], ..Batch::default() };
    let refused = bench.ledger.commit(&batch).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Refused { .. }), "{refused}");
    assert!(!refused.is_transient() && !refused.is_unknown());
    // Nothing of the batch is there, its keys included.
    assert!(bench.ledger.live_entries(0, 9).await.unwrap().is_empty());
    bench.create(bench.keyed("k")).await;
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_and_is_found_again() {
    let server = Postgres::start().await;
    let database = server.migrated().await;
    let ledger = PostgresLedger::connect(&database.url, QUICK).await.unwrap();
    let bench = Bench::sqlite().await;
    let batch = Batch { accepts: vec![bench.job()], ..Batch::default() };
    ledger.commit(&batch).await.unwrap();
    server.kill9().await;
    let away = ledger.commit(&batch).await.unwrap_err();
    assert!(matches!(away, LedgerError::Unavailable { .. }), "{away}");
    let away = PostgresLedger::connect(&database.url, QUICK).await.unwrap_err();
    assert!(matches!(away, LedgerError::Unavailable { in_commit: false, .. }), "{away}");
    server.restart().await;
    let answer = crate::support::wait::until("the ledger answers again", async || ledger.commit(&batch).await.ok());
    // What was acknowledged before the crash is there, under the life it had.
    let seq = created(&answer.await.accepts[0]);
    assert_eq!(ledger.live_jobs(&[seq]).await.unwrap()[0].spec, batch.accepts[0]);
}

#[tokio::test]
async fn a_call_that_waits_for_a_lock_ends_at_its_deadline() {
    let database = Postgres::shared().await.migrated().await;
    let ledger = PostgresLedger::connect(&database.url, PostgresParams { timeout_ms: 500, ..QUICK }).await.unwrap();
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE live").execute(&mut other).await.unwrap();
    let bench = Bench::sqlite().await;
    let batch = Batch { accepts: vec![bench.job()], ..Batch::default() };
    let late = ledger.commit(&batch).await.unwrap_err();
    assert!(matches!(late, LedgerError::Unavailable { .. }), "{late}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    crate::support::wait::until("the lock is gone", async || ledger.commit(&batch).await.ok()).await;
}

#[tokio::test]
async fn no_error_shows_a_password() {
    let away = PostgresLedger::connect("postgres://me:hunter2@127.0.0.1:1/jobs", QUICK).await.unwrap_err();
    assert!(matches!(away, LedgerError::Unavailable { .. }));
    assert!(!format!("{away} {away:?}").contains("hunter2"));
}

/// A file system of a few megabytes, or the largest file this process may write where mounting is not
/// allowed.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(folder.path())
            .status()
            .is_ok_and(|status| status.success());
        assert!(mounted, "this test mounts a small tmpfs: run it as root, or in `unshare --map-root-user --mount`");
        Self { folder }
    }

    fn path(&self) -> &std::path::Path {
        self.folder.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        std::process::Command::new("umount").arg("-l").arg(self.folder.path()).status().ok();
    }
}

#[tokio::test]
async fn calls_that_wait_for_a_connection_are_seen() {
    let database = Postgres::shared().await.migrated().await;
    let ledger = PostgresLedger::connect(&database.url, PostgresParams { pool_size: 1, ..QUICK }).await.unwrap();
    let idle = Connected { busy: 0, idle: 1, most: 1, waiting: 0 };
    assert_eq!(ledger.connections(), Some(idle));
    let mut other = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE pauses").execute(&mut other).await.unwrap();
    let calls = async { tokio::join!(ledger.pauses(), ledger.pauses(), ledger.pauses()) };
    let look = async {
        let full = Connected { busy: 1, idle: 0, most: 1, waiting: 2 };
        until("two calls wait", || async { (ledger.connections() == Some(full)).then_some(()) }).await;
        sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    };
    let ((one, two, three), ()) = tokio::join!(calls, look);
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert_eq!(ledger.connections(), Some(idle));
    // A call that is given up waits no more.
    sqlx::raw_sql("BEGIN; LOCK TABLE pauses").execute(&mut other).await.unwrap();
    let (late, later) = tokio::join!(ledger.pauses(), ledger.pauses());
    assert!(late.is_err() && later.is_err());
    assert_eq!(ledger.connections(), Some(Connected { idle: 0, ..idle }));
}
