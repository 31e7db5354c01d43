use super::super::Loader;
use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};

declare_check! {
    /// # What it detects
    /// Settings in `/etc/sysctl.conf` where systemd-sysctl applies the settings and no link in `/etc/sysctl.d` leads there.
    ///
    /// # Why it matters
    /// systemd-sysctl does not read `/etc/sysctl.conf`. Debian up to 12 ships the link `/etc/sysctl.d/99-sysctl.conf`; without
    /// it the settings come with `sysctl -p` or `sysctl --system` and are gone after the next boot.
    ///
    /// # Fix
    /// Move the settings to `/etc/sysctl.d/99-local.conf`, or link `/etc/sysctl.d/99-sysctl.conf` to `../sysctl.conf`.
    ///
    /// # Fix safety
    /// At the next boot the settings begin to act: read them first.
    ///
    /// # Sources
    /// systemd src/sysctl/sysctl.c (CONF_PATHS("sysctl.d")), procps src/sysctl.c DEFAULT_PRELOAD; tried with systemd-sysctl
    /// 252.
    SC018, "not-read-at-boot"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    let severity = match cx.context.boot {
        Some(Loader::Procps) => return,
        Some(Loader::Systemd) => Severity::Warning,
        None => Severity::Info,
    };
    for file in &cx.procps_only {
        let Some(first) = cx.lines().find(|line| line.at.file == *file) else { continue };
        let others = cx.lines().filter(|line| line.at.file == *file).count() - 1;
        let and = match others {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let message =
            format!("systemd-sysctl does not read this file: this setting{and} is gone after a boot");
        let why =
            "systemd-sysctl reads the sysctl.d folders only. sysctl(8) reads /etc/sysctl.conf, after them.";
        out.push(
            first
                .key(&CHECK, severity, message, why)
                .source("systemd src/sysctl/sysctl.c; tried with systemd-sysctl 252"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, the};
    use crate::sysctl::{Context, File, Loader, lint};

    #[test]
    fn sysctl_conf_needs_a_link() {
        let mut file = File {
            name: "/etc/sysctl.conf".to_owned(),
            text: b"vm.swappiness = 1\nvm.dirty_ratio = 9\n".to_vec(),
            places: vec!["/etc/sysctl.conf".to_owned()],
        };
        let systemd = Context { boot: Some(Loader::Systemd), ..Context::default() };
        let d = the("SC018", lint(&[file.clone()], &systemd));
        assert!(d.message.contains("this setting and 1 more"), "{}", d.message);
        assert_eq!(
            codes(&lint(&[file.clone()], &Context { boot: Some(Loader::Procps), ..Context::default() })),
            Vec::<String>::new()
        );
        file.places.push("/etc/sysctl.d/99-sysctl.conf".to_owned());
        assert_eq!(codes(&lint(&[file], &systemd)), Vec::<String>::new());
    }
}
