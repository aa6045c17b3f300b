//! One finding for people: what, where, the line itself with a mark under the place, how to mend it.

use spalla_shared::flow::{Diagnostic, lines};
use std::io::IsTerminal;

/// Characters of a source line that are shown; of a longer one, those around the place.
const LINE_WIDTH_MAX: usize = 120;

pub struct Painter {
    colours: bool,
}

impl Painter {
    /// Colours on a terminal, unless `NO_COLOR` is set.
    pub fn for_stdout() -> Self {
        Self { colours: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()) }
    }

    pub fn paint(&self, file: &str, text: &str, diagnostic: &Diagnostic) -> String {
        let (word, colour) = if diagnostic.is_error() { ("error", "31;1") } else { ("warning", "33;1") };
        let mut out = format!("{}: {}\n", self.in_colour(colour, &format!("{word}[{}]", diagnostic.code)), diagnostic.message);
        let number = diagnostic.line.to_string();
        let margin = " ".repeat(number.len());
        out += &format!("{margin}{} {file}:{}:{}\n", self.in_colour("34;1", "-->"), diagnostic.line, diagnostic.column);
        if let Some((line, start, width)) = excerpt(text, diagnostic.line, diagnostic.column) {
            let bar = self.in_colour("34;1", "|");
            let mark = format!("{}{}", " ".repeat(start), self.in_colour(colour, &"^".repeat(width)));
            out += &format!("{margin} {bar}\n{} {bar} {line}\n{margin} {bar} {mark}\n", self.in_colour("34;1", &number));
        }
        if let Some(suggestion) = &diagnostic.suggestion {
            out += &format!("{margin} {} {suggestion}\n", self.in_colour("34;1", "="));
        }
        out
    }

    fn in_colour(&self, code: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The line, where the mark begins below it, and how wide the mark is; all in characters.
fn excerpt(text: &str, line: u32, column: u32) -> Option<(String, usize, usize)> {
    let index = usize::try_from(line.checked_sub(1)?).ok()?;
    let at = usize::try_from(column.checked_sub(1)?).ok()?;
    // A tab is as wide as the reader's terminal says: one blank is certain.
    let all: Vec<char> = lines(text).nth(index)?.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let at = at.min(all.len());
    let width = token_width(&all[at..]);
    if all.len() <= LINE_WIDTH_MAX {
        return Some((all.iter().collect(), at, width));
    }
    let from = at.saturating_sub(LINE_WIDTH_MAX / 2);
    let shown: String = all[from..].iter().take(LINE_WIDTH_MAX).collect();
    let before = if from > 0 { "… " } else { "" };
    let behind = if from + LINE_WIDTH_MAX < all.len() { " …" } else { "" };
    let start = at - from + before.chars().count();
    Some((format!("{before}{shown}{behind}"), start, width.min(LINE_WIDTH_MAX.saturating_sub(at - from)).max(1)))
}

/// How far the word, or the text in quotes, at the beginning of `rest` goes.
fn token_width(rest: &[char]) -> usize {
    let quoted = rest.first().filter(|first| matches!(first, '\'' | '"'));
    let width = match quoted {
        Some(quote) => rest.iter().skip(1).position(|c| c == quote).map(|end| end + 2),
        None => rest.iter().position(|c| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '$' | '@'))),
    };
    width.unwrap_or(rest.len()).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_under_the_place() {
        let text = "do:\n  - first: { set: { x: 1 }, then: secnd }\n";
        let diagnostic =
            Diagnostic::error("missing-target", "", "there is no task `secnd`").suggest("did you mean `second`?").at_line(2, 35);
        let painted = Painter { colours: false }.paint("a.yaml", text, &diagnostic);
        let wanted = "error[missing-target]: there is no task `secnd`
 --> a.yaml:2:35
  |
2 |   - first: { set: { x: 1 }, then: secnd }
  |                                   ^^^^^
  = did you mean `second`?
";
        assert_eq!(painted, wanted);
    }

    /// Found by fuzzing: YAML ends a line at a carriage return, and the mark stood under another line or under none.
    #[test]
    fn a_carriage_return_ends_a_line_where_yaml_says_so() {
        let text = "document: {}\rdo:\r\n  - a: \u{1}\n";
        let found = spalla_shared::flow::check(text).expect_err("no flow");
        let found = found.first().expect("a reason");
        assert_eq!(found.line, 3, "{found:?}");
        let painted = Painter { colours: false }.paint("f", text, found);
        assert!(painted.contains("3 |   - a:"), "{painted}");
    }

    #[test]
    fn places_outside_of_the_text_and_long_lines_do_no_harm() {
        for (text, line, column) in [("", 1, 1), ("a", 1, 9), ("a", 9, 1), ("a", 0, 0), ("ü: 'ö", 1, 4), ("\t\u{1b}[31m", 1, 2)] {
            let painted = Painter { colours: false }.paint("f", text, &Diagnostic::error("x", "", "m").at_line(line, column));
            assert!(painted.starts_with("error[x]: m\n") && !painted.contains('\u{1b}'), "{painted}");
        }
        let long = format!("{}word{}", "x ".repeat(5_000), " y".repeat(5_000));
        let (line, start, width) = excerpt(&long, 1, 10_001).expect("an excerpt");
        assert!(line.chars().count() < LINE_WIDTH_MAX + 6 && line.starts_with('…') && line.ends_with('…'));
        assert_eq!(line.chars().skip(start).take(width).collect::<String>(), "word");
    }
}
