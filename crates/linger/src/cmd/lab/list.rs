//! `linger lab list`

use super::load::{needs, variant_of};
use crate::cli::ListArgs;
use crate::cmd::show;
use crate::render::lab::list_text;
use crate::render::style::Style;
use linger_lab::scenario::{Scenario, library};
use schemars::JsonSchema;
use serde::Serialize;

/// A scenario of the library.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ListEntry {
    /// Its name.
    pub name: String,
    /// What it shows, in one line.
    pub title: String,
    /// The incident whose harmless double it is; null for incidents and variants.
    pub twin_of: Option<String>,
    /// The incident that it shows in another way; null for incidents and twins.
    pub variant_of: Option<String>,
    /// Programs that it needs, by Debian's package where that is named otherwise: `nft (Debian package nftables)`.
    pub needs: Vec<String>,
    /// Of those, the ones that are not installed here.
    pub missing: Vec<String>,
    /// Hosts.
    pub hosts: Vec<String>,
    /// The longest that it may take, seconds.
    pub seconds: f64,
    /// The most sockets that it may have at a time.
    pub sockets: u64,
    /// Whether it changes settings that are the whole machine's, and so runs only in a disposable virtual machine.
    pub machine: bool,
}

impl ListEntry {
    /// Of a scenario of the library.
    pub fn of(scenario: &Scenario) -> ListEntry {
        let needs = needs(scenario);
        let missing = needs.iter().filter(|it| !it.is_installed).map(|it| it.program.clone()).collect();
        let named = needs.iter().map(|it| match it.program == it.package {
            true => it.program.clone(),
            false => format!("{} (Debian package {})", it.program, it.package),
        });
        ListEntry {
            name: scenario.name.clone(),
            title: scenario.title.clone(),
            twin_of: scenario.twin_of.clone(),
            variant_of: variant_of(scenario).map(str::to_owned),
            needs: named.collect(),
            missing,
            hosts: scenario.hosts.iter().map(|(name, _)| name.clone()).collect(),
            seconds: scenario.limits.seconds,
            sockets: scenario.limits.sockets,
            machine: !scenario.machine.is_empty(),
        }
    }
}

/// Lists them.
pub fn run(args: &ListArgs, style: &Style) -> anyhow::Result<u8> {
    let entries: Vec<ListEntry> = library()?.iter().map(ListEntry::of).collect();
    show(args.format, &entries, |entries| list_text(entries, style))?;
    Ok(0)
}
