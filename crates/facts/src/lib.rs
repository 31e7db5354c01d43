//! What the kernel's TCP states, counters, sysctls and errnos are, by version, with sources.
