//! A process that is made to die: see `src/step/`.
//!
//! `victim prepare SCENARIO N` does what the Nth process before the scenario does, in the current directory; `victim
//! run SCENARIO NOTE` runs it, with a breakpoint before and one behind it; `victim second` goes on after deaths.

#[cfg(target_arch = "x86_64")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use dyn_metrics_tests::step::{scenario, second};

    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let directory = std::env::current_dir()?;
    let named = |name| scenario::named(name).ok_or("no such scenario");
    match words[..] {
        ["prepare", name, n] => {
            let prepare = named(name)?.prepare.get(n.parse::<usize>()?).ok_or("no such process")?;
            println!("{}", prepare(&directory)?);
            Ok(())
        }
        ["run", name, note] => (named(name)?.run)(&directory, note),
        ["second"] => second::serve(),
        _ => Err("usage: see the first lines of this program".into()),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    eprintln!("the stepper knows x86-64 only");
}
