//! Foreign text as one line that can't do anything to a terminal or a log.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` with everything escaped that commands a terminal, reorders text or can't be seen; as it is when it has
/// nothing of that.
///
/// Once anything is escaped, backslashes are too, so that the result says what was there.
///
/// ```
/// use dyn_metrics_reader::printable;
///
/// assert_eq!(printable(r"C:\new é 模型"), r"C:\new é 模型");
/// assert_eq!(printable("C:\\new\n"), r"C:\\new\n");
/// ```
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(is_hidden) { escaped(text).into() } else { text.into() }
}

/// `text` with the same escaped, and backslashes in any case.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c == '\\' || c.is_control() {
            out.extend(c.escape_default());
        } else if is_hidden(c) {
            write!(out, "\\u{{{:x}}}", u32::from(c)).expect("a String takes everything");
        } else {
            out.push(c);
        }
    }
    out
}

/// Control characters, those that reorder text, and those that show as nothing or as a plain space.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{a0}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_seen_stays() {
        for text in ["", "plain é 模型 مرحبا", r"a\nb", "a\u{301}", "👍🏽"] {
            assert_eq!(printable(text), text);
        }
    }

    #[test]
    fn what_commands_reorders_or_hides_is_escaped() {
        assert_eq!(printable("a\x1b[2J\nb\u{9b}31m\0"), r"a\u{1b}[2J\nb\u{9b}31m\u{0}");
        for c in
            "\u{a0}\u{61c}\u{200b}\u{200d}\u{200f}\u{202e}\u{2028}\u{2060}\u{2069}\u{feff}\u{e0001}\u{e007f}"
                .chars()
        {
            assert_eq!(printable(&format!("x{c}y")), format!("x\\u{{{:x}}}y", u32::from(c)));
        }
    }

    #[test]
    fn different_texts_are_shown_differently() {
        assert_eq!(printable("a\\\u{200b}"), r"a\\\u{200b}");
        assert_ne!(printable("\\n\n"), printable("\n\n"));
        assert_eq!(escaped(r"a\nb"), r"a\\nb");
    }
}
