//! A value on its way through a program, with its path while `path(…)` and updates look for paths.

use super::builtins::text;
use super::fuel::{Flow, Machine, Stop};
use crate::value::{DEPTH_MAX, Value};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(super) enum Track {
    /// Nobody asks for paths.
    Off,
    At(Option<Arc<Step>>),
    /// A computed value: it has no path.
    Lost,
}

/// A path as a list from its end to its start, at most [`DEPTH_MAX`] long.
#[derive(Debug)]
pub(super) struct Step {
    before: Option<Arc<Step>>,
    key: Value,
    length: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub value: Value,
    pub track: Track,
}

impl Item {
    pub(super) fn plain(value: Value) -> Self {
        Self { value, track: Track::Off }
    }

    /// A value computed from this item.
    pub(super) fn computed(&self, value: Value) -> Self {
        Self { value, track: if matches!(self.track, Track::Off) { Track::Off } else { Track::Lost } }
    }

    /// A part of this item, found under `key`.
    pub(super) fn part(&self, m: &mut Machine, key: &Value, value: Value) -> Result<Self, Stop> {
        let track = match &self.track {
            Track::Off => Track::Off,
            Track::At(before) => {
                let length = before.as_ref().map_or(0, |step| step.length) + 1;
                if length > DEPTH_MAX {
                    return Err(Stop::Budget("depth of a value"));
                }
                m.mem_element()?;
                Track::At(Some(Arc::new(Step { before: before.clone(), key: key.clone(), length })))
            }
            Track::Lost => return self.no_path(),
        };
        Ok(Self { value, track })
    }

    pub(super) fn no_path<T>(&self) -> Result<T, Stop> {
        Stop::raise(format!("Invalid path expression with result {}", text::dump(&self.value)))
    }

    pub(super) fn path(&self, m: &mut Machine) -> Result<Vec<Value>, Stop> {
        let Track::At(last) = &self.track else { return self.no_path() };
        let length = last.as_ref().map_or(0, |step| step.length);
        m.mem_array(length)?;
        let mut keys = Vec::with_capacity(length);
        let mut at = last.as_ref();
        while let Some(step) = at {
            keys.push(step.key.clone());
            at = step.before.as_ref();
        }
        keys.reverse();
        Ok(keys)
    }
}

pub(super) type Out<'o> = &'o mut dyn FnMut(&mut Machine, Item) -> Flow;
