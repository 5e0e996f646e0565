//! A handler that does what the payload says and keeps its own story.
//!
//! `{"t": token, "stubborn": false, "plan": ["fail:20", "crash:5", "ok:50"]}`: one step for each time the
//! job is run, the last one for all later times. A step is `kind:ms` or `kind:ms:argument`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ganger::handler::{Envelope, Handler, Invocation, Ran};
use ganger::history::{self, Outcome, Part, Run, RunEnd};
use serde_json::{Value, json};

use crate::site::Site;
use crate::world::Runs;

/// What a panic of a handler says, so that the harness can tell it from a panic of the engine.
pub const PANIC: &str = "a handler panics as its payload says";

/// The handler of one node.
#[derive(Debug)]
pub struct Scripted {
    site: Arc<Site>,
    runs: Runs,
}

impl Scripted {
    pub fn new(site: Arc<Site>, runs: Runs) -> Self {
        Self { site, runs }
    }
}

/// A run that was told of; it was dropped unless it ended.
struct Open<'a> {
    site: &'a Site,
    number: u64,
    over: bool,
}

impl Open<'_> {
    fn end(&mut self, outcome: Outcome) {
        self.end_with(outcome, RunEnd { run: self.number, ..self.plain() });
    }

    fn end_with(&mut self, outcome: Outcome, end: RunEnd) {
        self.over = true;
        self.site.story.saw(|at_us| history::Event::RunEnd(RunEnd { at_us, run: self.number, outcome, ..end }));
    }

    fn plain(&self) -> RunEnd {
        let (result, class, children) = (None, None, Vec::new());
        RunEnd { at_us: 0, run: self.number, outcome: Outcome::Dropped, result, class, retry_after_ms: 0, children }
    }

    /// It dies without an answer.
    fn crash(&mut self) {
        self.over = true;
        self.site.story.fault(Part::Handler, format!("run {} crashes", self.number), Duration::ZERO);
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.end(Outcome::Dropped);
        }
    }
}

/// One step of a plan.
struct Step {
    kind: String,
    time: Duration,
    argument: u64,
}

fn step(payload: &Value, run: u64) -> Step {
    let plan = payload["plan"].as_array().expect("a payload of the simulation has a plan");
    let at = usize::try_from(run).unwrap().min(plan.len() - 1);
    let mut parts = plan[at].as_str().expect("a step is a text").split(':');
    let kind = parts.next().unwrap_or("").to_owned();
    let mut number = || parts.next().map_or(0, |part| part.parse().expect("a step has numbers"));
    Step { kind, time: Duration::from_millis(number()), argument: number() }
}

#[async_trait]
impl Handler for Scripted {
    async fn run(&self, invocation: Invocation) -> Ran {
        let site = &*self.site;
        site.gate().await;
        let text = String::from_utf8_lossy(&invocation.payload).into_owned();
        let payload: Value = serde_json::from_str(&text).expect("the payload is JSON");
        let mut open = Open { site, number: site.story.number(), over: false };
        site.story.saw(|at_us| history::Event::Run(seen(&invocation, site, &payload, text, open.number, at_us)));
        let step = step(&payload, self.runs.next(&invocation.id));
        let stubborn = payload["stubborn"] == json!(true);
        tokio::select! {
            biased;
            () = invocation.stop.cancelled(), if !stubborn => {
                site.gate().await;
                open.end(Outcome::Dropped);
                return Ran::Stopped;
            }
            () = site.sleep(step.time) => {}
        }
        match step.kind.as_str() {
            "fail" => {
                open.end(Outcome::Failed);
                Ran::failed("temporary_failure", "as the payload says")
            }
            "final" => {
                open.end(Outcome::Failed);
                Ran::failed("http_4xx", "as the payload says")
            }
            "crash" => {
                open.crash();
                Ran::Crashed { message: "as the payload says".to_owned() }
            }
            "panic" => {
                open.crash();
                std::panic::panic_any(PANIC)
            }
            "defer" => {
                open.end_with(Outcome::Deferred, RunEnd { retry_after_ms: step.argument, ..open.plain() });
                Ran::Deferred { retry_after_ms: step.argument, reason: "as the payload says".to_owned() }
            }
            "review" => {
                let (children, submits) = children(&open, &invocation, step.argument);
                open.end_with(Outcome::Review, RunEnd { children, ..open.plain() });
                let review = json!({"reason": "as the payload says", "on_approve": submits});
                Ran::replied(json!({"ganger": {"review": review}}).to_string().as_bytes(), None, None)
            }
            _ => succeed(&mut open, &invocation, step.argument),
        }
    }
}

/// The result names the fence, so that everyone can see whose it is; so do the ids of its children.
fn succeed(open: &mut Open<'_>, invocation: &Invocation, count: u64) -> Ran {
    let result = invocation.fence.to_string();
    let (children, enqueue) = children(open, invocation, count);
    let envelope = Envelope { enqueue, ..Envelope::default() };
    open.end_with(Outcome::Succeeded, RunEnd { result: Some(result.clone()), children, ..open.plain() });
    Ran::Returned { result: result.into(), envelope: Box::new(envelope) }
}

/// The ids of so many children, and their submits.
fn children(open: &Open<'_>, invocation: &Invocation, count: u64) -> (Vec<String>, Vec<Value>) {
    let ids: Vec<String> = (0..count).map(|nth| format!("kid-{nth}-{}-{}", open.number, invocation.id)).collect();
    let submit = |id: &String| json!({"type": "plain", "id": id, "payload": {"t": 0, "plan": ["ok:10"]}});
    let submits = ids.iter().map(submit).collect();
    (ids, submits)
}

fn seen(invocation: &Invocation, site: &Site, payload: &Value, text: String, run: u64, at_us: i64) -> Run {
    Run {
        at_us,
        run,
        job: invocation.id.to_string(),
        fence: invocation.fence,
        attempt: invocation.attempt,
        job_type: invocation.job_type.to_string(),
        queue: Some(invocation.queue.to_string()),
        key: payload["k"].as_str().map(str::to_owned),
        payload: Some(text),
        caller: Some(site.id.to_string()),
    }
}
