//! Lines in, what they are out. One line at a time; what is kept between lines is bounded.

use crate::command::{self, Command, Program};
use crate::others::{self, Setting};
use crate::paste::{self, Decoder};
use crate::ss::{self, Columns, Entry, Taken};
use crate::text::{Words, clip, trim};
use crate::{Kind, netstat};
use linger_model::State;
use linger_model::record::Family;
use linger_wire::procnet;

/// Bytes of a line that are kept; a socket shared by a thousand processes still fits.
pub(crate) const LONGEST_LINE: usize = 256 << 10;
/// Bytes of a small file of /proc that are kept until it ends.
const SMALL_FILE: usize = 64 << 10;

/// Who is told.
pub(crate) trait Sink {
    /// A piece begins: what follows is of this kind, from this line on.
    fn piece(&mut self, kind: Kind, line: u64, command: Option<Command>);
    /// A TCP socket of this piece.
    fn socket(&mut self, entry: &Entry);
    /// A line of this piece that is no TCP socket's: another protocol, or a socket of another kind.
    fn other(&mut self);
    fn counter(&mut self, name: &str, value: u64);
    fn setting(&mut self, setting: Setting<'_>);
    fn conntrack_sum(&mut self, name: &str, value: u64);
    fn conntrack_flow(&mut self);
    fn conntrack_total(&mut self, total: u64);
    fn kernel(&mut self, release: String);
    /// `ss -s`: TIME_WAIT.
    fn summary(&mut self, established: u64, time_wait: Option<u64>);
    /// The text of /proc/net/sockstat or sockstat6.
    fn sockstat(&mut self, text: &str);
    /// A socket of this piece that could not be read.
    fn lost(&mut self);
    /// The last line that was understood.
    fn up_to(&mut self, line: u64);
    fn skip(&mut self, line: u64, text: &[u8], reason: &'static str);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Nothing is known of what follows.
    Unknown,
    Ss(Columns),
    SsSummary,
    Netstat,
    /// The group below whose name the lines stand.
    Statistics(Group),
    Nstat,
    ProcTcp(Family),
    Sockstat,
    /// /proc/net/snmp and netstat.
    Pairs,
    Sysctl,
    Lsof,
    ConntrackStat,
    ConntrackList,
    /// Another system's: its lines are counted, not read.
    Foreign(Kind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Tcp,
    TcpExt,
    MpTcpExt,
    Other,
}

impl Group {
    fn name(self) -> &'static str {
        match self {
            Group::Tcp => "Tcp",
            Group::TcpExt => "TcpExt",
            Group::MpTcpExt => "MPTcpExt",
            Group::Other => "",
        }
    }
}

/// Reads one input after the other.
pub(crate) struct Reader {
    carry: Vec<u8>,
    cut: bool,
    line: u64,
    mode: Mode,
    command: Option<Command>,
    /// The last line that was understood.
    ok: u64,
    entry: Entry,
    pending: bool,
    /// A socket's line that ended before the peer's address.
    half: Vec<u8>,
    small: String,
    decoder: Decoder,
    /// What stood before the heading, as a quote or an indented block has it, and so before the lines below.
    dressing: Vec<u8>,
    /// This line has no such thing before it.
    bare: bool,
    /// Lines that a bracket which was opened may still have.
    aside: u8,
}

impl Reader {
    pub fn new() -> Reader {
        Reader {
            carry: Vec::new(),
            cut: false,
            line: 0,
            mode: Mode::Unknown,
            command: None,
            ok: 0,
            entry: Entry::new(),
            pending: false,
            half: Vec::new(),
            small: String::new(),
            decoder: Decoder::default(),
            dressing: Vec::new(),
            bare: true,
            aside: 0,
        }
    }

    /// Begins a file; its name may be a command's.
    pub fn begin(&mut self, name: &str) {
        *self = Reader { carry: std::mem::take(&mut self.carry), ..Reader::new() };
        self.carry.clear();
        self.command = command::of_file_name(name);
    }

    /// Takes bytes, in pieces of any size.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        let mut decoder = std::mem::take(&mut self.decoder);
        decoder.feed(bytes, |bytes| self.lines(bytes, sink));
        self.decoder = decoder;
    }

    fn lines(&mut self, mut bytes: &[u8], sink: &mut impl Sink) {
        while !self.carry.is_empty() || self.cut {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.keep(bytes);
                return;
            };
            self.keep(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.carry);
            self.whole_line(&line, sink);
            self.carry = line;
            self.carry.clear();
            self.cut = false;
        }
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.whole_line(&bytes[..end.min(LONGEST_LINE)], sink);
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = LONGEST_LINE - self.carry.len().min(LONGEST_LINE);
        self.cut |= bytes.len() > room;
        self.carry.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Ends a file.
    pub fn end(&mut self, sink: &mut impl Sink) {
        let mut decoder = std::mem::take(&mut self.decoder);
        decoder.end(|bytes| self.lines(bytes, sink));
        if !self.carry.is_empty() {
            let line = std::mem::take(&mut self.carry);
            self.whole_line(&line, sink);
        }
        self.end_piece(sink);
        self.mode = Mode::Unknown;
    }

    fn end_piece(&mut self, sink: &mut impl Sink) {
        self.flush(sink);
        if !self.half.is_empty() {
            let half = std::mem::take(&mut self.half);
            sink.lost();
            sink.skip(self.line, &half, "a socket's line that breaks off");
        }
        self.end_small(sink);
        if self.ok > 0 {
            sink.up_to(self.ok);
        }
    }

    /// Hands on the socket whose further lines, if any, are read.
    #[inline]
    fn flush(&mut self, sink: &mut impl Sink) {
        if std::mem::take(&mut self.pending) {
            sink.socket(&self.entry);
        }
    }

    fn end_small(&mut self, sink: &mut impl Sink) {
        if self.small.is_empty() {
            return;
        }
        let text = std::mem::take(&mut self.small);
        match self.mode {
            Mode::Sockstat => sink.sockstat(&text),
            Mode::Pairs => {
                let mut counters = linger_model::snapshot::Counters::new();
                // What was read before an error stays: names and figures are read pair by pair.
                if procnet::counter_pairs(&text, &mut counters).is_err() {
                    sink.skip(
                        self.line,
                        text.lines().next_back().unwrap_or("").as_bytes(),
                        "names and figures do not match",
                    );
                }
                for (name, value) in counters {
                    sink.counter(&name, value);
                }
            }
            _ => {}
        }
    }

    fn whole_line(&mut self, line: &[u8], sink: &mut impl Sink) {
        self.line += 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let whole = line.len();
        let line = if self.dressing.is_empty() { line } else { paste::undress(line, &self.dressing) };
        self.bare = line.len() == whole;
        // The one case that has to be fast.
        if let Mode::Ss(_) = self.mode
            && line.first().is_some_and(u8::is_ascii_uppercase)
            && self.half.is_empty()
        {
            self.flush(sink);
            if ss::socket(line, None, &mut self.entry) == Taken::Socket {
                self.pending = true;
                self.ok = self.line;
                return;
            }
        }
        match paste::plain(line) {
            // Where the dressing has hard spaces, it is found on the plain line only.
            Some(line) if !self.dressing.is_empty() => {
                let undressed = paste::undress(&line, &self.dressing);
                self.bare = undressed.len() == line.len();
                self.line_of_any_kind(undressed, sink);
            }
            Some(line) => self.line_of_any_kind(&line, sink),
            None => self.line_of_any_kind(line, sink),
        }
    }

    fn line_of_any_kind(&mut self, line: &[u8], sink: &mut impl Sink) {
        if self.line == 1
            && let Some(rest) = line.strip_prefix(b"\xef\xbb\xbf")
        {
            return self.line_of_any_kind(rest, sink);
        }
        if trim(line).is_empty() {
            // ss puts an empty, indented line below TIME_WAIT sockets.
            return;
        }
        if self.heading(line, sink) {
            if self.bare {
                // The quote is over.
                self.dressing.clear();
            }
            return;
        }
        let dressed = paste::dress(line);
        if dressed > 0 && self.heading(&line[dressed..], sink) {
            self.dressing = line[..dressed].to_vec();
            return;
        }
        let taken = self.in_mode(line, sink);
        if taken == Line::Understood {
            self.ok = self.line;
            return;
        }
        if self.announces_itself(line, sink) {
            return;
        }
        let (Line::No(reason) | Line::Lost(reason)) = taken else { return };
        if let Line::Lost(_) = taken {
            sink.lost();
        } else if is_ornament(line) || self.is_aside(line) {
            return;
        }
        sink.skip(self.line, line, reason);
    }

    fn switch(&mut self, mode: Mode, kind: Kind, sink: &mut impl Sink) {
        self.end_piece(sink);
        self.mode = mode;
        let fits = self.command.filter(|c| match kind {
            Kind::Ss => c.program == Program::Ss,
            Kind::Netstat => c.program == Program::Netstat,
            _ => c.elsewhere,
        });
        sink.piece(kind, self.line, fits);
        self.ok = self.line;
    }

    /// What netstat says in brackets of processes that it cannot see, in any language: up to three lines.
    fn is_aside(&mut self, line: &[u8]) -> bool {
        let line = trim(line);
        if line.starts_with(b"(") {
            self.aside = 3;
        }
        let figures = line.iter().any(u8::is_ascii_digit);
        let said = self.aside > 0 && (!figures || memchr::memmem::find(line, b"geteuid()=").is_some());
        self.aside = if said && !line.ends_with(b")") { self.aside - 1 } else { 0 };
        said
    }

    /// Headings, which begin a piece whatever came before.
    fn heading(&mut self, line: &[u8], sink: &mut impl Sink) -> bool {
        let has = |what: &[u8]| memchr::memmem::find(line, what).is_some();
        let begins = |what: &[u8]| line.starts_with(what);
        let Some(first) = line.iter().find(|b| **b != b' ') else { return false };
        match first {
            b'S' if begins(b"State") && has(b"Recv-Q") => {
                self.switch(Mode::Ss(Columns { netid: false, state: true }), Kind::Ss, sink);
            }
            b'N' if begins(b"Netid") && has(b"Recv-Q") => {
                self.switch(Mode::Ss(Columns { netid: true, state: true }), Kind::Ss, sink);
            }
            b'R' if begins(b"Recv-Q") && has(b"Send-Q") => {
                self.switch(Mode::Ss(Columns::default()), Kind::Ss, sink);
            }
            b'T' if begins(b"Total: ") && line.get(7).is_some_and(u8::is_ascii_digit) => {
                self.switch(Mode::SsSummary, Kind::SsSummary, sink);
            }
            b'P' if Words(line).word() == b"Proto" => {
                let mut words = Words(line);
                words.word();
                let second = words.word();
                let windows =
                    second == b"Local" || second == b"Lokale" || (line.starts_with(b"  ") && !has(b"-Q"));
                if has(b"(state)") {
                    self.switch(Mode::Foreign(Kind::MacNetstat), Kind::MacNetstat, sink);
                } else if windows {
                    self.switch(Mode::Foreign(Kind::WindowsNetstat), Kind::WindowsNetstat, sink);
                } else if netstat::is_heading(line) {
                    self.switch(Mode::Netstat, Kind::Netstat, sink);
                } else {
                    return false;
                }
            }
            b'A' if begins(b"Active Internet connections") && has(b"(including servers)") => {
                self.switch(Mode::Foreign(Kind::MacNetstat), Kind::MacNetstat, sink);
            }
            b'A' if trim(line) == b"Active Connections" => {
                self.switch(Mode::Foreign(Kind::WindowsNetstat), Kind::WindowsNetstat, sink);
            }
            b'T' | b'I' if has(b"Statistics for IPv") || trim(line).ends_with(b" Statistics") => {
                self.switch(Mode::Foreign(Kind::WindowsNetstat), Kind::WindowsNetstat, sink);
            }
            b't' if line == b"tcp:" => {
                self.switch(Mode::Foreign(Kind::MacNetstat), Kind::MacNetstat, sink);
            }
            b's' if has(b"local_address") && (has(b"rem_address") || has(b"remote_address")) => {
                let family = if has(b"remote_address") { Family::Ipv6 } else { Family::Ipv4 };
                self.switch(Mode::ProcTcp(family), Kind::ProcNetTcp(family), sink);
            }
            b's' if begins(b"sockets: used ") => {
                self.switch(Mode::Sockstat, Kind::Sockstat, sink);
                self.keep_small(line);
            }
            b'C' if begins(b"COMMAND") && has(b" PID ") && has(b"NAME") => {
                self.switch(Mode::Lsof, Kind::Lsof, sink);
            }
            b'#' if trim(line) == b"#kernel" => self.switch(Mode::Nstat, Kind::Nstat, sink),
            b'{' if begins(b"{\"kernel\":{") => {
                self.switch(Mode::Nstat, Kind::Nstat, sink);
                others::nstat_json(line, |name, value| sink.counter(&name, value));
            }
            _ if !first.is_ascii() && netstat::is_heading(line) => {
                self.switch(Mode::Netstat, Kind::Netstat, sink);
            }
            _ => return self.statistics_heading(line, sink),
        }
        true
    }

    /// `Tcp:` of `netstat -s`, and the names of /proc/net/snmp and netstat.
    fn statistics_heading(&mut self, line: &[u8], sink: &mut impl Sink) -> bool {
        let Some(colon) = line.iter().take(24).position(|b| *b == b':') else { return false };
        let (name, rest) = (&line[..colon], trim(&line[colon + 1..]));
        let known = matches!(
            name,
            b"Ip"
                | b"Ip6"
                | b"Icmp"
                | b"Icmp6"
                | b"IcmpMsg"
                | b"Tcp"
                | b"Udp"
                | b"Udp6"
                | b"UdpLite"
                | b"UdpLite6"
                | b"TcpExt"
                | b"IpExt"
                | b"MPTcpExt"
                | b"Sctp"
        );
        if !known {
            return false;
        }
        if rest.is_empty() {
            let group = match name {
                b"Tcp" => Group::Tcp,
                b"TcpExt" => Group::TcpExt,
                b"MPTcpExt" => Group::MpTcpExt,
                _ => Group::Other,
            };
            if !matches!(self.mode, Mode::Statistics(_)) {
                self.switch(Mode::Statistics(group), Kind::NetstatStatistics, sink);
            }
            self.mode = Mode::Statistics(group);
            self.ok = self.line;
            return true;
        }
        if self.mode != Mode::Pairs {
            self.switch(Mode::Pairs, Kind::Counters, sink);
        }
        self.keep_small(line);
        // Pairs are taken as they come, so that the next file's may follow.
        let even = self.small.lines().count().is_multiple_of(2);
        if even {
            self.end_small(sink);
        }
        self.ok = self.line;
        true
    }

    fn keep_small(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        if self.small.len() + text.len() < SMALL_FILE {
            self.small.push_str(&text);
            self.small.push('\n');
        }
    }

    fn in_mode(&mut self, line: &[u8], sink: &mut impl Sink) -> Line {
        let indented = line.first().is_some_and(|b| matches!(b, b' ' | b'\t'));
        match self.mode {
            Mode::Ss(_) => self.ss_line(line, indented, sink),
            Mode::SsSummary => {
                if let Some((established, time_wait)) = ss::summary(line) {
                    sink.summary(established, time_wait);
                    return Line::Understood;
                }
                let first = Words(line).word();
                let known = matches!(
                    first,
                    b"Transport" | b"RAW" | b"UDP" | b"TCP" | b"INET" | b"FRAG" | b"*" | b"UDPLITE"
                );
                if known { Line::Understood } else { Line::No("not a line of ss -s") }
            }
            Mode::Netstat => {
                self.flush(sink);
                if unix_socket(line) {
                    sink.other();
                    return Line::Understood;
                }
                let taken = netstat::socket(line, &mut self.entry);
                self.socket_taken(taken, sink)
            }
            Mode::Statistics(group) => {
                if !indented {
                    return Line::No("not a line of netstat -s");
                }
                match netstat::sentence(group.name(), line) {
                    netstat::Sentence::Counter(name, value) => {
                        sink.counter(&name, value);
                        Line::Understood
                    }
                    netstat::Sentence::OtherGroup => Line::Understood,
                    netstat::Sentence::Unknown => Line::No(
                        "a sentence that is not known, perhaps translated: run netstat -s with LC_ALL=C, or nstat -az",
                    ),
                }
            }
            Mode::Nstat => match others::nstat(line) {
                Some((name, value)) => {
                    sink.counter(&name, value);
                    Line::Understood
                }
                None => Line::No("not a counter as nstat writes it"),
            },
            Mode::ProcTcp(family) => {
                self.flush(sink);
                self.proc_tcp(line, family)
            }
            Mode::Sockstat => {
                let name = Words(line).word();
                let known = name.last() == Some(&b':')
                    && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b':');
                if known {
                    self.keep_small(line);
                    return Line::Understood;
                }
                Line::No("not a line of /proc/net/sockstat")
            }
            Mode::Sysctl => match others::sysctl(line) {
                Some(setting) => {
                    sink.setting(setting);
                    Line::Understood
                }
                None => Line::No("not a setting as sysctl writes it"),
            },
            Mode::Lsof => {
                self.flush(sink);
                let taken = others::lsof(line, &mut self.entry);
                self.socket_taken(taken, sink)
            }
            Mode::ConntrackStat => {
                let known = others::conntrack_cpu(line, |name, value| sink.conntrack_sum(name, value));
                if known { Line::Understood } else { Line::No("not a line of conntrack -S") }
            }
            Mode::ConntrackList => {
                if others::conntrack_flow(line) {
                    sink.conntrack_flow();
                    Line::Understood
                } else {
                    Line::No("not a flow as conntrack -L writes it")
                }
            }
            Mode::Foreign(_) => {
                let first = Words(line).word();
                if indented
                    || [b"tcp", b"udp"]
                        .iter()
                        .any(|name| first.len() >= 3 && first[..3].eq_ignore_ascii_case(*name))
                {
                    sink.other();
                    Line::Understood
                } else {
                    Line::No(UNKNOWN)
                }
            }
            Mode::Pairs => Line::No("not names and figures as /proc/net/snmp has them"),
            Mode::Unknown if is_count(line) => Line::No(COUNTED),
            Mode::Unknown => Line::No(UNKNOWN),
        }
    }

    fn socket_taken(&mut self, taken: Taken, sink: &mut impl Sink) -> Line {
        match taken {
            Taken::Socket => {
                self.pending = true;
                Line::Understood
            }
            Taken::OtherProtocol => {
                sink.other();
                Line::Understood
            }
            Taken::Incomplete => Line::Lost("a socket's line that breaks off"),
            Taken::NoState => {
                Line::Lost("the state is not shown: paste the command line too, or run ss without `state`")
            }
            Taken::Lost(reason) => Line::Lost(reason),
            Taken::No(reason) => Line::No(reason),
        }
    }

    fn ss_line(&mut self, line: &[u8], indented: bool, sink: &mut impl Sink) -> Line {
        if !self.half.is_empty() {
            // A terminal, or a mail, folded the line within its addresses.
            let mut whole = std::mem::take(&mut self.half);
            whole.push(b' ');
            whole.extend_from_slice(trim(line));
            let taken = ss::socket(&whole, self.implied(), &mut self.entry);
            if taken == Taken::Incomplete && whole.len() < 1024 {
                self.half = whole;
                return Line::Understood;
            }
            if taken != Taken::Socket {
                sink.lost();
                sink.skip(self.line - 1, &whole, "a socket's line that breaks off");
                return self.ss_line(line, indented, sink);
            }
            return self.socket_taken(taken, sink);
        }
        if indented || ss::continues(line) {
            if self.pending {
                ss::extras(line, &mut self.entry);
            }
            // Below a socket of another protocol there is nothing to keep.
            return Line::Understood;
        }
        self.flush(sink);
        match ss::socket(line, self.implied(), &mut self.entry) {
            Taken::Incomplete => {
                self.half = line[..line.len().min(1024)].to_vec();
                Line::Understood
            }
            taken => self.socket_taken(taken, sink),
        }
    }

    /// The one state that the command asked for.
    fn implied(&self) -> Option<State> {
        let states = self.command.filter(|c| c.program == Program::Ss)?.states;
        State::ALL.into_iter().find(|s| s.bit() == states)
    }

    fn proc_tcp(&mut self, line: &[u8], family: Family) -> Line {
        let Ok(text) = std::str::from_utf8(line) else { return Line::No("not a line of /proc/net/tcp") };
        match procnet::tcp_line(text) {
            Ok(Some(mut record)) => {
                if record.family != family {
                    return Line::No("an address of the other family");
                }
                if record.state == State::Close && record.sport != 0 && record.dport == 0 {
                    record.state = State::BoundInactive;
                }
                self.entry.record = record;
                (self.entry.user, self.entry.star) = (None, false);
                self.entry.cgroup.clear();
                self.entry.shown = ss::shown::TIMERS | ss::shown::INODES | ss::shown::QUEUES;
                self.pending = true;
                Line::Understood
            }
            Ok(None) => Line::Understood,
            Err(_) => Line::No("not a line of /proc/net/tcp"),
        }
    }

    /// Lines that tell by themselves what they are, where no heading did; and command lines.
    fn announces_itself(&mut self, line: &[u8], sink: &mut impl Sink) -> bool {
        if let Some(command) = command::of_line(line) {
            self.end_piece(sink);
            self.mode = Mode::Unknown;
            self.command = Some(command);
            self.ok = self.line;
            return true;
        }
        let first = Words(line).word();
        let (mode, kind) = if ss::begins_socket(line) {
            (Mode::Ss(Columns { netid: false, state: true }), Kind::Ss)
        } else if netstat::begins_socket(line) {
            (Mode::Netstat, Kind::Netstat)
        } else if matches!(first, b"tcp4" | b"tcp46") {
            (Mode::Foreign(Kind::MacNetstat), Kind::MacNetstat)
        } else if netstat::windows_row(line) {
            (Mode::Foreign(Kind::WindowsNetstat), Kind::WindowsNetstat)
        } else if others::conntrack_flow(line) {
            (Mode::ConntrackList, Kind::ConntrackList)
        } else if line.starts_with(b"cpu=") {
            (Mode::ConntrackStat, Kind::ConntrackStat)
        } else if let Some(total) = others::conntrack_total(line) {
            if self.mode != Mode::ConntrackList {
                self.switch(Mode::ConntrackList, Kind::ConntrackList, sink);
            }
            sink.conntrack_total(total);
            self.ok = self.line;
            return true;
        } else if let Some(family) = proc_line(line) {
            (Mode::ProcTcp(family), Kind::ProcNetTcp(family))
        } else if matches!(first, b"TCP:" | b"TCP6:") && memchr::memmem::find(line, b" inuse ").is_some() {
            (Mode::Sockstat, Kind::Sockstat)
        } else if others::sysctl(line).is_some() {
            (Mode::Sysctl, Kind::Sysctl)
        } else if others::nstat(line).is_some() {
            (Mode::Nstat, Kind::Nstat)
        } else if let Some(release) = others::uname(line) {
            self.switch(Mode::Unknown, Kind::Uname, sink);
            sink.kernel(release);
            return true;
        } else if self.implied().is_some()
            && self.mode == Mode::Unknown
            && ss::socket(line, self.implied(), &mut self.entry) == Taken::Socket
        {
            // `ss -H state time-wait`: neither heading nor state.
            (Mode::Ss(Columns::default()), Kind::Ss)
        } else {
            return false;
        };
        if self.mode == mode {
            return false;
        }
        self.switch(mode, kind, sink);
        let taken = self.in_mode(line, sink);
        if let Line::Lost(_) = taken {
            sink.lost();
        }
        if let Line::No(reason) | Line::Lost(reason) = taken {
            sink.skip(self.line, line, reason);
        }
        true
    }
}

const UNKNOWN: &str = "not the output of a program that is known";
const COUNTED: &str =
    "a count and not the sockets: give what was counted, the output of ss or netstat itself";

/// `28231 TIME-WAIT`, as sort and uniq make it of sockets.
fn is_count(line: &[u8]) -> bool {
    let mut words = Words(line);
    let (count, state) = (words.word(), words.word());
    let is_state = ss::state(state).or_else(|| netstat::state(state)).is_some();
    crate::text::number(count).is_some() && is_state && words.rest().is_empty()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Understood,
    /// A socket that could not be read.
    Lost(&'static str),
    No(&'static str),
}

/// netstat's UNIX sockets: `unix  2 [ ACC ] STREAM LISTENING …`, and the headings between the tables.
fn unix_socket(line: &[u8]) -> bool {
    matches!(Words(line).word(), b"unix") || line.starts_with(b"Active UNIX domain sockets")
}

/// `0: 0100007F:1F90 …`
fn proc_line(line: &[u8]) -> Option<Family> {
    let mut words = Words(line);
    let number = words.word().strip_suffix(b":")?;
    if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let address = words.word();
    let hex = |b: &u8| b.is_ascii_hexdigit() || *b == b':';
    match address.len() {
        13 if address.iter().all(hex) => Some(Family::Ipv4),
        37 if address.iter().all(hex) => Some(Family::Ipv6),
        _ => None,
    }
}

/// Lines that mean nothing: fences, rules, netstat's own heading in any language.
fn is_ornament(line: &[u8]) -> bool {
    let line = trim(line);
    line.iter().all(|b| matches!(b, b'-' | b'=' | b'*' | b'_' | b'`' | b'~' | b'#' | b'+'))
        || line.starts_with(b"```")
        || line.starts_with(b"Active Internet connections")
        // Its translations: no digits, and servers or connections in brackets.
        || (line.last() == Some(&b')') && line.contains(&b'(') && !line.iter().any(u8::is_ascii_digit) && line.len() < 200)
}

/// At most 60 characters of a line, for a person.
pub(crate) fn shown_line(line: &[u8]) -> String {
    clip(line)
}
