//! The program `dyn-metrics`: see the library of this package.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    dyn_metrics_cli::main()
}
