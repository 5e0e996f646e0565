//! The sections of a configuration, one function each, and what must hold between them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::job::NodeId;

use super::clash::clash;
use super::reader::{Section, one_of};
use super::secret::SecretUrl;
use super::{
    ALLOW_WITHOUT_AUTH, AuthConfig, AuthToken, Config, DURATION_MS_MAX, Effective, HandlersConfig, LeaseConfig,
    LedgerConfig, LimitsConfig, LockConfig, LogFormat, LoggingConfig, RedisConfig, ResultCacheConfig, RetentionConfig,
    Role, ServerConfig, ShutdownConfig, StartupConfig, StuckConfig, UrlCheck, breakers, catalog, health, incidents,
    mcp, measures, pools, remediation, shedding,
};

/// A request, a payload or a result above this would not fit the daemon's memory beside others: 1 GiB.
const BYTES_MAX: u64 = 1 << 30;
/// More connections than this help no store.
const POOL_SIZE_MAX: u64 = 1_000;
/// A shorter token could be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// Idempotency keys outlive their job by a day at least: the contract.
const KEY_AGE_S_MIN: u64 = 86_400;
/// Ten years, in seconds: as good as for ever.
const AGE_S_MAX: u64 = 10 * 366 * 86_400;

/// Reads everything. `None` only where a problem was noted.
pub(super) fn read(root: &Section<'_>, effective: Effective, check_redis_url: Option<UrlCheck>) -> Option<Config> {
    // Read by the layers already, which need it before they merge.
    root.flag("inherit_defaults");
    let defaults = root.table("defaults");
    let mcp_servers = mcp::read(root, &defaults.table("mcp_server"));
    let names: BTreeSet<String> = mcp_servers.keys().cloned().collect();
    let catalogued = catalog::read(root, &defaults, &names);
    let known = remediation::Known { catalog: &catalogued.catalog, servers: &names };
    let remediation = remediation::read(&root.table("remediation"), &defaults.table("remediation_action"), &known);
    defaults.finish();
    let auth = auth(&root.table("auth"));
    let server = server(&root.table("server"), &auth);
    let redis = redis(&root.table("redis"), check_redis_url);
    let data_dir = server.as_ref().map(|server| server.data_dir.clone()).unwrap_or_default();
    let ledger = ledger(&root.table("ledger"), &data_dir);
    footing(root, redis.as_ref(), ledger.as_ref());
    let shedding = shedding::read(&root.table("shedding"), &catalogued.catalog.types.keys().collect());
    let scaling = pools::scaling(&root.table("scaling"));
    let handlers = handlers(&root.table("handlers"));
    let health = health::read(&root.table("health"), handlers, &root.table("handlers"));
    let lease = lease(&root.table("lease"));
    let lock = lock(&root.table("lock"));
    let result_cache = result_cache(&root.table("result_cache"));
    let stuck = stuck(&root.table("stuck"));
    let breakers = breakers::breakers(&root.table("breakers"));
    let retry_budget = breakers::retry_budget(&root.table("retry_budget"));
    let measures = measures::read(&root.table("measures"));
    let incidents = incidents::read(&root.table("incidents"));
    let retention = retention(&root.table("retention"));
    let startup = startup(&root.table("startup"));
    let shutdown = shutdown(&root.table("shutdown"));
    let limits = limits(&root.table("limits"));
    let logging = logging(&root.table("logging"));
    // Before anything that is missing ends the reading: all problems are reported together.
    root.finish();
    Some(Config {
        scaling,
        shedding,
        health,
        handlers,
        lease,
        lock,
        result_cache,
        breakers,
        stuck,
        retry_budget,
        measures,
        remediation,
        incidents,
        retention,
        startup,
        shutdown,
        limits,
        logging,
        server: server?,
        redis,
        ledger: ledger?,
        catalog: catalogued.catalog,
        classify: catalogued.classify,
        mcp_servers,
        auth,
        effective,
    })
}

/// `SQLite` without Redis, or Postgres with Redis.
fn footing(root: &Section<'_>, redis: Option<&RedisConfig>, ledger: Option<&LedgerConfig>) {
    let only = "only two footings exist: a SQLite ledger without Redis, or a Postgres ledger with Redis";
    match (redis, ledger) {
        (Some(_), Some(LedgerConfig::Sqlite { .. })) => {
            let message = format!("names Redis, but `ledger.url` names SQLite; {only}");
            root.table("redis").problem("url", message);
        }
        (None, Some(LedgerConfig::Postgres { .. })) => {
            let message = format!("names Postgres, but `redis.url` is empty; {only}");
            root.table("ledger").problem("url", message);
        }
        _ => {}
    }
}

fn server(section: &Section<'_>, auth: &AuthConfig) -> Option<ServerConfig> {
    let listen = section.text("listen");
    let address = address(&listen);
    let allow = section.text("allow_off_loopback_without_auth");
    if !allow.is_empty() && allow != ALLOW_WITHOUT_AUTH {
        section.problem(
            "allow_off_loopback_without_auth",
            format!("expected exactly {ALLOW_WITHOUT_AUTH:?}, or an empty text"),
        );
    }
    match address {
        None => section.problem("listen", format!("{listen:?} is no ADDRESS:PORT, such as \"127.0.0.1:7521\"")),
        Some(address) if !address.ip().is_loopback() && auth.tokens.is_empty() && allow.is_empty() => {
            section.problem(
                "listen",
                format!(
                    "{listen} can be reached from other machines, and no token is configured; add one under \
                     `auth.tokens`, or set `server.allow_off_loopback_without_auth` to {ALLOW_WITHOUT_AUTH:?}"
                ),
            );
        }
        Some(_) => {}
    }
    let node = section.optional_text("node");
    if let Some(Err(error)) = node.as_deref().map(NodeId::new) {
        section.problem("node", error.to_string());
    }
    let data_dir = PathBuf::from(section.essential_text("data_dir", "a folder"));
    let body_bytes_max = size(section, "body_bytes_max", 1_024);
    section.finish();
    Some(ServerConfig { listen: address?, data_dir, node, body_bytes_max })
}

fn address(text: &str) -> Option<SocketAddr> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    text.parse().ok()
}

fn redis(section: &Section<'_>, check_url: Option<UrlCheck>) -> Option<RedisConfig> {
    let url = section.secret("url", "url_file");
    let key_prefix = section.text("key_prefix");
    // Braces would move the hash tag that keeps a queue's keys in one cluster slot.
    if key_prefix.contains(['{', '}']) || key_prefix.chars().any(|c| c.is_whitespace() || c.is_control()) {
        section.problem("key_prefix", "has a brace, a blank or a control character");
    }
    let timeout_ms = section.integer("timeout_ms", 1, DURATION_MS_MAX);
    let pool_size = pool_size(section);
    let full_at = section.number("full_at", 0.0, 1.0);
    section.finish();
    let url = url?;
    if let Some(Err(reason)) = check_url.map(|check| check(url.expose())) {
        section.problem(if section.has("url") { "url" } else { "url_file" }, reason);
    }
    Some(RedisConfig { url: SecretUrl::new(url.expose().to_owned()), key_prefix, timeout_ms, pool_size, full_at })
}

fn ledger(section: &Section<'_>, data_dir: &Path) -> Option<LedgerConfig> {
    let url = section.secret("url", "url_file");
    let timeout_ms = section.integer("timeout_ms", 1, DURATION_MS_MAX);
    let pool_size = pool_size(section);
    section.finish();
    let expected = "expected sqlite:FILE, or postgres://USER:PASSWORD@HOST:PORT/DATABASE";
    let Some(url) = url else {
        // A problem that names the file was noted already where one was given.
        if !section.has("url") && !section.has("url_file") {
            section.problem("url", format!("is empty; {expected}"));
        }
        return None;
    };
    let url = url.expose();
    let key = if section.has("url") { "url" } else { "url_file" };
    if let Some(file) = url.strip_prefix("sqlite:") {
        let file = file.strip_prefix("//").unwrap_or(file);
        if file.is_empty() || file.starts_with(':') || file.contains('?') {
            section.problem(key, "expected sqlite: and the name of a file; a ledger in memory would lose jobs");
        }
        return Some(LedgerConfig::Sqlite { path: data_dir.join(file), pool_size, timeout_ms });
    }
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") || url::Url::parse(url).is_err() {
        section.problem(key, expected);
        return None;
    }
    Some(LedgerConfig::Postgres { url: SecretUrl::new(url.to_owned()), pool_size, timeout_ms })
}

fn pool_size(section: &Section<'_>) -> usize {
    usize::try_from(section.integer("pool_size", 1, POOL_SIZE_MAX)).unwrap_or(1)
}

fn size(section: &Section<'_>, key: &str, min: u64) -> usize {
    usize::try_from(section.integer(key, min, BYTES_MAX)).unwrap_or(usize::MAX)
}

fn handlers(section: &Section<'_>) -> HandlersConfig {
    let read = HandlersConfig {
        term_grace_ms: section.integer("term_grace_ms", 1, 3_600_000),
        connect_timeout_ms: section.integer("connect_timeout_ms", 1, 3_600_000),
    };
    section.finish();
    read
}

fn lease(section: &Section<'_>) -> LeaseConfig {
    let ttl_ms = section.integer("ttl_ms", 100, 3_600_000);
    let renew_ms = section.integer("renew_ms", 10, 3_600_000);
    if ttl_ms <= renew_ms.saturating_mul(2) {
        let relations = ["not more than twice", "not less than half of"];
        clash(&section.says("ttl_ms", ttl_ms), relations, &section.says("renew_ms", renew_ms), "");
    }
    section.finish();
    LeaseConfig { ttl_ms, renew_ms }
}

fn lock(section: &Section<'_>) -> LockConfig {
    let read = LockConfig {
        ttl_ms: section.integer("ttl_ms", 1_000, DURATION_MS_MAX),
        wait_ms: section.integer("wait_ms", 0, DURATION_MS_MAX),
    };
    section.finish();
    read
}

fn result_cache(section: &Section<'_>) -> ResultCacheConfig {
    let read = ResultCacheConfig { ttl_ms: section.integer("ttl_ms", 1, DURATION_MS_MAX) };
    section.finish();
    read
}

fn stuck(section: &Section<'_>) -> StuckConfig {
    let read = StuckConfig {
        run_multiple: section.number("run_multiple", 1.1, 1_000_000.0),
        stalled_ms: section.integer("stalled_ms", 1_000, DURATION_MS_MAX),
    };
    section.finish();
    read
}

fn retention(section: &Section<'_>) -> RetentionConfig {
    let read = RetentionConfig {
        max_age_s: section.integer("max_age_s", 1, AGE_S_MAX),
        max_jobs: section.integer("max_jobs", 0, 1_000_000_000_000),
        max_bytes: section.integer("max_bytes", 0, 1 << 50),
        key_age_s: section.integer("key_age_s", KEY_AGE_S_MIN, AGE_S_MAX),
    };
    section.finish();
    read
}

fn startup(section: &Section<'_>) -> StartupConfig {
    let read = StartupConfig { wait_ms: section.integer("wait_ms", 0, 3_600_000) };
    section.finish();
    read
}

fn shutdown(section: &Section<'_>) -> ShutdownConfig {
    let read = ShutdownConfig { soft_ms: section.integer("soft_ms", 0, 24 * 3_600_000) };
    section.finish();
    read
}

fn limits(section: &Section<'_>) -> LimitsConfig {
    let read = LimitsConfig {
        payload_bytes_max: size(section, "payload_bytes_max", 1),
        result_bytes_max: size(section, "result_bytes_max", 1),
    };
    section.finish();
    read
}

fn logging(section: &Section<'_>) -> LoggingConfig {
    let filter = section.essential_text("filter", "a filter such as \"info\"");
    if let Err(error) = filter.parse::<tracing_subscriber::filter::EnvFilter>() {
        section.problem("filter", format!("{filter:?} is no filter: {error}"));
    }
    let words = [("auto", LogFormat::Auto), ("json", LogFormat::Json), ("text", LogFormat::Text)];
    let read = LoggingConfig { format: section.choice("format", &words), filter };
    section.finish();
    read
}

fn auth(section: &Section<'_>) -> AuthConfig {
    let mut tokens: BTreeMap<String, AuthToken> = BTreeMap::new();
    for (name, entry) in section.tables("tokens") {
        let token = entry.secret("token", "token_file");
        let key = if entry.has("token_file") { "token_file" } else { "token" };
        let roles = roles(&entry);
        entry.finish();
        let Some(token) = token else {
            if !entry.has("token") && !entry.has("token_file") {
                entry.problem("token_file", "is missing; expected `token_file` or `token`");
            }
            continue;
        };
        let text = token.expose();
        if text.len() < TOKEN_BYTES_MIN || !text.bytes().all(|b| b.is_ascii_graphic()) {
            entry.problem(key, format!("expected at least {TOKEN_BYTES_MIN} visible ASCII characters"));
        } else if let Some((twin, _)) = tokens.iter().find(|(_, known)| known.token == token) {
            entry.problem(key, format!("is the token of {twin:?} too; each needs its own"));
        }
        tokens.insert(name, AuthToken { roles, token });
    }
    section.finish();
    AuthConfig { tokens }
}

fn roles(entry: &Section<'_>) -> BTreeSet<Role> {
    let words = [("submit", Role::Submit), ("read", Role::Read), ("operate", Role::Operate)];
    match (entry.has("role"), entry.has("roles")) {
        (true, false) => BTreeSet::from([entry.choice("role", &words)]),
        (false, true) => {
            let mut roles = BTreeSet::new();
            for word in entry.texts("roles") {
                if let Some((_, role)) = words.iter().find(|(known, _)| *known == word) {
                    roles.insert(*role);
                } else {
                    let expected = one_of(words.iter().map(|(known, _)| *known));
                    entry.problem("roles", format!("{word:?} is no role; expected {expected}"));
                }
            }
            if roles.is_empty() {
                entry.problem("roles", "expected at least one role");
            }
            roles
        }
        _ => {
            entry.problem("role", "expected either `role` or `roles`");
            BTreeSet::new()
        }
    }
}

impl Section<'_> {
    /// An `http://` or `https://` URL with a host.
    pub(super) fn http_url(&self, key: &str) -> String {
        let text = self.essential_text(key, "an http:// or https:// URL");
        let fits = url::Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !text.is_empty() && !fits {
            self.problem(key, "expected an http:// or https:// URL");
        }
        text
    }
}
