//! `ganger bench`: how fast jobs are accepted, finished and started, seen from outside.
//!
//! All figures come through the HTTP API: the rate of acknowledged submits, the time from the first
//! submit to an empty queue, and, at a steady offered rate, the wait that each job's own record shows.

mod daemon;
mod load;

use std::time::Duration;

use clap::ValueEnum;
use serde_json::json;

use crate::job::JobId;

use self::daemon::Daemon;
use self::load::{Load, Rates};
use super::client::{Client, ClientArgs};
use super::failure::{DONE, Failure, Outcome};
use super::output::{self, Format};

/// How jobs are submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// One job a request.
    Single,
    /// Many jobs a request.
    Batch,
}

/// The flags of `bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// How many jobs measure the rates.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// One job a request, or many.
    #[arg(long, value_enum, default_value_t = Mode::Batch)]
    mode: Mode,
    /// Jobs of one request in mode batch.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch_size: u32,
    /// Requests under way at the same time.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    concurrency: u32,
    /// The job type; it should do nothing.
    #[arg(long = "type", value_name = "TYPE", default_value = "noop")]
    job_type: String,
    /// The queue of that type. It should be empty.
    #[arg(long, default_value = "bench")]
    queue: String,
    /// Jobs a second that are offered while the wait is measured; 0 leaves that out.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    rate: u32,
    /// How long the wait is measured.
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u32,
    /// Redis for the daemon that is started; goes with --database-url.
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    redis_url: Option<String>,
    /// The ledger for the daemon that is started.
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    database_url: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
}

const HELP: &str = "\
Without --server (or GANGER_SERVER) a daemon of its own is started in a temporary folder on a free port \
and stopped afterwards, so that nothing of yours is touched. With one, its queue receives the jobs.

Rates are jobs a second. The wait is the time from a job's acceptance to its start, in whole milliseconds \
as the jobs' own records have it.";

impl Args {
    pub(super) async fn run(self) -> Outcome {
        if self.client.server.is_some() {
            let client = Client::new(&self.client)?;
            return self.measure(&client).await;
        }
        let daemon = Daemon::start(self.redis_url.as_deref(), self.database_url.as_deref()).await?;
        output::talk(&format!("measuring a daemon of its own at {}", daemon.server()));
        let outcome = match Client::for_servers(daemon.server(), None) {
            Ok(client) => tokio::select! {
                outcome = self.measure(&client) => outcome,
                // An interrupt must not leave the daemon and its folder behind.
                _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted")),
            },
            Err(failure) => Err(failure),
        };
        daemon.stop().await;
        outcome
    }

    async fn measure(&self, client: &Client) -> Outcome {
        let load = Load::new(client.clone(), &self.job_type, &self.queue, JobId::generate().as_str());
        load.check().await?;
        let size = if self.mode == Mode::Batch { self.batch_size } else { 1 };
        let rates = load.rates(self.jobs, size, self.concurrency).await?;
        let mut waits = Vec::new();
        if self.rate > 0 && self.seconds > 0 {
            waits = load.waits(self.rate, Duration::from_secs(self.seconds.into()), self.concurrency).await?;
            waits.sort_unstable();
        }
        self.report(&rates, &waits)
    }

    fn report(&self, rates: &Rates, waits: &[u64]) -> Outcome {
        let accept = per_second(self.jobs, rates.accepted_in);
        let drain = per_second(self.jobs, rates.drained_in);
        let (p50, p99) = (percentile(waits, 50), percentile(waits, 99));
        if self.client.output == Format::Json {
            let mode = if self.mode == Mode::Batch { "batch" } else { "single" };
            let report = json!({
                "jobs": self.jobs,
                "mode": mode,
                "batch_size": if self.mode == Mode::Batch { self.batch_size } else { 1 },
                "concurrency": self.concurrency,
                "accept_per_s": accept,
                "drain_per_s": drain,
                "accept_ms": rates.accepted_in.as_millis(),
                "drain_ms": rates.drained_in.as_millis(),
                "wait": {
                    "offered_per_s": self.rate,
                    "jobs": waits.len(),
                    "p50_ms": p50,
                    "p99_ms": p99,
                    "max_ms": waits.last(),
                },
            });
            output::data(&report.to_string())?;
            return Ok(DONE);
        }
        let ms = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        let offered = format!("{} jobs at {}/s", waits.len(), self.rate);
        let rows = vec![
            vec!["accept rate".to_owned(), format!("{accept}/s"), format!("{} jobs", self.jobs)],
            vec!["drain rate".to_owned(), format!("{drain}/s"), format!("{} jobs", self.jobs)],
            vec!["wait, median".to_owned(), ms(p50), offered.clone()],
            vec!["wait, 99th percentile".to_owned(), ms(p99), offered],
        ];
        output::data(&output::table(&["MEASURE", "VALUE", "OF"], rows))?;
        Ok(DONE)
    }
}

/// Whole jobs a second.
fn per_second(jobs: u32, time: Duration) -> u64 {
    let micros = time.as_micros().max(1);
    u64::try_from(u128::from(jobs) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

/// The smallest value that at least `share` per cent do not exceed.
fn percentile(sorted: &[u64], share: usize) -> Option<u64> {
    let rank = (sorted.len() * share).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<u64> = (1..=200).collect();
        assert_eq!((percentile(&sorted, 50), percentile(&sorted, 99)), (Some(100), Some(198)));
        assert_eq!((percentile(&[7], 50), percentile(&[7], 99)), (Some(7), Some(7)));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_rate_is_jobs_over_time() {
        assert_eq!(per_second(500, Duration::from_millis(250)), 2_000);
        assert_eq!(per_second(5, Duration::ZERO), 5_000_000);
    }
}
