//! Whether a client wants text or JSON: `Accept` with its weights (RFC 9110, 12.5.1).

use dyn_metrics_exporter::serving::weight;
use hyper::header::{ACCEPT, HeaderMap};

/// Whether the client prefers plain text to JSON. One that doesn't care gets JSON; what can't be parsed is left out.
pub(crate) fn prefers_text(headers: &HeaderMap) -> bool {
    weight_of(headers, "text", "plain") > weight_of(headers, "application", "json")
}

/// The weight of a media type, in thousandths: that of the most specific range that names it.
fn weight_of(headers: &HeaderMap, kind: &str, subtype: &str) -> u16 {
    let mut best = (0, 0);
    for value in headers.get_all(ACCEPT) {
        let Ok(value) = value.to_str() else { continue };
        for item in value.split(',') {
            let (range, parameters) = item.split_once(';').unwrap_or((item, ""));
            let Some((k, s)) = range.trim().split_once('/') else { continue };
            let is = |found: &str, wanted: &str| found.eq_ignore_ascii_case(wanted);
            let precision = match (is(k, kind), is(s, subtype)) {
                (true, true) => 3,
                (true, false) if s == "*" => 2,
                _ if (k, s) == ("*", "*") => 1,
                _ => continue,
            };
            // The weight comes last; what stands before it, a charset say, makes no difference here.
            let last = parameters.rsplit(';').next().unwrap_or("");
            let is_weight = last.trim_start().to_ascii_lowercase().starts_with("q=");
            let Some(weight) = weight(if is_weight { last } else { "" }) else { continue };
            if precision > best.0 {
                best = (precision, weight);
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_for_those_who_prefer_it() {
        let text =
            |accept: &'static str| prefers_text(&[(ACCEPT, accept.parse().unwrap())].into_iter().collect());
        for accept in [
            "text/plain",
            "text/*",
            "Text/Plain;charset=utf-8",
            "application/json;q=0.5, text/plain",
            "text/html, text/*",
        ] {
            assert!(text(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "application/json",
            "text/html",
            "text/plain;q=0.5, application/*",
            "text/plain;q=0",
            "text/plain;q=x",
            "nonsense",
        ] {
            assert!(!text(accept), "{accept}");
        }
        assert!(!prefers_text(&HeaderMap::new()));
    }
}
