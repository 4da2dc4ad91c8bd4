//! Holds `docs/FORMAT.md` and the code together: the document's tables are rendered from the code.
//!
//! `BLESS=1` writes the tables into the document instead of comparing them.
#![cfg(not(loom))]

use std::fmt::{Display, Write as _};
use std::path::PathBuf;

use dyn_metrics_layout::fields::{Field, structures};
use dyn_metrics_layout::header::Statistic;
use dyn_metrics_layout::{
    GaugeMode, Kind, Representation, extent, gauge, hash, header, index, link, name, process, record,
};

const END: &str = "<!-- end -->";

fn marker(name: &str) -> String {
    format!("<!-- table: {name} -->")
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/FORMAT.md")
}

fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut out = format!("| {} |\n|{}\n", columns.join(" | "), " --- |".repeat(columns.len()));
    for row in rows {
        assert_eq!(row.len(), columns.len(), "{row:?}");
        writeln!(out, "| {} |", row.join(" | ")).unwrap();
    }
    out
}

fn structure(fields: &[Field]) -> String {
    let row = |f: &Field| {
        let follows = f.bytes == 0;
        let bytes = if follows { "variable".to_owned() } else { f.bytes.to_string() };
        vec![f.offset.to_string(), bytes, format!("`{}`", f.name), f.doc.to_owned()]
    };
    // Of several variable fields only the first has a fixed offset.
    let mut variable = false;
    let rows = fields.iter().map(|f| {
        let mut row = row(f);
        if f.bytes == 0 && std::mem::replace(&mut variable, true) {
            "follows".clone_into(&mut row[0]);
        }
        row
    });
    table(&["offset", "bytes", "name", "meaning"], rows)
}

fn constants() -> String {
    fn row(name: &str, value: impl Display, meaning: &str) -> Vec<String> {
        vec![format!("`{name}`"), value.to_string(), meaning.to_owned()]
    }
    let hex = |value: u64| format!("{value:#x}");
    let rows = vec![
        row("MAGIC", hex(header::MAGIC), "first eight bytes as a little-endian number: `DYNMETRC`"),
        row("FORMAT_VERSION", header::FORMAT_VERSION, "version of this document"),
        row("KNOWN_INCOMPAT", hex(header::KNOWN_INCOMPAT), "bits of `incompat` that version 1 defines"),
        row("KNOWN_RO_COMPAT", hex(header::KNOWN_RO_COMPAT), "bits of `ro_compat` that version 1 defines"),
        row("HEADER_BYTES", header::BYTES, "bytes of the header"),
        row("MAX_COMMON_LABELS", header::MAX_COMMON_LABELS, "most bytes of common labels"),
        row("MIN_CHUNK", header::MIN_CHUNK, "smallest `chunk_bytes`"),
        row("MAX_CHUNK", header::MAX_CHUNK, "largest `chunk_bytes`"),
        row("MAX_CPUS", header::MAX_CPUS, "most entries of a block table"),
        row("MAX_PROCESSES", header::MAX_PROCESSES, "most process slots"),
        row("MAX_OFFSET", hex(link::MAX_OFFSET), "largest offset, and largest `max_bytes`"),
        row("STATE_CURRENT", header::STATE_CURRENT, "header state: carries the name"),
        row("STATE_SUPERSEDED", header::STATE_SUPERSEDED, "header state: another segment has replaced it"),
        row("PROCESS_STRIDE", process::STRIDE, "bytes of a process slot"),
        row("MAX_TEXT", process::MAX_TEXT, "most bytes of command, role and labels of a process"),
        row("LOCK_BASE", hex(process::LOCK_BASE), "offset of the lock byte of slot 0"),
        row("LOCK_STRIDE", hex(process::LOCK_STRIDE), "from one slot's lock byte to the next"),
        row("REPLACE_LOCK", hex(process::REPLACE_LOCK), "lock byte that serialises replacement"),
        row("CLAIM_LOCK", hex(process::CLAIM_LOCK), "lock byte that serialises claims of slots"),
        row("USERS_LOCK", hex(process::USERS_LOCK), "byte on which who may count holds a read lock"),
        row("INDEX_TAG", hex(u64::from(index::TAG)), "tag of an index table"),
        row("INDEX_HEADER_BYTES", index::HEADER_BYTES, "bytes of a table before its slots"),
        row("PROBE_WINDOW", index::PROBE_WINDOW, "slots looked at in one table"),
        row("MIN_SLOTS", index::MIN_SLOTS, "slots of the smallest table"),
        row("FAMILY_TAG", hex(u64::from(record::FAMILY_TAG)), "tag of a family record"),
        row("SERIES_TAG", hex(u64::from(record::SERIES_TAG)), "tag of a series record"),
        row("STATE_STRIDE", record::STATE_BYTES, "bytes of the state block before each record"),
        row("RECORD_HEADER_BYTES", record::HEADER_BYTES, "bytes of the record header"),
        row("MAX_RECORD", record::MAX_RECORD, "most bytes of a record"),
        row("MAX_NAME", name::MAX_NAME, "most bytes of a metric name"),
        row(
            "RESERVED_PREFIX",
            format!("`{}`", name::RESERVED_PREFIX),
            "start of metric names that nobody registers",
        ),
        row("MAX_LABEL_NAME", name::MAX_LABEL_NAME, "most bytes of a label name"),
        row("MAX_LABEL_VALUE", record::MAX_LABEL_VALUE, "most bytes of a label value"),
        row("MAX_LABELS", record::MAX_LABELS, "most labels of a series"),
        row("MAX_HELP", record::MAX_HELP, "most bytes of a help text"),
        row("MAX_UNIT", record::MAX_UNIT, "most bytes of a unit"),
        row("MAX_REGISTRANT", record::MAX_REGISTRANT, "most bytes of a registrant"),
        row("MAX_BOUNDS", record::MAX_BOUNDS, "most bounds of a histogram, `+Inf` not among them"),
        row("MAX_STATES", record::MAX_STATES, "most states of a state set"),
        row("EXTENT_TAG", hex(u64::from(extent::TAG)), "tag of an extent"),
        row("EXTENT_HEADER_BYTES", extent::HEADER_BYTES, "bytes of an extent before its block table"),
        row("BLOCK_ALIGN", extent::BLOCK_ALIGN, "alignment of blocks"),
        row("MIN_WORDS", extent::MIN_WORDS, "fewest words that a writer gives a block"),
        row("MAX_WORDS", extent::MAX_WORDS, "most words of a block"),
        row("GAUGE_STRIDE", gauge::BYTES, "bytes of a gauge cell"),
        row("GAUGE_ALIGN", gauge::ALIGN, "alignment of a gauge cell"),
    ];
    table(&["name", "value", "meaning"], rows)
}

fn kinds() -> String {
    let row = |kind: Kind| {
        let words = match kind {
            Kind::Counter => "1: total",
            Kind::Tally => "2: count, sum",
            Kind::Histogram => "bounds + 2: one for each bucket (`+Inf` last), sum",
            Kind::Gauge | Kind::StateSet => "none: gauge cells",
            Kind::Info => "none: the value is 1",
            Kind::ExponentialHistogram => "reserved",
        };
        let counted = (kind.cell_words(0), kind.cell_words(3));
        let expected = match kind {
            Kind::Counter => (1, 1),
            Kind::Tally => (2, 2),
            Kind::Histogram => (2, 5),
            _ => (0, 0),
        };
        assert_eq!(counted, expected, "{kind:?}");
        vec![(kind as u8).to_string(), format!("{kind:?}"), kind.name().to_owned(), words.to_owned()]
    };
    let all = (0..=u8::MAX).filter_map(Kind::from_number);
    table(&["number", "kind", "exposed as", "words in each block"], all.map(row))
}

fn representations() -> String {
    let row = |r: Representation| {
        let meaning = match r {
            Representation::Integer => {
                "unsigned in extents, two's complement in gauge cells, bits in state sets"
            }
            Representation::Float => "IEEE 754 double",
            Representation::Nanoseconds => {
                "nanoseconds, unsigned in extents, two's complement in gauge cells; exposed in seconds"
            }
        };
        // The number that is moved aside is the one whose word would be 0: word 1 decodes to its neighbour.
        let unset = GaugeMode::Min.decode(1, r).unwrap() ^ 1;
        vec![(r as u8).to_string(), format!("{r:?}"), meaning.to_owned(), format!("`{unset:#018x}`")]
    };
    table(&["number", "name", "word", "UNSET"], Representation::ALL.into_iter().map(row))
}

fn modes() -> String {
    let yes = |is: bool| (if is { "yes" } else { "no" }).to_owned();
    let row = |mode: GaugeMode| {
        let dead = match mode {
            GaugeMode::All => "shown while among the `keep_dead` newest; dropped at takeover",
            GaugeMode::Min => "count; at takeover the smaller of value and retained is retained",
            GaugeMode::Max => "count; at takeover the larger of value and retained is retained",
            GaugeMode::Sum => "count; at takeover value + retained is retained",
            GaugeMode::MostRecent => {
                "count; at takeover the later of value and retained is retained, with its stamp"
            }
            GaugeMode::LiveAll
            | GaugeMode::LiveMin
            | GaugeMode::LiveMax
            | GaugeMode::LiveSum
            | GaugeMode::LiveMostRecent => "don't count; nothing is retained",
        };
        vec![
            (mode as u8).to_string(),
            mode.name().to_owned(),
            yes(mode.tells_unset()),
            yes(mode.is_stamped()),
            dead.to_owned(),
        ]
    };
    let columns = ["number", "name", "tells unset", "stamped", "values of dead processes"];
    table(&columns, GaugeMode::EVERY.into_iter().map(row))
}

fn names_taken() -> String {
    let row = |(kind, family): (Kind, &str)| {
        let taken = name::taken_names(family, kind).map(|name| format!("`{}{}`", name.stem, name.suffix));
        let reserved = |label: &&str| name::is_reserved_label(label, kind, false, family);
        let in_all = |label: &&str| name::is_reserved_label(label, kind, true, family) && !reserved(label);
        let labels =
            ["le", "quantile", family].into_iter().filter(reserved).map(|label| format!("`{label}`"));
        let pid = ["pid"].into_iter().filter(in_all).map(|label| format!("`{label}` in `all` and `liveall`"));
        vec![
            kind.name().to_owned(),
            format!("`{family}`"),
            taken.collect::<Vec<_>>().join(", "),
            labels.chain(pid).collect::<Vec<_>>().join(", "),
        ]
    };
    let families = [
        (Kind::Counter, "x_total"),
        (Kind::Counter, "x"),
        (Kind::Info, "x_info"),
        (Kind::Info, "x"),
        (Kind::Histogram, "x"),
        (Kind::Tally, "x"),
        (Kind::Gauge, "x"),
        (Kind::StateSet, "x"),
    ];
    table(&["kind", "family", "takes the names", "labels of the exposition"], families.map(row))
}

fn statistics() -> String {
    let row = |(statistic, name): (Statistic, &str)| {
        let offset = statistic.offset();
        vec![(statistic as u8).to_string(), offset.to_string(), format!("`{name}`"), format!("{statistic:?}")]
    };
    table(&["word", "offset", "name", "statistic"], Statistic::ALL.into_iter().map(row))
}

fn test_vectors() -> String {
    let mut identity = [0; 16];
    let used = record::Family::encode_identity("up", &mut identity).unwrap();
    let hash = hash::identity(&identity[..used], 7);
    let owner = gauge::Owner { slot: 3, generation: 9, half: 1, taking: true };
    let (representation, retained) = (Representation::Integer, Representation::Float);
    let meta = gauge::Meta { pid: 4242, representation, retained };
    let cells = link::CellLink { extent: 0x12_3440, word: 511 };
    let rows = [
        ("XXH64 of `abc`, seed 0", hash::checksum(&[b"abc"], 0)),
        ("XXH64 of `identity`, seed 7", hash),
        ("`check16(0x1000, 320)`", hash::check16(0x1000, 320)),
        ("link to 0x1000 at 320", link::Link::pack(0x1000, 320)),
        ("cell link to word 511 of the extent at 0x123440, at 8200", cells.pack(8200)),
        ("index slot of a record at 0x2040, hash as in the second line", index::pack(0x2040, hash)),
        ("owner: slot 3, generation 9, half 1, taking; cell at 8192", owner.pack(8192)),
        ("meta: pid 4242, value integer, retained double; `process_id` 77", meta.pack(77)),
    ];
    let row = |(what, word): (&str, u64)| vec![what.to_owned(), format!("`{word:#x}`")];
    table(&["what", "value"], rows.map(row))
}

fn tables() -> Vec<(&'static str, String)> {
    let mut tables: Vec<_> =
        structures().into_iter().map(|(name, _, fields)| (name, structure(fields))).collect();
    tables.extend([
        ("Constants", constants()),
        ("Kinds", kinds()),
        ("Representations", representations()),
        ("Gauge modes", modes()),
        ("Names taken", names_taken()),
        ("Statistics", statistics()),
        ("Test vectors", test_vectors()),
    ]);
    tables
}

/// Where the table called `name` stands in `document`.
fn place(document: &str, name: &str) -> std::ops::Range<usize> {
    let marker = marker(name) + "\n";
    assert_eq!(document.matches(&marker).count(), 1, "expected one marker {marker:?}");
    let start = document.find(&marker).unwrap() + marker.len();
    let len = document[start..].find(END).unwrap_or_else(|| panic!("no end of table {name}"));
    start..start + len
}

#[test]
fn the_document_has_a_marker_for_each_table_and_no_other() {
    let document = std::fs::read_to_string(path()).unwrap();
    let tables = tables();
    for (name, _) in &tables {
        place(&document, name);
    }
    assert_eq!(document.matches("<!-- table: ").count(), tables.len(), "markers without a table");
    assert_eq!(document.matches(END).count(), tables.len(), "ends without a table");
}

#[test]
fn the_document_s_tables_are_those_of_the_code() {
    let mut document = std::fs::read_to_string(path()).unwrap();
    let bless = std::env::var_os("BLESS").is_some_and(|value| value == "1");
    for (name, expected) in tables() {
        let place = place(&document, name);
        if bless {
            document.replace_range(place, &expected);
        } else {
            assert_eq!(document[place], expected, "table {name}; BLESS=1 rewrites it");
        }
    }
    if bless {
        std::fs::write(path(), document).unwrap();
    }
}
