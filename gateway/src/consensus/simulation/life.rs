//! The time between a gateway's start and its end. Whatever it spawns ends with it, at once, as a process does.

use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use tokio::task::{AbortHandle, JoinHandle};

/// Tasks on the list before those that are done are taken off it.
const TASKS_MAX: usize = 512;

tokio::task_local! {
    static LIFE: Life;
}

#[derive(Clone, Default)]
pub struct Life(Arc<Inner>);

#[derive(Default)]
struct Inner {
    ended: AtomicBool,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Life {
    /// Of the gateway whose task this is.
    pub fn current() -> Self {
        LIFE.try_with(Life::clone).unwrap_or_default()
    }

    pub fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Relaxed)
    }

    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = tokio::spawn(LIFE.scope(self.clone(), mortal(self.clone(), future)));
        let mut tasks = self.0.tasks.lock();
        if tasks.len() >= TASKS_MAX {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(task.abort_handle());
        task
    }

    /// None of its tasks takes another step.
    pub fn end(&self) {
        self.0.ended.store(true, Ordering::Relaxed);
        for task in self.0.tasks.lock().drain(..) {
            task.abort();
        }
    }
}

/// Tokio drops an aborted task only when its turn comes; until then it stands still.
async fn mortal<F: Future>(life: Life, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| if life.has_ended() { Poll::Pending } else { future.as_mut().poll(context) }).await
}
