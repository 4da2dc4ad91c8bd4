//! The page for people at `/`: what is served, and from where.

use std::fmt::{self, Display, Write};

use dyn_metrics_layout::FORMAT_VERSION;
use dyn_metrics_reader::{LeftOut, LeftOutReason};

use crate::page::Found;
use crate::segments::{SegmentView, State};

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>dyn-metrics-exporter</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
div { overflow-x: auto }
table { border-collapse: collapse; min-width: 48rem; width: 100% }
li { overflow-wrap: anywhere }
th, td { border-bottom: 1px solid #ccc; padding: .3rem .6rem; text-align: left; overflow-wrap: anywhere }
th.n, td.n { text-align: right; white-space: nowrap }
.bad { color: #a00 }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd } a { color: #8bf } .bad { color: #f77 } }
</style>
</head>
<body>
<h1>dyn-metrics-exporter</h1>
";

const COLUMNS: &str = "<div><table>
<thead><tr><th>Segment</th><th>State</th><th class=\"n\">Families</th><th class=\"n\">Series</th>\
<th class=\"n\">Processes alive</th><th class=\"n\">Used</th><th class=\"n\">Free</th></tr></thead>
<tbody>
";

/// The whole page.
pub(crate) fn render(patterns: &[String], found: &Found) -> String {
    let mut page = String::from(HEAD);
    write(&mut page, patterns, found).expect("a String takes everything");
    page
}

fn write(page: &mut String, patterns: &[String], found: &Found) -> fmt::Result {
    let segments = &found.segments;
    let version = env!("CARGO_PKG_VERSION");
    writeln!(page, "<p>Version {version}, segment format {FORMAT_VERSION}.")?;
    page.push_str("<a href=\"/metrics\">Metrics</a> &middot; <a href=\"/-/healthy\">healthy</a> &middot; ");
    page.push_str("<a href=\"/-/ready\">ready</a></p>\n<p>Looked for at every scrape:</p>\n<ul>\n");
    for pattern in patterns {
        let note = if found.unmatched.contains(pattern) { ", which leads to no file yet" } else { "" };
        writeln!(page, "<li><code>{}</code>{note}</li>", Escaped(pattern))?;
    }
    page.push_str("</ul>\n");
    left_out(page, &found.left_out)?;
    let is_refused = |reason| found.left_out.count(reason) > 0;
    if !segments.iter().all(|segment| segment.state == State::Missing) {
    } else if is_refused(LeftOutReason::PermissionDenied) || is_refused(LeftOutReason::Owner) {
        page.push_str("<p>No segment is served: what was found is left out.</p>\n");
    } else {
        page.push_str("<p>No segment exists yet. It is served as soon as a process creates it.</p>\n");
    }
    if !segments.is_empty() {
        page.push_str(COLUMNS);
        segments.iter().try_for_each(|segment| row(page, segment))?;
        page.push_str("</tbody>\n</table></div>\n");
    }
    page.push_str("</body>\n</html>\n");
    Ok(())
}

/// How many files are left out and why, and the names of those that may be missed.
fn left_out(page: &mut String, left_out: &LeftOut) -> fmt::Result {
    let total: usize = LeftOutReason::ALL.into_iter().map(|reason| left_out.count(reason)).sum();
    if total == 0 {
        return Ok(());
    }
    let told = [
        (LeftOutReason::PermissionDenied, "permission denied"),
        (LeftOutReason::Owner, "of other users (--allow-uid)"),
        (LeftOutReason::NoSegment, "no segment"),
    ];
    let told = told.into_iter().filter(|(reason, _)| left_out.count(*reason) > 0);
    let parts: Vec<_> = told.map(|(reason, what)| format!("{} {what}", left_out.count(reason))).collect();
    let files = if total == 1 { "file" } else { "files" };
    write!(page, "<p>{total} {files} left out: {}.", parts.join(", "))?;
    for reason in [LeftOutReason::PermissionDenied, LeftOutReason::Owner] {
        for file in left_out.files(reason) {
            write!(page, "<br><code class=\"bad\">{}</code>", Escaped(&file.to_string_lossy()))?;
        }
    }
    page.push_str("</p>\n");
    Ok(())
}

fn row(page: &mut String, segment: &SegmentView) -> fmt::Result {
    write!(page, "<tr><td><code>{}</code></td><td>", Escaped(&segment.label))?;
    match &segment.state {
        State::Mapped => page.push_str("ok"),
        State::Superseded => page.push_str("superseded by a newer file, served too"),
        State::Unlinked => page.push_str("removed, served until its last process ends"),
        State::Missing => page.push_str("missing"),
        State::Copy(of) => write!(page, "copy of <code>{}</code>, left out", Escaped(of))?,
        State::Bad(reason) => write!(page, "<span class=\"bad\">skipped: {}</span>", Escaped(reason))?,
    }
    for part in &segment.skipped {
        write!(page, "<br><span class=\"bad\">part skipped: {}</span>", Escaped(part))?;
    }
    let more = segment.skipped_total.saturating_sub(segment.skipped.len() as u64);
    if more > 0 {
        write!(page, "<br><span class=\"bad\">and {more} more</span>")?;
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
        let copy = SegmentView { state: State::Copy(hostile.to_owned()), ..SegmentView::example("/c") };
        let page = render(&[hostile.to_owned()], &found(vec![label, state, skipped, copy]));
        let escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;";
        assert_eq!(page.matches(escaped).count(), 5);
        assert!(!page.contains("<script"));
    }

    fn found(segments: Vec<SegmentView>) -> Found {
        Found { segments, ..Found::default() }
    }

    #[test]
    fn parts_that_are_not_listed_are_counted() {
        let segment = SegmentView {
            skipped: vec!["a".into(), "b".into()],
            skipped_total: 70,
            ..SegmentView::example("/a")
        };
        let page = render(&[], &found(vec![segment]));
        assert!(
            page.contains("part skipped: b</span><br><span class=\"bad\">and 68 more</span></td>"),
            "{page}"
        );
    }

    #[test]
    fn a_mapped_segment_shows_its_numbers() {
        let page = render(&[], &found(vec![SegmentView::example("/dev/shm/dynamo")]));
        let row = "<tr><td><code>/dev/shm/dynamo</code></td><td>ok</td><td class=\"n\">3</td><td class=\"n\">4</td>\
                   <td class=\"n\">5</td><td class=\"n\">64.0 KiB</td><td class=\"n\">1.4 MiB</td></tr>";
        assert!(page.contains(row), "{page}");
        assert!(!page.contains("No segment exists yet"));
    }

    #[test]
    fn without_a_segment_the_page_says_what_it_waits_for() {
        let unmatched = vec!["/dev/shm/*".to_owned()];
        let page = render(
            &["/dev/shm/dynamo".to_owned(), "/dev/shm/*".to_owned()],
            &Found { unmatched, ..Found::default() },
        );
        assert!(page.contains("<li><code>/dev/shm/dynamo</code></li>\n"), "{page}");
        assert!(page.contains("<li><code>/dev/shm/*</code>, which leads to no file yet</li>\n"), "{page}");
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
