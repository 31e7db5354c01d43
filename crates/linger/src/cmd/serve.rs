//! `linger serve`

use super::check::sampler_options;
use crate::cli::{NetnsArgs, ServeArgs};
use crate::config::{self, File};
use crate::nearest::hint;
use crate::{diagnose, render, targets};
use anyhow::anyhow;
use linger_model::aggregate::Gather;
use linger_rules::Selection;
use linger_serve::{Found, Hooks, Level, Plan, Settings};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
        names: args.allow_host,
        web: args.web_config,
        cpu_budget: args.cpu_budget / 100.0,
        top: usize::from(args.top),
        connections: usize::from(args.max_connections),
        second: Duration::from_millis(args.second_ms),
    };
    let file = args.config;
    let (history, no_history) = (args.history, args.no_history);
    let journal = linger_serve::logs_to_journal();
    let hooks = Hooks {
        namespaces: Box::new(move || match targets::open(&netns) {
            Ok(found) => Found { namespaces: found.namespaces, gaps: found.gaps },
            Err(error) => Found { namespaces: Vec::new(), gaps: vec![format!("{error:#}")] },
        }),
        plan: Box::new(move || {
            let mut plan = plan(file.as_ref()).map_err(|error| format!("{error:#}"))?;
            let kept = &mut plan.serve.history;
            kept.enabled &= !no_history;
            if let Some(folder) = &history {
                (kept.enabled, kept.folder) = (true, folder.clone());
            }
            Ok(plan)
        }),
        log: Arc::new(move |level, line| log(journal, level, line)),
        read: |path| config::text(path).map_err(|error| format!("{error:#}")),
        nearest: |word, known| hint(word, known.iter().copied()),
    };
    linger_serve::run(&settings, hooks)?;
    Ok(0)
}

/// The journal takes a priority, and names the program itself.
fn log(journal: bool, level: Level, line: &str) {
    let line = render::clean(line);
    let _ = match journal {
        true => writeln!(io::stderr(), "{level}{line}"),
        false => writeln!(io::stderr(), "linger: {line}"),
    };
}

fn plan(file: Option<&PathBuf>) -> anyhow::Result<Plan> {
    let File { thresholds: config, serve } =
        file.map(|path| config::read_all(path)).transpose()?.unwrap_or_default();
    serve.check().map_err(|why| {
        let name =
            file.map_or(String::new(), |path| format!("{}: ", render::clean(&path.display().to_string())));
        anyhow!("{name}{why}")
    })?;
    Ok(Plan {
        sampler: sampler_options(&config, GATHER),
        diagnose: Box::new(move |window, host| {
            diagnose::report(window, &config, &Selection { skip_host: !host, ..Selection::default() })
        }),
        serve,
    })
}
