//! The place where a node runs, and the wires from there to the stores.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ganger::job::NodeId;
use ganger::service::{lock, watch};

use crate::clock::SimClock;
use crate::dice::Dice;
use crate::story::Story;
use crate::world::Tasks;

/// How a wire behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    /// No call gets through.
    pub away: bool,
    /// The share of calls that fail without effect.
    pub before: f64,
    /// The share of calls that take effect and whose answer is lost.
    pub after: f64,
    /// The share of calls that fail and take effect some time later all the same.
    pub late: f64,
    /// The longest way there or back, in milliseconds.
    pub way_ms: u64,
}

impl Weather {
    pub const CALM: Self = Self { away: false, before: 0.0, after: 0.0, late: 0.0, way_ms: 2 };
    pub const AWAY: Self = Self { away: true, ..Self::CALM };
}

/// What the wire does to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    ErrorBefore,
    ErrorAfter,
    ErrorThenEffect,
}

/// An error as a wire knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Certainly without effect: nothing was sent.
    Unsent,
    /// Something was sent and no answer came.
    Unanswered,
}

/// What a script does to one call.
#[derive(Debug, Clone)]
enum Act {
    /// It takes effect and its answer is lost.
    LoseAnswer,
    /// It fails, and takes effect after this time all the same.
    ComeLate(Duration),
    /// It waits before its effect.
    HoldBefore(Hold),
    /// Its answer waits.
    HoldAfter(Hold),
}

/// A call that is held up until it is released.
#[derive(Debug, Clone)]
pub struct Hold {
    reached: watch::Sender<bool>,
    released: watch::Sender<bool>,
}

impl Hold {
    fn new() -> Self {
        Self { reached: watch::Sender::new(false), released: watch::Sender::new(false) }
    }

    /// Waits until the call is there.
    pub async fn reached(&self) {
        self.reached.subscribe().wait_for(|reached| *reached).await;
    }

    /// Lets the call go on.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    async fn stand(&self) {
        self.reached.send_replace(true);
        self.released.subscribe().wait_for(|released| *released).await;
    }
}

/// A place for a node.
#[derive(Debug)]
pub struct Site {
    pub id: NodeId,
    pub clock: Arc<SimClock>,
    pub story: Arc<Story>,
    pub dice: Dice,
    pub ledger_weather: Mutex<Weather>,
    pub broker_weather: Mutex<Weather>,
    /// Whether its heartbeat may ever have lapsed, so that its leases may count as crashes.
    lapsed: AtomicBool,
    frozen: watch::Sender<bool>,
    dead: watch::Sender<bool>,
    tasks: Tasks,
    /// What is to happen to the next call of a name.
    script: Mutex<Vec<(&'static str, Act)>>,
}

impl Site {
    pub fn new(id: NodeId, clock: Arc<SimClock>, story: Arc<Story>, dice: Dice, tasks: Tasks) -> Arc<Self> {
        Arc::new(Self {
            id,
            clock,
            story,
            dice,
            ledger_weather: Mutex::new(Weather::CALM),
            broker_weather: Mutex::new(Weather::CALM),
            lapsed: AtomicBool::new(false),
            frozen: watch::Sender::new(false),
            dead: watch::Sender::new(false),
            tasks,
            script: Mutex::default(),
        })
    }

    /// Its heartbeat may lapse.
    pub fn lapse(&self) {
        self.lapsed.store(true, Ordering::Relaxed);
    }

    /// Whether its heartbeat may have lapsed.
    pub fn may_have_lapsed(&self) -> bool {
        self.lapsed.load(Ordering::Relaxed)
    }

    pub fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    pub fn is_frozen(&self) -> bool {
        *self.frozen.borrow()
    }

    /// From here on nothing of this node happens any more.
    pub fn die(&self) {
        self.dead.send_replace(true);
        self.frozen.send_replace(false);
    }

    /// Waits until the node is dead.
    pub async fn death(&self) {
        self.dead.subscribe().wait_for(|dead| *dead).await;
    }

    /// Passes when the node is not frozen: a stopped process neither sends nor hears. Never, once it is dead.
    pub async fn gate(&self) {
        if self.is_frozen() {
            self.frozen.subscribe().wait_for(|frozen| !*frozen).await;
        }
        if *self.dead.borrow() {
            std::future::pending::<()>().await;
        }
    }

    /// The next call of this name takes effect and its answer is lost.
    pub fn lose_answer(&self, what: &'static str) {
        lock(&self.script).push((what, Act::LoseAnswer));
    }

    /// The next call of this name fails, and takes effect after `time` all the same.
    pub fn come_late(&self, what: &'static str, time: Duration) {
        lock(&self.script).push((what, Act::ComeLate(time)));
    }

    /// The next call of this name is held up before its effect.
    pub fn hold_before(&self, what: &'static str) -> Hold {
        let hold = Hold::new();
        lock(&self.script).push((what, Act::HoldBefore(hold.clone())));
        hold
    }

    /// The answer to the next call of this name is held up.
    pub fn hold_after(&self, what: &'static str) -> Hold {
        let hold = Hold::new();
        lock(&self.script).push((what, Act::HoldAfter(hold.clone())));
        hold
    }

    fn scripted(&self, what: &str) -> Option<Act> {
        let mut script = lock(&self.script);
        let at = script.iter().position(|(name, _)| *name == what)?;
        Some(script.remove(at).1)
    }

    fn fate(&self, weather: Weather) -> Fate {
        let dice = &self.dice;
        if weather.away || dice.happens(weather.before) {
            Fate::ErrorBefore
        } else if dice.happens(weather.late) {
            Fate::ErrorThenEffect
        } else if dice.happens(weather.after) {
            Fate::ErrorAfter
        } else {
            Fate::Answered
        }
    }

    /// One way, there or back.
    async fn way(&self, weather: Weather) {
        // Most ways are shorter than the clock can tell: then others may come first all the same.
        if weather == Weather::CALM && self.dice.happens(0.6) {
            return;
        }
        tokio::time::sleep(self.dice.ms(0, weather.way_ms)).await;
    }

    /// Calls a store over a wire. `effect` is what the store does, in one step.
    pub async fn call<T: Send + 'static, E: Send + 'static>(
        &self,
        what: &'static str,
        weather: &Mutex<Weather>,
        effect: impl FnOnce() -> Result<T, E> + Send + 'static,
        cut: impl Fn(Cut) -> E,
    ) -> Result<T, E> {
        self.gate().await;
        let before = *lock(weather);
        let act = self.scripted(what);
        let fate = match act {
            Some(Act::LoseAnswer) => Fate::ErrorAfter,
            Some(Act::ComeLate(_)) => Fate::ErrorThenEffect,
            _ => self.fate(before),
        };
        if let Some(Act::HoldBefore(hold)) = &act {
            hold.stand().await;
        }
        self.way(before).await;
        let answer = match fate {
            Fate::Answered => effect(),
            Fate::ErrorBefore => {
                if before.away {
                    tokio::time::sleep(self.dice.ms(1, 2_000)).await;
                }
                Err(cut(if self.dice.happens(0.5) { Cut::Unsent } else { Cut::Unanswered }))
            }
            Fate::ErrorAfter => {
                let _lost = effect();
                Err(cut(Cut::Unanswered))
            }
            // The seam promises that these do nothing once their caller has given up.
            Fate::ErrorThenEffect if ["broker.claim", "broker.reap"].contains(&what) => Err(cut(Cut::Unanswered)),
            Fate::ErrorThenEffect => {
                let delay = match act {
                    Some(Act::ComeLate(time)) => time,
                    _ => self.dice.ms(1, 3_000),
                };
                let (story, site) = (self.story.clone(), self.id.clone());
                self.tasks.spawn(async move {
                    tokio::time::sleep(delay).await;
                    story.call(site.as_str(), what, "takes effect late");
                    let _lost = effect();
                });
                Err(cut(Cut::Unanswered))
            }
        };
        let told = match (fate, answer.is_ok()) {
            (Fate::Answered, true) => "ok",
            (Fate::Answered, false) => "refused",
            (Fate::ErrorBefore, _) => "error before",
            (Fate::ErrorAfter, _) => "error after",
            (Fate::ErrorThenEffect, _) => "error, effect later",
        };
        self.story.call(self.id.as_str(), what, told);
        if let Some(Act::HoldAfter(hold)) = &act {
            hold.stand().await;
        }
        let back = *lock(weather);
        self.way(back).await;
        self.gate().await;
        answer
    }

    /// Sleeps as a process does that may be stopped meanwhile.
    pub async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
        self.gate().await;
    }
}
