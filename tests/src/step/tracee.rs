//! A child process under ptrace.
#![allow(unsafe_code, reason = "prepares a child between fork and exec; marks are breakpoints")]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::libc::user_regs_struct;
use nix::sys::personality::{self, Persona};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// The instruction of a breakpoint, and of a mark.
pub const BREAKPOINT: u8 = 0xcc;

/// Where a scenario begins and ends: stops the process when it is traced, and kills it otherwise.
#[inline(never)]
pub fn mark() {
    // SAFETY: a breakpoint changes nothing.
    unsafe { std::arch::asm!("int3", options(nomem, nostack)) };
}

/// Why a traced process stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A step, a breakpoint or a mark.
    Trap,
    /// Any other signal, which it would have been given.
    Signal(Signal),
    /// It is gone.
    Ended(WaitStatus),
}

/// A child that is traced; killed when this is dropped.
#[derive(Debug)]
pub struct Tracee {
    child: Child,
    pid: Pid,
    memory: File,
    gone: bool,
}

impl Tracee {
    /// Starts `command`, with its addresses not randomised, and stops it before its first instruction.
    ///
    /// # Errors
    /// The kernel's: where tracing is forbidden, above all.
    pub fn start(command: &mut Command) -> std::io::Result<Self> {
        let prepare = || {
            personality::set(personality::get()? | Persona::ADDR_NO_RANDOMIZE)?;
            ptrace::traceme()?;
            Ok(())
        };
        // SAFETY: three system calls, nothing is allocated.
        unsafe { command.pre_exec(prepare) };
        let child = command.spawn()?;
        let pid = Pid::from_raw(child.id() as i32);
        let stopped = waitpid(pid, None)?;
        if stopped != WaitStatus::Stopped(pid, Signal::SIGTRAP) {
            return Err(std::io::Error::other(format!("not stopped at its start but {stopped:?}")));
        }
        ptrace::setoptions(pid, Options::PTRACE_O_EXITKILL)?;
        let memory = File::options().read(true).open(format!("/proc/{pid}/mem"))?;
        Ok(Self { child, pid, memory, gone: false })
    }

    /// Its pid.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// Its standard output, if that is a pipe.
    pub const fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    fn wait(&mut self) -> Stop {
        match waitpid(self.pid, None).expect("a child of this process") {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => Stop::Trap,
            WaitStatus::Stopped(_, signal) => Stop::Signal(signal),
            ended => {
                self.gone = true;
                Stop::Ended(ended)
            }
        }
    }

    /// Lets it run until it stops.
    ///
    /// # Panics
    /// When it is gone.
    pub fn go(&mut self) -> Stop {
        ptrace::cont(self.pid, None).expect("a stopped process");
        self.wait()
    }

    /// Lets it run to its next mark.
    ///
    /// # Panics
    /// When it doesn't get there.
    pub fn go_to_mark(&mut self) {
        let stop = self.go();
        assert_eq!(stop, Stop::Trap, "it was to run to its mark");
    }

    /// Lets it execute one instruction.
    ///
    /// # Panics
    /// When it is gone.
    pub fn step(&mut self) -> Stop {
        ptrace::step(self.pid, None).expect("a stopped process");
        self.wait()
    }

    /// Its registers.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn registers(&self) -> user_regs_struct {
        ptrace::getregs(self.pid).expect("a stopped process")
    }

    /// The instruction that it executes next.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.registers().rip
    }

    /// Has it go on elsewhere.
    ///
    /// # Panics
    /// When it is gone.
    pub fn jump(&self, to: u64) {
        let registers = user_regs_struct { rip: to, ..self.registers() };
        ptrace::setregs(self.pid, registers).expect("a stopped process");
    }

    /// Copies its memory from `address` on; as much as there is.
    #[must_use]
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> usize {
        self.memory.read_at(bytes, address).unwrap_or(0)
    }

    /// Makes the instruction at `address` a breakpoint.
    ///
    /// # Panics
    /// When there is no memory.
    pub fn break_at(&self, address: u64) {
        let mut word = [0; 8];
        assert_eq!(self.read(address, &mut word), 8, "code at {address:#x}");
        word[0] = BREAKPOINT;
        let place = address as ptrace::AddressType;
        ptrace::write(self.pid, place, i64::from_le_bytes(word)).expect("code can be poked");
    }

    /// Disarms the restartable sequence that its thread is in.
    ///
    /// # Errors
    /// The kernel's: before Linux 5.13 it doesn't tell where the thread's area is.
    pub fn disarm(&self) -> nix::Result<()> {
        /// The kernel's `struct ptrace_rseq_configuration`.
        #[repr(C)]
        #[derive(Default)]
        struct Configuration {
            area: u64,
            len: u32,
            signature: u32,
            flags: u32,
            pad: u32,
        }
        const GET_CONFIGURATION: nix::libc::c_uint = 0x420f;
        const SEQUENCE: u64 = 8;
        let mut found = Configuration::default();
        let len = size_of::<Configuration>();
        // SAFETY: the kernel writes `len` bytes to what is that long.
        let done = unsafe { nix::libc::ptrace(GET_CONFIGURATION, self.pid.as_raw(), len, &raw mut found) };
        nix::errno::Errno::result(done)?;
        ptrace::write(self.pid, (found.area + SEQUENCE) as ptrace::AddressType, 0)
    }

    /// Where the first mapping of the file with this name begins.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn base_of(&self, path: &str) -> u64 {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.pid)).expect("its maps");
        let line = maps.lines().find(|line| line.ends_with(path)).expect("its own program is mapped");
        let start = line.split('-').next().expect("a range");
        u64::from_str_radix(start, 16).expect("an address")
    }

    /// Kills it with SIGKILL, and waits until the kernel has taken back what it held.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        while !self.gone {
            let _ = kill(self.pid, Signal::SIGKILL);
            self.wait();
        }
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        self.end();
    }
}
