//! All ledgers answer alike: random batches are driven through them side by side.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use bytes::Bytes;
use ganger::job::review::{Review, Verdict as ReviewVerdict};
use ganger::job::{Failure, Job, JobId, NewJob, Seq, State};
use ganger::ledger::{
    Accepted, Batch, Confirm, Confirmed, Order, Ordered, ReviewFilter, ReviewOrder, ReviewStanding, Settled, Verdict,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::Bench;
use super::reviews::ruling;

/// Ids and keys are few, so that they meet.
const NAMES: u8 = 4;

/// One call, in terms that all ledgers share: jobs by number, lives by when they were first seen.
#[derive(Debug, Clone)]
enum Call {
    Commit { accepts: Vec<Spec>, settles: Vec<Outcome> },
    Confirm(Vec<(usize, i64, u32)>),
    Order(Vec<(u8, usize)>),
}

#[derive(Debug, Clone)]
struct Spec {
    id: Option<u8>,
    key: Option<u8>,
    fingerprint: u8,
}

#[derive(Debug, Clone)]
struct Outcome {
    life: usize,
    fence: i64,
    end: u8,
    child: Option<Spec>,
}

fn spec() -> impl Strategy<Value = Spec> {
    (prop::option::of(0..NAMES), prop::option::of(0..NAMES), 0..2_u8).prop_map(|(id, key, fingerprint)| Spec {
        id,
        key,
        fingerprint,
    })
}

fn outcome() -> impl Strategy<Value = Outcome> {
    (0..8_usize, 1..6_i64, 0..4_u8, prop::option::of(spec())).prop_map(|(life, fence, end, child)| Outcome {
        life,
        fence,
        end,
        child,
    })
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => (prop::collection::vec(spec(), 0..5), prop::collection::vec(outcome(), 0..4))
            .prop_map(|(accepts, settles)| Call::Commit { accepts, settles }),
        1 => prop::collection::vec((0..8_usize, 1..6_i64, 0..3_u32), 0..4).prop_map(Call::Confirm),
        2 => prop::collection::vec((0..7_u8, 0..8_usize), 1..4).prop_map(Call::Order),
    ]
}

/// One ledger and the lives it has shown, oldest first.
struct Side<'a> {
    bench: &'a Bench,
    lives: Vec<Seq>,
    jobs: HashMap<Seq, JobId>,
}

impl Side<'_> {
    /// The number of a life, the same on all sides.
    fn number(&mut self, seq: Seq, id: Option<&JobId>) -> usize {
        let at = self.lives.iter().position(|known| *known == seq).unwrap_or_else(|| {
            self.lives.push(seq);
            self.lives.len() - 1
        });
        if let Some(id) = id {
            self.jobs.insert(seq, id.clone());
        }
        at
    }

    /// The most recent lives come first; those beyond are unknown to the ledger.
    fn life(&self, back: usize) -> Seq {
        self.lives.len().checked_sub(back + 1).map_or(1_000_000, |at| self.lives[at])
    }

    fn id(&self, back: usize) -> JobId {
        self.jobs.get(&self.life(back)).cloned().unwrap_or_else(|| JobId::stored("nobody"))
    }

    async fn commit(&mut self, accepts: Vec<NewJob>, outcomes: &[(Outcome, Option<NewJob>)]) -> String {
        let settles = outcomes.iter().map(|(outcome, child)| {
            let verdict = match outcome.end {
                0 => Verdict::Retry { due_at: self.bench.now },
                end => Verdict::Rest {
                    state: [State::Succeeded, State::Failed, State::InReview][usize::from(end) - 1],
                    result: Some(Bytes::from_static(b"1")),
                    finished_at: self.bench.now,
                },
            };
            let job = NewJob { id: self.id(outcome.life), id_given: true, ..self.bench.job() };
            let mut settle = self.bench.outcome(&job, self.life(outcome.life), outcome.fence, verdict);
            settle.children = if outcome.end == 1 { child.iter().cloned().collect() } else { Vec::new() };
            settle
        });
        let batch = Batch { settles: settles.collect(), accepts, repeated: true };
        let answer = self.bench.ledger.commit(&batch).await.unwrap();
        let mut told = String::new();
        for (settle, settled) in batch.settles.iter().zip(&answer.settles) {
            match settled {
                Settled::Applied { children } => self.tell_accepts(&settle.children, children, &mut told),
                other => write!(told, "{other:?} ").unwrap(),
            }
        }
        self.tell_accepts(&batch.accepts, &answer.accepts, &mut told);
        told
    }

    fn tell_accepts(&mut self, jobs: &[NewJob], answers: &[Accepted], told: &mut String) {
        for (job, answer) in jobs.iter().zip(answers) {
            match answer {
                Accepted::Created { seq } => write!(told, "created {} ", self.number(*seq, Some(&job.id))).unwrap(),
                known @ Accepted::Existing { .. } => write!(told, "{known:?} ").unwrap(),
            }
        }
        told.push_str("| ");
    }

    async fn confirm(&mut self, asked: &[(usize, i64, u32)]) -> String {
        let claim = |&(back, fence, crashes): &(usize, i64, u32)| Confirm {
            seq: self.life(back),
            fence,
            deliveries: 2,
            crashes,
            deferrals: 0,
            now: self.bench.now,
        };
        let claims: Vec<Confirm> = asked.iter().map(claim).collect();
        let answers = self.bench.ledger.confirm(&claims).await.unwrap();
        let told = answers.into_iter().map(|answer| match answer {
            Confirmed::Live(job) => self.tell_job(*job),
            Confirmed::Void => "void ".to_owned(),
        });
        told.collect()
    }

    async fn order(&mut self, asked: &[(u8, usize)]) -> String {
        let orders: Vec<Order> = asked
            .iter()
            .map(|&(kind, back)| {
                let id = self.id(back);
                let seq = (kind == 0).then(|| self.life(back));
                match kind {
                    0 | 1 => Order::Rest { id, seq, state: State::Cancelled, error: Some(Failure::new("c", "m")) },
                    2 | 3 => Order::Revive { id, score: 5, by: "ada".to_owned() },
                    4 | 5 => {
                        let verdict = if kind == 4 { ReviewVerdict::Approved } else { ReviewVerdict::Rejected };
                        Order::Decide(Box::new(ruling(self.bench, &id, self.life(back), verdict)))
                    }
                    _ => Order::Delete { id },
                }
            })
            .collect();
        let answers = self.bench.ledger.order(&orders, self.bench.now).await.unwrap();
        let ids: Vec<JobId> = asked.iter().map(|&(_, back)| self.id(back)).collect();
        let told = answers.iter().zip(&ids).map(|(answer, id)| match answer {
            Ordered::Done { seq } => format!("done {} ", self.number(*seq, Some(id))),
            Ordered::Decided { seq, .. } => format!("decided {} ", self.number(*seq, Some(id))),
            other => format!("{other:?} "),
        });
        told.collect()
    }

    fn tell_job(&mut self, job: Job) -> String {
        let number = i64::try_from(self.number(job.seq, Some(&job.spec.id))).unwrap();
        format!("{:?} ", Job { seq: number, ..job })
    }

    /// Everything that the ledger holds.
    async fn everything(&mut self) -> String {
        let ledger = &self.bench.ledger;
        let jobs = ledger.page(&ganger::ledger::JobFilter::default(), None, 10_000, self.bench.now).await.unwrap();
        let mut told: String = jobs.into_iter().map(|job| self.tell_job(job)).collect();
        for standing in [ReviewStanding::Open, ReviewStanding::Decided(None)] {
            let filter = ReviewFilter { standing, ..ReviewFilter::default() };
            let reviews = self.bench.ledger.reviews(&filter, ReviewOrder::OldestFirst, None, 10_000).await.unwrap();
            // Which of one batch is opened first is nobody's business, and ledgers may leave numbers out.
            let numbered = reviews.into_iter().map(|review| (self.number(review.seq, None), review));
            let numbered: BTreeMap<usize, Review> = numbered.collect();
            for (life, review) in numbered {
                write!(told, "{life} {:?} ", Review { number: 0, seq: 0, ..review }).unwrap();
            }
        }
        told
    }
}

#[test]
fn all_ledgers_answer_alike() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 24, failure_persistence: None, ..Config::default() });
    let calls = prop::collection::vec(call(), 1..30);
    let ran = runner.run(&calls, |calls| {
        runtime.block_on(side_by_side(&calls));
        Ok(())
    });
    // The failing calls are printed whole: they are the seed.
    ran.unwrap_or_else(|failure| panic!("{failure}"));
}

async fn side_by_side(calls: &[Call]) {
    let lite = Bench::sqlite().await;
    let post = Bench { now: lite.now, ..Bench::postgres().await };
    let model = Bench { now: lite.now, ..Bench::model() };
    let mut sides = [&lite, &post, &model].map(|bench| Side { bench, lives: Vec::new(), jobs: HashMap::new() });
    for call in calls {
        let mut told = Vec::new();
        let drawn = drawn(&lite, call);
        for side in &mut sides {
            told.push(match call {
                Call::Commit { .. } => side.commit(drawn.0.clone(), &drawn.1).await,
                Call::Confirm(asked) => side.confirm(asked).await,
                Call::Order(asked) => side.order(asked).await,
            });
        }
        assert_eq!(told[0], told[1], "at {call:?}");
        assert_eq!(told[0], told[2], "the model at {call:?}");
        let [lite, post, model] = &mut sides;
        let everything = lite.everything().await;
        assert_eq!(everything, post.everything().await, "after {call:?}");
        assert_eq!(everything, model.everything().await, "the model after {call:?}");
    }
}

/// The jobs of a commit, drawn once for all sides.
fn drawn(bench: &Bench, call: &Call) -> (Vec<NewJob>, Vec<(Outcome, Option<NewJob>)>) {
    let job = |spec: &Spec| NewJob {
        id: spec.id.map_or_else(JobId::generate, |name| JobId::stored(&format!("id-{name}"))),
        id_given: spec.id.is_some(),
        idempotency_key: spec.key.map(|name| format!("key-{name}")),
        fingerprint: [spec.fingerprint; 32],
        ..bench.job()
    };
    let Call::Commit { accepts, settles } = call else { return (Vec::new(), Vec::new()) };
    let settles = settles.iter().map(|outcome| (outcome.clone(), outcome.child.as_ref().map(job)));
    (accepts.iter().map(job).collect(), settles.collect())
}
