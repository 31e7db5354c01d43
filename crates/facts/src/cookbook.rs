//! Application remedies, matched to the process where it can be recognised.
//!
//! A remedy for a connection fault belongs to the application first: keep-alive, pools, close on every path.
//! Each recipe here names the settings of one program or library, with the version from which they exist
//! where that could be verified (else [`Step::since`] is empty). [`generic()`] holds what is true in every
//! language. Data only: nothing here looks at a process, [`ProcessHint`] is what the caller has read.

mod clients;
mod generic;
mod proxies;
mod servers;

use std::cmp::Reverse;

/// What is wrong with a process's connections, as far as the advice differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Symptom {
    /// This side opens and closes connections too often: keep-alive and pools.
    ShortConnections,
    /// The peer has closed and the application does not.
    CloseWaitLeak,
    /// The accept queue overflows: backlog, workers, `SO_REUSEPORT`.
    SlowAccept,
    /// A proxy runs out of local ports towards few backends.
    ProxyPorts,
    /// Descriptors run out.
    DescriptorLimit,
    /// Peers vanish and nobody notices: keep-alive probes and time-outs.
    DeadPeers,
    /// `bind()` fails when the server restarts.
    ReuseAddress,
    /// Connects hang or are retried without bound.
    ConnectTimeout,
    /// The peer, or this application, does not read: zero windows, queues that stay.
    SlowReader,
}

impl Symptom {
    /// Every symptom, in the order of the enum.
    pub const ALL: &'static [Self] = &[
        Self::ShortConnections,
        Self::CloseWaitLeak,
        Self::SlowAccept,
        Self::ProxyPorts,
        Self::DescriptorLimit,
        Self::DeadPeers,
        Self::ReuseAddress,
        Self::ConnectTimeout,
        Self::SlowReader,
    ];
}

/// One thing to do: a setting by its exact name, and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// The symptom that it helps against.
    pub symptom: Symptom,
    /// The setting, as it is written in the program's configuration or code.
    pub setting: &'static str,
    /// What to do and why, in a few sentences.
    pub text: &'static str,
    /// A few lines of configuration or code, if they help.
    pub example: Option<&'static str>,
    /// The version from which it exists, and changes of its default; empty where that was not verified or
    /// does not matter.
    pub since: &'static str,
    /// The vendor's page, change log, source file or RFC that it was taken from.
    pub source: &'static str,
}

/// The steps for one program, language or library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipe {
    /// A stable, unique name in kebab case.
    pub id: &'static str,
    /// What it is about, for a heading.
    pub title: &'static str,
    /// How a process of this kind is recognised; any one is enough. Empty where a process does not show it
    /// (a Go program runs under its own name): see [`recipe`] and [`for_peer_port`].
    pub matches: &'static [Match],
    /// What to do, in the order in which an expert would try it per symptom.
    pub steps: &'static [Step],
    /// What to keep in mind when following the steps.
    pub caveats: &'static [&'static str],
}

/// A sign by which a process is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Match {
    /// The exact comm of `/proc/PID/comm` (the kernel cuts it to 15 bytes).
    Comm(&'static str),
    /// The beginning of the comm.
    CommPrefix(&'static str),
    /// The file name of `/proc/PID/exe`.
    ExeName(&'static str),
    /// A part of the command line, in any case. A class path or a script name often tells the library.
    CmdlineContains(&'static str),
}

impl Match {
    /// How specific the sign is if it is present in `hint`; larger is more specific.
    fn score(self, hint: &ProcessHint<'_>) -> Option<u8> {
        match self {
            Self::CmdlineContains(part) => {
                hint.cmdline.is_some_and(|line| contains_ignore_case(line, part)).then_some(3)
            }
            Self::Comm(comm) => (hint.comm == comm).then_some(2),
            Self::ExeName(name) => (hint.exe.map(file_name) == Some(name)).then_some(2),
            Self::CommPrefix(prefix) => hint.comm.starts_with(prefix).then_some(1),
        }
    }
}

/// What is known of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessHint<'a> {
    /// `/proc/PID/comm` without its newline.
    pub comm: &'a str,
    /// The target of `/proc/PID/exe`, a path or a file name; ` (deleted)` at its end does no harm.
    pub exe: Option<&'a str>,
    /// `/proc/PID/cmdline`; whether its parts are separated by NUL or by blanks does not matter.
    pub cmdline: Option<&'a str>,
}

/// The number of all recipes.
const COUNT: usize = clients::RECIPES.len() + servers::RECIPES.len() + proxies::RECIPES.len();

/// All recipes in one table: libraries before the programs that use them, specific before generic.
static RECIPES: [Recipe; COUNT] = {
    let (clients, servers, proxies) = (clients::RECIPES, servers::RECIPES, proxies::RECIPES);
    let mut all = [clients[0]; COUNT];
    let mut at = 0;
    while at < COUNT {
        all[at] = if at < clients.len() {
            clients[at]
        } else if at < clients.len() + servers.len() {
            servers[at - clients.len()]
        } else {
            proxies[at - clients.len() - servers.len()]
        };
        at += 1;
    }
    all
};

/// The recipes for clients of a server, by the server's well-known port.
const BY_PEER_PORT: &[(u16, &str)] = &[
    (3306, "mysql-clients"),
    (5432, "postgresql-clients"),
    (6379, "redis-clients"),
    (6432, "postgresql-clients"),
    (11211, "memcached-clients"),
];

/// All recipes.
#[must_use]
pub fn recipes() -> &'static [Recipe] {
    &RECIPES
}

/// Of a command line the words by which a recipe recognises a process, and nothing else: they say what a process is made
/// of, and none of its arguments. `None` where there are none.
#[must_use]
pub fn known_words(cmdline: &str) -> Option<String> {
    let mut words: Vec<&str> = Vec::new();
    for sign in recipes().iter().flat_map(|recipe| recipe.matches) {
        if let Match::CmdlineContains(part) = sign
            && contains_ignore_case(cmdline, part)
            && !words.contains(part)
        {
            words.push(part);
        }
    }
    (!words.is_empty()).then(|| words.join(" "))
}

/// The recipe of this id.
#[must_use]
pub fn recipe(id: &str) -> Option<&'static Recipe> {
    recipes().iter().find(|recipe| recipe.id == id)
}

/// The recipe for clients of the server that usually listens on this port: what the process speaks when its
/// own name does not tell.
#[must_use]
pub fn for_peer_port(port: u16) -> Option<&'static Recipe> {
    BY_PEER_PORT.iter().find(|(known, _)| *known == port).and_then(|(_, id)| recipe(id))
}

/// The recipes that fit this process, best first: a library named on the command line before the program,
/// an exact name before the beginning of one.
#[must_use]
pub fn matching(hint: &ProcessHint<'_>) -> Vec<&'static Recipe> {
    let mut found: Vec<(u8, &'static Recipe)> = recipes()
        .iter()
        .filter_map(|recipe| recipe.matches.iter().filter_map(|m| m.score(hint)).max().map(|s| (s, recipe)))
        .collect();
    found.sort_by_key(|(score, _)| Reverse(*score));
    found.into_iter().map(|(_, recipe)| recipe).collect()
}

/// The steps of the matching recipes for one symptom, in the order of [`matching`]; empty if none fits, and
/// then [`generic()`] has an answer.
#[must_use]
pub fn steps_for(hint: &ProcessHint<'_>, symptom: Symptom) -> Vec<(&'static Recipe, &'static Step)> {
    matching(hint)
        .into_iter()
        .flat_map(|recipe| {
            recipe.steps.iter().filter(move |s| s.symptom == symptom).map(move |s| (recipe, s))
        })
        .collect()
}

/// Advice for a symptom that holds in every language; never empty.
#[must_use]
pub fn generic(symptom: Symptom) -> &'static [Step] {
    generic::steps(symptom)
}

/// The part after the last slash, without the kernel's mark of a deleted file.
fn file_name(path: &str) -> &str {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether `text` contains `part`, ASCII letters compared in any case.
fn contains_ignore_case(text: &str, part: &str) -> bool {
    !part.is_empty() && text.as_bytes().windows(part.len()).any(|w| w.eq_ignore_ascii_case(part.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn ids(comm: &str, exe: Option<&str>, cmdline: Option<&str>) -> Vec<&'static str> {
        matching(&ProcessHint { comm, exe, cmdline }).into_iter().map(|r| r.id).collect()
    }

    fn check_step(place: &str, step: &Step) {
        assert!(!step.setting.trim().is_empty(), "{place}: a step without a setting");
        assert!(!step.source.trim().is_empty(), "{place}: {} without a source", step.setting);
        assert!(step.text.len() > 20, "{place}: {} says nothing", step.setting);
        assert!(step.text.ends_with(['.', ')']), "{place}: {} ends without a stop", step.setting);
        assert!(!step.text.contains("  "), "{place}: {} has doubled blanks", step.setting);
        assert!(step.example.is_none_or(|e| !e.trim().is_empty()), "{place}: an empty example");
    }

    #[test]
    fn recipes_are_complete_and_unique() {
        let mut seen = HashSet::new();
        for recipe in recipes() {
            assert!(seen.insert(recipe.id), "{} is there twice", recipe.id);
            assert!(recipe.id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            assert!(!recipe.title.is_empty() && !recipe.steps.is_empty(), "{} is empty", recipe.id);
            assert!(recipe.caveats.iter().all(|c| c.len() > 20), "{} has an empty caveat", recipe.id);
            let mut settings = HashSet::new();
            for step in recipe.steps {
                check_step(recipe.id, step);
                assert!(settings.insert(step.setting), "{}: {} is there twice", recipe.id, step.setting);
            }
        }
        assert_eq!(recipes().len(), COUNT);
    }

    #[test]
    fn signs_can_match() {
        for recipe in recipes() {
            for sign in recipe.matches {
                match *sign {
                    Match::Comm(s) | Match::CommPrefix(s) => {
                        assert!(!s.is_empty() && s.len() <= 15, "{}: {s} is no comm", recipe.id);
                    }
                    Match::ExeName(s) => assert!(!s.is_empty() && !s.contains('/'), "{}: {s}", recipe.id),
                    Match::CmdlineContains(s) => assert!(s.len() >= 5, "{}: {s} is too short", recipe.id),
                }
            }
        }
    }

    #[test]
    fn programs_are_recognised_by_comm() {
        for (comm, first) in [
            ("nginx", "nginx"),
            ("haproxy", "haproxy"),
            ("envoy", "envoy"),
            ("apache2", "apache-httpd"),
            ("httpd", "apache-httpd"),
            ("caddy", "caddy"),
            ("traefik", "traefik"),
            ("java", "java"),
            ("python3", "python"),
            ("python3.11", "python"),
            ("gunicorn", "gunicorn"),
            ("uvicorn", "uvicorn"),
            ("uwsgi", "uwsgi"),
            ("node", "node"),
            ("node /srv/app.j", "node"),
            ("php-fpm8.2", "php-fpm"),
            ("php-fpm", "php-fpm"),
            ("php", "php-fpm"),
            ("ruby", "ruby"),
            ("puma 6.4: web", "ruby"),
            ("dotnet", "dotnet"),
            ("mysqld", "mysql-server"),
            ("mariadbd", "mysql-server"),
            ("redis-server", "redis-server"),
            ("memcached", "memcached"),
            ("postgres", "postgresql-server"),
            ("pgbouncer", "pgbouncer"),
            ("curl", "curl-wget"),
            ("scrapy", "scrapy"),
        ] {
            assert_eq!(ids(comm, None, None).first(), Some(&first), "{comm}");
        }
        assert!(ids("bash", Some("/usr/bin/bash"), Some("bash -l")).is_empty());
    }

    #[test]
    fn known_words_say_as_much_as_the_line_and_no_argument() {
        for line in [
            "java -cp /app/lib/HikariCP-5.1.0.jar:jedis-5.jar -Dpassword=hunter2 Main",
            "/usr/bin/python3 /usr/bin/gunicorn --token hunter2 app:main",
        ] {
            let words = known_words(line).expect("a word");
            assert!(!words.contains("hunter2") && !words.contains("/app"), "{words}");
            assert_eq!(ids("x", None, Some(&words)), ids("x", None, Some(line)));
            assert!(!ids("x", None, Some(line)).is_empty(), "{line}");
        }
        assert_eq!(known_words("/opt/shop --password hunter2"), None);
    }

    #[test]
    fn the_library_on_the_command_line_comes_first() {
        let cmdline = Some("java\0-cp\0/app/lib/HikariCP-5.1.0.jar:/app/app.jar\0Main");
        assert_eq!(ids("java", Some("/usr/lib/jvm/bin/java"), cmdline), ["java-hikari", "java"]);
        let cmdline = Some("java -cp jedis-5.jar:tomcat-embed-core.jar Main");
        assert_eq!(ids("java", None, cmdline), ["java-jedis", "tomcat", "java"]);
        assert_eq!(ids("java", None, None), ["java"]);
        assert_eq!(ids("python3", None, Some("python3 /usr/bin/gunicorn app:app")), ["gunicorn", "python"]);
        assert_eq!(ids("gunicorn", None, None), ["gunicorn", "python"]);
    }

    #[test]
    fn the_executable_helps_when_the_comm_was_changed() {
        assert_eq!(ids("MainThread", Some("/usr/bin/node"), None), ["node"]);
        assert_eq!(ids("worker", Some("/usr/sbin/nginx (deleted)"), None), ["nginx"]);
        assert_eq!(ids("x", Some("nginx"), None), ["nginx"]);
    }

    #[test]
    fn steps_are_of_the_symptom_and_in_order() {
        let hint = ProcessHint { comm: "java", exe: None, cmdline: Some("java -cp HikariCP.jar") };
        let steps = steps_for(&hint, Symptom::CloseWaitLeak);
        assert!(steps.iter().all(|(_, step)| step.symptom == Symptom::CloseWaitLeak));
        assert_eq!(steps.first().map(|(recipe, _)| recipe.id), Some("java-hikari"));
        assert!(steps.iter().any(|(recipe, _)| recipe.id == "java"));
        let nginx = ProcessHint { comm: "nginx", ..ProcessHint::default() };
        let first = steps_for(&nginx, Symptom::ShortConnections);
        assert_eq!(first.first().map(|(_, step)| step.setting), Some("keepalive 64; (in upstream)"));
        assert!(steps_for(&ProcessHint::default(), Symptom::SlowAccept).is_empty());
    }

    #[test]
    fn generic_advice_exists_for_every_symptom() {
        for &symptom in Symptom::ALL {
            assert!(!generic(symptom).is_empty(), "{symptom:?}");
            for step in generic(symptom) {
                assert_eq!(step.symptom, symptom);
                check_step("generic", step);
            }
        }
    }

    #[test]
    fn every_symptom_but_reuse_has_several_recipes() {
        for &symptom in Symptom::ALL {
            let count = recipes().iter().filter(|r| r.steps.iter().any(|s| s.symptom == symptom)).count();
            assert!(count >= 2, "{symptom:?}: {count}");
        }
    }

    #[test]
    fn peers_are_recognised_by_port() {
        assert_eq!(for_peer_port(6379).map(|r| r.id), Some("redis-clients"));
        assert_eq!(for_peer_port(3306).map(|r| r.id), Some("mysql-clients"));
        assert!(BY_PEER_PORT.iter().all(|(_, id)| recipe(id).is_some()));
        assert!(for_peer_port(80).is_none());
    }
}
