//! A history told line by line, in milliseconds.

use std::collections::{BTreeMap, BTreeSet};

use ganger::history::{
    Action, Backoff, Drained, Event, Fault, Header, Invariant, Order, OrderAnswer, Outcome, Part, Place, QueueFacts,
    Read, Reader, Run, RunEnd, Submit, SubmitAnswer, TypeFacts, VERSION, Verdict, check,
};

/// The moment at which every history here begins, in milliseconds since the Unix epoch.
const WALL_MS: i64 = 1_700_000_000_000;
/// What the histories here promise, in milliseconds.
pub const GRACE: i64 = 100;
pub const AFTERMATH: i64 = 1_000;
/// The delay of type `t` after its first failure, in milliseconds.
pub const DELAY: i64 = 200;
/// The longest run of type `t`, in milliseconds.
pub const TIMEOUT: i64 = 5_000;

pub struct Tale {
    pub events: Vec<Event>,
    calls: u64,
    runs: u64,
}

pub fn us(ms: i64) -> i64 {
    ms * 1_000
}

/// Type `t`: three attempts, exact delays of 200 and 400 ms. Type `once`: one attempt, expires after 1 s.
pub fn header() -> Header {
    let plain = TypeFacts {
        max_attempts: 3,
        timeout_ms: TIMEOUT as u64,
        backoff: Backoff::Exponential,
        base_delay_ms: DELAY as u64,
        max_delay_ms: 10_000,
        jitter: false,
        expire_after_ms: None,
    };
    let once = TypeFacts { max_attempts: 1, expire_after_ms: Some(1_000), ..plain.clone() };
    let queue = QueueFacts { slack_ms: vec![1_000, 2_000, 3_000, 4_000, 5_000], tolerance_ms: 50 };
    Header {
        version: VERSION,
        recorder: "test".to_owned(),
        wall_ms: WALL_MS,
        grace_ms: GRACE as u32,
        settle_ms: 50,
        aftermath_ms: AFTERMATH as u32,
        start_within_ms: Some(2_000),
        types: BTreeMap::from([("t".to_owned(), plain), ("once".to_owned(), once)]),
        queues: BTreeMap::from([("ordered".to_owned(), queue)]),
        ..Header::default()
    }
}

pub fn tale() -> Tale {
    Tale { events: vec![Event::Header(header())], calls: 0, runs: 0 }
}

impl Tale {
    pub fn submit(&mut self, at: i64, key: &str) -> u64 {
        self.send(Submit { at_us: us(at), key: Some(key.to_owned()), ..Submit::default() })
    }

    /// Fills in what is empty.
    pub fn send(&mut self, mut submit: Submit) -> u64 {
        self.calls += 1;
        submit.call = self.calls;
        let name = submit.key.clone().or(submit.id.clone()).unwrap_or_default();
        for field in [&mut submit.fingerprint, &mut submit.payload] {
            if field.is_empty() {
                *field = format!("of {name}");
            }
        }
        if submit.job_type.is_empty() {
            submit.job_type = "t".to_owned();
        }
        self.events.push(Event::Submit(submit));
        self.calls
    }

    pub fn answer(&mut self, at: i64, call: u64, status: u16, id: &str) -> &mut Self {
        let id = Some(id.to_owned()).filter(|id| !id.is_empty());
        self.events.push(Event::SubmitAnswer(SubmitAnswer {
            at_us: us(at),
            call,
            status: Some(status),
            id,
            unknown: false,
        }));
        self
    }

    /// A submit under the key `key of JOB`, accepted 1 ms later.
    pub fn accepted(&mut self, at: i64, job: &str) -> &mut Self {
        let call = self.submit(at, &format!("key of {job}"));
        self.answer(at + 1, call, 201, job)
    }

    pub fn start(&mut self, at: i64, job: &str, fence: i64, attempt: u32) -> u64 {
        self.start_as(Run { at_us: us(at), job: job.to_owned(), fence, attempt, ..Run::default() })
    }

    pub fn start_as(&mut self, mut run: Run) -> u64 {
        self.runs += 1;
        run.run = self.runs;
        if run.job_type.is_empty() {
            run.job_type = "t".to_owned();
        }
        self.events.push(Event::Run(run));
        self.runs
    }

    pub fn end(&mut self, at: i64, run: u64, outcome: Outcome) -> &mut Self {
        let result = (outcome == Outcome::Succeeded).then(|| "result".to_owned());
        self.end_as(RunEnd {
            at_us: us(at),
            run,
            outcome,
            result,
            class: None,
            retry_after_ms: 0,
            children: Vec::new(),
        })
    }

    pub fn end_as(&mut self, end: RunEnd) -> &mut Self {
        self.events.push(Event::RunEnd(end));
        self
    }

    /// A whole run of 100 ms.
    pub fn ran(&mut self, at: i64, job: &str, fence: i64, attempt: u32, outcome: Outcome) -> &mut Self {
        let run = self.start(at, job, fence, attempt);
        self.end(at + 100, run, outcome)
    }

    /// A read of 1 ms.
    pub fn read(&mut self, at: i64, job: &str, state: &str) -> &mut Self {
        let result = (state == "succeeded").then(|| "result".to_owned());
        self.read_as(at, job, Some(state), result)
    }

    pub fn read_as(&mut self, at: i64, job: &str, state: Option<&str>, result: Option<String>) -> &mut Self {
        let state = state.map(str::to_owned);
        let (asked_us, at_us) = (us(at), us(at + 1));
        self.events.push(Event::Read(Read { asked_us, at_us, job: job.to_owned(), state, result, attempts: None }));
        self
    }

    /// An order that is answered 1 ms later; without an answer when `status` is 0.
    pub fn order(&mut self, at: i64, action: Action, about: &str, status: u16) -> &mut Self {
        self.calls += 1;
        let call = self.calls;
        let of_queue = matches!(action, Action::Pause | Action::Resume | Action::Purge);
        let about = Some(about.to_owned());
        let (job, queue) = if of_queue { (None, about) } else { (about, None) };
        self.events.push(Event::Order(Order { at_us: us(at), call, action, job, queue }));
        if status > 0 {
            let status = Some(status);
            self.events.push(Event::OrderAnswer(OrderAnswer { at_us: us(at + 1), call, status, id: None }));
        }
        self
    }

    pub fn fault(&mut self, from: i64, to: i64, on: Part) -> &mut Self {
        self.events.push(Event::Fault(Fault { kind: "test".to_owned(), on, from_us: us(from), to_us: us(to) }));
        self
    }

    pub fn drained(&mut self, at: i64) -> &mut Self {
        self.events.push(Event::Drained(Drained { at_us: us(at) }));
        self
    }

    pub fn verdict(&self, strict: bool) -> Verdict {
        verdict(&self.events, strict)
    }

    pub fn is_sound(&self) -> &Self {
        assert_eq!(broken(&self.verdict(false)), [], "{:#?}", self.verdict(false));
        self
    }

    /// Not sound when nothing is excused.
    pub fn is_strictly(&self, expected: Invariant) {
        assert_eq!(broken(&self.verdict(true)), [expected], "{:#?}", self.verdict(true));
    }

    pub fn breaks(&self, expected: Invariant) {
        let verdict = self.verdict(false);
        assert_eq!(broken(&verdict), [expected], "{verdict:#?}");
        assert!(verdict.violations.iter().all(|violation| !violation.seen.is_empty() && !violation.job.is_empty()));
    }
}

/// Reads events as the program would, through their text, and judges them.
pub fn verdict(events: &[Event], strict: bool) -> Verdict {
    let mut reader = Reader::default();
    for (number, event) in events.iter().enumerate() {
        let text = serde_json::to_string(event).unwrap();
        let place = Place { file: 0, line: number + 1 };
        reader.line(place, &text).unwrap_or_else(|malformed| panic!("{text}: {malformed}"));
    }
    check(&reader.finish(), strict)
}

/// Which invariants are broken.
pub fn broken(verdict: &Verdict) -> Vec<Invariant> {
    let broken: BTreeSet<Invariant> = verdict.violations.iter().map(|violation| violation.invariant).collect();
    broken.into_iter().collect()
}
