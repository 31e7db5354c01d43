use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};

declare_check! {
    /// # What it detects
    /// Settings of a module that is often loaded after the settings are applied: `net.netfilter.nf_conntrack_*` and
    /// `net.bridge.*`. Told once for each module and file.
    ///
    /// # Why it matters
    /// At boot systemd-sysctl runs early. A key whose module is not there yet is passed over without a word, and the module
    /// begins with its defaults when the firewall loads it.
    ///
    /// # Fix
    /// Name the module in `/etc/modules-load.d/`, which is done before, or apply the file by a udev rule for the module.
    ///
    /// # Fix safety
    /// Loading nf_conntrack alone tracks nothing; rules make it. Loading br_netfilter makes bridged packets pass the firewall.
    ///
    /// # Sources
    /// sysctl.d(5), examples 2 and 3; systemd units/systemd-sysctl.service (After=systemd-modules-load.service).
    SC022, "module-too-late"
}

const MODULES: &[(&str, &str)] = &[
    ("net/netfilter/nf_conntrack_", "nf_conntrack"),
    ("net/nf_conntrack_max", "nf_conntrack"),
    ("net/bridge/", "br_netfilter"),
];

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    let module =
        |path: &str| MODULES.iter().find(|(start, _)| path.starts_with(start)).map(|(_, module)| *module);
    let mut told = Vec::new();
    for line in cx.deciding() {
        let Some(module) = module(line.setting.key.path()).filter(|m| !told.contains(&(line.at.file, *m)))
        else {
            continue;
        };
        // Where the running value is the one that is written, it came in time.
        let running = cx.context.live.as_ref().and_then(|live| live.values.get(&line.setting.key));
        if running.is_some_and(|running| running.trim() == line.setting.value) {
            continue;
        }
        told.push((line.at.file, module));
        let message = format!("{module} must be loaded before this, or the setting is passed over at boot");
        let why = format!(
            "systemd-sysctl runs early and passes over keys that are not there. `{module}` in /etc/modules-load.d/ loads it before."
        );
        out.push(line.key(&CHECK, Severity::Info, message, why).source("sysctl.d(5)"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{lint, the};

    #[test]
    fn it_is_told_once() {
        let text = "net.netfilter.nf_conntrack_max = 262145\nnet.netfilter.nf_conntrack_tcp_loose = 0\n";
        assert_eq!(the("SC022", lint(text)).line, 1);
    }
}
