//! From lines to a [`History`]: one time line for all recorders, calls joined with their answers,
//! runs with their ends, and everything that concerns a job in one place.

use std::collections::{BTreeMap, HashMap};

use super::event::{
    Action, Drained, Event, Fault, Header, Order, OrderAnswer, Outcome, Part, QueueFacts, Read, Run, RunEnd, Submit,
    SubmitAnswer, TypeFacts, VERSION,
};

/// Where a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The position of its file among those that were read, from 0.
    pub file: usize,
    /// From 1.
    pub line: usize,
}

/// A line that cannot be part of a history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Malformed {
    /// Where it stands.
    pub place: Place,
    /// What is wrong with it.
    pub reason: String,
}

/// A moment on the common time line, in microseconds.
pub(super) type At = i64;

/// Everything that was recorded, ready to be judged.
#[derive(Debug, Default)]
pub struct History {
    pub(super) events: u64,
    pub(super) limits: Limits,
    pub(super) types: HashMap<String, TypeFacts>,
    pub(super) queues: HashMap<String, QueueFacts>,
    pub(super) calls: Vec<Call>,
    pub(super) runs: Vec<RunSeen>,
    pub(super) orders: Vec<OrderSeen>,
    pub(super) reads: Vec<ReadSeen>,
    /// Kind of part, from, to.
    pub(super) faults: Vec<(Part, At, At)>,
    pub(super) drained: Option<At>,
    pub(super) jobs: Vec<Job>,
    pub(super) by_id: HashMap<String, usize>,
}

/// What may be expected, in microseconds; the largest of what the headers say.
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) grace: i64,
    pub(super) settle: i64,
    pub(super) aftermath: i64,
    pub(super) early: i64,
    pub(super) start_within: Option<i64>,
    /// How far the clocks of two recorders may be apart.
    pub(super) clocks: i64,
}

/// A submit and what became of it.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) place: Place,
    pub(super) at: At,
    pub(super) sent: Submit,
    pub(super) answer: Option<(Place, At, SubmitAnswer)>,
}

/// A run and its end.
#[derive(Debug)]
pub(super) struct RunSeen {
    pub(super) place: Place,
    pub(super) at: At,
    pub(super) seen: Run,
    pub(super) end: Option<(Place, At, RunEnd)>,
}

/// An operator's order and its answer.
#[derive(Debug)]
pub(super) struct OrderSeen {
    pub(super) place: Place,
    pub(super) at: At,
    pub(super) sent: Order,
    pub(super) answer: Option<(Place, At, OrderAnswer)>,
}

/// A read.
#[derive(Debug)]
pub(super) struct ReadSeen {
    pub(super) place: Place,
    pub(super) asked: At,
    pub(super) at: At,
    pub(super) seen: Read,
}

/// All that concerns one job; numbers point into the lists of the history.
#[derive(Debug, Default)]
pub(super) struct Job {
    pub(super) id: String,
    pub(super) calls: Vec<usize>,
    pub(super) runs: Vec<usize>,
    pub(super) orders: Vec<usize>,
    pub(super) reads: Vec<usize>,
    /// Runs that asked to enqueue it.
    pub(super) parents: Vec<usize>,
    /// Replays that made it.
    pub(super) replays: Vec<usize>,
}

/// What a client knows after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Accepted,
    Refused,
    Unknown,
}

/// Takes lines one by one.
#[derive(Debug, Default)]
pub struct Reader {
    history: History,
    /// The file and header in force.
    current: Option<(usize, usize, i64)>,
    recorders: Vec<(String, u32)>,
    calls: HashMap<(usize, u64), Pending>,
    runs: HashMap<(usize, u64), usize>,
}

#[derive(Debug, Clone, Copy)]
enum Pending {
    Submit(usize),
    Order(usize),
}

// === impl Reader ===

impl Reader {
    /// Takes one line. Empty lines are skipped.
    ///
    /// # Errors
    /// [`Malformed`] when it is no event, or contradicts the lines before it.
    pub fn line(&mut self, place: Place, text: &str) -> Result<(), Malformed> {
        let malformed = |reason: String| Malformed { place, reason };
        if text.trim().is_empty() {
            return Ok(());
        }
        let event = serde_json::from_str(text).map_err(|error| {
            let words = error.to_string();
            let words = words.rsplit_once(" at line ").map_or(words.as_str(), |(words, _)| words);
            malformed(format!("it is no event: {words} at column {}", error.column()))
        })?;
        self.event(place, event).map_err(malformed)
    }

    /// Takes one event.
    ///
    /// # Errors
    /// What contradicts the events before it.
    pub fn event(&mut self, place: Place, event: Event) -> Result<(), String> {
        self.history.events += 1;
        if let Event::Header(header) = event {
            return self.header(place, header);
        }
        let Some((file, recorder, offset)) = self.current.filter(|(file, ..)| *file == place.file) else {
            return Err("the file does not begin with a header".to_owned());
        };
        debug_assert_eq!(file, place.file, "the header in force is of this file");
        match event {
            Event::Header(_) => Ok(()),
            Event::Submit(sent) => self.submit(place, recorder, sent.at_us + offset, sent),
            Event::SubmitAnswer(answer) => self.submit_answer(place, recorder, answer.at_us + offset, answer),
            Event::Run(seen) => self.run(place, recorder, seen.at_us + offset, seen),
            Event::RunEnd(end) => self.run_end(place, recorder, end.at_us + offset, end),
            Event::Order(sent) => self.order(place, recorder, sent.at_us + offset, sent),
            Event::OrderAnswer(answer) => self.order_answer(place, recorder, answer.at_us + offset, answer),
            Event::Read(seen) => {
                let (asked, at) = (seen.asked_us + offset, seen.at_us + offset);
                let number = self.history.reads.len();
                self.history.job(&seen.job).reads.push(number);
                self.history.reads.push(ReadSeen { place, asked, at, seen });
                Ok(())
            }
            Event::Fault(Fault { on, from_us, to_us, .. }) => {
                if to_us < from_us {
                    return Err("the fault ends before it begins".to_owned());
                }
                self.history.faults.push((on, from_us + offset, to_us + offset));
                Ok(())
            }
            Event::Drained(Drained { at_us }) => {
                let at = at_us + offset;
                self.history.drained = Some(self.history.drained.map_or(at, |before| before.max(at)));
                Ok(())
            }
        }
    }

    /// The history of all lines.
    #[must_use]
    pub fn finish(mut self) -> History {
        let mut errors: Vec<i64> = self.recorders.iter().map(|(_, error_ms)| i64::from(*error_ms) * 1_000).collect();
        if errors.len() > 1 {
            errors.sort_unstable_by(|a, b| b.cmp(a));
            self.history.limits.clocks = errors[0] + errors[1];
        }
        self.history
    }

    fn header(&mut self, place: Place, header: Header) -> Result<(), String> {
        if header.version != VERSION {
            return Err(format!("the history has version {}; this program reads version {VERSION}", header.version));
        }
        let known = self.recorders.iter().position(|(name, _)| *name == header.recorder);
        let recorder = known.unwrap_or_else(|| {
            self.recorders.push((header.recorder.clone(), header.clock_error_ms));
            self.recorders.len() - 1
        });
        self.current = Some((place.file, recorder, header.wall_ms * 1_000 - header.at_us));
        let limits = &mut self.history.limits;
        let micros = |ms: u32| i64::from(ms) * 1_000;
        limits.grace = limits.grace.max(micros(header.grace_ms));
        limits.settle = limits.settle.max(micros(header.settle_ms));
        limits.aftermath = limits.aftermath.max(micros(header.aftermath_ms));
        limits.early = limits.early.max(micros(header.early_ms));
        limits.start_within = limits.start_within.max(header.start_within_ms.map(micros));
        merge(&mut self.history.types, header.types)?;
        merge(&mut self.history.queues, header.queues)
    }

    fn submit(&mut self, place: Place, recorder: usize, at: At, sent: Submit) -> Result<(), String> {
        let number = self.history.calls.len();
        if self.calls.insert((recorder, sent.call), Pending::Submit(number)).is_some() {
            return Err(format!("call {} was made before", sent.call));
        }
        if let Some(id) = &sent.id {
            self.history.job(id).calls.push(number);
        }
        self.history.calls.push(Call { place, at, sent, answer: None });
        Ok(())
    }

    fn submit_answer(&mut self, place: Place, recorder: usize, at: At, answer: SubmitAnswer) -> Result<(), String> {
        let Some(Pending::Submit(number)) = self.calls.remove(&(recorder, answer.call)) else {
            return Err(format!("call {} is no submit that waits for an answer", answer.call));
        };
        let call = &mut self.history.calls[number];
        let named = answer.id.clone().filter(|id| call.sent.id.as_ref() != Some(id));
        call.answer = Some((place, at, answer));
        // A refusal may name the job that stood in the way; it is none of this call's.
        if let Some(id) = named.filter(|_| call.fate() != Fate::Refused) {
            self.history.job(&id).calls.push(number);
        }
        Ok(())
    }

    fn run(&mut self, place: Place, recorder: usize, at: At, seen: Run) -> Result<(), String> {
        let number = self.history.runs.len();
        if self.runs.insert((recorder, seen.run), number).is_some() {
            return Err(format!("run {} was started before", seen.run));
        }
        self.history.job(&seen.job).runs.push(number);
        self.history.runs.push(RunSeen { place, at, seen, end: None });
        Ok(())
    }

    fn run_end(&mut self, place: Place, recorder: usize, at: At, end: RunEnd) -> Result<(), String> {
        let Some(number) = self.runs.get(&(recorder, end.run)).copied() else {
            return Err(format!("run {} was never started", end.run));
        };
        if self.history.runs[number].end.is_some() {
            return Err(format!("run {} has ended before", end.run));
        }
        for child in &end.children {
            self.history.job(child).parents.push(number);
        }
        self.history.runs[number].end = Some((place, at, end));
        Ok(())
    }

    fn order(&mut self, place: Place, recorder: usize, at: At, sent: Order) -> Result<(), String> {
        let number = self.history.orders.len();
        if self.calls.insert((recorder, sent.call), Pending::Order(number)).is_some() {
            return Err(format!("call {} was made before", sent.call));
        }
        let of_queue = matches!(sent.action, Action::Pause | Action::Resume | Action::Purge);
        match (&sent.job, &sent.queue) {
            (Some(job), _) if !of_queue => self.history.job(job).orders.push(number),
            (_, Some(_)) if of_queue => {}
            _ => return Err("the order does not say what it is about".to_owned()),
        }
        self.history.orders.push(OrderSeen { place, at, sent, answer: None });
        Ok(())
    }

    fn order_answer(&mut self, place: Place, recorder: usize, at: At, answer: OrderAnswer) -> Result<(), String> {
        let Some(Pending::Order(number)) = self.calls.remove(&(recorder, answer.call)) else {
            return Err(format!("call {} is no order that waits for an answer", answer.call));
        };
        if let Some(id) = &answer.id
            && self.history.orders[number].sent.action == Action::Replay
        {
            self.history.job(id).replays.push(number);
        }
        self.history.orders[number].answer = Some((place, at, answer));
        Ok(())
    }
}

fn merge<T: PartialEq>(into: &mut HashMap<String, T>, from: BTreeMap<String, T>) -> Result<(), String> {
    for (name, facts) in from {
        if into.get(&name).is_some_and(|known| *known != facts) {
            return Err(format!("an earlier header says otherwise about {name:?}"));
        }
        into.insert(name, facts);
    }
    Ok(())
}

// === impl History ===

impl History {
    fn job(&mut self, id: &str) -> &mut Job {
        let at = self.by_id.get(id).copied().unwrap_or_else(|| {
            self.jobs.push(Job { id: id.to_owned(), ..Job::default() });
            self.by_id.insert(id.to_owned(), self.jobs.len() - 1);
            self.jobs.len() - 1
        });
        &mut self.jobs[at]
    }

    /// The type of a job, from whoever named it.
    pub(super) fn type_of(&self, job: &Job) -> Option<&TypeFacts> {
        let submitted = job.calls.first().map(|&call| &self.calls[call].sent.job_type);
        let ran = || job.runs.first().map(|&run| &self.runs[run].seen.job_type);
        self.types.get(submitted.or_else(ran)?)
    }

    /// The run that has enqueued a job: one that succeeded and whose outcome is the recorded one, as
    /// far as anyone has read it.
    pub(super) fn parent_of(&self, job: &Job) -> Option<usize> {
        let recorded = |run: &RunSeen| {
            let reads = self.by_id.get(&run.seen.job).map_or(&[][..], |&parent| &self.jobs[parent].reads);
            // Of a parent that was deleted since nobody can tell.
            let reads = reads.iter().map(|&read| &self.reads[read]).filter(|read| read.seen.state.is_some());
            let last = reads.max_by_key(|read| (read.at, read.place));
            last.is_none_or(|last| {
                let same_result = run.result().is_none() || run.result() == last.seen.result.as_deref();
                last.seen.state.as_deref() == Some("succeeded") && same_result
            })
        };
        let won = |run: &RunSeen| run.outcome() == Some(Outcome::Succeeded) && recorded(run);
        job.parents.iter().copied().find(|&run| won(&self.runs[run]))
    }

    /// The run that asked for a review whose approval has enqueued a job, without any doubt: of several such runs
    /// of one parent nobody can tell which of them was approved.
    pub(super) fn approved_parent_of(&self, job: &Job) -> Option<usize> {
        let is_only = |run: &RunSeen| {
            let runs = self.by_id.get(&run.seen.job).map_or(&[][..], |&parent| &self.jobs[parent].runs);
            let asked = |&&run: &&usize| self.runs[run].outcome() == Some(Outcome::Review);
            runs.iter().filter(asked).count() == 1
        };
        let done = |run: &RunSeen| self.approvals(run).any(|order| order.done().is_some()) && is_only(run);
        job.parents.iter().copied().find(|&run| done(&self.runs[run]))
    }

    /// Whether an approval may have enqueued a job.
    pub(super) fn may_be_approved(&self, job: &Job) -> bool {
        job.parents.iter().any(|&run| self.approvals(&self.runs[run]).next().is_some())
    }

    /// The possible approvals of the job whose run asked for a review.
    fn approvals(&self, run: &RunSeen) -> impl Iterator<Item = &OrderSeen> {
        let parent = self.by_id.get(&run.seen.job).filter(|_| run.outcome() == Some(Outcome::Review));
        let orders = parent.map_or(&[][..], |&parent| &self.jobs[parent].orders);
        let orders = orders.iter().map(|&order| &self.orders[order]);
        let from = run.at;
        orders.filter(move |order| order.sent.action == Action::Approve && order.is_possible() && order.at >= from)
    }
}

impl TypeFacts {
    /// How long one run may take, in microseconds.
    pub(super) fn timeout(&self) -> At {
        i64::try_from(self.timeout_ms).unwrap_or(i64::MAX).saturating_mul(1_000)
    }
}

impl Call {
    pub(super) fn fate(&self) -> Fate {
        let Some((_, _, answer)) = &self.answer else { return Fate::Unknown };
        match answer.status {
            Some(200 | 201) => Fate::Accepted,
            Some(400..=499 | 503) if !answer.unknown => Fate::Refused,
            _ => Fate::Unknown,
        }
    }

    /// The id that an acceptance named.
    pub(super) fn accepted_as(&self) -> Option<&str> {
        let (_, _, answer) = self.answer.as_ref()?;
        answer.id.as_deref().filter(|_| self.fate() == Fate::Accepted)
    }
}

impl RunSeen {
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.end.as_ref().map(|(_, _, end)| end.outcome)
    }

    /// When it ended; the end of time when nobody saw it.
    pub(super) fn ended(&self) -> At {
        self.end.as_ref().map_or(At::MAX, |(_, at, _)| *at)
    }

    pub(super) fn result(&self) -> Option<&str> {
        self.end.as_ref()?.2.result.as_deref()
    }
}

impl OrderSeen {
    /// Whether it was done, for all that its operator knows.
    pub(super) fn is_possible(&self) -> bool {
        let status = self.answer.as_ref().and_then(|(_, _, answer)| answer.status);
        !matches!(status, Some(400..=499))
    }

    /// When its operator heard that it was done.
    pub(super) fn done(&self) -> Option<(Place, At)> {
        let (place, at, answer) = self.answer.as_ref()?;
        (answer.status == Some(200)).then_some((*place, *at))
    }

    /// From when on it has been done, if it was done at all.
    pub(super) fn settled_by(&self, aftermath: i64) -> At {
        match &self.answer {
            Some((_, at, answer)) if answer.status == Some(200) => *at,
            Some((_, at, _)) => at.saturating_add(aftermath),
            None => At::MAX,
        }
    }

    /// Whether it may end what was known of a job at rest.
    pub(super) fn may_renew(&self) -> bool {
        let renews = matches!(self.sent.action, Action::Retry | Action::Delete | Action::Approve | Action::Reject);
        renews && self.is_possible()
    }
}
