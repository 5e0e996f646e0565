//! Nodes that die, stand still, or leave.

use std::time::Duration;

use ganger::history::Part;
use nix::sys::signal::Signal;

use super::plan::{Plan, rounds};
use super::world::{LEASE_MS, World};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_killed_at_once() {
    for plan in rounds("power-cut") {
        let mut world = World::start(Plan { own_postgres: true, appendonly: true, ..plan }).await;
        world.load().await;
        let from = world.story.now_us();
        for node in &mut world.nodes {
            node.kill();
        }
        world.redis.kill();
        world.postgres.as_ref().unwrap().kill9().await;
        world.postgres.as_ref().unwrap().restart().await;
        world.redis.restart().await;
        for node in &mut world.nodes {
            node.start().await;
        }
        world.all_open().await;
        world.progress(0.5).await;
        // What the dead nodes held comes back when its leases have lapsed.
        tokio::time::sleep(Duration::from_millis(u64::from(LEASE_MS))).await;
        world.story.fault("power cut", Part::Node, from);
        world.progress(1.0).await;
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_is_killed_and_comes_back() {
    for plan in rounds("node-killed") {
        let mut world = World::start(Plan { nodes: 3, operators: true, ..plan }).await;
        world.load().await;
        let from = world.story.now_us();
        world.nodes[1].kill();
        world.progress(1.0).await;
        world.nodes[1].start().await;
        world.all_open().await;
        world.story.fault("node killed", Part::Node, from);
        world.progress(1.0).await;
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_stands_still_for_three_leases() {
    for plan in rounds("node-stopped") {
        let mut world = World::start(plan).await;
        world.load().await;
        let from = world.story.now_us();
        world.nodes[0].signal(Signal::SIGSTOP);
        tokio::time::sleep(Duration::from_millis(3 * u64::from(LEASE_MS))).await;
        world.nodes[0].signal(Signal::SIGCONT);
        world.all_open().await;
        world.story.fault("node stopped", Part::Node, from);
        world.progress(1.0).await;
        let late = world.metric("ganger_stale_results_total{queue=\"flow\"}").await
            + world.metric("ganger_leases_lost_total{queue=\"flow\"}").await;
        let verdict = world.finish().await;
        if verdict.summary.jobs_repeated > 0 {
            assert!(late > 0.0, "what ran elsewhere meanwhile is refused and counted");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_leave_and_come_back_in_turn() {
    for plan in rounds("drains") {
        let mut world = World::start(Plan { nodes: 3, operators: true, ..plan }).await;
        world.load().await;
        for number in 0..world.nodes.len() {
            let from = world.story.now_us();
            assert_eq!(world.nodes[number].drain().await, Some(0));
            world.nodes[number].start().await;
            world.all_open().await;
            world.story.fault("drain", Part::Node, from);
            world.progress(0.5).await;
        }
        world.finish().await;
    }
}
