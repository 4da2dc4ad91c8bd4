//! What a peer does with on-scrape callbacks.

use std::sync::mpsc::{Sender, channel};

use dyn_metrics::{OnScrape, Registry};

/// The callbacks of a peer.
#[derive(Debug, Default)]
pub struct Asked {
    callbacks: Vec<OnScrape>,
    /// What lets those that hang go on.
    gates: Vec<Sender<()>>,
}

impl Asked {
    /// Does what it is told: `count NAME` sets a gauge to the number of its runs, `hang` and `panic` do so, `release` lets those
    /// that hang go on, `end` ends all, `threads` tells how many threads of this process are the library's.
    ///
    /// # Errors
    /// Those of registration; a word that it doesn't know.
    pub fn obey(
        &mut self,
        registry: &Registry,
        words: &[&str],
    ) -> Result<String, Box<dyn std::error::Error>> {
        match *words {
            ["count", name] => {
                let gauge = registry.gauge(name, "Runs of a callback")?;
                let mut runs = 0;
                self.callbacks.push(gauge.clone().set_function(move || {
                    runs += 1;
                    runs
                }));
            }
            ["hang"] => {
                let (gate, go) = channel::<()>();
                self.gates.push(gate);
                self.callbacks.push(registry.on_scrape(move || {
                    let _ = go.recv();
                }));
            }
            ["panic"] => self.callbacks.push(registry.on_scrape(|| panic!("on purpose"))),
            ["release"] => self.gates.clear(),
            ["end"] => self.callbacks.clear(),
            ["threads"] => return Ok(threads()?.to_string()),
            _ => return Err(format!("no such command: on-scrape {words:?}").into()),
        }
        Ok(String::new())
    }
}

fn threads() -> std::io::Result<usize> {
    let tasks = std::fs::read_dir("/proc/self/task")?;
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    Ok(names.filter(|name| matches!(name.trim_end(), "dyn-ask" | "dyn-callback")).count())
}
