//! Who the servers are, and the way into a new epoch.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures_util::future::try_join_all;
use redis::Value;
use tokio::time::Instant;

use super::codec::{self, Call};
use super::info::Info;
use super::keys::QUEUE_FIELD;
use super::layout::{Layout, Master};
use super::scripts::SCRIPTS;
use super::server::Role;
use super::{RedisBroker, Result};
use crate::broker::{BrokerError, BrokerIdentity};
use crate::job::QueueName;

/// The meta hash, field by field.
type Meta = HashMap<String, String>;

impl RedisBroker {
    /// Looks at the servers, judges them, and only then loads the scripts. Calls get through once they are adopted.
    pub(super) async fn identify(&self) -> Result<BrokerIdentity> {
        let asked_at = Instant::now();
        let (layout, infos) = self.connections.look().await?;
        for (master, info) in layout.masters().iter().zip(&infos) {
            self.judge(master, info).inspect_err(|_| self.connections.forget())?;
        }
        let keys = self.held_keys();
        let held: BTreeSet<&str> = layout.masters_of(&keys).map(|master| master.server.name()).collect();
        let holders = layout.masters().iter().zip(&infos).filter(|(master, _)| held.contains(master.server.name()));
        self.memory.note(holders.map(|(_, info)| info), asked_at);
        let (_, meta) = tokio::try_join!(try_join_all(layout.masters().iter().map(load)), self.read_meta(&layout))?;
        let epoch = self.epoch_of(&layout, &meta).await?.filter(|_| !self.connections.is_torn());
        let server = layout.identity().to_owned();
        self.connections.propose(layout);
        let is_open = meta.get("open").is_some_and(|open| open == "1");
        Ok(BrokerIdentity { ledger_id: meta.get("ledger").cloned(), epoch, open: is_open, server })
    }

    /// Whether a server can be used, and now.
    fn judge(&self, master: &Master, info: &Info) -> Result<()> {
        let unfit = |reason: String| BrokerError::Unfit { place: master.server.place().to_owned(), reason };
        if let Some(reason) = info.misfit() {
            return Err(unfit(reason));
        }
        if info.is_clustered() && !self.connections.is_cluster() {
            return Err(unfit("it is a node of a Redis Cluster: write redis+cluster://HOST:PORT,HOST:PORT".to_owned()));
        }
        if info.is_replica() {
            return Err(master.server.unavailable("it is a replica".to_owned()));
        }
        Ok(())
    }

    async fn read_meta(&self, layout: &Layout) -> Result<Meta> {
        let key = self.keys.meta();
        let home = layout.master_of(&key);
        let home = home.ok_or_else(|| self.connections.unavailable(format!("no node serves the slot of {key}")))?;
        let mut question = redis::pipe();
        question.cmd("HGETALL").arg(key);
        let (meta,) = home.server.ask_if(&home.identity, &question).await?;
        Ok(meta)
    }

    /// The epoch that all queues agree on: the lowest of theirs and the meta hash's. `None` when one has none, as
    /// after the loss of a single node.
    async fn epoch_of(&self, layout: &Layout, meta: &Meta) -> Result<Option<i64>> {
        let mut lowest: Option<i64> = meta.get("epoch").and_then(|epoch| epoch.parse().ok());
        let controls: Vec<String> = queues_in(meta).iter().map(|queue| self.keys.control(queue)).collect();
        for master in layout.masters_of(&controls) {
            let mut question = redis::pipe();
            let is_here =
                |key: &&String| layout.master_of(key).is_some_and(|holder| Arc::ptr_eq(&holder.server, &master.server));
            for key in controls.iter().filter(is_here) {
                question.cmd("HGET").arg(key).arg("epoch");
            }
            let epochs: Vec<Option<i64>> = master.server.ask_if(&master.identity, &question).await?;
            for epoch in epochs {
                lowest = lowest.zip(epoch).map(|(lowest, epoch)| lowest.min(epoch));
            }
        }
        let is_served = |key: &String| layout.master_of(key).is_some();
        if let Some(key) = controls.iter().find(|key| !is_served(key)) {
            return Err(self.connections.unavailable(format!("no node serves the slot of {key}")));
        }
        Ok(lowest)
    }

    /// Enters the epoch in the meta hash first: it refuses other ledgers and older epochs for all queues
    /// at once. A reset that ends half-way leaves claims closed and is done again.
    pub(super) async fn reset_queues(&self, ledger_id: &str, epoch: i64, queues: &[QueueName]) -> Result<()> {
        let call = Call::new(&SCRIPTS.enter, &[self.keys.meta()]).arg(epoch).arg(ledger_id);
        let call = queues.iter().fold(call, |call, queue| call.arg(queue.as_str()));
        let reply = self.run(Role::Upkeep, call, epoch).await.map_err(|error| match error {
            BrokerError::Unfit { place, reason } => {
                BrokerError::Unfit { place, reason: format!("{reason}, not to {ledger_id}") }
            }
            other => other,
        })?;
        self.connections.mend();
        for queue in self.read_each(&reply, codec::read_queue)? {
            let mut keys = self.queue_keys(&queue);
            keys.push(self.keys.lanes(&queue));
            let call = Self::call(&SCRIPTS.reset, &keys, epoch).arg(self.keys.queue(&queue)).arg(ledger_id);
            self.run(Role::Upkeep, call, epoch).await?;
        }
        Ok(())
    }

    /// A queue that stands in the meta hash must have the epoch already; a new one enters it, and only then is
    /// its name noted, so that nobody takes it for one that was lost.
    pub(super) async fn open_queues(&self, queues: &[QueueName]) -> Result<()> {
        let epoch = self.epoch();
        let admit = |open: u8| Call::new(&SCRIPTS.admit, &[self.keys.meta()]).arg(epoch).arg(open);
        let reply = self.run(Role::Upkeep, admit(0), epoch).await?;
        let noted: BTreeSet<QueueName> = self.read_each(&reply, codec::read_queue)?.into_iter().collect();
        for queue in queues {
            let mut keys = self.queue_keys(queue);
            keys.push(self.keys.lanes(queue));
            let call = Self::call(&SCRIPTS.open, &keys, epoch).arg(self.wakes.channel()).arg(queue.as_str());
            let call = call.arg(self.keys.queue(queue)).arg(u8::from(!noted.contains(queue)));
            self.run(Role::Upkeep, call, epoch).await?;
        }
        let call = queues.iter().fold(admit(1), |call, queue| call.arg(queue.as_str()));
        self.run(Role::Upkeep, call, epoch).await?;
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

    /// The queues named and those that stand there from before.
    async fn known_queues(&self, queues: &[QueueName]) -> Result<BTreeSet<QueueName>> {
        let key = self.keys.meta();
        let mut command = redis::cmd("HKEYS");
        command.arg(&key);
        let mut known: BTreeSet<QueueName> = queues.iter().cloned().collect();
        if let Value::Array(fields) = self.connections.command(Role::Upkeep, &key, &command).await? {
            for field in &fields {
                let field = self.read(codec::text(field))?;
                known.extend(field.strip_prefix(QUEUE_FIELD).map(QueueName::stored));
            }
        }
        Ok(known)
    }
}

/// Loads the scripts, and reads the clock on the way.
async fn load(master: &Master) -> Result<()> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("TIME");
    for script in SCRIPTS.all() {
        pipeline.cmd("SCRIPT").arg("LOAD").arg(&script.text).ignore();
    }
    let sent = Instant::now();
    let ((seconds, micros),): ((i64, i64),) = master.server.ask_if(&master.identity, &pipeline).await?;
    master.server.clock.note(seconds * 1000 + micros / 1000, sent);
    Ok(())
}

/// The queues whose names stand in the meta hash.
fn queues_in(meta: &Meta) -> Vec<QueueName> {
    meta.keys().filter_map(|field| field.strip_prefix(QUEUE_FIELD)).map(QueueName::stored).collect()
}
