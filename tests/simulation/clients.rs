//! Clients: they submit, repeat what was left open, and give orders.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ganger::engine::{Engine, Fate, Refusal, Submit, Submitted};
use ganger::history::{self, Action, Order, OrderAnswer, Read, SubmitAnswer};
use ganger::job::{JobId, QueueName, TypeName};
use ganger::ledger::Scope;
use ganger::service::lock;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::world::{QUEUES, World};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// The types of jobs, common ones more often.
const KINDS: [&str; 7] = ["plain", "short", "plain", "side", "plain", "side", "late"];

/// What clients know together.
#[derive(Debug, Default)]
struct Known {
    tokens: u64,
    ids: Vec<JobId>,
    given: u64,
}

/// A client.
#[derive(Debug)]
pub struct Client {
    world: Arc<World>,
    dice: Dice,
    known: Arc<Mutex<Known>>,
}

/// Some clients that know each other's jobs.
pub fn some(world: &Arc<World>, dice: &Dice, count: u64) -> Vec<Client> {
    let known: Arc<Mutex<Known>> = Arc::default();
    (0..count).map(|_| Client { world: world.clone(), dice: dice.part(), known: known.clone() }).collect()
}

impl Client {
    /// Works for this long.
    pub async fn work(self, time: Duration) {
        let end = tokio::time::Instant::now() + time;
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(self.dice.ms(10, 4_000)).await;
            match self.dice.range(0, 99) {
                0..60 => self.submit_anew().await,
                60..68 => self.cancel().await,
                68..74 => self.retry().await,
                74..78 => self.resubmit().await,
                78..80 => self.replay().await,
                80..94 => self.read().await,
                94..97 => self.pause().await,
                97..98 => self.purge().await,
                _ => drop(self.resume_all().await),
            }
        }
    }

    /// Asks any node; `None` when no answer came.
    async fn ask<T, F: Future<Output = T>>(&self, request: impl FnOnce(Engine) -> F) -> Option<T> {
        let nodes = self.world.nodes();
        let node = self.dice.pick(&nodes)?;
        let engine = node.engine()?;
        let answered = async {
            node.site.gate().await;
            let answer = tokio::time::timeout(PATIENCE, request(engine)).await.ok();
            node.site.gate().await;
            answer
        };
        let answer = tokio::select! {
            biased;
            () = node.site.death() => None,
            answer = tokio::time::timeout(PATIENCE, answered) => answer.ok().flatten(),
        };
        // Now and then an answer is lost on its way.
        answer.filter(|_| !self.dice.happens(0.02))
    }

    async fn submit_anew(&self) {
        let key = self.dice.happens(0.3).then(|| format!("key-{}", self.dice.bits()));
        let id = self.dice.happens(0.2).then(|| {
            let mut known = lock(&self.known);
            known.given += 1;
            JobId::stored(&format!("given-{}", known.given))
        });
        self.submit(key, id).await;
    }

    /// Submits one job and repeats it, where that is safe, until it is answered.
    async fn submit(&self, key: Option<String>, mut id: Option<JobId>) {
        let token = {
            let mut known = lock(&self.known);
            known.tokens += 1;
            known.tokens
        };
        let mut submit = self.draw(token, key, id.is_some());
        if let Some(number) = id.as_ref().and_then(|id| id.as_str().strip_prefix("given-")) {
            // A given id is always of one type: that is what the checker goes by.
            KINDS[number.parse::<usize>().unwrap() % KINDS.len()].clone_into(&mut submit.job_type);
        }
        for _ in 0..6 {
            submit.id = id.as_ref().map(JobId::to_string);
            let call = self.told(&submit);
            let copy = submit.clone();
            let answer = self.ask(|engine| async move { engine.submit(vec![copy]).await.pop() }).await.flatten();
            let answered = submit_answer(call, answer.as_ref());
            self.world.story.saw(|at_us| history::Event::SubmitAnswer(SubmitAnswer { at_us, ..answered.clone() }));
            match (answered.status, answer) {
                (Some(200 | 201), Some(Ok(submitted))) => return lock(&self.known).ids.push(submitted.id),
                // The refusal names the id under which the submit may be repeated.
                (Some(503), _) if answered.unknown && submit.idempotency_key.is_none() => {
                    id = id.or(answered.id.as_deref().map(JobId::stored));
                }
                (Some(503), _) => {}
                (Some(_), _) => return,
                (None, _) if submit.idempotency_key.is_none() && id.is_none() => return,
                (None, _) => {}
            }
            tokio::time::sleep(self.dice.ms(50, 5_000)).await;
        }
    }

    /// Tells of a submit that is about to be sent.
    fn told(&self, submit: &Submit) -> u64 {
        let call = self.world.story.number();
        let payload = submit.payload.as_deref().map_or("", |payload| payload.get()).to_owned();
        let priority = submit.priority.as_ref().and_then(Value::as_u64);
        let delay_ms = submit.delay_ms.as_ref().and_then(Value::as_u64).unwrap_or(0);
        self.world.story.saw(|at_us| {
            history::Event::Submit(history::Submit {
                at_us,
                call,
                job_type: submit.job_type.clone(),
                key: submit.idempotency_key.clone(),
                id: submit.id.clone(),
                fingerprint: format!("{} {priority:?} {delay_ms} {payload}", submit.job_type),
                payload,
                queue: None,
                priority: priority.and_then(|priority| u8::try_from(priority).ok()),
                delay_ms,
            })
        });
        call
    }

    fn draw(&self, token: u64, key: Option<String>, given: bool) -> Submit {
        let kind = *self.dice.pick(&KINDS).unwrap();
        let mut plan: Vec<String> = Vec::new();
        for _ in 0..self.dice.range(0, 3) {
            let time = self.dice.ms(0, 2_000).as_millis();
            plan.push(match self.dice.range(0, 9) {
                0..6 => format!("fail:{time}"),
                6 => format!("crash:{time}"),
                7 => format!("panic:{time}"),
                8 => format!("defer:{time}:{}", self.dice.range(0, 4_000)),
                _ => format!("final:{time}"),
            });
        }
        let time = if self.dice.happens(0.1) { self.dice.ms(5_000, 45_000) } else { self.dice.ms(0, 2_000) };
        plan.push(match self.dice.range(0, 19) {
            0 => format!("review:{}", time.as_millis()),
            // Whoever is deleted leaves children whose parent nobody can read any more.
            1 if !given => format!("kids:{}:{}", time.as_millis(), self.dice.range(1, 3)),
            2 => "fail:10".to_owned(),
            _ => format!("ok:{}", time.as_millis()),
        });
        let payload = json!({"t": token, "k": key, "stubborn": self.dice.happens(0.1), "plan": plan});
        Submit {
            job_type: kind.to_owned(),
            payload: Some(RawValue::from_string(payload.to_string()).unwrap()),
            id: None,
            queue: None,
            priority: self.dice.happens(0.3).then(|| json!(self.dice.range(1, 5))),
            delay_ms: self.dice.happens(0.15).then(|| json!(self.dice.range(100, 20_000))),
            run_at: None,
            timeout_ms: None,
            labels: std::collections::BTreeMap::new(),
            idempotency_key: key,
        }
    }

    fn any_id(&self) -> Option<JobId> {
        self.dice.pick(&lock(&self.known).ids).cloned()
    }

    /// Gives an order and tells of it; answers whether it was carried out.
    async fn order<T, F: Future<Output = Result<T, Refusal>>>(
        &self,
        action: Action,
        about: About,
        request: impl FnOnce(Engine) -> F,
        made: impl FnOnce(T) -> Option<JobId>,
    ) -> bool {
        let call = self.world.story.number();
        let (job, queue) = match about {
            About::Job(id) => (Some(id.to_string()), None),
            About::Queue(name) => (None, Some(name.to_string())),
        };
        self.world.story.saw(|at_us| history::Event::Order(Order { at_us, call, action, job, queue }));
        let answer = self.ask(request).await;
        let (status, id) = match answer {
            Some(Ok(answer)) => (Some(200), made(answer)),
            Some(Err(refusal)) => (Some(status(&refusal)), None),
            None => (None, None),
        };
        lock(&self.known).ids.extend(id.clone());
        let id = id.map(|id| id.to_string());
        self.world.story.saw(|at_us| history::Event::OrderAnswer(OrderAnswer { at_us, call, status, id }));
        status == Some(200)
    }

    async fn cancel(&self) {
        let Some(id) = self.any_id() else { return };
        let of = id.clone();
        self.order(Action::Cancel, About::Job(id), |engine| async move { engine.cancel(&of).await }, |_| None).await;
    }

    async fn retry(&self) {
        let Some(id) = self.any_id() else { return };
        let of = id.clone();
        self.order(
            Action::Retry,
            About::Job(id),
            |engine| async move { engine.retry(&of, "an operator").await },
            |_| None,
        )
        .await;
    }

    async fn replay(&self) {
        let Some(id) = self.any_id() else { return };
        let of = id.clone();
        // Another payload, because the first one names a key that is not this job's.
        let payload = Bytes::from(json!({"t": 0, "plan": ["fail:10", "ok:10"]}).to_string());
        let request = |engine: Engine| async move { engine.replay(&of, Some(payload)).await };
        self.order(Action::Replay, About::Job(id), request, |view| Some(view.job.spec.id)).await;
    }

    /// Deletes a job with a given id and submits another one under it.
    async fn resubmit(&self) {
        let Some(id) = self.any_id().filter(|id| id.as_str().starts_with("given")) else { return };
        let of = id.clone();
        let request = |engine: Engine| async move { engine.delete(&of).await };
        if self.order(Action::Delete, About::Job(id.clone()), request, |()| None).await {
            self.submit(None, Some(id)).await;
        }
    }

    async fn purge(&self) {
        let queue = QueueName::stored("side");
        let of = queue.clone();
        let request = |engine: Engine| async move { engine.purge(&of, "client").await };
        self.order(Action::Purge, About::Queue(queue), request, |_| None).await;
    }

    async fn read(&self) {
        let Some(id) = self.any_id() else { return };
        let patience = self.dice.ms(0, 3_000);
        self.read_job(&id, patience).await;
    }

    /// Reads a job and tells of it; false when no answer came.
    pub async fn read_job(&self, id: &JobId, patience: Duration) -> bool {
        let (of, asked_us) = (id.clone(), self.world.story.now_us());
        let answer = self.ask(|engine| async move { engine.wait(&of, patience).await }).await;
        let (state, result, attempts) = match answer {
            Some(Ok(view)) => {
                let result = view.job.rest.as_ref().and_then(|rest| rest.result.as_ref());
                let result = result.map(|result| String::from_utf8_lossy(result).into_owned());
                (Some(view.state.name().to_owned()), result, Some(view.counters.attempts))
            }
            Some(Err(Refusal::NotFound { .. })) => (None, None, None),
            Some(Err(_)) | None => return false,
        };
        let job = id.to_string();
        self.world.story.saw(|at_us| history::Event::Read(Read { asked_us, at_us, job, state, result, attempts }));
        true
    }

    async fn pause(&self) {
        if self.dice.happens(0.5) {
            // A type has no place in a history.
            let scope = Scope::Type(TypeName::stored("plain"));
            let _unknown = self.ask(|engine| async move { engine.pause(&scope, "client", "").await }).await;
        } else {
            let queue = QueueName::stored(self.dice.pick(&QUEUES).unwrap());
            let scope = Scope::Queue(queue.clone());
            let request = |engine: Engine| async move { engine.pause(&scope, "client", "").await };
            self.order(Action::Pause, About::Queue(queue), request, |()| None).await;
        }
        tokio::time::sleep(self.dice.ms(100, 8_000)).await;
        self.resume_all().await;
    }

    /// Lifts every pause; true when all are lifted.
    pub async fn resume_all(&self) -> bool {
        let scope = Scope::Type(TypeName::stored("plain"));
        let lifted = self.ask(|engine| async move { engine.resume(&scope).await }).await;
        let mut all = matches!(lifted, Some(Ok(())));
        for queue in QUEUES.map(QueueName::stored) {
            let scope = Scope::Queue(queue.clone());
            let request = |engine: Engine| async move { engine.resume(&scope).await };
            all &= self.order(Action::Resume, About::Queue(queue), request, |()| None).await;
        }
        all
    }
}

/// What an order is about.
enum About {
    Job(JobId),
    Queue(QueueName),
}

/// The status under which the API tells a refusal.
fn status(refusal: &Refusal) -> u16 {
    match refusal {
        Refusal::LedgerUnavailable { .. }
        | Refusal::BrokerUnavailable(_)
        | Refusal::BrokerFull(_)
        | Refusal::Stopping => 503,
        Refusal::NotFound { .. } => 404,
        Refusal::Conflict { .. } | Refusal::WrongState { .. } => 409,
        _ => 400,
    }
}

fn submit_answer(call: u64, answer: Option<&Result<Submitted, Refusal>>) -> SubmitAnswer {
    let told = |status, id: Option<&JobId>, unknown| SubmitAnswer {
        at_us: 0,
        call,
        status,
        id: id.map(JobId::to_string),
        unknown,
    };
    match answer {
        None => told(None, None, false),
        Some(Ok(submitted)) => {
            told(Some(if submitted.fate == Fate::Created { 201 } else { 200 }), Some(&submitted.id), false)
        }
        Some(Err(refusal @ Refusal::LedgerUnavailable { unknown, id, .. })) => {
            told(Some(status(refusal)), id.as_ref(), *unknown)
        }
        Some(Err(refusal @ Refusal::Conflict { id, .. })) => told(Some(status(refusal)), Some(id), false),
        Some(Err(refusal)) => told(Some(status(refusal)), None, false),
    }
}

/// The token of a payload.
pub fn token(payload: &[u8]) -> u64 {
    serde_json::from_slice::<Value>(payload).ok().and_then(|value| value["t"].as_u64()).unwrap_or(0)
}
