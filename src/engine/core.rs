//! What all parts of the engine share.
//!
//! ```text
//!  api ── admission ──► accept queue ──► committer ──► ledger
//!                                            │
//!                                            ├──► pusher ──► broker ──wake──► pool ──► worker
//!                                            │                                            │
//!                       settler ◄── settled ─┴── settle queue ◄── outcome ◄── handler ◄───┘
//!                          └──► broker
//! ```
//! One direction, each step once. Every queue between two steps is bounded, so a slow step slows the
//! one before it, up to the claim.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::chance::Chance;
use crate::clock::{Clock, Timestamp};
use crate::handler::outside::{self, Outside};
use crate::handler::{Reach, SharedHandler};
use crate::host::Host;
use crate::job::{JobId, JobIds, NodeId, QueueName, TypeName};
use crate::ledger::{Ledger, Retention};
use crate::mutant::mutant;
use crate::policy::breaker;
use crate::policy::budget::BudgetRules;
use crate::policy::catalog::Catalog;
use crate::policy::health::HealthRules;
use crate::policy::{incidents, measures, remediation, scaling, shedding};
use crate::service::{Phase, watch};
use crate::telemetry::metrics::ErrorClasses;

use super::Limits;
use super::alerts::Alerts;
use super::breakers::Breakers;
use super::budgets::Budgets;
use super::committer::Ticket;
use super::figures::Figures;
use super::health::Health;
use super::incidents::Refused;
use super::leases::Leases;
use super::measures::Measures;
use super::membership::Membership;
use super::payloads::Payloads;
use super::pusher::PushOrder;
use super::retention::Growth;
use super::roster::Roster;
use super::running::Running;
use super::scaling::Scaler;
use super::session::Session;
use super::settings::Settings;
use super::settler::Ending;
use super::shedding::Shedding;
use super::stuck::{Stillness, StuckRules};
use super::sweep::Sweep;
use super::timeline::Timeline;
use super::waiters::Waiters;

/// What the engine needs to know beside the catalogue. Durations are in milliseconds.
#[derive(Debug, Clone)]
pub struct EngineParams {
    /// This run of the daemon.
    pub node: NodeId,
    /// Host and process, for people.
    pub node_name: String,
    /// Limits of jobs.
    pub limits: Limits,
    /// How long a lease lasts.
    pub lease_ms: i64,
    /// How often leases are renewed.
    pub renew_ms: u64,
    /// How long the runbook's lock lasts.
    pub lock_ms: i64,
    /// How long another program's lock is waited for.
    pub lock_wait_ms: i64,
    /// How long a result is kept in the broker.
    pub result_ttl_ms: i64,
    /// What is kept of the past.
    pub retention: Retention,
    /// Committers that take accepts, and committers that take outcomes; zero of the latter means that
    /// the former take both (one writer).
    pub committers: (usize, usize),
    /// Bytes of payloads kept in memory for jobs that wait.
    pub payload_cache_bytes: usize,
}

/// The configured part that a reload swaps whole.
#[derive(Debug)]
pub struct Setup {
    /// Queues, pools and types.
    pub catalog: Arc<Catalog>,
    /// Handlers of the types that this build can run.
    pub handlers: HashMap<TypeName, SharedHandler>,
    /// Label values for error classes.
    pub error_classes: ErrorClasses,
    /// When stillness becomes a finding.
    pub stuck: StuckRules,
    /// When and how load is shed.
    pub shedding: shedding::Settings,
    /// When a worker or the node counts as sick.
    pub health: HealthRules,
    /// When breakers open and close.
    pub breakers: breaker::Rules,
    /// How many retries there may be.
    pub retry_budget: BudgetRules,
    /// How pools grow and shrink.
    pub scaling: scaling::Rules,
    /// Which business measures count, and for how long.
    pub measures: measures::Rules,
    /// What is done about alerts.
    pub remediation: remediation::Rules,
    /// How alerts become incidents, and how long these are kept.
    pub incidents: incidents::Rules,
    /// Which servers do not answer their handlers.
    pub reach: Reach,
    /// Through which remedies reach what is not the engine's.
    pub outside: Arc<dyn Outside>,
}

impl Setup {
    /// A setup of these types and handlers; everything else as it is by default.
    #[must_use]
    pub fn new(catalog: Catalog, handlers: HashMap<TypeName, SharedHandler>) -> Self {
        let stuck = StuckRules { run_multiple: 5.0, stalled_ms: 10_000 };
        let (shedding, health) = (shedding::Settings::off(), HealthRules::default());
        let (breakers, retry_budget) = Default::default();
        let error_classes = ErrorClasses::of(&catalog);
        let (catalog, scaling, measures) = (Arc::new(catalog), scaling::Rules::default(), measures::Rules::default());
        let (reach, remediation) = (Reach::default(), remediation::Rules::default());
        let outside = Arc::new(outside::Nothing);
        let incidents = incidents::Rules::default();
        Self {
            catalog,
            handlers,
            error_classes,
            stuck,
            shedding,
            health,
            breakers,
            retry_budget,
            scaling,
            measures,
            remediation,
            incidents,
            reach,
            outside,
        }
    }
}

/// Outcomes that may wait for the ledger before claims stop: enough for a group commit of every
/// busy worker, small enough to hold in memory with their results.
pub(super) const UNSETTLED_MAX: usize = 1_000;

/// Everything shared.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) params: EngineParams,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) chance: Arc<Chance>,
    pub(super) ids: JobIds,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) host: Arc<dyn Host>,
    pub(super) setup: ArcSwap<Setup>,
    pub(super) accepts: mpsc::Sender<Ticket>,
    pub(super) settles: mpsc::Sender<Ticket>,
    pub(super) pushes: mpsc::Sender<PushOrder>,
    pub(super) endings: mpsc::Sender<Ending>,
    /// Outcomes handed over and not committed.
    pub(super) unsettled: AtomicUsize,
    pub(super) running: Running,
    pub(super) payloads: Payloads,
    pub(super) waiters: Waiters,
    pub(super) session: Session,
    pub(super) figures: Figures,
    pub(super) growth: Growth,
    pub(super) settings: Settings,
    pub(super) shedding: Shedding,
    pub(super) roster: Roster,
    pub(super) scaler: Scaler,
    pub(super) stillness: Stillness,
    pub(super) health: Health,
    pub(super) breakers: Breakers,
    pub(super) budgets: Budgets,
    pub(super) measures: Measures,
    pub(super) membership: Membership,
    pub(super) leases: Leases,
    pub(super) sweep: Sweep,
    pub(super) timeline: Arc<Timeline>,
    pub(super) alerts: Alerts,
    pub(super) refused: Refused,
    /// Remedies under way, so that a node that leaves writes down how far each was.
    pub(super) remedies: TaskTracker,
    pub(super) phase: watch::Receiver<Phase>,
}

impl Core {
    /// The catalogue in force.
    pub(super) fn catalog(&self) -> Arc<Catalog> {
        self.setup.load().catalog.clone()
    }

    /// Every queue that is configured.
    pub(super) fn queues(&self) -> Vec<QueueName> {
        self.catalog().queues.keys().cloned().collect()
    }

    /// An id for a job that was given none.
    pub(super) fn fresh_id(&self, now: Timestamp) -> JobId {
        self.ids.draw(now, self.chance.bits())
    }

    /// Whether new claims may be made: the node runs, the broker is open, outcomes find their way.
    pub(super) fn may_claim(&self) -> bool {
        *self.phase.borrow() == Phase::Running
            && self.session.is_open()
            && self.breakers.is_ready()
            && (self.unsettled.load(Ordering::Relaxed) < UNSETTLED_MAX || mutant!(claims_without_bound))
    }

    /// How long a lease lasts that is asked for now, in milliseconds.
    pub(super) fn lease_ms(&self) -> i64 {
        mutant!(client_clock => { return self.params.lease_ms + self.clock.now().millis() - self.broker.now_ms(); });
        self.params.lease_ms
    }

    /// How often a node says that it lives: twice for each renewal of its leases.
    pub(super) fn heartbeat_period(&self) -> Duration {
        Duration::from_millis(self.params.renew_ms / 2)
    }

    /// A heartbeat that is older than this, in milliseconds, belongs to a node that is gone. Half a lease:
    /// so that it is known to be gone before its leases expire, and their end counts as a crash.
    pub(super) fn heartbeat_lapse_ms(&self) -> i64 {
        self.params.lease_ms / 2
    }

    /// Whether the node is on its way out.
    pub(super) fn is_stopping(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }
}
