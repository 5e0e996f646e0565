//! The ledger's connections.

use super::super::super::core::Core;
use super::super::calls;
use super::{Done, Goal};

/// Whether the ledger has no connections that could be renewed.
pub(super) fn no_pool(core: &Core) -> Option<String> {
    let words = "the ledger is a file in this process and has no pool of connections";
    core.ledger.connections().is_none().then(|| words.to_owned())
}

/// Renews them here, and has the other nodes do the same.
pub(super) async fn renew(core: &Core) -> Result<Done, String> {
    calls::everywhere(core, &calls::Order::RenewLedgerPool).await?;
    let words = match core.ledger.connections() {
        Some(now) => format!("the ledger has new connections: {} busy, {} idle of {}", now.busy, now.idle, now.most),
        None => "the ledger has new connections".to_owned(),
    };
    Ok(Done::of(words, Goal::Nothing))
}
