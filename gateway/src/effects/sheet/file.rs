//! A workbook file as rows of cells, and back.

use super::{COLUMNS_MAX, JOURNAL, ROWS_MAX, configuration, stem};
use calamine::{Data, Range, Reader, SheetType, Xlsx, open_workbook};
use rust_xlsxwriter::{ExcelDateTime, Format, Workbook, Worksheet};
use spalla_shared::engine::Problem;
use spalla_shared::time::Timestamp;
use spalla_shared::value::Value;
use std::io::Write;
use std::path::Path;

const FILE_LEN_MAX: u64 = 64 * 1024 * 1024;

/// A sheet in memory.
pub(super) struct Sheet {
    pub name: String,
    pub rows: Vec<Vec<Data>>,
}

pub(super) fn read(path: &Path) -> Result<Vec<Sheet>, Problem> {
    let unreadable = |error: String| configuration(format!("workbook `{}` cannot be read: {error}", stem(path)));
    let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if length > FILE_LEN_MAX {
        return Err(unreadable(format!("it is larger than {FILE_LEN_MAX} bytes")));
    }
    let mut workbook: Xlsx<_> = open_workbook(path).map_err(|error: calamine::XlsxError| unreadable(error.to_string()))?;
    let mut sheets = Vec::new();
    let tables: Vec<String> =
        workbook.sheets_metadata().iter().filter(|sheet| sheet.typ == SheetType::WorkSheet).map(|sheet| sheet.name.clone()).collect();
    for name in tables {
        let formulas = workbook.worksheet_formula(&name).map_err(|error| unreadable(error.to_string()))?;
        if formulas.used_cells().any(|(_, _, formula)| !formula.is_empty()) {
            return Err(unreadable(format!(
                "sheet `{name}` has formulas, which writing would lose; keep formulas in a workbook of their own"
            )));
        }
        let range = workbook.worksheet_range(&name).map_err(|error| unreadable(error.to_string()))?;
        sheets.push(Sheet { rows: rows_of(&range).map_err(unreadable)?, name });
    }
    Ok(sheets)
}

/// All cells from A1 on, as ranges begin at their first used cell.
fn rows_of(range: &Range<Data>) -> Result<Vec<Vec<Data>>, String> {
    let Some((last_row, last_column)) = range.end() else { return Ok(Vec::new()) };
    let (rows, columns) = (last_row as usize + 1, last_column as usize + 1);
    if rows > ROWS_MAX || columns > COLUMNS_MAX {
        return Err(format!("more than {ROWS_MAX} rows of {COLUMNS_MAX} columns"));
    }
    let line = |row: u32| (0..=last_column).map(|column| range.get_value((row, column)).cloned().unwrap_or_default()).collect();
    Ok((0..=last_row).map(line).collect())
}

pub(super) fn write(path: &Path, sheets: &[Sheet]) -> Result<(), Problem> {
    let problem = |error: String| Problem::standard("runtime", 500, format!("workbook `{}` cannot be written: {error}", stem(path)));
    let mut workbook = Workbook::new();
    let date = Format::new().set_num_format("yyyy-mm-dd hh:mm:ss");
    for sheet in sheets {
        let worksheet = workbook.add_worksheet();
        worksheet.set_name(&sheet.name).map_err(|error| problem(error.to_string()))?;
        worksheet.set_hidden(sheet.name == JOURNAL);
        for (row, line) in (0u32..).zip(&sheet.rows) {
            for (column, cell) in (0u16..).zip(line) {
                write_cell(worksheet, row, column, cell, &date).map_err(|error| problem(error.to_string()))?;
            }
        }
    }
    let bytes = workbook.save_to_buffer().map_err(|error| problem(error.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let replace = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    replace().map_err(|error| problem(error.to_string()))
}

fn write_cell(worksheet: &mut Worksheet, row: u32, column: u16, cell: &Data, date: &Format) -> Result<(), rust_xlsxwriter::XlsxError> {
    match cell {
        Data::Empty => {}
        Data::Int(number) => {
            worksheet.write_number(row, column, *number as f64)?;
        }
        Data::Float(number) => {
            worksheet.write_number(row, column, *number)?;
        }
        Data::Bool(flag) => {
            worksheet.write_boolean(row, column, *flag)?;
        }
        Data::DateTime(at) => {
            match ExcelDateTime::from_serial_datetime(at.as_f64()) {
                Ok(serial) => worksheet.write_datetime_with_format(row, column, &serial, date)?,
                Err(_) => worksheet.write_number(row, column, at.as_f64())?,
            };
        }
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => {
            worksheet.write_string(row, column, text)?;
        }
        Data::Error(error) => {
            worksheet.write_string(row, column, error.to_string())?;
        }
    }
    Ok(())
}

pub(super) fn cell(value: &Value) -> Data {
    match value {
        Value::Null => Data::Empty,
        Value::Bool(flag) => Data::Bool(*flag),
        Value::Int(number) => Data::Int(*number),
        Value::Float(number) => Data::Float(*number),
        // Excel's own limit for one cell.
        Value::String(text) => Data::String(text.chars().take(32_767).collect()),
        nested => Data::String(nested.to_json().chars().take(32_767).collect()),
    }
}

pub(super) fn value(cell: &Data) -> Value {
    match cell {
        Data::Empty => Value::Null,
        Data::Bool(flag) => Value::Bool(*flag),
        Data::Int(number) => Value::Int(*number),
        Data::Float(number) => Value::number(*number).unwrap_or_default(),
        other => Value::from(text(other)),
    }
}

pub(super) fn text(cell: &Data) -> String {
    match cell {
        Data::Float(number) => Value::number(*number).unwrap_or_default().to_json(),
        Data::DateTime(at) => local_time(at.as_f64()),
        other => other.to_string(),
    }
}

/// A serial day as `2026-11-23T09:00:00.000`. Sheets know no time zone.
fn local_time(serial: f64) -> String {
    /// 1970-01-01 as a serial day.
    const EPOCH: f64 = 25_569.0;
    let at = Timestamp(((serial - EPOCH) * 86_400_000.0).round() as i64).to_rfc3339();
    at.trim_end_matches('Z').to_owned()
}
