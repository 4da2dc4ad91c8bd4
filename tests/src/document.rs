//! Tables in `docs/RELIABILITY.md` that tests make anew and compare.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

const END: &str = "<!-- end -->";

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/RELIABILITY.md")
}

/// Fails unless the document's table `name` has these rows under its heading; `BLESS=1` writes them instead. Of a row
/// whose cells are none, for it could not be tried here, the document's stay.
///
/// # Panics
/// When the table is missing or differs.
pub fn assert_table(name: &str, heading: &[&str], rows: &[(String, Option<Vec<String>>)]) {
    let mut file = File::options().read(true).write(true).open(path()).expect("docs/RELIABILITY.md");
    file.lock().expect("others wait who write another table");
    let mut document = String::new();
    file.read_to_string(&mut document).expect("UTF-8");
    let begin = format!("<!-- table: {name} -->\n");
    let start = document.find(&begin).unwrap_or_else(|| panic!("no table {name}")) + begin.len();
    let end = start + document[start..].find(END).expect("the table's end");
    let expected = render(heading, rows, &document[start..end]);
    if std::env::var_os("BLESS").is_some_and(|value| value == "1") {
        document.replace_range(start..end, &expected);
        file.rewind().and_then(|()| file.set_len(0)).expect("an empty document");
        file.write_all(document.as_bytes()).expect("the document");
        return;
    }
    let found = &document[start..end];
    assert!(found == expected, "table {name}; BLESS=1 rewrites it\nfound\n{found}\nexpected\n{expected}");
}

fn render(heading: &[&str], rows: &[(String, Option<Vec<String>>)], before: &str) -> String {
    let mut table = format!("| {} |\n|{}\n", heading.join(" | "), " --- |".repeat(heading.len()));
    for (name, cells) in rows {
        let begin = format!("| {name} |");
        match cells {
            Some(cells) => {
                assert_eq!(cells.len() + 1, heading.len(), "{name}");
                table += &format!("{begin} {} |\n", cells.join(" | "));
            }
            None => {
                let kept = before.lines().find(|line| line.starts_with(&begin));
                table += kept.unwrap_or_else(|| panic!("no row {name}"));
                table += "\n";
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_was_not_tried_stays_as_it_was() {
        let rows = [("a".to_owned(), Some(vec!["1".to_owned()])), ("b".to_owned(), None)];
        let table = render(&["row", "n"], &rows, "| row | n |\n| b | 7 |\n");
        assert_eq!(table, "| row | n |\n| --- | --- |\n| a | 1 |\n| b | 7 |\n");
    }
}
