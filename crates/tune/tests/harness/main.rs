//! The engine against the real kernel, in namespaces made here, and against folders in the place of `/proc/sys`.

mod kills;
mod support;
mod ways;
