//! What is looked for in rule files: the manual of each code.

/// Something that is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Lint {
    /// `PR001`: never changes its meaning, is never used again.
    pub code: &'static str,
    /// The fault's name.
    pub name: &'static str,
    /// The manual: the declaration's doc comment.
    pub doc: &'static str,
}

/// Declares lints; their doc comments are the manual.
macro_rules! lints {
    ($($(#[doc = $doc:literal])+ $code:ident $name:literal;)+) => {
        $($(#[doc = $doc])+ pub static $code: Lint = Lint {
            code: stringify!($code),
            name: $name,
            doc: concat!($($doc, "\n"),+),
        };)+
        /// Every lint of rule files, by code.
        pub static LINTS: &[&Lint] = &[$(&$code),+];
    };
}

lints! {
    /// The file is not YAML.
    ///
    /// # What it detects
    /// A file that no YAML parser reads, one that is not UTF-8, or one of more than 4 MiB. The place is where reading
    /// stopped; the fault may be in the line before.
    /// # Why it matters
    /// Prometheus refuses the whole file: at its start it ends, at a reload it goes on with the old rules.
    /// # Fix
    /// Mostly indentation, a tab, or a quote that is not closed. `promtool check rules FILE` reads it as Prometheus does.
    /// # Sources
    /// Prometheus model/rulefmt/rulefmt.go Parse().
    PR001 "invalid-yaml";

    /// The file is YAML but no rule file.
    ///
    /// # What it detects
    /// No list `groups` (at the top, or under `spec` as in a PrometheusRule of Kubernetes), a group without name or with
    /// that of another, rules beside the groups instead of in one, a rule without `expr`, with both or neither of `alert` and `record`, a `for` that
    /// is no duration, a key that stands twice. Keys that only some rulers know (of Thanos, Mimir, Loki) are left alone,
    /// though Prometheus refuses them.
    /// # Why it matters
    /// Prometheus refuses the whole file: at its start it ends, at a reload it goes on with the old rules.
    /// # Fix
    /// Rules copied from a web page have often lost their indentation: `rules` belongs into the group, and the keys of a
    /// rule under its `-`.
    /// # Sources
    /// Prometheus model/rulefmt/rulefmt.go RuleGroups.Validate().
    PR002 "not-a-rule-file";

    /// The expression is not PromQL.
    ///
    /// # What it detects
    /// An expression that does not parse, or that takes a vector where a range is wanted and the like. Expressions longer
    /// than 64 KiB or with more than 600 operators and brackets are left out, and said to be.
    /// # Why it matters
    /// Prometheus refuses the whole file.
    /// # Fix
    /// `promtool check rules FILE` of the Prometheus that is to run it decides: syntax newer than linger's parser is
    /// reported here, too.
    /// # Sources
    /// The promql-parser library, which follows Prometheus 2.45 and some of what came later.
    PR003 "invalid-promql";

    /// A metric that node_exporter does not have.
    ///
    /// # What it detects
    /// Names of families that node_exporter fills from fixed lists: `node_netstat_Tcp_*`, `node_sockstat_*`,
    /// `node_nf_conntrack_*`, `node_softnet_*`, `node_filefd_*`, and states of sockets in any of netstat's. The usual ones
    /// are `node_netstat_Tcp_TimeWait`, `_CloseWait`, `_SynRecv`: /proc/net/snmp counts events and has no numbers of
    /// sockets by state. Names that a rule of the same file records, and names with a colon, are left alone.
    /// # Why it matters
    /// An expression about a series that is not there is empty, and an alert whose expression is empty never fires.
    /// Nothing says so.
    /// # Fix
    /// TIME_WAIT: `node_sockstat_TCP_tw`. Other states: `node_tcp_connection_states{state="close_wait"}`, with
    /// `--collector.tcpstat`, which dumps every socket at each scrape. SYN floods: rates of
    /// `node_netstat_TcpExt_SyncookiesSent` and `node_netstat_TcpExt_ListenDrops`. A name is replaced by itself only
    /// where the other means the same.
    /// # Sources
    /// node_exporter collector/netstat_linux.go, sockstat_linux.go, conntrack_linux.go, softnet_linux.go; net/ipv4/proc.c
    /// snmp_seq_show().
    PR004 "no-such-metric";

    /// A metric that node_exporter has only with an option.
    ///
    /// # What it detects
    /// Fields of netstat that the default of `--collector.netstat.fields` leaves out (`TCPReqQFull*`, `TCPAbort*`,
    /// `TCPTimeWaitOverflow`, `TW*`), and metrics of collectors that are off by default (tcpstat).
    /// # Why it matters
    /// On exporters without the option the alert never fires.
    /// # Fix
    /// Give the option to every exporter that the rule is for, and let `absent()` of the metric alert. The pattern of
    /// `--collector.netstat.fields` replaces the default one, so it must name the default's fields, too.
    /// # Sources
    /// node_exporter collector/netstat_linux.go (netStatFields), tcpstat_linux.go (defaultDisabled).
    PR005 "not-exported-by-default";

    /// rate() of a gauge.
    ///
    /// # What it detects
    /// `rate`, `irate` or `increase` of a metric that goes up and down, as `node_sockstat_TCP_tw`.
    /// # Why it matters
    /// These functions take every fall for a counter that began again at zero and add the whole value after it: a gauge
    /// that wavers around 50 000 gives a huge rate, and one that grows steadily a small one.
    /// # Fix
    /// Compare the value itself; for its trend, `deriv()` or `delta()`.
    /// # Sources
    /// Prometheus docs/querying/functions.md, rate(): for counters only; promql/functions.go extrapolatedRate().
    PR006 "rate-of-gauge";

    /// A counter compared as if it were a gauge.
    ///
    /// # What it detects
    /// `counter > number` (also `>=`, `!=`, in either order, through max, sum and the like) without rate() or increase().
    /// # Why it matters
    /// The counter begins at boot and never falls: `ListenOverflows > 0` fires from the first overflow until the next
    /// boot, and a higher limit only later.
    /// # Fix
    /// `increase(COUNTER[5m]) > 0`, or `rate(COUNTER[5m]) > PER_SECOND`. Where the comparison is `> 0` or `!= 0`, the
    /// first is sure.
    /// # Sources
    /// node_exporter collector/netstat_linux.go; Documentation/networking/snmp_counter.rst.
    PR007 "counter-without-rate";

    /// A limit that is not reached, or not for the reason that is meant.
    ///
    /// # What it detects
    /// `node_tcp_connection_states{state="syn_recv"}` above a large number, and `node_sockstat_TCP_tw` above 262144.
    /// # Why it matters
    /// A listener keeps no more than backlog + 1 requests and answers further SYNs with cookies, which leave no socket:
    /// in a flood of any size SYN_RECV stays at that limit. TIME_WAIT ends at `tcp_max_tw_buckets`, by default 262144 on
    /// the largest hosts and less on smaller ones.
    /// # Fix
    /// Floods: rates of `SyncookiesSent`, `ListenDrops` and `TCPReqQFull*`. TIME_WAIT: a limit below the host's
    /// `tcp_max_tw_buckets`, or a rate of `TCPTimeWaitOverflow`.
    /// # Sources
    /// net/ipv4/tcp_input.c tcp_conn_request(); include/net/inet_connection_sock.h inet_csk_reqsk_queue_is_full();
    /// measured on 6.18: 60 spoofed SYNs at backlog 4 leave 5 SYN_RECV; net/ipv4/tcp_ipv4.c tcp_sk_init().
    PR008 "limit-not-reached";

    /// A metric that is not what its name says.
    ///
    /// # What it detects
    /// `node_netstat_Tcp_CurrEstab` (counts CLOSE_WAIT, too), `node_netstat_TcpExt_TW` (no number of sockets),
    /// `_TWKilled` (nobody killed them), `_TWRecycled` (not tcp_tw_recycle), `node_nf_conntrack_stat_insert_failed` (not
    /// a full table).
    /// # Why it matters
    /// The alert fires for something else than its text says, and whoever is woken looks at the wrong place.
    /// # Fix
    /// The text of each says what to ask for instead. Where the metric is meant as it is, nothing has to be done.
    /// # Sources
    /// net/ipv4/tcp.c tcp_set_state(); net/ipv4/inet_timewait_sock.c; net/netfilter/nf_conntrack_core.c.
    PR009 "misleading-metric";

    /// A range that may hold fewer than two samples.
    ///
    /// # What it detects
    /// rate(), increase(), delta() and the like of node_exporter's metrics over less than 30 s, or over less than two
    /// minutes, which is too short at Prometheus' default `scrape_interval` of one minute. With the scrape interval given:
    /// over less than four times it.
    /// # Why it matters
    /// These functions need two samples in the range and give nothing with fewer. One lost scrape is enough for that if
    /// the range is twice the interval.
    /// # Fix
    /// At least four times the scrape interval.
    /// # Sources
    /// Prometheus promql/functions.go extrapolatedRate(); docs/configuration/configuration.md scrape_interval.
    PR010 "range-too-short";

    /// A state that node_exporter does not spell so.
    ///
    /// # What it detects
    /// A matcher `state="…"` of `node_tcp_connection_states` with a value that is never exported: upper case, a hyphen, a
    /// misspelling.
    /// # Why it matters
    /// The selector is empty, and the alert never fires.
    /// # Fix
    /// Lower case with underscores, as in `time_wait`, `close_wait`, `syn_recv`, `fin_wait1`.
    /// # Sources
    /// node_exporter collector/tcpstat_linux.go tcpConnectionState.String().
    PR011 "unknown-state";
}
