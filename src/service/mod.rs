//! Supervision: every long-lived task is a named service with an owner.
//!
//! A task that is spawned and forgotten dies unseen. Here a service that panics or returns before it
//! was told to stop is logged by name and started again after a short pause; one that keeps dying
//! takes the whole process down with its name, because a daemon that limps without its reaper or its
//! committer is worse than one that its service manager restarts.

pub mod notify;
mod progress;
pub mod pulse;
pub mod watch;

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;
use crate::mutant::mutant;

pub use progress::{at_its_pace, turn};

/// Restarts within [`RESTART_WINDOW`] that a service is allowed.
const RESTARTS_MAX: usize = 5;
/// See [`RESTARTS_MAX`].
const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// The pause before a restart, so that a service that dies at once does not spin.
const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// Where the process is in its life. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Connecting, migrating, rebuilding.
    Starting,
    /// Working.
    Running,
    /// No new claims and no new jobs; what runs may finish.
    Draining,
    /// What still runs is stopped and given back.
    Stopping,
    /// Done.
    Stopped,
}

/// Starts services, restarts them, and waits for their end.
#[derive(Debug)]
pub struct Supervisor {
    tasks: Mutex<JoinSet<()>>,
    stop: CancellationToken,
    phase: watch::Sender<Phase>,
    failure: watch::Sender<Option<String>>,
    progress: Arc<progress::Progress>,
    stuck: watch::Sender<Vec<String>>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Supervisor {
    /// A supervisor without services, in phase `Starting`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tasks: Mutex::default(),
            stop: CancellationToken::new(),
            phase: watch::Sender::new(Phase::Starting),
            failure: watch::Sender::new(None),
            progress: Arc::default(),
            stuck: watch::Sender::new(Vec::new()),
        }
    }

    /// Fires when services are to end.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The phase, to watch.
    #[must_use]
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Moves to a later phase; an earlier one is ignored.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
    }

    /// Starts a service. `run` is called again after a failure; it ends for good by returning once
    /// the stop token has fired.
    pub fn start<F, R>(&self, name: impl Into<String>, run: F)
    where
        F: Fn() -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let (name, stop, failure) = (name.into(), self.stop.clone(), self.failure.clone());
        let stride = self.progress.enter(&name);
        let task = async move {
            let mut deaths = VecDeque::new();
            loop {
                let ended = stride.count(AssertUnwindSafe(run()).catch_unwind()).await;
                if stop.is_cancelled() {
                    return;
                }
                let how = if ended.is_err() { "panicked" } else { "ended before it was told to" };
                deaths.push_back(Instant::now());
                while deaths.front().is_some_and(|at| at.elapsed() > RESTART_WINDOW) {
                    deaths.pop_front();
                }
                if deaths.len() > RESTARTS_MAX {
                    let words = format!("service {name} {how} {} times within a minute", deaths.len());
                    failure.send_replace(Some(words));
                    return;
                }
                tracing::error!(service.name = %name, "Service {name} {how}; it is started again");
                tokio::time::sleep(RESTART_PAUSE).await;
            }
        };
        lock(&self.tasks).spawn(task);
    }

    /// Looks every `period` whether the services move, as one more of them. One that made no step in `looks` looks,
    /// though it was in the midst of something, counts as stuck until it does.
    pub fn watch_progress(&self, period: Duration, looks: u32) {
        let (progress, stop, stuck) = (self.progress.clone(), self.stop.clone(), self.stuck.clone());
        self.start("progress", move || {
            let (progress, stop, stuck) = (progress.clone(), stop.clone(), stuck.clone());
            async move {
                while tokio::time::timeout(period, stop.cancelled()).await.is_err() {
                    note_stuck(&stuck, progress.look(looks));
                }
            }
        });
    }

    /// The services that do not move, though they have something to do: only a restart helps.
    #[must_use]
    pub fn stuck(&self) -> Vec<String> {
        self.stuck.borrow().clone()
    }

    /// Waits until a service has failed for good; answers its name and how.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        failure.wait_for(Option::is_some).await.unwrap_or_default()
    }

    /// Tells all services to end and waits for them, at most `patience`. True if all did.
    pub async fn shut_down(&self, patience: Duration) -> bool {
        self.stop.cancel();
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        let all = async { while tasks.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(patience, all).await.is_ok();
        self.enter(Phase::Stopped);
        in_time
    }
}

/// Publishes who is stuck, and logs who is news among them.
fn note_stuck(stuck: &watch::Sender<Vec<String>>, found: Vec<String>) {
    if mutant!(nobody_is_stuck) {
        return;
    }
    let before = stuck.borrow().clone();
    for name in found.iter().filter(|name| !before.contains(name)) {
        tracing::error!(service.name = %name, "Service {name} is stuck: it makes no step, though it has something to do");
    }
    for name in before.iter().filter(|name| !found.contains(name)) {
        tracing::warn!(service.name = %name, "Service {name} moves again");
    }
    stuck.send_replace(found);
}

/// Locks a mutex whose data stays sound even if a holder panicked.
pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs `work` again and again: at once, then whenever `nudge` fires or `period` (spread by a fifth,
/// so that nodes do not march in step) has passed, until `stop`.
pub async fn periodic<F, R>(
    period: Duration,
    chance: &Chance,
    nudge: &tokio::sync::Notify,
    stop: &CancellationToken,
    mut work: F,
) where
    F: FnMut() -> R,
    R: Future<Output = ()>,
{
    loop {
        // The nudge is registered before the look, so that one that comes meanwhile is not missed.
        let nudged = nudge.notified();
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = work() => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = nudged => {}
            () = tokio::time::sleep(period.mul_f64(chance.between(0.8, 1.2))) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_service_that_panics_is_started_again() {
        let supervisor = Supervisor::new();
        let (stop, starts) = (supervisor.stop_token(), Arc::new(AtomicUsize::new(0)));
        let seen = starts.clone();
        supervisor.start("frail", move || {
            let (stop, starts) = (stop.clone(), starts.clone());
            async move {
                assert!(starts.fetch_add(1, Ordering::SeqCst) > 1, "frail");
                stop.cancelled().await;
            }
        });
        while seen.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
            tokio::time::advance(RESTART_PAUSE).await;
        }
        assert!(supervisor.shut_down(Duration::from_secs(1)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_keeps_dying_is_named() {
        let supervisor = Supervisor::new();
        supervisor.start("doomed", || async {});
        let words = supervisor.failed().await;
        assert!(words.contains("doomed"), "{words}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_a_disk_moves_and_what_waits_for_nothing_is_stuck() {
        let supervisor = Supervisor::new();
        supervisor.start("slow", || turn(at_its_pace(std::future::pending())));
        supervisor.start("wedged", || turn(std::future::pending()));
        supervisor.watch_progress(Duration::from_secs(2), 3);
        while supervisor.stuck().is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(supervisor.stuck(), ["wedged"]);
    }

    #[tokio::test]
    async fn phases_only_move_forward() {
        let supervisor = Supervisor::new();
        supervisor.enter(Phase::Draining);
        supervisor.enter(Phase::Running);
        assert_eq!(*supervisor.phase().borrow(), Phase::Draining);
        assert!(supervisor.shut_down(Duration::from_secs(1)).await);
        assert!(supervisor.shut_down(Duration::from_secs(1)).await);
    }
}
