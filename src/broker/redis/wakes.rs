//! Wake-ups across nodes: the scripts publish, every node listens.
//!
//! A message may be lost, so each new subscription wakes every queue that this node has opened, and
//! dispatchers look by themselves now and then.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use futures_util::StreamExt as _;
use redis::Client;
use tokio::sync::broadcast;
use tokio::time::{Duration, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::Connections;
use crate::job::QueueName;

/// How many wake-ups a slow listener may fall behind before it loses the oldest. A dispatcher that
/// lost some looks at its queue anyway.
const WAKES_MAX: usize = 1024;

/// How often a silent subscription is asked whether it still lives: a cut cable says nothing.
const PING_PERIOD: Duration = Duration::from_secs(5);

/// The wait before the first new attempt, and the longest.
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// The listening side.
#[derive(Debug)]
pub(super) struct Wakes {
    channel: String,
    sender: broadcast::Sender<QueueName>,
    opened: Mutex<BTreeSet<QueueName>>,
    is_listening: AtomicBool,
}

impl Wakes {
    pub(super) fn new(channel: String) -> Self {
        let (sender, _) = broadcast::channel(WAKES_MAX);
        Self { channel, sender, opened: Mutex::default(), is_listening: AtomicBool::new(false) }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<QueueName> {
        self.sender.subscribe()
    }

    /// From now on these queues are woken with every new subscription.
    pub(super) fn note_opened(&self, queues: &[QueueName]) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).extend(queues.iter().cloned());
    }

    /// The queues that this node has opened.
    pub(super) fn opened(&self) -> BTreeSet<QueueName> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Wakes this node's own dispatchers while the way over the server is down.
    pub(super) fn wake_unheard(&self, queue: &QueueName) {
        if !self.is_listening.load(Ordering::Acquire) {
            self.send(queue.clone());
        }
    }

    /// Listens until `stop`, with a new subscription whenever one ends.
    pub(super) async fn run(&self, stop: CancellationToken, connections: &Connections) {
        let mut backoff = BACKOFF;
        let mut attempt = 0;
        while !stop.is_cancelled() {
            let listened = tokio::select! {
                listened = self.listen(connections, attempt) => listened,
                () = stop.cancelled() => break,
            };
            self.is_listening.store(false, Ordering::Release);
            attempt += 1;
            backoff = if listened { BACKOFF } else { (backoff * 2).min(BACKOFF_MAX) };
            tokio::select! {
                () = sleep(backoff) => {}
                () = stop.cancelled() => break,
            }
        }
        self.is_listening.store(false, Ordering::Release);
    }

    /// One subscription from beginning to end; says whether it came about.
    async fn listen(&self, connections: &Connections, attempt: usize) -> bool {
        let Ok(server) = connections.listening_place(attempt).await else { return false };
        let subscribed = timeout(connections.connect_timeout(), async {
            let client = Client::open(server.info().clone())?;
            let (mut sink, stream) = client.get_async_pubsub().await?.split();
            sink.subscribe(&self.channel).await?;
            Ok::<_, redis::RedisError>((sink, stream))
        });
        let Ok(Ok((mut sink, mut stream))) = subscribed.await else { return false };
        self.is_listening.store(true, Ordering::Release);
        for queue in self.opened() {
            self.send(queue);
        }
        loop {
            let heard = tokio::select! {
                heard = timeout(PING_PERIOD, stream.next()) => heard,
                // A demoted master hears what its new one publishes, but one that was cut off hears nothing.
                () = connections.left(&server) => return true,
            };
            match heard {
                Ok(Some(message)) => {
                    if let Ok(Ok(queue)) = std::str::from_utf8(message.get_payload_bytes()).map(QueueName::new) {
                        self.send(queue);
                    }
                }
                Ok(None) => return true,
                Err(_) => {
                    if !matches!(timeout(connections.timeout(), sink.ping::<redis::Value>()).await, Ok(Ok(_))) {
                        return true;
                    }
                }
            }
        }
    }

    /// Without listeners there is nobody to tell.
    fn send(&self, queue: QueueName) {
        drop(self.sender.send(queue));
    }
}
