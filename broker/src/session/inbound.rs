//! The way of a client's messages, in the order they came: the hooks are asked, then the router, and only when the message
//! lies in everybody's queue (and is durable, where the store keeps it) an acknowledgement goes back. The reader runs ahead
//! of this by a bounded number of messages; acknowledgements wait beside the next message, not before it.

use crate::clock;
use crate::hooks::{Denied, Verdict};
use crate::message::{Message, Qos};
use crate::router::Receipt;
use crate::server::core::Core;
use crate::session::close::Close;
use crate::session::link::Link;
use crate::session::packet::{AckKind, Answer};
use crate::session::state::Session;
use crate::store::{Ticket, settle};
use crate::version::Version;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// One PUBLISH that the reader let through, or one it refused and whose acknowledgement must keep its turn.
pub(crate) struct Job {
    pub message: Message,
    pub packet_id: Option<u16>,
    /// Already refused: the reason code and text.
    pub refused: Option<Refused>,
}

pub(crate) type Refused = (u8, &'static str);

/// The reason code of a PUBLISH that the ACL does not let through.
const NOT_AUTHORISED: u8 = 0x87;

/// Runs until the reader hangs up and everything is acknowledged, or a message could not be made safe.
pub(crate) async fn run(core: Arc<Core>, session: Arc<Session>, link: Link, mut jobs: mpsc::Receiver<Box<Job>>) {
    let mut owed = Owed::new(&core, session.clone(), link.version);
    loop {
        let job = tokio::select! {
            job = jobs.recv(), if owed.waiting.len() < usize::from(core.limits.in_flight) => job,
            acknowledged = owed.next(), if !owed.waiting.is_empty() => match acknowledged {
                Ok(()) => continue,
                Err(close) => return link.close(close),
            },
        };
        let Some(job) = job else { break };
        let outcome = {
            let mut taking = pin!(take(&core, &session, &job));
            loop {
                tokio::select! {
                    outcome = &mut taking => break outcome,
                    acknowledged = owed.next(), if !owed.waiting.is_empty() => {
                        if let Err(close) = acknowledged {
                            return link.close(close);
                        }
                    }
                }
            }
        };
        match outcome {
            Ok(outcome) => owed.push(&job, outcome),
            Err(close) => return link.close(close),
        }
    }
    while !owed.waiting.is_empty() {
        if let Err(close) = owed.next().await {
            return link.close(close);
        }
    }
}

enum Outcome {
    /// On its way; acknowledged when the receipt comes true.
    Routed(Receipt),
    /// The hooks have it and nobody else is to.
    Taken,
    Refused(Refused),
}

/// `Err`: the connection must end so that the client sends again.
async fn take(core: &Core, session: &Session, job: &Job) -> Result<Outcome, Close> {
    if let Some(refused) = job.refused {
        if refused.0 == NOT_AUTHORISED {
            core.counters.dropped("denied");
            core.hooks.denied(Denied::Publish { who: &session.who, topic: &job.message.topic });
        } else {
            core.counters.dropped("refused");
        }
        return Ok(Outcome::Refused(refused));
    }
    if clock::is_past(job.message.expires_at, clock::now()) {
        core.counters.dropped("expired");
        return Ok(Outcome::Taken);
    }
    match core.hooks.publish(&session.who, &job.message).await {
        Verdict::Accept { route: false } => Ok(Outcome::Taken),
        Verdict::Accept { route: true } => {
            core.router.publish(session.origin(), &job.message).await.map(Outcome::Routed).map_err(|_| Close::NotNow("the router is gone"))
        }
        Verdict::Refuse(reason) => {
            core.counters.dropped("refused");
            Ok(Outcome::Refused((0x83, reason)))
        }
        Verdict::NotNow(reason) => Err(Close::NotNow(reason)),
    }
}

/// Acknowledgements that are owed, in the order of the messages. Bounded: the client is not read beyond its receive maximum.
struct Owed {
    session: Arc<Session>,
    version: Version,
    settled: Option<watch::Receiver<Ticket>>,
    waiting: VecDeque<Debt>,
}

struct Debt {
    packet_id: u16,
    kind: AckKind,
    receipt: Option<Receipt>,
    refused: Option<Refused>,
    ticket: Option<Ticket>,
    /// QoS 2: the packet id was given to the store.
    noted: bool,
}

impl Owed {
    fn new(core: &Core, session: Arc<Session>, version: Version) -> Self {
        let settled = core.store.as_ref().map(|store| store.settled());
        Self { session, version, settled, waiting: VecDeque::new() }
    }

    fn push(&mut self, job: &Job, outcome: Outcome) {
        let Some(packet_id) = job.packet_id else { return };
        let kind = if job.message.qos == Qos::ExactlyOnce { AckKind::Received } else { AckKind::Taken };
        let (receipt, refused) = match outcome {
            Outcome::Routed(receipt) => (Some(receipt), None),
            Outcome::Taken => (None, None),
            Outcome::Refused(refused) => (None, Some(refused)),
        };
        self.waiting.push_back(Debt { packet_id, kind, receipt, refused, ticket: None, noted: false });
    }

    /// Pays the oldest debt. May be dropped and called again at any time.
    async fn next(&mut self) -> Result<(), Close> {
        let Some(debt) = self.waiting.front_mut() else { return Ok(()) };
        if let Some(receipt) = &mut debt.receipt {
            debt.ticket = receipt.await.map_err(|_| Close::NotNow("the router is gone"))?;
            debt.receipt = None;
        }
        if debt.kind == AckKind::Received && debt.refused.is_none() && !debt.noted {
            // Noted before the wait, so that the packet id is durable with the message.
            debt.ticket = debt.ticket.max(self.session.received(debt.packet_id));
            debt.noted = true;
        }
        if let (Some(ticket), Some(settled)) = (debt.ticket, &mut self.settled)
            && !settle(settled, ticket).await
        {
            return Err(Close::Shutdown);
        }
        if let Some(debt) = self.waiting.pop_front() {
            self.pay(&debt);
        }
        Ok(())
    }

    fn pay(&self, debt: &Debt) {
        {
            let mut inner = self.session.inner.lock();
            if debt.kind == AckKind::Taken {
                inner.unanswered = inner.unanswered.saturating_sub(1);
            } else if debt.refused.is_some() {
                // v3.1.1 has no refusal: its client goes on to PUBREL as if all were well.
                if self.version == Version::V5 {
                    inner.received.remove(&debt.packet_id);
                } else {
                    inner.received.insert(debt.packet_id, true);
                }
            }
        }
        let (code, reason) = debt.refused.map_or((0, None), |(code, reason)| (code, Some(reason)));
        self.session.answer(Answer::Ack { kind: debt.kind, packet_id: debt.packet_id, code, reason });
    }
}
