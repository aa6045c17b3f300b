//! `Command::TimersDue`: what has come due, in the order of instants.

use super::correlation;
use super::function;
use super::instance::{Next, Wait};
use super::interpreter::Interpreter;
use super::schedule;
use super::state::{Timer, TimerWhat};

/// Timers of one entry; the rest stays due, and the leader proposes again at once.
pub const TIMERS_PER_ENTRY_MAX: usize = 1024;

pub(super) fn fire(interpreter: &mut Interpreter) {
    let now = interpreter.context.now;
    for _ in 0..TIMERS_PER_ENTRY_MAX {
        let timers = &mut interpreter.context.state.timers;
        if timers.first().is_none_or(|timer| timer.due > now) {
            break;
        }
        let Some(timer) = timers.pop_first() else { break };
        one(interpreter, timer);
        // Each in turn, so that what one ends is gone before the next is looked at.
        interpreter.settle();
    }
    correlation::sweep_early(interpreter.context.state, now);
}

fn one(interpreter: &mut Interpreter, timer: Timer) {
    match timer.what {
        TimerWhat::Token { instance, token: number, generation } => {
            let state = &interpreter.context.state;
            let token = state.instances.get(&instance).and_then(|instance| instance.tokens.get(&number));
            // Another generation: the wait is over, the timer is late and changes nothing.
            let Some(token) = token.filter(|token| token.generation == generation) else { return };
            let Wait::Timer { next, .. } = &token.wait else { return };
            let next: Next = (**next).clone();
            interpreter.resume(&instance, number, |token| matches!(token.wait, Wait::Timer { .. }), next);
        }
        TimerWhat::Timeout { instance, guard } => interpreter.timed_out(&instance, guard),
        TimerWhat::EffectDeadline { effect } => function::effect_deadline(interpreter.context, effect),
        TimerWhat::Schedule { flow } => schedule::due(interpreter, *flow, timer.due),
        TimerWhat::GrantEnds { grant } => function::grant_ends(interpreter.context, &grant),
    }
}
