use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};
use linger_facts::Scope;

declare_check! {
    /// # What it detects
    /// A setting of the whole host in files that are read inside a container or another network namespace.
    ///
    /// # Why it matters
    /// Inside, the file is absent or read-only, and the write fails; where a container is privileged enough for it to succeed,
    /// it changes the host and everybody on it.
    ///
    /// # Fix
    /// Set it on the host, and take the line out of the container's files.
    ///
    /// # Fix safety
    /// On the host it concerns every container: look at who else needs what.
    ///
    /// # Sources
    /// The scopes in `linger explain KEY`; measured on 6.18 in a child namespace: tcp_mem, tcp_max_orphans and
    /// netdev_max_backlog are absent, rmem_max and nf_conntrack_max are read-only.
    SC013, "host-wide-in-container"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    let Some(kernel) = cx.context.kernel.filter(|_| cx.context.in_container != Some(false)) else { return };
    // A setting that this kernel has, and that is not here, is the host's.
    let is_absent = |line: &super::Line<'_>| {
        cx.context.live.as_ref().is_some_and(|live| live.absent.contains(&line.setting.key))
    };
    for line in cx.deciding().filter(|line| cx.context.in_container == Some(true) || is_absent(line)) {
        let Some(sysctl) = line.known.filter(|known| known.exists_in(kernel)) else { continue };
        if sysctl.scope_in(kernel) == Scope::Host {
            let message =
                format!("{} belongs to the whole host, and these files are read in a container", sysctl.key);
            let why = "In a network namespace of its own the setting is absent or read-only: the line fails, or changes the \
                       host.";
            out.push(line.key(&CHECK, Severity::Warning, message, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, lint_with, with_ram};
    use crate::sysctl::Context;

    #[test]
    fn the_hosts_settings_are_told_inside_only() {
        let text = "net.core.netdev_max_backlog = 5000\nnet.ipv4.tcp_tw_reuse = 1\n";
        let inside = Context { in_container: Some(true), ..with_ram(8 << 30) };
        assert_eq!(lint_with(text, &inside).iter().filter(|d| d.code == "SC013").count(), 1);
        assert_eq!(codes(&lint_with(text, &with_ram(8 << 30))), Vec::<String>::new());
    }
}
