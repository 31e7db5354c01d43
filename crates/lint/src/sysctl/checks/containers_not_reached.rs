use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};
use linger_facts::Role;
use linger_facts::Scope;

declare_check! {
    /// # What it detects
    /// Settings of the network namespace in the files of a host that runs others: containers, pods. Told once, at the first
    /// such line.
    ///
    /// # Why it matters
    /// A new namespace starts from the kernel's defaults, whatever the host has. The host is tuned, and the pods that serve
    /// are not. Exceptions are tcp_rmem, tcp_wmem and the congestion control, which are copied from the host.
    ///
    /// # Fix
    /// Set it where the container is made: `docker run --sysctl`, `securityContext.sysctls` of a pod.
    ///
    /// # Fix safety
    /// Only the container's own connections are concerned.
    ///
    /// # Sources
    /// net/ipv4/tcp_ipv4.c tcp_sk_init(); measured on 6.18: a child of a namespace with fin_timeout 17, somaxconn 99 and
    /// tw_reuse 1 has 60, 4096 and 2.
    SC014, "containers-not-reached"
}

/// Copied from the first namespace.
const COPIED: &[&str] = &["net.ipv4.tcp_congestion_control", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"];

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    let Some(kernel) = cx.context.kernel else { return };
    let others = cx.context.live.as_ref().and_then(|live| live.other_namespaces).unwrap_or(0);
    let mesh = cx.context.role == Some(Role::MeshNode);
    if cx.context.in_container == Some(true) || (others == 0 && !mesh) {
        return;
    }
    let of_namespace = |line: &super::Line<'_>| {
        line.known.is_some_and(|sysctl| {
            sysctl.exists_in(kernel)
                && sysctl.scope_in(kernel) == Scope::Netns
                && !COPIED.contains(&sysctl.key)
        })
    };
    let lines: Vec<_> = cx.deciding().filter(of_namespace).collect();
    let Some(first) = lines.first() else { return };
    let what = match lines.len() {
        1 => "this setting does".to_owned(),
        n => format!("this and {} more settings do", n - 1),
    };
    let whom = match others {
        0 => "containers".to_owned(),
        1 => "the other network namespace".to_owned(),
        n => format!("the {n} other network namespaces"),
    };
    let message = format!("{what} not reach {whom}");
    let why = "Each network namespace has its own, and begins with the kernel's default.";
    out.push(first.key(&CHECK, Severity::Info, message, why));
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, in_role, lint, lint_with, the};
    use linger_facts::Role;

    #[test]
    fn it_is_told_once_and_to_those_with_containers() {
        let text = "net.ipv4.tcp_rmem = 4096 131072 67108864\nnet.core.somaxconn = 8192\nnet.ipv4.tcp_tw_reuse = 1\n";
        let d = the("SC014", lint_with(text, &in_role(Role::MeshNode)));
        assert!(d.line == 2 && d.message == "this and 1 more settings do not reach containers", "{d:?}");
        assert_eq!(codes(&lint(text)), Vec::<String>::new());
    }
}
