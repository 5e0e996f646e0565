//! Configuration: text from files, environment and flags becomes checked parameters.
//!
//! Everything is checked here, at the door, and all problems are reported together; behind it
//! nothing checks again. `docs/CONFIG.md` is the operator's view.

mod breakers;
mod catalog;
mod changes;
mod clash;
mod health;
mod incidents;
mod layers;
mod mcp;
mod measures;
mod pools;
mod problem;
mod reader;
mod remediation;
mod secret;
mod sections;
mod shedding;
mod show;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::job::TypeName;
use crate::policy::budget::BudgetRules;
use crate::policy::catalog::Catalog;
use crate::policy::health::HealthRules;
use crate::policy::{breaker, scaling};

pub use crate::policy::shedding::{Mode as SheddingMode, Settings as SheddingConfig};
pub use layers::{ConfigFile, Flags, Sources, UrlCheck};
pub use problem::{ConfigErrors, Problem};
pub use secret::{SecretText, SecretUrl};
pub use show::show;

/// Every option with its default, unit and reason.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// The words of `server.allow_off_loopback_without_auth`. A sentence, so that nobody sets it unread.
pub const ALLOW_WITHOUT_AUTH: &str = "anyone who can reach this address may do everything";

/// The longest time span that makes sense anywhere, in milliseconds: 30 days.
const DURATION_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

/// A whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The API's listener and this node.
    pub server: ServerConfig,
    /// Redis, in the cluster footing only.
    pub redis: Option<RedisConfig>,
    /// The ledger. Postgres if and only if `redis` is there.
    pub ledger: LedgerConfig,
    /// Queues, pools and job types.
    pub catalog: Catalog,
    /// How pools scale.
    pub scaling: scaling::Rules,
    /// MCP servers by name.
    pub mcp_servers: BTreeMap<String, McpServer>,
    /// How MCP handlers turn error texts into classes, by job type, first match first.
    pub classify: BTreeMap<TypeName, Vec<ClassifyRule>>,
    /// What all handlers share.
    pub handlers: HandlersConfig,
    /// Claims.
    pub lease: LeaseConfig,
    /// The runbook's job lock.
    pub lock: LockConfig,
    /// The runbook's result cache.
    pub result_cache: ResultCacheConfig,
    /// Circuit breakers.
    pub breakers: breaker::Rules,
    /// Retries.
    pub retry_budget: BudgetRules,
    /// Load shedding.
    pub shedding: SheddingConfig,
    /// When a worker or the node counts as sick.
    pub health: HealthRules,
    /// When stillness becomes a finding.
    pub stuck: StuckConfig,
    /// Which business measures count, and for how long.
    pub measures: crate::policy::measures::Rules,
    /// What is done about alerts.
    pub remediation: crate::policy::remediation::Rules,
    /// How alerts become incidents, and how long these are kept.
    pub incidents: crate::policy::incidents::Rules,
    /// How long finished jobs stay.
    pub retention: RetentionConfig,
    /// Patience at start.
    pub startup: StartupConfig,
    /// Patience at the end.
    pub shutdown: ShutdownConfig,
    /// Sizes of jobs.
    pub limits: LimitsConfig,
    /// Who may call.
    pub auth: AuthConfig,
    /// The log.
    pub logging: LoggingConfig,
    effective: Effective,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// The folder of the `SQLite` ledger and its lock.
    pub data_dir: PathBuf,
    /// This node's name; `None`: generated at start.
    pub node: Option<String>,
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
}

/// `[redis]`
#[derive(Debug, Clone, PartialEq)]
pub struct RedisConfig {
    /// Where it is.
    pub url: SecretUrl,
    /// What every key starts with.
    pub key_prefix: String,
    /// How long one command may take, in milliseconds.
    pub timeout_ms: u64,
    /// Connections in the pool.
    pub pool_size: usize,
    /// The share of its memory from which on new jobs are refused.
    pub full_at: f64,
}

/// `[ledger]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerConfig {
    /// A file, for one process.
    Sqlite {
        /// Below the data folder unless it was given absolute.
        path: PathBuf,
        /// Connections.
        pool_size: usize,
        /// How long one statement may take, in milliseconds.
        timeout_ms: u64,
    },
    /// A server, for any number of nodes.
    Postgres {
        /// Where it is.
        url: SecretUrl,
        /// Connections.
        pool_size: usize,
        /// How long one statement may take, in milliseconds.
        timeout_ms: u64,
    },
}

/// `[mcp_servers.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpServer {
    /// How it is reached.
    pub target: McpTarget,
    /// The most sessions at a time.
    pub connections: usize,
    /// How long a session may take to begin, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long a call may show no sign of life, in milliseconds; 0: as long as its deadline allows.
    pub idle_ms: u64,
    /// How long a session is kept that nobody uses, in milliseconds; 0: for ever.
    pub keep_ms: u64,
    /// What becomes of a session after a run of steps that went well.
    pub after_steps: McpAfterSteps,
    /// Which handshake it gets.
    pub protocol: McpProtocol,
    /// What its child may do at the daemon's API.
    pub api_role: McpApiRole,
}

/// What the child of an MCP server may do at the daemon's API, where tokens are configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum McpApiRole {
    /// Nothing: it is given no token.
    None,
    /// Look at everything.
    Read,
}

/// How an MCP server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpTarget {
    /// A stdio child.
    Command {
        /// Program and arguments. A first word `ganger` is the running executable.
        command: Vec<String>,
        /// Variables added to its environment.
        env: BTreeMap<String, String>,
    },
    /// Streamable HTTP.
    Url {
        /// Where it is.
        url: SecretUrl,
        /// Headers of every request.
        headers: BTreeMap<String, SecretText>,
        /// The bearer token.
        token: Option<SecretText>,
    },
}

/// `after_steps`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum McpAfterSteps {
    /// It ends.
    End,
    /// The next run of steps gets it.
    Reuse,
}

/// `protocol`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum McpProtocol {
    /// The new handshake, else the old one.
    Auto,
    /// The new one only.
    Discover,
    /// The old one only.
    Initialize,
}

/// One entry of a handler's `classify`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassifyRule {
    /// What the error text must match; `*` stands for any text.
    pub pattern: String,
    /// The error class it then has.
    pub class: String,
}

/// `[handlers]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandlersConfig {
    /// Milliseconds from SIGTERM to SIGKILL.
    pub term_grace_ms: u64,
    /// Milliseconds that connecting may take.
    pub connect_timeout_ms: u64,
}

/// `[lease]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseConfig {
    /// How long a claim holds, in milliseconds; more than twice `renew_ms`.
    pub ttl_ms: u64,
    /// How often it is renewed, in milliseconds.
    pub renew_ms: u64,
}

/// `[lock]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockConfig {
    /// How long it holds, in milliseconds.
    pub ttl_ms: u64,
    /// How long a job waits for a foreign one, in milliseconds.
    pub wait_ms: u64,
}

/// `[result_cache]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultCacheConfig {
    /// How long a result stays, in milliseconds.
    pub ttl_ms: u64,
}

/// `[breakers]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakersConfig {
    /// Consecutive failures that open one.
    pub failures: u32,
    /// How long it stays open, in milliseconds.
    pub open_ms: u64,
}

/// `[stuck]`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StuckConfig {
    /// Times the usual run time. Above 1.
    pub run_multiple: f64,
    /// Milliseconds without a claim.
    pub stalled_ms: u64,
}

/// `[retention]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Age of a finished job, in seconds.
    pub max_age_s: u64,
    /// Finished jobs.
    pub max_jobs: u64,
    /// Bytes of payloads and results of finished jobs.
    pub max_bytes: u64,
    /// Age of an idempotency key after its job has finished, in seconds; at least a day.
    pub key_age_s: u64,
}

/// `[startup]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartupConfig {
    /// How long an unreachable ledger is tried again, in milliseconds.
    pub wait_ms: u64,
}

/// `[shutdown]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// How long running jobs may finish, in milliseconds.
    pub soft_ms: u64,
}

/// `[limits]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Bytes of one payload.
    pub payload_bytes_max: usize,
    /// Bytes of one result.
    pub result_bytes_max: usize,
}

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// Tokens by name. None: every caller may do everything.
    pub tokens: BTreeMap<String, AuthToken>,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthToken {
    /// What its bearer may do.
    pub roles: BTreeSet<Role>,
    /// The token itself.
    pub token: SecretText,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Submitting jobs.
    Submit,
    /// Reading everything.
    Read,
    /// Operating: cancel, pause, scale, ...
    Operate,
}

/// `[logging]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggingConfig {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged, in the words of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

/// `logging.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// JSON.
    Json,
    /// Text.
    Text,
}

/// The merged tree that a configuration was read from, for [`show`].
#[derive(Clone)]
struct Effective(::config::Value);

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

impl Config {
    /// Reads, merges and checks all sources.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        let tree = layers::merged(sources).map_err(ConfigErrors)?;
        let context = reader::Context::new(sources.credentials_directory());
        let config = sections::read(&context.root(&tree), Effective(tree.clone()), sources.check_redis_url);
        match (config, context.into_problems()) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(ConfigErrors(problems)),
        }
    }
}
