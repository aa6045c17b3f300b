//! What a live instance of the visitor flow takes in memory, part by part: `cargo bench -p spalla-shared --bench memory`.
//!
//! Counts bytes as they are asked for, without what the allocator adds; each part is what is given back when it is dropped from the
//! state. Asserts nothing: sizes belong to a build.

#[path = "group/mod.rs"]
mod group;

use group::{Group, visit};
use peak_alloc::PeakAlloc;
use spalla_shared::codec;
use spalla_shared::engine::instance::{Frame, Instance, Work};
use spalla_shared::value::Value;
use std::mem::{size_of, take};
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const LIVE: usize = 5_000;

/// Bytes that dropping `part` gives back.
fn dropped<T>(part: T) -> usize {
    let before = ALLOCATOR.current_usage();
    drop(part);
    before.saturating_sub(ALLOCATOR.current_usage())
}

fn part(what: &str, bytes: usize) {
    println!("{what:<58} {:>7.0} B per instance", bytes as f64 / LIVE as f64);
}

fn measure() {
    let mut group = Group::config();
    let before = ALLOCATOR.current_usage();
    let inputs: Vec<Value> = (0..LIVE).map(visit).collect();
    part("its own data, as parsed JSON", ALLOCATOR.current_usage() - before);
    let (before, stored) = (ALLOCATOR.current_usage(), codec::encode(&group.state).len());
    inputs.iter().for_each(|input| group.start("spalla", "visitor", input.clone()));
    part("beyond it", ALLOCATOR.current_usage() - before);
    part("in a snapshot, own data included", codec::encode(&group.state).len() - stored);
    let state = &mut group.state;
    part("  timers", dropped(take(&mut state.timers)));
    part("  listeners", dropped(take(&mut state.listeners)));
    part(
        "  effects, work items, keys already seen",
        dropped((take(&mut state.effects), take(&mut state.work_items), take(&mut state.seen))),
    );
    let mut instances = take(&mut state.instances);
    let mut context = 0;
    let mut listening = 0;
    let mut frames = 0;
    let mut tokens = 0;
    for instance in instances.values_mut() {
        let instance = Arc::get_mut(instance).expect("nobody else holds it");
        context += dropped(take(&mut instance.context));
        for token in instance.tokens.values_mut() {
            for frame in &mut token.frames {
                if let Frame::Task(frame) = frame
                    && matches!(frame.work, Work::Listen(_))
                {
                    listening += dropped(std::mem::replace(&mut frame.work, Work::Nothing));
                }
            }
            frames += dropped(take(&mut token.frames));
        }
        tokens += dropped(take(&mut instance.tokens));
    }
    part("  the object that is $context", context);
    part("  what the `listen` holds", listening);
    part("  frames of tasks", frames);
    part("  tokens", tokens);
    println!("    (an instance itself is {} B)", size_of::<Instance>());
    part("  instances and their ids", dropped(instances));
    part("  indexes (singleton, waiting), plans, and all else", dropped(group));
    drop(inputs);
}

fn main() {
    // Expressions need more stack than the main thread has.
    #[allow(clippy::disallowed_methods)]
    let bench = std::thread::Builder::new().stack_size(32 << 20).spawn(measure);
    bench.expect("a thread").join().expect("the bench");
}
