//! What bounds the disk: retention by bytes, the pages that are free, the log, and reads that end.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ganger::clock::{Clock, SystemClock};
use ganger::job::NewJob;
use ganger::ledger::postgres::{PostgresLedger, PostgresParams};
use ganger::ledger::sqlite::{SqliteLedger, SqliteParams};
use ganger::ledger::{Batch, JobFilter, Ledger, LedgerError, Retention};
use sqlx::{Connection, SqliteConnection};

use super::{Bench, created};
use crate::support::postgres::Postgres;
use crate::support::wait::until;

const MIB: u64 = 1 << 20;
/// Free pages that stay in the file.
const FREE_KEPT: u64 = 16 * MIB;
/// What stays of a log that was large, and what it may grow to before readers are waited for.
const LOG_KEPT: u64 = 32 * MIB;
const LOG_MAX: u64 = 64 * MIB;

fn by_bytes(max_bytes: u64) -> Retention {
    Retention { max_age_ms: 1 << 40, max_jobs: 1 << 40, max_bytes, key_age_ms: 1 << 40 }
}

struct File {
    ledger: SqliteLedger,
    bench: Bench,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl File {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = open(&path, 5_000).await;
        Self { ledger, bench: Bench::sqlite().await, path, _folder: folder }
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).unwrap().len()
    }

    fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.path.with_extension("db-wal")).unwrap().len()
    }

    /// Goes on until nothing more is to be dropped.
    async fn retain(&self, max_bytes: u64) {
        while self.ledger.retain(by_bytes(max_bytes), self.bench.now).await.unwrap().more {}
    }

    /// A reader that looks at the present state until it is closed.
    async fn reader(&self) -> SqliteConnection {
        let mut reader = SqliteConnection::connect(&format!("sqlite://{}", self.path.display())).await.unwrap();
        sqlx::raw_sql("BEGIN; SELECT count(*) FROM live").execute(&mut reader).await.unwrap();
        reader
    }
}

/// Opens the file, as often as it takes when even that has little time on a busy machine.
async fn open(path: &Path, timeout_ms: u64) -> SqliteLedger {
    let params = SqliteParams { timeout_ms, ..SqliteParams::default() };
    until("the file is open", async || SqliteLedger::open(path, params, Arc::new(SystemClock)).await.ok()).await
}

/// A payload of this many bytes that no store can compress.
fn noise(bytes: usize, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(bytes + 16);
    text.push('"');
    while text.len() < bytes - 1 {
        // xorshift64 (Marsaglia 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        write!(text, "{state:016x}").unwrap();
    }
    text.truncate(bytes - 1);
    text.push('"');
    text
}

/// Accepts and finishes `count` jobs with payloads of `bytes` each.
async fn finish(ledger: &dyn Ledger, bench: &Bench, count: usize, bytes: usize) -> Vec<NewJob> {
    let job = |seed| NewJob { payload: noise(bytes, seed).into(), ..bench.job() };
    let jobs: Vec<NewJob> = (1..=count as u64).map(job).collect();
    let batch = Batch { accepts: jobs.clone(), ..Batch::default() };
    let accepted = ledger.commit(&batch).await.unwrap().accepts;
    let settles = jobs.iter().zip(&accepted);
    let settles = settles.map(|(job, accepted)| bench.outcome(job, created(accepted), 1, bench.success())).collect();
    ledger.commit(&Batch { settles, ..Batch::default() }).await.unwrap();
    jobs
}

#[tokio::test]
async fn a_sqlite_file_stays_within_its_bound_while_jobs_come_and_go() {
    let file = File::new().await;
    let (limit, round) = (4 * MIB, 8 * MIB);
    let mut largest = (0, 0);
    for _ in 0..12 {
        finish(&file.ledger, &file.bench, 16, 512 << 10).await;
        file.retain(limit).await;
        largest = (largest.0.max(file.bytes()), largest.1.max(file.log_bytes()));
        // The tables, what a round brings, what is free, and the indexes of a few rows.
        assert!(file.bytes() <= limit + round + FREE_KEPT + MIB, "{} bytes", file.bytes());
    }
    println!("96 MiB went through: the file had {} bytes at most, its log {}", largest.0, largest.1);
    assert!(largest.1 <= LOG_MAX, "{}", largest.1);
    let left = file.ledger.page(&JobFilter::default(), None, 99, file.bench.now).await.unwrap();
    assert_eq!(left.len(), 7, "as many jobs as weigh less than the limit");
}

#[tokio::test]
async fn a_sqlite_file_gives_back_what_a_burst_took_although_nothing_comes_after_it() {
    let file = File::new().await;
    finish(&file.ledger, &file.bench, 64, 1 << 20).await;
    file.retain(1 << 40).await;
    file.retain(MIB).await;
    let bytes = file.bytes();
    assert!(bytes <= MIB + FREE_KEPT + MIB, "{bytes} bytes");
}

#[tokio::test]
async fn a_log_that_readers_in_turn_keep_from_starting_anew_is_brought_back() {
    let file = File::new().await;
    let mut readers = vec![file.reader().await];
    while file.log_bytes() <= LOG_MAX {
        finish(&file.ledger, &file.bench, 8, 1 << 20).await;
        // Each begins before the one before it ends: there is never a moment without any.
        readers.push(file.reader().await);
        readers.remove(0).close().await.unwrap();
    }
    // While one does not end, the writer waits for it for a second and goes on.
    file.retain(1 << 40).await;
    let held = file.log_bytes();
    assert!(held > LOG_MAX, "{held}");
    while file.log_bytes() <= 2 * held {
        finish(&file.ledger, &file.bench, 8, 1 << 20).await;
    }
    // Readers go on in turn: waiting for those of one moment is enough.
    let retained = AtomicBool::new(false);
    let in_turn = async {
        while !retained.load(Ordering::Relaxed) {
            readers.push(file.reader().await);
            readers.remove(0).close().await.unwrap();
        }
    };
    let retain = async {
        file.retain(1 << 40).await;
        retained.store(true, Ordering::Relaxed);
    };
    tokio::join!(in_turn, retain);
    assert!(file.log_bytes() <= LOG_KEPT, "{}", file.log_bytes());
}

#[tokio::test]
async fn a_read_that_looks_through_too_much_is_interrupted() {
    let file = File::new().await;
    for _ in 0..10 {
        let accepts = (0..5_000).map(|_| file.bench.job()).collect();
        file.ledger.commit(&Batch { accepts, ..Batch::default() }).await.unwrap();
    }
    file.ledger.close().await;
    let ledger = open(&file.path, 10).await;
    let nobody = JobFilter { label: Some(("team".to_owned(), "none".to_owned())), ..JobFilter::default() };
    // On a busy machine the first answer may be that no connection was to be had in time.
    until("the page is interrupted", async || match ledger.page(&nobody, None, 10, SystemClock.now()).await {
        Err(LedgerError::Unavailable { reason, in_commit: false, .. }) if reason.contains("interrupted") => Some(()),
        Err(LedgerError::Unavailable { .. }) => None,
        other => panic!("expected an interruption, not {other:?}"),
    })
    .await;
    until("other reads go on", async || ledger.ping().await.ok()).await;
}

#[tokio::test]
async fn a_large_partition_is_trimmed_to_its_bytes_and_no_further() {
    let database = Postgres::shared().await.migrated().await;
    let params = PostgresParams { timeout_ms: 60_000, ..PostgresParams::default() };
    let ledger = PostgresLedger::connect(&database.url, params).await.unwrap();
    let bench = Bench::sqlite().await;
    let jobs = finish(&ledger, &bench, 60, 512 << 10).await;
    let ids: Vec<_> = jobs.iter().map(|job| job.id.clone()).collect();
    let left = until("the bytes are within their limit", async || {
        // Passes follow each other faster than the server's statistics.
        ledger.retain(by_bytes(10 * MIB), bench.now).await.unwrap();
        let left = ledger.jobs(&ids).await.unwrap().len();
        (left <= 20).then_some(left)
    });
    let left = left.await;
    for _ in 0..5 {
        ledger.retain(by_bytes(10 * MIB), bench.now).await.unwrap();
    }
    assert!(left >= 18 && ledger.jobs(&ids).await.unwrap().len() == left, "{left} of 60 are left");
}
