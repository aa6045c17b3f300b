//! In each of its lives a gateway applies the entries behind its snapshot in order, each once.

use crate::history::History;

pub fn check(history: &History) -> Result<(), String> {
    history.out_of_order.first().map_or(Ok(()), |what| Err(what.clone()))
}
