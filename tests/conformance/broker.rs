//! What every broker promises, run on every broker.
//!
//! A promise is an async function over a [`fixture::Fixture`]; the macro makes it a test on the in-process broker, one on a
//! real Redis and one on a real Redis Cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod claims;
mod cluster;
mod epochs;
pub(crate) mod fixture;
mod leases;
mod looks;
mod notes;
mod order;
mod pushes;
mod real_redis;
mod scripts;
mod sentinel;
mod walk;

/// Makes each promise a test on each broker.
macro_rules! on_every_broker {
    ($($promise:ident)+) => {
        mod memory {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(crate::broker::fixture::Fixture::memory().await).await;
            })+
        }
        mod redis {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(crate::broker::fixture::Fixture::redis().await).await;
            })+
        }
        mod redis_cluster {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(crate::broker::fixture::Fixture::cluster().await).await;
            })+
        }
    };
}
pub(crate) use on_every_broker;
