//! The library as C sees it: programs in C against the shared object, and what it exports.
#![allow(unsafe_code, reason = "calls the library as C does")]

mod abi;
mod cells;
mod composites;
mod conformance;
mod face;
mod install;
mod library;
mod plugin;
mod programs;
mod registries;
mod sequences;
mod together;
mod watch;
