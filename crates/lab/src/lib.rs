//! Incidents reproduced in network namespaces that vanish.
