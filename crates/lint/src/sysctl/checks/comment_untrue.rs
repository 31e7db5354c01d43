use super::super::value::Shape;
use super::{Cx, declare_check};
use crate::{Diagnostic, Severity};

declare_check! {
    /// # What it detects
    /// A comment above a setting that claims what the kernel does not do: that `tcp_fin_timeout` shortens TIME_WAIT, that
    /// `rmem_default` is for TCP, that `tcp_mem` is in bytes, that `netdev_max_backlog` is a queue of connections.
    ///
    /// # Why it matters
    /// Comments are where beliefs live on. The next person tunes by them.
    ///
    /// # Fix
    /// Write what the setting does; the message says it. linger does not rewrite comments.
    ///
    /// # Fix safety
    /// Nothing but words changes.
    ///
    /// # Sources
    /// The beliefs in `linger explain KEY`, several of them measured: `linger lab myths`.
    SC015, "comment-untrue"
}

/// A claim about a setting: the comment has one word of each group.
struct Claim {
    key: &'static str,
    words: &'static [&'static [&'static str]],
    truth: &'static str,
}

const TIME_WAIT: &[&str] = &["time_wait", "time-wait", "time wait", "timewait"];
const CLOSE_WAIT: &[&str] = &["close_wait", "close-wait", "close wait", "closewait"];
const CONNECTIONS: &[&str] = &["accept", "syn", "listen", "connection"];

static CLAIMS: &[Claim] = &[
    Claim {
        key: "net.ipv4.tcp_fin_timeout",
        words: &[TIME_WAIT],
        truth: "tcp_fin_timeout does not touch TIME_WAIT, which lasts 60 s in every version: it bounds orphaned FIN_WAIT2",
    },
    Claim {
        key: "net.ipv4.tcp_max_syn_backlog",
        words: &[&[
            "syn backlog",
            "syn queue",
            "half-open",
            "half open",
            "syn_backlog",
            "syn flood",
            "pending",
        ]],
        truth: "the request queue is bounded by the listener's backlog since 4.4; this is looked at with SYN cookies off only",
    },
    Claim {
        key: "net.core.rmem_default",
        words: &[&["tcp"]],
        truth: "TCP does not read rmem_default: it starts with the second number of tcp_rmem",
    },
    Claim {
        key: "net.core.wmem_default",
        words: &[&["tcp"]],
        truth: "TCP does not read wmem_default: it starts with the second number of tcp_wmem",
    },
    Claim {
        key: "net.core.rmem_max",
        words: &[&["system-wide", "systemwide", "system wide", "total", "all sockets"]],
        truth: "rmem_max is no limit of the system: it caps what one socket may ask for with SO_RCVBUF",
    },
    Claim {
        key: "net.core.wmem_max",
        words: &[&["system-wide", "systemwide", "system wide", "total", "all sockets"]],
        truth: "wmem_max is no limit of the system: it caps what one socket may ask for with SO_SNDBUF",
    },
    Claim {
        key: "net.ipv4.tcp_mem",
        words: &[&["bytes", "per socket", "per-socket", "each socket"]],
        truth: "tcp_mem is in pages, for all sockets of the host together",
    },
    Claim {
        key: "net.core.netdev_max_backlog",
        words: &[CONNECTIONS],
        truth: "netdev_max_backlog counts packets per CPU before TCP sees them, no connections",
    },
    Claim {
        key: "net.ipv4.tcp_tw_recycle",
        words: &[&["deprecated", "safe"]],
        truth: "tcp_tw_recycle is not deprecated but removed, since 4.12; before, it refused clients behind NAT",
    },
    Claim {
        key: "net.ipv4.tcp_tw_reuse",
        words: &[&["incoming", "inbound", "accepted", "server side", "server-side", "listening"]],
        truth: "tcp_tw_reuse is looked at by connect() only: it does nothing for accepted connections",
    },
    Claim {
        key: "net.ipv4.tcp_tw_reuse",
        words: &[&["shorten", "reduce", "faster", "quickly", "clear", "free", "recycl"], TIME_WAIT],
        truth: "tcp_tw_reuse ends no TIME_WAIT early: each lasts 60 s unless a connect() takes over its port",
    },
    Claim {
        key: "net.ipv4.tcp_max_tw_buckets",
        words: &[&["drop", "refuse", "reject"]],
        truth: "beyond tcp_max_tw_buckets no connection is dropped or refused: closing ones skip TIME_WAIT",
    },
    Claim {
        key: "net.ipv4.tcp_keepalive_time",
        words: &[&["all connections", "every connection", "http keep", "idle connections are closed"]],
        truth: "only sockets that set SO_KEEPALIVE are probed, and it has nothing to do with HTTP keep-alive",
    },
    Claim {
        key: "net.ipv4.route.gc_timeout",
        words: &[&["time_wait", "time-wait", "connection", "tcp", "cache"]],
        truth: "the routing cache is gone since 3.6; the setting does nothing for connections",
    },
    Claim {
        key: "fs.file-max",
        words: &[&["per process", "per-process", "each process", "ulimit"]],
        truth: "fs.file-max is the host's limit; a process's is RLIMIT_NOFILE",
    },
    Claim {
        key: "fs.nr_open",
        words: &[&["system-wide", "systemwide", "total", "all processes"]],
        truth: "fs.nr_open is the ceiling of one process's limit; the host's limit is fs.file-max",
    },
    Claim {
        key: "net.netfilter.nf_conntrack_tcp_timeout_time_wait",
        words: &[&["socket", "port"], TIME_WAIT],
        truth: "it shortens what conntrack remembers; the sockets stay in TIME_WAIT for 60 s",
    },
    Claim {
        key: "net.ipv4.tcp_rfc1337",
        words: &[&["kill", "drop time", "assassinate time"], TIME_WAIT],
        truth: "tcp_rfc1337 = 1 makes TIME_WAIT ignore a RST",
    },
];

/// Words that turn a claim round.
const NEGATIONS: &[&str] =
    &["not ", "n't ", "n’t ", "no effect", "never ", "nothing", "myth", "wrong", "only ", "unlike"];

fn check(cx: &Cx<'_>, out: &mut Vec<Diagnostic>) {
    for line in cx.lines() {
        let Some(sysctl) = line.known else { continue };
        let Some((comment, span)) = cx.comment_above(line.at) else { continue };
        let comment = comment.to_lowercase().replace('\u{2011}', "-");
        // A block that was commented out is no claim.
        if comment.contains(" = ") || NEGATIONS.iter().any(|word| comment.contains(word)) {
            continue;
        }
        let says = |words: &[&str]| words.iter().any(|word| comment.contains(word));
        let claim = CLAIMS
            .iter()
            .find(|claim| claim.key == sysctl.key && claim.words.iter().all(|group| says(group)));
        let truth = match claim {
            // Of kernels before 4.4, and with cookies off, it is true.
            Some(claim) if claim.key == "net.ipv4.tcp_max_syn_backlog" => {
                let cookies = cx.value("net.ipv4.tcp_syncookies").and_then(|k| k.int());
                if !cx.at_least(4, 4) || cookies == Some(0) {
                    continue;
                }
                claim.truth
            }
            Some(claim) => claim.truth,
            None if says(CLOSE_WAIT)
                && sysctl.key.starts_with("net.ipv4.tcp_")
                && matches!(Shape::of(sysctl), Shape::Ints(_)) =>
            {
                "no sysctl ends CLOSE_WAIT: only the application does, by close()"
            }
            None => continue,
        };
        let diagnostic = Diagnostic::in_line(
            CHECK.code,
            Severity::Warning,
            &line.file.name,
            &line.file.text,
            // The comment's last line is the one above.
            (line.at.line - 1, span),
            format!("the comment is wrong: {truth}"),
            sysctl.meaning,
        );
        out.push(diagnostic.key(line.setting.key.dotted()).source(super::sources(sysctl.sources)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{codes, lint, the};

    #[test]
    fn the_common_beliefs_are_seen() {
        let d = the(
            "SC015",
            lint("# Reduce FIN timeout (affects FIN_WAIT2 and TIME_WAIT)\nnet.ipv4.tcp_fin_timeout = 15\n"),
        );
        assert_eq!((d.line, d.column), (1, 1));
        assert!(d.message.contains("60 s in every version"));
        for text in [
            "# grow TCP buffers\nnet.core.rmem_default = 262144\n",
            "; fewer CLOSE_WAIT sockets\nnet.ipv4.tcp_orphan_retries = 3\n",
            "# reduce TIME_WAIT\n# on busy hosts\nnet.ipv4.tcp_tw_reuse = 1\n",
        ] {
            assert!(codes(&lint(text)).contains(&"SC015".to_owned()), "{text}");
        }
    }

    #[test]
    fn true_comments_are_left_alone() {
        for text in [
            "# orphaned FIN_WAIT2 only, not TIME_WAIT\nnet.ipv4.tcp_fin_timeout = 15\n",
            "# does nothing for TIME_WAIT\nnet.ipv4.tcp_fin_timeout = 15\n",
            "# reuse of TIME_WAIT by outgoing connections\nnet.ipv4.tcp_tw_reuse = 1\n",
            "# TIME_WAIT\n\nnet.ipv4.tcp_fin_timeout = 15\n",
            "# effective if SO_KEEPALIVE is set\nnet.ipv4.tcp_keepalive_time = 600\n",
        ] {
            assert!(!codes(&lint(text)).contains(&"SC015".to_owned()), "{text}");
        }
    }
}
