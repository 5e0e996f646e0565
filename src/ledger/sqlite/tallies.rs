//! Adding to tallies and dropping them.

use super::{AsyncWork, SqliteLedger, Steps, json};
use crate::job::NodeId;
use crate::ledger::{Outlived, Result, Tally};

/// An addition of one node.
struct Addition<'a> {
    node: &'a NodeId,
    number: i64,
    latest: i64,
    tallies: &'a [Tally],
}

impl AsyncWork<()> for Addition<'_> {
    async fn run(self, steps: Steps<'_>) -> sqlx::Result<()> {
        let note = sqlx::query(include_str!("sql/tally_additions.sql"))
            .bind(self.node.as_str())
            .bind(self.number)
            .bind(self.latest);
        if note.execute(&mut *steps.0).await?.rows_affected() == 0 {
            return Ok(());
        }
        let rows: Vec<_> = self.tallies.iter().map(|t| (t.minute, &t.measure, &t.label, t.count, t.total)).collect();
        sqlx::query(include_str!("sql/tallies_add.sql")).bind(json(&rows)).execute(&mut *steps.0).await.map(drop)
    }
}

/// Adds, unless this number was added before.
pub(super) async fn add(ledger: &SqliteLedger, node: &NodeId, number: i64, tallies: &[Tally]) -> Result<()> {
    let Some(latest) = tallies.iter().map(|tally| tally.minute).max() else { return Ok(()) };
    ledger.transaction(Addition { node, number, latest, tallies }).await
}

/// Drops what is of no use, and the notes of nodes that have added nothing since.
pub(super) async fn drop_outlived(ledger: &SqliteLedger, outlived: &[Outlived]) -> Result<u64> {
    let Some(oldest) = outlived.iter().map(|gone| gone.before).min() else { return Ok(0) };
    let pairs: Vec<_> = outlived.iter().map(|gone| (&gone.measure, gone.before)).collect();
    let dropped = ledger.write(sqlx::query(include_str!("sql/tallies_drop.sql")).bind(json(&pairs))).await?;
    ledger.write(sqlx::query(include_str!("sql/tally_additions_forget.sql")).bind(oldest)).await?;
    Ok(dropped)
}
