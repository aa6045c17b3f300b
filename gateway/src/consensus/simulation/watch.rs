//! A watch channel that wakes in the order in which was waited. Tokio's draws lots, and not from a seed.

use openraft::OptionalSend;
use openraft::rt::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

pub struct OrderedWatch;

struct Shared<T> {
    value: RwLock<T>,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    version: u64,
    senders: usize,
    receivers: usize,
    waiting: Vec<Waker>,
}

impl<T> Shared<T> {
    fn changed(&self) {
        let waiting = {
            let mut line = self.line.lock();
            line.version += 1;
            std::mem::take(&mut line.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

pub struct Sender<T>(Arc<Shared<T>>);

pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl Watch for OrderedWatch {
    type Sender<T: OptionalSend + Sync> = Sender<T>;
    type Receiver<T: OptionalSend + Sync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = RwLockReadGuard<'a, T>;

    fn channel<T: OptionalSend + Sync>(init: T) -> (Sender<T>, Receiver<T>) {
        let line = Line { senders: 1, receivers: 1, ..Line::default() };
        let shared = Arc::new(Shared { value: RwLock::new(init), line: Mutex::new(line) });
        (Sender(shared.clone()), Receiver { shared, seen: 0 })
    }
}

impl<T: OptionalSend + Sync> WatchSender<OrderedWatch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.line.lock().receivers == 0 {
            return Err(SendError(value));
        }
        *self.0.value.write() = value;
        self.0.changed();
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        let modified = modify(&mut self.0.value.write());
        if modified {
            self.0.changed();
        }
        modified
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.0.value.read()
    }

    fn subscribe(&self) -> Receiver<T> {
        let mut line = self.0.line.lock();
        line.receivers += 1;
        Receiver { shared: self.0.clone(), seen: line.version }
    }
}

impl<T: OptionalSend + Sync> WatchReceiver<OrderedWatch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        poll_fn(|context| {
            let mut line = self.shared.line.lock();
            if line.version != self.seen {
                self.seen = line.version;
                return Poll::Ready(Ok(()));
            }
            if line.senders == 0 {
                return Poll::Ready(Err(RecvError(())));
            }
            if !line.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                line.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.shared.value.read()
    }

    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        self.seen = self.shared.line.lock().version;
        self.shared.value.read()
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.line.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waiting = {
            let mut line = self.0.line.lock();
            line.senders -= 1;
            if line.senders > 0 { Vec::new() } else { std::mem::take(&mut line.waiting) }
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.line.lock().receivers += 1;
        Self { shared: self.shared.clone(), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.line.lock().receivers -= 1;
    }
}
