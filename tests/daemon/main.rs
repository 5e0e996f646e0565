//! The real binary on both footings, as clients and operators see it.
#![allow(
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests fail by panicking"
)]

#[path = "../support/mcp_server.rs"]
mod mcp_server;
#[path = "../support/mod.rs"]
mod support;

/// Runs each scenario on SQLite with the broker in process and on real Postgres with real Redis.
macro_rules! on_both_footings {
    ($($name:ident)+) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::support::daemon::Footing::Embedded).await;
            })+
        }
        mod cluster {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(crate::support::daemon::Footing::Cluster).await;
            })+
        }
    };
}

mod bad_input;
#[cfg(feature = "platform-tools")]
mod bad_pages;
mod bounds;
mod breakers;
mod control;
mod crash;
#[cfg(feature = "platform-tools")]
mod demo;
mod examples;
mod figures;
mod footings;
mod full_disk;
mod handlers;
mod health;
mod idempotency;
mod incidents;
mod kinds;
mod life;
mod mcp;
mod measures;
mod operating;
mod overload;
#[cfg(feature = "platform-tools")]
mod platform;
mod pools;
mod recovery;
mod reload;
mod remediation;
mod retries;
mod reviews;
mod shedding;
mod shutdown;
mod startup;
mod workers;
