//! Device commands. An opening is published at most once in its life: the attempt is in the log before it leaves, and one
//! that was attempted without an answer ends as `unknown`. Everything else is sent again with the same id until answered.
//!
//! Accepted, transported and completed are told apart: the output says which one it is, never more. Where the profile names
//! a sensor that proves completion and it does not show it in time, the command is `unconfirmed`, whatever the device said.

mod outcome;
mod wire;

use super::acks::Waiter;
use super::clock::wall_now;
use super::executors::{Executors, failed};
use super::link::DeliverFailure;
use crate::consensus::ProposeError;
use outcome::{conclude, confirm_without_ack, not_delivered, transported, unconfirmed, unknown};
use spalla_shared::device::{Ack, AckStatus, CommandSpec, OPENING_EXPIRY_MAX_MS};
use spalla_shared::engine::effect::DeviceStage;
use spalla_shared::engine::fence::Wish;
use spalla_shared::engine::{Accepted, Command, Effect, EffectClass, Outcome, Problem};
use spalla_shared::id::DeviceId;
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};
use wire::{Wire, message};

/// Sends of one command that is not an opening, whatever its deadline.
const SENDS_MAX: u32 = 128;
const RESEND_FIRST: Duration = Duration::from_millis(500);
const RESEND_MAX: Duration = Duration::from_secs(10);
/// Between two tries to hand over what certainly has not left.
const HAND_OVER_AGAIN: Duration = Duration::from_millis(50);
/// Below the margin that is kept before the deadline.
const LINK_GRACE: Duration = Duration::from_millis(30);
const PROPOSE_AGAIN: Duration = Duration::from_millis(50);

/// One device command to carry out.
pub(super) struct Order<'a> {
    effect: &'a Effect,
    device: &'a DeviceId,
    command: &'a str,
    args: &'a Value,
    stage: DeviceStage,
    /// When the answer must be there.
    until: Instant,
    /// When nothing is sent any more: an opening may be answered longer than it may be sent.
    expires_at: Timestamp,
    /// The same for the device, which asks its own clock: where the log's time is ahead of the clocks, so is `expires_at`.
    told_until: Timestamp,
    /// When this gateway took it up, by the clock that dates what devices say.
    taken_up: Timestamp,
    send_until: Instant,
    wire: Wire,
}

impl<'a> Order<'a> {
    pub(super) fn new(
        executors: &Executors,
        effect: &'a Effect,
        device: &'a DeviceId,
        command: &'a str,
        args: &'a Value,
        stage: DeviceStage,
        until: Instant,
    ) -> Result<Self, Problem> {
        let mut expires_at = effect.deadline;
        if effect.class == EffectClass::Opening {
            let expiry_ms = with_spec(executors, device, command, |spec| spec.expiry_ms()).unwrap_or(OPENING_EXPIRY_MAX_MS);
            expires_at = expires_at.min(effect.issued_at.plus(expiry_ms.min(OPENING_EXPIRY_MAX_MS)));
        }
        let left = expires_at.since(executors.group.now());
        let taken_up = wall_now();
        let told_until = expires_at.min(taken_up.plus(left));
        let left = Duration::from_millis(left);
        // Before an attempt is recorded: what cannot be written is known not to have left.
        let wire = Wire::of(executors, effect, device, command, args, told_until)?;
        Ok(Self {
            effect,
            device,
            command,
            args,
            stage,
            until,
            expires_at,
            told_until,
            taken_up,
            send_until: until.min(Instant::now() + left),
            wire,
        })
    }
}

impl Order<'_> {
    fn spec_confirms(&self, executors: &Executors) -> bool {
        with_spec(executors, self.device, self.command, |spec| spec.confirm.is_some()).unwrap_or(false)
    }
}

pub(super) async fn run(executors: &Executors, order: Order<'_>) -> Option<Outcome> {
    if let Some(problem) = objection(executors, order.effect) {
        return Some(failed(problem));
    }
    // Before anything is sent: an answer cannot be faster than its waiter.
    let answers = executors.acks.wait(order.device, order.command, &order.effect.key);
    match order.effect.class {
        EffectClass::Opening => open(executors, order, answers).await,
        EffectClass::Securing | EffectClass::Neutral => Some(repeat(executors, &order, answers).await),
    }
}

/// What the other group that commands devices here says against it, as this gateway knows it.
fn objection(executors: &Executors, effect: &Effect) -> Option<Problem> {
    let other = executors.beside.as_ref()?;
    // One lock behind the other, never both.
    let wish = Wish::of(effect, &executors.group.state().read())?;
    let why = wish.objection(&other.state().read())?;
    Some(Problem::own("refused", 409, why))
}

enum Attempt {
    /// Ours, and nothing has left yet. By the leader's stamp nothing may leave from that instant on; unknown where the grant was heard
    /// of in another way.
    Granted(Option<Instant>),
    /// Another start or another gateway attempted it, or this one already published it.
    Taken,
    /// It is answered or gone, or the log could not be reached in time.
    Gone,
}

async fn open(executors: &Executors, mut order: Order<'_>, mut answers: Waiter) -> Option<Outcome> {
    let attempt = match &order.effect.attempt {
        None => propose_attempt(executors, &order).await,
        Some(_) => whose_attempt(executors, order.effect),
    };
    match attempt {
        Attempt::Gone => None,
        Attempt::Taken => {
            // A device that moved answers where it is now, and its first gateway may still hear from it too: no hurry to give up.
            let here = order.effect.attempt.as_ref().is_some_and(|attempt| attempt.node == executors.options.node);
            let until = if here { order.until.min(Instant::now() + executors.options.takeover_wait) } else { order.until };
            let mut progress = Progress::default();
            Some(match listen(&order, &mut answers, &mut progress, std::future::pending(), until).await {
                Step::Answer(ack) => conclude(executors, &order, ack).await,
                _ => unknown("it was attempted before a gateway failed or the device moved", &progress),
            })
        }
        Attempt::Granted(expires) => {
            // The group's clock decides, however far this gateway's own is behind it.
            order.send_until = expires.map_or(order.send_until, |expires| expires.min(order.send_until));
            if !executors.note_published(order.effect.id) {
                return Some(unknown("it was attempted before", &Progress::default()));
            }
            let mut progress = Progress::default();
            // The link's own word on expiry comes at `until`: it knows whether anything left.
            let until = order.until + LINK_GRACE;
            answers.sent();
            Some(match listen(&order, &mut answers, &mut progress, hand_over(executors, &order), until).await {
                Step::Answer(ack) => conclude(executors, &order, ack).await,
                Step::Transported => transported(executors, &order).await,
                // Nothing has left: this is known, unlike a missing answer.
                Step::NotDelivered(failure) => not_delivered(failure),
                Step::Silence => match confirm_without_ack(executors, &order).await {
                    Some(outcome) => outcome,
                    None => unknown("it was sent, and no answer came in time", &progress),
                },
            })
        }
    }
}

/// Asks the log for the one attempt.
async fn propose_attempt(executors: &Executors, order: &Order<'_>) -> Attempt {
    let node = executors.options.node;
    while Instant::now() < order.send_until {
        let asked = Instant::now();
        match executors.group.propose(Command::EffectAttempt { effect: order.effect.id, node }).await {
            Ok(receipt) => {
                return match receipt.reply {
                    // It was stamped after it was asked for.
                    Ok(Accepted::AttemptGranted) => {
                        Attempt::Granted(Some(asked + Duration::from_millis(order.expires_at.since(receipt.at))))
                    }
                    Ok(_) => {
                        // An earlier proposal of ours may have been granted while its answer was lost.
                        let mut applied = executors.group.applied();
                        let seen = timeout_at(order.send_until, applied.wait_for(|applied| *applied >= receipt.index)).await;
                        if !matches!(seen, Ok(Ok(_))) {
                            return Attempt::Gone;
                        }
                        let current = executors.group.state().read().effects.get(&order.effect.id).cloned();
                        match current {
                            Some(effect) if effect.attempt.is_some() => whose_attempt(executors, &effect),
                            // Refused for another reason: expired, or the device is elsewhere by now.
                            _ => Attempt::Gone,
                        }
                    }
                    Err(_) => Attempt::Gone,
                };
            }
            Err(ProposeError::Stopping | ProposeError::TooLarge { .. }) => return Attempt::Gone,
            Err(error) => {
                tracing::debug!(effect = %order.effect.id, %error, "attempt not recorded yet");
                tokio::time::sleep(PROPOSE_AGAIN).await;
            }
        }
    }
    Attempt::Gone
}

/// An attempt of this very start that has not published is still ours to make.
fn whose_attempt(executors: &Executors, effect: &Effect) -> Attempt {
    let ours =
        effect.attempt.as_ref().is_some_and(|attempt| attempt.node == executors.options.node && attempt.boot == executors.options.boot);
    if ours && !executors.was_published(effect.id) { Attempt::Granted(None) } else { Attempt::Taken }
}

/// Gives an opening command to the link. Tries again only where nothing of it can have left, and never past the deadline.
async fn hand_over(executors: &Executors, order: &Order<'_>) -> Result<(), DeliverFailure> {
    loop {
        if Instant::now() >= order.send_until || !executors.is_open(order.effect.id) {
            return Err(DeliverFailure::Expired);
        }
        if objection(executors, order.effect).is_some() {
            return Err(DeliverFailure::Refused);
        }
        match executors.link.deliver(order.wire.login(order.device), message(executors, order)).await {
            // A device that is just coming back has not subscribed yet.
            Err(DeliverFailure::NotSubscribed | DeliverFailure::Full) => tokio::time::sleep(HAND_OVER_AGAIN).await,
            other => return other,
        }
    }
}

/// Sends until answered or late.
async fn repeat(executors: &Executors, order: &Order<'_>, mut answers: Waiter) -> Outcome {
    let mut pause = RESEND_FIRST;
    let mut last = DeliverFailure::Expired;
    let mut progress = Progress::default();
    let mut sends = 0;
    // Cancelled meanwhile: a withdrawn command is not sent again.
    while Instant::now() < order.until && executors.is_open(order.effect.id) {
        if let Some(problem) = objection(executors, order.effect) {
            return failed(problem);
        }
        sends += 1;
        let until = if sends < SENDS_MAX { order.until.min(Instant::now() + pause) } else { order.until };
        answers.sent();
        let send = executors.link.deliver(order.wire.login(order.device), message(executors, order));
        match listen(order, &mut answers, &mut progress, send, until).await {
            Step::Answer(ack) => return conclude(executors, order, ack).await,
            Step::Transported if order.spec_confirms(executors) => {
                // Sent again where its effect is not seen: to set a state twice does no harm.
                progress.transported = true;
                if let Some(outcome) = confirm_without_ack(executors, order).await {
                    return outcome;
                }
            }
            Step::Transported => return transported(executors, order).await,
            Step::Silence => {}
            Step::NotDelivered(failure) => {
                last = failure;
                // What is not connected or not subscribed yet comes back soon.
                let again = order.until.min(Instant::now() + HAND_OVER_AGAIN.max(pause / 4));
                if let Step::Answer(ack) = listen(order, &mut answers, &mut progress, std::future::pending(), again).await {
                    return conclude(executors, order, ack).await;
                }
            }
        }
        pause = (pause * 2).min(RESEND_MAX);
    }
    if !progress.transported && !progress.uncertain {
        return not_delivered(last);
    }
    match confirm_without_ack(executors, order).await {
        Some(outcome) => outcome,
        None if order.stage == DeviceStage::Transported && progress.transported => unconfirmed("transported", Value::Null),
        None if progress.accepted => failed(Problem::timeout("the device accepted the command and did not say that it is done")),
        None => failed(Problem::timeout("the command was sent and the device did not answer")),
    }
}

/// What is known of a command so far. Separate facts, none of which follows from another.
#[derive(Default)]
struct Progress {
    transported: bool,
    accepted: bool,
    /// It left, and whether it arrived is not known.
    uncertain: bool,
}

enum Step {
    /// The answer that ends the wait for the wanted stage.
    Answer(Ack),
    /// And no more was wanted.
    Transported,
    NotDelivered(DeliverFailure),
    Silence,
}

/// Sends once, and listens at the same time: an answer may overtake the acknowledgement of the message.
async fn listen(
    order: &Order<'_>,
    answers: &mut Waiter,
    progress: &mut Progress,
    send: impl Future<Output = Result<(), DeliverFailure>>,
    until: Instant,
) -> Step {
    let mut send = std::pin::pin!(send);
    let mut sending = true;
    loop {
        tokio::select! {
            biased;
            ack = answers.next() => match ack.status {
                AckStatus::Accepted if order.stage == DeviceStage::Done => progress.accepted = true,
                AckStatus::Accepted | AckStatus::Done | AckStatus::Failed => return Step::Answer(ack),
            },
            sent = &mut send, if sending => {
                sending = false;
                match sent {
                    Ok(()) if order.stage == DeviceStage::Transported => return Step::Transported,
                    Ok(()) => progress.transported = true,
                    Err(DeliverFailure::Uncertain) => progress.uncertain = true,
                    Err(failure) => return Step::NotDelivered(failure),
                }
            }
            () = sleep_until(until) => return Step::Silence,
        }
    }
}

fn with_spec<T>(executors: &Executors, device: &DeviceId, command: &str, pick: impl FnOnce(&CommandSpec) -> T) -> Option<T> {
    let state = executors.group.state().read();
    let profile = state.profiles.get(&state.devices.get(device)?.device.profile)?;
    profile.command(command).map(pick)
}
