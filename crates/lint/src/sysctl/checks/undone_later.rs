use super::super::effective::FOLDERS;
use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};

declare_check! {
    /// # What it detects
    /// A line that a file which is read later undoes.
    ///
    /// # Why it matters
    /// Files are read in the order of their *names*, whatever the folder: `/usr/lib/sysctl.d/99-vendor.conf` undoes
    /// `/etc/sysctl.d/10-mine.conf`. And sysctl(8) reads `/etc/sysctl.conf` after all others.
    ///
    /// # Fix
    /// Give the file that should win a later name, or delete the line. A file of the administrator that undoes one of the
    /// distribution's is what the folders are for, and is not told.
    ///
    /// # Fix safety
    /// The value changes at the next boot.
    ///
    /// # Sources
    /// sysctl.d(5), "Configuration directories and precedence"; systemd src/sysctl/sysctl.c, procps src/sysctl.c
    /// PreloadSystem().
    SC017, "undone-later"
}

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    // Files below /usr and /lib are the distribution's and the packages'.
    let shipped = |file: usize| {
        let places = &cx.files[file].places;
        !places.is_empty()
            && places.iter().all(|place| FOLDERS[2..].iter().any(|folder| place.starts_with(folder)))
    };
    for (old, new) in &cx.effective.undone {
        if old.file == new.file || (shipped(old.file) && !shipped(new.file)) {
            continue;
        }
        let (Some(line), Some(by)) = (cx.setting(*old), cx.setting(*new)) else { continue };
        let same = line.setting.value == by.setting.value;
        // That one undoes what an administrator wrote is rarely meant.
        let severity = if !same && shipped(new.file) { Severity::Warning } else { Severity::Info };
        let place = cx.place(*new);
        let message = if same {
            format!("{place} says the same again")
        } else {
            format!("{place} undoes it: {} is {} in the end", line.short(), by.setting.value)
        };
        let why = "Files are read in the order of their names, whatever their folder. The last assignment of a key counts.";
        out.push(line.key(&CHECK, severity, message, why).source("sysctl.d(5); systemd src/sysctl/sysctl.c"));
    }
}

#[cfg(test)]
mod tests {
    use crate::Severity;
    use crate::sysctl::{Context, File, lint};

    fn at(place: &str, value: u32) -> File {
        File {
            name: place.to_owned(),
            text: format!("net.ipv4.tcp_retries2 = {value}\n").into_bytes(),
            places: vec![place.to_owned()],
        }
    }

    fn severities(files: &[File]) -> Vec<Severity> {
        let found = lint(files, &Context::default());
        found.into_iter().filter(|d| d.code == "SC017").map(|d| d.severity).collect()
    }

    #[test]
    fn what_the_administrator_wrote_should_not_be_undone() {
        let (mine, vendor) =
            (at("/etc/sysctl.d/10-mine.conf", 9), at("/usr/lib/sysctl.d/99-vendor.conf", 12));
        assert_eq!(severities(&[mine.clone(), vendor]), [Severity::Warning]);
        let early = at("/usr/lib/sysctl.d/05-vendor.conf", 12);
        assert_eq!(severities(&[early, mine.clone()]), []);
        assert_eq!(severities(&[mine, at("/etc/sysctl.d/20-mine.conf", 12)]), [Severity::Info]);
    }
}
