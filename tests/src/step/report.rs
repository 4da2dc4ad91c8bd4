//! What the tests ask of deaths, and what they print.

use crate::step::deaths::{Deaths, Prepared, wanted};
use crate::step::scenario::named;
use crate::step::updates::{Killed, kill};
use crate::step::walk::Program;

/// What came of a scenario; none where processes can't be traced, which in CI they must be.
fn traced<T>(name: &str, run: impl FnOnce(&Prepared<'_>) -> std::io::Result<T>) -> Option<T> {
    let program = Program::default();
    let scenario = named(name).unwrap_or_else(|| panic!("no scenario {name}"));
    let result = run(&Prepared::new(scenario, &program));
    if let Err(error) = &result {
        assert!(std::env::var_os("CI").is_none(), "{error}");
        eprintln!("SKIPPED: processes can't be traced: {error}");
    }
    result.ok()
}

fn kill_everywhere(name: &str, most: usize) -> Option<Deaths> {
    let deaths = traced(name, |prepared| prepared.kill_everywhere(most))?;
    let (walk, [walking, images, dying]) = (&deaths.walk, deaths.times.map(|time| time.as_secs_f64()));
    eprintln!(
        "{name}: {} instructions, {} stores, {} system calls ({walking:.1} s); {} distinct images ({images:.1} s); {} of {} \
         distinct instructions killed, {} missed {:x?} ({dying:.1} s); most bytes wasted {}, most files left beside {}; {} violations",
        walk.instructions,
        walk.stores,
        walk.calls,
        walk.images.len(),
        deaths.killed,
        walk.protocol.len(),
        deaths.missed.len(),
        deaths.missed,
        deaths.most_wasted,
        deaths.most_beside,
        deaths.wrong.len()
    );
    Some(deaths)
}

/// Nothing is wrong after any death in a scenario, and there were as many as there ought to be.
///
/// # Panics
/// When something is.
pub fn survives(name: &str, least_images: usize, least_instructions: usize) {
    let Some(deaths) = kill_everywhere(name, wanted()) else { return };
    let (wrong, walk) = (&deaths.wrong, &deaths.walk);
    assert!(wrong.is_empty(), "{name}: {} violations: {:#?}", wrong.len(), &wrong[..wrong.len().min(10)]);
    let (images, instructions) = (walk.images.len(), walk.protocol.len());
    assert!(images >= least_images, "{name}: only {images} images");
    assert!(instructions >= least_instructions, "{name}: only {instructions} instructions");
    let tried = wanted().min(instructions) as u64;
    let missed = deaths.missed.len() as u64;
    assert_eq!(deaths.killed + missed, tried, "{name}");
    assert!(missed <= 1 + tried / 100, "{name}: missed {missed} of {tried}");
}

/// The images of a scenario with two steps exchanged are found out.
///
/// # Panics
/// When they are not.
pub fn twin_is_found_out(name: &str) {
    let Some(deaths) = kill_everywhere(name, 0) else { return };
    assert!(!deaths.wrong.is_empty(), "{name}: nothing was found");
    eprintln!("{name}: {}", deaths.wrong[0]);
}

fn kill_update(name: &str) -> Option<Killed> {
    let killed = traced(name, |prepared| kill(prepared, usize::MAX))?;
    eprintln!(
        "{name}: killed at {} instructions, {} of them in restartable sequences, {} missed: {:?}; {} violations",
        killed.points,
        killed.in_sequences,
        killed.missed,
        killed.left,
        killed.wrong.len()
    );
    Some(killed)
}

/// An update that is killed at any of its instructions is in or out, never half; of the two additions of an observation
/// the first may be in alone.
///
/// # Panics
/// When it is not.
pub fn is_in_or_out(name: &str) {
    let Some(killed) = kill_update(name) else { return };
    assert!(killed.wrong.is_empty(), "{name}: {:#?}", &killed.wrong[..killed.wrong.len().min(5)]);
    assert_eq!(killed.missed, 0, "{name}");
    assert!(killed.points >= 3, "{name}: only {} instructions", killed.points);
    let both = ["in", "out"].iter().all(|what| killed.left.contains_key(what));
    let is_pair = name.ends_with("observe") || name.ends_with("tally");
    assert!(both && killed.left.len() == if is_pair { 3 } else { 2 }, "{name}: {:?}", killed.left);
    let has_sequences = !name.starts_with("gauge") && !name.starts_with("shared");
    assert_eq!(killed.in_sequences > 0, has_sequences, "{name}");
}

/// An update in two stores is found out.
///
/// # Panics
/// When it is not.
pub fn half_an_update_is_found_out(name: &str) {
    let Some(killed) = kill_update(name) else { return };
    assert!(!killed.wrong.is_empty(), "{name}: nothing was found");
    eprintln!("{name}: {}", killed.wrong[0]);
}
