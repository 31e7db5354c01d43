//! For whom the files are, and what is known of that host.

use super::effective::Loader;
use super::key::Key;
use linger_facts::{Role, Version};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of the host. What is not known is not guessed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// Its kernel.
    pub kernel: Option<Version>,
    /// Its memory in bytes, as MemTotal has it.
    pub ram_bytes: Option<u64>,
    /// What it does.
    pub role: Option<Role>,
    /// Whether the files are for a network namespace other than the host's first one.
    pub in_container: Option<bool>,
    /// Who reads the files at boot.
    pub boot: Option<Loader>,
    /// What the running host says.
    pub live: Option<Live>,
}

/// What the running host says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// Running values, as /proc/sys shows them.
    pub values: BTreeMap<Key, String>,
    /// Keys that were looked for and are not there.
    pub absent: BTreeSet<Key>,
    /// Sockets that listen.
    pub listeners: Vec<Listener>,
    /// TcpExt.ListenOverflows of the namespace.
    pub listen_overflows: Option<u64>,
    /// How many other network namespaces there are.
    pub other_namespaces: Option<usize>,
}

/// A socket that listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What it is called: `nginx on 0.0.0.0:443`.
    pub label: String,
    /// Its port.
    pub port: u16,
    /// The limit of its accept queue.
    pub limit: u32,
    /// Connections it dropped since it was opened, where that is known.
    pub drops: Option<u64>,
}
