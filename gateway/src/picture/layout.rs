//! Model -> paper: each block becomes a piece with a size and an axis, and pieces are put together from the inside out.
//! Top to bottom, ways and branches side by side, the road that errors take at the right. The same model gives the same picture.

use super::model::{Block, Kind, Model, Step};
use super::paper::{Anchor, Look, Piece, Shape};
use super::progress::Progress;
use super::text::{width, wrapped};
use std::sync::Arc;

const STEP_WIDTH: f64 = 250.0;
const NOTE_WIDTH: f64 = 200.0;
const PADDING: f64 = 10.0;
const ICON_ROOM: f64 = 34.0;
/// Between what stands one below the other: room for an arrow.
const GAP: f64 = 26.0;
/// Between what stands side by side.
const SIDE_GAP: f64 = 30.0;
pub const TITLE_SIZE: f64 = 14.0;
pub const LINE_SIZE: f64 = 12.0;
pub const SMALL_SIZE: f64 = 11.0;
const TITLE_STEP: f64 = 18.0;
const LINE_STEP: f64 = 16.0;
const CORNER: f64 = 8.0;

pub struct Layout<'a> {
    pub progress: Option<&'a Progress>,
}

impl Layout<'_> {
    /// The whole picture, from its start to its end.
    pub fn flow(&self, model: &Model) -> Piece {
        let start = self.pill(&model.start);
        let body = self.block(&model.body);
        let ends = body.ends;
        let mut pieces = vec![start, body];
        if !ends {
            pieces.push(self.pill("Done"));
        }
        self.stack(pieces)
    }

    fn block(&self, block: &Block) -> Piece {
        match block {
            Block::Step(step) => self.step(step),
            Block::Sequence(blocks) => self.stack(blocks.iter().filter(|block| !block.is_empty()).map(|block| self.block(block)).collect()),
            Block::Parallel { label, branches, .. } => self.parallel(label, branches),
            Block::Decision { question, ways, reference } => self.decision(question, ways, reference),
            Block::Guarded { body, label, road, .. } => self.guarded(body, label, road),
            Block::Frame { title, only_if, body, reference } => self.frame(title, only_if.as_deref(), body, reference),
            Block::Jump(text) => self.chip(text),
        }
    }

    /// One below the other, their axes in line.
    fn stack(&self, pieces: Vec<Piece>) -> Piece {
        let axis = pieces.iter().map(|piece| piece.axis).fold(0.0, f64::max);
        let right = pieces.iter().map(|piece| piece.w - piece.axis).fold(0.0, f64::max);
        let mut whole = Piece { w: axis + right, axis, ..Piece::default() };
        let mut y = 0.0;
        let count = pieces.len();
        for (index, piece) in pieces.into_iter().enumerate() {
            let (h, x, ends) = (piece.h, axis - piece.axis, piece.ends);
            whole.put(piece, x, y);
            y += h;
            whole.ends = ends;
            if index + 1 < count {
                if !ends {
                    whole.line(&[(axis, y), (axis, y + GAP)], true);
                }
                y += GAP;
            }
        }
        whole.h = y;
        whole
    }

    fn step(&self, step: &Step) -> Piece {
        let quiet = step.kind == Kind::Note;
        let box_width = if quiet { NOTE_WIDTH } else { STEP_WIDTH };
        let room = box_width - ICON_ROOM - 2.0 * PADDING;
        let title = wrapped(&step.title, TITLE_SIZE, !quiet, room, 3);
        let mut lines: Vec<(String, &'static str)> = Vec::new();
        for line in &step.lines {
            lines.extend(wrapped(line, LINE_SIZE, false, room, 4).into_iter().map(|line| (line, "line")));
        }
        if let Some(limit) = &step.limit {
            lines.extend(wrapped(limit, SMALL_SIZE, false, room, 2).into_iter().map(|line| (line, "small")));
        }
        if let Some(note) = self.progress.and_then(|progress| progress.note(&step.reference)) {
            lines.extend(wrapped(note, SMALL_SIZE, true, room, 2).into_iter().map(|line| (line, "now")));
        }
        let condition =
            step.only_if.as_ref().map(|only_if| wrapped(only_if, SMALL_SIZE, false, box_width - 2.0 * PADDING, 3)).unwrap_or_default();
        let above = if condition.is_empty() { 0.0 } else { condition.len() as f64 * 14.0 + 8.0 };
        let h = (title.len() as f64 * TITLE_STEP + lines.len() as f64 * LINE_STEP + 2.0 * PADDING).max(40.0);
        let mark = self.progress.and_then(|progress| progress.mark(&step.reference));
        let mut piece = Piece {
            w: box_width,
            h: above + h,
            axis: box_width / 2.0,
            ends: step.kind == Kind::Stop && step.only_if.is_none(),
            shapes: Vec::new(),
        };
        if above > 0.0 {
            let shape = Shape::Box {
                x: 0.0,
                y: 0.0,
                w: box_width,
                h: above + CORNER,
                look: Look::Condition,
                reference: "".into(),
                mark: None,
                label: step.only_if.clone().unwrap_or_default(),
            };
            piece.shapes.push(shape);
            for (at, line) in condition.into_iter().enumerate() {
                piece.text(PADDING, 14.0 + at as f64 * 14.0, Anchor::Start, "small", line);
            }
        }
        let label = std::iter::once(&step.title).chain(&step.lines).chain(&step.limit).cloned().collect::<Vec<_>>().join(". ");
        let look = Look::Step(step.kind);
        piece.shapes.push(Shape::Box { x: 0.0, y: above, w: box_width, h, look, reference: step.reference.clone(), mark, label });
        piece.shapes.push(Shape::Icon { x: PADDING, y: above + h / 2.0 - 12.0, kind: step.kind });
        let x = PADDING + ICON_ROOM;
        let mut y = above + (h - title.len() as f64 * TITLE_STEP - lines.len() as f64 * LINE_STEP) / 2.0 + 13.5;
        for line in title {
            piece.text(x, y, Anchor::Start, if quiet { "quiet" } else { "title" }, line);
            y += TITLE_STEP;
        }
        y -= 1.5;
        for (line, class) in lines {
            piece.text(x, y, Anchor::Start, class, line);
            y += LINE_STEP;
        }
        self.badge(&mut piece, &step.reference, box_width, above);
        piece
    }

    fn badge(&self, piece: &mut Piece, reference: &str, x: f64, y: f64) {
        if let Some(mark) = self.progress.and_then(|progress| progress.mark(reference)) {
            piece.shapes.push(Shape::Badge { x: x - 4.0, y: y + 4.0, mark });
        }
    }

    /// Beginning and end.
    fn pill(&self, text: &str) -> Piece {
        let lines = wrapped(text, LINE_SIZE, true, 260.0, 4);
        let w = lines.iter().map(|line| width(line, LINE_SIZE, true)).fold(60.0, f64::max) + 36.0;
        let h = lines.len() as f64 * LINE_STEP + 14.0;
        self.block_of_text(lines, w, h, Look::Pill, "pill", text)
    }

    /// Control goes elsewhere.
    fn chip(&self, text: &str) -> Piece {
        let lines = wrapped(text, SMALL_SIZE, false, 150.0, 3);
        let w = lines.iter().map(|line| width(line, SMALL_SIZE, false)).fold(40.0, f64::max) + 22.0;
        let h = lines.len() as f64 * 14.0 + 10.0;
        Piece { ends: true, ..self.block_of_text(lines, w, h, Look::Jump, "small", text) }
    }

    fn block_of_text(&self, lines: Vec<String>, w: f64, h: f64, look: Look, class: &'static str, label: &str) -> Piece {
        let mut piece = Piece { w, h, axis: w / 2.0, ..Piece::default() };
        piece.shapes.push(Shape::Box { x: 0.0, y: 0.0, w, h, look, reference: "".into(), mark: None, label: label.into() });
        let step = if class == "pill" { LINE_STEP } else { 14.0 };
        let first = (h - lines.len() as f64 * step) / 2.0 + step * 0.75;
        for (at, line) in lines.into_iter().enumerate() {
            piece.text(w / 2.0, first + at as f64 * step, Anchor::Middle, class, line);
        }
        piece
    }

    /// Pieces side by side, their tops in line; gives them with their places, and the width of all.
    fn side_by_side(pieces: Vec<Piece>) -> (Vec<(Piece, f64)>, f64) {
        let mut x = 0.0;
        let mut placed = Vec::new();
        for piece in pieces {
            let w = piece.w;
            placed.push((piece, x));
            x += w + SIDE_GAP;
        }
        (placed, (x - SIDE_GAP).max(0.0))
    }

    fn parallel(&self, label: &str, branches: &[Block]) -> Piece {
        let (placed, w) = Self::side_by_side(branches.iter().map(|branch| self.block(branch)).collect());
        let axes: Vec<f64> = placed.iter().map(|(piece, x)| x + piece.axis).collect();
        let (first, last) = (axes.first().copied().unwrap_or(0.0), axes.last().copied().unwrap_or(0.0));
        let mut whole = Piece { w, axis: (first + last) / 2.0, ..Piece::default() };
        let top = 8.0 + GAP;
        let height = placed.iter().map(|(piece, _)| piece.h).fold(0.0, f64::max);
        let bottom = top + height + GAP - 6.0;
        let text_width = width(label, SMALL_SIZE, true);
        let bar = (first - 24.0, last - first + 48.0);
        whole.shapes.push(Shape::Bar { x: bar.0, y: 0.0, w: bar.1 });
        // Where no arrow crosses it: between two branches, else behind the last one.
        let fits = axes.windows(2).find(|pair| pair[1] - pair[0] >= text_width + 24.0).map(|pair| pair[0]);
        let label_at = fits.unwrap_or(last) + 12.0;
        whole.text(label_at, 21.0, Anchor::Start, "label", label);
        let mut any_out = false;
        for (piece, x) in placed {
            let (axis, h, ends) = (x + piece.axis, piece.h, piece.ends);
            whole.line(&[(axis, 6.0), (axis, top)], true);
            whole.put(piece, x, top);
            if !ends {
                any_out = true;
                whole.line(&[(axis, top + h), (axis, bottom)], false);
            }
        }
        whole.shapes.push(Shape::Bar { x: bar.0, y: bottom, w: bar.1 });
        whole.h = bottom + 6.0;
        whole.ends = !any_out;
        fit(whole, &[(bar.0, bar.0 + bar.1), (label_at, label_at + text_width)])
    }

    fn decision(&self, question: &str, ways: &[(String, Block)], reference: &Arc<str>) -> Piece {
        let lines = wrapped(question, LINE_SIZE, true, 170.0, 4);
        let box_width = lines.iter().map(|line| width(line, LINE_SIZE, true)).fold(70.0, f64::max) + 52.0;
        let box_height = lines.len() as f64 * LINE_STEP + 20.0;
        let labels: Vec<Vec<String>> = ways.iter().map(|(words, _)| wrapped(words, SMALL_SIZE, true, 130.0, 2)).collect();
        let label_height = labels.iter().map(|lines| lines.len() as f64 * 14.0).fold(14.0, f64::max) + 14.0;
        let pieces = ways.iter().zip(&labels).map(|((_, way), label)| {
            let label_width = label.iter().map(|line| width(line, SMALL_SIZE, true)).fold(0.0, f64::max);
            let piece = if way.is_empty() { Piece { w: 24.0, axis: 12.0, ..Piece::default() } } else { self.block(way) };
            // Room for the words at the right of the line.
            let w = piece.w.max(piece.axis + label_width + 12.0);
            Piece { w, ..piece }
        });
        let (placed, w) = Self::side_by_side(pieces.collect());
        let axes: Vec<f64> = placed.iter().map(|(piece, x)| x + piece.axis).collect();
        let (first, last) = (axes.first().copied().unwrap_or(0.0), axes.last().copied().unwrap_or(0.0));
        let axis = (first + last) / 2.0;
        let mut whole = Piece { w, axis, ..Piece::default() };
        let mark = self.progress.and_then(|progress| progress.mark(reference));
        let x = axis - box_width / 2.0;
        whole.shapes.push(Shape::Box {
            x,
            y: 0.0,
            w: box_width,
            h: box_height,
            look: Look::Question,
            reference: reference.clone(),
            mark,
            label: question.into(),
        });
        for (at, line) in lines.iter().enumerate() {
            whole.text(axis, 22.0 + at as f64 * LINE_STEP, Anchor::Middle, "question", line.clone());
        }
        self.badge(&mut whole, reference, x + box_width - 10.0, 0.0);
        let rail = box_height + 14.0;
        let top = rail + label_height;
        whole.line(&[(axis, box_height), (axis, rail)], false);
        whole.line(&[(first, rail), (last, rail)], false);
        let height = placed.iter().map(|(piece, _)| piece.h).fold(0.0, f64::max);
        let joins = placed.iter().filter(|(piece, _)| !piece.ends).count();
        let bottom = top + height + 14.0;
        let mut out: Vec<f64> = Vec::new();
        for ((piece, x), label) in placed.into_iter().zip(labels) {
            let (at, h, ends) = (x + piece.axis, piece.h, piece.ends);
            whole.line(&[(at, rail), (at, top)], h > 0.0);
            for (line, text) in label.into_iter().enumerate() {
                whole.text(at + 6.0, rail + 16.0 + line as f64 * 14.0, Anchor::Start, "label", text);
            }
            whole.put(piece, x, top);
            if !ends {
                whole.line(&[(at, top + h), (at, bottom)], false);
                out.push(at);
            }
        }
        whole.ends = joins == 0;
        whole.h = if whole.ends { top + height } else { bottom };
        if !whole.ends {
            let left = out.iter().copied().fold(axis, f64::min);
            let right = out.iter().copied().fold(axis, f64::max);
            whole.line(&[(left, bottom), (right, bottom)], false);
        }
        fit(whole, &[(x, x + box_width)])
    }

    /// The body with the road that errors take at its right; both come together below.
    fn guarded(&self, body: &Block, label: &str, road: &Block) -> Piece {
        let body = self.block(body);
        let lines = wrapped(label, SMALL_SIZE, true, 150.0, 4);
        let w = lines.iter().map(|line| width(line, SMALL_SIZE, true)).fold(40.0, f64::max) + 22.0;
        let h = lines.len() as f64 * 14.0 + 10.0;
        let tag = self.block_of_text(lines, w, h, Look::Trouble, "trouble", label);
        let tag_height = tag.h;
        let empty = road.is_empty();
        let side = if empty { tag } else { self.trouble_stack(tag, self.block(road)) };
        // The road leaves where the body's box surely is, in the middle of a low one.
        let y = (body.h / 2.0 - tag_height / 2.0).clamp(0.0, 24.0);
        let x = body.w + 40.0;
        let mut whole = Piece { w: x + side.w, axis: body.axis, ..Piece::default() };
        let tag_left = x + side.axis - w / 2.0;
        let leaves = y + tag_height / 2.0;
        whole.trouble(&[(body.w, leaves), (tag_left, leaves)], true);
        let (body_height, body_ends) = (body.h, body.ends);
        let (side_axis, side_height) = (x + side.axis, side.h);
        let side_ends = side.ends || empty;
        whole.put(body, 0.0, 0.0);
        whole.put(side, x, y);
        let bottom = if side_ends { body_height.max(y + side_height) } else { body_height.max(y + side_height) + 14.0 };
        if !side_ends {
            whole.trouble(&[(side_axis, y + side_height), (side_axis, bottom), (whole.axis, bottom)], body_ends);
        }
        if !body_ends {
            whole.line(&[(whole.axis, body_height), (whole.axis, bottom)], false);
        }
        whole.ends = body_ends && side_ends;
        whole.h = bottom;
        whole
    }

    fn trouble_stack(&self, tag: Piece, road: Piece) -> Piece {
        let axis = tag.axis.max(road.axis);
        let mut whole = Piece { w: axis + (tag.w - tag.axis).max(road.w - road.axis), axis, ends: road.ends, ..Piece::default() };
        let (tag_x, road_x, tag_height) = (axis - tag.axis, axis - road.axis, tag.h);
        whole.h = tag_height + GAP + road.h;
        whole.put(tag, tag_x, 0.0);
        whole.trouble(&[(axis, tag_height), (axis, tag_height + GAP)], true);
        whole.put(road, road_x, tag_height + GAP);
        whole
    }

    fn frame(&self, title: &str, only_if: Option<&str>, body: &Block, reference: &Arc<str>) -> Piece {
        let inner = self.block(body);
        let room = inner.w.max(200.0);
        let title_lines = wrapped(title, LINE_SIZE, true, room, 3);
        let condition = only_if.map(|text| wrapped(text, SMALL_SIZE, false, room, 3)).unwrap_or_default();
        let head = title_lines.len() as f64 * LINE_STEP + condition.len() as f64 * 14.0 + 12.0;
        let text_width =
            title_lines.iter().map(|line| width(line, LINE_SIZE, true)).chain(condition.iter().map(|line| width(line, SMALL_SIZE, false)));
        let text_width = text_width.fold(0.0, f64::max);
        let pad = 16.0;
        let w = (inner.w + 2.0 * pad).max(text_width + 2.0 * pad);
        let left = (w - inner.w) / 2.0;
        let top = head + 16.0;
        let mark = self.progress.and_then(|progress| progress.mark(reference));
        let mut whole = Piece { w, h: top + inner.h + pad, axis: left + inner.axis, ends: inner.ends, shapes: Vec::new() };
        let label = only_if.map_or_else(|| title.to_owned(), |only_if| format!("{title}, {only_if}"));
        whole.shapes.push(Shape::Box { x: 0.0, y: 0.0, w, h: whole.h, look: Look::Frame, reference: reference.clone(), mark, label });
        let mut y = 17.0;
        for line in title_lines {
            whole.text(pad, y, Anchor::Start, "tab", line);
            y += LINE_STEP;
        }
        for line in condition {
            whole.text(pad, y - 2.0, Anchor::Start, "small", line);
            y += 14.0;
        }
        // From the frame's edge, where its words leave room.
        let from = if whole.axis > pad + text_width + 8.0 { 0.0 } else { head - 2.0 };
        whole.line(&[(whole.axis, from), (whole.axis, top)], true);
        let (axis, below) = (whole.axis, top + inner.h);
        if !inner.ends {
            whole.line(&[(axis, below), (axis, below + pad)], false);
        }
        whole.put(inner, left, top);
        self.badge(&mut whole, reference, w, 0.0);
        whole
    }
}

/// Makes the piece wide enough for what sticks out at its sides.
fn fit(piece: Piece, spans: &[(f64, f64)]) -> Piece {
    let left = spans.iter().map(|(from, _)| *from).fold(0.0, f64::min);
    let right = spans.iter().map(|(_, to)| *to).fold(piece.w, f64::max);
    let mut whole = Piece { w: right - left, h: piece.h, axis: piece.axis - left, ends: piece.ends, shapes: Vec::new() };
    whole.put(piece, -left, 0.0);
    whole
}
