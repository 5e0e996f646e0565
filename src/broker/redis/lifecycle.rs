//! Who the server is, and the way into a new epoch.

use std::collections::BTreeSet;

use redis::Value;
use tokio::time::Instant;

use super::codec::{self, Call};
use super::connection::Role;
use super::scripts::SCRIPTS;
use super::{RedisBroker, Result};
use crate::broker::{BrokerError, BrokerIdentity};
use crate::job::QueueName;

impl RedisBroker {
    /// Looks at the server, judges it, and only then loads the scripts. Calls get through once it is adopted.
    pub(super) async fn identify(&self) -> Result<BrokerIdentity> {
        let asked_at = Instant::now();
        let info = self.connections.look().await?;
        let place = self.connections.place().to_owned();
        if let Some(reason) = info.misfit() {
            self.connections.forget();
            return Err(BrokerError::Unfit { place, reason });
        }
        if info.is_replica() {
            self.connections.forget();
            return Err(self.connections.unavailable("it is a replica".to_owned()));
        }
        let server = info.server();
        self.memory.note(&[info], asked_at);
        let mut pipeline = redis::pipe();
        pipeline.cmd("HMGET").arg(self.keys.meta()).arg(&["ledger", "epoch", "open"]);
        pipeline.cmd("TIME");
        for script in SCRIPTS.all() {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(&script.text).ignore();
        }
        let sent = Instant::now();
        let (meta, (seconds, micros)): (Vec<Option<String>>, (i64, i64)) =
            self.connections.prepare(&server, &pipeline).await?;
        self.connections.clock.note(seconds * 1000 + micros / 1000, sent);
        self.connections.propose(&server);
        let [ledger_id, epoch, open] = meta.try_into().unwrap_or_default();
        let epoch = epoch.and_then(|epoch| epoch.parse().ok());
        Ok(BrokerIdentity { ledger_id, epoch, open: open.as_deref() == Some("1"), server })
    }

    /// Enters the epoch in the meta hash first: it refuses other ledgers and older epochs for all queues
    /// at once. A reset that ends half-way leaves claims closed and is done again.
    pub(super) async fn reset_queues(&self, ledger_id: &str, epoch: i64, queues: &[QueueName]) -> Result<()> {
        let call = Call::new(&SCRIPTS.enter, &[self.keys.meta()]).arg(epoch).arg(ledger_id);
        self.run(Role::Upkeep, call, epoch).await.map_err(|error| match error {
            BrokerError::Unfit { place, reason } => {
                BrokerError::Unfit { place, reason: format!("{reason}, not to {ledger_id}") }
            }
            other => other,
        })?;
        self.note_queues(queues).await?;
        for queue in self.known_queues(queues).await? {
            let mut keys = self.queue_keys(&queue);
            keys.push(self.keys.lanes(&queue));
            let call = Self::call(&SCRIPTS.reset, &keys, epoch).arg(self.keys.queue(&queue)).arg(ledger_id);
            self.run(Role::Upkeep, call, epoch).await?;
        }
        Ok(())
    }

    pub(super) async fn open_queues(&self, queues: &[QueueName]) -> Result<()> {
        let epoch = self.epoch();
        let admit = |open: u8| Call::new(&SCRIPTS.admit, &[self.keys.meta()]).arg(epoch).arg(open);
        self.run(Role::Upkeep, admit(0), epoch).await?;
        self.note_queues(queues).await?;
        for queue in queues {
            let keys = [self.keys.control(queue), self.keys.jobs(queue)];
            let call = Self::call(&SCRIPTS.open, &keys, epoch).arg(self.wakes.channel()).arg(queue.as_str());
            self.run(Role::Upkeep, call, epoch).await?;
        }
        self.run(Role::Upkeep, admit(1), epoch).await?;
        self.wakes.note_opened(queues);
        for queue in queues {
            self.wakes.wake_unheard(queue);
        }
        Ok(())
    }

    /// The meta hash goes last: an advance that ends half-way leaves an epoch that the ledger is ahead of,
    /// and so a rebuild.
    pub(super) async fn advance_queues(&self, epoch: i64, queues: &[QueueName]) -> Result<()> {
        let from = self.epoch();
        let advance = |key: String, counts_anew: bool| {
            let call = Call::new(&SCRIPTS.advance, &[key]).arg(from).arg(epoch).arg(u8::from(counts_anew));
            self.run(Role::Upkeep, call, from)
        };
        for queue in self.known_queues(queues).await? {
            advance(self.keys.control(&queue), true).await?;
        }
        advance(self.keys.meta(), false).await.map(drop)
    }

    /// Remembers queues before anything stands in them, so that a later reset finds them all.
    async fn note_queues(&self, queues: &[QueueName]) -> Result<()> {
        if queues.is_empty() {
            return Ok(());
        }
        let mut command = redis::cmd("SADD");
        command.arg(self.keys.queues());
        for queue in queues {
            command.arg(queue.as_str());
        }
        self.connections.command(Role::Upkeep, &command).await.map(drop)
    }

    /// The queues named and those that stand there from before.
    async fn known_queues(&self, queues: &[QueueName]) -> Result<BTreeSet<QueueName>> {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(self.keys.queues());
        let mut known: BTreeSet<QueueName> = queues.iter().cloned().collect();
        if let Value::Array(names) = self.connections.command(Role::Upkeep, &command).await? {
            for name in &names {
                known.insert(QueueName::stored(self.read(codec::text(name))?));
            }
        }
        Ok(known)
    }
}
