//! Units as OpenTelemetry writes them.

/// Words of Prometheus' names and the codes of UCUM ("The Unified Code for Units of Measure", case sensitive).
const CODES: [(&str, &str); 20] = [
    ("amperes", "A"),
    ("bits", "bit"),
    ("bytes", "By"),
    ("celsius", "Cel"),
    ("days", "d"),
    ("grams", "g"),
    ("hertz", "Hz"),
    ("hours", "h"),
    ("joules", "J"),
    ("kelvin", "K"),
    ("meters", "m"),
    ("microseconds", "us"),
    ("milliseconds", "ms"),
    ("minutes", "min"),
    ("nanoseconds", "ns"),
    ("percent", "%"),
    ("ratio", "1"),
    ("seconds", "s"),
    ("volts", "V"),
    ("watts", "W"),
];

fn code(word: &str) -> Option<&'static str> {
    CODES.iter().find(|(name, _)| *name == word).map(|(_, code)| *code)
}

/// The code of a family's unit. Of one that has none: that of the word its name ends in, before `_total`. Words that UCUM
/// doesn't have become annotations, `{tokens}`; nothing where there is no unit.
pub(super) fn ucum(name: &str, unit: &str) -> String {
    if unit.is_empty() {
        let base = name.strip_suffix("_total").unwrap_or(name);
        let word = base.rsplit('_').next().unwrap_or_default();
        return code(word).unwrap_or_default().to_owned();
    }
    code(unit).map_or_else(|| format!("{{{unit}}}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_given_or_the_name_ends_in_it() {
        for (name, unit, expected) in [
            ("latency_seconds", "seconds", "s"),
            ("latency_seconds", "", "s"),
            ("read_bytes_total", "", "By"),
            ("bytes", "", "By"),
            ("used_ratio", "ratio", "1"),
            ("llm_tokens_total", "", ""),
            ("llm_tokens_total", "tokens", "{tokens}"),
            ("seconds_ago_count", "", ""),
            ("_total", "", ""),
        ] {
            assert_eq!(ucum(name, unit), expected, "{name} {unit:?}");
        }
    }
}
