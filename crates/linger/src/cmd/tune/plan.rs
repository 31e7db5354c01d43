//! `linger tune plan`

use super::{bytes, open, profile, settings};
use crate::cli::{Format, PlanFormat, TunePlanArgs};
use crate::cmd::check::sample;
use crate::cmd::{print, show};
use crate::config::{self, brief};
use crate::diagnose;
use crate::render::style::Style;
use crate::render::tune;
use anyhow::{Context, bail};
use linger_model::report::Reports;
use linger_model::{Report, Window};
use linger_netns::Netns;
use linger_rules::Selection;
use linger_tune::Profile;
use std::path::Path;

/// The longest report that is read.
const MOST_BYTES: u64 = 64 << 20;

/// Makes the plan and prints it.
pub fn run(args: &TunePlanArgs, style: &Style) -> anyhow::Result<u8> {
    let mut profile = match &args.profile {
        Some(path) => profile::read(path)?,
        None => Profile::default(),
    };
    profile.role = args.role.or(profile.role);
    let ns = open(&args.place)?;
    let settings = settings(&ns, args.place.proc_sys.as_deref())?;
    let report = match &args.from {
        Some(path) => of_file(path, &ns)?,
        None => live(args, &ns)?,
    };
    let present = |key: &linger_facts::Tunable| settings.read(key).ok();
    let plan = linger_tune::plan(&report, &profile, &present, settings.is_host());
    match args.format {
        PlanFormat::Text => show(Format::Text, &plan, |plan| tune::plan(plan, style))?,
        PlanFormat::Json => show(Format::Json, &plan, |_| String::new())?,
        PlanFormat::SysctlD => drop(print(&tune::sysctl_d(&plan))?),
    }
    Ok(0)
}

fn live(args: &TunePlanArgs, ns: &Netns) -> anyhow::Result<Report> {
    let config = args.config.as_deref().map(config::read).transpose()?.unwrap_or_default();
    let snapshots = sample(std::slice::from_ref(ns), args.samples, args.interval, &config).pop();
    let window = snapshots.and_then(Window::new).context("no sample was taken")?;
    let selection = Selection { skip_host: ns.is_init() == Some(false), ..Selection::default() };
    Ok(diagnose::report(&window, &config, &selection))
}

/// The report about this namespace, of a file that holds one or several.
fn of_file(path: &Path, ns: &Netns) -> anyhow::Result<Report> {
    let bytes = bytes(path, MOST_BYTES)?;
    let reports = match serde_json::from_slice::<Report>(&bytes) {
        Ok(report) => vec![report],
        Err(error) => match serde_json::from_slice::<Reports>(&bytes) {
            Ok(several) => several.reports,
            Err(_) => {
                let (path, error) = (path.display(), brief(&error.to_string()));
                bail!("{path} is no report of `linger check --format json`: {error}")
            }
        },
    };
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let inodes: Vec<String> = reports.iter().take(10).map(|it| it.netns.inode.to_string()).collect();
    let more = if reports.len() > inodes.len() { ", …" } else { "" };
    let Some(report) = reports.into_iter().find(|it| it.netns.inode == ns.inode()) else {
        bail!(
            "the report is about namespace {}{more}, and this is {}: name its namespace with --netns",
            inodes.join(", "),
            ns.inode()
        )
    };
    if report.kernel != release {
        bail!(
            "the report is about kernel {:?}, and this is {release}: make the plan on that host",
            brief(&report.kernel)
        );
    }
    Ok(report)
}
