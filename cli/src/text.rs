//! Numbers, names and labels as people read them on a terminal.

use std::borrow::Cow;
use std::io::{self, IsTerminal};

use dyn_metrics_reader::{Number, escaped, printable};

/// Significant digits of numbers that are not whole.
const DIGITS: i32 = 6;

/// Whether to use bold and dim letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    ansi: bool,
}

impl Style {
    /// Plain text.
    pub const PLAIN: Self = Self { ansi: false };

    /// As standard output can show it: plain unless it is a terminal, or with `NO_COLOR`.
    pub fn of_stdout() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { ansi: io::stdout().is_terminal() && !plain }
    }

    /// For headings.
    pub fn bold(self, text: &str) -> Cow<'_, str> {
        self.wrap("1", text)
    }

    /// For what matters less.
    pub fn dim(self, text: &str) -> Cow<'_, str> {
        self.wrap("2", text)
    }

    fn wrap<'t>(self, code: &str, text: &'t str) -> Cow<'t, str> {
        if self.ansi { format!("\x1b[{code}m{text}\x1b[0m").into() } else { text.into() }
    }
}

/// `text` with what can't be seen escaped, so that a segment can't send commands to the terminal.
pub fn clean(text: &str) -> Cow<'_, str> {
    printable(text)
}

/// A label's value where it stands alone: as it is, or in quotes and escaped where it could be mistaken.
pub fn label_value(value: &str) -> Cow<'_, str> {
    let odd = [' ', '"', '\'', '=', ',', '\\'];
    let plain = !value.is_empty() && value != "-" && !value.contains(odd) && printable(value) == value;
    if plain { value.into() } else { format!("\"{}\"", escaped(value).replace('"', "\\\"")).into() }
}

/// Labels as `name=value name=value`.
pub fn labels<'l>(labels: impl IntoIterator<Item = &'l (String, String)>) -> String {
    let pairs = labels.into_iter().map(|(name, value)| format!("{}={}", clean(name), label_value(value)));
    pairs.collect::<Vec<_>>().join(" ")
}

/// `text`, or `-` where there is none.
pub fn or_dash(text: &str) -> Cow<'_, str> {
    if text.is_empty() { "-".into() } else { clean(text) }
}

/// Integers exactly, other numbers with six significant digits.
pub fn number(number: Number) -> String {
    match number {
        Number::Unsigned(value) => value.to_string(),
        Number::Signed(value) => value.to_string(),
        Number::Float(value) => float(value),
    }
}

/// A number with six significant digits, without trailing zeros.
pub fn float(value: f64) -> String {
    rounded(value, DIGITS)
}

/// A number with so many significant digits, without trailing zeros; whole numbers keep all of theirs.
pub fn rounded(value: f64, digits: i32) -> String {
    if !value.is_finite() || value == 0.0 {
        return value.to_string();
    }
    // In this form the exponent is that of the rounded number: 999999.6 is 1e6.
    let scientific = format!("{value:.*e}", digits as usize - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent = exponent.parse::<i32>().unwrap_or(0);
    if !(-5..15).contains(&exponent) {
        return format!("{}e{exponent}", trim_zeros(mantissa));
    }
    let places = (digits - 1 - exponent).max(0) as usize;
    trim_zeros(&format!("{value:.places$}")).to_owned()
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// A number of bytes in its largest unit.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for larger in UNITS {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    if unit == "bytes" || value >= 100.0 {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// `1 process`, `2 processes`.
pub fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_or_have_six_digits() {
        for (value, expected) in [
            (0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.1 + 0.2, "0.3"),
            (1.0 / 3.0, "0.333333"),
            (0.000_012_345_678, "0.0000123457"),
            (0.000_001, "1e-6"),
            (999_999.6, "1000000"),
            (123_456_789.0, "123456789"),
            (1e15, "1e15"),
            (1.5e300, "1.5e300"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(float(value), expected);
        }
        assert_eq!(number(Number::Unsigned(u64::MAX)), "18446744073709551615");
        assert_eq!(number(Number::Signed(i64::MIN)), "-9223372036854775808");
    }

    #[test]
    fn sizes_have_one_unit() {
        for (size, expected) in [
            (0, "0 bytes"),
            (1_023, "1023 bytes"),
            (1_024, "1.0 KiB"),
            (284_200, "278 KiB"),
            (1 << 20, "1.0 MiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes(size), expected);
        }
    }

    #[test]
    fn what_commands_a_terminal_is_escaped() {
        assert_eq!(clean("plain é 模型"), "plain é 模型");
        assert_eq!(clean("a\x1b[2J\nb\u{202e}c\\"), r"a\u{1b}[2J\nb\u{202e}c\\");
    }

    #[test]
    fn label_values_are_quoted_where_they_could_be_mistaken() {
        for (value, expected) in [
            ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
            ("", "\"\""),
            ("-", "\"-\""),
            ("a b", "\"a b\""),
            ("say \"x\"", "\"say \\\"x\\\"\""),
            ("tab\there", r#""tab\there""#),
            (r"tab\there", r#""tab\\there""#),
            ("\u{200b}", r#""\u{200b}""#),
            ("a\u{a0}b", r#""a\u{a0}b""#),
        ] {
            assert_eq!(label_value(value), expected);
        }
        assert_eq!(labels(&[("a".into(), "1".into()), ("b".into(), String::new())]), "a=1 b=\"\"");
    }

    #[test]
    fn styles_mark_terminals_only() {
        assert_eq!(Style::PLAIN.bold("x"), "x");
        assert_eq!(Style { ansi: true }.dim("x"), "\x1b[2mx\x1b[0m");
    }
}
