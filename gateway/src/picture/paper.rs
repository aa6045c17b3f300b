//! What a layout puts on paper: boxes, lines and texts with places, in pixels. Knows nothing of flows.

use super::model::Kind;
use super::progress::Mark;
use std::sync::Arc;

/// Where text stands to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
}

/// How a thing looks; the style sheet of the picture says the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Step(Kind),
    Frame,
    Question,
    Pill,
    Jump,
    Trouble,
    Condition,
}

#[derive(Clone, Debug)]
pub enum Shape {
    Box {
        x: f64,
        y: f64,
        w: f64,
        h: f64,
        look: Look,
        reference: Arc<str>,
        mark: Option<Mark>,
        label: String,
    },
    Icon {
        x: f64,
        y: f64,
        kind: Kind,
    },
    /// `class`: title, line, small, label, tab.
    Text {
        x: f64,
        y: f64,
        anchor: Anchor,
        class: &'static str,
        text: String,
    },
    Line {
        points: Vec<(f64, f64)>,
        arrow: bool,
        trouble: bool,
    },
    /// A thick bar: branches begin or end.
    Bar {
        x: f64,
        y: f64,
        w: f64,
    },
    /// A sign at the corner of a box: done, here, failed.
    Badge {
        x: f64,
        y: f64,
        mark: Mark,
    },
}

/// A drawn piece. Control comes in and goes out at `axis`.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    pub w: f64,
    pub h: f64,
    pub axis: f64,
    /// Control does not come out below.
    pub ends: bool,
    pub shapes: Vec<Shape>,
}

impl Piece {
    /// Puts another piece in, its corner at (x, y).
    pub fn put(&mut self, other: Piece, x: f64, y: f64) {
        self.shapes.extend(other.shapes.into_iter().map(|shape| shape.moved(x, y)));
    }
    pub fn line(&mut self, points: &[(f64, f64)], arrow: bool) {
        self.shapes.push(Shape::Line { points: points.to_vec(), arrow, trouble: false });
    }
    pub fn trouble(&mut self, points: &[(f64, f64)], arrow: bool) {
        self.shapes.push(Shape::Line { points: points.to_vec(), arrow, trouble: true });
    }
    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &'static str, text: impl Into<String>) {
        self.shapes.push(Shape::Text { x, y, anchor, class, text: text.into() });
    }
}

impl Shape {
    fn moved(mut self, dx: f64, dy: f64) -> Self {
        match &mut self {
            Self::Box { x, y, .. }
            | Self::Icon { x, y, .. }
            | Self::Text { x, y, .. }
            | Self::Bar { x, y, .. }
            | Self::Badge { x, y, .. } => {
                *x += dx;
                *y += dy;
            }
            Self::Line { points, .. } => {
                for (x, y) in points {
                    *x += dx;
                    *y += dy;
                }
            }
        }
        self
    }
}
