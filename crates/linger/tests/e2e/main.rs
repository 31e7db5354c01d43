//! End to end: incidents of the lab, each beside its healthy twin, through the command as a user runs it.

mod browser;
mod cli;
mod diff;
mod fallback;
mod healthy;
mod import;
mod lab;
mod leaks;
mod limits;
mod lint;
mod mitigate;
mod netns;
mod oracles;
mod path;
mod ports;
mod queues;
mod record;
mod rehearse;
mod report;
mod serve;
mod support;
mod trace;
mod tune;
