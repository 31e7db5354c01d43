//! Names of settings of which facts says nothing more, so that they are not taken for slips of the pen.

/// Settings of net.core, net.ipv4 and net.netfilter on 6.18, besides those in facts. Sorted.
pub(super) const OTHERS: &[&str] = &[
    "net.core.bpf_jit_enable",
    "net.core.bpf_jit_harden",
    "net.core.bpf_jit_kallsyms",
    "net.core.bpf_jit_limit",
    "net.core.busy_poll",
    "net.core.busy_read",
    "net.core.default_qdisc",
    "net.core.dev_weight",
    "net.core.dev_weight_rx_bias",
    "net.core.dev_weight_tx_bias",
    "net.core.devconf_inherit_init_net",
    "net.core.fb_tunnels_only_for_init_net",
    "net.core.flow_limit_cpu_bitmap",
    "net.core.flow_limit_table_len",
    "net.core.gro_normal_batch",
    "net.core.high_order_alloc_disable",
    "net.core.max_skb_frags",
    "net.core.mem_pcpu_rsv",
    "net.core.message_burst",
    "net.core.message_cost",
    "net.core.netdev_rss_key",
    "net.core.netdev_tstamp_prequeue",
    "net.core.netdev_unregister_timeout_secs",
    "net.core.optmem_max",
    "net.core.rps_default_mask",
    "net.core.rps_sock_flow_entries",
    "net.core.skb_defer_max",
    "net.core.tstamp_allow_data",
    "net.core.txrehash",
    "net.core.warnings",
    "net.core.xfrm_acq_expires",
    "net.core.xfrm_aevent_etime",
    "net.core.xfrm_aevent_rseqth",
    "net.core.xfrm_larval_drop",
    "net.ipv4.cipso_cache_bucket_size",
    "net.ipv4.cipso_cache_enable",
    "net.ipv4.cipso_rbm_optfmt",
    "net.ipv4.cipso_rbm_strictvalid",
    "net.ipv4.fib_multipath_hash_fields",
    "net.ipv4.fib_multipath_hash_policy",
    "net.ipv4.fib_multipath_hash_seed",
    "net.ipv4.fib_multipath_use_neigh",
    "net.ipv4.fib_notify_on_flag_change",
    "net.ipv4.fib_sync_mem",
    "net.ipv4.fwmark_reflect",
    "net.ipv4.icmp_echo_enable_probe",
    "net.ipv4.icmp_echo_ignore_all",
    "net.ipv4.icmp_echo_ignore_broadcasts",
    "net.ipv4.icmp_errors_use_inbound_ifaddr",
    "net.ipv4.icmp_ignore_bogus_error_responses",
    "net.ipv4.icmp_msgs_burst",
    "net.ipv4.icmp_msgs_per_sec",
    "net.ipv4.icmp_ratelimit",
    "net.ipv4.icmp_ratemask",
    "net.ipv4.igmp_link_local_mcast_reports",
    "net.ipv4.igmp_max_memberships",
    "net.ipv4.igmp_max_msf",
    "net.ipv4.igmp_qrv",
    "net.ipv4.inet_peer_maxttl",
    "net.ipv4.inet_peer_minttl",
    "net.ipv4.inet_peer_threshold",
    "net.ipv4.ip_default_ttl",
    "net.ipv4.ip_dynaddr",
    "net.ipv4.ip_early_demux",
    "net.ipv4.ip_forward",
    "net.ipv4.ip_forward_update_priority",
    "net.ipv4.ip_forward_use_pmtu",
    "net.ipv4.ip_no_pmtu_disc",
    "net.ipv4.ip_nonlocal_bind",
    "net.ipv4.ipfrag_high_thresh",
    "net.ipv4.ipfrag_low_thresh",
    "net.ipv4.ipfrag_max_dist",
    "net.ipv4.ipfrag_secret_interval",
    "net.ipv4.ipfrag_time",
    "net.ipv4.nexthop_compat_mode",
    "net.ipv4.ping_group_range",
    "net.ipv4.raw_l3mdev_accept",
    "net.ipv4.route.error_burst",
    "net.ipv4.route.error_cost",
    "net.ipv4.route.flush",
    "net.ipv4.route.gc_elasticity",
    "net.ipv4.route.gc_interval",
    "net.ipv4.route.gc_min_interval",
    "net.ipv4.route.gc_min_interval_ms",
    "net.ipv4.route.gc_thresh",
    "net.ipv4.route.max_size",
    "net.ipv4.route.min_adv_mss",
    "net.ipv4.route.min_pmtu",
    "net.ipv4.route.mtu_expires",
    "net.ipv4.route.redirect_load",
    "net.ipv4.route.redirect_number",
    "net.ipv4.route.redirect_silence",
    "net.ipv4.tcp_adv_win_scale",
    "net.ipv4.tcp_allowed_congestion_control",
    "net.ipv4.tcp_app_win",
    "net.ipv4.tcp_autocorking",
    "net.ipv4.tcp_available_congestion_control",
    "net.ipv4.tcp_available_ulp",
    "net.ipv4.tcp_backlog_ack_defer",
    "net.ipv4.tcp_base_mss",
    "net.ipv4.tcp_comp_sack_delay_ns",
    "net.ipv4.tcp_comp_sack_nr",
    "net.ipv4.tcp_comp_sack_slack_ns",
    "net.ipv4.tcp_dsack",
    "net.ipv4.tcp_early_demux",
    "net.ipv4.tcp_early_retrans",
    "net.ipv4.tcp_ecn_fallback",
    "net.ipv4.tcp_ecn_option",
    "net.ipv4.tcp_ecn_option_beacon",
    "net.ipv4.tcp_fack",
    "net.ipv4.tcp_fastopen_blackhole_timeout_sec",
    "net.ipv4.tcp_fastopen_key",
    "net.ipv4.tcp_frto",
    "net.ipv4.tcp_fwmark_accept",
    "net.ipv4.tcp_l3mdev_accept",
    "net.ipv4.tcp_limit_output_bytes",
    "net.ipv4.tcp_low_latency",
    "net.ipv4.tcp_max_reordering",
    "net.ipv4.tcp_min_rtt_wlen",
    "net.ipv4.tcp_min_snd_mss",
    "net.ipv4.tcp_min_tso_segs",
    "net.ipv4.tcp_mtu_probe_floor",
    "net.ipv4.tcp_no_metrics_save",
    "net.ipv4.tcp_no_ssthresh_metrics_save",
    "net.ipv4.tcp_pacing_ca_ratio",
    "net.ipv4.tcp_pacing_ss_ratio",
    "net.ipv4.tcp_pingpong_thresh",
    "net.ipv4.tcp_plb_cong_thresh",
    "net.ipv4.tcp_plb_enabled",
    "net.ipv4.tcp_plb_idle_rehash_rounds",
    "net.ipv4.tcp_plb_rehash_rounds",
    "net.ipv4.tcp_plb_suspend_rto_sec",
    "net.ipv4.tcp_probe_interval",
    "net.ipv4.tcp_probe_threshold",
    "net.ipv4.tcp_recovery",
    "net.ipv4.tcp_reflect_tos",
    "net.ipv4.tcp_reordering",
    "net.ipv4.tcp_retrans_collapse",
    "net.ipv4.tcp_shrink_window",
    "net.ipv4.tcp_stdurg",
    "net.ipv4.tcp_thin_linear_timeouts",
    "net.ipv4.tcp_tso_rtt_log",
    "net.ipv4.tcp_tso_win_divisor",
    "net.ipv4.tcp_workaround_signed_windows",
    "net.ipv4.udp_child_hash_entries",
    "net.ipv4.udp_early_demux",
    "net.ipv4.udp_hash_entries",
    "net.ipv4.udp_l3mdev_accept",
    "net.ipv4.udp_mem",
    "net.ipv4.udp_rmem_min",
    "net.ipv4.udp_wmem_min",
    "net.ipv4.xfrm4_gc_thresh",
    "net.netfilter.nf_conntrack_acct",
    "net.netfilter.nf_conntrack_checksum",
    "net.netfilter.nf_conntrack_events",
    "net.netfilter.nf_conntrack_expect_max",
    "net.netfilter.nf_conntrack_frag6_high_thresh",
    "net.netfilter.nf_conntrack_frag6_low_thresh",
    "net.netfilter.nf_conntrack_frag6_timeout",
    "net.netfilter.nf_conntrack_generic_timeout",
    "net.netfilter.nf_conntrack_gre_timeout",
    "net.netfilter.nf_conntrack_gre_timeout_stream",
    "net.netfilter.nf_conntrack_icmp_timeout",
    "net.netfilter.nf_conntrack_icmpv6_timeout",
    "net.netfilter.nf_conntrack_log_invalid",
    "net.netfilter.nf_conntrack_sctp_timeout_closed",
    "net.netfilter.nf_conntrack_sctp_timeout_cookie_echoed",
    "net.netfilter.nf_conntrack_sctp_timeout_cookie_wait",
    "net.netfilter.nf_conntrack_sctp_timeout_established",
    "net.netfilter.nf_conntrack_sctp_timeout_heartbeat_sent",
    "net.netfilter.nf_conntrack_sctp_timeout_shutdown_ack_sent",
    "net.netfilter.nf_conntrack_sctp_timeout_shutdown_recd",
    "net.netfilter.nf_conntrack_sctp_timeout_shutdown_sent",
    "net.netfilter.nf_conntrack_timestamp",
    "net.netfilter.nf_conntrack_udp_timeout",
    "net.netfilter.nf_conntrack_udp_timeout_stream",
    "net.netfilter.nf_hooks_lwtunnel",
    "net.netfilter.nf_log_all_netns",
];

/// Settings that only older or newer kernels have, or none without a module.
pub(super) const ELSEWHERE: &[&str] = &[
    "net.core.hot_list_length",
    "net.ipv4.ip_local_port_step_width",
    "net.ipv4.tcp_default_init_rwnd",
    "net.ipv4.tcp_rcvbuf_low_rtt",
    "net.ipv4.tcp_thin_dupack",
    "net.netfilter.nf_conntrack_dccp_loose",
    "net.netfilter.nf_conntrack_helper",
    "net.netfilter.nf_conntrack_skip_filter",
    "net.netfilter.nf_conntrack_tcp_no_window_check",
    "net.netfilter.nf_conntrack_udplite_timeout",
    "net.netfilter.nf_conntrack_udplite_timeout_stream",
    "net.netfilter.nf_flowtable_tcp_timeout",
    "net.netfilter.nf_flowtable_udp_timeout",
];

/// A setting that was removed, and that facts does not tell of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Removed {
    /// The key; one that ends in `*` stands for all that begin so.
    pub key: &'static str,
    /// The first version that does not have it.
    pub until: (u16, u16),
    /// What became of it.
    pub why: &'static str,
    /// Where this is from.
    pub source: &'static str,
}

/// All of these are absent on 6.18.
pub(super) const REMOVED: &[Removed] = &[
    Removed {
        key: "kernel.sched_latency_ns",
        until: (5, 13),
        why: "the scheduler's knobs moved to debugfs",
        source: "commit 8a99b6833c88, in 5.13 (named so in scylladb/scylladb issue 16077); absent on 6.18",
    },
    Removed {
        key: "kernel.sched_migration_cost_ns",
        until: (5, 13),
        why: "the scheduler's knobs moved to debugfs",
        source: "commit 8a99b6833c88, in 5.13 (named so in scylladb/scylladb issue 16077); absent on 6.18",
    },
    Removed {
        key: "kernel.sched_min_granularity_ns",
        until: (5, 13),
        why: "the scheduler's knobs moved to debugfs",
        source: "commit 8a99b6833c88, in 5.13 (named so in scylladb/scylladb issue 16077); absent on 6.18",
    },
    Removed {
        key: "kernel.sched_wakeup_granularity_ns",
        until: (5, 13),
        why: "the scheduler's knobs moved to debugfs",
        source: "commit 8a99b6833c88, in 5.13 (named so in scylladb/scylladb issue 16077); absent on 6.18",
    },
    Removed {
        key: "net.ipv4.ip_conntrack_max",
        until: (4, 9),
        why: "conntrack's settings are net.netfilter.nf_conntrack_*",
        source: "net/ipv4/netfilter/nf_conntrack_l3proto_ipv4_compat.c, gone by 4.9 (the version from memory); absent on 6.18",
    },
    Removed {
        key: "net.ipv4.netfilter.ip_conntrack_*",
        until: (4, 9),
        why: "conntrack's settings are net.netfilter.nf_conntrack_*",
        source: "net/ipv4/netfilter/nf_conntrack_l3proto_ipv4_compat.c, gone by 4.9 (the version from memory); absent on 6.18",
    },
    Removed {
        key: "net.ipv4.route.secret_interval",
        until: (3, 10),
        why: "it belonged to the routing cache, which was removed in 3.6",
        source: "Documentation/networking/ip-sysctl.rst on the routing cache; absent on 6.18",
    },
    Removed {
        key: "net.ipv4.rt_cache_rebuild_count",
        until: (3, 10),
        why: "it belonged to the routing cache, which was removed in 3.6",
        source: "Documentation/networking/ip-sysctl.rst on the routing cache; absent in a 3.10 tree and on 6.18",
    },
    Removed {
        key: "net.ipv4.tcp_abc",
        until: (3, 10),
        why: "appropriate byte counting was taken out of the kernel",
        source: "net/ipv4/sysctl_net_ipv4.c: absent in a 3.10 tree and on 6.18",
    },
    Removed {
        key: "net.ipv4.tcp_cookie_size",
        until: (3, 10),
        why: "TCP cookie transactions were removed",
        source: "net/ipv4/sysctl_net_ipv4.c: absent in a 3.10 tree and on 6.18",
    },
    Removed {
        key: "net.ipv4.tcp_dma_copybreak",
        until: (3, 18),
        why: "receive copies by DMA engine were removed",
        source: "commit 7bced397510a, merged in September 2014, so 3.18; present in a 3.10 tree, absent on 6.18",
    },
    Removed {
        key: "net.ipv4.tcp_frto_response",
        until: (3, 10),
        why: "F-RTO has no choice of responses any more",
        source: "commit e33099f96d99, so 3.10; absent in a 3.10 tree and on 6.18",
    },
    Removed {
        key: "net.ipv4.tcp_max_ssthresh",
        until: (3, 13),
        why: "limited slow start was removed",
        source: "commit 9f9843a751d0 (2013-11), so 3.13; present in a 3.10 tree, absent on 6.18",
    },
];

/// The entry for a key, if it was removed.
pub(super) fn removed(key: &str) -> Option<&'static Removed> {
    REMOVED.iter().find(|it| match it.key.strip_suffix('*') {
        Some(start) => key.starts_with(start),
        None => it.key == key,
    })
}

/// A key of the same folder that differs by a letter or two.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    let (folder, name) = key.rsplit_once('.')?;
    let known = || linger_facts::sysctls().map(|s| s.key).chain(OTHERS.iter().copied());
    if ELSEWHERE.contains(&key) || known().any(|it| it == key) {
        return None;
    }
    // A slip in a short name may as well be another name.
    let most = if name.len() < 8 { 1 } else { 2 };
    let in_folder = known().filter_map(|it| {
        let (of, its) = it.rsplit_once('.')?;
        (of == folder).then(|| (strsim::osa_distance(its, name), it))
    });
    let by_letter = in_folder.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance);
    // `net.ipv4.somaxconn`, `net.ipv4.nf_conntrack_max`: the right name in the wrong folder. Other folders have names of their
    // own that are the same, as net.ipv6.route.max_size.
    let folders = ["net", "net.core", "net.ipv4", "net.ipv4.netfilter", "net.netfilter"];
    let misplaced = || {
        let wrong = folders.contains(&folder) || (folder == "net.ipv6" && name.starts_with("tcp_"));
        known().filter(|it| wrong && it.rsplit_once('.').is_some_and(|(_, its)| its == name)).last()
    };
    by_letter.map(|(_, it)| it).or_else(misplaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_real_names_are_left_alone() {
        assert_eq!(nearest("net.ipv4.tcp_tw_resue"), Some("net.ipv4.tcp_tw_reuse"));
        assert_eq!(nearest("net.core.somaxcon"), Some("net.core.somaxconn"));
        assert_eq!(nearest("net.ipv4.somaxconn"), Some("net.core.somaxconn"));
        assert_eq!(nearest("net.core.netdev_max_backlogs"), Some("net.core.netdev_max_backlog"));
        assert_eq!(nearest("net.ipv6.tcp_sack"), Some("net.ipv4.tcp_sack"));
        for real in [
            "net.ipv4.tcp_thin_dupack",
            "net.ipv4.ip_forward",
            "net.ipv4.conf.all.rp_filter",
            "net.ipv6.conf.all.forwarding",
            "kernel.pid_max",
            "net.bridge.bridge-nf-call-iptables",
            "net.ipv6.route.max_size",
            "net.ipv6.route.gc_timeout",
            "net.ipv6.ip_nonlocal_bind",
            "net.ipv6.fib_multipath_hash_policy",
            "net.ipv4.tcp_tw_recycle",
            "vm.swappiness",
        ] {
            assert_eq!(nearest(real), None, "{real}");
        }
        assert!(OTHERS.is_sorted() && ELSEWHERE.is_sorted());
    }

    #[test]
    fn removed_settings_are_not_known_otherwise() {
        for it in REMOVED {
            assert!(linger_facts::sysctls().all(|s| s.key != it.key), "{} is in facts", it.key);
            assert!(!OTHERS.contains(&it.key), "{} exists", it.key);
        }
        assert!(removed("net.ipv4.netfilter.ip_conntrack_tcp_timeout_established").is_some());
    }
}
