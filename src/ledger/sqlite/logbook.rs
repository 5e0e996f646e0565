//! The logbook of a single machine.

use async_trait::async_trait;
use sqlx::Connection as _;
use sqlx::sqlite::SqliteRow;

use super::{BEGIN, SqliteLedger, Steps, json};
use crate::clock::Timestamp;
use crate::job::TypeName;
use crate::ledger::fault::{self, Stage};
use crate::ledger::logbook::{self, Arg, Statements, every_step};
use crate::ledger::row::Cells as _;
use crate::ledger::{IncidentFilter, Logbook, LogbookRetention, RemediationFilter, Result};
use crate::operations::{
    Alert, AlertNote, Begun, Event, FilledPart, Flaw, Impact, Incident, NewEvent, NewRemediation, Noted, Remediation,
    RemediationLimits, RemediationState,
};

impl Statements for Steps<'_> {
    type Row = SqliteRow;

    async fn fetch(&mut self, text: &'static str, args: &[Arg<'_>]) -> sqlx::Result<Vec<SqliteRow>> {
        bound(text, args).fetch_all(&mut *self.0).await
    }

    async fn execute(&mut self, text: &'static str, args: &[Arg<'_>]) -> sqlx::Result<u64> {
        Ok(bound(text, args).execute(&mut *self.0).await?.rows_affected())
    }

    async fn alone(&mut self) -> sqlx::Result<()> {
        // There is one writer, and it has begun.
        Ok(())
    }
}

fn bound<'q>(
    text: &'static str,
    args: &[Arg<'q>],
) -> sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments> {
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
        impl Logbook for SqliteLedger {
            $(async fn $look(&self, $($looked: $looked_type),*) -> Result<$seen> {
                let work = async {
                    let mut connection = self.reader().await?;
                    logbook::$look(&mut Steps(&mut connection), $($looked),*).await
                };
                work.await.map_err(|error| fault::sqlite(&self.place, &error, false))
            })+

            $(async fn $write(&self, $($written: $written_type),*) -> Result<$done> {
                let stage = Stage::default();
                let told = |error: &sqlx::Error| fault::sqlite(&self.place, error, stage.is_committing());
                let mut connection = self.writer.acquire().await.map_err(|error| told(&error))?;
                let work = async {
                    let mut transaction = connection.begin_with(BEGIN).await?;
                    let value = logbook::$write(&mut Steps(&mut transaction), $($written),*).await?;
                    stage.committing();
                    transaction.commit().await?;
                    Ok(value)
                };
                let done: sqlx::Result<$done> = work.await;
                self.end(connection, done).await.map_err(|error| told(&error))
            })+

            async fn flaws(&self) -> Result<Vec<Flaw>> {
                let work = async {
                    let mut connection = self.reader().await?;
                    let mut found = logbook::flaws(&mut Steps(&mut connection)).await?;
                    let check = sqlx::query(include_str!("sql/flaws_of_file.sql"));
                    for row in check.fetch_all(&mut *connection).await? {
                        let words = row.text("quick_check")?;
                        if words != "ok" {
                            found.push(Flaw { kind: "damaged_file", words: format!("{}: {words}", self.place) });
                        }
                    }
                    Ok(found)
                };
                work.await.map_err(|error| fault::sqlite(&self.place, &error, false))
            }

            async fn impact(&self, from: Timestamp, until: Timestamp, slas: &[(TypeName, u64)]) -> Result<Vec<Impact>> {
                let slas: Vec<(&str, u64)> = slas.iter().map(|(name, sla_ms)| (name.as_str(), *sla_ms)).collect();
                let work = async {
                    let mut connection = self.reader().await?;
                    let query = sqlx::query(include_str!("sql/impact.sql"))
                        .bind(from.millis())
                        .bind(until.millis())
                        .bind(json(&slas));
                    logbook::impact_of(&query.fetch_all(&mut *connection).await?)
                };
                work.await.map_err(|error| fault::sqlite(&self.place, &error, false))
            }
        }
    };
}

every_step!(implement);
