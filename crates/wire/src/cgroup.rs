//! From a cgroup's path to the container, or the systemd unit, that it belongs to.

use linger_model::snapshot::{Container, ContainerKind};

/// The path worth showing from /proc/PID/cgroup: the unified hierarchy's (`0::/…`) unless it is the root and a v1
/// hierarchy says more.
pub fn path(text: &str) -> Option<&str> {
    let mut unified = None;
    let mut deepest: Option<&str> = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        if id == "0" && controllers.is_empty() {
            unified = Some(path);
        } else if deepest.is_none_or(|d| path.len() > d.len()) {
            deepest = Some(path);
        }
    }
    match unified {
        Some("/") | None => deepest.or(unified),
        found => found,
    }
}

/// Recognises docker, containerd, CRI-O and podman with both cgroup drivers (systemd and cgroupfs), Kubernetes pods,
/// and systemd units.
pub fn container(path: &str) -> Option<Container> {
    let pod = path.split('/').find_map(pod_uid);
    for part in path.rsplit('/').filter(|p| !p.is_empty()) {
        let name = part.strip_suffix(".scope").unwrap_or(part);
        let known = [
            ("docker-", ContainerKind::Docker),
            ("cri-containerd-", ContainerKind::Containerd),
            ("nerdctl-", ContainerKind::Containerd),
            ("crio-", ContainerKind::Crio),
            ("libpod-", ContainerKind::Podman),
        ];
        for (prefix, kind) in known {
            if let Some(id) = name.strip_prefix(prefix).filter(|id| is_id(id)) {
                return Some(Container { kind, id: id.to_owned(), pod });
            }
        }
        if is_id(name) {
            // The cgroupfs driver has the bare id; the folder above says whose it is.
            let kind = match path {
                p if p.contains("/docker/") => ContainerKind::Docker,
                p if p.contains("/libpod_parent") || p.contains("/machine.slice/libpod") => {
                    ContainerKind::Podman
                }
                p if p.contains("/crio") => ContainerKind::Crio,
                p if p.contains("kubepods") || p.contains("/default/") || p.contains("/k8s.io/") => {
                    ContainerKind::Containerd
                }
                _ => continue,
            };
            return Some(Container { kind, id: name.to_owned(), pod });
        }
    }
    let unit = path.split('/').rev().find(|p| p.ends_with(".service") || p.ends_with(".scope"))?;
    Some(Container { kind: ContainerKind::SystemdUnit, id: unit.to_owned(), pod: None })
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// `kubepods-burstable-pod1234_5678.slice` or `pod1234-5678`.
fn pod_uid(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match name.strip_prefix("pod") {
        Some(uid) => uid,
        None if name.starts_with("kubepods") => name.split("-pod").nth(1)?,
        None => return None,
    };
    let plausible = uid.len() >= 32 && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'_' || b == b'-');
    plausible.then(|| uid.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "3fdf1b0b0e5b4c3a8d9e1f20304050607080900aabbccddeeff0011223344556";

    #[test]
    fn containers_are_recognised_with_both_drivers() {
        let kind = |path: &str| container(&path.replace("ID", ID)).map(|c| (c.kind, c.pod.is_some()));
        assert_eq!(kind("/system.slice/docker-ID.scope"), Some((ContainerKind::Docker, false)));
        assert_eq!(kind("/docker/ID"), Some((ContainerKind::Docker, false)));
        assert_eq!(kind("/docker/ID/init.scope"), Some((ContainerKind::Docker, false)));
        assert_eq!(kind("/machine.slice/libpod-ID.scope/container"), Some((ContainerKind::Podman, false)));
        let pod = "pod12345678_1234_1234_1234_123456789012";
        assert_eq!(
            kind(&format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-{pod}.slice/cri-containerd-ID.scope"
            )),
            Some((ContainerKind::Containerd, true))
        );
        assert_eq!(
            kind("/kubepods/besteffort/pod12345678-1234-1234-1234-123456789012/ID"),
            Some((ContainerKind::Containerd, true))
        );
        assert_eq!(
            kind("/kubepods.slice/kubepods-pod12345678_1234_1234_1234_123456789012.slice/crio-ID.scope"),
            Some((ContainerKind::Crio, true))
        );
        assert_eq!(kind("/system.slice/nginx.service"), Some((ContainerKind::SystemdUnit, false)));
        assert_eq!(kind("/"), None);
    }

    #[test]
    fn the_path_that_says_more_is_taken() {
        assert_eq!(path("0::/system.slice/nginx.service\n"), Some("/system.slice/nginx.service"));
        assert_eq!(path("4:memory:/docker/x\n0::/\n"), Some("/docker/x"));
        assert_eq!(path("nonsense"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,200}") {
            let _ = (path(&text), container(&text));
        }
    }
}
