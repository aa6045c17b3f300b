//! What the command line prints: tables for people, JSON for scripts.

use serde_json::Value;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// `println!` for the command line: a reader that has gone (`| head`) is no error.
macro_rules! outln {
    ($($text:tt)*) => { $crate::cli::output::line(format_args!($($text)*)) };
}
pub(crate) use outln;

/// Whoever read has gone: nothing more is printed, and the command ends as it would have, with its own exit code.
static CLOSED: AtomicBool = AtomicBool::new(false);

pub fn line(text: std::fmt::Arguments) {
    if !is_closed() && writeln!(std::io::stdout(), "{text}").is_err() {
        CLOSED.store(true, Ordering::Relaxed);
    }
}

/// For what prints without end.
pub fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// A table with aligned columns; nothing but the header for no rows is of use to nobody, so `empty` is said instead.
pub fn table(header: &[&str], rows: &[Vec<String>], empty: &str) {
    if rows.is_empty() {
        outln!("{empty}");
        return;
    }
    let mut widths: Vec<usize> = header.iter().map(|title| title.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let mut out = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            out.push_str(cell);
            out.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count()));
        }
        outln!("{}", out.trim_end());
    };
    line(header.to_vec());
    for row in rows {
        line(row.iter().map(String::as_str).collect());
    }
}

/// The title of a column, and what stands below it for an item.
pub type Column = (&'static str, fn(&Value) -> String);

/// A list as the API gives it: as JSON whole, else one row for each item.
pub fn list(body: &Value, json: bool, columns: &[Column], empty: &str) {
    warn_if_stale(body);
    if json {
        return self::json(body);
    }
    let header: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
    let items = body["data"].as_array().into_iter().flatten();
    let rows: Vec<Vec<String>> = items.map(|item| columns.iter().map(|(_, cell)| cell(item)).collect()).collect();
    table(&header, &rows, empty);
}

/// A JSON value as a table cell.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub fn json(value: &Value) {
    outln!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Says on stderr when what was read may be old.
pub fn warn_if_stale(body: &Value) {
    if body["freshness"]["stale"] == true {
        eprintln!("warning: this gateway hears of no leader; what it shows may be old (applied index {})", body["freshness"]["applied"]);
    }
}
