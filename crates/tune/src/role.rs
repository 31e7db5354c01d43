//! What a host is, and what that calls for whatever was found.

use linger_facts::Role;
use linger_model::report::RemedyKind;
use linger_model::report::RemedyKind::{Application, Architecture};
use linger_model::thousands;

/// What a role's setting must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Good {
    /// One of these.
    One(&'static [&'static str]),
    /// At least this.
    AtLeast(i64),
    /// At least so many ports.
    Ports(i64),
}

/// A setting that a role hangs on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matter {
    pub key: &'static str,
    pub good: Good,
    /// Why that is right.
    pub why: &'static str,
}

impl Good {
    pub(crate) fn is_met(&self, value: &str) -> bool {
        let numbers: Vec<i64> = value.split_ascii_whitespace().filter_map(|it| it.parse().ok()).collect();
        match (self, numbers.as_slice()) {
            (Good::One(values), _) => values.contains(&value),
            (Good::AtLeast(least), [n]) => n >= least,
            (Good::Ports(least), [low, high]) => high - low + 1 >= *least,
            _ => false,
        }
    }
}

const TIMESTAMPS: Matter = Matter {
    key: "net.ipv4.tcp_timestamps",
    good: Good::One(&["1", "2"]),
    why: "on: ports in TIME_WAIT can be taken back, and old segments are told from new ones",
};
const RANGE: Matter = Matter {
    key: "net.ipv4.ip_local_port_range",
    good: Good::Ports(28_232),
    why: "at least as wide as the kernel's default",
};
const REUSE: Matter = Matter {
    key: "net.ipv4.tcp_tw_reuse",
    good: Good::One(&["1", "2"]),
    why: "the kernel's default, or on: it is only needed where ports run out",
};
const SOMAXCONN: Matter = Matter {
    key: "net.core.somaxconn",
    good: Good::AtLeast(4096),
    why: "at least the kernel's default: what the application asks for decides",
};
const COOKIES: Matter = Matter {
    key: "net.ipv4.tcp_syncookies",
    good: Good::One(&["1"]),
    why: "on: a full queue of half-open connections answers instead of dropping",
};
const ABORT: Matter = Matter {
    key: "net.ipv4.tcp_abort_on_overflow",
    good: Good::One(&["0"]),
    why: "off: a client that meets a full accept queue tries again instead of failing",
};
const BUCKETS: Matter = Matter {
    key: "net.ipv4.tcp_max_tw_buckets",
    good: Good::AtLeast(16_384),
    why: "not lowered: TIME_WAIT costs 256 bytes, and its limit protects nothing but memory",
};
const SYN_RETRIES: Matter = Matter {
    key: "net.ipv4.tcp_syn_retries",
    good: Good::AtLeast(4),
    why: "not lowered: connects over lossy paths need their tries",
};
const FIN_TIMEOUT: Matter = Matter {
    key: "net.ipv4.tcp_fin_timeout",
    good: Good::One(&["60"]),
    why: "the kernel's default; it does not shorten TIME_WAIT",
};

/// How long a port stays in TIME_WAIT.
const TIME_WAIT_S: u32 = 60;

/// What a person should do, in the order to try; `ports` are those that connect() may take here.
pub(crate) fn advice(role: Role, ports: Option<u32>) -> Vec<(RemedyKind, String)> {
    let fixed = fixed_advice(role).iter().map(|(kind, text)| (*kind, (*text).to_owned()));
    let counted = match (role, ports) {
        (Role::Gateway | Role::Proxy, Some(ports)) => Some(format!(
            "Count them: with the {all} local ports here, each pair of a source address and a backend's address \
             and port carries {all} connections at a time, or {} new ones a second where this side closes \
             first. Pools to one backend together must stay below that.",
            thousands((ports / TIME_WAIT_S).into()),
            all = thousands(ports.into()),
        )),
        _ => None,
    };
    fixed.chain(counted.map(|text| (Architecture, text))).collect()
}

fn fixed_advice(role: Role) -> &'static [(RemedyKind, &'static str)] {
    match role {
        Role::Gateway => &[
            (
                Application,
                "Keep connections to the backends alive and pool them: a connection for each request is what fills the local ports.",
            ),
            (
                Application,
                "Let clients keep theirs alive, too, and let the side that has the ports to spare close first.",
            ),
            (
                Architecture,
                "More backend addresses, or ports of one: each (source, destination, destination port) has the whole port range.",
            ),
        ],
        Role::Proxy => &[
            (
                Application,
                "Pools to the backends large enough for the busiest second, with idle connections kept (nginx: keepalive in upstream, HAProxy: http-reuse).",
            ),
            (
                Architecture,
                "Another source address towards the backends doubles the ports; so does another backend address. Accepted connections cost none.",
            ),
        ],
        Role::Server => &[
            (
                Application,
                "Accept as fast as connections come, and give listen() the backlog that bursts need; somaxconn only caps it.",
            ),
            (
                Application,
                "Let the client close first where it can: TIME_WAIT stays with who closes, and on this side it costs memory only.",
            ),
        ],
        Role::Client => &[
            (
                Application,
                "One pool for each destination, reused by all requests; a new client object for each request makes a new connection for each.",
            ),
            (
                Application,
                "A connect timeout of the application's own, instead of fewer tcp_syn_retries for everybody.",
            ),
        ],
        Role::MeshNode => &[
            (
                Application,
                "Keep connections between services alive longer than the gap between two requests, and shorter than any balancer's idle timeout.",
            ),
            (
                Architecture,
                "A new namespace starts from the kernel's defaults: settings of the host reach no pod. Apply a plan inside the pod's namespace, or set them in its spec.",
            ),
        ],
    }
}

/// Settings that it hangs on.
pub(crate) fn matters(role: Role) -> &'static [Matter] {
    match role {
        Role::Gateway | Role::Proxy | Role::MeshNode => {
            &[RANGE, TIMESTAMPS, REUSE, BUCKETS, SOMAXCONN, COOKIES, ABORT, SYN_RETRIES, FIN_TIMEOUT]
        }
        Role::Server => &[SOMAXCONN, COOKIES, ABORT, BUCKETS, TIMESTAMPS, FIN_TIMEOUT],
        Role::Client => &[RANGE, TIMESTAMPS, REUSE, SYN_RETRIES, BUCKETS, FIN_TIMEOUT],
    }
}
