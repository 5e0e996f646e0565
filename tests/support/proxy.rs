//! A TCP proxy that misbehaves on command: the network between a node and its stores.
//!
//! It listens on a free port of 127.0.0.1 and forwards to an address that can change. Each direction
//! has [`Conditions`] of its own, which hold for live connections too. Bytes keep their order, and
//! nothing is invented: what arrives is always a beginning of what was sent, unless bytes were
//! swallowed on purpose.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Pieces on their way in one direction of one connection; beyond them the sender feels the stall.
const IN_FLIGHT_MAX: usize = 64;
/// The largest piece read at once, in bytes.
const PIECE_BYTES_MAX: usize = 64 * 1024;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// What happens to bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Gate {
    /// They pass.
    #[default]
    Open,
    /// They are kept in order until the gate opens.
    Held,
    /// They vanish, and the connection stays open.
    Swallowed,
}

/// The state of one direction.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    pub gate: Gate,
    /// How long each piece takes.
    pub latency: Duration,
    /// Up to this much more, evenly spread.
    pub jitter: Duration,
    /// Pieces are cut to this many bytes, each sent by itself; 0 leaves them whole.
    pub slice_bytes: usize,
    /// Raised by each half-close.
    half_closes: u64,
}

/// What new connections meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// They are forwarded.
    Open,
    /// They are refused, as by a machine where nobody listens.
    Refused,
    /// They are accepted and reset at once.
    Reset,
}

/// How live connections end.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    /// Raised by each order to end them.
    times: u64,
    /// With RST instead of FIN.
    reset: bool,
}

/// Bytes that spring a trap: all of `steps`, one after the other, sent up on one connection.
#[derive(Debug, Clone)]
struct Trap {
    id: u64,
    steps: Vec<Vec<u8>>,
    /// `None`: the connection is reset before the last step is forwarded. Else everything is forwarded,
    /// answers are swallowed, and it is reset once they hold these bytes; any byte will do when empty.
    answer: Option<Vec<u8>>,
}

/// A running proxy. Its connections are reset and its port is freed when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    up: watch::Sender<Conditions>,
    down: watch::Sender<Conditions>,
    end: watch::Sender<End>,
    door: watch::Sender<Door>,
    door_is: watch::Sender<Door>,
    trap: Mutex<Option<Trap>>,
    traps: AtomicU64,
    sprung: AtomicU64,
    live: AtomicUsize,
    accepted: AtomicU64,
    bytes: [AtomicU64; 2],
    dice: Mutex<StdRng>,
}

// === impl Proxy ===

impl Proxy {
    /// A proxy in front of `target`, in good weather. Jitter is drawn from `seed`.
    pub async fn start(target: SocketAddr, seed: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            up: watch::Sender::default(),
            down: watch::Sender::default(),
            end: watch::Sender::default(),
            door: watch::Sender::new(Door::Open),
            door_is: watch::Sender::new(Door::Open),
            trap: Mutex::default(),
            traps: AtomicU64::default(),
            sprung: AtomicU64::default(),
            live: AtomicUsize::default(),
            accepted: AtomicU64::default(),
            bytes: [AtomicU64::default(), AtomicU64::default()],
            dice: Mutex::new(StdRng::seed_from_u64(seed)),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, address, shared.clone()));
        Self { address, shared, _tasks: tasks }
    }

    /// A proxy in front of the server that `url` names by address and port.
    pub async fn to(url: &str, seed: u64) -> Self {
        Self::start(address_of(url), seed).await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `url` with this proxy in the place of its server.
    pub fn url(&self, url: &str) -> String {
        let mut url = url::Url::parse(url).expect("a URL");
        url.set_ip_host(self.address.ip()).expect("a URL with a host");
        url.set_port(Some(self.address.port())).expect("a URL with a port");
        url.to_string()
    }

    /// Forwards new connections to another server.
    pub fn retarget(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap() = target;
    }

    /// Changes the conditions of one direction.
    pub fn set(&self, direction: Direction, change: impl FnOnce(&mut Conditions)) {
        self.shared.conditions(direction).send_modify(change);
    }

    /// Changes the conditions of both directions.
    pub fn set_both(&self, change: impl Fn(&mut Conditions)) {
        self.set(Direction::Up, &change);
        self.set(Direction::Down, &change);
    }

    /// Holds both directions: connections stay open and nothing arrives, until [`Self::calm`].
    pub fn stall(&self) {
        self.set_both(|now| now.gate = Gate::Held);
    }

    /// Swallows both directions. Connections that lost bytes are of no use afterwards: [`Self::reset`] them.
    pub fn swallow(&self) {
        self.set_both(|now| now.gate = Gate::Swallowed);
    }

    /// Delays both directions.
    pub fn delay(&self, latency: Duration, jitter: Duration) {
        self.set_both(|now| (now.latency, now.jitter) = (latency, jitter));
    }

    /// Good weather again; held bytes arrive.
    pub fn calm(&self) {
        self.set_both(|now| *now = Conditions { half_closes: now.half_closes, ..Conditions::default() });
    }

    /// Ends one direction of the live connections with FIN; the other goes on.
    pub fn half_close(&self, direction: Direction) {
        self.set(direction, |now| now.half_closes += 1);
    }

    /// Ends live connections with RST.
    pub fn reset(&self) {
        self.shared.end.send_modify(|end| *end = End { times: end.times + 1, reset: true });
    }

    /// Ends live connections with FIN in both directions.
    pub fn close(&self) {
        self.shared.end.send_modify(|end| *end = End { times: end.times + 1, reset: false });
    }

    /// Resets live connections and refuses new ones.
    pub async fn cut(&self) {
        self.turn(Door::Refused).await;
        self.reset();
    }

    /// Resets live connections, and new ones as soon as they are accepted.
    pub async fn reject(&self) {
        self.turn(Door::Reset).await;
        self.reset();
    }

    /// Accepts new connections again.
    pub async fn mend(&self) {
        self.turn(Door::Open).await;
    }

    async fn turn(&self, door: Door) {
        self.shared.door.send_replace(door);
        let mut now = self.shared.door_is.subscribe();
        now.wait_for(|is| *is == door).await.expect("the proxy's own task");
    }

    /// The next connection that sends all of `steps` in this order is reset before the last of them is
    /// forwarded: the server never hears it. Replaces a trap that waits.
    pub fn break_before(&self, steps: &[&[u8]]) {
        self.arm(steps, None);
    }

    /// The next connection that sends all of `steps` in this order loses its answer: the server gets
    /// everything, its bytes are swallowed, and once they hold `answer` the connection is reset.
    /// Any byte is an answer when `answer` is empty. Replaces a trap that waits.
    pub fn lose_answer(&self, steps: &[&[u8]], answer: &[u8]) {
        self.arm(steps, Some(answer.to_vec()));
    }

    fn arm(&self, steps: &[&[u8]], answer: Option<Vec<u8>>) {
        assert!(!steps.is_empty() && steps.iter().all(|step| !step.is_empty()), "a trap needs bytes to wait for");
        let id = self.shared.traps.fetch_add(1, Ordering::Relaxed) + 1;
        let steps = steps.iter().map(|step| step.to_vec()).collect();
        *self.shared.trap.lock().unwrap() = Some(Trap { id, steps, answer });
    }

    /// How many traps have cut a connection.
    pub fn sprung(&self) -> u64 {
        self.shared.sprung.load(Ordering::SeqCst)
    }

    /// Connections that live now.
    pub fn live(&self) -> usize {
        self.shared.live.load(Ordering::SeqCst)
    }

    /// Connections ever accepted.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Bytes ever forwarded.
    pub fn forwarded(&self, direction: Direction) -> u64 {
        self.shared.bytes[direction as usize].load(Ordering::SeqCst)
    }
}

/// The address in a URL such as `redis://127.0.0.1:6379/`.
pub fn address_of(url: &str) -> SocketAddr {
    let url = url::Url::parse(url).expect("a URL");
    let found = url.socket_addrs(|| None).expect("a URL with address and port");
    *found.first().expect("an address")
}

impl Shared {
    fn conditions(&self, direction: Direction) -> &watch::Sender<Conditions> {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    fn latency(&self, direction: Direction) -> Duration {
        let now = self.conditions(direction).borrow();
        now.latency + now.jitter.mul_f64(self.dice.lock().unwrap().random::<f64>())
    }
}

// === connections ===

/// Accepts until the proxy is dropped, and does what the door says meanwhile.
async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut door = shared.door.subscribe();
    let mut listener = listener;
    loop {
        let wanted = *door.borrow_and_update();
        if wanted == Door::Refused {
            drop(listener);
            // A socket that is bound and does not listen keeps the port ours and refuses.
            let keeper = bind(address).await;
            shared.door_is.send_replace(wanted);
            if door.wait_for(|door| *door != Door::Refused).await.is_err() {
                return;
            }
            listener = keeper.listen(BACKLOG).expect("the port that was kept");
            continue;
        }
        shared.door_is.send_replace(wanted);
        tokio::select! {
            changed = door.changed() => if changed.is_err() { return },
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                if wanted == Door::Reset {
                    client.set_zero_linger().ok();
                } else {
                    connections.spawn(connection(client, shared.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn bind(address: SocketAddr) -> TcpSocket {
    loop {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("an address in use by dying connections only");
        if socket.bind(address).is_ok() {
            return socket;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn connection(mut client: TcpStream, shared: Arc<Shared>) {
    let mut end = shared.end.subscribe();
    let target = *shared.target.lock().unwrap();
    let Ok(mut server) = TcpStream::connect(target).await else {
        // The client has been accepted already: a reset is the nearest thing to a refusal.
        client.set_zero_linger().ok();
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let live = Live::count(&shared);
    let progress = Mutex::default();
    let reset = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let up = pump(Direction::Up, from_client, to_server, &shared, &progress);
        let down = pump(Direction::Down, from_server, to_client, &shared, &progress);
        tokio::select! {
            _ = end.changed() => end.borrow().reset,
            ended = async { tokio::try_join!(up, down) } => ended.is_err(),
        }
    };
    if reset {
        client.set_zero_linger().ok();
        server.set_zero_linger().ok();
    }
    drop((client, server));
    drop(live);
}

/// Counts a connection for as long as it lives, however it ends.
struct Live<'s>(&'s Shared);

impl<'s> Live<'s> {
    fn count(shared: &'s Shared) -> Self {
        shared.live.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Carries one direction of a connection until its sender is done.
async fn pump(
    direction: Direction,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    shared: &Shared,
    progress: &Mutex<Progress>,
) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT_MAX);
    let mut now = shared.conditions(direction).subscribe();
    let half_closes = now.borrow().half_closes;
    let read = async move {
        let mut buffer = vec![0; PIECE_BYTES_MAX];
        loop {
            let count = from.read(&mut buffer).await?;
            // Latency must not become a limit of throughput, so pieces travel side by side.
            let due = Instant::now() + shared.latency(direction);
            if count == 0 || sender.send((due, buffer[..count].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            let free = |now: &Conditions| now.gate != Gate::Held || now.half_closes != half_closes;
            let swallowed = now.wait_for(free).await.map_err(io::Error::other)?.gate == Gate::Swallowed;
            let watched = progress.lock().unwrap().watch(direction, &piece, shared);
            match watched {
                Verdict::Forward if !swallowed => {}
                Verdict::Forward | Verdict::Swallow => continue,
                Verdict::Cut => return Err(io::Error::from(io::ErrorKind::ConnectionReset)),
            }
            let slice_bytes = now.borrow().slice_bytes;
            for slice in piece.chunks(if slice_bytes == 0 { piece.len() } else { slice_bytes }) {
                to.write_all(slice).await?;
                shared.bytes[direction as usize].fetch_add(slice.len() as u64, Ordering::SeqCst);
                // The receiver gets a chance to read what it has.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    };
    let mut closed = shared.conditions(direction).subscribe();
    tokio::select! {
        carried = async { tokio::try_join!(read, write) } => carried.map(drop)?,
        _ = closed.wait_for(|now| now.half_closes != half_closes) => {}
    }
    to.shutdown().await
}

// === traps ===

/// How far a connection has walked into the trap.
#[derive(Debug, Default)]
struct Progress {
    trap: u64,
    steps: usize,
    /// The newest bytes, in which a step may have begun.
    tail: Vec<u8>,
    /// The answer to lose.
    awaited: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Forward,
    Swallow,
    Cut,
}

impl Progress {
    fn watch(&mut self, direction: Direction, piece: &[u8], shared: &Shared) -> Verdict {
        match (direction, &self.awaited) {
            (Direction::Up, _) => self.step(piece, shared),
            (Direction::Down, None) => Verdict::Forward,
            (Direction::Down, Some(answer)) => {
                self.tail.extend_from_slice(piece);
                if !answer.is_empty() && find(&self.tail, answer).is_none() {
                    return Verdict::Swallow;
                }
                shared.sprung.fetch_add(1, Ordering::SeqCst);
                Verdict::Cut
            }
        }
    }

    fn step(&mut self, piece: &[u8], shared: &Shared) -> Verdict {
        let mut armed = shared.trap.lock().unwrap();
        let Some(trap) = armed.as_ref() else { return Verdict::Forward };
        if self.awaited.is_some() {
            return Verdict::Forward;
        }
        if self.trap != trap.id {
            *self = Self { trap: trap.id, ..Self::default() };
        }
        self.tail.extend_from_slice(piece);
        while let Some(at) = find(&self.tail, &trap.steps[self.steps]) {
            self.tail.drain(..at + trap.steps[self.steps].len());
            self.steps += 1;
            if self.steps < trap.steps.len() {
                continue;
            }
            // It springs once.
            let answer = armed.take().and_then(|trap| trap.answer);
            self.tail.clear();
            self.awaited = answer;
            if self.awaited.is_some() {
                return Verdict::Forward;
            }
            shared.sprung.fetch_add(1, Ordering::SeqCst);
            return Verdict::Cut;
        }
        let keep = trap.steps[self.steps].len() - 1;
        self.tail.drain(..self.tail.len().saturating_sub(keep));
        Verdict::Forward
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
