//! Submitting many jobs and watching them go.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::cli::client::{Call, Client, segment};
use crate::cli::failure::Failure;

/// How often the queue is looked at while it empties. The drain rate is exact to this.
const LOOK: Duration = Duration::from_millis(20);

/// How often submits are sent at a steady rate: short beside the waits that are measured.
const TICK: Duration = Duration::from_millis(2);

/// A queue in which nothing moves for this long is stuck: paused, or without workers.
const STUCK: Duration = Duration::from_mins(1);

/// The most jobs of a page.
const PAGE: usize = 1_000;

/// The label that tells the jobs of one measurement from all others.
const LABEL: &str = "ganger_bench";

/// Jobs of one type for one queue.
pub(super) struct Load {
    client: Client,
    job_type: String,
    queue: String,
    run: String,
}

/// How long it took.
pub(super) struct Rates {
    /// From the first submit to the last acknowledgement.
    pub(super) accepted_in: Duration,
    /// From the first submit to the last finish.
    pub(super) drained_in: Duration,
}

#[derive(Debug, Deserialize)]
struct Queue {
    ready: Option<u64>,
    scheduled: Option<u64>,
    running: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Item {
    status: u16,
}

#[derive(Debug, Deserialize)]
struct Page {
    jobs: Vec<Job>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Job {
    wait_ms: Option<u64>,
}

impl Load {
    pub(super) fn new(client: Client, job_type: &str, queue: &str, run: &str) -> Self {
        Self { client, job_type: job_type.to_owned(), queue: queue.to_owned(), run: run.to_owned() }
    }

    /// Refuses to measure a queue that has other work.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        match self.depth().await? {
            0 => Ok(()),
            depth => Err(Failure::failed(format!("queue {} holds {depth} jobs; measure an empty one", self.queue))),
        }
    }

    async fn depth(&self) -> Result<u64, Failure> {
        let path = format!("/v1/queues/{}", segment(&self.queue));
        let queue: Queue = self.client.expect(&Call::get(path)).await?.json()?;
        let away = || Failure::try_later("the server's broker is away, so nothing can be measured");
        let parts = [queue.ready, queue.scheduled, queue.running];
        parts.into_iter().sum::<Option<u64>>().ok_or_else(away)
    }

    fn submit(&self, phase: &str) -> String {
        let labels = json!({ LABEL: format!("{}-{phase}", self.run) });
        json!({ "type": self.job_type, "queue": self.queue, "payload": null, "labels": labels }).to_string()
    }

    /// Submits `jobs` jobs, `size` a request, `concurrency` requests at a time, and waits for their end.
    pub(super) async fn rates(&self, jobs: u32, size: u32, concurrency: u32) -> Result<Rates, Failure> {
        let submit = self.submit("rates");
        let full = Bytes::from(body(&submit, size));
        let started = Instant::now();
        let mut lanes = JoinSet::new();
        let requests = jobs.div_ceil(size);
        // Each lane sends its share one after the other, as a client with one connection would.
        for lane in 0..concurrency.min(requests) {
            let (client, submit, full) = (self.client.clone(), submit.clone(), full.clone());
            lanes.spawn(async move {
                let mine = (lane..requests).step_by(concurrency as usize);
                for request in mine {
                    let left = jobs - request * size;
                    let body = if left < size { Bytes::from(body(&submit, left)) } else { full.clone() };
                    send(&client, body, size).await?;
                }
                Ok::<(), Failure>(())
            });
        }
        while let Some(lane) = lanes.join_next().await {
            lane.map_err(|error| Failure::failed(format!("a sender broke off: {error}")))??;
        }
        let accepted_in = started.elapsed();
        self.drained().await?;
        Ok(Rates { accepted_in, drained_in: started.elapsed() })
    }

    /// Waits until the queue is empty.
    async fn drained(&self) -> Result<(), Failure> {
        let (mut lowest, mut moved) = (u64::MAX, Instant::now());
        loop {
            let depth = self.depth().await?;
            // A job may be accepted and not yet in its queue; a second look tells.
            if depth == 0 && self.depth().await? == 0 {
                return Ok(());
            }
            if depth < lowest {
                (lowest, moved) = (depth, Instant::now());
            }
            if moved.elapsed() > STUCK {
                let stuck = STUCK.as_secs();
                return Err(Failure::failed(format!(
                    "{depth} jobs of queue {} have not moved for {stuck} s",
                    self.queue
                )));
            }
            sleep(LOOK).await;
        }
    }

    /// Offers `rate` jobs a second for `time`, and reads how long each waited, in milliseconds.
    pub(super) async fn waits(&self, rate: u32, time: Duration, concurrency: u32) -> Result<Vec<u64>, Failure> {
        let submit = Bytes::from(self.submit("waits"));
        let slots = Arc::new(Semaphore::new(concurrency.max(64) as usize));
        let mut sends = JoinSet::new();
        let started = Instant::now();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let total = u64::from(rate) * time.as_secs();
        let mut sent = 0;
        while sent < total {
            ticks.tick().await;
            let due = (started.elapsed().as_micros() * u128::from(rate) / 1_000_000).min(u128::from(total));
            while u128::from(sent) < due {
                // Without a slot the server is behind, and a longer line here would hide that.
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
                let (client, submit) = (self.client.clone(), submit.clone());
                sends.spawn(async move {
                    let sent = send(&client, submit, 1).await;
                    drop(slot);
                    sent
                });
                sent += 1;
            }
            while let Some(done) = sends.try_join_next() {
                done.map_err(|error| Failure::failed(format!("a sender broke off: {error}")))??;
            }
        }
        while let Some(done) = sends.join_next().await {
            done.map_err(|error| Failure::failed(format!("a sender broke off: {error}")))??;
        }
        self.drained().await?;
        self.recorded().await
    }

    /// Reads the waits that the jobs' records show, page by page.
    async fn recorded(&self) -> Result<Vec<u64>, Failure> {
        let pages = stream::unfold(Some(None::<String>), |cursor| async move {
            let cursor = cursor?;
            let mut call = Call::get("/v1/jobs")
                .query("queue", &self.queue)
                .query(format!("label.{LABEL}"), format!("{}-waits", self.run))
                .query("limit", PAGE.to_string());
            if let Some(cursor) = cursor {
                call = call.query("cursor", cursor);
            }
            let page = self.client.expect(&call).await.and_then(|reply| reply.json::<Page>());
            let next = page.as_ref().ok().and_then(|page| page.next_cursor.clone());
            Some((page, next.map(Some)))
        });
        let mut pages = std::pin::pin!(pages);
        let mut waits = Vec::new();
        while let Some(page) = pages.next().await {
            waits.extend(page?.jobs.into_iter().filter_map(|job| job.wait_ms));
        }
        Ok(waits)
    }
}

/// One submit, or several as lines.
fn body(submit: &str, size: u32) -> String {
    vec![submit; size as usize].join("\n")
}

/// Sends one request and holds the server to accepting all of it.
async fn send(client: &Client, body: Bytes, size: u32) -> Result<(), Failure> {
    if size == 1 {
        client.expect(&Call::post("/v1/jobs").json(body)).await?;
        return Ok(());
    }
    let reply = client.expect(&Call::post("/v1/jobs/batch").body("application/x-ndjson", body)).await?;
    let items: Vec<Item> = reply.json()?;
    match items.iter().find(|item| item.status != 201) {
        None => Ok(()),
        Some(item) => {
            Err(Failure::failed(format!("the server refused a job of the batch with status {}", item.status)))
        }
    }
}
