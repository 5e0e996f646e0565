//! What has to be done on every node: one node decides, and asks the others through the ledger.
//!
//! A call is a setting that lapses soon, so that a node that comes later does not obey it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::job::PoolName;
use crate::ledger::Setting;

use super::super::core::Core;
use super::super::settings;

/// The kind of setting that a call is.
const KIND: &str = "remedy_call";
/// How long it is heard, in milliseconds: others look once a second.
const HEARD_MS: i64 = 60_000;
/// How long a node may take to obey. Nobody waits for it.
const OBEY_MAX: Duration = Duration::from_secs(30);

/// What every node is to do with what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Renew its connections to the ledger.
    RenewLedgerPool,
    /// End its sessions with an MCP server.
    RestartServer(String),
    /// Replace the unhealthy workers of a pool.
    ReplaceUnhealthy(PoolName),
}

impl Order {
    /// Its name as a setting.
    fn name(&self) -> String {
        match self {
            Self::RenewLedgerPool => "renew_ledger_pool".to_owned(),
            Self::RestartServer(server) => format!("restart_server:{server}"),
            Self::ReplaceUnhealthy(pool) => format!("replace_unhealthy:{pool}"),
        }
    }

    /// The order of that name.
    fn parse(name: &str) -> Option<Self> {
        match name.split_once(':') {
            None if name == "renew_ledger_pool" => Some(Self::RenewLedgerPool),
            Some(("restart_server", server)) => Some(Self::RestartServer(server.to_owned())),
            Some(("replace_unhealthy", pool)) => PoolName::new(pool).ok().map(Self::ReplaceUnhealthy),
            _ => None,
        }
    }

    /// Does it here; answers what was done, in words.
    async fn carry_out(&self, core: &Core) -> Result<String, String> {
        match self {
            Self::RenewLedgerPool => match core.ledger.renew().await {
                Ok(true) => Ok("the ledger has new connections".to_owned()),
                Ok(false) => Err("the ledger has no pool of connections".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            Self::RestartServer(server) => {
                let outside = core.setup.load().outside.clone();
                outside.restart_server(server).await
            }
            Self::ReplaceUnhealthy(pool) => {
                core.roster.care_for(pool);
                Ok(format!("the crew of pool {pool} looks after its workers"))
            }
        }
    }
}

/// Does it here, and asks the others to do the same. That they could not be asked is no failure of what was done here.
pub(super) async fn everywhere(core: &Core, order: &Order) -> Result<String, String> {
    let words = order.carry_out(core).await?;
    let now = core.clock.now();
    let setting = Setting {
        kind: KIND.to_owned(),
        name: order.name(),
        value: "{}".to_owned(),
        by: core.params.node.to_string(),
        since: now,
        until: Some(now.plus_ms(HEARD_MS)),
    };
    if let Err(refusal) = settings::set(core, &setting).await {
        tracing::warn!("The other nodes could not be asked to do the same: {refusal}");
    }
    Ok(words)
}

/// Does what other nodes ask for, until `stop`.
pub(in crate::engine) async fn run(core: Arc<Core>, stop: CancellationToken) {
    let mut changes = core.settings.changes();
    let mut obeyed: BTreeSet<(String, i64)> = BTreeSet::new();
    loop {
        let calls = core.settings.of_kind(KIND, core.clock.now());
        obeyed.retain(|(name, since)| calls.iter().any(|it| it.name == *name && it.since.millis() == *since));
        for call in calls {
            let is_own = call.by == core.params.node.as_str() || call.since < core.membership.started_at();
            if !is_own && obeyed.insert((call.name.clone(), call.since.millis())) {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = obey(&core, &call) => {}
                }
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = changes.changed() => {}
        }
    }
}

async fn obey(core: &Core, call: &Setting) {
    let Some(order) = Order::parse(&call.name) else {
        return tracing::warn!("Node {} asks for {:?}, which this version does not know", call.by, call.name);
    };
    match timeout(OBEY_MAX, order.carry_out(core)).await {
        Ok(Ok(words)) => tracing::warn!(asked_by = %call.by, "A remediation of node {} asks for it: {words}", call.by),
        Ok(Err(why)) => tracing::error!(asked_by = %call.by, "What node {} asks for failed here: {why}", call.by),
        Err(_elapsed) => tracing::error!(asked_by = %call.by, "What node {} asks for takes too long here", call.by),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_back() {
        let pool = PoolName::stored("exec-workers");
        for order in [Order::RenewLedgerPool, Order::RestartServer("a:b".to_owned()), Order::ReplaceUnhealthy(pool)] {
            assert_eq!(Order::parse(&order.name()), Some(order));
        }
        assert_eq!(Order::parse("something"), None);
    }
}
