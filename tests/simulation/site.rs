//! The place where a node runs, and the wires from there to the stores.

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

/// A place for a node.
#[derive(Debug)]
pub struct Site {
    pub id: NodeId,
    pub clock: Arc<SimClock>,
    pub story: Arc<Story>,
    pub dice: Dice,
    pub ledger_weather: Mutex<Weather>,
    pub broker_weather: Mutex<Weather>,
    frozen: watch::Sender<bool>,
    dead: watch::Sender<bool>,
    tasks: Tasks,
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
            frozen: watch::Sender::new(false),
            dead: watch::Sender::new(false),
            tasks,
        })
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
        let fate = self.fate(before);
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
            Fate::ErrorThenEffect => {
                let (delay, story, site) = (self.dice.ms(1, 3_000), self.story.clone(), self.id.clone());
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
