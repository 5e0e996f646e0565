//! One pool: the dispatcher that claims for a crew of workers.
//!
//! It claims as many jobs as it has idle workers and never more, so nothing is hoarded. It looks when
//! it is woken (a push, a return, an opened lane), when a worker becomes idle and more is known to
//! wait, and when the next entry becomes due. Behind every wake-up stands a look after a second,
//! counted when it finds work, because a wake-up may be lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::job::{PoolName, QueueName};
use crate::service::turn;
use crate::telemetry::metrics;

use super::core::Core;
use super::crew::Crew;
use super::dispatch::{self, Granted};

/// Between two looks that nothing asked for; spread by a fifth.
const SAFETY_MS: f64 = 1_000.0;
/// While outcomes wait for the ledger in such numbers that claims stop.
const HELD_UP_PAUSE: Duration = Duration::from_millis(20);
/// After rows that could not be read.
const TROUBLED_PAUSE: Duration = Duration::from_secs(1);
/// After a claim that failed.
const FAILED_PAUSE: Duration = Duration::from_millis(250);

/// Why the dispatcher looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    Asked,
    Safety,
}

struct Dispatcher {
    core: Arc<Core>,
    queue: QueueName,
    crew: Crew,
    look_at: Instant,
    cause: Cause,
    /// The rows of the last claims could not be read: no more of them until the ledger answers.
    is_held_up: bool,
}

/// Runs the pool until `stop`.
pub(super) async fn run(core: Arc<Core>, name: PoolName, stop: CancellationToken) {
    let Some(queue) = core.catalog().pools.get(&name).map(|pool| pool.queue.clone()) else {
        return stop.cancelled().await;
    };
    // Subscribed before the first look, so that no wake-up falls between.
    let (mut wakes, mut opened) = (core.broker.wakes(), core.shedding.wakes());
    let mut let_through = core.breakers.wakes();
    let (mut session, mut phase, told) = (core.session.broker(), core.phase.clone(), core.roster.told(&name));
    let (sender, mut reports) = mpsc::channel(256);
    let crew = Crew::new(core.clone(), name, sender);
    let mut pool = Dispatcher { core, queue, crew, look_at: Instant::now(), cause: Cause::Asked, is_held_up: false };
    pool.crew.resize();
    loop {
        let is_held_up = pool.is_held_up && pool.core.session.ledger().is_err();
        let may_claim = pool.crew.idle_count() > 0 && pool.core.may_claim() && !is_held_up;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some(report) = reports.recv() => {
                pool.crew.note(report);
                while let Ok(report) = reports.try_recv() {
                    pool.crew.note(report);
                }
                pool.look_if_asked();
            }
            ended = pool.crew.ended() => pool.crew.bury(&ended),
            () = woken(&mut wakes, &pool.queue) => pool.ask(),
            () = woken(&mut opened, &pool.queue) => pool.ask(),
            () = woken(&mut let_through, &pool.queue) => pool.ask(),
            () = session.changed() => pool.ask(),
            () = phase.changed() => pool.ask(),
            () = told.notified() => {
                pool.crew.obey();
                pool.crew.care_by_order().await;
                pool.crew.resize();
                pool.look_if_asked();
            }
            () = tokio::time::sleep_until(pool.look_at) => {
                if may_claim {
                    turn(pool.look()).await;
                } else {
                    pool.rest();
                }
                pool.crew.resize();
                turn(pool.crew.care()).await;
                pool.crew.publish();
            }
        }
    }
}

/// Returns when something may have become claimable in `queue`.
async fn woken(wakes: &mut broadcast::Receiver<QueueName>, queue: &QueueName) {
    loop {
        match wakes.recv().await {
            Ok(named) if named == *queue => return,
            Ok(_other_queue) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Dispatcher {
    fn safety(&self) -> Duration {
        Duration::from_secs_f64(SAFETY_MS * self.core.chance.between(0.8, 1.2) / 1_000.0)
    }

    /// Looks as soon as a worker is idle.
    fn ask(&mut self) {
        self.look_at = Instant::now();
        self.cause = Cause::Asked;
    }

    /// There are more idle workers: looks now if more is known to wait.
    fn look_if_asked(&mut self) {
        if self.cause == Cause::Asked {
            self.look_at = Instant::now();
        }
    }

    /// Nothing can be claimed now. Sessions, phases and workers speak up by themselves; outcomes that
    /// wait for the ledger are looked at again soon.
    fn rest(&mut self) {
        let held_up = self.crew.idle_count() > 0 && self.cause == Cause::Asked && self.core.session.is_open();
        self.look_at = Instant::now() + if held_up { HELD_UP_PAUSE } else { self.safety() };
    }

    /// One claim, up to the number of idle workers.
    async fn look(&mut self) {
        let cause = self.cause;
        let asked = Instant::now();
        let core = self.core.clone();
        let claiming = core.leases.claiming.read().await;
        let claimed = match dispatch::claim(&core, &self.queue, self.crew.idle_count()).await {
            Ok(claimed) => claimed,
            Err(error) => {
                core.session.broker_failed(&error);
                core.leases.look_for_unknown();
                self.look_at = Instant::now() + FAILED_PAUSE;
                return;
            }
        };
        let Granted { claims, next_due_in_ms, more } = claimed;
        if cause == Cause::Safety {
            metrics::safety_look(self.queue.as_str(), !claims.is_empty());
        }
        let count = claims.len();
        let (assignments, troubled) = dispatch::prepare(&core, &self.queue, asked, claims).await;
        drop(claiming);
        let dropped = count - assignments.len();
        for assignment in assignments {
            self.crew.assign(assignment).await;
        }
        self.is_held_up = troubled;
        if troubled {
            self.cause = Cause::Asked;
            self.look_at = Instant::now() + TROUBLED_PAUSE;
        } else if more || dropped > 0 {
            self.ask();
        } else {
            let due = next_due_in_ms.and_then(|ms| u64::try_from(ms.max(0)).ok()).map(Duration::from_millis);
            let safety = self.safety();
            let due_first = due.filter(|due| *due <= safety);
            self.cause = if due_first.is_some() { Cause::Asked } else { Cause::Safety };
            self.look_at = Instant::now() + due_first.unwrap_or(safety);
        }
    }
}
