//! What gateways ask each other about the members, and the answers.

use super::hand_over::HandedOver;
use super::remove::{RemoveRequest, Removed};
use super::{CHANGE_TIME_MAX, Members, Refusal, Vitals};
use crate::consensus::Member;
use crate::history::Held;
use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use spalla_broker::rpc::{RpcError, Service};
use spalla_shared::codec;
use spalla_shared::id::NodeId;
use std::time::Duration;

pub const PREFIX: &str = "member.";
const VITALS: &str = "member.vitals";
const STANDING: &str = "member.standing";
const REMOVE: &str = "member.remove";
const TRANSFER: &str = "member.transfer";
const LAY_DOWN: &str = "member.lay-down";
const HELD: &str = "member.held";

/// For a gateway to say how it is; one that takes longer is told as not answering.
const LOOK_TIME_MAX: Duration = Duration::from_millis(1_500);

/// For one that is to go to hand on what it decides alone: longer than it takes for that at most.
const LAY_DOWN_ANSWER_MAX: Duration = Duration::from_secs(8);

/// Answers other gateways.
pub struct Answer(pub Members);

#[async_trait]
impl Service for Answer {
    async fn call(&self, _peer: NodeId, method: &str, body: Bytes) -> Result<Bytes, RpcError> {
        Ok(match method {
            VITALS => codec::encode(&self.0.vitals().await),
            STANDING => codec::encode(&self.0.group.members()),
            // Only here: a gateway that believes another one to lead must not send the caller in circles.
            REMOVE => codec::encode(&self.0.lead(|| async { self.0.remove_here(&request(&body)?).await }).await),
            TRANSFER => codec::encode(&self.0.lead(|| async { self.0.transfer_here(request(&body)?).await }).await),
            LAY_DOWN => codec::encode(&self.0.lay_down().await),
            HELD => codec::encode(&self.0.held().await),
            other => return Err(RpcError::Refused(format!("no method `{other}`"))),
        }
        .into())
    }
}

fn request<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    codec::decode(body).map_err(|error| Refusal::new("invalid", format!("request cannot be read: {error}")))
}

impl Members {
    async fn lead<T, F: Future<Output = Result<T, Refusal>>>(&self, act: impl FnOnce() -> F) -> Result<T, Refusal> {
        if self.leadership().is_self { act().await } else { Err(Refusal::not_leader()) }
    }

    pub(super) async fn ask_vitals(&self, node: NodeId) -> Option<Vitals> {
        self.call(node, VITALS, &(), LOOK_TIME_MAX).await.ok()
    }

    /// Nothing where it does not answer, cannot read its history, or is too old to know the question.
    pub(super) async fn ask_held(&self, node: NodeId) -> Option<Vec<Held>> {
        self.call::<_, Option<Vec<Held>>>(node, HELD, &(), LOOK_TIME_MAX).await.ok().flatten()
    }

    /// What the leader knows of each member.
    pub(super) async fn ask_standing(&self, leader: NodeId) -> Option<Vec<Member>> {
        self.call(leader, STANDING, &(), LOOK_TIME_MAX).await.ok()
    }

    pub(super) async fn ask_remove(&self, leader: NodeId, request: &RemoveRequest) -> Result<Removed, Refusal> {
        self.ask(leader, REMOVE, request).await
    }

    pub(super) async fn ask_transfer(&self, leader: NodeId, to: Option<NodeId>) -> Result<HandedOver, Refusal> {
        self.ask(leader, TRANSFER, &to).await
    }

    /// Nothing where it does not answer, or is too old to know the question.
    pub(super) async fn ask_lay_down(&self, node: NodeId) -> Option<bool> {
        self.call(node, LAY_DOWN, &(), LAY_DOWN_ANSWER_MAX).await.ok()
    }

    /// What certainly did not happen there may be asked of the next leader.
    async fn ask<B: Serialize, T: DeserializeOwned>(&self, leader: NodeId, method: &str, body: &B) -> Result<T, Refusal> {
        match self.call::<_, Result<T, Refusal>>(leader, method, body, CHANGE_TIME_MAX).await {
            Ok(answer) => answer,
            Err(RpcError::Unreachable | RpcError::Refused(_)) => Err(Refusal::not_leader()),
            Err(error) => Err(Refusal::new("unknown-outcome", format!("the leader did not say whether it is done: {error}"))),
        }
    }

    async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        node: NodeId,
        method: &str,
        body: &B,
        timeout: Duration,
    ) -> Result<T, RpcError> {
        let mesh = self.mesh.upgrade().ok_or(RpcError::Unreachable)?;
        let answer = mesh.call(node, method, codec::encode(body).into(), timeout).await?;
        codec::decode(&answer).map_err(|error| RpcError::Remote(format!("its answer cannot be read: {error}")))
    }
}
