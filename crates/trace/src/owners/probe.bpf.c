/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/*
 * Who opens and who closes TCP connections, and so who made the sockets in TIME_WAIT.
 *
 * Only these changes of state happen in the context of the process that causes them; all others may come from
 * softirq, which runs on top of any process:
 *   CLOSE -> SYN_SENT        connect()
 *   any   -> FIN_WAIT1       close(), shutdown() or exit() before the peer's FIN: the active closer
 *   CLOSE_WAIT -> LAST_ACK   the same, after the peer's FIN
 *   SYN_SENT -> CLOSE, with nothing received (sk_err is 0): connect() failed, or the socket was closed
 *   ESTABLISHED or CLOSE_WAIT -> CLOSE with both directions shut: close() with unread data, or SO_LINGER 0
 * Closing by a kernel thread (a descriptor in flight that is collected, an in-kernel client) is told by PF_KTHREAD.
 *
 * TIME_WAIT itself is no change of state that is traced: the connection becomes a minisocket, which inherits the
 * cookie. The iterator joins by it.
 */
#include "../bpf/kernel.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Inode of the one network namespace to trace; 0 for all, or for those in `wanted_netns`. */
const volatile u32 only_netns = 0;
/* Whether `wanted_netns` counts. */
const volatile u32 some_netns = 0;
/* Whether accepted connections are grouped by peer address, else by the address and port listened on. */
const volatile u32 accepted_by_peer = 0;
/* A connection that carried fewer bytes, both ways together, could have been kept for the next request. */
const volatile u64 short_bytes = 16384;
/* Lines of `closers` less one; their number is a power of two. */
const volatile u32 line_mask = (1 << 13) - 1;
/* Inode of the reader's PID namespace, where it is not the first one. */
const volatile u32 reader_pidns = 0;

enum { UNKNOWN_ROLE, CONNECT, ACCEPT };

/* A process: its group leader's id, and when that was started in units of 2^20 ns, as ids come again. */
union process_id {
	struct {
		u32 tgid;
		u32 born;
	};
	u64 key;
};

struct process {
	char comm[16];
	u64 cgroup;
	u32 pid; /* as the reader sees it; 0 where it does not */
	u32 index; /* from 1 */
	u64 kernel;
};

/* Connections of a process (0: not known; in `held` its index) with a destination, or through a listener. */
struct group {
	u64 process;
	u8 addr[16];
	u32 netns;
	u16 port;
	u8 role;
	u8 pad;
};

struct flow {
	u64 opened;
	u64 opened_bound;
	u64 accepted;
	u64 closed_first;
	u64 closed_after;
	u64 aborted;
	u64 reset;
	u64 timed_out;
	u64 carried_little;
	u64 bytes;
	u64 no_port;
	u64 no_port_bound;
	u64 refused;
	u64 connect_timed_out;
	u64 unreachable;
	u64 failed_otherwise;
	u64 abandoned;
	u64 index; /* the process's, once it was needed on this CPU */
};

/*
 * The active closers of connections by the socket's cookie: 64 bits each, eight to a line of the cache. Cookies are
 * given in order, so that neighbours share a line and a table of n lines holds the last 8n of them. An entry is replaced
 * when the socket must be gone; one that had to give way before is counted.
 *
 * An entry, from the lowest bit: 2 role, 18 the process's index, 12 when it was last known to be there (units of 2^30 ns),
 * 32 the cookie's bits that its place does not tell. It is written at once, so that it is never mixed from two.
 */
enum { WAY_BITS = 3, WAYS = 1 << WAY_BITS, FEWEST_LINE_BITS = 13, ROLE_BITS = 2, INDEX_BITS = 18, TIME_BITS = 12 };

struct line {
	u64 way[WAYS];
};

/* A minisocket's 60 s, in 2^30 ns, and then some. */
enum { GONE_AFTER = 62 };

/* Minisockets of a group. */
struct held {
	u64 time_wait;
	u64 with_timestamps;
	u64 fin_wait2;
};

/* A socket in CLOSE_WAIT: when a walk first and last came upon it, and whether the first walk of all did. */
struct waiting {
	u64 since_ns;
	u64 seen_ns;
	u64 is_old;
};

struct birth {
	u64 at_ns;
	u64 weight;
};

/* What did not fit. */
enum { LOST_CLOSERS, LOST_FLOWS, LOST_PROCESSES, LOST_BIRTHS, LOST_HELD, LOST_WAITING, LOST_KINDS };

struct {
	UINT(type, BPF_MAP_TYPE_ARRAY);
	UINT(max_entries, 1 << FEWEST_LINE_BITS);
	TYPE(key, u32);
	TYPE(value, struct line);
} closers SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_PERCPU_HASH);
	UINT(max_entries, 4096);
	TYPE(key, struct group);
	TYPE(value, struct flow);
} flows SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_HASH);
	UINT(max_entries, 8192);
	TYPE(key, u64);
	TYPE(value, struct process);
} processes SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_HASH);
	UINT(max_entries, 32768);
	TYPE(key, u64);
	TYPE(value, struct birth);
} births SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_HASH);
	UINT(max_entries, 8192);
	TYPE(key, struct group);
	TYPE(value, struct held);
} held SEC(".maps");

/* By cookie. Whoever reads it takes those out that the last walk did not see. */
struct {
	UINT(type, BPF_MAP_TYPE_HASH);
	UINT(max_entries, 65536);
	TYPE(key, u64);
	TYPE(value, struct waiting);
} waiting SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_HASH);
	UINT(max_entries, 1024);
	TYPE(key, u32);
	TYPE(value, u32);
} wanted_netns SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	UINT(max_entries, LOST_KINDS);
	TYPE(key, u32);
	TYPE(value, u64);
} lost SEC(".maps");

/* Walks over the sockets that are done. */
struct {
	UINT(type, BPF_MAP_TYPE_ARRAY);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, u64);
} walks SEC(".maps");

/*
 * Lifetimes in microseconds: octaves of eight steps. First half: connections whose first FIN came from here, second
 * half: from the peer, or none at all.
 */
enum { STEP_BITS = 3, STEPS = 1 << STEP_BITS, OCTAVES = 40, BUCKETS = OCTAVES * STEPS };

struct {
	UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	UINT(max_entries, 2 * BUCKETS);
	TYPE(key, u32);
	TYPE(value, u64);
} lifetimes SEC(".maps");

struct sampling {
	u64 window;
	u64 taken;
};

struct {
	UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	UINT(max_entries, 1);
	TYPE(key, u32);
	TYPE(value, struct sampling);
} sampling SEC(".maps");

/* Processes that were given an index. */
u32 last_index = 0;

INLINE void count_lost(u32 kind)
{
	u64 *n = bpf_map_lookup_elem(&lost, &kind);
	if (n)
		*n += 1;
}

INLINE u16 swap(u16 value)
{
	return __builtin_bswap16(value);
}

INLINE void set_addr(struct group *group, u16 family, u32 v4, const struct in6_addr *v6)
{
	u32 *words = (u32 *)group->addr;
	if (family == AF_INET) {
		words[0] = 0;
		words[1] = 0;
		words[2] = __builtin_bswap32(0xffff);
		words[3] = v4;
	} else {
		words[0] = v6->in6_u.u6_addr32[0];
		words[1] = v6->in6_u.u6_addr32[1];
		words[2] = v6->in6_u.u6_addr32[2];
		words[3] = v6->in6_u.u6_addr32[3];
	}
}

/* The port of an accepted connection is the one listened on, also by peer. `sk` is a sock_common of any kind. */
#define SET_ENDPOINT(group, common, num)                                                                           \
	do {                                                                                                       \
		u16 family = (common)->skc_family;                                                                 \
		if ((group)->role == ACCEPT) {                                                                     \
			(group)->port = (num);                                                                     \
			if (accepted_by_peer)                                                                      \
				set_addr(group, family, (common)->skc_daddr, &(common)->skc_v6_daddr);             \
			else                                                                                       \
				set_addr(group, family, (common)->skc_rcv_saddr, &(common)->skc_v6_rcv_saddr);     \
		} else {                                                                                           \
			(group)->port = swap((common)->skc_dport);                                                 \
			set_addr(group, family, (common)->skc_daddr, &(common)->skc_v6_daddr);                     \
		}                                                                                                  \
	} while (0)

INLINE u64 current_process(void)
{
	struct task_struct *leader = bpf_get_current_task_btf()->group_leader;
	union process_id id;
	id.tgid = leader->tgid;
	id.born = leader->start_boottime >> 20;
	return id.key;
}

/* The id by which the reader knows a process, in a PID namespace that is not the first. */
static __attribute__((noinline)) u32 pid_for_reader(struct task_struct *leader)
{
	struct pid *pid = leader->thread_pid;
	if (!pid)
		return 0;
	u32 level = pid->level;
	for (u32 i = 0; i < 8; i++) {
		if (i > level)
			break;
		struct upid at = {};
		struct ns_common *ns = NULL;
		u32 inum = 0;
		const struct upid *from = &pid->numbers[i];
		bpf_probe_read_kernel(&at.nr, sizeof(at.nr), &from->nr);
		struct pid_namespace *space = NULL;
		bpf_probe_read_kernel(&space, sizeof(space), &from->ns);
		if (!space)
			break;
		ns = &space->ns;
		bpf_probe_read_kernel(&inum, sizeof(inum), &ns->inum);
		if (inum == reader_pidns)
			return at.nr;
	}
	return 0;
}

INLINE void describe(u64 key)
{
	struct process process = {};
	if (bpf_map_lookup_elem(&processes, &key))
		return;
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_struct *leader = task->group_leader;
	bpf_probe_read_kernel(process.comm, sizeof(process.comm), &leader->comm);
	process.cgroup = bpf_get_current_cgroup_id();
	process.pid = reader_pidns ? pid_for_reader(leader) : leader->tgid;
	process.kernel = (task->flags & PF_KTHREAD) != 0;
	process.index = __sync_fetch_and_add(&last_index, 1) + 1;
	if (bpf_map_update_elem(&processes, &key, &process, BPF_NOEXIST) && !bpf_map_lookup_elem(&processes, &key))
		count_lost(LOST_PROCESSES);
}

/* The counts of a group on this CPU. */
INLINE struct flow *flow_of(struct group *group)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, group);
	if (flow)
		return flow;
	/* Each process has a group before it is anywhere else. */
	if (group->process)
		describe(group->process);
	struct flow nothing = {};
	bpf_map_update_elem(&flows, group, &nothing, BPF_NOEXIST);
	flow = bpf_map_lookup_elem(&flows, group);
	if (!flow)
		count_lost(LOST_FLOWS);
	return flow;
}

/*
 * Fills in which end this is, and so which endpoint it is counted by.
 *
 * A child has the limit of the queue that it came through; who connects has none. After listen(fd, 0) that limit is 0:
 * then whoever had its port chosen by connect() (fastreuse -1) connects, and so does whose connect() was seen.
 */
INLINE void set_role(struct sock *sk, struct group *group)
{
	u16 num = sk->__sk_common.skc_num;
	group->role = ACCEPT;
	if (!sk->sk_max_ack_backlog) {
		group->role = CONNECT;
		SET_ENDPOINT(group, &sk->__sk_common, num);
		struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
		struct inet_bind_bucket *bound = tp ? tp->inet_conn.icsk_bind_hash : NULL;
		if (!bound || bound->fastreuse < 0 || bpf_map_lookup_elem(&flows, group))
			return;
		group->role = ACCEPT;
	}
	SET_ENDPOINT(group, &sk->__sk_common, num);
}

INLINE void carried(struct sock *sk, struct flow *flow)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return;
	u64 bytes = tp->bytes_received + tp->bytes_acked + (u32)(tp->write_seq - tp->snd_una);
	flow->bytes += bytes;
	if (bytes < short_bytes)
		flow->carried_little += 1;
}

enum { SAMPLED_PER_WINDOW = 256, WINDOW_JIFFIES_BITS = 8, ELSE_ONE_IN_BITS = 4 };

/* Since Linux 6.15 the hash grows with the local port, and connect() takes every other port: the bits are mixed. */
INLINE u32 is_one_in_sixteen(struct sock *sk)
{
	return (u32)(sk->__sk_common.skc_hash * 0x9e3779b1) >> (32 - ELSE_ONE_IN_BITS) == 0;
}

/*
 * Notes when a connection began: of each, as long as there are few, else of one in sixteen, which then counts more. What
 * began among few and ends among many is left; its entry is taken over by the next socket at the same address.
 */
INLINE void born(struct sock *sk)
{
	u32 zero = 0;
	struct sampling *s = bpf_map_lookup_elem(&sampling, &zero);
	if (!s)
		return;
	u64 window = bpf_jiffies64() >> WINDOW_JIFFIES_BITS;
	if (s->window != window) {
		s->window = window;
		s->taken = 0;
	}
	struct birth birth = { .weight = 1 };
	if (s->taken >= SAMPLED_PER_WINDOW) {
		if (!is_one_in_sixteen(sk))
			return;
		birth.weight = 1 << ELSE_ONE_IN_BITS;
	} else {
		s->taken += 1;
	}
	u64 key = (u64)sk;
	birth.at_ns = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&births, &key, &birth, BPF_ANY))
		count_lost(LOST_BIRTHS);
}

INLINE void ended(struct sock *sk, u32 by_peer)
{
	u32 zero = 0;
	u64 key = (u64)sk;
	struct sampling *s = bpf_map_lookup_elem(&sampling, &zero);
	if (!s || (s->taken >= SAMPLED_PER_WINDOW && !is_one_in_sixteen(sk)))
		return;
	struct birth *birth = bpf_map_lookup_elem(&births, &key);
	if (!birth)
		return;
	u64 us = (bpf_ktime_get_ns() - birth->at_ns) / 1000;
	u64 weight = birth->weight;
	bpf_map_delete_elem(&births, &key);
	/* The highest bit's place gives the octave, the bits below it the step. */
	u32 top = 0;
	u64 rest = us;
	if (rest >> 32) { top += 32; rest >>= 32; }
	if (rest >> 16) { top += 16; rest >>= 16; }
	if (rest >> 8) { top += 8; rest >>= 8; }
	if (rest >> 4) { top += 4; rest >>= 4; }
	if (rest >> 2) { top += 2; rest >>= 2; }
	if (rest >> 1) top += 1;
	u32 bucket;
	if (us < STEPS)
		bucket = us;
	else
		bucket = (top - STEP_BITS + 1) * STEPS + ((us >> (top - STEP_BITS)) & (STEPS - 1));
	if (bucket >= BUCKETS)
		bucket = BUCKETS - 1;
	bucket += by_peer * BUCKETS;
	u64 *n = bpf_map_lookup_elem(&lifetimes, &bucket);
	if (n)
		*n += weight;
}

/* 0 where there was no room for the process. */
INLINE u32 index_of(u64 key, struct flow *flow)
{
	if (flow && flow->index)
		return flow->index;
	describe(key);
	struct process *process = bpf_map_lookup_elem(&processes, &key);
	if (!process || process->index >> INDEX_BITS)
		return 0;
	if (flow)
		flow->index = process->index;
	return process->index;
}

INLINE u32 time_now(void)
{
	return bpf_ktime_get_ns() >> 30 & ((1 << TIME_BITS) - 1);
}

INLINE struct line *line_of(u64 cookie)
{
	u32 at = cookie >> WAY_BITS & line_mask;
	return bpf_map_lookup_elem(&closers, &at);
}

INLINE u32 tag_of(u64 cookie)
{
	return cookie >> (WAY_BITS + FEWEST_LINE_BITS) << WAY_BITS | (cookie & (WAYS - 1));
}

INLINE u64 entry_of(u64 cookie, u32 now, u32 index, u32 role)
{
	return (u64)tag_of(cookie) << 32 | (u64)now << (ROLE_BITS + INDEX_BITS) | index << ROLE_BITS | role;
}

INLINE u32 is_free(u64 entry, u32 now)
{
	u32 then = entry >> (ROLE_BITS + INDEX_BITS);
	return !entry || ((now - then) & ((1 << TIME_BITS) - 1)) > GONE_AFTER;
}

INLINE void remember(u64 cookie, u32 index, u32 role)
{
	struct line *line = line_of(cookie);
	if (!line)
		return;
	u32 now = time_now();
	u32 own = cookie & (WAYS - 1);
	u32 at = own;
#pragma unroll
	for (u32 i = 0; i < WAYS; i++) {
		u32 next = (own + i) & (WAYS - 1);
		if (is_free(line->way[next], now)) {
			at = next;
			goto found;
		}
	}
	count_lost(LOST_CLOSERS);
found:
	line->way[at & (WAYS - 1)] = entry_of(cookie, now, index, role);
}

/* The entry of a cookie, which is known to be there from now on; 0 if there is none. */
INLINE u64 recall(u64 cookie)
{
	struct line *line = line_of(cookie);
	if (!line)
		return 0;
	u32 tag = tag_of(cookie);
#pragma unroll
	for (u32 i = 0; i < WAYS; i++) {
		u64 entry = line->way[i];
		if (entry && entry >> 32 == tag) {
			u32 index = entry >> ROLE_BITS & ((1 << INDEX_BITS) - 1);
			line->way[i] = entry_of(cookie, time_now(), index, entry & ((1 << ROLE_BITS) - 1));
			return entry;
		}
	}
	return 0;
}

INLINE int is_wanted(u32 netns)
{
	if (only_netns)
		return netns == only_netns;
	return !some_netns || bpf_map_lookup_elem(&wanted_netns, &netns) != NULL;
}

SEC("tp_btf/inet_sock_set_state")
int set_state(u64 *ctx)
{
	s32 from = ctx[1];
	s32 to = ctx[2];
	/* Half of the changes tell nothing. */
	if (to == TCP_SYN_RECV || to == TCP_FIN_WAIT2 || from == TCP_FIN_WAIT1 || from == TCP_FIN_WAIT2 ||
	    from == TCP_LAST_ACK)
		return 0;
	struct sock *sk = (struct sock *)ctx[0];
	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	u32 netns = sk->__sk_common.skc_net.net->ns.inum;
	if (!is_wanted(netns))
		return 0;
	if (to == TCP_ESTABLISHED)
		born(sk);
	else if (from == TCP_ESTABLISHED)
		ended(sk, to != TCP_FIN_WAIT1);

	struct group group = { .netns = netns };
	struct flow *flow;
	u16 num = sk->__sk_common.skc_num;
	if (to == TCP_SYN_SENT) {
		group.process = current_process();
		group.role = CONNECT;
		SET_ENDPOINT(&group, &sk->__sk_common, num);
		flow = flow_of(&group);
		if (!flow)
			return 0;
		flow->opened += 1;
		if (num)
			flow->opened_bound += 1;
	} else if (to == TCP_FIN_WAIT1 || to == TCP_LAST_ACK) {
		group.process = current_process();
		set_role(sk, &group);
		flow = flow_of(&group);
		if (to == TCP_FIN_WAIT1) {
			u32 index = index_of(group.process, flow);
			remember(bpf_get_socket_cookie(sk), index, group.role);
		}
		if (!flow)
			return 0;
		if (to == TCP_FIN_WAIT1)
			flow->closed_first += 1;
		else
			flow->closed_after += 1;
		carried(sk, flow);
	} else if (from == TCP_SYN_RECV && to == TCP_ESTABLISHED) {
		group.role = ACCEPT;
		SET_ENDPOINT(&group, &sk->__sk_common, num);
		flow = flow_of(&group);
		if (flow)
			flow->accepted += 1;
	} else if (to == TCP_CLOSE && from == TCP_SYN_SENT) {
		s32 error = sk->sk_err;
		group.role = CONNECT;
		if (!error)
			group.process = current_process();
		SET_ENDPOINT(&group, &sk->__sk_common, num);
		flow = flow_of(&group);
		struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
		if (!flow || !tp)
			return 0;
		/* Without a port, none was left; with one, it was bound, and its connection to this peer is another's. */
		if (error == ECONNREFUSED)
			flow->refused += 1;
		else if (error == ETIMEDOUT)
			flow->connect_timed_out += 1;
		else if (error == EHOSTUNREACH || error == ENETUNREACH)
			flow->unreachable += 1;
		else if (error)
			flow->failed_otherwise += 1;
		else if (sk->sk_shutdown == SHUTDOWN_MASK)
			flow->abandoned += 1;
		else if (!tp->inet_conn.icsk_inet.inet_sport)
			flow->no_port += 1;
		else
			flow->no_port_bound += 1;
	} else if (to == TCP_CLOSE && (from == TCP_ESTABLISHED || from == TCP_CLOSE_WAIT)) {
		s32 error = sk->sk_err;
		u32 own = !error && sk->sk_shutdown == SHUTDOWN_MASK;
		if (own)
			group.process = current_process();
		set_role(sk, &group);
		flow = flow_of(&group);
		if (!flow)
			return 0;
		if (own)
			flow->aborted += 1;
		else if (error == ETIMEDOUT)
			flow->timed_out += 1;
		else
			flow->reset += 1;
	}
	return 0;
}

INLINE u64 is_first_walk(void)
{
	u32 zero = 0;
	u64 *n = bpf_map_lookup_elem(&walks, &zero);
	return n && !*n;
}

/* The peer closed before now; tcp_info's last sign of life does not tell, as keep-alive probes that are answered move it. */
INLINE void note_waiting(struct sock_common *common)
{
	u64 cookie = bpf_get_socket_cookie(common);
	struct waiting found = { .since_ns = bpf_ktime_get_ns(), .is_old = is_first_walk() };
	found.seen_ns = found.since_ns;
	struct waiting *known = bpf_map_lookup_elem(&waiting, &cookie);
	if (known)
		known->seen_ns = found.since_ns;
	else if (bpf_map_update_elem(&waiting, &cookie, &found, BPF_NOEXIST))
		count_lost(LOST_WAITING);
}

SEC("iter/tcp")
int time_wait(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;
	if (!common)
		return 0;
	u8 state = common->skc_state;
	if (state == TCP_CLOSE_WAIT) {
		note_waiting(common);
		return 0;
	}
	/* FIN_WAIT1 (4), FIN_WAIT2 (5), CLOSING (11): they become minisockets yet, and their entries are kept. */
	if (state != TCP_TIME_WAIT && !(1 << state & (1 << 4 | 1 << 5 | 1 << 11)))
		return 0;
	u64 cookie = common->skc_cookie.counter;
	u64 closer = cookie ? recall(cookie) : 0;
	if (state != TCP_TIME_WAIT)
		return 0;
	struct tcp_timewait_sock *tw = bpf_skc_to_tcp_timewait_sock(common);
	if (!tw)
		return 0;
	struct group group = { .netns = common->skc_net.net->ns.inum };
	if (closer) {
		group.process = closer >> ROLE_BITS & ((1 << INDEX_BITS) - 1);
		group.role = closer & ((1 << ROLE_BITS) - 1);
		SET_ENDPOINT(&group, common, common->skc_num);
	}
	struct held *sum = bpf_map_lookup_elem(&held, &group);
	if (!sum) {
		struct held nothing = {};
		bpf_map_update_elem(&held, &group, &nothing, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&held, &group);
	}
	if (!sum) {
		count_lost(LOST_HELD);
		return 0;
	}
	if (tw->tw_sk.tw_substate == TCP_TIME_WAIT) {
		sum->time_wait += 1;
		if (tw->tw_ts_recent_stamp)
			sum->with_timestamps += 1;
	} else {
		sum->fin_wait2 += 1;
	}
	return 0;
}
