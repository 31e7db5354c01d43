//! The harness on the real kernel, in namespaces of its own. Needs the right to make them; else it says SKIPPED.

mod actors;
mod common;
mod incidents;
mod load;
mod myths;
mod programs;
mod vanish;
mod world;
