//! Objects with restartable sequences stay loaded.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;

use crate::status::edge;

/// Keeps the object (program or shared object) that `address` lies in loaded until the process ends, whatever
/// dlclose() is told: the kernel may look at the descriptors of its sequences as long as threads live.
///
/// Requires: any address, NULL too. Guarantees: nothing in programs that are linked statically, and where the
/// dynamic linker doesn't know the object. Threads: any. Signals: no. Cost: the dynamic linker's lock. Errors:
/// none.
#[unsafe(no_mangle)]
pub extern "C" fn dynm_pin(address: *const c_void) {
    edge(|| {
        pin(address);
        Ok(())
    });
}

type Open = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;

fn pin(address: *const c_void) -> Option<()> {
    let object = object_of(address)?;
    // SAFETY: asks for a number.
    let headers = unsafe { libc::getauxval(libc::AT_PHDR) } as *const c_void;
    if object_of(headers).is_some_and(|program| program.dli_fbase == object.dli_fbase) {
        return None; // the program itself is never unloaded
    }
    // By its name at run time: linkers warn of dlopen in programs that are linked statically, which have none.
    let open = symbol(c"dlopen")?;
    // SAFETY: the C library's dlopen() is declared so.
    let open = unsafe { std::mem::transmute::<*mut c_void, Open>(open) };
    // SAFETY: the dynamic linker's own name of the object; it is loaded, so nothing of it is run or mapped.
    unsafe { open(object.dli_fname, libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE) };
    Some(())
}

fn object_of(address: *const c_void) -> Option<libc::Dl_info> {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address may be asked for; the structure is there to be filled.
    if unsafe { libc::dladdr(address, info.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: zeroed, and filled.
    let info = unsafe { info.assume_init() };
    (!info.dli_fname.is_null()).then_some(info)
}

fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a NUL-terminated name; the default handle needs no opening.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}
