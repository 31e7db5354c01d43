//! Buffers, TCP memory, file descriptors.

use crate::shorthand::{SYSCTL, belief, computed, fixed, v};
use crate::{Range, Scope, Source, Sysctl};

/// Sorted by key.
pub(crate) static TABLE: &[Sysctl] = &[
    Sysctl {
        key: "fs.file-max",
        summary: "Most open files of the whole host.",
        meaning: "When it is reached open() and socket() fail with ENFILE for everybody but processes \
                      with CAP_SYS_ADMIN, and the log says \"VFS: file-max limit ... reached\". EMFILE is \
                      something else: one process reached its own RLIMIT_NOFILE, which is by far the more \
                      common of the two. systemd 240 and later raises it to the largest value.",
        unit: "files",
        range: Some(Range::Text("0 to the largest long")),
        scope: Scope::Host,
        defaults: &[computed(v(3, 10), "about 10 % of RAM in KiB: 2466177 with 24 GB")],
        beliefs: &[
            belief(
                "\"Too many open files\" means that file-max is too low",
                "That text is EMFILE: the process limit. file-max gives ENFILE, \"Too many open files in \
                     system\".",
            ),
            belief(
                "TIME_WAIT sockets use up file descriptors",
                "TIME_WAIT has none. CLOSE_WAIT and ESTABLISHED have one each.",
            ),
        ],
        see: &["FD001", "fs.nr_open", "fs.file-nr", "close_wait"],
        sources: &[
            Source("fs/file_table.c files_maxfiles_init(), alloc_empty_file()"),
            Source("measured on 6.18: 2466177 with 24 GB"),
            Source("systemd: from memory"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "fs.file-nr",
        summary: "Open files of the host: allocated, unused, limit.",
        meaning: "Read only. The first number is what counts against fs.file-max, the third is \
                      fs.file-max itself. The second is always 0 since 2.6.",
        unit: "files",
        range: Some(Range::Text("read only")),
        scope: Scope::Host,
        defaults: &[computed(v(3, 10), "three numbers: allocated, 0, fs.file-max")],
        see: &["FD001", "fs.file-max"],
        sources: &[Source("fs/file_table.c proc_nr_files()")],
        ..SYSCTL
    },
    Sysctl {
        key: "fs.nr_open",
        summary: "The highest RLIMIT_NOFILE that can be set.",
        meaning: "A ceiling for the hard limit of a process, nothing more. Raising it gives no process \
                      more descriptors; its limit (LimitNOFILE=, ulimit -n, the container runtime) must be \
                      raised too.",
        unit: "descriptors",
        range: Some(Range::Text("64 to 2147483584 on 64-bit kernels")),
        scope: Scope::Host,
        defaults: &[fixed(v(3, 10), "1048576")],
        beliefs: &[belief(
            "fs.nr_open is the number of files that may be open",
            "It is the ceiling of one process's limit. The host's limit is fs.file-max.",
        )],
        see: &["FD001", "fs.file-max"],
        sources: &[
            Source("kernel/sys.c do_prlimit(), fs/file.c sysctl_nr_open"),
            Source("1048576 in all trees from 3.10 to 6.18"),
            Source("measured on 6.18: 1048576"),
            Source("systemd 240 and later raises it (from memory)"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.core.rmem_default",
        summary: "The initial receive buffer of sockets other than TCP.",
        meaning: "In bytes. It has no effect on TCP, which starts at the second number of tcp_rmem. UDP, \
                      Unix and raw sockets use it. From the 6.12 tree on a child namespace shows it \
                      read-only.",
        unit: "bytes",
        range: Some(Range::Text("bytes, at least about 2 KiB")),
        scope: Scope::Host,
        defaults: &[fixed(v(3, 10), "212992")],
        beliefs: &[belief(
            "It sets the buffers of TCP sockets",
            "TCP uses tcp_rmem. The setting does nothing for it.",
        )],
        see: &["net.ipv4.tcp_rmem", "net.core.rmem_max"],
        sources: &[
            Source("net/ipv4/tcp.c tcp_init_sock()"),
            Source("include/net/sock.h SK_RMEM_MAX: 212992 on x86-64"),
            Source("measured on 6.18: 212992"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.core.rmem_max",
        summary: "The most that SO_RCVBUF may ask for.",
        meaning: "In bytes. A program that sets SO_RCVBUF gets at most this (doubled by the kernel for \
                      its own overhead) and loses autotuning for that socket. Sockets that do not set it are \
                      not affected: TCP grows up to the third number of tcp_rmem. From the 6.12 tree on a \
                      child namespace shows it read-only.",
        unit: "bytes",
        range: Some(Range::Text("bytes, at least about 2 KiB")),
        scope: Scope::Host,
        defaults: &[fixed(v(3, 10), "212992"), fixed(v(6, 18), "4194304")],
        beliefs: &[belief(
            "It limits every TCP socket",
            "Only explicit SO_RCVBUF and SO_SNDBUF. Autotuning goes by tcp_rmem and tcp_wmem.",
        )],
        see: &["net.ipv4.tcp_rmem", "net.core.rmem_default"],
        sources: &[
            Source("net/core/sock.c sock_setsockopt()"),
            Source(
                "include/net/sock.h SK_RMEM_MAX, SK_WMEM_MAX: 212992 on x86-64 (it depends on the size \
                        of an sk_buff)",
            ),
            Source("212992 in the 6.12 tree, 4 MiB in the 6.18 tree"),
            Source("measured on 6.18: 4194304, a write from a child namespace is denied"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.core.wmem_default",
        summary: "The initial send buffer of sockets other than TCP.",
        meaning: "In bytes. It has no effect on TCP, which starts at the second number of tcp_wmem. UDP, \
                      Unix and raw sockets use it. From the 6.12 tree on a child namespace shows it \
                      read-only.",
        unit: "bytes",
        range: Some(Range::Text("bytes, at least about 2 KiB")),
        scope: Scope::Host,
        defaults: &[fixed(v(3, 10), "212992")],
        beliefs: &[belief(
            "It sets the buffers of TCP sockets",
            "TCP uses tcp_wmem. The setting does nothing for it.",
        )],
        see: &["net.ipv4.tcp_wmem", "net.core.wmem_max"],
        sources: &[
            Source("net/ipv4/tcp.c tcp_init_sock()"),
            Source("include/net/sock.h SK_RMEM_MAX: 212992 on x86-64"),
            Source("measured on 6.18: 212992"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.core.wmem_max",
        summary: "The most that SO_SNDBUF may ask for.",
        meaning: "In bytes. A program that sets SO_SNDBUF gets at most this (doubled by the kernel for \
                      its own overhead) and loses autotuning for that socket. Sockets that do not set it are \
                      not affected: TCP grows up to the third number of tcp_wmem. From the 6.12 tree on a \
                      child namespace shows it read-only.",
        unit: "bytes",
        range: Some(Range::Text("bytes, at least about 2 KiB")),
        scope: Scope::Host,
        defaults: &[fixed(v(3, 10), "212992"), fixed(v(6, 18), "4194304")],
        beliefs: &[belief(
            "It limits every TCP socket",
            "Only explicit SO_RCVBUF and SO_SNDBUF. Autotuning goes by tcp_rmem and tcp_wmem.",
        )],
        see: &["net.ipv4.tcp_wmem", "net.core.wmem_default"],
        sources: &[
            Source("net/core/sock.c sock_setsockopt()"),
            Source(
                "include/net/sock.h SK_RMEM_MAX, SK_WMEM_MAX: 212992 on x86-64 (it depends on the size \
                        of an sk_buff)",
            ),
            Source("212992 in the 6.12 tree, 4 MiB in the 6.18 tree"),
            Source("measured on 6.18: 4194304, a write from a child namespace is denied"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_mem",
        summary: "How much memory all TCP sockets of the host may use: low, pressure, limit.",
        meaning: "In pages (4 KiB on x86), host-wide. Above the second number TCP is under pressure: \
                      windows stop growing and queues are pruned (TCPMemoryPressures) until use falls below \
                      the first. At the third, allocations fail, orphans are reset (TCPAbortOnMemory) and the \
                      log says \"out of memory -- consider tuning tcp_mem\". Compare it with sockstat TCP \
                      mem, which is in pages too. Fixed numbers copied from articles are wrong for most \
                      machines: too low throttles everything, too high lets TCP eat the kernel's memory. In \
                      3.10 the file was per namespace.",
        unit: "pages",
        range: Some(Range::Text("three page counts, rising")),
        scope: Scope::Host,
        defaults: &[
            computed(
                v(3, 10),
                "low, pressure, limit from free low memory (nr_free_buffer_pages): \
                                     pressure is 1/8 of it in the 3.10 tree",
            ),
            computed(
                v(4, 4),
                "4.68 %, 6.25 % and 9.37 % of free low memory (in the 4.4 tree at the \
                                     latest)",
            ),
        ],
        beliefs: &[
            belief("tcp_mem is in bytes", "It is in pages. 4096 bytes each on x86-64."),
            belief(
                "A fixed value suits every machine",
                "It is computed from RAM at boot. A value for a 16 GB machine throttles one with 256 GB \
                     and drowns one with 4 GB.",
            ),
            belief(
                "It is a per-socket limit",
                "It is the total of the host. Per socket: tcp_rmem and tcp_wmem.",
            ),
        ],
        see: &[
            "MM001",
            "sockstat.TCP.mem",
            "TcpExt.TCPMemoryPressures",
            "TcpExt.TCPAbortOnMemory",
            "net.ipv4.tcp_rmem",
            "net.ipv4.tcp_wmem",
        ],
        sources: &[
            Source("net/ipv4/tcp.c tcp_init_mem()"),
            Source("trees 3.10 (/8) and 4.4 and later (/16)"),
            Source("a 3.10 tree has it in ipv4_net_table"),
            Source("measured on 6.18: absent in a child namespace; 287901 383868 575802 with 24 GB"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_moderate_rcvbuf",
        summary: "Whether the receive buffer grows by itself.",
        meaning: "1: up to the third number of tcp_rmem, as fast as the program reads. 0: every socket \
                      stays at the second number, which caps the throughput of long paths.",
        unit: "bool",
        range: Some(Range::Text("0 to 255; every other value than 0 means on")),
        scope: Scope::NetnsSince(v(4, 15)),
        defaults: &[fixed(v(3, 10), "1")],
        see: &["net.ipv4.tcp_rmem", "ZW001"],
        sources: &[
            Source("net/ipv4/tcp_input.c tcp_rcv_space_adjust()"),
            Source("global in a 4.14 tree, per namespace in the 4.15 tree"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_notsent_lowat",
        summary: "How much unsent data makes a socket not writable any more.",
        meaning: "In bytes. By default there is no limit but the send buffer. A lower value keeps data in \
                      the program instead of the kernel, which helps programs that change their mind about \
                      what to send. TCP_NOTSENT_LOWAT sets it for one socket.",
        unit: "bytes",
        range: Some(Range::Text("0 to 4294967295")),
        scope: Scope::NetnsSince(v(4, 6)),
        since: Some(v(3, 12)),
        defaults: &[computed(v(3, 12), "4294967295: no limit; shown as -1 on old kernels")],
        see: &["ZW001", "net.ipv4.tcp_wmem"],
        sources: &[
            Source("include/net/tcp.h tcp_notsent_lowat(); versions from memory, present in the 4.9 tree"),
            Source("measured on 6.18: 4294967295, -1 is refused"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_rmem",
        summary: "Receive buffer of a TCP socket: least, initial, most.",
        meaning: "In bytes. The second number is where a socket starts; it replaces net.core.rmem_default \
                      for TCP. Autotuning grows the buffer up to the third; net.core.rmem_max does not limit \
                      that. SO_RCVBUF switches autotuning off for the socket. A new namespace copies it from \
                      the initial namespace, unlike most settings.",
        unit: "bytes",
        range: Some(Range::Text("three byte counts, each at least 1")),
        scope: Scope::NetnsSince(v(4, 15)),
        defaults: &[
            computed(v(3, 10), "4096, 87380, and a maximum from RAM of at most 6291456"),
            computed(v(5, 0), "4096, 131072, and a maximum from RAM of at most 6291456"),
            computed(
                v(6, 18),
                "4096, 131072, and a maximum from RAM of at most 33554432 (6291456 still \
                                     in the 6.12 tree)",
            ),
        ],
        beliefs: &[
            belief(
                "4096 87380 16777216 is a speed-up",
                "On 6.18 it lowers both the initial and the largest buffer.",
            ),
            belief(
                "rmem_max must be raised too",
                "Only for programs that set SO_RCVBUF. Autotuning ignores it.",
            ),
        ],
        see: &[
            "MM001",
            "ZW001",
            "net.core.rmem_max",
            "net.core.rmem_default",
            "net.ipv4.tcp_moderate_rcvbuf",
            "net.ipv4.tcp_mem",
        ],
        sources: &[
            Source("net/ipv4/tcp.c tcp_init(), tcp_init_sock()"),
            Source("net/ipv4/tcp_ipv4.c tcp_sk_init()"),
            Source("87380 in the 4.18 tree, 131072 in the 5.0 tree (Ubuntu backported to 4.15)"),
            Source("6 MB in the 6.12 tree, 32 MB in the 6.18 tree"),
            Source("commit log 2017-11-10: per namespace, so 4.15"),
            Source("measured on 6.18: 4096 131072 33554432 with 24 GB"),
        ],
        ..SYSCTL
    },
    Sysctl {
        key: "net.ipv4.tcp_wmem",
        summary: "Send buffer of a TCP socket: least, initial, most.",
        meaning: "In bytes. The second number is where a socket starts; it replaces net.core.wmem_default \
                      for TCP. The buffer grows with the congestion window up to the third. SO_SNDBUF \
                      switches that off for the socket. A new namespace copies it from the initial namespace.",
        unit: "bytes",
        range: Some(Range::Text("three byte counts, each at least 1")),
        scope: Scope::NetnsSince(v(4, 15)),
        defaults: &[computed(v(3, 10), "4096, 16384, and a maximum from RAM of at most 4194304")],
        beliefs: &[belief(
            "A larger initial value speeds things up",
            "It grows by itself as the window does. A large initial value only costs memory with many \
                     sockets.",
        )],
        see: &["MM001", "ZW001", "net.core.wmem_max", "net.core.wmem_default", "net.ipv4.tcp_mem"],
        sources: &[
            Source("net/ipv4/tcp.c tcp_init(), tcp_init_sock()"),
            Source("net/ipv4/tcp_ipv4.c tcp_sk_init()"),
            Source("commit log 2017-11-10: per namespace, so 4.15"),
            Source("measured on 6.18: 4096 16384 4194304 with 24 GB"),
        ],
        ..SYSCTL
    },
];
