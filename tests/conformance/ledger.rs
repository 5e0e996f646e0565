//! Every promise of the ledger's seam, on `SQLite`, on a real `PostgreSQL`, and on the model that simulations run on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says so by panicking")]

mod accepting;
mod alike;
mod bounds;

mod faults;
mod keeping;
mod logbook;
mod orders;
mod remedies;
mod reviews;
mod settling;
pub(crate) mod shared;
mod speed;
mod tallies;

use std::sync::Arc;

use bytes::Bytes;
use ganger::clock::{Clock, SystemClock, Timestamp};
use ganger::job::{Attempt, Counters, Failure, Fence, Job, JobId, NewJob, Priority, QueueName, Seq, State, TypeName};
use ganger::ledger::postgres::{PostgresLedger, PostgresParams};
use ganger::ledger::sqlite::{SqliteLedger, SqliteParams};
use ganger::ledger::{Accepted, Batch, Confirm, Confirmed, Ledger, Settled, Settlement, Verdict};

use crate::support::model_ledger::ModelLedger;
use crate::support::postgres::{Postgres, TestDatabase};

/// Makes a test of each scenario on each ledger.
macro_rules! on_every_ledger {
    ($($scenario:ident)+) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(&crate::ledger::Bench::sqlite().await).await;
            })+
        }
        mod model {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(&crate::ledger::Bench::model()).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(&crate::ledger::Bench::postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_every_ledger;

/// One ledger under test.
pub(crate) struct Bench {
    pub(crate) ledger: Arc<dyn Ledger>,
    /// The moment that the test calls now.
    pub(crate) now: Timestamp,
    _folder: Option<tempfile::TempDir>,
    _database: Option<TestDatabase>,
}

impl Bench {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let ledger = SqliteLedger::open(&path, SqliteParams::default(), Arc::new(SystemClock)).await.unwrap();
        Self { ledger: Arc::new(ledger), now: SystemClock.now(), _folder: Some(folder), _database: None }
    }

    pub(crate) fn model() -> Self {
        let ledger = ModelLedger::new(JobId::generate().as_str(), Arc::new(SystemClock));
        Self { ledger: Arc::new(ledger), now: SystemClock.now(), _folder: None, _database: None }
    }

    pub(crate) async fn postgres() -> Self {
        let database = Postgres::shared().await.migrated().await;
        // Nothing in these tests is about deadlines, and the machine may be busy.
        let params = PostgresParams { timeout_ms: 60_000, ..PostgresParams::default() };
        let ledger = PostgresLedger::connect(&database.url, params).await.unwrap();
        Self { ledger: Arc::new(ledger), now: SystemClock.now(), _folder: None, _database: Some(database) }
    }

    /// A job with a generated id and nothing special.
    pub(crate) fn job(&self) -> NewJob {
        NewJob {
            id: JobId::generate(),
            id_given: false,
            job_type: TypeName::new("mail").unwrap(),
            queue: QueueName::new("main").unwrap(),
            priority: Priority::NORMAL,
            payload: Bytes::from_static(br#"{"to":"a@b.c"}"#),
            labels: [("team".to_owned(), "blue".to_owned())].into(),
            due_at: None,
            score: self.now.millis(),
            timeout_ms: None,
            max_attempts: 3,
            idempotency_key: None,
            fingerprint: [7; 32],
            accepted_at: self.now,
            parent: None,
        }
    }

    /// A job with an id of the caller's.
    pub(crate) fn given(&self, id: &str) -> NewJob {
        NewJob { id: JobId::given(id).unwrap(), id_given: true, ..self.job() }
    }

    /// A job with an idempotency key.
    pub(crate) fn keyed(&self, key: &str) -> NewJob {
        NewJob { idempotency_key: Some(key.to_owned()), ..self.job() }
    }

    pub(crate) async fn accept(&self, accepts: Vec<NewJob>) -> Vec<Accepted> {
        let batch = Batch { accepts, ..Batch::default() };
        self.ledger.commit(&batch).await.unwrap().accepts
    }

    /// The same, as a committer does whose first answer was lost.
    pub(crate) async fn accept_again(&self, accepts: Vec<NewJob>) -> Vec<Accepted> {
        let batch = Batch { accepts, repeated: true, ..Batch::default() };
        self.ledger.commit(&batch).await.unwrap().accepts
    }

    /// Accepts one job that must be new.
    pub(crate) async fn create(&self, job: NewJob) -> Seq {
        created(&self.accept(vec![job]).await[0])
    }

    pub(crate) async fn settle(&self, settles: Vec<Settlement>) -> Vec<Settled> {
        let batch = Batch { settles, ..Batch::default() };
        self.ledger.commit(&batch).await.unwrap().settles
    }

    /// Accepts a job and brings it to rest.
    pub(crate) async fn finish(&self, job: NewJob, state: State, at: Timestamp) -> Seq {
        let seq = self.create(job.clone()).await;
        let verdict = Verdict::Rest { state, result: Some(Bytes::from_static(b"1")), finished_at: at };
        assert_eq!(self.settle(vec![self.outcome(&job, seq, 1, verdict)]).await, [applied()]);
        seq
    }

    /// The outcome of a run.
    pub(crate) fn outcome(&self, job: &NewJob, seq: Seq, fence: Fence, verdict: Verdict) -> Settlement {
        let state = match &verdict {
            Verdict::Rest { state, .. } => *state,
            Verdict::Retry { .. } => State::Retrying,
        };
        let error = (state != State::Succeeded).then(|| Failure::new("timeout", "took too long"));
        let run = Attempt {
            attempt: 1,
            worker: "node:exec-worker-1".to_owned(),
            fence,
            started_at: self.now,
            finished_at: self.now.plus_ms(5),
            outcome: state,
            error: error.clone(),
        };
        Settlement {
            seq,
            id: job.id.clone(),
            fence,
            verdict,
            counters: Counters { attempts: 1, deliveries: 1, crashes: 0, deferrals: 0 },
            history: vec![run],
            error,
            keyed: job.id_given || job.idempotency_key.is_some(),
            children: Vec::new(),
            review: None,
        }
    }

    pub(crate) fn success(&self) -> Verdict {
        Verdict::Rest {
            state: State::Succeeded,
            result: Some(Bytes::from_static(b"{\"ok\":true}")),
            finished_at: self.now,
        }
    }

    pub(crate) async fn look(&self, id: &JobId) -> Option<Job> {
        self.ledger.jobs(std::slice::from_ref(id)).await.unwrap().pop()
    }

    pub(crate) async fn confirm(&self, seq: Seq, fence: Fence) -> Confirmed {
        let claim = Confirm { seq, fence, deliveries: 2, crashes: 0, deferrals: 0, now: self.now };
        self.ledger.confirm(&[claim]).await.unwrap().pop().unwrap()
    }
}

pub(crate) fn created(answer: &Accepted) -> Seq {
    match answer {
        Accepted::Created { seq } => *seq,
        Accepted::Existing { .. } => panic!("expected a new job, not {answer:?}"),
    }
}

pub(crate) fn existing(id: &JobId, same: bool, at_rest: bool) -> Accepted {
    Accepted::Existing { id: id.clone(), same, at_rest }
}

pub(crate) fn applied() -> Settled {
    Settled::Applied { children: Vec::new() }
}
