//! Waiting for facts while somebody looks on: a progress bar, or plain lines where stderr is no terminal.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep};

use crate::cli::failure::Failure;
use crate::cli::output;

use super::desk::{Desk, Live};

/// How often the daemon is asked. Short beside what a person sees.
const LOOK: Duration = Duration::from_millis(100);

/// How often a plain line says how far it is.
const PLAIN: Duration = Duration::from_secs(5);

/// When nothing has moved for this long, nothing will: the longest backoff of the demo's configuration is half of it.
const STUCK: Duration = Duration::from_secs(60);

/// Shows how far the day is.
#[derive(Debug)]
pub(super) struct Watch {
    bar: ProgressBar,
    is_plain: bool,
    said: std::sync::Mutex<Instant>,
    begun: Instant,
}

impl Watch {
    pub(super) fn new() -> Self {
        let is_plain = !std::io::stderr().is_terminal();
        let bar = if is_plain { ProgressBar::hidden() } else { ProgressBar::new(0) };
        let style = ProgressStyle::with_template("{elapsed_precise} [{bar:30}] {pos}/{len} jobs at rest  {msg}");
        let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        Self { bar, is_plain, said: std::sync::Mutex::new(Instant::now()), begun: Instant::now() }
    }

    /// Tells of something that happened.
    pub(super) fn say(&self, text: &str) {
        let line = format!("{:>5.1} s  {text}", self.begun.elapsed().as_secs_f64());
        if self.is_plain {
            output::talk(&line);
        } else {
            self.bar.println(line);
        }
    }

    /// Takes the bar away.
    pub(super) fn close(&self) {
        self.bar.finish_and_clear();
    }

    /// Waits until no job is left that is not at rest.
    pub(super) async fn until_rest(&self, desk: &Desk) -> Result<(), Failure> {
        let (mut last, mut moved) = (None, Instant::now());
        loop {
            let figures = self.look(desk).await?;
            // A job may be accepted and not yet in its queue; the ledger knows all of them.
            if figures.0.total() == 0 && desk.live_jobs().await?.is_empty() {
                return Ok(());
            }
            if last.replace(figures) != Some(figures) {
                moved = Instant::now();
            } else if moved.elapsed() > STUCK {
                return Err(stuck(desk).await);
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until `is_so` says yes; `what` is for the failure if it never does.
    pub(super) async fn until<T>(
        &self,
        desk: &Desk,
        what: &str,
        mut is_so: impl AsyncFnMut(&Desk) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        loop {
            if let Some(fact) = is_so(desk).await? {
                return Ok(fact);
            }
            if begun.elapsed() > STUCK {
                return Err(Failure::failed(format!("{what}: not within {} s", STUCK.as_secs())));
            }
            self.look(desk).await?;
            sleep(LOOK).await;
        }
    }

    /// Looks how far it is and shows it; answers what is live and how many jobs have come to rest.
    async fn look(&self, desk: &Desk) -> Result<(Live, u64), Failure> {
        let (live, breaker, metrics) = (desk.live().await?, desk.breaker().await?, desk.metrics().await?);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let rested = metrics.sum("ganger_jobs_finished_total", None) as u64;
        let mut words = format!("{} wait, {} run", live.waiting, live.running);
        if !breaker.is_closed() {
            let held = breaker.held_jobs.map_or_else(String::new, |held| format!(", {held} held"));
            words = format!("{words}; breaker {}{held}", breaker.state);
        }
        self.bar.set_length(rested + live.total());
        self.bar.set_position(rested);
        self.bar.set_message(words.clone());
        if self.is_plain {
            let mut said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if said.elapsed() > PLAIN {
                *said = Instant::now();
                self.say(&format!("{rested} of {} jobs at rest; {words}", rested + live.total()));
            }
        }
        Ok((live, rested))
    }
}

/// What hangs, and why.
async fn stuck(desk: &Desk) -> Failure {
    let seconds = STUCK.as_secs();
    let jobs = match desk.live_jobs().await {
        Ok(jobs) => jobs,
        Err(failure) => return failure,
    };
    let Some(job) = jobs.first() else { return Failure::failed(format!("nothing has moved for {seconds} s")) };
    let why = desk.why(&job.id).await.unwrap_or_else(|failure| failure.message().unwrap_or("").to_owned());
    Failure::failed(format!(
        "{} jobs have not moved for {seconds} s; {} {} is {}: {why}",
        jobs.len(),
        job.job_type,
        job.id,
        job.state
    ))
}
