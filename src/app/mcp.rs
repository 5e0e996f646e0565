//! MCP servers: from the configuration to what their handlers are made of.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::chance::Chance;
use crate::clock::Clock;
use crate::config::{Config, McpAfterSteps, McpApiRole, McpProtocol, McpServer, McpTarget};
use crate::handler::Reach;
use crate::handler::mcp::{AfterSteps, ChildEnvironment, Means, Protocol, Rule, ServerParams, Servers, Target};
use crate::http::{Role, Token};
use crate::job::TypeName;
use crate::policy::catalog::Secret;
use crate::service::Supervisor;

use super::{Failure, adapters};

/// A result may stand in a message twice, as a text and as structure, and a text grows by its escapes.
const MESSAGE_FACTOR: usize = 3;
/// What a message has beside its result, in bytes.
const MESSAGE_FRAME_BYTES: usize = 64 * 1024;

/// A token for children that may ask this daemon. It is drawn anew at each start and is nowhere but in memory; `None`
/// where everybody may do everything.
pub(super) fn draw_token(config: &Config) -> Option<Token> {
    // 128 random bits: nobody guesses that.
    let secret = || format!("{:032x}", rand::random::<u128>());
    (!config.auth.tokens.is_empty()).then(|| Token {
        name: "children of MCP servers".to_owned(),
        roles: vec![Role::Read],
        secret: secret(),
    })
}

/// No servers yet, and what they will be reached with. Children find this daemon at `address`, and may show `token`.
pub(super) fn none(
    config: &Config,
    address: SocketAddr,
    token: Option<&Token>,
    clock: Arc<dyn Clock>,
) -> Result<Servers, Failure> {
    let own = std::env::current_exe().unwrap_or_else(|_unknown| PathBuf::from("ganger"));
    let data_dir = std::path::absolute(&config.server.data_dir).unwrap_or_else(|_odd| config.server.data_dir.clone());
    let variables = BTreeMap::from([
        ("GANGER_SERVER".to_owned(), format!("http://{}", reachable(address))),
        ("GANGER_DATA_DIR".to_owned(), data_dir.to_string_lossy().into_owned()),
    ]);
    let token = token.map(|token| Secret(token.secret.as_bytes().to_vec()));
    let means = Means::new(adapters::http_client(config)?, ChildEnvironment::new(own, variables, token), clock);
    Ok(Servers::new(means, Reach::default()))
}

/// Nobody can call "every address".
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// What the configuration says of its servers.
pub(super) fn servers(config: &Config) -> Vec<ServerParams> {
    config.mcp_servers.iter().map(|(name, server)| params(name, server, config)).collect()
}

fn params(name: &str, server: &McpServer, config: &Config) -> ServerParams {
    let span = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
    ServerParams {
        name: name.to_owned(),
        target: target(&server.target, Duration::from_millis(config.handlers.term_grace_ms)),
        connections: server.connections,
        connect_timeout: Duration::from_millis(server.connect_timeout_ms),
        idle: span(server.idle_ms),
        keep: span(server.keep_ms),
        after_steps: match server.after_steps {
            McpAfterSteps::End => AfterSteps::End,
            McpAfterSteps::Reuse => AfterSteps::Reuse,
        },
        protocol: match server.protocol {
            McpProtocol::Auto => Protocol::Auto,
            McpProtocol::Discover => Protocol::Discover,
            McpProtocol::Initialize => Protocol::Initialize,
        },
        gets_api_token: server.api_role == McpApiRole::Read,
        message_bytes_max: config.limits.result_bytes_max.saturating_mul(MESSAGE_FACTOR) + MESSAGE_FRAME_BYTES,
    }
}

fn target(target: &McpTarget, term_grace: Duration) -> Target {
    let secret = |text: &str| Secret(text.as_bytes().to_vec());
    match target {
        McpTarget::Command { command, env } => {
            let (program, args) =
                command.split_first().map(|(program, args)| (program.clone(), args.to_vec())).unwrap_or_default();
            Target::Command { program, args, env: env.clone(), term_grace }
        }
        McpTarget::Url { url, headers, token } => Target::Url {
            url: secret(url.expose()),
            headers: headers.iter().map(|(name, value)| (name.clone(), secret(value.expose()))).collect(),
            token: token.as_ref().map(|token| secret(token.expose())),
        },
    }
}

/// How a type's handler turns error texts into classes.
pub(super) fn rules(config: &Config, job_type: &TypeName) -> Vec<Rule> {
    let rules = config.classify.get(job_type).map(Vec::as_slice).unwrap_or_default();
    rules.iter().map(|rule| Rule { pattern: rule.pattern.clone(), class: rule.class.clone() }).collect()
}

/// Starts the service that looks after the servers, as often as the node's health is checked.
pub(super) fn look_after(servers: &Arc<Servers>, chance: &Arc<Chance>, supervisor: &Supervisor) {
    let (servers, chance, stop) = (servers.clone(), chance.clone(), supervisor.stop_token());
    supervisor.start("mcp-servers", move || {
        let (servers, chance, stop) = (servers.clone(), chance.clone(), stop.clone());
        async move { servers.run(&chance, stop).await }
    });
}
