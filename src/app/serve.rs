//! `ganger serve`: check, build, announce, run, leave in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;
use crate::clock::{Clock, SystemClock};
use crate::config::{Config, LedgerConfig, LogFormat as ConfiguredFormat, Role as ConfiguredRole};
use crate::engine::{Engine, EngineParams, Limits, Surroundings};
use crate::handler::mcp::Servers;
use crate::host::Machine;
use crate::http::{self, ApiState, Auth, Role, Token};
use crate::job::NodeId;
use crate::ledger::Retention;
use crate::service::pulse::Pulse;
use crate::service::{Phase, Supervisor};
use crate::telemetry::{logging, metrics};

use super::manager::Manager;
use super::{CONFIGURATION, FAILED, Failure, ServeOptions, adapters, data_dir, mcp};

/// How long the start waits for an open broker before it announces itself without one.
const BROKER_PATIENCE: Duration = Duration::from_secs(2);
/// How long services may take to end once everything is given back.
const SERVICES_PATIENCE: Duration = Duration::from_millis(500);
/// How long the children of MCP servers may take to leave.
const CHILDREN_PATIENCE: Duration = Duration::from_secs(2);
/// How long anything may take that must not hold up the end of the process.
const AT_ONCE_PATIENCE: Duration = Duration::from_millis(200);
/// Payloads of waiting jobs kept in memory, in bytes: with the rest this stays near 30 MB.
const PAYLOAD_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// The signals that a daemon listens to.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// Runs the daemon until it is told to leave. `announce` is called once, when it is ready.
///
/// # Errors
/// Why it could not start, or which service failed.
pub async fn serve(options: ServeOptions, announce: impl Fn(SocketAddr) -> std::io::Result<()>) -> Result<(), Failure> {
    let config = options.load()?;
    start_log(&config)?;
    let mut signals = signals().map_err(|error| Failure::new(FAILED, format!("cannot listen to signals: {error}")))?;
    let handle = metrics::install().map_err(|error| Failure::new(FAILED, error.to_string()))?;
    let _held = match &config.ledger {
        LedgerConfig::Sqlite { .. } => Some(data_dir::take(&config.server.data_dir)?),
        LedgerConfig::Postgres { .. } => None,
    };
    let (listener, address) = listen(config.server.listen).await?;

    let manager = Arc::new(Manager::of_process());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ledger = tokio::select! {
        ledger = manager.patiently("opening the ledger", adapters::ledger(&config, options.migrate, clock.clone())) => ledger?,
        () = signals.stop() => return Ok(()),
    };
    let supervisor = Arc::new(Supervisor::new());
    let broker = adapters::broker(&config, clock.clone(), &supervisor)?;
    let child_token = mcp::draw_token(&config);
    let servers = Arc::new(mcp::none(&config, address, child_token.as_ref(), clock.clone())?);
    let (setup, planned) = adapters::setup(&config, &servers)?;
    servers.adopt(&planned);
    adapters::warn(&config);
    metrics::config_taken_over(clock.now());
    let chance = Arc::new(Chance::from_entropy());
    let params = engine_params(&config);
    // A handler that blocks its thread must not stop the whole daemon.
    let _pulse = Pulse::start(tokio::runtime::Handle::current())
        .map_err(|error| Failure::new(FAILED, format!("no thread can be made: {error}")))?;
    let host = Arc::new(Machine::new());
    let surroundings = Surroundings { ledger: ledger.clone(), broker, host, clock, chance: chance.clone() };
    let engine = Engine::start(params, setup, surroundings, supervisor.clone());
    mcp::look_after(&servers, &chance, &supervisor);

    if let Err(why) = manager.patiently("opening the broker", broker_looked_at(&engine)).await {
        supervisor.shut_down(SERVICES_PATIENCE).await;
        return Err(Failure::new(CONFIGURATION, why));
    }
    let stop_http = CancellationToken::new();
    let state = api_state(&engine, &config, child_token, &stop_http, move |engine| {
        metrics::render(&handle) + &metrics::measured(&engine.measured())
    });
    let params = http::Params { end_time: Duration::from_millis(300), ..http::Params::default() };
    #[expect(clippy::disallowed_methods, reason = "awaited below; it must outlive the services")]
    let api = tokio::spawn(http::serve(listener, http::router(state), stop_http.clone(), params));
    supervisor.enter(Phase::Running);
    // Whoever does not read the line finds the address in the log.
    if let Err(error) = announce(address) {
        tracing::warn!("The ready line could not be written: {error}");
    }
    tracing::info!("Listening on http://{address}");
    manager.ready(&engine);
    manager.look_after(&config, &engine, &supervisor);

    let failed = run(&options, &config, &engine, &servers, &supervisor, &manager, &mut signals).await;
    manager.stopping(failed.as_deref());
    let leaving =
        leave(&engine, &servers, &supervisor, api, &stop_http, Duration::from_millis(config.shutdown.soft_ms));
    tokio::select! {
        () = manager.patiently("draining: running jobs may finish", leaving) => {}
        () = signals.stop() => {
            // Workers that are dropped take their child processes with them.
            supervisor.shut_down(AT_ONCE_PATIENCE).await;
            return Err(Failure::new(FAILED, "a second signal: left at once"));
        }
    }
    // A ledger that is away must not hold up the end.
    if tokio::time::timeout(AT_ONCE_PATIENCE, ledger.close()).await.is_err() {
        tracing::warn!("The ledger could not be closed in time; nothing is lost by that");
    }
    failed.map_or(Ok(()), |words| Err(Failure::new(FAILED, words)))
}

/// What the API is made of.
fn api_state(
    engine: &Engine,
    config: &Config,
    child_token: Option<Token>,
    stop: &CancellationToken,
    figures: impl Fn(&Engine) -> String + Send + Sync + 'static,
) -> ApiState {
    let measured = engine.clone();
    ApiState {
        engine: engine.clone(),
        auth: auth(config, child_token),
        metrics: Arc::new(move || figures(&measured)),
        version: env!("CARGO_PKG_VERSION"),
        body_bytes_max: config.server.body_bytes_max,
        stop: stop.clone(),
    }
}

/// Waits for an open broker, but not for long; an error says why it can never be used.
async fn broker_looked_at(engine: &Engine) -> Result<(), String> {
    tokio::select! {
        open = engine.broker_open(BROKER_PATIENCE) => {
            if let Err(why) = open {
                tracing::warn!("Starting without an open broker ({why}): jobs are accepted and wait in the ledger");
            }
            Ok(())
        }
        why = engine.broker_unfit() => Err(why),
    }
}

async fn listen(on: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let failed = |error| Failure::new(FAILED, format!("cannot listen on {on} (server.listen): {error}"));
    let listener = TcpListener::bind(on).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Runs until a signal says to leave, or until a service fails for good; then its words.
async fn run(
    options: &ServeOptions,
    config: &Config,
    engine: &Engine,
    servers: &Arc<Servers>,
    supervisor: &Supervisor,
    manager: &Manager,
    signals: &mut Signals,
) -> Option<String> {
    loop {
        tokio::select! {
            words = supervisor.failed() => return Some(words),
            hangup = signals.next() => {
                if !hangup {
                    return None;
                }
                manager.reloading();
                reload(options, config, engine, servers).await;
                manager.ready(engine);
            }
        }
    }
}

/// Takes a changed configuration over where that is possible while running; a bad one changes nothing. `started_with`
/// is what holds of everything else.
async fn reload(options: &ServeOptions, started_with: &Config, engine: &Engine, servers: &Arc<Servers>) {
    let loaded = options.load().and_then(|config| adapters::setup(&config, servers).map(|setup| (config, setup)));
    metrics::reloaded(loaded.is_ok());
    match loaded {
        Ok((config, (setup, planned))) => {
            warn_of_gone_queues(&config, engine).await;
            engine.reload(setup).await;
            servers.adopt(&planned);
            metrics::config_taken_over(SystemClock.now());
            let waiting = config.needs_restart(started_with);
            let rest = if waiting.is_empty() {
                "nothing else differs from the start".to_owned()
            } else {
                format!("only a restart applies what else has changed: {}", waiting.join(", "))
            };
            tracing::info!(
                "Reloaded queues, pools, scaling, job types, MCP servers, retry policies, breakers, shedding, health, stuck, measures, incidents and remediation; {rest}"
            );
        }
        Err(failure) => tracing::error!("Kept the old settings: {failure}"),
    }
}

/// Tells of queues that a configuration leaves out, with what they hold.
async fn warn_of_gone_queues(config: &Config, engine: &Engine) {
    // Without the ledger nobody can say who is paused; the warning is worth less than the reload.
    let known = engine.queues().await.unwrap_or_default();
    for gone in engine.catalog().queues.keys().filter(|name| !config.catalog.queues.contains_key(*name)) {
        let depth = known.iter().find(|view| view.queue.name == *gone).and_then(|view| view.depth.as_ref());
        let jobs = depth.map_or_else(
            || "its jobs".to_owned(),
            |depth| format!("its {} live jobs", depth.ready.iter().sum::<u64>() + depth.later + depth.leased),
        );
        tracing::warn!(queue.name = %gone,
            "Queue {gone} is no longer configured: {jobs} stay in the ledger until it is back");
    }
}

/// Drains, ends the API and the services.
async fn leave(
    engine: &Engine,
    servers: &Servers,
    supervisor: &Supervisor,
    api: JoinHandle<()>,
    stop_http: &CancellationToken,
    soft: Duration,
) {
    engine.drain(soft).await;
    stop_http.cancel();
    let (ended, api, gone) =
        tokio::join!(supervisor.shut_down(SERVICES_PATIENCE), api, servers.shut_down(CHILDREN_PATIENCE));
    if !gone {
        tracing::warn!("Some MCP servers did not leave within {} ms; they are killed", CHILDREN_PATIENCE.as_millis());
    }
    engine.keep_measures().await;
    engine.keep_timeline().await;
    if let Err(error) = api {
        tracing::error!("The API ended badly: {error}");
    }
    if ended {
        tracing::info!("Stopped");
    } else {
        tracing::warn!("Stopped; some services did not end in time");
    }
}

fn signals() -> std::io::Result<Signals> {
    Ok(Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: signal(SignalKind::hangup())?,
    })
}

impl Signals {
    /// Returns when the process is told to leave.
    async fn stop(&mut self) {
        while self.next().await {}
    }

    /// Waits for a signal: true to reload, false to leave.
    async fn next(&mut self) -> bool {
        tokio::select! {
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => false,
            _ = self.hangup.recv() => true,
        }
    }
}

fn start_log(config: &Config) -> Result<(), Failure> {
    let format = match config.logging.format {
        ConfiguredFormat::Auto => logging::LogFormat::Auto,
        ConfiguredFormat::Json => logging::LogFormat::Json,
        ConfiguredFormat::Text => logging::LogFormat::Text,
    };
    logging::start(format, &config.logging.filter)
        .map_err(|error| Failure::new(CONFIGURATION, format!("logging.filter: {error}")))
}

fn auth(config: &Config, child_token: Option<Token>) -> Auth {
    let role = |role: &ConfiguredRole| match role {
        ConfiguredRole::Submit => Role::Submit,
        ConfiguredRole::Read => Role::Read,
        ConfiguredRole::Operate => Role::Operate,
    };
    let tokens = config.auth.tokens.iter().map(|(name, token)| Token {
        name: name.clone(),
        roles: token.roles.iter().map(role).collect(),
        secret: token.token.expose().to_owned(),
    });
    Auth::new(tokens.chain(child_token).collect())
}

fn engine_params(config: &Config) -> EngineParams {
    let ms = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    let tail = format!("{:06x}", rand::random_range(0..0x0100_0000));
    let host = config.server.node.clone().or(host).unwrap_or_else(|| "node".to_owned());
    // Names hold letters, digits and a few signs; a host may be called anything.
    let host: String =
        host.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
    let id = NodeId::new(&format!("{host}.{tail}")).unwrap_or_else(|_| NodeId::stored(&format!("node.{tail}")));
    EngineParams {
        node_name: config.server.node.clone().unwrap_or_else(|| id.to_string()),
        node: id,
        limits: Limits {
            payload_bytes_max: config.limits.payload_bytes_max,
            result_bytes_max: config.limits.result_bytes_max,
        },
        lease_ms: ms(config.lease.ttl_ms),
        renew_ms: config.lease.renew_ms,
        lock_ms: ms(config.lock.ttl_ms),
        lock_wait_ms: ms(config.lock.wait_ms),
        result_ttl_ms: ms(config.result_cache.ttl_ms),
        retention: Retention {
            max_age_ms: ms(config.retention.max_age_s).saturating_mul(1_000),
            max_jobs: config.retention.max_jobs,
            max_bytes: config.retention.max_bytes,
            key_age_ms: ms(config.retention.key_age_s).saturating_mul(1_000),
        },
        committers: match config.ledger {
            LedgerConfig::Sqlite { .. } => (1, 0),
            LedgerConfig::Postgres { .. } => (2, 2),
        },
        payload_cache_bytes: PAYLOAD_CACHE_BYTES,
    }
}
