//! Of many samples what the rules read: the first and the last whole, and of those in between so many as a trend needs.

use linger_model::{Snapshot, Window};

/// Samples in between that are kept. Of a longer look every second, fourth, … is.
const MOST: usize = 512;

/// Samples of one namespace, as they come.
#[derive(Debug)]
pub struct Kept {
    first: Option<Snapshot>,
    between: Vec<(usize, Snapshot)>,
    last: Option<Snapshot>,
    /// Samples that came.
    count: usize,
    /// Of those in between, one of so many is kept.
    stride: usize,
}

impl Kept {
    /// Without any.
    pub fn new() -> Kept {
        Kept { first: None, between: Vec::new(), last: None, count: 0, stride: 1 }
    }

    /// Adds the newest.
    pub fn push(&mut self, snapshot: Snapshot) {
        let number = self.count;
        self.count += 1;
        if self.first.is_none() {
            self.first = Some(snapshot);
            return;
        }
        // What was the last until now comes to stand between.
        if let Some(mut before) = self.last.replace(snapshot)
            && (number - 1).is_multiple_of(self.stride)
        {
            slim(&mut before);
            self.between.push((number - 1, before));
            if self.between.len() > MOST {
                self.stride *= 2;
                self.between.retain(|(number, _)| number.is_multiple_of(self.stride));
            }
        }
    }

    /// How many came.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The window, where any came.
    pub fn into_window(self) -> Option<Window> {
        let between = self.between.into_iter().map(|(_, snapshot)| snapshot);
        Window::new(self.first.into_iter().chain(between).chain(self.last).collect())
    }
}

/// Leaves what a trend is read from.
fn slim(snapshot: &mut Snapshot) {
    if let Ok(table) = &mut snapshot.sockets {
        table.slim();
    }
    if let Ok(counters) = &mut snapshot.counters {
        counters.retain(|name, _| name.starts_with("Tcp"));
    }
    snapshot.sysctls.clear();
    snapshot.gaps.clear();
}

#[cfg(test)]
mod tests {
    use super::*;
    use linger_model::snapshot::{HostSnapshot, Kernel, NetnsId, not_asked};
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn snapshot(at_s: u64) -> Snapshot {
        let host = HostSnapshot {
            kernel: Kernel::new("6.1"),
            processes: not_asked("processes"),
            files: not_asked("files"),
            softnet: not_asked("softnet"),
            cgroup_memory: not_asked("cgroups"),
            sysctls: BTreeMap::new(),
            page_size: 4096,
        };
        Snapshot {
            taken_at_us: 0,
            monotonic_us: at_s * 1_000_000,
            netns: NetnsId { inode: 1, name: None, is_init: None },
            host: Arc::new(host),
            sockets: not_asked("sockets"),
            sockstat: not_asked("sockstat"),
            counters: not_asked("counters"),
            sysctls: BTreeMap::from([("net.ipv4.tcp_tw_reuse".to_owned(), Ok("1".to_owned()))]),
            conntrack: not_asked("conntrack"),
            gaps: Vec::new(),
        }
    }

    #[test]
    fn a_day_is_kept_in_the_memory_of_some_minutes() {
        for samples in [1, 2, 3, 100, 86_400] {
            let mut kept = Kept::new();
            (0..samples).for_each(|at| kept.push(snapshot(at)));
            assert_eq!(kept.count() as u64, samples);
            let window = kept.into_window().expect("a window");
            let all = window.snapshots();
            assert!(
                all.len() <= MOST + 2 && all.len() as u64 >= samples.min(MOST as u64 / 2),
                "{}",
                all.len()
            );
            assert_eq!(window.seconds(), (samples - 1) as f64);
            assert!(all.windows(2).all(|pair| pair[0].monotonic_us < pair[1].monotonic_us));
            // The first and the last are whole.
            let whole = |s: &Snapshot| !s.sysctls.is_empty();
            assert!(whole(window.first()) && whole(window.last()));
            assert_eq!(all.iter().filter(|s| whole(s)).count() as u64, samples.min(2));
        }
        assert!(Kept::new().into_window().is_none());
    }
}
