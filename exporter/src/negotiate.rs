//! Whether a client wants its page compressed: `Accept-Encoding` with its weights (RFC 9110, 12.5.3).

use hyper::header::{ACCEPT_ENCODING, HeaderMap};

/// Says whether the client asked for gzip, and does not prefer the plain page.
///
/// A coding that is not named at all has no weight of its own; `*` stands for it. What cannot be parsed is
/// left out, so that a strange header costs compression and never the scrape.
#[must_use]
pub fn wants_gzip(headers: &HeaderMap) -> bool {
    let mut weights = Weights::default();
    for value in headers.get_all(ACCEPT_ENCODING) {
        let Ok(value) = value.to_str() else { continue };
        for item in value.split(',') {
            weights.note(item);
        }
    }
    let gzip = weights.gzip.or(weights.any).unwrap_or(0);
    gzip > 0 && gzip >= weights.identity.unwrap_or(0)
}

/// Weights in thousandths, as RFC 9110 allows three decimals.
#[derive(Default)]
struct Weights {
    gzip: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

impl Weights {
    fn note(&mut self, item: &str) {
        let (coding, parameters) = item.split_once(';').unwrap_or((item, ""));
        let Some(weight) = weight(parameters) else { return };
        let coding = coding.trim();
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            self.gzip = Some(weight);
        } else if coding.eq_ignore_ascii_case("identity") {
            self.identity = Some(weight);
        } else if coding == "*" {
            self.any = Some(weight);
        }
    }
}

/// Reads `q=0.5` as 500; nothing means 1000; `None` is not a weight.
#[must_use]
pub fn weight(parameters: &str) -> Option<u16> {
    let parameters = parameters.trim();
    if parameters.is_empty() {
        return Some(1000);
    }
    let (name, value) = parameters.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value = value.trim();
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths =
        fraction.bytes().zip([100, 10, 1]).map(|(digit, unit)| u16::from(digit - b'0') * unit).sum();
    match (whole, thousandths) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT_ENCODING, value.parse().expect("a header value"));
        }
        wants_gzip(&headers)
    }

    #[test]
    fn gzip_is_used_when_it_is_named() {
        assert!(asked(&["gzip"]));
        assert!(asked(&["GZip"]));
        assert!(asked(&["x-gzip"]));
        assert!(asked(&["br, deflate , gzip;q=0.001"]));
        assert!(asked(&["br", "gzip ; q=1.000"]));
        assert!(asked(&["gzip;Q=0.5, identity;q=0.5"]));
    }

    #[test]
    fn gzip_is_not_used_when_nobody_asked() {
        assert!(!asked(&[]));
        assert!(!asked(&[""]));
        assert!(!asked(&["br, deflate"]));
        assert!(!asked(&["gzipped"]));
    }

    #[test]
    fn weight_zero_means_no() {
        assert!(!asked(&["gzip;q=0"]));
        assert!(!asked(&["gzip;q=0.000"]));
        assert!(!asked(&["gzip;q=0, *"]));
        assert!(!asked(&["*;q=0"]));
    }

    #[test]
    fn a_star_stands_for_gzip() {
        assert!(asked(&["*"]));
        assert!(asked(&["br, *;q=0.1"]));
    }

    #[test]
    fn a_preferred_plain_page_stays_plain() {
        assert!(!asked(&["identity, gzip;q=0.5"]));
        assert!(asked(&["identity;q=0.5, gzip"]));
    }

    #[test]
    fn what_is_no_weight_is_left_out() {
        for value in ["gzip;q=2", "gzip;q=1.5", "gzip;q=0.1234", "gzip;q=-1", "gzip;q=", "gzip;x=1", "gzip;q"]
        {
            assert!(!asked(&[value]), "{value}");
        }
        assert!(asked(&["gzip;q=nonsense, *;q=0.2"]));
    }
}
