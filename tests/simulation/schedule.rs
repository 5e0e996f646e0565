//! What befalls the world: drawn from the seed, fault after fault, until all is healed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ganger::broker::Broker as _;
use ganger::broker::memory::Snapshot;
use ganger::history::{self, Drained, Part};
use ganger::job::JobId;
use ganger::service::lock;
use tokio::time::Instant;

use crate::clients::{self, Client};
use crate::dice::Dice;
use crate::site::Weather;
use crate::story::Event;
use crate::world::{Node, QUEUES, RECOVERY, Shape, World};

/// How long the world may take to come to rest once everything is healed: two leases for what was held, the
/// longest handler, retries with their pauses, and some more.
const REST: Duration = Duration::from_secs(900);

/// Which faults a run knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill,
    Freeze,
    Leave,
    Join,
    Skew,
    BrokerRollback,
    BrokerEmptied,
    BrokerFlushed,
    BrokerAway,
    LedgerAway,
    Flaky,
    CutOff,
    Swizzle,
    Reload,
    BrokerFull,
}

const FAULTS: [Fault; 15] = [
    Fault::Kill,
    Fault::Freeze,
    Fault::Leave,
    Fault::Join,
    Fault::Skew,
    Fault::BrokerRollback,
    Fault::BrokerEmptied,
    Fault::BrokerFlushed,
    Fault::BrokerAway,
    Fault::LedgerAway,
    Fault::Flaky,
    Fault::CutOff,
    Fault::Swizzle,
    Fault::Reload,
    Fault::BrokerFull,
];

/// What is drawn before the beginning.
pub fn shape(dice: &Dice) -> Shape {
    Shape {
        workers: usize::try_from(dice.range(1, 3)).unwrap(),
        committers: *dice.pick(&[(1, 0), (2, 2), (1, 1)]).unwrap(),
        payload_cache_bytes: *dice.pick(&[0, 2_000, 1 << 20]).unwrap(),
        skew_ms: *dice.pick(&[0, 50, 800]).unwrap(),
    }
}

/// Runs the whole play; answers whether everything came to rest.
pub async fn play(world: &Arc<World>, dice: &Dice) -> bool {
    for _ in 0..dice.range(1, 3) {
        world.start_node();
    }
    let time = dice.ms(15_000, 90_000);
    if world.shape.skew_ms > 0 {
        world.story.fault(Part::Clock, "no two clocks agree", time + REST);
    }
    let tries = dice.range(1, 3);
    for client in clients::some(world, dice, tries) {
        world.tasks.spawn(client.work(time));
    }
    let director = Director::new(world, dice.part());
    let end = Instant::now() + time;
    while Instant::now() < end {
        tokio::time::sleep(director.dice.ms(500, 20_000)).await;
        director.strike().await;
    }
    director.heal().await;
    let nurse = clients::some(world, dice, 1).remove(0);
    rest(world, &nurse).await
}

/// Does the faults.
struct Director {
    world: Arc<World>,
    dice: Dice,
    /// The faults that this run knows; few, so that runs differ.
    faults: Vec<Fault>,
    snapshot: std::sync::Mutex<Option<Snapshot>>,
}

impl Director {
    fn new(world: &Arc<World>, dice: Dice) -> Self {
        let mut faults: Vec<Fault> = FAULTS.iter().copied().filter(|_| dice.happens(0.3)).collect();
        // Bad wires make every other fault worse.
        if faults.is_empty() || dice.happens(0.4) {
            faults.push(Fault::Flaky);
        }
        Self { world: world.clone(), dice, faults, snapshot: std::sync::Mutex::default() }
    }

    fn some_node(&self) -> Option<Arc<Node>> {
        self.dice.pick(&self.world.nodes()).cloned()
    }

    fn later(&self, after: Duration, what: impl FnOnce(&World) + Send + 'static) {
        let world = self.world.clone();
        self.world.tasks.spawn(async move {
            tokio::time::sleep(after).await;
            what(&world);
        });
    }

    async fn strike(&self) {
        let (world, dice) = (&self.world, &self.dice);
        let Some(fault) = dice.pick(&self.faults).copied() else { return };
        let node = self.some_node();
        match (fault, node) {
            (Fault::Join, _) => {
                if world.nodes().len() < 5 {
                    world.start_node();
                }
            }
            (Fault::Kill, Some(node)) => {
                node.crash();
                self.later(dice.ms(0, 40_000), |world| drop(world.start_node()));
            }
            (Fault::Freeze, Some(node)) => self.freeze(&node, dice.ms(100, 100_000)),
            (Fault::Leave, Some(node)) => {
                let (soft, world) = (dice.ms(800, 10_000), world.clone());
                self.world.tasks.spawn(async move {
                    node.leave(soft).await;
                    world.start_node();
                });
            }
            (Fault::Skew, Some(node)) => {
                let skew = dice.signed(5_000);
                let words = format!("the clock of {} is wrong by {skew} ms", node.site.id);
                world.story.fault(Part::Clock, words, REST);
                node.site.clock.skew(skew);
            }
            (Fault::Swizzle, Some(_)) => {
                // Nodes stop one after the other and go on in another order.
                for node in world.nodes() {
                    if dice.happens(0.7) {
                        self.freeze(&node, dice.ms(1_000, 60_000));
                        tokio::time::sleep(dice.ms(0, 5_000)).await;
                    }
                }
            }
            (Fault::Flaky, node) => self.flaky(node.as_deref()),
            (Fault::CutOff, Some(node)) => self.cut_off(&node),
            (Fault::Reload, Some(node)) => {
                let workers = usize::try_from(dice.range(1, 4)).unwrap();
                world.story.note(format!("{} has {workers} workers a pool from now on", node.site.id));
                world.reload(&node, workers).await;
            }
            (Fault::BrokerFull, _) => self.full(),
            (Fault::LedgerAway | Fault::BrokerAway, _) => self.away(fault == Fault::LedgerAway),
            _ => self.strike_broker(fault).await,
        }
    }

    fn freeze(&self, node: &Arc<Node>, time: Duration) {
        if node.site.is_frozen() {
            return;
        }
        let words = format!("{} is frozen for {time:?}", node.site.id);
        self.world.story.fault(Part::Node, words, time + RECOVERY);
        node.site.lapse();
        node.site.freeze(true);
        let node = node.clone();
        self.later(time, move |world| {
            world.story.note(format!("{} is thawed", node.site.id));
            node.site.freeze(false);
        });
    }

    async fn strike_broker(&self, fault: Fault) {
        let (world, dice) = (&self.world, &self.dice);
        match fault {
            Fault::BrokerRollback => {
                let snapshot = world.broker.snapshot();
                tokio::time::sleep(dice.ms(0, 15_000)).await;
                let kept = lock(&self.snapshot).replace(snapshot.clone());
                // Mostly the last seconds are lost; now and then a whole former life of the server comes back.
                let to = kept.filter(|_| dice.happens(0.2)).unwrap_or(snapshot);
                world.story.fault(Part::Broker, "it is rolled back", RECOVERY);
                world.restart_broker(Some(&to));
            }
            Fault::BrokerEmptied => {
                world.story.fault(Part::Broker, "it is restarted empty", RECOVERY);
                world.restart_broker(None);
            }
            _ => {
                world.story.fault(Part::Broker, "it is emptied", RECOVERY);
                world.flush_broker();
            }
        }
    }

    fn away(&self, ledger: bool) {
        let (world, time) = (&self.world, self.dice.ms(200, 70_000));
        let part = if ledger { Part::Ledger } else { Part::Broker };
        world.story.fault(part, format!("it is away for {time:?}"), time + RECOVERY);
        let set = move |world: &World, weather: Weather| {
            for node in world.nodes() {
                let site = &node.site;
                if ledger {
                    site.lapse();
                }
                *lock(if ledger { &site.ledger_weather } else { &site.broker_weather }) = weather;
            }
        };
        set(world, Weather::AWAY);
        self.later(time, move |world| {
            world.story.note(format!("the {part:?} is back"));
            set(world, Weather::CALM);
        });
    }

    /// One node reaches one of the stores no more, or neither.
    fn cut_off(&self, node: &Node) {
        let (time, site, dice) = (self.dice.ms(200, 70_000), node.site.clone(), &self.dice);
        let (ledger, broker) = *dice.pick(&[(true, false), (false, true), (true, true)]).unwrap();
        for (cut, part, weather) in
            [(ledger, Part::Ledger, &site.ledger_weather), (broker, Part::Broker, &site.broker_weather)]
        {
            if cut {
                self.world.story.fault(part, format!("{} is cut off for {time:?}", site.id), time + RECOVERY);
                *lock(weather) = Weather::AWAY;
            }
        }
        site.lapse();
        self.later(time, move |world| {
            world.story.note(format!("{} is no longer cut off", site.id));
            *lock(&site.ledger_weather) = Weather::CALM;
            *lock(&site.broker_weather) = Weather::CALM;
        });
    }

    /// The broker has no room for new entries.
    fn full(&self) {
        let time = self.dice.ms(200, 30_000);
        self.world.story.fault(Part::Broker, format!("it is full for {time:?}"), time + RECOVERY);
        self.world.fill_broker(true);
        self.later(time, |world| {
            world.story.note("the broker has room again");
            world.fill_broker(false);
        });
    }

    /// The wires of one node, or of all, become bad.
    fn flaky(&self, node: Option<&Node>) {
        let (world, dice) = (&self.world, &self.dice);
        let share = || if dice.happens(0.4) { 0.0 } else { dice.ms(20, 500).as_secs_f64() };
        let draw = || Weather {
            away: false,
            before: share(),
            after: share(),
            late: share(),
            way_ms: *dice.pick(&[2, 2, 50, 1_000, 4_000]).unwrap(),
        };
        let nodes = match node {
            Some(node) if dice.happens(0.5) => vec![node.site.clone()],
            _ => world.nodes().iter().map(|node| node.site.clone()).collect(),
        };
        let (ledger, broker, time) = (draw(), draw(), dice.ms(1_000, 40_000));
        let names: Vec<&str> = nodes.iter().map(|site| site.id.as_str()).collect();
        world.story.fault(Part::Ledger, format!("flaky wires of {names:?} for {time:?}: {ledger:?}"), time + RECOVERY);
        world.story.fault(Part::Broker, format!("flaky wires of {names:?} for {time:?}: {broker:?}"), time + RECOVERY);
        for site in &nodes {
            site.lapse();
            *lock(&site.ledger_weather) = ledger;
            *lock(&site.broker_weather) = broker;
        }
        self.later(time, move |world| {
            world.story.note("the wires are good again");
            for site in &nodes {
                *lock(&site.ledger_weather) = Weather::CALM;
                *lock(&site.broker_weather) = Weather::CALM;
            }
        });
    }

    /// Waits for the end of every fault, then puts everything right.
    async fn heal(&self) {
        // The longest fault is over by then; what begins as another ends is healed below.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let world = &self.world;
        world.story.note("everything is healed");
        for node in world.nodes() {
            *lock(&node.site.ledger_weather) = Weather::CALM;
            *lock(&node.site.broker_weather) = Weather::CALM;
            node.site.clock.skew(0);
            node.site.freeze(false);
        }
        world.fill_broker(false);
        if world.nodes().is_empty() {
            world.start_node();
        }
    }
}

/// Waits until every job is at rest and the broker is empty.
async fn rest(world: &Arc<World>, nurse: &Client) -> bool {
    let end = Instant::now() + REST;
    let mut resumed = false;
    while Instant::now() < end {
        tokio::time::sleep(Duration::from_secs(2)).await;
        // A late fault may strike a node after the healing; the wires of new nodes are good.
        if world.nodes().is_empty() {
            world.start_node();
        }
        if !resumed {
            resumed = nurse.resume_all().await;
        }
        if resumed && world.ledger.store().live.is_empty() && entries(world).await == 0 {
            return true;
        }
    }
    false
}

/// Entries in the broker, in whatever epoch it is.
pub async fn entries(world: &World) -> u64 {
    let view = world.broker.handle();
    let Ok(identity) = view.identity().await else { return 0 };
    view.adopt(identity.epoch.unwrap_or(0));
    let mut count = 0;
    for queue in QUEUES {
        let depth = view.depth(&ganger::job::QueueName::stored(queue), &[]).await;
        count += depth.map_or(0, |depth| depth.ready.iter().sum::<u64>() + depth.later + depth.leased);
    }
    count
}

/// Reads every job that anyone has heard of, as clients do once all is over.
pub async fn read_all(world: &Arc<World>, dice: &Dice) {
    world.story.saw(|at_us| history::Event::Drained(Drained { at_us }));
    let reader = clients::some(world, dice, 1).remove(0);
    let mut ids: BTreeSet<String> = BTreeSet::new();
    for entry in world.story.entries() {
        match entry.event {
            Event::Seen(history::Event::SubmitAnswer(answer)) => ids.extend(answer.id),
            Event::Seen(history::Event::OrderAnswer(answer)) => ids.extend(answer.id),
            Event::Seen(history::Event::Run(run)) => drop(ids.insert(run.job)),
            Event::Seen(history::Event::RunEnd(end)) => ids.extend(end.children),
            _ => {}
        }
    }
    for id in ids {
        let id = JobId::stored(&id);
        while !reader.read_job(&id, Duration::ZERO).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
