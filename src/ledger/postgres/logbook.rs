//! The logbook of a cluster.

use async_trait::async_trait;
use sqlx::Connection as _;
use sqlx::postgres::PgRow;

use super::{PostgresLedger, Steps};
use crate::clock::Timestamp;
use crate::job::{State, TypeName};
use crate::ledger::fault::Stage;
use crate::ledger::logbook::{self, Arg, Statements, every_step};
use crate::ledger::row::{bucket, signed};
use crate::ledger::{IncidentFilter, Logbook, LogbookRetention, RemediationFilter, Result};
use crate::operations::{
    Alert, AlertNote, Begun, Event, FilledPart, Flaw, Impact, Incident, NewEvent, NewRemediation, Noted, Remediation,
    RemediationLimits, RemediationState,
};

impl Statements for Steps<'_> {
    type Row = PgRow;

    async fn fetch(&mut self, text: &'static str, args: &[Arg<'_>]) -> sqlx::Result<Vec<PgRow>> {
        bound(text, args).fetch_all(&mut *self.0).await
    }

    async fn execute(&mut self, text: &'static str, args: &[Arg<'_>]) -> sqlx::Result<u64> {
        Ok(bound(text, args).execute(&mut *self.0).await?.rows_affected())
    }

    async fn alone(&mut self) -> sqlx::Result<()> {
        sqlx::query(include_str!("sql/logbook_alone.sql")).execute(&mut *self.0).await.map(drop)
    }
}

fn bound<'q>(
    text: &'static str,
    args: &[Arg<'q>],
) -> sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments> {
    args.iter().fold(sqlx::query(text), |query, arg| match *arg {
        Arg::Int(number) => query.bind(number),
        Arg::MaybeInt(number) => query.bind(number),
        Arg::Text(text) => query.bind(logbook::clean(text)),
        Arg::MaybeText(text) => query.bind(text.map(logbook::clean)),
    })
}

macro_rules! implement {
    (
        look { $($look:ident($($looked:ident: $looked_type:ty),*) -> $seen:ty;)+ }
        write { $($write:ident($($written:ident: $written_type:ty),*) -> $done:ty;)+ }
    ) => {
        #[async_trait]
        impl Logbook for PostgresLedger {
            $(async fn $look(&self, $($looked: $looked_type),*) -> Result<$seen> {
                let stage = Stage::default();
                let work = async {
                    let mut connection = self.connections.take().await?;
                    let seen = logbook::$look(&mut Steps(&mut connection), $($looked),*).await;
                    connection.end(seen)
                };
                self.call(&stage, work).await
            })+

            $(async fn $write(&self, $($written: $written_type),*) -> Result<$done> {
                let stage = Stage::default();
                let work = async {
                    let mut connection = self.connections.take().await?;
                    let done = async {
                        let mut transaction = connection.begin().await?;
                        let value = logbook::$write(&mut Steps(&mut transaction), $($written),*).await?;
                        stage.committing();
                        transaction.commit().await?;
                        Ok(value)
                    };
                    let done: sqlx::Result<$done> = done.await;
                    connection.end(done)
                };
                self.call(&stage, work).await
            })+

            async fn flaws(&self) -> Result<Vec<Flaw>> {
                let stage = Stage::default();
                let work = async {
                    let mut connection = self.connections.take().await?;
                    let found = logbook::flaws(&mut Steps(&mut connection)).await;
                    connection.end(found)
                };
                self.call(&stage, work).await
            }

            async fn impact(&self, from: Timestamp, until: Timestamp, slas: &[(TypeName, u64)]) -> Result<Vec<Impact>> {
                let stage = Stage::default();
                let query = sqlx::query(include_str!("sql/impact.sql"))
                    .bind(from.millis())
                    .bind(until.millis())
                    .bind(slas.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())
                    .bind(slas.iter().map(|(_, sla_ms)| signed(*sla_ms)).collect::<Vec<_>>())
                    .bind(bucket(State::Succeeded, from));
                let work = async {
                    let mut connection = self.connections.take().await?;
                    let rows = async {
                        let mut transaction = connection.begin().await?;
                        // It reads whole partitions, which every other statement here must not.
                        sqlx::query(include_str!("sql/impact_plan.sql")).execute(&mut *transaction).await?;
                        let rows = query.fetch_all(&mut *transaction).await?;
                        transaction.commit().await?;
                        logbook::impact_of(&rows)
                    };
                    let rows = rows.await;
                    connection.end(rows)
                };
                self.call(&stage, work).await
            }
        }
    };
}

every_step!(implement);
