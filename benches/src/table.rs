//! Tables in Markdown, aligned so that a terminal shows them well too.

/// A table under construction.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads.
    #[must_use]
    pub fn new(heads: &[&str]) -> Self {
        Self { rows: vec![heads.iter().map(|&head| head.to_owned()).collect()] }
    }

    /// Adds a row; it has as many cells as there are heads.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether there are no rows but the heads.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The text. The first column is aligned to the left, the others to the right.
    #[must_use]
    pub fn render(&self) -> String {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            text.push_str(&line(row, &widths));
            if number == 0 {
                let rule = |(column, width): (usize, &usize)| {
                    if column == 0 { "-".repeat(*width) } else { format!("{}:", "-".repeat(width - 1)) }
                };
                let rules: Vec<String> = widths.iter().enumerate().map(rule).collect();
                text.push_str(&line(&rules, &widths));
            }
        }
        text
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut text = String::from("|");
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let cell = if column == 0 { format!(" {cell:<width$} |") } else { format!(" {cell:>width$} |") };
        text.push_str(&cell);
    }
    text.push('\n');
    text
}

/// Three significant digits, as far as a table needs them.
#[must_use]
pub fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 1.0 => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["contender", "ns"]);
        assert!(table.is_empty());
        table.row(["a".to_owned(), short(1234.5)]);
        table.row(["b".to_owned(), short(0.1234)]);
        let expected = "| contender |    ns |\n| --------- | ----: |\n| a         |  1234 |\n\
                        | b         | 0.123 |\n";
        assert_eq!(table.render(), expected);
    }
}
