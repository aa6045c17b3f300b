//! Spreadsheets (.xlsx) in the operator's folder. Appending rewrites the file under a lock through a temporary file and a
//! rename; what was appended for which effect stands in a hidden sheet of the same file, so a repeated append finds its row.
//!
//! Values and dates are kept; formatting is not, and a workbook with formulas is refused, because rewriting would lose them.
//! The folder is this gateway's own: put it on shared storage where another gateway may come to lead.

mod file;

use super::executors::{done, failed};
use calamine::Data;
use file::{Sheet, cell, read, text, value, write};
use parking_lot::Mutex;
use spalla_shared::engine::{Outcome, Problem};
use spalla_shared::topic::is_level;
use spalla_shared::value::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of one sheet. A register that is larger belongs into a database.
pub const ROWS_MAX: usize = 100_000;
pub const COLUMNS_MAX: usize = 256;
/// Appends that are remembered per workbook: far more than can be open.
const KEYS_MAX: usize = 10_000;
/// Hidden; columns: key, sheet, row.
const JOURNAL: &str = "_spalla";

#[derive(Clone)]
pub struct Workbooks {
    folder: PathBuf,
    /// One rewrite at a time: two at once would lose a row.
    lock: Arc<Mutex<()>>,
}

impl Workbooks {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, lock: Arc::default() }
    }

    /// Adds one row once per `key`. `values`: an object by header (new headers are added), or an array by place.
    /// Output: `{row}`, from 1, the header included.
    pub(super) async fn append(&self, workbook: &str, sheet: &str, values: &Value, key: &str) -> Outcome {
        let (lock, sheet, values, key) = (self.lock.clone(), sheet.to_owned(), values.clone(), key.to_owned());
        let path = match self.path(workbook) {
            Ok(path) => path,
            Err(problem) => return failed(problem),
        };
        let row = blocking(move || {
            let _one = lock.lock();
            append(&path, &sheet, &values, &key)
        })
        .await;
        match row {
            Ok(row) => done([("row", Value::Int(i64::try_from(row).unwrap_or(i64::MAX)))]),
            Err(problem) => failed(problem),
        }
    }

    /// The first row whose columns equal all `conditions`, as an object by header; null where there is none.
    pub(super) async fn find(&self, workbook: &str, sheet: Option<&str>, conditions: &Value) -> Outcome {
        let (sheet, conditions) = (sheet.map(str::to_owned), conditions.clone());
        let path = match self.path(workbook) {
            Ok(path) => path,
            Err(problem) => return failed(problem),
        };
        match blocking(move || find(&path, sheet.as_deref(), &conditions)).await {
            Ok(output) => Outcome::Done { output },
            Err(problem) => failed(problem),
        }
    }

    fn path(&self, workbook: &str) -> Result<PathBuf, Problem> {
        if !is_level(workbook) || workbook.starts_with('.') || workbook.contains('\\') {
            return Err(configuration(format!("`{workbook}` cannot name a workbook")));
        }
        Ok(self.folder.join(format!("{workbook}.xlsx")))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Problem::standard("runtime", 500, format!("the workbook could not be handled: {error}"))),
    }
}

fn append(path: &Path, sheet: &str, values: &Value, key: &str) -> Result<usize, Problem> {
    let mut sheets = if path.exists() { read(path)? } else { Vec::new() };
    let journal = place_of(&mut sheets, JOURNAL);
    if let Some(row) = sheets.get(journal).and_then(|journal| journaled(journal, key)) {
        return Ok(row);
    }
    let target = place_of(&mut sheets, sheet);
    let rows = match sheets.get_mut(target) {
        Some(sheet) => &mut sheet.rows,
        None => return Err(Problem::standard("runtime", 500, "the sheet is gone")),
    };
    let line = match values {
        Value::Array(items) => items.iter().map(cell).collect(),
        Value::Object(fields) => {
            if rows.is_empty() {
                rows.push(Vec::new());
            }
            let mut line = Vec::new();
            if let Some(header) = rows.first_mut() {
                for (name, value) in fields.iter() {
                    let column = header.iter().position(|cell| text(cell) == **name).unwrap_or_else(|| {
                        header.push(Data::String(name.to_string()));
                        header.len() - 1
                    });
                    if line.len() <= column {
                        line.resize(column + 1, Data::Empty);
                    }
                    if let Some(place) = line.get_mut(column) {
                        *place = cell(value);
                    }
                }
            }
            line
        }
        other => {
            return Err(Problem::standard("validation", 400, format!("values must be an object or an array, not {}", other.type_name())));
        }
    };
    if line.len() > COLUMNS_MAX || rows.len() >= ROWS_MAX {
        return Err(Problem::own("limit", 507, format!("sheet `{sheet}` is full: at most {ROWS_MAX} rows of {COLUMNS_MAX} columns")));
    }
    rows.push(line);
    let row = rows.len();
    if let Some(journal) = sheets.get_mut(journal) {
        if journal.rows.len() >= KEYS_MAX {
            journal.rows.remove(0);
        }
        journal.rows.push(vec![Data::String(key.into()), Data::String(sheet.into()), Data::Int(i64::try_from(row).unwrap_or(i64::MAX))]);
    }
    write(path, &sheets)?;
    Ok(row)
}

fn journaled(journal: &Sheet, key: &str) -> Option<usize> {
    let line = journal.rows.iter().rev().find(|line| line.first().is_some_and(|cell| text(cell) == key))?;
    text(line.get(2)?).parse().ok()
}

/// The place of sheet `name`, which is added where it is missing.
fn place_of(sheets: &mut Vec<Sheet>, name: &str) -> usize {
    sheets.iter().position(|sheet| sheet.name == name).unwrap_or_else(|| {
        sheets.push(Sheet { name: name.to_owned(), rows: Vec::new() });
        sheets.len() - 1
    })
}

fn find(path: &Path, sheet: Option<&str>, conditions: &Value) -> Result<Value, Problem> {
    let Some(conditions) = conditions.as_object() else {
        return Err(Problem::standard("validation", 400, "`where` must be an object of columns and values"));
    };
    if !path.exists() {
        return Err(configuration(format!("there is no workbook `{}`", stem(path))));
    }
    let sheets = read(path)?;
    let found = match sheet {
        Some(name) => sheets.iter().find(|sheet| sheet.name == name),
        None => sheets.iter().find(|sheet| sheet.name != JOURNAL),
    };
    let Some(found) = found else { return Err(configuration(format!("there is no such sheet in workbook `{}`", stem(path)))) };
    let Some((header, rows)) = found.rows.split_first() else { return Ok(Value::Null) };
    let names: Vec<String> = header.iter().map(text).collect();
    for wanted in conditions.keys() {
        if !names.iter().any(|name| *name == **wanted) {
            return Err(configuration(format!("sheet `{}` has no column `{wanted}`", found.name)));
        }
    }
    let row = rows.iter().find(|row| {
        conditions.iter().all(|(column, wanted)| {
            let place = names.iter().position(|name| *name == **column);
            let cell = place.and_then(|place| row.get(place)).unwrap_or(&Data::Empty);
            // A plate or an order number may have been typed as text or as a number.
            value(cell) == *wanted || (!wanted.is_null() && text(cell) == plain(wanted))
        })
    });
    Ok(row.map_or(Value::Null, |row| {
        let cells = names.iter().enumerate().filter(|(_, name)| !name.is_empty());
        Value::object(cells.map(|(place, name)| (name.clone(), row.get(place).map_or(Value::Null, value))))
    }))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_json(), str::to_owned)
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn configuration(detail: impl AsRef<str>) -> Problem {
    Problem::standard("configuration", 500, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rust_xlsxwriter::Workbook;

    fn output(outcome: Outcome) -> Value {
        match outcome {
            Outcome::Done { output } => output,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_append_counts_once_per_key_and_leaves_other_sheets_alone() {
        let folder = tempfile::tempdir().unwrap();
        let workbooks = Workbooks::new(folder.path().into());
        let row = |name: &str, n: i64| Value::object([("visitor", Value::from(name)), ("badge", Value::Int(n))]);
        let first = output(workbooks.append("register", "2026", &row("Ada", 7), "k1").await);
        assert_eq!(first, Value::object([("row", Value::Int(2))]), "row 1 is the header");
        assert_eq!(output(workbooks.append("register", "2026", &row("Ada", 7), "k1").await), first, "the same effect again");
        output(workbooks.append("register", "2026", &row("Grace", 8), "k2").await);
        output(workbooks.append("register", "log", &Value::array(vec![Value::from("a"), Value::Float(1.5)]), "k3").await);
        let sheets = read(&folder.path().join("register.xlsx")).unwrap();
        let rows = |name: &str| sheets.iter().find(|sheet| sheet.name == name).unwrap().rows.len();
        assert_eq!((rows("2026"), rows("log")), (3, 1));
        // A workbook on another process: nothing is remembered in memory.
        let again = Workbooks::new(folder.path().into());
        let found = again.find("register", Some("2026"), &Value::object([("badge", Value::Int(8))])).await;
        assert_eq!(output(found), row("Grace", 8));
        let by_text = again.find("register", None, &Value::object([("badge", Value::from("7"))])).await;
        assert_eq!(output(by_text), row("Ada", 7));
        assert_eq!(output(again.find("register", None, &Value::object([("badge", Value::Int(9))])).await), Value::Null);
    }

    #[tokio::test]
    async fn what_writing_would_lose_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sums.xlsx");
        let mut workbook = Workbook::new();
        workbook.add_worksheet().write_formula(0, 0, "=1+1").unwrap();
        workbook.save(&path).unwrap();
        let before = std::fs::read(&path).unwrap();
        let workbooks = Workbooks::new(folder.path().into());
        let refused = workbooks.append("sums", "Sheet1", &Value::array(vec![Value::Int(1)]), "k").await;
        assert!(matches!(&refused, Outcome::Failed { problem } if problem.detail.as_deref().is_some_and(|d| d.contains("formulas"))));
        assert_eq!(std::fs::read(&path).unwrap(), before);
        let escaped = workbooks.append("../sums", "Sheet1", &Value::array(vec![]), "k").await;
        assert!(matches!(escaped, Outcome::Failed { .. }));
    }
}
