//! The page for people at `/`: what is served, and from where.

use std::fmt::{self, Display, Write};

use dyn_metrics_layout::FORMAT_VERSION;

use crate::segments::{SegmentView, State};

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>dyn-metrics-exporter</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid #ccc; padding: .3rem .6rem; text-align: left; overflow-wrap: anywhere }
th.n, td.n { text-align: right; white-space: nowrap }
.bad { color: #a00 }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd } a { color: #8bf } .bad { color: #f77 } }
</style>
</head>
<body>
<h1>dyn-metrics-exporter</h1>
";

const COLUMNS: &str = "<table>
<thead><tr><th>Segment</th><th>State</th><th class=\"n\">Families</th><th class=\"n\">Series</th>\
<th class=\"n\">Processes alive</th><th class=\"n\">Used</th><th class=\"n\">Free</th></tr></thead>
<tbody>
";

/// The whole page.
pub(crate) fn render(patterns: &[String], segments: &[SegmentView]) -> String {
    let mut page = String::from(HEAD);
    write(&mut page, patterns, segments).expect("a String takes everything");
    page
}

fn write(page: &mut String, patterns: &[String], segments: &[SegmentView]) -> fmt::Result {
    let version = env!("CARGO_PKG_VERSION");
    writeln!(page, "<p>Version {version}, segment format {FORMAT_VERSION}.")?;
    page.push_str("<a href=\"/metrics\">Metrics</a> &middot; <a href=\"/-/healthy\">healthy</a> &middot; ");
    page.push_str("<a href=\"/-/ready\">ready</a></p>\n<p>Looked for at every scrape:");
    for pattern in patterns {
        write!(page, " <code>{}</code>", Escaped(pattern))?;
    }
    page.push_str("</p>\n");
    if segments.iter().all(|segment| segment.state == State::Missing) {
        page.push_str("<p>No segment exists yet. It is served as soon as a process creates it.</p>\n");
    }
    if !segments.is_empty() {
        page.push_str(COLUMNS);
        segments.iter().try_for_each(|segment| row(page, segment))?;
        page.push_str("</tbody>\n</table>\n");
    }
    page.push_str("</body>\n</html>\n");
    Ok(())
}

fn row(page: &mut String, segment: &SegmentView) -> fmt::Result {
    write!(page, "<tr><td><code>{}</code></td><td>", Escaped(&segment.label))?;
    match &segment.state {
        State::Mapped => page.push_str("ok"),
        State::Superseded => page.push_str("superseded by a newer file, served too"),
        State::Unlinked => page.push_str("removed, served until its last process ends"),
        State::Missing => page.push_str("missing"),
        State::Bad(reason) => write!(page, "<span class=\"bad\">skipped: {}</span>", Escaped(reason))?,
    }
    for part in &segment.skipped {
        write!(page, "<br><span class=\"bad\">part skipped: {}</span>", Escaped(part))?;
    }
    page.push_str("</td>");
    if segment.state.is_served() {
        let SegmentView { families, series, processes_alive, .. } = segment;
        write!(page, "<td class=\"n\">{families}</td><td class=\"n\">{series}</td>")?;
        write!(page, "<td class=\"n\">{processes_alive}</td>")?;
        let (used, free) = (Size(segment.bytes_used), Size(segment.bytes_free));
        write!(page, "<td class=\"n\">{used}</td><td class=\"n\">{free}</td>")?;
    } else {
        page.push_str("<td colspan=\"5\"></td>");
    }
    page.push_str("</tr>\n");
    Ok(())
}

/// Text that is nothing but text, in elements and in quoted attributes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => out.write_str("&amp;"),
            '<' => out.write_str("&lt;"),
            '>' => out.write_str("&gt;"),
            '"' => out.write_str("&quot;"),
            '\'' => out.write_str("&#39;"),
            other => out.write_char(other),
        })
    }
}

/// Bytes in the largest binary unit that leaves one digit before the point.
struct Size(u64);

impl Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut size = self.0 as f64;
        let mut unit = "B";
        for next in units {
            if size < 1024.0 {
                break;
            }
            (size, unit) = (size / 1024.0, next);
        }
        if unit == "B" { write!(out, "{} B", self.0) } else { write!(out, "{size:.1} {unit}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_paths_and_states_is_text() {
        let hostile = "<script>alert('x')</script>&\"";
        let label = SegmentView::example(hostile);
        let state = SegmentView { state: State::Bad(hostile.to_owned()), ..SegmentView::example("/a") };
        let skipped = SegmentView { skipped: vec![hostile.to_owned()], ..SegmentView::example("/b") };
        let page = render(&[hostile.to_owned()], &[label, state, skipped]);
        let escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;";
        assert_eq!(page.matches(escaped).count(), 4);
        assert!(!page.contains("<script"));
    }

    #[test]
    fn a_mapped_segment_shows_its_numbers() {
        let page = render(&[], &[SegmentView::example("/dev/shm/dynamo")]);
        let row = "<tr><td><code>/dev/shm/dynamo</code></td><td>ok</td><td class=\"n\">3</td><td class=\"n\">4</td>\
                   <td class=\"n\">5</td><td class=\"n\">64.0 KiB</td><td class=\"n\">1.4 MiB</td></tr>";
        assert!(page.contains(row), "{page}");
        assert!(!page.contains("No segment exists yet"));
    }

    #[test]
    fn without_a_segment_the_page_says_what_it_waits_for() {
        let page = render(&["/dev/shm/*".to_owned()], &[]);
        assert!(page.contains("<code>/dev/shm/*</code>"));
        assert!(page.contains("No segment exists yet"));
        assert!(page.ends_with("</body>\n</html>\n"));
    }

    #[test]
    fn sizes_have_binary_units() {
        let sizes =
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 30, "1.0 GiB"), (u64::MAX, "16.0 EiB")];
        for (bytes, text) in sizes {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
