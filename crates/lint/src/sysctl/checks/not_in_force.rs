use super::super::value::{self, Shape};
use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};
use linger_facts::Sysctl;

declare_check! {
    /// # What it detects
    /// A running value that is not what the files say in the end (with `--live`, and for this host's own files).
    ///
    /// # Why it matters
    /// Somebody, or something, changed it after boot, or the line never took effect: the module came later, the kernel
    /// refused it. After the next boot the host behaves differently.
    ///
    /// # Fix
    /// Find out which of the two is meant. `sysctl --system` applies the files; to keep what is running, write it to a file.
    ///
    /// # Fix safety
    /// Applying the files changes the running host.
    ///
    /// # Sources
    /// /proc/sys of the running host.
    SC020, "not-in-force"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    let Some(live) = &cx.context.live else { return };
    for (key, running) in &live.values {
        let Some(line) = cx.effective.line_of(key, &cx.documents).and_then(|at| cx.setting(at)) else {
            continue;
        };
        let written = &line.setting.value;
        if same(line.known, written, running) {
            continue;
        }
        let shown = running.split_whitespace().collect::<Vec<_>>().join(" ");
        let what = if line.setting.key.is_glob() { key.dotted() } else { "the running value".to_owned() };
        let message = format!("{what} is {}", if shown.is_empty() { "empty" } else { &shown });
        let why = "It was changed after boot, or this line did not take effect.";
        out.push(
            line.value(&CHECK, Severity::Warning, message, why).source(format!("/proc/sys/{}", key.path())),
        );
    }
}

/// Whether the kernel, told the one, would show the other.
fn same(known: Option<&Sysctl>, written: &str, running: &str) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    if words(written) == words(running) {
        return true;
    }
    let count = match known.map(Shape::of) {
        Some(Shape::Ints(count)) => count,
        // Of a key that linger does not know: 0x10 and 16, but not two numbers for one.
        _ => words(running).len(),
    };
    match (value::ints(written, count), value::ints(running, count)) {
        // Numbers that the line leaves out stay as they are.
        (Ok(written), Ok(running)) => written.iter().zip(&running).all(|(a, b)| a == b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, lint_with, the};
    use crate::sysctl::{Context, Key, Live};

    fn running(values: &[(&str, &str)]) -> Context {
        let values = values.iter().map(|(key, value)| (Key::new(key), (*value).to_owned())).collect();
        Context { live: Some(Live { values, ..Live::default() }), ..Context::default() }
    }

    #[test]
    fn differences_are_told_and_spellings_are_not() {
        let text = "net.ipv4.tcp_rmem = 4096 131072  6291456\nnet.ipv4.tcp_fin_timeout = 0x1e\nvm.swappiness = 10\n\
                    net.ipv4.conf.*.rp_filter = 2\n";
        let same = running(&[
            ("net.ipv4.tcp_rmem", "4096\t131072\t6291456\n"),
            ("net.ipv4.tcp_fin_timeout", "30"),
            ("vm.swappiness", "10"),
            ("net.ipv4.conf.lo.rp_filter", "2"),
            ("net.ipv4.tcp_sack", "0"),
        ]);
        assert!(!codes(&lint_with(text, &same)).contains(&"SC020".to_owned()));
        let d = the("SC020", lint_with(text, &running(&[("vm.swappiness", "60")])));
        assert!(d.line == 3 && d.message == "the running value is 60");
        let d = the("SC020", lint_with(text, &running(&[("net.ipv4.conf.lo.rp_filter", "1")])));
        assert!(d.message.contains("net.ipv4.conf.lo.rp_filter is 1"));
    }
}
