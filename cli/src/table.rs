//! Tables whose columns are as wide as what stands in them.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use crate::text::Style;

/// What stands between two columns.
const GAP: usize = 2;

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// Rows of cells under headings.
///
/// Cells are written as they are: what comes from a segment goes through [`crate::text::clean`] before.
#[derive(Debug)]
pub struct Table {
    headings: Vec<String>,
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl IntoIterator<Item = (String, Align)>) -> Self {
        let (headings, aligns) = columns.into_iter().unzip();
        Self { headings, aligns, rows: Vec::new() }
    }

    /// A table with these headings, those of numbers after a `>`.
    pub fn with_headings(headings: &[&str]) -> Self {
        Self::new(headings.iter().map(|heading| match heading.strip_prefix('>') {
            Some(number) => (number.to_owned(), Align::Right),
            None => ((*heading).to_owned(), Align::Left),
        }))
    }

    /// Adds a row, which has a cell for each column.
    pub fn push(&mut self, row: impl IntoIterator<Item = String>) {
        let row: Vec<_> = row.into_iter().collect();
        debug_assert_eq!(row.len(), self.headings.len());
        self.rows.push(row);
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes headings and rows, each line after `indent` spaces; headings only where there is one.
    pub fn write(&self, indent: usize, style: Style, out: &mut dyn Write) -> io::Result<()> {
        let widths = self.widths();
        if self.headings.iter().any(|heading| !heading.is_empty()) {
            let line = self.line(&self.headings, &widths);
            writeln!(out, "{:indent$}{}", "", style.dim(&line))?;
        }
        for row in &self.rows {
            writeln!(out, "{:indent$}{}", "", self.line(row, &widths))?;
        }
        Ok(())
    }

    fn widths(&self) -> Vec<usize> {
        let lines = || std::iter::once(&self.headings).chain(&self.rows);
        let width = |column: usize| lines().map(|line| line[column].width()).max().unwrap_or(0);
        (0..self.headings.len()).map(width).collect()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width), align) in cells.iter().zip(widths).zip(&self.aligns) {
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            match align {
                Align::Left => line.extend([cell, padding.as_str()]),
                Align::Right => line.extend([padding.as_str(), cell]),
            }
            line.push_str(&" ".repeat(GAP));
        }
        line.truncate(line.trim_end_matches(' ').len());
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(table: &Table, indent: usize) -> String {
        let mut out = Vec::new();
        table.write(indent, Style::PLAIN, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn row<const N: usize>(cells: [&str; N]) -> [String; N] {
        cells.map(str::to_owned)
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::with_headings(&["model", ">value", "unit"]);
        table.push(row(["llama", "7", "bytes"]));
        table.push(row(["a-long-name", "1000000", ""]));
        let expected =
            "  model          value  unit\n  llama              7  bytes\n  a-long-name  1000000\n";
        assert_eq!(text(&table, 2), expected);
    }

    #[test]
    fn wide_letters_take_two_places() {
        let mut table = Table::with_headings(&["m", ">n"]);
        table.push(row(["模型", "1"]));
        table.push(row(["é", "22"]));
        assert_eq!(text(&table, 0), "m      n\n模型   1\né     22\n");
    }

    #[test]
    fn a_table_without_headings_has_rows_only() {
        let mut table = Table::with_headings(&["", ">"]);
        table.push(row(["a", "1"]));
        assert_eq!(text(&table, 0), "a  1\n");
    }
}
