//! Adding to tallies and dropping them, one statement each.

use super::PostgresLedger;
use crate::job::NodeId;
use crate::ledger::{Outlived, Result, Tally};

/// Adds, unless this number was added before.
pub(super) async fn add(ledger: &PostgresLedger, node: &NodeId, number: i64, tallies: &[Tally]) -> Result<()> {
    let Some(latest) = tallies.iter().map(|tally| tally.minute).max() else { return Ok(()) };
    let query = sqlx::query(include_str!("sql/tallies_add.sql"))
        .bind(node.as_str())
        .bind(number)
        .bind(latest)
        .bind(tallies.iter().map(|tally| tally.minute).collect::<Vec<_>>())
        .bind(tallies.iter().map(|tally| tally.measure.as_str()).collect::<Vec<_>>())
        .bind(tallies.iter().map(|tally| tally.label.as_str()).collect::<Vec<_>>())
        .bind(tallies.iter().map(|tally| i64::try_from(tally.count).unwrap_or(i64::MAX)).collect::<Vec<_>>())
        .bind(tallies.iter().map(|tally| tally.total).collect::<Vec<_>>());
    ledger.write(query).await.map(drop)
}

/// Drops what is of no use, and the notes of nodes that have added nothing since.
pub(super) async fn drop_outlived(ledger: &PostgresLedger, outlived: &[Outlived]) -> Result<u64> {
    let Some(oldest) = outlived.iter().map(|gone| gone.before).min() else { return Ok(0) };
    let query = sqlx::query(include_str!("sql/tallies_drop.sql"))
        .bind(outlived.iter().map(|gone| gone.measure.as_str()).collect::<Vec<_>>())
        .bind(outlived.iter().map(|gone| gone.before).collect::<Vec<_>>());
    let dropped = ledger.write(query).await?;
    ledger.write(sqlx::query(include_str!("sql/tally_additions_forget.sql")).bind(oldest)).await?;
    Ok(dropped)
}
