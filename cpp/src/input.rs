//! Texts, lists and sized structures from the other side, checked as far as a pointer can be.

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;

use crate::status::{Result, dynm_status, failure};
use crate::types::{dynm_label, dynm_str};

/// Structures that start with their size and for which all-zero bytes are valid.
///
/// # Safety
/// Both are so, and the structure has no padding.
pub(crate) unsafe trait Sized_: Copy {}

// SAFETY: a size first, then pointers and numbers.
unsafe impl Sized_ for crate::types::dynm_segment_options {}
// SAFETY: as above.
unsafe impl Sized_ for crate::types::dynm_metric_options {}
// SAFETY: as above.
unsafe impl Sized_ for crate::types::dynm_value {}
// SAFETY: as above.
unsafe impl Sized_ for crate::types::dynm_description {}
// SAFETY: as above.
unsafe impl Sized_ for crate::types::dynm_registry_description {}

#[cfg(feature = "system")]
// SAFETY: as above; a null function pointer is none.
unsafe impl Sized_ for crate::system::dynm_system_options {}
#[cfg(feature = "system")]
// SAFETY: as above.
unsafe impl Sized_ for crate::system::dynm_system_description {}
#[cfg(feature = "system")]
// SAFETY: as above.
unsafe impl Sized_ for crate::system_checks::dynm_check_options {}

/// No structure is longer; a size beyond it was never set.
const MOST: usize = 4096;

pub(crate) fn not_null<T>(pointer: *const T, what: &'static str) -> Result<()> {
    if pointer.is_null() { failure(dynm_status::DYNM_NULL, format!("{what} is NULL")) } else { Ok(()) }
}

/// The size that the structure at `pointer` begins with.
fn size_of_other<T>(pointer: *const T, what: &'static str) -> Result<usize> {
    not_null(pointer, what)?;
    // SAFETY: not null, and the caller of the C function promises that a structure with a size first is
    // there.
    let size = unsafe { pointer.cast::<usize>().read_unaligned() };
    if (size_of::<usize>()..=MOST).contains(&size) {
        return Ok(size);
    }
    let wrong =
        format!("{what}: struct_size is {size}, expected sizeof; set it first, or use the _init function");
    failure(dynm_status::DYNM_OPTION, wrong)
}

/// A copy of the structure at `pointer`, and its size there: what an older program doesn't have is 0.
pub(crate) fn known_part<T: Sized_>(pointer: *const T, what: &'static str) -> Result<(T, usize)> {
    let size = size_of_other(pointer, what)?;
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: as many bytes are there as its size says, and no more are copied than fit.
    unsafe {
        pointer.cast::<u8>().copy_to_nonoverlapping(copy.as_mut_ptr().cast(), size.min(size_of::<T>()))
    };
    // SAFETY: every byte pattern of `T` that C can make is valid, zeros too.
    Ok((unsafe { copy.assume_init() }, size))
}

/// A copy of the structure at `pointer`; what a newer program's has beyond must be 0.
pub(crate) fn sized<T: Sized_>(pointer: *const T, what: &'static str) -> Result<T> {
    let (copy, size) = known_part(pointer, what)?;
    for at in size_of::<T>()..size {
        // SAFETY: below the structure's size.
        let byte = unsafe { &*pointer.cast::<u8>().wrapping_add(at) };
        if *byte != 0 {
            let known = size_of::<T>();
            return failure(
                dynm_status::DYNM_OLD_LIBRARY,
                format!(
                    "{what}: byte {at} is set, this libdyn_metrics knows {known}; install one as new as the header"
                ),
            );
        }
    }
    Ok(copy)
}

/// Copies `value` to the structure at `out`, as much of it as that has room for; its size stays.
pub(crate) fn give<T: Sized_>(value: &T, out: *mut T, what: &'static str) -> Result<()> {
    let (head, size) = (size_of::<usize>(), size_of_other(out, what)?.min(size_of::<T>()));
    // SAFETY: behind the size, which every `T` has.
    let from = unsafe { std::ptr::from_ref(value).cast::<u8>().add(head) };
    // SAFETY: as above.
    let to = unsafe { out.cast::<u8>().add(head) };
    // SAFETY: `size` bytes are there and here.
    unsafe { from.copy_to_nonoverlapping(to, size - head) };
    Ok(())
}

/// Stores `value` at `out`.
pub(crate) fn store<T>(out: *mut T, value: T, what: &'static str) -> Result<()> {
    not_null(out, what)?;
    // SAFETY: not null, and the caller of the C function promises that it may be written.
    unsafe { out.write(value) };
    Ok(())
}

/// A list; empty when `count` is 0.
pub(crate) fn list<'a, T>(first: *const T, count: usize, what: &'static str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    not_null(first, what)?;
    if !first.is_aligned() || count > isize::MAX as usize / size_of::<T>().max(1) {
        return failure(dynm_status::DYNM_OPTION, format!("{what}: no list of {count} elements"));
    }
    // SAFETY: not null and aligned; the caller of the C function promises that many elements for the call.
    Ok(unsafe { std::slice::from_raw_parts(first, count) })
}

fn utf8<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes).or_else(|error| {
        let at = error.valid_up_to();
        let shown = String::from_utf8_lossy(&bytes[..at.min(40)]).escape_debug().to_string();
        let message =
            format!("{what}: found bytes that are not UTF-8 at {at}, after \"{shown}\"; encode it as UTF-8");
        failure(dynm_status::DYNM_UTF8, message)
    })
}

/// A NUL-terminated text.
pub(crate) fn text<'a>(pointer: *const c_char, what: &'static str) -> Result<&'a str> {
    not_null(pointer, what)?;
    // SAFETY: not null; the caller of the C function promises a NUL-terminated text that stays for the call.
    let text = unsafe { CStr::from_ptr(pointer) };
    utf8(text.to_bytes(), what)
}

/// A NUL-terminated text; empty when it is NULL.
pub(crate) fn text_or_empty<'a>(pointer: *const c_char, what: &'static str) -> Result<&'a str> {
    if pointer.is_null() { Ok("") } else { text(pointer, what) }
}

/// A list of NUL-terminated texts.
pub(crate) fn texts<'a>(
    first: *const *const c_char,
    count: usize,
    what: &'static str,
) -> Result<Vec<&'a str>> {
    list(first, count, what)?.iter().map(|pointer| text(*pointer, what)).collect()
}

/// A text with its length.
pub(crate) fn str_text<'a>(from: dynm_str, what: &'static str) -> Result<&'a str> {
    utf8(list(from.data.cast::<u8>(), from.len, what)?, what)
}

/// A list of labels.
pub(crate) fn labels<'a>(
    first: *const dynm_label,
    count: usize,
    what: &'static str,
) -> Result<Vec<(&'a str, &'a str)>> {
    let pair = |label: &dynm_label| Ok((text(label.name, what)?, text(label.value, what)?));
    list(first, count, what)?.iter().map(pair).collect()
}
