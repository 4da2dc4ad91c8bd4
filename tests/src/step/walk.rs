//! Steps a victim from its first mark to its last.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::servers::program;
use crate::step::code::{Code, Sequence};
use crate::step::image::{Image, Live};
use crate::step::scenario::{Outcome, Scenario};
use crate::step::tracee::{BREAKPOINT, Stop, Tracee};

/// More instructions than any scenario has.
const MOST_STEPS: u64 = 20_000_000;

const SYSTEM_CALL: [u8; 2] = [0x0f, 0x05];

/// What was seen on the way.
#[derive(Debug, Default)]
pub struct Walk {
    /// The victim's pid: as long as a registrant's text, which holds it, is another record.
    pub pid: i32,
    /// The directory at the first mark.
    pub before: Image,
    /// Each distinct content of the directory afterwards, in the order of appearance.
    pub images: Vec<Image>,
    /// Instructions executed.
    pub instructions: u64,
    /// Those after which bytes of a file had changed, system calls not counted.
    pub stores: u64,
    /// System calls.
    pub calls: u64,
    /// Each distinct instruction of the functions that keep the protocols, relative to where the program is loaded.
    pub protocol: Vec<u64>,
    /// Each distinct instruction of the program itself.
    pub own: Vec<u64>,
    /// Those that lie in a restartable sequence.
    pub in_sequences: HashSet<u64>,
}

impl Walk {
    /// The directory at the last mark.
    #[must_use]
    pub fn after(&self) -> &Image {
        self.images.last().unwrap_or(&self.before)
    }
}

/// The program of the victims.
#[derive(Debug)]
pub struct Program {
    /// Its file.
    pub path: PathBuf,
    /// Its code.
    pub code: Code,
}

impl Default for Program {
    fn default() -> Self {
        let path = program("victim");
        let code = Code::of(&path);
        Self { path, code }
    }
}

impl Program {
    fn command(&self, scenario: &Scenario, arguments: &[&str], directory: &Path) -> Command {
        let mut command = Command::new(&self.path);
        // The same environment each time, so that the stack begins at the same place.
        command.env_clear().env("DYN_METRICS_RSEQ", if scenario.shared { "off" } else { "on" });
        command.args(arguments).current_dir(directory).stdin(Stdio::null());
        command
    }

    /// Has the scenario's processes prepare what the victim finds; the victim's note.
    ///
    /// # Errors
    /// What one of them says when it fails.
    pub fn prepare(&self, scenario: &Scenario, directory: &Path) -> Outcome<String> {
        let mut note = "-".to_owned();
        for n in 0..scenario.prepare.len() {
            let output =
                self.command(scenario, &["prepare", scenario.name, &n.to_string()], directory).output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into());
            }
            note = String::from_utf8(output.stdout)?.trim().to_owned();
        }
        Ok(note)
    }

    /// Starts the scenario's victim and lets it run to its first mark.
    ///
    /// # Errors
    /// Those of tracing.
    ///
    /// # Panics
    /// When it doesn't get there.
    pub fn start(&self, scenario: &Scenario, directory: &Path, note: &str) -> std::io::Result<Tracee> {
        let mut tracee =
            Tracee::start(&mut self.command(scenario, &["run", scenario.name, note], directory))?;
        tracee.go_to_mark();
        Ok(tracee)
    }

    /// Where the program is loaded in a victim.
    ///
    /// # Panics
    /// When it isn't.
    #[must_use]
    pub fn base(&self, tracee: &Tracee) -> u64 {
        tracee.base_of(self.path.to_str().expect("UTF-8"))
    }

    /// Steps a victim in `directory`, which stands at its first mark, to its last.
    ///
    /// # Panics
    /// When it dies or never arrives.
    #[must_use]
    pub fn walk(&self, tracee: &mut Tracee, directory: &Path) -> Walk {
        let base = self.base(tracee);
        let sequences = self.code.sequences(base, |address, bytes| tracee.read(address, bytes));
        let mut steps = Steps {
            live: Live::new(directory),
            seen: HashSet::new(),
            places: HashSet::new(),
            pages: HashMap::new(),
            walk: Walk::default(),
        };
        steps.walk.before = steps.live.image();
        steps.seen.insert(steps.walk.before.hash());
        loop {
            let at = tracee.next();
            let code = steps.code(tracee, at);
            if code[0] == BREAKPOINT {
                break;
            }
            self.note_place(&mut steps, at - base, sequences.iter().any(|s| (s.start..s.end).contains(&at)));
            let stop = tracee.step();
            assert_eq!(stop, Stop::Trap, "at {:#x} after {} steps", at - base, steps.walk.instructions);
            go_on_in_sequence(tracee, &sequences);
            steps.look(code == SYSTEM_CALL);
            assert!(steps.walk.instructions < MOST_STEPS, "the victim never arrives at its last mark");
        }
        steps.walk
    }

    fn note_place(&self, steps: &mut Steps, place: u64, in_sequence: bool) {
        if !steps.places.insert(place) || !self.code.is_own(place) {
            return;
        }
        steps.walk.own.push(place);
        if self.code.is_protocol(place) {
            steps.walk.protocol.push(place);
        }
        if in_sequence {
            steps.walk.in_sequences.insert(place);
        }
    }
}

/// Each step interrupts, and an interrupted sequence starts all over, for ever. So once it is armed (the next instruction
/// is its first, or already its abort handler) it is disarmed, and runs like any other code. Nobody else
/// counts in a scenario's segment: nothing is lost by that.
fn go_on_in_sequence(tracee: &Tracee, sequences: &[Sequence]) {
    let at = tracee.next();
    if let Some(sequence) = sequences.iter().find(|sequence| [sequence.start, sequence.abort].contains(&at)) {
        tracee.disarm().expect("a thread with an rseq area");
        tracee.jump(sequence.start);
    }
}

struct Steps {
    live: Live,
    seen: HashSet<u64>,
    places: HashSet<u64>,
    pages: HashMap<u64, Vec<u8>>,
    walk: Walk,
}

impl Steps {
    /// The first two bytes of the instruction at `at`.
    fn code(&mut self, tracee: &Tracee, at: u64) -> [u8; 2] {
        const PAGE: u64 = 4096;
        let mut byte = |at: u64| {
            let page = self.pages.entry(at / PAGE).or_insert_with(|| {
                let mut bytes = vec![0; PAGE as usize];
                let len = tracee.read(at - at % PAGE, &mut bytes);
                bytes.truncate(len);
                bytes
            });
            page.get((at % PAGE) as usize).copied().unwrap_or(0)
        };
        [byte(at), byte(at + 1)]
    }

    fn look(&mut self, is_call: bool) {
        self.walk.instructions += 1;
        self.walk.calls += u64::from(is_call);
        let changed = self.live.have_changed();
        self.walk.stores += u64::from(changed && !is_call);
        if changed | (is_call && self.live.look_again()) {
            let image = self.live.image();
            if self.seen.insert(image.hash()) {
                self.walk.images.push(image);
            }
        }
    }
}
