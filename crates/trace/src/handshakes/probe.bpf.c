/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/*
 * Which sockets in TIME_WAIT have timestamps, by peer: sock_diag does not tell. Live sockets tell by tcp_info.
 */
#include "../bpf/kernel.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum { CONNECT = 1, ACCEPT };

/* Connections with a peer's port, or of a peer with a port that is listened on. */
struct peer {
	u8 addr[16];
	u32 netns;
	u16 port;
	u8 role;
	u8 pad;
};

struct held {
	u64 time_wait;
	u64 with_timestamps;
};

struct port {
	u32 netns;
	u32 port;
};

struct {
	UINT(type, BPF_MAP_TYPE_HASH);
	UINT(max_entries, 16384);
	TYPE(key, struct peer);
	TYPE(value, struct held);
} peers SEC(".maps");

/* Ports that are listened on, with their network namespace. */
struct {
	UINT(type, BPF_MAP_TYPE_HASH);
	UINT(max_entries, 16384);
	TYPE(key, struct port);
	TYPE(value, u32);
} listening SEC(".maps");

/* Sockets left out: there were too many peers. */
u64 left_out = 0;

SEC("iter/tcp")
int time_wait(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	if (!common || common->skc_state != TCP_TIME_WAIT)
		return 0;
	struct tcp_timewait_sock *tw = bpf_skc_to_tcp_timewait_sock(common);
	if (!tw || tw->tw_sk.tw_substate != TCP_TIME_WAIT)
		return 0;
	struct peer peer = { .netns = common->skc_net.net->ns.inum };
	struct port port = { .netns = peer.netns, .port = common->skc_num };
	if (bpf_map_lookup_elem(&listening, &port)) {
		peer.role = ACCEPT;
		peer.port = common->skc_num;
	} else {
		peer.role = CONNECT;
		peer.port = __builtin_bswap16(common->skc_dport);
	}
	u32 *words = (u32 *)peer.addr;
	if (common->skc_family == AF_INET) {
		words[2] = __builtin_bswap32(0xffff);
		words[3] = common->skc_daddr;
	} else {
		words[0] = common->skc_v6_daddr.in6_u.u6_addr32[0];
		words[1] = common->skc_v6_daddr.in6_u.u6_addr32[1];
		words[2] = common->skc_v6_daddr.in6_u.u6_addr32[2];
		words[3] = common->skc_v6_daddr.in6_u.u6_addr32[3];
	}
	struct held *held = bpf_map_lookup_elem(&peers, &peer);
	if (!held) {
		struct held nothing = {};
		bpf_map_update_elem(&peers, &peer, &nothing, BPF_NOEXIST);
		held = bpf_map_lookup_elem(&peers, &peer);
	}
	if (!held) {
		left_out += 1;
		return 0;
	}
	held->time_wait += 1;
	if (tw->tw_ts_recent_stamp)
		held->with_timestamps += 1;
	return 0;
}
