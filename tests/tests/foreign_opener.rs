//! A segment is an ordinary POSIX shared-memory object: another library opens it by name.
#![allow(unsafe_code, reason = "a foreign library gives bytes away unsafely")]

use std::path::PathBuf;

use dyn_metrics_layout::header::{BYTES, Header, MAGIC};
use dyn_metrics_reader::FORMAT_VERSION;
use dyn_metrics_tests::reading::number;
use dyn_metrics_tests::stage::{Stage, snapshot};
use shared_memory::ShmemConf;

/// A name directly in `/dev/shm`, where such libraries look; removed in the end.
struct Named(PathBuf);

impl Named {
    fn new() -> Self {
        Self(PathBuf::from(format!("/dev/shm/dyn-metrics-foreign-{}", std::process::id())))
    }

    fn os_id(&self) -> String {
        format!("/{}", self.0.file_name().unwrap().to_str().unwrap())
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_foreign_library_opens_the_segment_by_name_and_reads_its_header() {
    let (stage, named) = (Stage::new(), Named::new());
    let mut peer = stage.try_peer(&named.0, &[]).unwrap();
    peer.done("count main none 1 1000");
    let length = std::fs::metadata(&named.0).unwrap().len();

    let foreign = ShmemConf::new().os_id(named.os_id()).open().unwrap();
    assert_eq!(foreign.len() as u64, length);
    // SAFETY: the header's fixed part doesn't change; the mapping outlives the slice.
    let bytes = unsafe { std::slice::from_raw_parts(foreign.as_ptr(), BYTES) };
    assert_eq!(u64::from_le_bytes(bytes[..8].try_into().unwrap()), MAGIC);
    assert_eq!(&bytes[..8], b"DYNMETRC");
    assert_eq!(u32::from_le_bytes(bytes[12..16].try_into().unwrap()), FORMAT_VERSION);
    let header = Header::decode(bytes, length).unwrap();
    assert_eq!(u64::from(header.page_bytes), 4096);
    drop(foreign);

    assert!(named.0.exists(), "it survives the foreign opener");
    peer.done("count main none 1 1000");
    assert_eq!(number(&snapshot(&named.0), "work_total"), Some(2000.0));
}
