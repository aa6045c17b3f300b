//! What the executors of one group share, and which one carries out which request.

use super::acks::Acks;
use super::clock::wall_now;
use super::http::HttpClient;
use super::link::DeviceLink;
use super::secret::SecretFolder;
use super::sheet::Workbooks;
use super::{credential, device, notify, read};
use crate::consensus::GroupRef;
use crate::speakers::Speakers;
use crate::telemetry::Telemetry;
use ed25519_dalek::SigningKey;
use parking_lot::Mutex;
use spalla_shared::engine::{Effect, Outcome, Problem, Request};
use spalla_shared::id::{EffectId, NodeId};
use spalla_shared::value::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An executor stops waiting this long before the deadline, so that what it knows is committed before the deadline ends the effect.
const ANSWER_MARGIN: Duration = Duration::from_millis(100);

#[derive(Clone)]
pub struct ExecutorOptions {
    pub node: NodeId,
    /// The start of this gateway: an attempt of an earlier one is nobody's to finish.
    pub boot: u64,
    pub signing_key: SigningKey,
    /// Written into credentials as their issuer: the mesh.
    pub issuer: String,
    /// `notify.webhook`.
    pub webhook: Option<String>,
    /// How long a gateway that finds an opening attempted by an earlier start of itself listens for the answer before it says `unknown`.
    pub takeover_wait: Duration,
}

impl ExecutorOptions {
    pub const TAKEOVER_WAIT_DEFAULT: Duration = Duration::from_secs(2);
}

pub struct Executors {
    pub(super) options: ExecutorOptions,
    pub(super) group: GroupRef,
    /// The other group that commands devices here: the building's beside the mesh's, and the mesh's beside that.
    pub(super) beside: Option<GroupRef>,
    pub(super) link: Arc<dyn DeviceLink>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) acks: Arc<Acks>,
    pub(super) speakers: Speakers,
    pub(super) http: HttpClient,
    pub(super) secrets: SecretFolder,
    pub(super) workbooks: Option<Workbooks>,
    /// Opening commands that this process has handed to the link, or was about to. Pruned by the dispatcher.
    published: Mutex<BTreeSet<EffectId>>,
}

impl Executors {
    #[allow(clippy::too_many_arguments)] // One call, in the wiring.
    pub fn new(
        options: ExecutorOptions,
        group: GroupRef,
        beside: Option<GroupRef>,
        link: Arc<dyn DeviceLink>,
        telemetry: Arc<Telemetry>,
        acks: Arc<Acks>,
        http: HttpClient,
        secrets: SecretFolder,
        workbooks: Option<Workbooks>,
    ) -> Arc<Self> {
        let speakers = Speakers::default();
        Arc::new(Self { options, group, beside, link, telemetry, acks, speakers, http, secrets, workbooks, published: Mutex::default() })
    }

    /// Carries `effect` out. `None`: there is nothing to say (its deadline passed, it is gone, or it may not be tried now).
    pub(super) async fn run(self: &Arc<Self>, effect: &Effect) -> Option<Outcome> {
        let until = self.until(effect)?;
        Some(match &effect.request {
            Request::Device { device, command, args, until: stage } => {
                return match device::Order::new(self, effect, device, command, args, *stage, until) {
                    Ok(order) => device::run(self, order).await,
                    Err(problem) => Some(failed(problem)),
                };
            }
            Request::ReadDevice { device, property, max_age_ms } => {
                // What a device said is dated by the clock here, not by the log.
                read::run(&self.telemetry, device, property, *max_age_ms, wall_now())
            }
            Request::Http(request) => self.http.run(request, &effect.key, &self.secrets, until).await,
            Request::Notify { to, template, data } => {
                notify::run(&self.http, self.options.webhook.as_deref(), &effect.key, to, template, data, until).await
            }
            Request::SignCredential { credential, holder, kind, valid_from, valid_until, claims } => {
                let content = credential::Content {
                    issuer: &self.options.issuer,
                    credential,
                    holder,
                    kind,
                    valid_from: *valid_from,
                    valid_until: *valid_until,
                    claims,
                };
                match credential::sign(&content, &self.options.signing_key) {
                    Ok(token) => done([("credentialId", Value::from(credential.as_str())), ("token", Value::from(token))]),
                    Err(error) => failed(Problem::standard("validation", 400, error.to_string())),
                }
            }
            Request::AppendRow { workbook, sheet, values } => match &self.workbooks {
                Some(workbooks) => workbooks.append(workbook, sheet, values, &effect.key).await,
                None => no_workbooks(),
            },
            Request::FindRow { workbook, sheet, conditions } => match &self.workbooks {
                Some(workbooks) => workbooks.find(workbook, sheet.as_deref(), conditions).await,
                None => no_workbooks(),
            },
            Request::Function { function, .. } => {
                failed(Problem::standard("configuration", 500, format!("`{function}` was asked for by a rehearsal; no gateway answers it")))
            }
        })
    }

    /// The instant on this process's own clock at which an executor must have its answer; `None` once the deadline is reached.
    pub(super) fn until(&self, effect: &Effect) -> Option<Instant> {
        let left = effect.deadline.since(self.group.now());
        (left > 0).then(|| {
            let left = Duration::from_millis(left);
            Instant::now() + left - ANSWER_MARGIN.min(left / 10)
        })
    }

    /// Whether `effect` still waits for an answer, as far as this gateway knows.
    pub(super) fn is_open(&self, effect: EffectId) -> bool {
        self.group.state().read().effects.contains_key(&effect)
    }

    /// Notes that an opening command goes out now; `false` where it went out before.
    pub(super) fn note_published(&self, effect: EffectId) -> bool {
        self.published.lock().insert(effect)
    }

    pub(super) fn was_published(&self, effect: EffectId) -> bool {
        self.published.lock().contains(&effect)
    }

    pub(super) fn forget_published(&self, keep: impl Fn(&EffectId) -> bool) {
        self.published.lock().retain(keep);
    }
}

pub(super) fn done<const N: usize>(fields: [(&str, Value); N]) -> Outcome {
    Outcome::Done { output: Value::object(fields) }
}

pub(super) fn failed(problem: Problem) -> Outcome {
    Outcome::Failed { problem }
}

fn no_workbooks() -> Outcome {
    failed(Problem::standard("configuration", 500, "no folder for workbooks is configured; set `workbooks` in the gateway's settings"))
}
