use std::fmt;

/// What a host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// An API gateway, a NAT gateway.
    Gateway,
    /// A load balancer.
    Proxy,
    /// Of whatever protocol.
    Server,
    /// Of whatever protocol.
    Client,
    /// One of many services that call each other.
    MeshNode,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 5] = [Role::Gateway, Role::Proxy, Role::Server, Role::Client, Role::MeshNode];

    /// `gateway`, `proxy`, `server`, `client`, `mesh-node`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Role::Gateway => "gateway",
            Role::Proxy => "proxy",
            Role::Server => "server",
            Role::Client => "client",
            Role::MeshNode => "mesh-node",
        }
    }

    /// What such a host does, in a line without a full stop.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Role::Gateway => "Takes many short connections and makes as many",
            Role::Proxy => "Accepts many connections and makes many towards few backends",
            Role::Server => "Accepts connections",
            Role::Client => "Makes connections",
            Role::MeshNode => "Runs containers that talk to each other",
        }
    }

    /// The role of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own() {
        for role in Role::ALL {
            assert_eq!(Role::named(role.name()), Some(role));
            assert!(!role.meaning().is_empty() && !role.meaning().ends_with('.'), "{role}");
        }
        assert_eq!(Role::named("Gateway"), None);
    }
}
