//! What is bound at a place in the program. Environments live on the stack of the evaluation.

use super::syntax::{Definition, Term};
use crate::value::Value;

/// What is bound at a place in the program, innermost first. Mirrors the parser's scopes.
pub(super) struct Env<'e> {
    pub parent: Option<&'e Env<'e>>,
    pub node: Node<'e>,
}

pub(super) enum Node<'e> {
    Root,
    Variables(Vec<Value>),
    /// The function's own environment is this node, so that it sees itself.
    Definition(&'e Definition),
    /// Arguments are evaluated where the call stands.
    Arguments(&'e [Term], &'e Env<'e>),
    Label(u64),
}

impl<'e> Env<'e> {
    pub(super) const ROOT: Env<'static> = Env { parent: None, node: Node::Root };

    pub(super) fn up(&'e self, up: u32) -> &'e Env<'e> {
        let mut env = self;
        for _ in 0..up {
            match env.parent {
                Some(parent) => env = parent,
                None => break,
            }
        }
        env
    }
}
