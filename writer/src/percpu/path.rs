//! Which path updates take in this process, decided once.
#![allow(unsafe_code, reason = "run-time look-up of glibc's symbols")]

use std::fmt;

use dyn_metrics_layout::header::{MAX_CPUS, Statistic};

use super::{arch, cpu_id, kernel};
use crate::once_map::OnceValue;

/// Which path updates take in this process, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// Restartable sequences in per-CPU blocks; offset of the rseq area from the thread pointer, not 0.
    Rseq {
        /// Bytes.
        offset: i32,
    },
    /// Atomic updates of the shared block.
    Shared(Reason),
}

/// Why updates go to the shared block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// `DYN_METRICS_RSEQ=off`.
    Off,
    /// The C library knows rseq, but has not registered it: switched off, refused by the kernel, or taken.
    Unregistered,
    /// The C library doesn't know rseq.
    Library,
    /// The kernel is known not to keep rseq's promise, or can't be told.
    Kernel,
    /// There is no sequence for this architecture.
    Architecture,
}

impl Reason {
    /// The statistic that counts processes with this reason.
    pub(crate) const fn statistic(self) -> Statistic {
        match self {
            Self::Off => Statistic::SharedOff,
            Self::Unregistered => Statistic::SharedUnregistered,
            Self::Library => Statistic::SharedLibrary,
            Self::Kernel => Statistic::SharedKernel,
            Self::Architecture => Statistic::SharedArchitecture,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "DYN_METRICS_RSEQ=off",
            Self::Unregistered => "rseq is not registered (switched off, refused by the kernel, or taken)",
            Self::Library => "no rseq area of the C library was found (glibc 2.35 or newer, linked dynamically, has one)",
            Self::Kernel => {
                "this kernel may not restart sequences (aarch64, Linux 6.19 to 7.0.13); DYN_METRICS_RSEQ=on overrides"
            }
            Self::Architecture => "no sequence for this architecture",
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rseq { .. } => f.write_str("rseq"),
            Self::Shared(reason) => write!(f, "shared: {reason}"),
        }
    }
}

/// Decides once per process; later calls return the same.
///
/// Without a lock, for the sake of forked children: threads that meet here decide the same.
pub(crate) fn path() -> Path {
    static PATH: OnceValue<Path> = OnceValue::new();
    PATH.get_or(|| Some(decide())).copied().unwrap_or(Path::Shared(Reason::Off))
}

/// What the host wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Off,
    Auto,
    On,
}

fn wish() -> Wish {
    let wanted = std::env::var_os("DYN_METRICS_RSEQ").unwrap_or_default();
    match wanted.to_string_lossy().to_ascii_lowercase().as_str() {
        "off" => Wish::Off,
        "on" => Wish::On,
        "" | "auto" => Wish::Auto,
        _ => {
            log::warn!("DYN_METRICS_RSEQ: found {wanted:?}, expected off, auto or on; using auto");
            Wish::Auto
        }
    }
}

fn decide() -> Path {
    let wish = wish();
    if wish == Wish::Off {
        return Path::Shared(Reason::Off);
    }
    let decided = look_up();
    let trusted = wish == Wish::On || kernel_is_trusted();
    match decided {
        Path::Rseq { .. } if !trusted => {
            log::info!("{}", Reason::Kernel);
            Path::Shared(Reason::Kernel)
        }
        Path::Shared(reason) if wish == Wish::On => {
            log::warn!("DYN_METRICS_RSEQ=on, but {reason}; updating the shared block");
            decided
        }
        _ => decided,
    }
}

/// Whether this kernel keeps rseq's promise on this architecture.
fn kernel_is_trusted() -> bool {
    if cfg!(not(target_arch = "aarch64")) {
        return true;
    }
    let release = nix::sys::utsname::uname().ok();
    let release = release.as_ref().and_then(|name| name.release().to_str());
    release.and_then(kernel::restarts_on_preemption).unwrap_or(false)
}

/// Finds glibc's rseq registration, if it is in force.
fn look_up() -> Path {
    if !arch::SUPPORTED {
        return Path::Shared(Reason::Architecture);
    }
    let symbol = |name: &std::ffi::CStr| {
        // SAFETY: dlsym with a NUL-terminated name; the default handle needs no opening.
        let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    };
    let (Some(offset), Some(size)) = (symbol(c"__rseq_offset"), symbol(c"__rseq_size")) else {
        return Path::Shared(Reason::Library);
    };
    // SAFETY: glibc declares `extern const ptrdiff_t __rseq_offset`.
    let offset = unsafe { *offset.cast::<isize>() };
    // SAFETY: glibc declares `extern const unsigned int __rseq_size`.
    let size = unsafe { *size.cast::<u32>() };
    // Within the thread's control block or its static TLS: near the thread pointer.
    let near = i32::try_from(offset).unwrap_or(0);
    // 0: not registered. Otherwise at least the fields up to `flags`: 20 bytes, whatever follows (28, 32, 33).
    if size < 20 || near == 0 {
        return Path::Shared(Reason::Unregistered);
    }
    // SAFETY: glibc registered an area at this offset from the thread pointer of every thread.
    if unsafe { cpu_id(offset) } >= MAX_CPUS {
        return Path::Shared(Reason::Unregistered);
    }
    Path::Rseq { offset: near }
}
