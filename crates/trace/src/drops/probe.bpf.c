/* SPDX-License-Identifier: MIT OR Apache-2.0 OR GPL-2.0-only */
/*
 * Why the kernel drops packets of handshakes: SYNs, and the last ACKs that meet a full accept queue. Loaded only where
 * kfree_skb tells a reason (since Linux 5.17).
 */
#include "../bpf/kernel.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* SKB_DROP_REASON_TCP_LISTEN_OVERFLOW, by which an ACK is known as a handshake's last; 0 where the kernel has none. */
const volatile u32 listen_overflow = 0;

enum { IN_SYN = 1, IN_ACK, OUT_SYN };
enum { FIN = 1, SYN = 2, RST = 4, ACK = 16 };
enum { ETH_P_IP = 0x0800, ETH_P_IPV6 = 0x86dd };

struct dropped {
	u8 addr[16]; /* where to */
	u32 netns; /* 0: not known */
	u32 reason;
	u16 port; /* where to */
	u8 kind;
	u8 pad;
};

struct {
	UINT(type, BPF_MAP_TYPE_HASH);
	UINT(max_entries, 8192);
	TYPE(key, struct dropped);
	TYPE(value, u64);
} drops SEC(".maps");

/* Packets left out: there were too many destinations. */
u64 left_out = 0;

/* The network namespace of a packet: of its socket where it leaves, else of its device, or of that of its route. */
INLINE u32 netns_of(struct sk_buff *skb)
{
	struct sock *sk = skb->sk;
	struct net_device *device = skb->dev;
	if (sk)
		return sk->__sk_common.skc_net.net->ns.inum;
	if (device)
		return device->nd_net.net->ns.inum;
	struct dst_entry *dst = (struct dst_entry *)(skb->_skb_refdst & ~1ul);
	struct net_device *dev = NULL;
	struct net *net = NULL;
	u32 inum = 0;
	if (!dst)
		return 0;
	bpf_probe_read_kernel(&dev, sizeof(dev), &dst->dev);
	if (!dev)
		return 0;
	bpf_probe_read_kernel(&net, sizeof(net), &dev->nd_net.net);
	if (net)
		bpf_probe_read_kernel(&inum, sizeof(inum), &net->ns.inum);
	return inum;
}

SEC("tp_btf/kfree_skb")
int dropped(u64 *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx[0];
	u32 reason = ctx[2];
	struct dropped key = { .reason = reason };
	u8 *at = skb->head + skb->network_header;
	u8 ip[40] = {};
	u8 *tcp;
	u32 *words = (u32 *)key.addr;

	/* Also where a header was never set (0xffff), and whatever is read, it is within the kernel or refused. */
	if (skb->protocol == __builtin_bswap16(ETH_P_IP)) {
		if (bpf_probe_read_kernel(ip, 20, at) || ip[9] != IPPROTO_TCP || ((ip[6] & 0x1f) | ip[7]))
			return 0;
		tcp = at + (ip[0] & 15) * 4;
		words[2] = __builtin_bswap32(0xffff);
		__builtin_memcpy(&words[3], ip + 16, 4);
	} else if (skb->protocol == __builtin_bswap16(ETH_P_IPV6)) {
		if (bpf_probe_read_kernel(ip, 40, at) || ip[6] != IPPROTO_TCP)
			return 0;
		tcp = at + 40;
		__builtin_memcpy(words, ip + 24, 16);
	} else {
		return 0;
	}
	u8 header[14] = {};
	if (bpf_probe_read_kernel(header, sizeof(header), tcp))
		return 0;
	u8 flags = header[13] & (FIN | SYN | RST | ACK);
	if (flags == SYN)
		key.kind = skb->sk ? OUT_SYN : IN_SYN;
	else if (flags == ACK && listen_overflow && reason == listen_overflow)
		key.kind = IN_ACK;
	else
		return 0;
	key.port = header[2] << 8 | header[3];
	key.netns = netns_of(skb);

	u64 *n = bpf_map_lookup_elem(&drops, &key);
	if (!n) {
		u64 none = 0;
		bpf_map_update_elem(&drops, &key, &none, BPF_NOEXIST);
		n = bpf_map_lookup_elem(&drops, &key);
	}
	__sync_fetch_and_add(n ? n : &left_out, 1);
	return 0;
}
