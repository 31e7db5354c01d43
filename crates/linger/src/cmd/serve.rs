//! `linger serve`

use super::check::sampler_options;
use crate::cli::{NetnsArgs, ServeArgs};
use crate::config::{self, File};
use crate::{diagnose, render, targets};
use linger_model::aggregate::Gather;
use linger_rules::Selection;
use linger_serve::{Found, Hooks, Plan, Settings};
use std::io::{self, Write};
use std::path::PathBuf;

/// Fewer groups than a check's, which has memory for a moment only: two samples are kept, and a third is made.
const GATHER: Gather = Gather { tuples: 30_000, clients: 10_000, ..Gather::CHECK };

/// Serves until a signal ends it.
pub fn run(args: ServeArgs) -> anyhow::Result<u8> {
    let netns = NetnsArgs { netns: args.netns };
    // Whoever misspelt a namespace learns it now, not from a gap.
    targets::open(&netns)?;
    let settings = Settings {
        listen: args.listen,
        open_to_others: args.open_to_others,
        cpu_budget: args.cpu_budget / 100.0,
        top: usize::from(args.top),
        connections: usize::from(args.max_connections),
    };
    let file = args.config;
    let hooks = Hooks {
        namespaces: Box::new(move || match targets::open(&netns) {
            Ok(found) => Found { namespaces: found.namespaces, gaps: found.gaps },
            Err(error) => Found { namespaces: Vec::new(), gaps: vec![format!("{error:#}")] },
        }),
        plan: Box::new(move || plan(file.as_ref()).map_err(|error| format!("{error:#}"))),
        log: Box::new(|line| {
            let _ = writeln!(io::stderr(), "linger: {}", render::clean(line));
        }),
    };
    linger_serve::run(&settings, hooks)?;
    Ok(0)
}

fn plan(file: Option<&PathBuf>) -> anyhow::Result<Plan> {
    let File { thresholds: config, serve } =
        file.map(|path| config::read_all(path)).transpose()?.unwrap_or_default();
    Ok(Plan {
        sampler: sampler_options(&config, GATHER),
        diagnose: Box::new(move |window, host| {
            diagnose::report(window, &config, &Selection { skip_host: !host, ..Selection::default() })
        }),
        serve,
    })
}
