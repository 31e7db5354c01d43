use super::{fraction, host_sysctl, percent, read_from, size, span, unread, worst};
use crate::closing::orphan_pressure::RESETS_FROM;
use crate::{Context, FindingExt, Outcome, Threshold, counted, declare_rule, thousands};
use linger_facts::cookbook::Symptom;
use linger_model::Finding;
use linger_model::report::{Applicability, Confidence, Evidence, Remedy, Severity};
use linger_model::snapshot::{CgroupMemory, Gap, GapKind};

static CRITICAL: Threshold = Threshold {
    key: "critical_fraction",
    default: 0.95,
    unit: "fraction",
    doc: "TCP memory as a share of tcp_mem's maximum from which this is critical; from `pressure` on it is a warning.",
};
static CGROUP_WARNING: Threshold = Threshold {
    key: "cgroup_warning_fraction",
    default: 0.5,
    unit: "fraction",
    doc: "Socket memory of a cgroup as a share of its memory limit from which this is a warning.",
};
static CGROUP_CRITICAL: Threshold = Threshold {
    key: "cgroup_critical_fraction",
    default: 0.8,
    unit: "fraction",
    doc: "The same share from which this is critical.",
};
static THROTTLED: Threshold = Threshold {
    key: "cgroup_throttled_per_second",
    default: 1.0,
    unit: "/s",
    doc: "Times per second that a cgroup's sockets are throttled from which this is a warning; below, it is information.",
};

declare_rule! {
    /// # What it detects
    /// The buffers of all TCP sockets of the host together are above tcp_mem's second figure (pressure), or near the
    /// third (maximum); or a cgroup's socket buffers are a large part of its own memory limit, or are throttled for it.
    ///
    /// # Why it matters
    /// Under pressure the kernel shrinks receive windows and drops out-of-order data: everything slows down. At the
    /// maximum it refuses memory to sockets and resets orphans (TcpExt.TCPAbortOnMemory). Socket memory cannot be
    /// reclaimed as the page cache is, so that a cgroup full of it is on the way to the OOM killer.
    ///
    /// # Evidence
    /// sockstat's `mem` (pages, host-wide) against tcp_mem (pages, host-wide; child namespaces lack the file);
    /// TCPMemoryPressures counts how often pressure began, in this namespace; TCPAbortOnMemory is taken for memory only
    /// where orphans do not explain it (OR001). For a cgroup, memory.stat `sock` against memory.max, and `sock_throttled`
    /// over the window. Harmless double: a cgroup at its limit by page cache. Only socket memory counts here.
    ///
    /// # Fix
    /// Find who lets data lie: peers that do not read (ZW001), processes that do not read (CW001). Then bound the queues.
    /// If tcp_mem was copied from an article, restore the kernel's own: about 4.7, 6.3 and 9.4 % of memory.
    ///
    /// # Fix safety
    /// tcp_mem is in pages, not bytes. Too small a value makes this fault, too large a one moves it to the whole host's
    /// memory. A change acts at once, on all connections.
    ///
    /// # Sources
    /// net/ipv4/tcp.c tcp_init_mem(), tcp_check_oom(), tcp_enter_memory_pressure(); net/core/sock.c
    /// __sk_mem_raise_allocated(); Documentation/admin-guide/cgroup-v2.rst (sock, sock_throttled).
    MM001, "tcp-memory-pressure", Host, Critical, [CRITICAL, CGROUP_WARNING, CGROUP_CRITICAL, THROTTLED]
}

const MEM: &str = "net.ipv4.tcp_mem";
const PRESSURES: &str = "TcpExt.TCPMemoryPressures";
const ABORTS: &str = "TcpExt.TCPAbortOnMemory";

fn check(cx: &Context<'_>) -> Outcome {
    let cgroups = cx.now().host.cgroup_memory.as_ref();
    let mut findings: Vec<Finding> =
        cgroups.map(|all| all.iter().filter_map(|c| cgroup_finding(cx, c)).collect()).unwrap_or_default();
    findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    let host = host_finding(cx);
    match host {
        Ok(Ok(finding)) => findings.insert(0, finding),
        Ok(Err(clear)) if findings.is_empty() => {
            let of_cgroups = match cgroups {
                Ok(_) => String::new(),
                Err(gap) => format!("; socket memory of cgroups was not read: {}", gap.detail),
            };
            return Outcome::Clear(format!("{clear}{of_cgroups}"));
        }
        Err(gap) if findings.is_empty() => return Outcome::Unknown(gap),
        _ => {}
    }
    worst(findings, "cgroups")
}

/// The host's finding, or by what it is ruled out.
fn host_finding(cx: &Context<'_>) -> Result<Result<Finding, String>, Gap> {
    let stat = cx.now().sockstat.as_ref().map_err(Gap::clone)?;
    let limits = host_sysctl(cx, MEM)?;
    let [_, pressure, max] = limits.as_slice() else {
        return Err(Gap::new(MEM, GapKind::Malformed, format!("has {} figures, not 3", limits.len()), ""));
    };
    let (pressure, max) = ((*pressure).max(0) as u64, (*max).max(0) as u64);
    let (mem, page) = (stat.mem_pages, cx.now().host.page_size);
    let used = fraction(mem, max);
    let moved = |counter| cx.window.delta(counter).ok();
    let began = moved(PRESSURES).filter(|d| d.by > 0);
    let orphans = host_sysctl(cx, "net.ipv4.tcp_max_orphans").ok().and_then(|l| l.first().copied());
    let by_orphans = orphans.is_some_and(|l| fraction(stat.orphan, l.max(0) as u64) >= RESETS_FROM);
    let aborted = moved(ABORTS).filter(|d| d.by > 0 && !by_orphans);

    let severity = if used >= cx.limit(&CRITICAL) || (aborted.is_some() && mem >= pressure) {
        Severity::Critical
    } else if mem >= pressure || began.is_some() || aborted.is_some() {
        Severity::Warning
    } else {
        return Ok(Err(format!(
            "TCP buffers take {} of at most {} ({}); pressure begins at {}",
            size(mem * page),
            size(max * page),
            percent(used),
            size(pressure * page)
        )));
    };
    let above = match (mem >= max, mem >= pressure) {
        (true, _) => "above its maximum",
        (false, true) => "above its pressure mark",
        (false, false) => "below its pressure mark now, but not through the whole window",
    };
    let growth = cx.window.first().sockstat.as_ref().ok().filter(|_| cx.window.has_past());
    let growth = growth.map(|s| (mem as f64 - s.mem_pages as f64) / cx.window.seconds()).filter(|g| *g > 0.0);
    let full = match growth {
        Some(g) if mem < max => {
            format!("; at the maximum in {} if it goes on growing so", span((max - mem) as f64 / g))
        }
        _ => String::new(),
    };
    let resets =
        aborted.map_or(String::new(), |d| format!("; {} reset for want of it", counted(d.by, "connection")));
    let mut evidence = vec![
        Evidence::new("TCP buffer memory", mem as f64, "pages", "/proc/net/sockstat TCP mem (host-wide)"),
        Evidence::new(
            "tcp_mem pressure",
            pressure as f64,
            "pages",
            format!("sysctl {MEM}, second figure (host-wide)"),
        ),
        Evidence::new(
            "tcp_mem maximum",
            max as f64,
            "pages",
            format!("sysctl {MEM}, third figure (host-wide)"),
        ),
    ];
    evidence.extend([PRESSURES, ABORTS].iter().filter_map(|c| Some(cx.moved(c, moved(c)?))));
    let reader = cx.sockets().ok().and_then(|t| {
        let worst = t.holders.iter().filter(|(_, h)| h.zero_window > 0).max_by_key(|(_, h)| h.zero_window);
        worst.map(|(process, held)| (*process, held.zero_window))
    });
    if let Some((process, n)) = reader {
        let what = format!("connections of {} whose peer does not read", cx.process_label(process));
        evidence.push(Evidence::new(
            what,
            f64::from(n),
            "sockets",
            "sock_diag: zero-window probe timer, Send-Q",
        ));
    }
    let unread = unread(cx);
    evidence.extend(unread.iter().map(|(process, bytes)| {
        let source = cx.sockets().map_or("sock_diag", read_from);
        let what = format!("unread bytes in the sockets of {}", cx.process_label(*process));
        Evidence::new(what, *bytes as f64, "bytes", format!("{source} Recv-Q"))
    }));
    let process = reader.and_then(|(process, _)| process).or_else(|| unread.first().and_then(|(p, _)| *p));
    let who = process.map_or(String::new(), |p| format!("; look at {} first", cx.process_label(Some(p))));
    let finding = cx
        .finding(
            severity,
            if mem >= pressure { Confidence::High } else { Confidence::Medium },
            "host",
            format!(
                "TCP buffers take {} ({} pages, {} of tcp_mem's maximum), {above}{resets}{full}{who}",
                size(mem * page),
                thousands(mem),
                percent(used)
            ),
        )
        .why(
            "tcp_mem bounds the buffers of all TCP sockets of the host together, in pages. Above the second figure the \
             kernel shrinks windows; at the third sockets get no more memory, and orphans are reset.",
        )
        .evidence(evidence)
        .remedies(cx.application_remedies_if(process, Symptom::SlowReader, |step| {
            let reading = step.setting == "read while computing";
            if reader.is_some() { !reading } else { reading || unread.is_empty() }
        }))
        .remedies([
            Remedy::architecture(
                "Spread the connections over more hosts, or put what buffers much (proxies in front of slow clients) on \
                 hosts of their own.",
            ),
            Remedy::kernel(
                Applicability::Unsafe,
                format!("{MEM}={} {} {}", max, max * 4 / 3, max * 2),
                "Twice the memory for TCP, on the whole host, at once. First see whether the value was set by hand below \
                 the kernel's default (about 4.7, 6.3 and 9.4 % of memory); never copy fixed figures.",
            ),
        ])
        .process(process);
    Ok(Ok(finding))
}

fn cgroup_finding(cx: &Context<'_>, cgroup: &CgroupMemory) -> Option<Finding> {
    let share = cgroup.max_bytes.map(|max| fraction(cgroup.sock_bytes, max));
    let before = cx.window.first().host.cgroup_memory.as_ref().ok().filter(|_| cx.window.has_past());
    let before = before.and_then(|all| all.iter().find(|c| c.path == cgroup.path)?.sock_throttled);
    let throttled = before.zip(cgroup.sock_throttled).and_then(|(from, to)| {
        let delta = cx.window.difference("sock_throttled", from, to).ok()?;
        (delta.by > 0).then_some(delta)
    });
    let past = |threshold| share.is_some_and(|s| s >= cx.limit(threshold));
    let severity = if past(&CGROUP_CRITICAL) {
        Severity::Critical
    } else if past(&CGROUP_WARNING)
        || throttled.is_some_and(|d| cx.sure_rate(d.by as f64) >= cx.limit(&THROTTLED))
    {
        Severity::Warning
    } else if throttled.is_some() {
        Severity::Info
    } else {
        return None;
    };
    let of_limit = match (share, cgroup.max_bytes) {
        (Some(share), Some(max)) => format!(", {} of its memory limit of {}", percent(share), size(max)),
        _ => String::new(),
    };
    let held_back = throttled.map_or(String::new(), |d| {
        format!("; its sockets were throttled {} in {:.1} s", counted(d.by, "time"), d.seconds)
    });
    let stat = |file| format!("/sys/fs/cgroup{}/{file}", cgroup.path);
    let mut evidence = vec![
        Evidence::new(
            "socket memory",
            cgroup.sock_bytes as f64,
            "bytes",
            format!("{} sock", stat("memory.stat")),
        ),
        Evidence::new("all memory charged", cgroup.current_bytes as f64, "bytes", stat("memory.current")),
    ];
    evidence.extend(cgroup.max_bytes.map(|m| Evidence::new("limit", m as f64, "bytes", stat("memory.max"))));
    evidence.extend(throttled.map(|d| {
        let source = format!("{} over {:.1} s", stat("memory.events"), d.seconds);
        Evidence::new("sock_throttled", d.by as f64, "times", source)
    }));
    // The process of the cgroup with the most sockets is the one to look at.
    let process = cx.processes().ok().and_then(|p| {
        let members =
            p.list.iter().enumerate().filter(|(_, p)| p.cgroup.as_deref() == Some(cgroup.path.as_str()));
        members.max_by_key(|(_, p)| p.sockets).map(|(i, _)| i as linger_model::aggregate::ProcessIndex)
    });
    let who =
        process.map_or(String::new(), |p| format!(", among them those of {},", cx.process_label(Some(p))));
    let finding = cx
        .finding(
            severity,
            Confidence::High,
            format!("cgroup {}", cgroup.path),
            format!("socket buffers of cgroup {}{who} take {}{of_limit}{held_back}", cgroup.path, size(cgroup.sock_bytes)),
        )
        .why(
            "Socket buffers are charged to the cgroup of the process that made the socket and cannot be reclaimed. When \
             the cgroup is short of memory the kernel first shrinks the windows of its sockets, then kills.",
        )
        .evidence(evidence)
        .remedies(cx.application_remedies(process, Symptom::SlowReader))
        .remedies([Remedy::architecture(
            "Raise the container's memory limit (memory.max), or give it fewer connections: buffers count into the limit \
             as the heap does.",
        )])
        .process(process);
    Some(finding)
}

#[cfg(test)]
mod tests {
    use crate::Outcome;
    use crate::testing::*;
    use linger_model::report::Severity;
    use linger_model::snapshot::{CgroupMemory, Gap, GapKind};

    fn with(at_s: f64, pages: u64) -> Moment {
        let mut moment = moment(at_s);
        moment.sockstat.mem_pages = pages;
        moment
    }

    fn cgroup(at_s: f64, sock_mib: u64, throttled: u64) -> Moment {
        moment(at_s).process_with(8, "php-fpm", |p| p.cgroup = Some("/kube/pod1".into())).change_host(
            move |h| {
                h.cgroup_memory = Ok(vec![CgroupMemory {
                    path: "/kube/pod1".into(),
                    sock_bytes: sock_mib << 20,
                    current_bytes: 500 << 20,
                    max_bytes: Some(512 << 20),
                    sock_throttled: Some(throttled),
                }]);
            },
        )
    }

    fn severity(moments: impl IntoIterator<Item = Moment>) -> Option<Severity> {
        match run(&super::RULE, moments) {
            Outcome::Fired(findings) => Some(findings[0].severity),
            Outcome::Clear(_) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fires_above_the_pressure_mark() {
        golden!([with(0.0, 380_000), with(1.0, 400_000).counter("TcpExt.TCPMemoryPressures", 1)]);
    }

    #[test]
    fn fires_on_a_cgroup_whose_sockets_fill_its_limit() {
        golden!([cgroup(0.0, 300, 10), cgroup(1.0, 430, 40)]);
    }

    #[test]
    fn is_clear_between_the_low_and_the_pressure_mark() {
        golden!([with(0.0, 300_000), with(1.0, 300_000)]);
    }

    #[test]
    fn is_unknown_where_only_the_host_has_tcp_mem_and_it_was_not_read() {
        golden!([with(1.0, 300).without_sysctl("net.ipv4.tcp_mem")]);
    }

    #[test]
    fn a_child_namespace_uses_the_hosts_figures() {
        let child = with(1.0, 400_000).without_sysctl("net.ipv4.tcp_mem").change_host(|h| {
            h.sysctls.insert("net.ipv4.tcp_mem".into(), Ok("281250\t375003\t562500\n".into()));
        });
        assert_eq!(severity([child]), Some(Severity::Warning));
    }

    #[test]
    fn severity_follows_the_marks_and_what_failed() {
        assert_eq!(severity([with(1.0, 375_002)]), None);
        assert_eq!(severity([with(1.0, 375_003)]), Some(Severity::Warning));
        assert_eq!(severity([with(1.0, 540_000)]), Some(Severity::Critical));
        let aborts = |pages| [with(0.0, pages), with(1.0, pages).counter("TcpExt.TCPAbortOnMemory", 3)];
        assert_eq!(severity(aborts(380_000)), Some(Severity::Critical));
        assert_eq!(severity(aborts(1000)), Some(Severity::Warning), "it was short between the samples");
        let [first, mut last] = aborts(1000);
        last.sockstat.orphan = 60_000;
        assert_eq!(severity([first, last]), None, "orphans explain them: OR001");
    }

    #[test]
    fn a_cgroup_full_of_page_cache_is_no_fault() {
        assert_eq!(severity([cgroup(0.0, 20, 7), cgroup(1.0, 20, 7)]), None);
        assert_eq!(severity([cgroup(0.0, 260, 7), cgroup(1.0, 260, 7)]), Some(Severity::Warning));
        assert_eq!(severity([cgroup(0.0, 20, 7), cgroup(10.0, 20, 9)]), Some(Severity::Info));
        assert_eq!(severity([cgroup(0.0, 20, 7), cgroup(1.0, 20, 17)]), Some(Severity::Warning));
    }

    #[test]
    fn unread_cgroups_are_said() {
        let blind = with(1.0, 100).change_host(|h| {
            h.cgroup_memory = Err(Gap::new("cgroups", GapKind::Unsupported, "no cgroup v2", ""));
        });
        let Outcome::Clear(why) = run(&super::RULE, [blind]) else { panic!() };
        assert!(why.ends_with("was not read: no cgroup v2"), "{why}");
    }
}
