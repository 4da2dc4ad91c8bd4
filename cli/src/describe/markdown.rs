//! Texts as cells of a Markdown table.

use crate::text::clean;

/// Text for people: what would end the cell or begin a tag is escaped, other marks are the author's.
pub fn plain(text: &str) -> String {
    clean(text).replace('|', "\\|").replace('<', "\\<")
}

/// A name or value, to the letter; an empty one as `""`.
pub fn code(text: &str) -> String {
    if text.is_empty() {
        return "`\"\"`".to_owned();
    }
    // A pipe ends the cell also inside of code.
    let text = clean(text).replace('|', "\\|");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    match longest {
        0 => format!("`{text}`"),
        _ => format!("{0} {text} {0}", "`".repeat(longest + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_cell_before_its_end() {
        assert_eq!(plain("a | b <i>\n`c`"), "a \\| b \\<i>\\n`c`");
        assert_eq!(code("a|b"), "`a\\|b`");
        assert_eq!(code("a`b``c"), "``` a`b``c ```");
        assert_eq!(code(""), "`\"\"`");
        assert_eq!(code("a\nb"), "`a\\nb`");
    }
}
