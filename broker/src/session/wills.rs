//! Wills: published when a client ends without a word, after its delay, or with its session, whichever comes first; never
//! when the client is back in time. With a store a will outlives the process: where a client does not return after a
//! restart, its will is published then, because "online" must not stay true of somebody who is gone.

use crate::clock;
use crate::hooks::Verdict;
use crate::server::core::Core;
use crate::session::close::Close;
use crate::session::connection::HOOK_WAIT;
use crate::session::packet::Will;
use crate::session::state::Session;
use crate::store::{Change, WillRow};
use std::sync::Arc;
use std::time::Duration;

/// Tells the store which will stands, or that none does.
pub(super) fn note(core: &Core, session: &Session, will: Option<&Will>) {
    let Some(store) = &core.store else { return };
    match will {
        Some(will) => store.put(Change::Will(Box::new(WillRow { session: session.id, who: session.who.clone(), will: will.clone() }))),
        None => store.put(Change::Unwill(session.id)),
    }
}

/// What becomes of the will of a connection that has ended.
pub(super) async fn at_end(core: &Arc<Core>, session: &Arc<Session>, will: Will, reason: &Close) {
    if *reason == Close::Shutdown {
        // It stays in the store; the next start sees whether the client returns.
        return;
    }
    if !reason.publishes_will() {
        return note(core, session, None);
    }
    let expiry_s = session.inner.lock().expiry_s;
    let delay = Duration::from_secs(u64::from(will.delay_s.min(expiry_s)));
    if delay.is_zero() {
        publish(core, session, will).await;
        return note(core, session, None);
    }
    delay_it(core.clone(), session.clone(), will, delay);
}

/// One timer per session at most counts: a connection since then ends the wait of all before it.
fn delay_it(core: Arc<Core>, session: Arc<Session>, will: Will, delay: Duration) {
    let mut stopping = core.stopping.subscribe();
    let attached = session.inner.lock().attached;
    tokio::spawn(async move {
        let over = session.over.subscribe();
        let waited = tokio::select! {
            () = tokio::time::sleep(delay) => true,
            () = ended(over) => true,
            _ = stopping.wait_for(|stopping| *stopping) => false,
        };
        if waited && session.inner.lock().attached == attached {
            publish(&core, &session, will).await;
            note(&core, &session, None);
        }
    });
}

async fn ended(mut over: tokio::sync::watch::Receiver<bool>) {
    over.wait_for(|over| *over).await.ok();
}

async fn publish(core: &Core, session: &Session, will: Will) {
    let mut message = will.message;
    message.expires_at = will.expiry_s.map(|seconds| clock::now().plus(u64::from(seconds) * 1000));
    match tokio::time::timeout(HOOK_WAIT, core.hooks.publish(&session.who, &message)).await {
        Ok(Verdict::Accept { route }) => {
            if route && core.router.publish(session.origin(), &message).await.is_err() {
                core.counters.dropped("will");
            }
        }
        // The gateway hears of the disconnection itself; a will that found no quorum is not tried again.
        Ok(Verdict::Refuse(_) | Verdict::NotNow(_)) | Err(_) => core.counters.dropped("will"),
    }
}

/// After a start: the wills of those who were connected when the process ended, and have not come back.
pub(crate) async fn after_restart(core: Arc<Core>, rows: Vec<WillRow>) {
    let mut stopping = core.stopping.subscribe();
    tokio::select! {
        () = tokio::time::sleep(core.limits.will_grace) => {}
        _ = stopping.wait_for(|stopping| *stopping) => return,
    }
    for row in rows {
        let back = core.registry.is_live(&row.who);
        if !back {
            let ghost = Session::new(row.session, row.who.clone(), &core.registry.setting);
            publish(&core, &ghost, row.will).await;
        }
        // A session that was kept carries its new will under the same number.
        if let Some(store) = &core.store
            && !(back && core.registry.has_session(row.session))
        {
            store.put(Change::Unwill(row.session));
        }
    }
}
