//! Text that a plugin writes: taken piece by piece, with a limit.
#![allow(unsafe_code, reason = "called by a plugin, and reads what it points to")]

use std::ffi::{c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::abi::{DYNM_PLUGIN_ERROR, DYNM_PLUGIN_OK, dynm_plugin_output};

/// Bytes of an error's text that are taken.
const ERROR_BYTES: usize = 1024;

/// Text of a plugin's.
#[derive(Debug)]
pub(super) struct Output {
    written: Mutex<Written>,
    most: usize,
}

#[derive(Debug, Default)]
struct Written {
    bytes: Vec<u8>,
    /// What was wrong with a piece, first of all; nothing is taken after that.
    wrong: Option<String>,
}

impl Output {
    /// One that takes `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { written: Mutex::default(), most }
    }

    /// One for the text of an error.
    pub(super) fn of_error() -> Self {
        Self::new(ERROR_BYTES)
    }

    /// What a plugin gets of it. Good as long as `self` stays where it is.
    pub(super) fn lend(&self) -> dynm_plugin_output {
        let state: *const Self = self;
        let struct_size = size_of::<dynm_plugin_output>() as u32;
        dynm_plugin_output { struct_size, reserved: 0, state: state.cast_mut().cast(), write: Some(write) }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes no more.
    pub(super) fn end(&self, why: &str) {
        self.written().wrong.get_or_insert_with(|| why.to_owned());
    }

    /// Everything, or what was wrong with it.
    pub(super) fn text(&self) -> Result<String, String> {
        let Written { bytes, wrong } = std::mem::take(&mut *self.written());
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        String::from_utf8(bytes).map_err(|error| {
            format!("found bytes that are not UTF-8 at {}, expected text", error.utf8_error().valid_up_to())
        })
    }

    /// What there is of an error's text, for people.
    pub(super) fn excuse(&self) -> String {
        let text = String::from_utf8_lossy(&self.written().bytes).trim().to_owned();
        if text.is_empty() { "no reason is given".to_owned() } else { text }
    }

    fn push(&self, data: *const c_char, length: usize) -> i32 {
        let mut written = self.written();
        let room = self.most - written.bytes.len();
        let wrong = if written.wrong.is_some() {
            return DYNM_PLUGIN_ERROR;
        } else if length > room {
            let all = (written.bytes.len() as u64).saturating_add(length as u64);
            Some(format!("found a text of {all} bytes, expected at most {} in all", self.most))
        } else if data.is_null() && length > 0 {
            Some(format!("found NULL for a text of {length} bytes, expected it"))
        } else {
            None
        };
        if wrong.is_some() {
            written.wrong = wrong;
            return DYNM_PLUGIN_ERROR;
        }
        if length > 0 {
            // SAFETY: not null, and short enough; that so many bytes are there is what the plugin says.
            written.bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(data.cast(), length) });
        }
        DYNM_PLUGIN_OK
    }
}

unsafe extern "C" fn write(state: *mut c_void, data: *const c_char, length: usize) -> i32 {
    if state.is_null() {
        return DYNM_PLUGIN_ERROR;
    }
    // SAFETY: as lend() made it, and the caller of the plugin's function still has it.
    let output = unsafe { &*state.cast::<Output>() };
    output.push(data, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_put_together_and_what_is_no_text_is_refused() {
        let output = Output::new(8);
        let put = |piece: &[u8]| output.push(piece.as_ptr().cast(), piece.len());
        assert_eq!((put(b"a\xc3"), put(b"\xa4b"), put(b"")), (0, 0, 0));
        assert_eq!(output.text().unwrap(), "aäb");
        assert_eq!((put(b"12345678"), put(b"9")), (0, -1));
        assert_eq!(put(b""), -1, "nothing is taken after that");
        assert_eq!(output.text().unwrap_err(), "found a text of 9 bytes, expected at most 8 in all");
        assert_eq!(put(b"ab\xff"), 0);
        assert_eq!(output.text().unwrap_err(), "found bytes that are not UTF-8 at 2, expected text");
    }

    #[test]
    fn impossible_lengths_and_pointers_are_not_followed() {
        for (data, length) in [(c"x".as_ptr(), usize::MAX), (std::ptr::null(), 3), (c"x".as_ptr(), 1 << 40)] {
            let output = Output::new(100);
            assert_eq!(output.push(data, length), -1);
            assert!(output.text().is_err());
        }
        let output = Output::new(100);
        assert_eq!(output.push(std::ptr::null(), 0), 0);
        assert_eq!(output.text().unwrap(), "");
    }
}
