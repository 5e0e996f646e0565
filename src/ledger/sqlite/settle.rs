//! The steps of settling and confirming. The fences are read first and judged here: there is one
//! writer, so they are still the same when the outcomes are written.

use std::collections::HashMap;
use std::sync::LazyLock;

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::repeated::Repeated;
use super::{Steps, json};
use crate::clock::Timestamp;
use crate::job::{Fence, Seq, State};
use crate::ledger::row::{self, Cells};
use crate::ledger::settle::{SettleSteps, waves};
use crate::ledger::{Confirm, Confirmed, Settlement};
use crate::mutant::{mutant, source};

static REST: LazyLock<Repeated> = LazyLock::new(|| Repeated::of(include_str!("sql/settle_rest.sql")));
static RETRY: LazyLock<Repeated> = LazyLock::new(|| Repeated::of(include_str!("sql/settle_retry.sql")));

/// A settlement that brings rest, with its outcome.
type Resting<'a> = (&'a Settlement, (State, Option<&'a [u8]>, Timestamp));

impl SettleSteps for Steps<'_> {
    async fn apply(&mut self, wave: &[&Settlement]) -> sqlx::Result<Vec<Seq>> {
        if wave.is_empty() {
            return Ok(Vec::new());
        }
        mutant!(late_result_wins => { self.overwrite(wave).await?; });
        let fences = self.fences(wave).await?;
        let (mut resting, mut retried): (Vec<Resting<'_>>, Vec<(&Settlement, Timestamp)>) = (Vec::new(), Vec::new());
        for &settle in wave {
            let applies = |&(fence, settled): &(Fence, Fence)| {
                let is_overtaken = fence > settle.fence && !mutant!(no_fence_check);
                let is_settled = settled >= settle.fence && !mutant!(settled_twice);
                !is_overtaken && !is_settled
            };
            if fences.get(&settle.seq).is_some_and(applies) {
                match row::verdict(&settle.verdict) {
                    Ok(rest) => resting.push((settle, rest)),
                    Err(due_at) => retried.push((settle, due_at)),
                }
            }
        }
        self.bring_to_rest(&resting).await?;
        self.put_back(&retried).await?;
        let rested = resting.iter().map(|(settle, _)| settle.seq);
        Ok(rested.chain(retried.iter().map(|(settle, _)| settle.seq)).collect())
    }

    async fn find_settled(&mut self, seqs: &[Seq]) -> sqlx::Result<HashMap<Seq, Fence>> {
        let rows = sqlx::query(include_str!("sql/settled_find.sql")).bind(json(seqs)).fetch_all(&mut *self.0).await?;
        rows.iter().map(|row| Ok((row.int("seq")?, row.int("settled_fence")?))).collect()
    }
}

impl Steps<'_> {
    /// Fence and settled fence of the lives that are live.
    async fn fences(&mut self, wave: &[&Settlement]) -> sqlx::Result<HashMap<Seq, (Fence, Fence)>> {
        let seqs: Vec<Seq> = wave.iter().map(|settle| settle.seq).collect();
        let look = sqlx::query(include_str!("sql/settle_look.sql")).bind(json(&seqs));
        let found = look.fetch_one(&mut *self.0).await?;
        let list: Vec<(Seq, Fence, Fence)> =
            serde_json::from_str(found.text("fences")?).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(list.into_iter().map(|(seq, fence, settled)| (seq, (fence, settled))).collect())
    }

    /// Moves rows from live to finished with their outcomes.
    async fn bring_to_rest(&mut self, resting: &[Resting<'_>]) -> sqlx::Result<()> {
        if resting.is_empty() {
            return Ok(());
        }
        for (text, piece) in REST.pieces(resting) {
            let mut query = sqlx::query(text);
            for (settle, (state, result, finished_at)) in piece {
                let (class, message) = row::error(settle.error.as_ref());
                query = query
                    .bind(settle.seq)
                    .bind(state.name())
                    .bind(*result)
                    .bind(finished_at.millis())
                    .bind(settle.fence)
                    .bind(settle.counters.attempts)
                    .bind(settle.counters.deliveries)
                    .bind(settle.counters.crashes)
                    .bind(settle.counters.deferrals)
                    .bind(row::history(&settle.history))
                    .bind(class)
                    .bind(message);
            }
            query.execute(&mut *self.0).await?;
        }
        let seqs: Vec<Seq> = resting.iter().map(|(settle, _)| settle.seq).collect();
        sqlx::query(include_str!("sql/settle_gone.sql")).bind(json(&seqs)).execute(&mut *self.0).await?;
        let keyed: Vec<Seq> = resting.iter().map(|(settle, _)| *settle).filter(|s| s.keyed).map(|s| s.seq).collect();
        if keyed.is_empty() {
            return Ok(());
        }
        sqlx::query(include_str!("sql/settle_keys.sql")).bind(json(&keyed)).execute(&mut *self.0).await.map(drop)
    }

    /// Writes outcomes of runs that will be tried again.
    async fn put_back(&mut self, retried: &[(&Settlement, Timestamp)]) -> sqlx::Result<()> {
        for (text, piece) in RETRY.pieces(retried) {
            let mut query = sqlx::query(text);
            for (settle, due_at) in piece {
                let (class, message) = row::error(settle.error.as_ref());
                query = query
                    .bind(settle.seq)
                    .bind(due_at.millis())
                    .bind(settle.fence)
                    .bind(settle.counters.attempts)
                    .bind(settle.counters.deliveries)
                    .bind(settle.counters.crashes)
                    .bind(settle.counters.deferrals)
                    .bind(row::history(&settle.history))
                    .bind(class)
                    .bind(message);
            }
            query.execute(&mut *self.0).await?;
        }
        Ok(())
    }
}

#[cfg(ganger_mutants)]
impl Steps<'_> {
    /// Late outcomes change rows at rest.
    async fn overwrite(&mut self, wave: &[&Settlement]) -> sqlx::Result<()> {
        const LATE: &str = "UPDATE finished SET state = 'succeeded' WHERE seq IN (SELECT value FROM json_each($1))";
        let seqs: Vec<Seq> = wave.iter().map(|settle| settle.seq).collect();
        sqlx::query(LATE).bind(json(&seqs)).execute(&mut *self.0).await.map(drop)
    }
}

/// Confirms claims; answers in order.
pub(super) async fn confirm(connection: &mut SqliteConnection, claims: &[Confirm]) -> sqlx::Result<Vec<Confirmed>> {
    let mut answers = vec![Confirmed::Void; claims.len()];
    for wave in waves(claims, |claim| claim.seq) {
        let asked: Vec<[i64; 6]> = wave
            .iter()
            .map(|&at| &claims[at])
            .map(|claim| {
                let [deliveries, crashes, deferrals] =
                    [claim.deliveries, claim.crashes, claim.deferrals].map(i64::from);
                [claim.seq, claim.fence, deliveries, crashes, deferrals, claim.now.millis()]
            })
            .collect();
        let written = sqlx::query(source!("sql/confirm.sql")).bind(json(&asked)).fetch_all(&mut *connection).await?;
        let seqs = written.iter().map(|row| row.try_get("seq")).collect::<sqlx::Result<Vec<Seq>>>()?;
        let rows = sqlx::query(include_str!("sql/live_jobs.sql")).bind(json(&seqs)).fetch_all(&mut *connection).await?;
        let mut jobs = rows.iter().map(row::job).collect::<sqlx::Result<Vec<_>>>()?;
        for at in wave {
            if let Some(found) = jobs.iter().position(|job| job.seq == claims[at].seq) {
                answers[at] = Confirmed::Live(Box::new(jobs.swap_remove(found)));
            }
        }
    }
    Ok(answers)
}
