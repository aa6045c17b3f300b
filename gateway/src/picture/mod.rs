//! Pictures of flows, in words that a receptionist knows: SVG of our own, or Mermaid. Draws; never runs or changes anything.
//!
//! ```text
//! plan -> build (words, decisions, side roads) -> model -> layout -> paper -> svg
//!                                                     \-> mermaid
//! ```

mod build;
mod describe;
mod layout;
mod mermaid;
mod model;
mod paper;
mod progress;
mod svg;
mod text;
mod words;

pub use progress::{Mark, Progress};

use spalla_shared::flow::plan::Plan;

/// The flow as SVG; with where an instance is.
pub fn svg(plan: &Plan, progress: Option<&Progress>) -> String {
    let model = build::model(plan);
    let kinds: Vec<_> = build::kinds(&model.body).into_iter().collect();
    let piece = layout::Layout { progress }.flow(&model);
    svg::svg(&model, piece, &kinds, progress)
}

/// The flow as a Mermaid flowchart.
pub fn mermaid(plan: &Plan) -> String {
    mermaid::mermaid(&build::model(plan))
}

#[cfg(test)]
mod tests;
