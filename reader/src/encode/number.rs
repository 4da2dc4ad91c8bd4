//! Numbers as text.

use crate::snapshot::Number;

/// Appends a number: integers exact, doubles in the fewest digits that read back to the same one.
///
/// `NaN`, `+Inf` and `-Inf` are spelled as Go's parser, and so Prometheus, reads them.
#[inline]
pub(super) fn push(number: Number, out: &mut Vec<u8>) {
    match number {
        Number::Unsigned(value) => push_unsigned(value, out),
        Number::Signed(value) => out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        Number::Float(value) => push_float(value, out),
    }
}

#[inline]
pub(super) fn push_unsigned(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

pub(super) fn push_float(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        return out.extend_from_slice(not_finite(value).as_bytes());
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
}

/// How a number that is not finite is spelled.
pub(super) const fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    }
}

/// A bucket's bound as the label `le`.
///
/// The same text as Go's `strconv.FormatFloat(value, 'g', -1, 64)`, which Go's client writes and Prometheus 2
/// stores: `0.005`, `1`, `10`, `1e+06`, `+Inf`. So the label stays the same when a service changes its
/// client library.
pub(super) fn le(value: f64) -> String {
    if !value.is_finite() {
        return not_finite(value).to_owned();
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |text| ("-", text));
    let (digits, point) = decimal(text);
    if digits.is_empty() {
        return format!("{sign}0");
    }
    let exponent = point - 1;
    let body = if !(-4..6).contains(&exponent) {
        scientific(&digits, exponent)
    } else if point <= 0 {
        format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize))
    } else if (point as usize) < digits.len() {
        let (whole, fraction) = digits.split_at(point as usize);
        format!("{whole}.{fraction}")
    } else {
        format!("{digits}{}", "0".repeat(point as usize - digits.len()))
    };
    format!("{sign}{body}")
}

fn scientific(digits: &str, exponent: i32) -> String {
    let (first, rest) = digits.split_at(1);
    let dot = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{dot}{rest}e{sign}{:02}", exponent.unsigned_abs())
}

/// The significant digits of an unsigned decimal number, and how many of them stand before the point.
fn decimal(text: &str) -> (String, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let point = whole.len() as i32 - leading as i32 + exponent.parse::<i32>().unwrap_or(0);
    (digits.trim_matches('0').to_owned(), point)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: Number) -> String {
        let mut out = Vec::new();
        push(number, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_are_exact_to_both_ends() {
        assert_eq!(text(Number::Unsigned(u64::MAX)), "18446744073709551615");
        assert_eq!(text(Number::Signed(i64::MIN)), "-9223372036854775808");
    }

    #[test]
    fn doubles_read_back_to_the_same_bits() {
        for value in [0.0, -0.0, 0.1, 1.0, -5.25, 1e6, 1e16, f64::MAX, f64::MIN_POSITIVE, 5e-324, 1.0 / 3.0] {
            let text = text(Number::Float(value));
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{text}");
            assert!(!text.ends_with(".0"), "{text}");
        }
        assert_eq!(text(Number::Float(f64::NAN)), "NaN");
        assert_eq!(text(Number::Float(f64::INFINITY)), "+Inf");
        assert_eq!(text(Number::Float(f64::NEG_INFINITY)), "-Inf");
    }

    #[test]
    fn bounds_are_spelled_as_go_does() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.005, "0.005"),
            (0.1, "0.1"),
            (1.0, "1"),
            (2.5, "2.5"),
            (10.0, "10"),
            (100_000.0, "100000"),
            (123_456.0, "123456"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (1_048_576.0, "1.048576e+06"),
            (1_234_567.5, "1.2345675e+06"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (-7.5e-7, "-7.5e-07"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(le(value), expected);
        }
    }
}
