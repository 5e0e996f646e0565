//! Clients: they submit, repeat what was left open, and give orders.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ganger::engine::{Engine, Fate, Refusal, Submit};
use ganger::job::{JobId, QueueName, TypeName};
use ganger::ledger::Scope;
use ganger::service::lock;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::dice::Dice;
use crate::story::Event;
use crate::world::{QUEUES, World};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

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
                60..68 => self.order("cancel").await,
                68..74 => self.order("retry").await,
                74..78 => self.resubmit().await,
                78..80 => self.order("replay").await,
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
        let mut submit = self.draw(token);
        submit.idempotency_key.clone_from(&key);
        for _ in 0..6 {
            submit.id = id.as_ref().map(JobId::to_string);
            self.world.story.tell(Event::Asked { token, key: key.clone(), id: id.clone() });
            let copy = submit.clone();
            let answer = self.ask(|engine| async move { engine.submit(vec![copy]).await.pop() }).await.flatten();
            match answer {
                Some(Ok(submitted)) => {
                    lock(&self.known).ids.push(submitted.id.clone());
                    let created = submitted.fate == Fate::Created;
                    return self.world.story.tell(Event::Accepted { token, id: submitted.id, created });
                }
                Some(Err(Refusal::LedgerUnavailable { unknown, id: given, .. })) => {
                    if unknown {
                        self.world.story.tell(Event::Unknown { token });
                        // The refusal names the id under which the submit may be repeated.
                        id = id.or(given);
                    }
                }
                Some(Err(Refusal::Stopping)) => {}
                Some(Err(other)) => {
                    return self.world.story.tell(Event::Refused { token, why: other.to_string() });
                }
                None => {
                    self.world.story.tell(Event::Unknown { token });
                    if key.is_none() && id.is_none() {
                        return;
                    }
                }
            }
            tokio::time::sleep(self.dice.ms(50, 5_000)).await;
        }
    }

    fn draw(&self, token: u64) -> Submit {
        let kind = *self.dice.pick(&["plain", "plain", "plain", "short", "side", "side", "late"]).unwrap();
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
            1 => format!("kids:{}:{}", time.as_millis(), self.dice.range(1, 3)),
            2 => "fail:10".to_owned(),
            _ => format!("ok:{}", time.as_millis()),
        });
        let payload = json!({"t": token, "stubborn": self.dice.happens(0.1), "plan": plan});
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
            idempotency_key: None,
        }
    }

    fn any_id(&self) -> Option<JobId> {
        self.dice.pick(&lock(&self.known).ids).cloned()
    }

    fn ordered<T>(&self, order: &'static str, what: impl ToString, answer: Option<Result<T, Refusal>>) -> bool {
        let done = match answer {
            Some(Ok(_)) => Some(true),
            // Whoever hears that a store is away does not know how far the order came.
            Some(Err(Refusal::LedgerUnavailable { .. } | Refusal::BrokerUnavailable(_))) | None => None,
            Some(Err(_)) => Some(false),
        };
        self.world.story.tell(Event::Ordered { order, id: what.to_string(), done });
        done == Some(true)
    }

    async fn order(&self, order: &'static str) {
        let Some(id) = self.any_id() else { return };
        let of = id.clone();
        self.world.story.tell(Event::Ordered { order: "asks", id: format!("{order} {id}"), done: None });
        let answer = self.ask(|engine| async move {
            match order {
                "cancel" => engine.cancel(&of).await,
                "retry" => engine.retry(&of).await,
                _ => engine.replay(&of, None).await,
            }
        });
        let answer = answer.await;
        if let (Some(Ok(view)), "replay") = (&answer, order) {
            lock(&self.known).ids.push(view.job.spec.id.clone());
        }
        self.ordered(order, &id, answer);
    }

    /// Deletes a job with a given id and submits another one under it.
    async fn resubmit(&self) {
        let Some(id) = self.any_id().filter(|id| id.as_str().starts_with("given")) else { return };
        let of = id.clone();
        let answer = self.ask(|engine| async move { engine.delete(&of).await }).await;
        if self.ordered("delete", &id, answer) {
            self.submit(None, Some(id)).await;
        }
    }

    async fn read(&self) {
        let Some(id) = self.any_id() else { return };
        let patience = self.dice.ms(0, 3_000);
        let of = id.clone();
        let answer = self.ask(|engine| async move { engine.wait(&of, patience).await }).await;
        if let Some(Ok(view)) = answer {
            self.world.story.tell(Event::Read { id, seq: view.job.seq, state: view.state });
        }
    }

    async fn pause(&self) {
        let scope = if self.dice.happens(0.5) {
            Scope::Queue(QueueName::stored(self.dice.pick(&QUEUES).unwrap()))
        } else {
            Scope::Type(TypeName::stored("plain"))
        };
        let what = scope.to_string();
        let answer = self.ask(|engine| async move { engine.pause(&scope, "client", "").await }).await;
        self.ordered("pause", what, answer);
        tokio::time::sleep(self.dice.ms(100, 8_000)).await;
        self.resume_all().await;
    }

    async fn purge(&self) {
        let queue = QueueName::stored("side");
        let answer = self.ask(|engine| async move { engine.purge(&queue, "client").await }).await;
        self.ordered("purge", "side", answer);
    }

    /// Lifts every pause; true when all are lifted.
    pub async fn resume_all(&self) -> bool {
        let scopes = QUEUES.map(|name| Scope::Queue(QueueName::stored(name)));
        let mut all = true;
        for scope in scopes.into_iter().chain([Scope::Type(TypeName::stored("plain"))]) {
            let what = scope.to_string();
            let answer = self.ask(|engine| async move { engine.resume(&scope).await }).await;
            all &= self.ordered("resume", what, answer);
        }
        all
    }
}

/// The token of a payload.
pub fn token(payload: &[u8]) -> u64 {
    serde_json::from_slice::<Value>(payload).ok().and_then(|value| value["t"].as_u64()).unwrap_or(0)
}
