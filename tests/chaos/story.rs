//! What clients, operators and handlers record: one recorder, one clock.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ganger::clock::{Clock as _, SystemClock};
use ganger::history::{
    Action, Backoff, Drained, Event, Fault, Header, Order, OrderAnswer, Part, Place, QueueFacts, Read, Reader, Run,
    RunEnd, Submit, SubmitAnswer, TypeFacts, VERSION, Verdict, check,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::world::{LEASE_MS, RENEW_MS};

/// Attempts of every type here.
pub const MAX_ATTEMPTS: u32 = 4;
/// The longest run of every type but `long`, in milliseconds.
pub const TIMEOUT_MS: u64 = 20_000;
/// The first and the longest delay between attempts, in milliseconds.
pub const DELAYS_MS: (u64, u64) = (300, 1_500);
/// The slack of priorities 1 to 5, in milliseconds.
pub const SLACK_MS: [i64; 5] = [500, 1_000, 1_500, 2_000, 2_500];

/// A history that grows.
#[derive(Debug, Clone)]
pub struct Story(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    numbers: AtomicU64,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    events: Vec<Event>,
    accepted: Vec<String>,
    ended: u64,
}

/// The types that the handler serves; all but `calm` wait in the queue `flow`.
pub const TYPES: [&str; 6] = ["fast", "flaky", "slow", "parent", "calm", "long"];

pub fn queue_of(job_type: &str) -> &'static str {
    if job_type == "calm" { "calm" } else { "flow" }
}

fn header(began: Instant) -> Header {
    let facts = |job_type: &str| TypeFacts {
        max_attempts: MAX_ATTEMPTS,
        timeout_ms: if job_type == "long" { 600_000 } else { TIMEOUT_MS },
        backoff: Backoff::Exponential,
        base_delay_ms: DELAYS_MS.0,
        max_delay_ms: DELAYS_MS.1,
        jitter: false,
        expire_after_ms: None,
    };
    // On a machine with two cores and a debug build a start may lag behind its claim.
    let flow = QueueFacts { slack_ms: SLACK_MS.to_vec(), tolerance_ms: 2_000 };
    Header {
        version: VERSION,
        recorder: "chaos".to_owned(),
        at_us: micros(began),
        wall_ms: SystemClock.now().millis(),
        // Told to stop within one renewal.
        grace_ms: RENEW_MS + 2_000,
        settle_ms: 2_000,
        aftermath_ms: LEASE_MS + 2 * RENEW_MS + 2_000,
        // A busy machine answers late, and half a round trip is what a node may misjudge.
        early_ms: 200,
        types: TYPES.iter().map(|name| ((*name).to_owned(), facts(name))).collect(),
        queues: BTreeMap::from([("flow".to_owned(), flow)]),
        ..Header::default()
    }
}

fn micros(since: Instant) -> i64 {
    i64::try_from(since.elapsed().as_micros()).unwrap()
}

impl Story {
    pub fn begin() -> Self {
        let began = Instant::now();
        let told = Told { events: vec![Event::Header(header(began))], ..Told::default() };
        Self(Arc::new(Inner { began, numbers: AtomicU64::new(1), told: Mutex::new(told) }))
    }

    /// Its clock now, in microseconds.
    pub fn now_us(&self) -> i64 {
        micros(self.0.began)
    }

    fn number(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed)
    }

    fn tell<T>(&self, add: impl FnOnce(&mut Told, i64) -> T) -> T {
        let mut told = self.0.told.lock().unwrap();
        add(&mut told, self.now_us())
    }

    // === what is recorded ===

    /// Records a submit about to be sent; answers its call.
    pub fn submit(&self, submit: &Submit) -> u64 {
        let call = self.number();
        self.tell(|told, at_us| told.events.push(Event::Submit(Submit { at_us, call, ..submit.clone() })));
        call
    }

    pub fn submit_answer(&self, call: u64, status: Option<u16>, body: &Value) {
        let id = body["id"].as_str().map(str::to_owned);
        let unknown = body["outcome"] == "unknown";
        self.tell(|told, at_us| {
            told.accepted.extend(id.clone().filter(|_| matches!(status, Some(200 | 201))));
            told.events.push(Event::SubmitAnswer(SubmitAnswer { at_us, call, status, id, unknown }));
        });
    }

    pub fn run(&self, run: Run) -> u64 {
        let number = self.number();
        self.tell(|told, at_us| told.events.push(Event::Run(Run { at_us, run: number, ..run })));
        number
    }

    pub fn run_end(&self, end: RunEnd) {
        self.tell(|told, at_us| {
            told.ended += 1;
            told.events.push(Event::RunEnd(RunEnd { at_us, ..end }));
        });
    }

    pub fn order(&self, action: Action, job: Option<&str>, queue: Option<&str>) -> u64 {
        let call = self.number();
        let (job, queue) = (job.map(str::to_owned), queue.map(str::to_owned));
        self.tell(|told, at_us| told.events.push(Event::Order(Order { at_us, call, action, job, queue })));
        call
    }

    pub fn order_answer(&self, call: u64, status: Option<u16>) {
        self.tell(|told, at_us| {
            told.events.push(Event::OrderAnswer(OrderAnswer { at_us, call, status, id: None }));
        });
    }

    /// Records what a client has read; `job` is the API's body, none for 404.
    pub fn read(&self, asked_us: i64, id: &str, job: Option<&Value>) {
        let state = job.and_then(|job| job["state"].as_str()).map(str::to_owned);
        let result = job.map(|job| &job["result"]).filter(|result| !result.is_null()).map(digest);
        let attempts = job.and_then(|job| job["attempts"].as_u64()).and_then(|count| u32::try_from(count).ok());
        let job = id.to_owned();
        self.tell(|told, at_us| told.events.push(Event::Read(Read { asked_us, at_us, job, state, result, attempts })));
    }

    pub fn fault(&self, kind: &str, on: Part, from_us: i64) {
        let kind = kind.to_owned();
        self.tell(|told, to_us| told.events.push(Event::Fault(Fault { kind, on, from_us, to_us })));
    }

    pub fn drained(&self) {
        self.tell(|told, at_us| told.events.push(Event::Drained(Drained { at_us })));
    }

    // === what is asked of it ===

    /// Runs that have ended.
    pub fn ended(&self) -> u64 {
        self.0.told.lock().unwrap().ended
    }

    /// How many submits were accepted; an id for the `nth`, if there are so many.
    pub fn accepted(&self, nth: usize) -> (usize, Option<String>) {
        let told = self.0.told.lock().unwrap();
        (told.accepted.len(), told.accepted.get(nth).cloned())
    }

    /// Every id that anyone has heard of.
    pub fn ids(&self) -> BTreeSet<String> {
        let told = self.0.told.lock().unwrap();
        let ids = told.events.iter().flat_map(|event| match event {
            Event::Submit(submit) => submit.id.iter().cloned().collect(),
            Event::SubmitAnswer(answer) => answer.id.iter().cloned().collect(),
            Event::Run(run) => vec![run.job.clone()],
            Event::RunEnd(end) => end.children.clone(),
            _ => Vec::new(),
        });
        ids.collect()
    }

    /// What submits of this window were answered, for those sent and answered in it.
    pub fn answers(&self, from_us: i64, to_us: i64) -> Vec<Option<u16>> {
        let told = self.0.told.lock().unwrap();
        let sent = told.events.iter().filter_map(|event| match event {
            Event::Submit(submit) if submit.at_us >= from_us => Some(submit.call),
            _ => None,
        });
        let sent: HashSet<u64> = sent.collect();
        let answers = told.events.iter().filter_map(|event| match event {
            Event::SubmitAnswer(answer) if answer.at_us <= to_us && sent.contains(&answer.call) => Some(answer.status),
            _ => None,
        });
        answers.collect()
    }

    /// The runs of a job: number, fence and attempt.
    pub fn runs_of(&self, job: &str) -> Vec<(u64, i64, u32)> {
        let told = self.0.told.lock().unwrap();
        let runs = told.events.iter().filter_map(|event| match event {
            Event::Run(run) if run.job == job => Some((run.run, run.fence, run.attempt)),
            _ => None,
        });
        runs.collect()
    }

    /// When the first run after `us` started.
    pub fn first_start_after(&self, us: i64) -> Option<i64> {
        let told = self.0.told.lock().unwrap();
        let starts = told.events.iter().filter_map(|event| match event {
            Event::Run(run) if run.at_us > us => Some(run.at_us),
            _ => None,
        });
        starts.min()
    }

    /// The longest time without a start from `us` on until the last start, in microseconds.
    pub fn longest_silence(&self, us: i64) -> i64 {
        let told = self.0.told.lock().unwrap();
        let starts = told.events.iter().filter_map(|event| match event {
            Event::Run(run) if run.at_us > us => Some(run.at_us),
            _ => None,
        });
        let (_, longest) = starts.fold((us, 0), |(last, longest), start| (start, longest.max(start - last)));
        longest
    }

    /// Writes it to a file below the target folder and judges it.
    pub fn judge(&self, name: &str) -> (PathBuf, Verdict) {
        let told = self.0.told.lock().unwrap();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("chaos");
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.jsonl"));
        let mut text = String::new();
        let mut reader = Reader::default();
        for (number, event) in told.events.iter().enumerate() {
            text += &serde_json::to_string(event).unwrap();
            text.push('\n');
            reader.event(Place { file: 0, line: number + 1 }, event.clone()).expect("a history that hangs together");
        }
        std::fs::write(&path, text).unwrap();
        (path, check(&reader.finish(), false))
    }
}

/// Sixteen hexadecimal digits over the text of a JSON value.
pub fn digest(value: &Value) -> String {
    let hash = Sha256::digest(value.to_string());
    hash[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}
