//! Paper -> SVG: one file without scripts, fonts or links, readable at its own size, with words for those who listen to it.

use super::layout::{LINE_SIZE, SMALL_SIZE, TITLE_SIZE};
use super::model::{Kind, Model};
use super::paper::{Anchor, Look, Piece, Shape};
use super::progress::{Mark, Progress};
use super::{describe, text};
use std::fmt::Write;

const MARGIN: f64 = 24.0;
const HEAD_SIZE: f64 = 20.0;
const CORNER: f64 = 8.0;

/// The picture of a laid-out flow. `kinds`: what stands in the legend.
pub fn svg(model: &Model, piece: Piece, kinds: &[(&'static str, Kind)], progress: Option<&Progress>) -> String {
    let room = piece.w.max(420.0);
    let head = text::wrapped(&model.title, HEAD_SIZE, true, room, 3);
    let mut under: Vec<String> = vec![model.flow.clone()];
    under.extend(model.limit.clone());
    under.extend(progress.map(|progress| progress.headline.clone()));
    let under: Vec<String> = under.iter().flat_map(|line| text::wrapped(line, LINE_SIZE, false, room, 2)).collect();
    let head_height = head.len() as f64 * 26.0 + under.len() as f64 * 17.0 + 16.0;
    let legend = legend(kinds, progress.is_some(), room);
    let width = room + 2.0 * MARGIN;
    let top = MARGIN + head_height + legend.1 + 10.0;
    let height = top + piece.h + MARGIN;
    let mut out = Out::new(width, height, model, progress);
    let mut y = MARGIN + 16.0;
    for line in &head {
        out.text(MARGIN, y, Anchor::Start, "head", line);
        y += 26.0;
    }
    y -= 4.0;
    for line in &under {
        out.text(MARGIN, y, Anchor::Start, "under", line);
        y += 17.0;
    }
    let mut whole = Piece::default();
    whole.put(legend.0, MARGIN, MARGIN + head_height);
    let x = MARGIN + (room - piece.w) / 2.0;
    whole.put(piece, x, top);
    out.shapes(&whole.shapes);
    out.text.push_str("</svg>\n");
    out.text
}

/// Icons with their words, in as many rows as they need; and its height.
fn legend(kinds: &[(&'static str, Kind)], progress: bool, room: f64) -> (Piece, f64) {
    let mut piece = Piece::default();
    let (mut x, mut y) = (0.0, 0.0);
    let mut place = |w: f64| {
        if x > 0.0 && x + w > room {
            (x, y) = (0.0, y + 28.0);
        }
        let here = (x, y);
        x += w;
        here
    };
    for (word, kind) in kinds {
        let (x, y) = place(text::width(word, SMALL_SIZE, false) + 46.0);
        piece.shapes.push(Shape::Icon { x, y, kind: *kind });
        piece.text(x + 29.0, y + 16.0, Anchor::Start, "small", *word);
    }
    if progress {
        for mark in [Mark::Done, Mark::Here, Mark::Stuck, Mark::Failed, Mark::Skipped] {
            let (x, y) = place(text::width(mark.word(), SMALL_SIZE, false) + 42.0);
            piece.shapes.push(Shape::Badge { x: x + 10.0, y: y + 12.0, mark });
            piece.text(x + 24.0, y + 16.0, Anchor::Start, "small", mark.word());
        }
    }
    (piece, y + 34.0)
}

struct Out {
    text: String,
}

impl Out {
    fn new(width: f64, height: f64, model: &Model, progress: Option<&Progress>) -> Self {
        let (width, height) = (width.ceil(), height.ceil());
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-labelledby=\"title desc\">\n<title id=\"title\">{}</title>\n",
            escaped(&model.title)
        );
        let now = progress.map(|progress| format!(" {}.", progress.headline)).unwrap_or_default();
        let _ = writeln!(text, "<desc id=\"desc\">{}</desc>", escaped(&format!("Flow {}. {}.{now}", model.flow, model.start)));
        let _ = writeln!(text, "<style>{}</style>", style());
        text.push_str(
            "<defs><marker id=\"arrow\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
             <path d=\"M0 0L10 5L0 10z\" fill=\"#5b6572\"/></marker>\
             <marker id=\"trouble\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
             <path d=\"M0 0L10 5L0 10z\" fill=\"#c2570c\"/></marker></defs>\n",
        );
        let _ = writeln!(text, "<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>");
        Self { text }
    }

    /// Frames lie below everything, boxes above lines, signs on top.
    fn shapes(&mut self, shapes: &[Shape]) {
        let layer = |shape: &Shape| match shape {
            Shape::Box { look: Look::Frame, .. } => 0,
            Shape::Line { .. } | Shape::Bar { .. } => 1,
            Shape::Box { look: Look::Condition, .. } => 2,
            Shape::Box { .. } => 3,
            Shape::Icon { .. } | Shape::Text { .. } => 4,
            Shape::Badge { .. } => 5,
        };
        for wanted in 0..=5 {
            // In their order, so that an outer frame lies below an inner one.
            shapes.iter().filter(|shape| layer(shape) == wanted).for_each(|shape| self.shape(shape));
        }
    }

    fn shape(&mut self, shape: &Shape) {
        match shape {
            Shape::Box { x, y, w, h, look, reference, mark, label } => {
                let class = class_of(*look);
                let state = mark.map(|mark| format!(" {}", mark_class(mark))).unwrap_or_default();
                let said = mark.map(|mark| format!(" ({})", mark.word())).unwrap_or_default();
                let reference = if reference.is_empty() { String::new() } else { format!(" data-task=\"{}\"", escaped(reference)) };
                let radius = match look {
                    Look::Pill | Look::Jump => h / 2.0,
                    _ => CORNER,
                };
                let _ = write!(self.text, "<g class=\"{class}{state}\"{reference}>");
                if !label.is_empty() {
                    let _ = write!(self.text, "<title>{}</title>", escaped(&format!("{label}{said}")));
                }
                if *look == Look::Question {
                    let points = [
                        (x + 14.0, *y),
                        (x + w - 14.0, *y),
                        (x + w, y + h / 2.0),
                        (x + w - 14.0, y + h),
                        (x + 14.0, y + h),
                        (*x, y + h / 2.0),
                    ];
                    let points: Vec<String> = points.iter().map(|(x, y)| format!("{},{}", round(*x), round(*y))).collect();
                    let _ = writeln!(self.text, "<polygon points=\"{}\"/></g>", points.join(" "));
                } else {
                    let radius = radius.min(h / 2.0);
                    let _ = writeln!(
                        self.text,
                        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"{}\"/></g>",
                        round(*x),
                        round(*y),
                        round(*w),
                        round(*h),
                        round(radius)
                    );
                }
            }
            Shape::Icon { x, y, kind } => {
                let _ = writeln!(
                    self.text,
                    "<g class=\"icon\" transform=\"translate({} {})\" aria-hidden=\"true\"><circle cx=\"12\" cy=\"12\" r=\"12\" fill=\"{}\"/><g class=\"ink\">{}</g></g>",
                    round(*x),
                    round(*y),
                    colour(*kind).0,
                    icon(*kind)
                );
            }
            Shape::Text { x, y, anchor, class, text } => self.text(*x, *y, *anchor, class, text),
            Shape::Line { points, arrow, trouble } => {
                let mut path = String::new();
                for (at, (x, y)) in points.iter().enumerate() {
                    let _ = write!(path, "{}{} {}", if at == 0 { "M" } else { "L" }, round(*x), round(*y));
                }
                let class = if *trouble { "road" } else { "way" };
                let marker = match (arrow, trouble) {
                    (true, true) => " marker-end=\"url(#trouble)\"",
                    (true, false) => " marker-end=\"url(#arrow)\"",
                    _ => "",
                };
                let _ = writeln!(self.text, "<path class=\"{class}\" d=\"{path}\"{marker}/>");
            }
            Shape::Bar { x, y, w } => {
                let _ = writeln!(
                    self.text,
                    "<rect class=\"bar\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"6\" rx=\"3\"/>",
                    round(*x),
                    round(*y),
                    round(*w)
                );
            }
            Shape::Badge { x, y, mark } => {
                let sign = match mark {
                    Mark::Done => "<path d=\"M-4 0L-1 3L4.5 -3.5\"/>",
                    Mark::Here => "<path d=\"M-2.5 -4L4 0L-2.5 4z\" fill=\"#fff\"/>",
                    Mark::Stuck => "<path d=\"M0 -4.5V1M0 4V4.2\"/>",
                    Mark::Failed => "<path d=\"M-3.2 -3.2L3.2 3.2M3.2 -3.2L-3.2 3.2\"/>",
                    Mark::Skipped => "<path d=\"M-4 0H4\"/>",
                };
                let _ = writeln!(
                    self.text,
                    "<g class=\"badge {}\" transform=\"translate({} {})\"><circle r=\"9\"/>{sign}</g>",
                    mark_class(*mark),
                    round(*x),
                    round(*y)
                );
            }
        }
    }

    fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str) {
        let anchor = if anchor == Anchor::Middle { " text-anchor=\"middle\"" } else { "" };
        let _ = writeln!(self.text, "<text class=\"{class}\" x=\"{}\" y=\"{}\"{anchor}>{}</text>", round(x), round(y), escaped(text));
    }
}

/// A tenth of a pixel is fine enough, and the same on every machine.
fn round(number: f64) -> String {
    let tenths = (number * 10.0).round() / 10.0;
    if tenths.fract() == 0.0 { format!("{tenths:.0}") } else { format!("{tenths:.1}") }
}

/// For text and attributes; characters that XML does not allow become blanks.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => out.push(' '),
            letter if letter.is_control() => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}

fn class_of(look: Look) -> String {
    match look {
        Look::Step(kind) => format!("step {}", describe::kind_word(kind).replace(' ', "-")),
        Look::Frame => "frame".into(),
        Look::Question => "question".into(),
        Look::Pill => "pill".into(),
        Look::Jump => "jump".into(),
        Look::Trouble => "trouble".into(),
        Look::Condition => "condition".into(),
    }
}

fn mark_class(mark: Mark) -> &'static str {
    match mark {
        Mark::Done => "is-done",
        Mark::Skipped => "is-skipped",
        Mark::Failed => "is-failed",
        Mark::Here => "is-here",
        Mark::Stuck => "is-stuck",
    }
}

/// Strong and pale colour of a kind; the strong one has a contrast of at least 4.5 to white.
fn colour(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Person => ("#7a3e9d", "#f7f0fb"),
        Kind::Device => ("#1f5fa8", "#eef5fc"),
        Kind::Access => ("#0f6b6b", "#ebf7f6"),
        Kind::Resource => ("#2f6b2f", "#eff7ee"),
        Kind::Message => ("#8a5a00", "#fdf6e7"),
        Kind::System => ("#4a5564", "#f2f4f7"),
        Kind::Wait => ("#5c5470", "#f4f3f8"),
        Kind::EventIn | Kind::EventOut => ("#a23b5a", "#fcf0f4"),
        Kind::SubFlow => ("#3b4fa0", "#f0f2fc"),
        Kind::Note => ("#6b7280", "#fafafa"),
        Kind::Stop => ("#b42318", "#fef1f0"),
    }
}

const KINDS: [Kind; 12] = [
    Kind::Person,
    Kind::Device,
    Kind::Access,
    Kind::Resource,
    Kind::Message,
    Kind::System,
    Kind::Wait,
    Kind::EventIn,
    Kind::EventOut,
    Kind::SubFlow,
    Kind::Note,
    Kind::Stop,
];

/// White lines on the coloured disc, in a square of 24.
fn icon(kind: Kind) -> &'static str {
    match kind {
        Kind::Person => "<circle cx=\"12\" cy=\"9\" r=\"3\"/><path d=\"M6.5 18.5C6.5 15 9 13.5 12 13.5S17.5 15 17.5 18.5\"/>",
        Kind::Device => "<rect x=\"7.5\" y=\"5\" width=\"9\" height=\"14\" rx=\"1\"/><path d=\"M14 12V12.5\"/>",
        Kind::Access => "<circle cx=\"9\" cy=\"12\" r=\"3\"/><path d=\"M12 12H18.5M16 12V14.5M18.5 12V14\"/>",
        Kind::Resource => "<path d=\"M9.5 18.5V5.5H13A3.6 3.6 0 0 1 13 13H9.5\"/>",
        Kind::Message => "<rect x=\"5.5\" y=\"7.5\" width=\"13\" height=\"9.5\" rx=\"1\"/><path d=\"M5.5 8.5L12 13L18.5 8.5\"/>",
        Kind::System => {
            "<circle cx=\"12\" cy=\"12\" r=\"6.5\"/><path d=\"M5.5 12H18.5M12 5.5C8.5 9 8.5 15 12 18.5C15.5 15 15.5 9 12 5.5\"/>"
        }
        Kind::Wait => "<circle cx=\"12\" cy=\"12\" r=\"6.5\"/><path d=\"M12 8V12L15 14\"/>",
        Kind::EventIn => "<path d=\"M8 15.5V11.5A4 4 0 0 1 16 11.5V15.5L17.5 17H6.5zM12 5.5V7M11 19H13\"/>",
        Kind::EventOut => "<path d=\"M6 10.5H9L15 7V17L9 13.5H6zM17.5 9.5C18.7 11 18.7 13 17.5 14.5\"/>",
        Kind::SubFlow => {
            "<rect x=\"6\" y=\"6\" width=\"8\" height=\"5\" rx=\"1\"/><rect x=\"10\" y=\"14\" width=\"8\" height=\"5\" rx=\"1\"/><path d=\"M8 11V16.5H10\"/>"
        }
        Kind::Note => "<path d=\"M7.5 17L8.2 14L15 7.2L17 9.2L10.4 16.2zM7 19H17\"/>",
        Kind::Stop => "<path d=\"M9.5 5.5H14.5L18.5 9.5V14.5L14.5 18.5H9.5L5.5 14.5V9.5zM9 12H15\"/>",
    }
}

fn style() -> String {
    let mut css = format!(
        "text{{font-family:Inter,\"Segoe UI\",Roboto,\"Helvetica Neue\",\"DejaVu Sans\",sans-serif;fill:#1f2933;font-size:{LINE_SIZE}px}}\
         .head{{font-size:{HEAD_SIZE}px;font-weight:600}}.under{{fill:#52606d}}\
         .title{{font-size:{TITLE_SIZE}px;font-weight:600}}.quiet{{font-size:{TITLE_SIZE}px;fill:#3e4c59}}\
         .small{{font-size:{SMALL_SIZE}px;fill:#52606d}}.label{{font-size:{SMALL_SIZE}px;font-weight:600;fill:#3e4c59}}\
         .now{{font-size:{SMALL_SIZE}px;font-weight:600;fill:#0b5cad}}\
         .tab,.pill text,text.pill,text.question{{font-weight:600}}text.trouble{{font-size:{SMALL_SIZE}px;font-weight:600;fill:#8f3d06}}\
         .ink *{{fill:none;stroke:#fff;stroke-width:1.5;stroke-linecap:round;stroke-linejoin:round}}\
         .way{{fill:none;stroke:#5b6572;stroke-width:1.6}}.road{{fill:none;stroke:#c2570c;stroke-width:1.6;stroke-dasharray:5 4}}\
         .bar{{fill:#3e4c59}}rect,polygon{{stroke-width:1.3}}\
         .frame rect{{fill:#f8fafc;fill-opacity:.75;stroke:#9aa5b1;stroke-dasharray:2 3}}\
         .question polygon{{fill:#fff8db;stroke:#a67c00}}.pill rect{{fill:#e4e7eb;stroke:#52606d}}.jump rect{{fill:#fff;stroke:#7b8794;stroke-dasharray:3 3}}\
         .trouble rect{{fill:#fff1e6;stroke:#c2570c}}.condition rect{{fill:#fffdf2;stroke:#a67c00;stroke-dasharray:3 3}}\
         .badge circle{{stroke:#fff;stroke-width:1.5}}.badge path{{fill:none;stroke:#fff;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}}"
    );
    for kind in KINDS {
        let (strong, pale) = colour(kind);
        let class = describe::kind_word(kind).replace(' ', "-");
        let _ = write!(css, ".{class} rect{{fill:{pale};stroke:{strong}}}");
    }
    for (class, strong, width) in [
        ("is-done", "#2f7d32", 2.0),
        ("is-here", "#0b5cad", 3.5),
        ("is-stuck", "#b42318", 3.5),
        ("is-failed", "#b42318", 2.0),
        ("is-skipped", "#7b8794", 1.3),
    ] {
        let _ =
            write!(css, "g.{class}>rect,g.{class}>polygon{{stroke:{strong};stroke-width:{width}}}.badge.{class} circle{{fill:{strong}}}");
    }
    css.push_str("g.is-skipped>rect{fill:#f1f3f5;stroke-dasharray:4 3}g.is-here>rect{fill:#e3f0fd}g.is-stuck>rect{fill:#fdeceb}");
    css
}
