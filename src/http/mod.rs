//! The HTTP API: JSON in and out, problems by RFC 9457, probes and metrics.
//!
//! Callers are not trusted to be quick, small or well formed. [`serve`] bounds connections and slow
//! peers, `body` bounds what is read, `params` and `submit` judge shapes, and every refusal is a
//! [`Problem`] with a stable code. What a request means is the engine's business alone.

mod alerts;
mod answer;
mod auth;
mod batch;
mod body;
mod breakers;
mod guard;
mod incidents;
mod jobs;
mod measures;
mod params;
mod pools;
mod probes;
mod problem;
mod queues;
mod remediations;
mod reviews;
mod serve;
mod shedding;
mod submit;
mod why;
mod wire;
mod workers;

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;

use crate::engine::Engine;

pub use auth::{Auth, Role, Token};
pub use params::{InvalidDuration, parse_duration};
pub use problem::Problem;
pub use serve::{Params, serve};

/// The most jobs of one batch: enough for a good rate, few enough for one answer.
pub const BATCH_JOBS_MAX: usize = 10_000;

/// Renders the metrics in Prometheus' text format.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the API needs from the rest of the process.
#[derive(Clone)]
pub struct ApiState {
    /// The engine behind it.
    pub engine: Engine,
    /// Who may do what.
    pub auth: Auth,
    /// Renders `/metrics`.
    pub metrics: RenderMetrics,
    /// The version that `/health` and `/` tell.
    pub version: &'static str,
    /// The largest body of a batch, in bytes.
    pub body_bytes_max: usize,
    /// Fires when the process leaves: requests that wait answer at once.
    pub stop: CancellationToken,
}

/// The state that handlers share.
#[derive(Clone)]
struct Api {
    engine: Engine,
    auth: Arc<Auth>,
    metrics: RenderMetrics,
    version: &'static str,
    body_bytes_max: usize,
    stop: CancellationToken,
    budget: body::Budget,
    orders: TaskTracker,
}

impl Api {
    /// Carries out what changes something to its end, even when the client has gone away meanwhile:
    /// hyper drops a request with its connection, and half an order would have to be repaired.
    async fn whole<T: Send + 'static>(&self, order: impl Future<Output = T> + Send + 'static) -> Result<T, Problem> {
        self.orders.spawn(order).await.map_err(|error| {
            tracing::error!(error = %error, "An order of the API broke off");
            Problem::internal()
        })
    }
}

/// All routes.
pub fn router(state: ApiState) -> Router {
    let api = Api {
        engine: state.engine,
        auth: Arc::new(state.auth),
        metrics: state.metrics,
        version: state.version,
        body_bytes_max: state.body_bytes_max,
        stop: state.stop,
        budget: body::Budget::default(),
        orders: TaskTracker::new(),
    };
    Router::new()
        .route("/v1/jobs", get(jobs::list).post(jobs::submit))
        .route("/v1/jobs/batch", post(batch::submit))
        .route("/v1/jobs/stuck", get(why::stuck))
        .route("/v1/jobs/{id}", get(jobs::show).delete(jobs::delete))
        .route("/v1/jobs/{id}/why", get(why::why))
        .route("/v1/jobs/{id}/cancel", post(jobs::cancel))
        .route("/v1/jobs/{id}/retry", post(jobs::retry))
        .route("/v1/jobs/{id}/replay", post(jobs::replay))
        .route("/v1/reviews", get(reviews::list))
        .route("/v1/reviews/{id}", get(reviews::show))
        .route("/v1/reviews/{id}/approve", post(reviews::approve))
        .route("/v1/reviews/{id}/reject", post(reviews::reject))
        .route("/v1/reviews/{id}/replay", post(reviews::replay))
        .route("/v1/queues", get(queues::list))
        .route("/v1/queues/{name}", get(queues::show))
        .route("/v1/queues/{name}/pause", post(queues::pause))
        .route("/v1/queues/{name}/resume", post(queues::resume))
        .route("/v1/queues/{name}/drain", post(queues::drain))
        .route("/v1/queues/{name}/purge", post(queues::purge))
        .route("/v1/types", get(queues::list_types))
        .route("/v1/types/{name}", get(queues::show_type))
        .route("/v1/types/{name}/pause", post(queues::pause_type))
        .route("/v1/types/{name}/resume", post(queues::resume_type))
        .route("/v1/shedding", get(shedding::show).put(shedding::set))
        .route("/v1/workers", get(workers::list))
        .route("/v1/workers/{name}", get(workers::show))
        .route("/v1/workers/{name}/drain", post(workers::drain))
        .route("/v1/workers/{name}/replace", post(workers::replace))
        .route("/v1/breakers", get(breakers::list))
        .route("/v1/breakers/{name}", get(breakers::show))
        .route("/v1/breakers/{name}/trip", post(breakers::trip))
        .route("/v1/breakers/{name}/reset", post(breakers::reset))
        .route("/v1/pools", get(pools::list))
        .route("/v1/pools/{name}", get(pools::show).put(pools::scale).delete(pools::reset))
        .route("/v1/remediation", get(remediations::show).put(remediations::set))
        .route("/v1/remediations", get(remediations::list))
        .route("/v1/remediations/{name}", post(remediations::run))
        .route("/v1/measures", get(measures::list))
        .route("/v1/observations", post(measures::observe))
        .route("/v1/feedback", post(measures::feedback))
        .route("/v1/alerts", post(alerts::receive))
        .route("/v1/incidents", get(incidents::list))
        .route("/v1/incidents/{id}", get(incidents::show).put(incidents::fill_in))
        .route("/v1/timeline", get(incidents::timeline))
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/health", get(probes::health))
        .route("/metrics", get(probes::metrics))
        .route("/", get(probes::front_page))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(from_fn_with_state(api.clone(), auth::check))
        .layer(CatchPanicLayer::custom(problem::from_panic))
        .with_state(api)
}
