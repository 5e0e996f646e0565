//! Weather on every link: latency, stalls, slices, resets, cuts; one after the other, and at random.

use std::time::Duration;

use ganger::history::Part;
use nix::sys::signal::Signal;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::plan::{Plan, rounds};
use super::world::{LEASE_MS, World};
use crate::support::proxy::{Direction, Gate, Proxy};

/// How a link misbehaves.
#[derive(Debug, Clone, Copy)]
enum Weather {
    Latency,
    Stall,
    OneWay,
    Slices,
    Reset,
    HalfClose,
    Cut,
}

impl Weather {
    const ALL: [Self; 7] =
        [Self::Latency, Self::Stall, Self::OneWay, Self::Slices, Self::Reset, Self::HalfClose, Self::Cut];

    async fn begin(self, link: &Proxy) {
        match self {
            Self::Latency => link.delay(Duration::from_millis(30), Duration::from_millis(60)),
            Self::Stall => link.stall(),
            Self::OneWay => link.set(Direction::Down, |now| now.gate = Gate::Held),
            Self::Slices => link.set_both(|now| now.slice_bytes = 7),
            Self::Reset => link.reset(),
            Self::HalfClose => link.half_close(Direction::Up),
            Self::Cut => link.cut().await,
        }
    }

    async fn end(self, link: &Proxy) {
        link.mend().await;
        link.calm();
    }
}

/// Breaks one link of one node for a while.
async fn spell(world: &World, weather: Weather, node: usize, link: usize, length: Duration) {
    let from = world.story.now_us();
    let (proxy, part) = world.nodes[node].links()[link];
    weather.begin(proxy).await;
    tokio::time::sleep(length).await;
    weather.end(proxy).await;
    world.all_open().await;
    world.story.fault(&format!("{weather:?} of node {node}"), part, from);
}

async fn every_weather(scenario: &'static str, link: usize) {
    for plan in rounds(scenario) {
        let mut world = World::start(plan).await;
        world.load().await;
        for weather in Weather::ALL {
            spell(&world, weather, 0, link, Duration::from_millis(600)).await;
            world.progress(0.2).await;
        }
        world.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_weather_on_the_way_to_redis() {
    every_weather("weather-redis", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_weather_on_the_way_to_postgres() {
    every_weather("weather-postgres", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_weather_on_the_way_to_the_handler() {
    every_weather("weather-handler", 2).await;
}

/// Nodes, links and stores fail at random, several at a time, and come back in another order.
#[tokio::test(flavor = "multi_thread")]
async fn everything_fails_at_random() {
    for plan in rounds("swizzle") {
        let mut dice = plan.dice(3);
        let mut world = World::start(Plan { nodes: 3, operators: true, ..plan }).await;
        world.load().await;
        for _ in 0..3 {
            let from = world.story.now_us();
            swizzle(&mut world, &mut dice).await;
            world.all_open().await;
            // Some of it may have touched the way to the handler.
            world.story.fault("swizzle", Part::Node, from);
            world.story.fault("swizzle", Part::Handler, from);
            world.progress(0.3).await;
        }
        world.finish().await;
    }
}

async fn swizzle(world: &mut World, dice: &mut StdRng) {
    let mut down = Vec::new();
    for number in 0..world.nodes.len() {
        match dice.random_range(0..6) {
            0 => {
                println!("node {number} is killed");
                world.nodes[number].kill();
                down.push(number);
            }
            1 => {
                println!("node {number} stands still");
                world.nodes[number].signal(Signal::SIGSTOP);
            }
            2 | 3 => {
                let (weather, link) = (Weather::ALL[dice.random_range(0..Weather::ALL.len())], dice.random_range(0..3));
                println!("node {number}: {weather:?} on link {link}");
                weather.begin(world.nodes[number].links()[link].0).await;
            }
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..300))).await;
    }
    match dice.random_range(0..4) {
        0 => {
            println!("Redis is emptied");
            redis::cmd("FLUSHALL").exec_async(&mut world.redis.connection().await).await.unwrap();
        }
        1 => {
            println!("Redis stands still");
            world.redis.freeze();
        }
        _ => {}
    }
    tokio::time::sleep(Duration::from_millis(dice.random_range(200..u64::from(LEASE_MS) + 2_000))).await;
    world.redis.thaw();
    let mut order: Vec<usize> = (0..world.nodes.len()).collect();
    order.sort_by_key(|_| dice.random::<u32>());
    for number in order {
        let node = &mut world.nodes[number];
        for (link, _) in node.links() {
            link.mend().await;
            link.calm();
        }
        if down.contains(&number) {
            node.start().await;
        } else {
            node.signal(Signal::SIGCONT);
        }
    }
}
