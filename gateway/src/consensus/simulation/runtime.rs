//! Openraft's runtime in a simulation: tokio's paused clock, dice with a seed, tasks that end with their gateway, and channels
//! that wake in the order in which was waited.

use super::life::Life;
use super::watch::OrderedWatch;
use crate::consensus::types::Types;
use openraft::rt::AsyncRuntime;
use openraft::{OptionalSend, RaftTypeConfig};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

type Real = <Types as RaftTypeConfig>::AsyncRuntime;

thread_local! {
    static DICE: Cell<u64> = const { Cell::new(0) };
}

/// What openraft draws on this thread (election timeouts, the phase of its ticks) follows from `seed` from here on.
pub fn throw_dice_from(seed: u64) {
    DICE.set(seed);
}

#[derive(Debug)]
pub struct SimRuntime(Real);

impl AsyncRuntime for SimRuntime {
    type JoinError = <Real as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <Real as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <Real as AsyncRuntime>::Sleep;
    type Instant = <Real as AsyncRuntime>::Instant;
    type TimeoutError = <Real as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = <Real as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = SmallRng;
    type Mpsc = <Real as AsyncRuntime>::Mpsc;
    type Watch = OrderedWatch;
    type Oneshot = <Real as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <Real as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        Life::current().spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Real::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        Real::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        Real::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        Real::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        Real::is_panic(join_error)
    }

    fn thread_rng() -> SmallRng {
        // Consecutive seeds give unrelated rolls: SmallRng mixes them.
        let seed = DICE.get();
        DICE.set(seed.wrapping_add(1));
        SmallRng::seed_from_u64(seed)
    }

    fn new(threads: usize) -> Self {
        Self(Real::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}
