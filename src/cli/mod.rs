//! The command line: one file per command.
//!
//! Data goes to stdout and talk to stderr, so that a pipe carries data only. Every command ends in
//! an exit status: 0 done, 1 failed, 2 usage, 69 server unreachable, 75 refused for load, 78
//! configuration.

mod bench;
mod breakers;
mod child;
mod client;
mod completions;
mod config;
#[cfg(feature = "platform-tools")]
mod demo;
mod failure;
mod health;
mod incidents;
mod jobs;
mod measures;
mod migrate;
mod ndjson;
mod output;
#[cfg(feature = "platform-tools")]
mod platform_tools;
mod pools;
mod queues;
mod remediation;
mod reviews;
mod serve;
mod shedding;
mod stuck;
mod submit;
mod types;
mod verify_history;
mod waiting;
mod workers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::failure::{FAILED, Outcome};

/// A job queue and worker daemon that loses nothing it has accepted.
#[derive(Debug, Parser)]
#[command(name = "ganger", version, propagate_version = true, after_help = EXIT_STATUSES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What scripts can rely on.
const EXIT_STATUSES: &str = "\
Exit status: 0 done, 1 failed, 2 wrong usage, 69 server unreachable, 75 refused for load (try later), \
78 wrong configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: the API, the queues and the workers.
    Serve(serve::Args),
    /// Play a day's work over a sample site, with an outage and a redesign in it, and tell what happened.
    #[cfg(feature = "platform-tools")]
    Demo(demo::Args),
    /// Serve the reference platform: an MCP server that plans and runs tests of web pages.
    #[cfg(feature = "platform-tools")]
    PlatformTools(platform_tools::Args),
    /// Submit one job, or a file of jobs with one JSON object a line.
    Submit(submit::Args),
    /// List, show, retry, replay, cancel and delete jobs; tell why one waits and which are stuck.
    Jobs(jobs::Args),
    /// List, pause, resume, drain and purge queues.
    Queues(queues::Args),
    /// List, pause and resume job types.
    Types(types::Args),
    /// List pools with their sizes and reasons, and set other bounds.
    Pools(pools::Args),
    /// List, drain and replace workers.
    Workers(workers::Args),
    /// List, trip and reset circuit breakers.
    Breakers(breakers::Args),
    /// List, show, approve, reject, edit and replay what waits for a person.
    Reviews(reviews::Args),
    /// List and show incidents, and write their reviews.
    Incidents(incidents::Args),
    /// Show load shedding, and override its rules.
    Shedding(shedding::Args),
    /// List what was done about alerts, show and switch remediation, carry out an action by hand.
    Remediation(remediation::Args),
    /// Show the business measures: success of tests and healings, cache hits, reviews, satisfaction.
    Measures(measures::Args),
    /// Ask a node whether it is healthy; for container checks.
    Health(health::Args),
    /// Measure how fast jobs are accepted, started and finished.
    Bench(bench::Args),
    /// Check and show configurations.
    Config(config::Args),
    /// Bring the ledger's schema up to date, or show its version.
    Migrate(migrate::Args),
    /// Judge what clients and handlers recorded: is it the story of a queue that kept its promises?
    VerifyHistory(verify_history::Args),
    /// Write the completions of a shell to stdout.
    Completions(completions::Args),
}

/// Reads the command line, does what it says, and answers the exit status.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout with status 0, mistakes to stderr with status 2.
            error.print().ok();
            return code(error.exit_code());
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::talk(&format!("ganger: the runtime cannot start: {error}"));
            return code(FAILED);
        }
    };
    let status = runtime.block_on(run(cli.command));
    // A read from a terminal cannot be cancelled and must not hold up the exit.
    runtime.shutdown_background();
    code(status)
}

fn code(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

async fn run(command: Command) -> i32 {
    let outcome: Outcome = match command {
        Command::Serve(args) => args.run().await,
        #[cfg(feature = "platform-tools")]
        Command::Demo(args) => Box::pin(args.run()).await,
        #[cfg(feature = "platform-tools")]
        Command::PlatformTools(args) => args.run().await,
        Command::Config(args) => args.run(),
        Command::Migrate(args) => args.run().await,
        Command::Submit(args) => args.run().await,
        Command::Jobs(args) => args.run().await,
        Command::Queues(args) => args.run().await,
        Command::Types(args) => args.run().await,
        Command::Pools(args) => args.run().await,
        Command::Workers(args) => args.run().await,
        Command::Breakers(args) => args.run().await,
        Command::Reviews(args) => args.run().await,
        Command::Incidents(args) => args.run().await,
        Command::Shedding(args) => args.run().await,
        Command::Remediation(args) => args.run().await,
        Command::Measures(args) => args.run().await,
        Command::Health(args) => args.run().await,
        Command::Bench(args) => Box::pin(args.run()).await,
        Command::VerifyHistory(args) => args.run(),
        Command::Completions(args) => args.run(),
    };
    match outcome {
        Ok(status) => status,
        Err(failure) => {
            if let Some(message) = failure.message() {
                output::talk(&format!("ganger: {message}"));
            }
            failure.status()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usual_lines_are_understood() {
        for line in [
            "serve --config a.toml --config b.toml --listen 127.0.0.1:0 --migrate",
            "submit noop --payload {} --label a=b --label c=d --delay 30s --wait",
            "submit noop --wait 30s --server http://a:1,http://b:2 -o json",
            "submit --ndjson jobs.ndjson --wait",
            "submit noop --ndjson -",
            "jobs list --queue plan --state failed --label a=b --all -o json",
            "jobs --server http://a:1 show x",
            "jobs replay x --payload @p.json",
            "jobs why x",
            "jobs stuck --limit 5",
            "queues drain plan --wait 5m --reason deploy",
            "queues purge plan --yes",
            "types pause x --by me",
            "reviews list --type element_healing --reason requested --all -o json",
            "reviews list --decided any --newest",
            "reviews approve x --note ok --by me",
            "reviews approve x --result null",
            "reviews reject x --note no",
            "reviews edit x --proposal @p.json",
            "reviews replay x --payload {}",
            "incidents list --firing --limit 5 -o json",
            "incidents show 3",
            "incidents review 3 --root-cause x --by me",
            "shedding show -o json",
            "shedding set auto",
            "shedding set 3 --by me",
            "workers list -o json",
            "workers drain exec-worker-3 --wait 5m",
            "workers replace node-a:exec-worker-3 --by me",
            "pools list -o json",
            "pools scale exec-workers --min 2 --max 15 --floor 10 --ttl 10m --by me",
            "pools reset exec-workers",
            "remediation list --action scale --state failed --incident 3 --limit 5 -o json",
            "remediation show",
            "remediation run scale --label queue=exec --label a=b --dry-run --by me",
            "remediation enable --dry-run --reason careful",
            "remediation disable --by me",
            "measures -o json",
            "health --live",
            "bench --jobs 1000 --mode single --concurrency 8",
            "config show --origins",
            "migrate up --database-url postgres://x/y",
            "verify-history a.jsonl - --strict -o json",
            "completions bash",
        ] {
            let parsed = Cli::try_parse_from(std::iter::once("ganger").chain(line.split(' ')));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[cfg(feature = "platform-tools")]
    #[test]
    fn the_demo_and_the_platform_have_lines_of_their_own() {
        for (line, is_good) in [
            ("demo --once --seed 7 --listen 127.0.0.1:0 --data-dir d", true),
            ("demo --seed x", false),
            ("platform-tools", true),
            ("platform-tools --root pages --data-dir d --server http://a:1", true),
            ("platform-tools --listen 127.0.0.1:0 --allow-host tools", true),
            ("platform-tools --site v2 --listen 127.0.0.1:0 --site-files examples/booking-site", true),
            ("platform-tools --site v2", false),
            ("platform-tools --allow-host tools", false),
            ("platform-tools --site v3 --listen 127.0.0.1:0", false),
        ] {
            let parsed = Cli::try_parse_from(std::iter::once("ganger").chain(line.split(' ')));
            assert_eq!(parsed.is_ok(), is_good, "{line}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for line in [
            "submit",
            "submit --ndjson a --payload {}",
            "submit noop --delay 30s --run-at x",
            "jobs show",
            "reviews edit x --note no",
            "reviews approve x --proposal 1",
            "shedding set 6",
            "pools scale exec-workers",
        ] {
            let parsed = Cli::try_parse_from(std::iter::once("ganger").chain(line.split(' ')));
            assert_eq!(parsed.unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
