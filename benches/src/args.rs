//! Arguments, and what they ask for.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use dyn_metrics_benches::pool::Effort;

/// Measures dyn-metrics beside its peers and prints tables.
#[derive(Clone, Debug, Parser)]
#[command(name = "dyn-metrics-bench", version)]
pub struct Arguments {
    /// Measure only what has one of these words in its name: an operation (counter_inc, labels, ...), cpp, python, render,
    /// http, memory, blocks, processes, fallback, callgrind; comma-separated
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Measure, beside fetch_add, only contenders that have one of these words in their names; comma-separated
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    pub contender: Vec<String>,

    /// Fewer and shorter slices, fewer series: shows that everything runs, measures little
    #[arg(long)]
    pub quick: bool,

    /// Slices of each contender
    #[arg(long, value_name = "N")]
    pub slices: Option<usize>,

    /// Where the tables are written: rust.tsv, cpp.tsv, render.tsv, report.md; by default target/bench, beside the build
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// What a process of its own does for this program
    #[arg(long, hide = true, num_args = 1.., value_name = "WORD")]
    pub child: Vec<String>,
}

impl Arguments {
    /// Where the tables are written.
    pub fn out(&self) -> PathBuf {
        let built = std::env::current_exe().ok();
        let beside = built.as_deref().and_then(|program| Some(program.parent()?.parent()?.join("bench")));
        self.out.clone().or(beside).unwrap_or_else(|| PathBuf::from("target/bench"))
    }

    /// Whether the thing of this name is to be measured.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| name.contains(word.as_str()))
    }

    /// Whether this contender takes part.
    pub fn admits(&self, contender: &str) -> bool {
        self.contender.is_empty() || self.contender.iter().any(|word| contender.contains(word.as_str()))
    }

    /// How much effort to make for an operation.
    pub fn effort(&self) -> Effort {
        let (slices, operations, longest) = if self.quick { (5, 20_000, 1) } else { (51, 200_000, 6) };
        Effort { slices: self.slices.unwrap_or(slices), operations, longest: Duration::from_millis(longest) }
    }

    /// How often to render.
    pub fn renderings(&self) -> usize {
        self.slices.unwrap_or(if self.quick { 3 } else { 15 })
    }
}
