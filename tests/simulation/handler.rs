//! A handler that does what the payload says and keeps its own story.
//!
//! `{"t": token, "stubborn": false, "plan": ["fail:20", "crash:5", "ok:50"]}`: one step for each time the
//! job is run, the last one for all later times. A step is `kind:ms` or `kind:ms:argument`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ganger::handler::{Envelope, Handler, Invocation, Ran};
use ganger::job::{Fence, JobId};
use serde_json::{Value, json};

use crate::site::Site;
use crate::story::Event;
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

/// Tells that a run was dropped, unless it ended.
struct Open<'a> {
    site: &'a Site,
    id: JobId,
    fence: Fence,
    run: u64,
    over: bool,
}

impl Open<'_> {
    fn end(&mut self, how: &'static str) {
        self.over = true;
        self.site.story.tell(Event::Ended { id: self.id.clone(), fence: self.fence, run: self.run, how });
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.site.story.tell(Event::Dropped { id: self.id.clone(), fence: self.fence, run: self.run });
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
        let Invocation { id, fence, attempt, .. } = &invocation;
        let run = self.runs.next(id);
        site.story.tell(Event::Started {
            id: id.clone(),
            fence: *fence,
            attempt: *attempt,
            run,
            node: site.id.clone(),
        });
        let mut open = Open { site, id: id.clone(), fence: *fence, run, over: false };
        let payload: Value = serde_json::from_slice(&invocation.payload).expect("the payload is JSON");
        let step = step(&payload, run);
        let stubborn = payload["stubborn"] == json!(true);
        tokio::select! {
            biased;
            () = invocation.stop.cancelled(), if !stubborn => {
                site.gate().await;
                open.end("stopped");
                return Ran::Stopped;
            }
            () = site.sleep(step.time) => {}
        }
        match step.kind.as_str() {
            "fail" => {
                open.end("fail");
                Ran::failed("temporary_failure", "as the payload says")
            }
            "final" => {
                open.end("fail");
                Ran::failed("http_4xx", "as the payload says")
            }
            "crash" => {
                open.end("crash");
                Ran::Crashed { message: "as the payload says".to_owned() }
            }
            "panic" => {
                open.end("crash");
                std::panic::panic_any(PANIC)
            }
            "defer" => {
                open.end("defer");
                Ran::Deferred { retry_after_ms: step.argument, reason: "as the payload says".to_owned() }
            }
            "review" => {
                open.end("review");
                Ran::replied(br#"{"ganger": {"review": {"reason": "as the payload says"}}}"#, None, None)
            }
            "kids" => {
                open.end("ok");
                let child = || json!({"type": "plain", "payload": {"t": 0, "plan": ["ok:10"]}});
                let enqueue = (0..step.argument).map(|_| child()).collect();
                Ran::Returned { result: "1".into(), envelope: Box::new(Envelope { enqueue, ..Envelope::default() }) }
            }
            _ => {
                open.end("ok");
                Ran::returned("1")
            }
        }
    }
}
