//! A plugin's object: loaded, its table checked and copied, never unloaded.
#![allow(unsafe_code, reason = "loads an object of somebody else's, and reads its table")]

use std::ffi::c_void;
use std::fs;
use std::mem::{MaybeUninit, offset_of};
use std::path::Path;
use std::ptr;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::abi::{
    DYNM_PLUGIN_ABI_VERSION, dynm_plugin_descriptor, dynm_plugin_options, dynm_plugin_output,
    dynm_plugin_selection, dynm_plugin_series, dynm_plugin_value, dynm_registry_plugin,
};
use crate::error::{Error, Result};

/// What a plugin exports.
const SYMBOL: &str = "dynm_registry_plugin_v1";
/// Bytes of the shortest table: what version 1 began with.
const FIRST_TABLE: usize = offset_of!(dynm_registry_plugin, remove);
/// More than any table has; what is beyond is no table.
const MOST_TABLE_BYTES: u32 = 1 << 16;

type Output = *const dynm_plugin_output;
type Registry = *mut c_void;
type Instrument = *mut c_void;

/// A plugin's functions, those that it must have without a doubt.
#[derive(Clone, Copy)]
pub(super) struct Functions {
    pub(super) open: unsafe extern "C" fn(*const dynm_plugin_options, *mut Registry, Output) -> i32,
    pub(super) close: Option<unsafe extern "C" fn(Registry)>,
    pub(super) family: Option<unsafe extern "C" fn(Registry, *const dynm_plugin_descriptor, Output) -> i32>,
    pub(super) series:
        unsafe extern "C" fn(Registry, *const dynm_plugin_descriptor, *mut Instrument, Output) -> i32,
    pub(super) add_integer: unsafe extern "C" fn(Instrument, i64),
    pub(super) add_double: unsafe extern "C" fn(Instrument, f64),
    pub(super) add_nanoseconds: unsafe extern "C" fn(Instrument, i64),
    pub(super) set_integer: unsafe extern "C" fn(Instrument, i64),
    pub(super) set_double: unsafe extern "C" fn(Instrument, f64),
    pub(super) set_nanoseconds: unsafe extern "C" fn(Instrument, i64),
    pub(super) observe: unsafe extern "C" fn(Instrument, f64, u64),
    pub(super) switch_states: unsafe extern "C" fn(Instrument, u64, u64),
    pub(super) dropped: Option<unsafe extern "C" fn(Instrument, u32)>,
    pub(super) read: Option<unsafe extern "C" fn(Instrument, *mut dynm_plugin_value) -> i32>,
    pub(super) render:
        Option<unsafe extern "C" fn(Registry, *const dynm_plugin_selection, Output, Output) -> i32>,
    pub(super) remove: Option<unsafe extern "C" fn(Registry, *const dynm_plugin_series, Output) -> i32>,
}

/// The refusal of what is at `path`.
pub(super) fn refusal(path: &Path, found: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::Plugin { path: path.to_owned(), found: found.into(), expected: expected.into() }
}

/// Loads the object at `path` and gives its functions. They stay for ever.
pub(super) fn load(path: &Path) -> Result<&'static Functions> {
    check_file(path)?;
    // SAFETY: the object's initializers run, which whoever names a plugin asks for.
    let loaded = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
    let library = loaded.map_err(|error| {
        let text = reason(&error);
        let beginning = format!("{}: ", path.display());
        let text = text.strip_prefix(&beginning).unwrap_or(&text);
        refusal(path, format!("what can't be loaded ({text})"), "a shared object")
    })?;
    // SAFETY: only the address is taken.
    let symbol = unsafe { library.get::<*const dynm_registry_plugin>(SYMBOL) };
    let table = match symbol {
        Ok(symbol) if !symbol.is_null() => *symbol,
        _ => return Err(refusal(path, "a shared object without its symbol", format!("the symbol {SYMBOL}"))),
    };
    // SAFETY: what exports this symbol has the table there that the header describes.
    let functions = unsafe { functions(path, table) }?;
    std::mem::forget(library);
    Ok(Box::leak(Box::new(functions)))
}

/// What the loader says; without it the error only names the function that failed.
fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Refuses what the loader would search elsewhere, or say little about.
fn check_file(path: &Path) -> Result<()> {
    if path.parent().is_none_or(|parent| parent.as_os_str().is_empty()) {
        return Err(refusal(
            path,
            "no directory in the path",
            "one, such as ./plugin.so: nothing is searched",
        ));
    }
    let found = match fs::metadata(path) {
        Ok(kind) if kind.is_file() => return Ok(()),
        Ok(kind) if kind.is_dir() => "a directory".to_owned(),
        Ok(_) => "what is no regular file".to_owned(),
        Err(error) => format!("no file ({error})"),
    };
    Err(refusal(path, found, "a shared object"))
}

/// Checks the table of a plugin and copies it.
///
/// # Safety
/// `table` is the address of what has that symbol.
unsafe fn functions(path: &Path, table: *const dynm_registry_plugin) -> Result<Functions> {
    let words = table.cast::<u32>();
    // SAFETY: each table of each version begins with two words.
    let [size, version] = unsafe { words.cast::<[u32; 2]>().read_unaligned() };
    if version != DYNM_PLUGIN_ABI_VERSION {
        let found = format!("a table of ABI version {version}");
        return Err(refusal(path, found, format!("version {DYNM_PLUGIN_ABI_VERSION}")));
    }
    let least = FIRST_TABLE as u32;
    if !(least..=MOST_TABLE_BYTES).contains(&size) {
        let found = format!("a table of {size} bytes");
        return Err(refusal(path, found, format!("{least} to {MOST_TABLE_BYTES}")));
    }
    let whole = size_of::<dynm_registry_plugin>();
    let there = if size as usize >= whole { whole } else { FIRST_TABLE };
    let mut copy = MaybeUninit::<dynm_registry_plugin>::zeroed();
    // SAFETY: the table is at least that long, as it says itself, and so is the copy.
    unsafe { ptr::copy_nonoverlapping(table.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), there) };
    // SAFETY: numbers, and functions that there need not be: where nothing was copied, none.
    checked(path, unsafe { copy.assume_init() })
}

/// The functions of a table: those that it must have are there.
fn checked(path: &Path, table: dynm_registry_plugin) -> Result<Functions> {
    macro_rules! must_have {
        ($($name:ident)*; $($may:ident)*) => {
            Functions {
                $($name: table.$name.ok_or_else(|| {
                    refusal(path, concat!("a table without the function ", stringify!($name)), "one")
                })?,)*
                $($may: table.$may,)*
            }
        };
    }
    Ok(must_have!(open series add_integer add_double add_nanoseconds set_integer set_double set_nanoseconds
        observe switch_states; close family dropped read render remove))
}
