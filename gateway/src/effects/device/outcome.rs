//! What is said of a command in the end.

use super::{Order, Progress, with_spec};
use crate::effects::clock::wall_now;
use crate::effects::executors::{Executors, failed};
use crate::effects::link::DeliverFailure;
use crate::telemetry::Quality;
use spalla_shared::device::{Ack, AckStatus, Confirm};
use spalla_shared::engine::{EffectClass, Outcome, Problem};
use spalla_shared::value::{Object, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

pub(super) async fn conclude(executors: &Executors, order: &Order<'_>, ack: Ack) -> Outcome {
    match ack.status {
        AckStatus::Failed => {
            let detail = ack.detail.as_str().map_or_else(|| ack.detail.to_json(), str::to_owned);
            failed(Problem::own("refused", 409, format!("the device refused the command: {}", bounded(&detail))))
        }
        AckStatus::Accepted => proven(executors, order, "accepted", ack.detail).await,
        AckStatus::Done => proven(executors, order, "done", ack.detail).await,
    }
}

/// For a device that answers nothing.
pub(super) async fn transported(executors: &Executors, order: &Order<'_>) -> Outcome {
    proven(executors, order, "transported", Value::Null).await
}

/// `status` is what the device said. Where the profile names a sensor that proves it, that decides: `done`, or `unconfirmed`.
async fn proven(executors: &Executors, order: &Order<'_>, status: &str, detail: Value) -> Outcome {
    match confirm_spec(executors, order) {
        None => output(status, detail, None),
        Some(confirm) if confirmed(executors, order, &confirm).await => output("done", detail, Some(true)),
        Some(_) => unconfirmed(status, detail),
    }
}

/// The device said `said`, and the sensor shows nothing of it.
pub(super) fn unconfirmed(said: &str, detail: Value) -> Outcome {
    match output("unconfirmed", detail, Some(false)) {
        Outcome::Done { output: Value::Object(fields) } => {
            let mut fields = Object::clone(&fields);
            fields.insert("said".into(), Value::from(said));
            Outcome::Done { output: Value::Object(Arc::new(fields)) }
        }
        other => other,
    }
}

/// For a device that does not say `done`: what its sensor shows counts, where the profile names one.
pub(super) async fn confirm_without_ack(executors: &Executors, order: &Order<'_>) -> Option<Outcome> {
    let confirm = confirm_spec(executors, order)?;
    confirmed(executors, order, &confirm).await.then(|| output("done", Value::Null, Some(true)))
}

fn confirm_spec(executors: &Executors, order: &Order<'_>) -> Option<Confirm> {
    with_spec(executors, order.device, order.command, |spec| spec.confirm.clone()).flatten()
}

/// Whether the property has the value within its time. For an opening it must have been reported since the command was
/// taken up here: a door that already stood open proves nothing.
async fn confirmed(executors: &Executors, order: &Order<'_>, confirm: &Confirm) -> bool {
    let mut changed = executors.telemetry.changed();
    let until = order.until.min(Instant::now() + Duration::from_millis(confirm.within_ms));
    loop {
        changed.borrow_and_update();
        let reading = executors.telemetry.latest(order.device, &confirm.property, wall_now());
        let tells = order.effect.class != EffectClass::Opening || reading.received_at >= order.taken_up;
        if tells && reading.value == confirm.becomes && reading.quality == Quality::Live {
            return true;
        }
        if !matches!(timeout_at(until, changed.changed()).await, Ok(Ok(()))) {
            return false;
        }
    }
}

pub(super) fn output(status: &str, detail: Value, confirmed: Option<bool>) -> Outcome {
    let detail = if detail.size() > DETAIL_SIZE_MAX { Value::Null } else { detail };
    let mut fields = vec![("status", Value::from(status)), ("detail", detail), ("at", Value::from(wall_now().to_rfc3339()))];
    if let Some(confirmed) = confirmed {
        fields.push(("confirmed", Value::Bool(confirmed)));
    }
    Outcome::Done { output: Value::object(fields) }
}

pub(super) fn unknown(why: &str, progress: &Progress) -> Outcome {
    let accepted = if progress.accepted { " (the device had accepted it)" } else { "" };
    Outcome::Unknown { detail: format!("{why}{accepted}").into() }
}

pub(super) fn not_delivered(failure: DeliverFailure) -> Outcome {
    failed(match failure {
        DeliverFailure::Expired => Problem::timeout("the command expired before it could be sent"),
        DeliverFailure::Refused => Problem::own("refused", 409, failure.to_string()),
        failure => Problem::own("device-offline", 503, failure.to_string()),
    })
}

/// What of a device's detail may enter the log.
const DETAIL_SIZE_MAX: usize = 4 * 1024;

fn bounded(text: &str) -> &str {
    let mut end = text.len().min(512);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
