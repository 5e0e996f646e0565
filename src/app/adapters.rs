//! Which adapters a configuration asks for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::Broker;
use crate::broker::memory::MemoryBroker;
use crate::broker::redis::{self, RedisBroker, RedisParams};
use crate::clock::Clock;
use crate::config::{Config, LedgerConfig};
use crate::engine::{Setup, StuckRules};
use crate::handler::SharedHandler;
use crate::handler::builtin::BuiltinHandler;
use crate::handler::command::{CommandHandler, CommandParams};
use crate::handler::http::{HttpHandler, HttpParams, client};
use crate::handler::mcp::{McpHandler, Planned, Servers};
use crate::job::TypeName;
use crate::ledger::postgres::{self, PostgresLedger, PostgresParams};
use crate::ledger::sqlite::{SqliteLedger, SqliteParams};
use crate::ledger::{Ledger, LedgerError};
use crate::policy::catalog::{HandlerSpec, JobType};
use crate::service::Supervisor;

use super::outside::Beyond;
use super::{CONFIGURATION, FAILED, Failure, UNREACHABLE, mcp};

/// Between two tries to reach the ledger at start.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Opens the ledger. An unreachable one is tried again for `startup.wait_ms`.
pub(super) async fn ledger(config: &Config, migrate: bool, clock: Arc<dyn Clock>) -> Result<Arc<dyn Ledger>, Failure> {
    let end = Instant::now() + Duration::from_millis(config.startup.wait_ms);
    let mut told = false;
    loop {
        let error = match open(config, migrate, clock.clone()).await {
            Ok(ledger) => return Ok(ledger),
            Err(error) => error,
        };
        if !error.is_transient() {
            return Err(Failure::new(FAILED, error.to_string()));
        }
        if Instant::now() >= end {
            let waited = config.startup.wait_ms;
            return Err(Failure::new(UNREACHABLE, format!("{error} (tried for {waited} ms, see startup.wait_ms)")));
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!("{error}; trying again for {} ms", config.startup.wait_ms);
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn open(config: &Config, migrate: bool, clock: Arc<dyn Clock>) -> Result<Arc<dyn Ledger>, LedgerError> {
    match &config.ledger {
        LedgerConfig::Sqlite { path, timeout_ms, .. } => {
            let params = SqliteParams { timeout_ms: *timeout_ms, ..SqliteParams::default() };
            Ok(Arc::new(SqliteLedger::open(path, params, clock).await?))
        }
        LedgerConfig::Postgres { url, pool_size, timeout_ms } => {
            if migrate {
                postgres::migrate(url.expose()).await?;
            }
            Ok(Arc::new(PostgresLedger::connect(url.expose(), postgres_params(*pool_size, *timeout_ms)).await?))
        }
    }
}

/// A pool of the size that was configured.
pub(super) fn postgres_params(pool_size: usize, timeout_ms: u64) -> PostgresParams {
    PostgresParams { pool_size: u32::try_from(pool_size).unwrap_or(u32::MAX), timeout_ms }
}

/// What is wrong with a URL of Redis, for the configuration, which names no adapter.
pub(super) fn check_redis_url(url: &str) -> Result<(), String> {
    redis::check_url(url)
}

/// Makes the broker; a Redis one gets its subscriber and the watch over its memory as services.
pub(super) fn broker(
    config: &Config,
    clock: Arc<dyn Clock>,
    supervisor: &Supervisor,
) -> Result<Arc<dyn Broker>, Failure> {
    let Some(redis) = &config.redis else {
        return Ok(Arc::new(MemoryBroker::new(clock)));
    };
    let params = RedisParams {
        url: redis.url.expose().to_owned(),
        key_prefix: redis.key_prefix.clone(),
        timeout_ms: redis.timeout_ms,
        connect_timeout_ms: redis.timeout_ms,
        pool_size: redis.pool_size,
        full_at: redis.full_at,
    };
    let broker = RedisBroker::new(params).map_err(|error| Failure::new(CONFIGURATION, error.to_string()))?;
    let broker = Arc::new(broker);
    let (subscribing, stop) = (broker.clone(), supervisor.stop_token());
    supervisor.start("redis-subscriber", move || {
        let (broker, stop) = (subscribing.clone(), stop.clone());
        async move { broker.run_subscriber(stop).await }
    });
    let (watching, stop) = (broker.clone(), supervisor.stop_token());
    supervisor.start("redis-memory", move || {
        let (broker, stop) = (watching.clone(), stop.clone());
        async move { broker.run_memory_watch(stop).await }
    });
    Ok(broker)
}

/// What a sound configuration still leaves waiting.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let catalog = &config.catalog;
    let mut warnings = Vec::new();
    for queue in catalog.queues.keys().filter(|name| !catalog.pools.values().any(|pool| pool.queue == **name)) {
        warnings.push(format!("jobs of queue {queue} are accepted and wait, because no pool serves it"));
    }
    warnings
}

/// Logs [`warnings`].
pub(super) fn warn(config: &Config) {
    for warning in warnings(config) {
        tracing::warn!("{warning}");
    }
}

/// The client of all handlers that speak HTTP.
pub(super) fn http_client(config: &Config) -> Result<reqwest::Client, Failure> {
    client(Duration::from_millis(config.handlers.connect_timeout_ms))
        .map_err(|error| Failure::new(FAILED, format!("the HTTP client cannot be built: {error}")))
}

/// Builds the handlers of a catalogue. The plan of the MCP servers is to be adopted once the setup is.
pub(super) fn setup(config: &Config, servers: &Arc<Servers>) -> Result<(Setup, Planned), Failure> {
    let client = http_client(config)?;
    let planned = servers.plan(mcp::servers(config), Duration::from_millis(config.health.check_ms));
    let mut handlers: HashMap<TypeName, SharedHandler> = HashMap::new();
    for known in config.catalog.types.values() {
        if let Some(built) = handler(known, &client, config, &planned) {
            handlers.insert(known.name.clone(), built);
        }
    }
    let stuck = StuckRules { run_multiple: config.stuck.run_multiple, stalled_ms: ms(config.stuck.stalled_ms) };
    let (shedding, health) = (config.shedding.clone(), config.health.clone());
    let (breakers, retry_budget, scaling) = (config.breakers.clone(), config.retry_budget, config.scaling);
    let (measures, incidents) = (config.measures.clone(), config.incidents.clone());
    let plain = Setup::new(config.catalog.clone(), handlers);
    let (reach, remediation) = (servers.reach(), config.remediation.clone());
    let term_grace = Duration::from_millis(config.handlers.term_grace_ms);
    let outside = Arc::new(Beyond::new(http_client(config)?, servers.clone(), term_grace));
    let setup = Setup {
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
        ..plain
    };
    Ok((setup, planned))
}

/// Milliseconds of a checked configuration, signed.
fn ms(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// `None` for a type of a server that is not configured, which the configuration rules out.
fn handler(known: &JobType, client: &reqwest::Client, config: &Config, planned: &Planned) -> Option<SharedHandler> {
    match &known.handler {
        HandlerSpec::Builtin(builtin) => Some(Arc::new(BuiltinHandler::new(*builtin))),
        HandlerSpec::Command { program, args, env, exit_classes } => {
            Some(Arc::new(CommandHandler::new(CommandParams {
                program: program.clone(),
                args: args.clone(),
                env: env.clone(),
                exit_classes: exit_classes.clone(),
                term_grace_ms: config.handlers.term_grace_ms,
            })))
        }
        HandlerSpec::Http { url, secret } => Some(Arc::new(HttpHandler::new(HttpParams {
            url: url.clone(),
            secret: secret.clone(),
            client: client.clone(),
        }))),
        HandlerSpec::Mcp { server, tool } => {
            let rules = mcp::rules(config, &known.name);
            Some(Arc::new(McpHandler::new(planned, server, tool.clone(), rules)?))
        }
    }
}
