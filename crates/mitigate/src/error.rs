use std::io;

/// What went wrong, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// nft is not there.
    #[error(
        "nft is not installed: install nftables (Debian and Ubuntu: apt install nftables; RHEL: dnf install nftables)"
    )]
    NoNft,
    /// The kernel has no nf_tables, or not what a limit needs of it.
    #[error(
        "this kernel cannot do it: nft says {0:?} (nf_tables with sets that time out and take elements from packets is needed, as in 4.3 or later: CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET, CONFIG_NFT_LIMIT)"
    )]
    NoNfTables(String),
    /// CAP_NET_ADMIN is missing.
    #[error(
        "cannot {operation}: it needs root, or CAP_NET_ADMIN in the user namespace that owns the network namespace"
    )]
    Denied {
        /// What was wanted, as it follows "cannot": `destroy sockets`.
        operation: &'static str,
    },
    /// A table of this name is there and is somebody else's.
    #[error(
        "the table `inet linger` is there and is not linger's own: {0}; look at it with `nft list table inet linger`"
    )]
    Foreign(String),
    /// The kernel was built without SOCK_DESTROY.
    #[error("this kernel cannot destroy {0}")]
    NoDestroy(&'static str),
    /// nft failed.
    #[error("nft failed: {0}")]
    Nft(String),
    /// What nft printed, or the kernel answered, was not understood.
    #[error("an answer was not understood: {0}")]
    Malformed(String),
    /// The system refused.
    #[error("cannot {operation}: {error}")]
    System {
        /// What was tried, as it follows "cannot".
        operation: &'static str,
        /// The system's answer.
        error: io::Error,
    },
    /// The journal can't be kept.
    #[error(transparent)]
    Journal(#[from] linger_tune::Error),
    /// Another process is at it.
    #[error("another linger mitigates at the moment; wait for it")]
    Busy,
    /// The namespace cannot be entered.
    #[error(transparent)]
    Netns(#[from] linger_netns::Error),
}

impl Error {
    pub(crate) fn system(operation: &'static str, error: impl Into<io::Error>) -> Error {
        Error::System { operation, error: error.into() }
    }
}
