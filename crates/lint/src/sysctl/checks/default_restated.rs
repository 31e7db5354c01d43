use super::super::value::{self, Shape};
use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};
use linger_facts::DefaultValue;

declare_check! {
    /// # What it detects
    /// A value that is this kernel's constant default.
    ///
    /// # Why it matters
    /// The line is no tuning. It pins today's default, so that the host misses a better one of a later kernel, as happened to
    /// `somaxconn` (5.4) and `rmem_max` (6.18).
    ///
    /// # Fix
    /// Delete the line, unless it guards against something else that changes the value.
    ///
    /// # Fix safety
    /// Safe: no value changes.
    ///
    /// # Sources
    /// The defaults in `linger explain KEY`; a test holds them against the running kernel's fresh namespace.
    SC021, "default-restated"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    let Some(kernel) = cx.context.kernel else { return };
    for line in cx.deciding() {
        let Some(sysctl) = line.known.filter(|sysctl| sysctl.exists_in(kernel)) else { continue };
        let Some(DefaultValue::Fixed(default)) = sysctl.default_for(kernel) else { continue };
        let same = match Shape::of(sysctl) {
            Shape::Ints(count) => {
                let ints = value::ints(&line.setting.value, count);
                ints.is_ok() && ints == value::ints(default, count)
            }
            _ => line.setting.value == default,
        };
        // Lines that are undone, or undo one, say more than that.
        if same && !cx.undoes(line.at) {
            let message = format!(
                "{} is the default of Linux {kernel}",
                if default.is_empty() { "nothing" } else { default }
            );
            let why = "The line is no tuning, and keeps a better default of a later kernel away.";
            out.push(line.value(&CHECK, Severity::Info, message, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, lint, lint_on};
    use linger_facts::Version;

    #[test]
    fn defaults_depend_on_the_version() {
        let text = "net.core.somaxconn = 4096\n";
        assert_eq!(codes(&lint(text)), ["SC021"]);
        assert_eq!(codes(&lint_on(text, Version::new(5, 3))), Vec::<String>::new());
        assert_eq!(codes(&lint("net.ipv4.tcp_window_scaling = 1\n")), ["SC021"]);
    }
}
