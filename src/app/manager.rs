//! The daemon's talk with its service manager: where it is in its life, what it does, and that it moves.
//!
//! The watchdog is fed by a task of the runtime, and only while every service makes its steps. It is not fed by
//! health: a store that is away stops no ping, because a restart would not bring it back.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, LedgerConfig};
use crate::engine::Engine;
use crate::mutant::mutant;
use crate::service::Supervisor;
use crate::service::notify::{Notifier, monotonic_us, one_line};

/// Between two looks at what could be told.
const TOLD_EVERY: Duration = Duration::from_secs(5);
/// How much longer a start or a stop may take from the last sign of life on: three signs may be lost.
const EXTENSION: Duration = Duration::from_secs(20);
/// Between two looks at whether services move.
const PROGRESS_LOOK: Duration = Duration::from_secs(1);
/// A service stands still for good after this many times the longest call of a store. One that feeds another waits
/// for its calls as well, so a few of them in a row are no wedge.
const CALLS_IN_A_ROW: u32 = 5;
/// And after no less than this many looks: a machine may be slow.
const LOOKS_MIN: u32 = 20;
/// A call to Redis may wait for a connection and make one first; see `docs/ARCHITECTURE.md`.
const REDIS_CALL_PARTS: u64 = 3;

/// The service manager, if there is one.
#[derive(Debug)]
pub(super) struct Manager {
    notifier: Option<Notifier>,
    /// How often it wants to hear that the daemon moves: at half of what it bears.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that started this process.
    pub(super) fn of_process() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let notifier = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()).and_then(|address| {
            let opened = Notifier::to(&address);
            opened.inspect_err(|error| tracing::warn!("NOTIFY_SOCKET {} is not used: {error}", address.display())).ok()
        });
        let watchdog = watchdog(text("WATCHDOG_USEC").as_deref(), text("WATCHDOG_PID").as_deref(), std::process::id());
        Self { notifier, watchdog }
    }

    fn tell(&self, assignments: &str) {
        if let Some(notifier) = &self.notifier {
            notifier.tell(assignments);
        }
    }

    /// The start is over, or a reload.
    pub(super) fn ready(&self, engine: &Engine) {
        self.tell(&format!("READY=1\nSTATUS={}", status(engine)));
    }

    /// A reload begins; [`Self::ready`] ends it.
    pub(super) fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reading the configuration again", monotonic_us()));
    }

    /// The stop begins.
    pub(super) fn stopping(&self, why: Option<&str>) {
        let why = why.unwrap_or("told to leave");
        self.tell(&format!("STOPPING=1\nSTATUS=stopping: {}", one_line(why)));
    }

    /// Does a part of the start or the stop that may take long, and asks for as long as it lasts.
    pub(super) async fn patiently<F: Future>(&self, what: &str, work: F) -> F::Output {
        let mut work = std::pin::pin!(work);
        self.tell(&format!("STATUS={what}"));
        loop {
            self.tell(&format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros()));
            if let Ok(done) = tokio::time::timeout(TOLD_EVERY, work.as_mut()).await {
                return done;
            }
        }
    }

    /// Starts to watch the services, and to tell of them.
    pub(super) fn look_after(self: &Arc<Self>, config: &Config, engine: &Engine, supervisor: &Supervisor) {
        supervisor.watch_progress(PROGRESS_LOOK, looks(config));
        if self.notifier.is_none() {
            return;
        }
        let (manager, engine, stop) = (self.clone(), engine.clone(), supervisor.stop_token());
        supervisor.start("service-manager", move || {
            let (manager, engine, stop) = (manager.clone(), engine.clone(), stop.clone());
            async move { manager.report(&engine, &stop).await }
        });
    }

    /// Tells of `engine` until `stop`.
    async fn report(&self, engine: &Engine, stop: &CancellationToken) {
        let mut told = String::new();
        let tick = self.watchdog.map_or(TOLD_EVERY, |period| period.min(TOLD_EVERY));
        let mut pinged_at = None::<Instant>;
        loop {
            let now = status(engine);
            if now != told {
                self.tell(&format!("STATUS={now}"));
                told = now;
            }
            // Half a tick early is better than one late.
            let is_due = |period: &Duration| pinged_at.is_none_or(|at| at.elapsed() + tick / 2 >= *period);
            if self.watchdog.as_ref().is_some_and(is_due) && moves(engine) {
                self.tell("WATCHDOG=1");
                pinged_at = Some(Instant::now());
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(tick) => {}
            }
        }
    }
}

/// Whether a restart would not help.
fn moves(engine: &Engine) -> bool {
    let is_fed_by_health = mutant!(watchdog_fed_by_health) && engine.summary().broker.is_err();
    engine.stuck_services().is_empty() && !is_fed_by_health
}

/// The line that stands in `systemctl status`.
fn status(engine: &Engine) -> String {
    let stuck = engine.stuck_services();
    if !stuck.is_empty() {
        return format!("stuck: {}", one_line(&stuck.join(", ")));
    }
    one_line(&engine.summary().to_string())
}

/// Half of the time after which the manager takes the process `own` for dead; `None` if it does not watch it.
fn watchdog(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.trim().parse() == Ok(own));
    let usec: u64 = usec?.trim().parse().ok().filter(|usec| *usec > 0 && is_ours)?;
    Some(Duration::from_micros(usec / 2))
}

/// In how many looks in a row a service has to be found still, to count as stuck.
fn looks(config: &Config) -> u32 {
    let ledger_ms = match &config.ledger {
        LedgerConfig::Sqlite { timeout_ms, .. } | LedgerConfig::Postgres { timeout_ms, .. } => *timeout_ms,
    };
    let redis_ms = config.redis.as_ref().map_or(0, |redis| redis.timeout_ms.saturating_mul(REDIS_CALL_PARTS));
    let call = Duration::from_millis(ledger_ms.max(redis_ms)).as_secs();
    u32::try_from(call).unwrap_or(u32::MAX).saturating_mul(CALLS_IN_A_ROW).max(LOOKS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn the_watchdog_is_fed_at_half_of_its_time_and_only_by_whom_it_watches() {
        let half = |usec, pid| watchdog(usec, pid, 7);
        assert_eq!(half(Some("30000000"), None), Some(Duration::from_secs(15)));
        assert_eq!(half(Some("30000000"), Some("7")), Some(Duration::from_secs(15)));
        for (usec, pid) in [(Some("30000000"), Some("8")), (None, Some("7")), (Some("0"), None), (Some("soon"), None)] {
            assert_eq!(half(usec, pid), None, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn stores_may_take_their_time_before_a_service_counts_as_stuck() {
        let of = |pairs: &[(&str, &str)]| {
            let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            looks(&Config::load(&Sources { environment, ..Sources::default() }).unwrap())
        };
        assert_eq!(of(&[]), 25);
        assert_eq!(of(&[("GANGER__LEDGER__TIMEOUT_MS", "1000")]), LOOKS_MIN);
        let cluster = [("GANGER__LEDGER__URL", "postgres://d/b"), ("GANGER__REDIS__URL", "redis://r")];
        assert_eq!(of(&cluster), 30);
    }
}
