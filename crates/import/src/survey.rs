//! The first pass: which pieces there are, and all of them but the sockets.

use crate::Kind;
use crate::command::{ALL, CONNECTED, Command, States};
use crate::gather::Gathering;
use crate::others::{self, Setting};
use crate::reader::{Reader, Sink, shown_line};
use crate::ss::{Entry, User, shown};
use hashbrown::HashMap;
use linger_model::record::Family;
use linger_model::report::ImportSkipped;
use linger_model::snapshot::{Counters, Gap, GapKind, Reading, Sockstat, Softnet};
use linger_model::{Addr, Shown, SocketRecord, State};
use linger_wire::procnet;
use std::collections::BTreeMap;

/// Pieces that are kept apart.
const MOST_PIECES: usize = 2048;
/// Listening sockets that are kept.
const MOST_LISTENERS: usize = 16_384;
/// Kinds of skipped lines that are told of.
const MOST_SKIPPED: usize = 64;
/// Counters that are kept.
const MOST_COUNTERS: usize = 4096;
/// Sockets whose holder lsof tells that are kept.
const MOST_HOLDERS: usize = 65_536;

/// What the caller wants.
#[derive(Debug, Clone)]
pub struct Options {
    /// Keys of the sysctls that are kept.
    pub sysctls: Vec<&'static str>,
    /// From when an established connection counts as idle, milliseconds.
    pub idle_ms: u32,
    /// From when a closed window counts as stuck, milliseconds.
    pub stuck_ms: u32,
}

/// A run of lines of one kind.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub file: usize,
    pub kind: Kind,
    pub first: u64,
    pub last: u64,
    pub command: Option<Command>,
    pub sockets: u64,
    /// Sockets whose lines could not be read.
    pub lost: u64,
    /// Bits of the states seen.
    pub seen: States,
    /// Bits of [`shown`] of its lines together.
    pub shown: u8,
    /// Whether it is used: it is unless another piece has the same sockets.
    pub unused: Option<String>,
}

impl Piece {
    /// Whether it lists sockets. The kernel's own file that has none says so by its heading; below a program's heading
    /// the rest may be cut off.
    pub fn is_table(&self) -> bool {
        self.kind.lists_sockets() && (self.sockets > 0 || matches!(self.kind, Kind::ProcNetTcp(_)))
    }

    /// States of which it lists every socket, as far as can be told.
    pub fn states(&self) -> States {
        let bound = State::BoundInactive.bit();
        // Kernels before 6.8 list no bound sockets, so that none seen says nothing.
        let known = |states: States| states & !(bound & !self.seen);
        let listening = State::Listen.bit();
        match (self.kind, self.command) {
            (_, Some(command)) => known(command.states | self.seen),
            (Kind::ProcNetTcp(_), _) => ALL & !bound,
            (Kind::Lsof, _) => (CONNECTED | listening) | self.seen,
            (Kind::Netstat, _) if self.seen & listening != 0 && self.seen != listening => known(ALL),
            (_, _) if self.seen == listening => listening,
            (Kind::Netstat, _) => CONNECTED | State::TimeWait.bit() | State::SynRecv.bit() | self.seen,
            (_, _) if self.seen & listening != 0 => known(ALL),
            // `state X` with the column kept, or without.
            (_, _) if self.seen.count_ones() == 1 && self.seen & CONNECTED == 0 => self.seen,
            (_, _) if self.seen & State::TimeWait.bit() != 0 => known(ALL & !listening),
            _ => CONNECTED | self.seen,
        }
    }

    fn families(&self) -> u8 {
        match self.kind {
            Kind::ProcNetTcp(Family::Ipv4) => 1,
            Kind::ProcNetTcp(Family::Ipv6) => 2,
            _ => 3,
        }
    }

    /// Whether its processes are joined to the sockets of another piece.
    fn names_holders(&self) -> bool {
        self.kind == Kind::Lsof || (self.kind == Kind::Netstat && self.shown & shown::USERS != 0)
    }

    pub fn filtered(&self) -> bool {
        self.command.is_some_and(|c| c.filtered)
    }

    /// More is better: all sockets before some, then how much is told of each.
    fn rank(&self) -> (bool, u32, u32, u64) {
        let detail = match self.kind {
            Kind::Lsof => 0,
            Kind::Netstat => 1,
            Kind::ProcNetTcp(_) => 2,
            _ => 3,
        };
        // netstat's processes are joined to another piece's sockets.
        let facts = self.shown();
        let facts = Facts { users: facts.users && self.kind != Kind::Netstat, ..facts };
        let detail = detail + 4 * facts.ones();
        (!self.filtered(), self.states().count_ones(), detail, self.sockets)
    }

    /// What it shows of each socket.
    pub fn shown(&self) -> Facts {
        let has = |bit: u8| self.shown & bit != 0;
        let empty = self.sockets == 0;
        let asked = |f: fn(&Command) -> bool| self.command.as_ref().is_some_and(f);
        Facts {
            timers: has(shown::TIMERS) || empty || asked(|c| c.timers),
            info: has(shown::INFO) || (self.kind == Kind::Ss && asked(|c| c.info)),
            options: has(shown::OPTIONS) || (has(shown::INFO) && (has(shown::TIMERS) || asked(|c| c.timers))),
            inodes: has(shown::INODES) || empty || (self.kind == Kind::Ss && asked(|c| c.extended)),
            users: has(shown::USERS),
            queues: has(shown::QUEUES) || empty,
            limits: has(shown::LIMITS),
        }
    }
}

/// [`Piece::shown`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub timers: bool,
    pub info: bool,
    pub options: bool,
    pub inodes: bool,
    pub users: bool,
    pub queues: bool,
    pub limits: bool,
}

impl Facts {
    fn ones(self) -> u32 {
        [self.timers, self.info, self.options, self.inodes, self.users].into_iter().map(u32::from).sum()
    }
}

/// A listening socket with its holder.
#[derive(Debug, Clone)]
pub(crate) struct Listening {
    pub piece: usize,
    pub record: SocketRecord,
    pub user: Option<User>,
}

/// A connection's two ends.
pub(crate) type Ends = (Addr, u16, Addr, u16);

/// Everything found but the connections.
pub(crate) struct Found {
    pub options: Options,
    pub files: Vec<String>,
    pub pieces: Vec<Piece>,
    pub listeners: Vec<Listening>,
    pub listeners_left_out: u64,
    pub counters: Counters,
    pub sysctls: BTreeMap<String, Reading<String>>,
    pub conntrack_sums: Counters,
    pub conntrack_flows: Option<u64>,
    pub kernel: Option<String>,
    pub summary: Option<(u64, Option<u64>)>,
    pub sockstat: Option<Sockstat>,
    sockstat_text: String,
    sockstat6_text: String,
    pub softnet: Option<Softnet>,
    pub files_open: Option<(u64, u64)>,
    /// Files that were given by [`Survey::sysctl`] and [`Survey::proc_file`].
    pub small_files: u64,
    pub skipped: Vec<ImportSkipped>,
    pub skipped_more: u64,
    /// Who holds a connection, by lsof or netstat.
    pub holders: HashMap<Ends, User>,
}

/// The first pass.
pub struct Survey {
    reader: Reader,
    found: Found,
}

impl Survey {
    /// With nothing read yet.
    pub fn new(options: Options) -> Survey {
        Survey {
            reader: Reader::new(),
            found: Found {
                options,
                files: Vec::new(),
                pieces: Vec::new(),
                listeners: Vec::new(),
                listeners_left_out: 0,
                counters: Counters::new(),
                sysctls: BTreeMap::new(),
                conntrack_sums: Counters::new(),
                conntrack_flows: None,
                kernel: None,
                summary: None,
                sockstat: None,
                sockstat_text: String::new(),
                sockstat6_text: String::new(),
                softnet: None,
                files_open: None,
                small_files: 0,
                skipped: Vec::new(),
                skipped_more: 0,
                holders: HashMap::new(),
            },
        }
    }

    /// Begins a file. Its name is told with what was found in it; a name such as `ss_-tan` says what the command was.
    pub fn begin(&mut self, name: &str) {
        self.found.files.push(name.to_owned());
        self.reader.begin(name);
    }

    /// Takes some of its bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.reader.feed(bytes, &mut self.found);
    }

    /// Ends it.
    pub fn end(&mut self) {
        self.reader.end(&mut self.found);
    }

    /// A file of /proc/sys, by its key.
    pub fn sysctl(&mut self, key: &str, text: &str) {
        self.found.small_files += 1;
        self.found.setting(Setting::Value(key, text.trim()));
    }

    /// Other files of /proc whose content does not tell what they are: `net/softnet_stat`, `sys/fs/file-nr`,
    /// `sys/kernel/osrelease`. Whether it is one of them.
    pub fn proc_file(&mut self, name: &str, text: &str) -> bool {
        match name {
            "net/softnet_stat" => self.found.softnet = procnet::softnet(text).ok(),
            "net/stat/nf_conntrack" => {
                if let Ok(sums) = procnet::conntrack_stat(text) {
                    self.found.conntrack_sums = sums;
                }
            }
            "sys/fs/file-nr" => {
                let mut words = text.split_whitespace().map(str::parse::<u64>);
                if let (Some(Ok(open)), Some(Ok(_)), Some(Ok(max))) =
                    (words.next(), words.next(), words.next())
                {
                    self.found.files_open = Some((open, max));
                }
            }
            "sys/kernel/osrelease" => {
                let text = text.trim();
                if others::is_release(text) {
                    self.found.kernel = Some(text.to_owned());
                }
            }
            _ => return false,
        }
        self.found.small_files += 1;
        true
    }

    /// Something that could not be read, or was left out on purpose.
    pub fn left_out(&mut self, name: &str, reason: &str) {
        self.found.note(ImportSkipped {
            file: name.to_owned(),
            line: 0,
            text: String::new(),
            reason: reason.to_owned(),
            lines: 0,
        });
    }

    /// Ends the pass, and says which pieces the sockets are taken from.
    pub fn finish(mut self) -> Gathering {
        self.found.choose();
        Gathering::new(self.found)
    }
}

impl Found {
    /// The best pieces that do not list the same sockets.
    fn choose(&mut self) {
        let mut order: Vec<usize> = (0..self.pieces.len()).filter(|i| self.pieces[*i].is_table()).collect();
        order.sort_by_key(|i| std::cmp::Reverse((self.pieces[*i].rank(), std::cmp::Reverse(*i))));
        let mut taken: Vec<usize> = Vec::new();
        for at in order {
            let piece = &self.pieces[at];
            let same = taken.iter().find(|other| {
                let other = &self.pieces[**other];
                other.states() & piece.states() != 0 && other.families() & piece.families() != 0
            });
            let unused = if piece.command.is_some_and(|c| c.elsewhere) {
                Some("it is of another network namespace".to_owned())
            } else if let Some(other) = same {
                let other = &self.pieces[*other];
                let role = if piece.names_holders() {
                    "its processes are joined to the sockets of "
                } else {
                    "it lists the same sockets as "
                };
                let file = if other.file == piece.file {
                    String::new()
                } else {
                    format!("{}, ", self.files.get(other.file).map_or("", String::as_str))
                };
                Some(format!("{role}{} ({file}line {})", other.kind.name(), other.first))
            } else {
                None
            };
            if unused.is_none() {
                taken.push(at);
            }
            self.pieces[at].unused = unused;
        }
        for piece in &mut self.pieces {
            if let Some(refusal) = piece.kind.refusal() {
                piece.unused = Some(refusal.to_owned());
            } else if piece.kind.lists_sockets() && !piece.is_table() {
                piece.unused = Some("no TCP socket in it".to_owned());
            } else if !piece.kind.lists_sockets() && piece.command.is_some_and(|c| c.elsewhere) {
                piece.unused = Some("it is of another network namespace".to_owned());
            }
        }
        if !self.sockstat_text.is_empty() {
            let six = Some(self.sockstat6_text.as_str()).filter(|text| !text.is_empty());
            self.sockstat = procnet::sockstat(&self.sockstat_text, six).ok();
        }
    }

    /// The pieces whose sockets are taken.
    pub fn used(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(|p| p.is_table() && p.unused.is_none())
    }

    /// What the pieces that are used show, all of them.
    pub fn shown(&self) -> Shown {
        let all = |fact: fn(Facts) -> bool| self.used().all(|p| fact(p.shown()));
        Shown {
            complete: !self.used().any(Piece::filtered) && self.both_families() && self.lost() == 0,
            timers: all(|f| f.timers),
            tcp_info: all(|f| f.info),
            timestamps: all(|f| f.options),
            inodes: all(|f| f.inodes),
            queues: all(|f| f.queues),
            limits: all(|f| f.limits),
            descriptors: false,
        }
    }

    /// Whether they list the sockets of IPv4 and of IPv6.
    pub fn both_families(&self) -> bool {
        self.used().fold(0, |sum, p| sum | p.families()) == 3
    }

    /// Sockets in them that could not be read.
    pub fn lost(&self) -> u64 {
        self.used().map(|p| p.lost).sum()
    }

    fn note(&mut self, skipped: ImportSkipped) {
        let same = self.skipped.iter().position(|it| it.file == skipped.file && it.reason == skipped.reason);
        match same {
            Some(at) => self.skipped[at].lines += skipped.lines,
            None if self.skipped.len() < MOST_SKIPPED => self.skipped.push(skipped),
            None => self.skipped_more += skipped.lines,
        }
    }

    fn last_piece(&mut self) -> Option<&mut Piece> {
        let file = self.files.len().checked_sub(1)?;
        self.pieces.last_mut().filter(|p| p.file == file)
    }

    /// Whether what comes now is of this namespace.
    fn here(&self) -> bool {
        self.pieces.last().is_none_or(|p| !p.command.is_some_and(|c| c.elsewhere))
    }
}

impl Sink for Found {
    fn piece(&mut self, kind: Kind, line: u64, command: Option<Command>) {
        let file = self.files.len().saturating_sub(1);
        if self.pieces.len() < MOST_PIECES {
            let piece = Piece {
                file,
                kind,
                first: line,
                last: line,
                command,
                sockets: 0,
                lost: 0,
                seen: 0,
                shown: 0,
                unused: None,
            };
            self.pieces.push(piece);
        }
    }

    #[inline]
    fn socket(&mut self, entry: &Entry) {
        let full = self.pieces.len() >= MOST_PIECES;
        let at = self.pieces.len().saturating_sub(1);
        let Some(piece) = self.pieces.last_mut().filter(|_| !full) else { return };
        piece.sockets += 1;
        piece.seen |= entry.record.state.bit();
        piece.shown |= entry.shown;
        let kind = piece.kind;
        if entry.record.state == State::Listen {
            if self.listeners.len() < MOST_LISTENERS {
                self.listeners.push(Listening { piece: at, record: entry.record.clone(), user: entry.user });
            } else {
                self.listeners_left_out += 1;
            }
        }
        if let (Kind::Lsof | Kind::Netstat, Some(user)) = (kind, entry.user) {
            let r = &entry.record;
            let ends = (r.src, r.sport, r.dst, r.dport);
            let known = self.holders.get(&ends).is_some_and(|known| known.pid <= user.pid);
            if !known && (self.holders.len() < MOST_HOLDERS || self.holders.contains_key(&ends)) {
                self.holders.insert(ends, user);
            }
        }
    }

    fn other(&mut self) {}

    fn counter(&mut self, name: &str, value: u64) {
        let of_interest = name.len() < 80 && (name.starts_with("Tcp") || name.starts_with("MPTcp"));
        if of_interest && self.here() && self.counters.len() < MOST_COUNTERS {
            // The first that is given counts: a second may be of another moment.
            self.counters.entry(name.to_owned()).or_insert(value);
        }
    }

    fn setting(&mut self, setting: Setting<'_>) {
        let (key, value) = match setting {
            Setting::Value(key, value) => (key, Ok(value.chars().take(4096).collect())),
            Setting::Denied(key) => (
                key,
                Err(Gap::new(
                    key,
                    GapKind::Denied,
                    "sysctl was not permitted to read it",
                    "run sysctl -a as root",
                )),
            ),
        };
        // A dot within an interface's name is written as `/`, and all dots may be (`net/ipv4/…`).
        let dotted;
        let key = if key.contains('.') {
            key
        } else {
            dotted = key.replace('/', ".");
            &dotted
        };
        let count =
            ["net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_max", "net.nf_conntrack_max"];
        let wanted = self.options.sysctls.contains(&key) || count.contains(&key);
        if wanted && self.here() {
            self.sysctls.entry(key.to_owned()).or_insert(value);
        } else if key == "fs.file-nr"
            && let Ok(text) = &value
        {
            let mut words = text.split_whitespace().map(str::parse::<u64>);
            if let (Some(Ok(open)), Some(Ok(_)), Some(Ok(max))) = (words.next(), words.next(), words.next()) {
                self.files_open = Some((open, max));
            }
        } else if key == "kernel.osrelease"
            && let Ok(text) = &value
            && others::is_release(text)
        {
            self.kernel = Some(text.clone());
        }
    }

    fn conntrack_sum(&mut self, name: &str, value: u64) {
        if self.here() && (self.conntrack_sums.len() < 64 || self.conntrack_sums.contains_key(name)) {
            let sum = self.conntrack_sums.entry(name.to_owned()).or_default();
            *sum = sum.saturating_add(value);
        }
    }

    fn conntrack_flow(&mut self) {
        if self.here() {
            *self.conntrack_flows.get_or_insert(0) += 1;
        }
    }

    fn conntrack_total(&mut self, total: u64) {
        if self.here() {
            self.conntrack_flows = Some(total);
        }
    }

    fn kernel(&mut self, release: String) {
        self.kernel.get_or_insert(release);
    }

    fn summary(&mut self, established: u64, time_wait: Option<u64>) {
        if self.here() {
            self.summary.get_or_insert((established, time_wait));
        }
    }

    fn sockstat(&mut self, text: &str) {
        if !self.here() {
            return;
        }
        let has = |name: &str| text.lines().any(|l| l.starts_with(name));
        if has("TCP:") && self.sockstat_text.is_empty() {
            text.clone_into(&mut self.sockstat_text);
        }
        if has("TCP6:") && self.sockstat6_text.is_empty() {
            text.clone_into(&mut self.sockstat6_text);
        }
    }

    fn lost(&mut self) {
        if let Some(piece) = self.last_piece() {
            piece.lost += 1;
        }
    }

    fn up_to(&mut self, line: u64) {
        if let Some(piece) = self.last_piece() {
            piece.last = piece.last.max(line);
        }
    }

    fn skip(&mut self, line: u64, text: &[u8], reason: &'static str) {
        let file = self.files.last().cloned().unwrap_or_default();
        self.note(ImportSkipped { file, line, text: shown_line(text), reason: reason.to_owned(), lines: 1 });
    }
}
