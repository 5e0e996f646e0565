//! The steps of settling and confirming, each one statement over arrays.

use std::collections::HashMap;

use sqlx::postgres::PgConnection;

use super::Steps;
use crate::job::{Counters, Fence, Seq};
use crate::ledger::row::{self, Cells};
use crate::ledger::settle::SettleSteps;
use crate::ledger::{Confirm, Confirmed, Settlement};
use crate::mutant::source;

impl SettleSteps for Steps<'_> {
    async fn apply(&mut self, wave: &[&Settlement]) -> sqlx::Result<Vec<Seq>> {
        let verdicts: Vec<_> = wave.iter().map(|settle| row::verdict(&settle.verdict)).collect();
        let errors: Vec<_> = wave.iter().map(|settle| row::error(settle.error.as_ref())).collect();
        let counters =
            |of: fn(&Counters) -> u32| wave.iter().map(|settle| i64::from(of(&settle.counters))).collect::<Vec<_>>();
        let rests = || verdicts.iter().map(|verdict| verdict.as_ref().ok());
        let rows = sqlx::query(source!("sql/settle.sql"))
            .bind(wave.iter().map(|settle| settle.seq).collect::<Vec<_>>())
            .bind(wave.iter().map(|settle| settle.fence).collect::<Vec<_>>())
            .bind(rests().map(|rest| rest.map(|(state, ..)| state.name())).collect::<Vec<_>>())
            .bind(rests().map(|rest| rest.and_then(|(_, result, _)| *result)).collect::<Vec<_>>())
            .bind(rests().map(|rest| rest.map(|(.., at)| at.millis())).collect::<Vec<_>>())
            .bind(rests().map(|rest| rest.map(|(state, _, at)| row::bucket(*state, *at))).collect::<Vec<_>>())
            .bind(verdicts.iter().map(|verdict| verdict.as_ref().err().map(|at| at.millis())).collect::<Vec<_>>())
            .bind(counters(|counters| counters.attempts))
            .bind(counters(|counters| counters.deliveries))
            .bind(counters(|counters| counters.crashes))
            .bind(counters(|counters| counters.deferrals))
            .bind(wave.iter().map(|settle| row::history(&settle.history)).collect::<Vec<_>>())
            .bind(errors.iter().map(|(class, _)| class.as_deref()).collect::<Vec<_>>())
            .bind(errors.iter().map(|(_, message)| message.as_deref()).collect::<Vec<_>>())
            .bind(wave.iter().map(|settle| settle.keyed).collect::<Vec<_>>())
            .fetch_all(&mut *self.0)
            .await?;
        rows.iter().map(|row| row.int("seq")).collect()
    }

    async fn find_settled(&mut self, seqs: &[Seq]) -> sqlx::Result<HashMap<Seq, Fence>> {
        let rows = sqlx::query(include_str!("sql/settled_find.sql")).bind(seqs).fetch_all(&mut *self.0).await?;
        rows.iter().map(|row| Ok((row.int("seq")?, row.int("settled_fence")?))).collect()
    }
}

/// Confirms claims wave by wave and writes the answers where the claims stood.
pub(super) async fn confirm(
    connection: &mut PgConnection,
    claims: &[Confirm],
    waves: &[Vec<usize>],
    answers: &mut [Confirmed],
) -> sqlx::Result<()> {
    for wave in waves {
        let column = |of: fn(&Confirm) -> i64| wave.iter().map(|&at| of(&claims[at])).collect::<Vec<_>>();
        let rows = sqlx::query(source!("sql/confirm.sql"))
            .bind(column(|claim| claim.seq))
            .bind(column(|claim| claim.fence))
            .bind(column(|claim| i64::from(claim.deliveries)))
            .bind(column(|claim| i64::from(claim.crashes)))
            .bind(column(|claim| i64::from(claim.deferrals)))
            .bind(column(|claim| claim.now.millis()))
            .fetch_all(&mut *connection)
            .await?;
        let mut jobs = rows.iter().map(row::job).collect::<sqlx::Result<Vec<_>>>()?;
        for &at in wave {
            if let Some(found) = jobs.iter().position(|job| job.seq == claims[at].seq) {
                answers[at] = Confirmed::Live(Box::new(jobs.swap_remove(found)));
            }
        }
    }
    Ok(())
}
