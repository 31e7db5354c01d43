//! Debian's kernels: fetched and unpacked, never installed; and their modules.

use crate::sh;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An unpacked kernel.
pub struct Kernel {
    /// As `uname -r` will say.
    pub release: String,
    /// The image to boot.
    pub image: PathBuf,
    /// `lib/modules/RELEASE`
    modules: PathBuf,
}

/// Modules as a guest needs them, with what they depend on.
#[derive(Debug, Default)]
pub struct Modules {
    /// Decompressed, by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// What each needs to be there before it, by name; the whole chain.
    pub needs: BTreeMap<String, Vec<String>>,
}

/// The newest kernel of a series such as `6.12`, from what is unpacked under `folder` or from Debian.
///
/// # Errors
/// One sentence on why this machine cannot have it.
pub fn fetch(series: &str, folder: &Path) -> Result<Kernel> {
    ensure!(
        series.split('.').count() == 2
            && series.split('.').all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())),
        "{series:?} is no series of kernels; one is written like 6.12"
    );
    let may_update = rustix::process::geteuid().is_root();
    let here = unpacked(series, folder);
    let mut newest = newest(series, offered(series)?);
    if newest.is_none() && here.is_none() && may_update {
        // A fresh machine knows no packages.
        sh::run(Command::new("apt-get").args(["--quiet", "update"]))?;
        newest = self::newest(series, offered(series)?);
    }
    let package = match (newest, here) {
        (Some(newest), here) if here.as_ref() != Some(&newest) => {
            let first = download(&newest, folder);
            // An old machine knows packages that are gone.
            let got = match first {
                Err(_) if here.is_none() && may_update => {
                    sh::run(Command::new("apt-get").args(["--quiet", "update"]))?;
                    let newest = self::newest(series, offered(series)?).unwrap_or(newest);
                    download(&newest, folder).map(|()| newest)
                }
                other => other.map(|()| newest),
            };
            match (got, here) {
                (Ok(got), _) => got,
                (Err(error), Some(here)) => {
                    eprintln!("{error:#}\nso the one that is unpacked is used: {here}");
                    here
                }
                (Err(error), None) => return Err(error),
            }
        }
        (_, Some(here)) => here,
        (_, None) => bail!(
            "apt knows no package linux-image-{series}.*-cloud-amd64: it is in Debian's main archive or its security \
             archive, whose lists `apt-get update` reads"
        ),
    };
    Kernel::unpacked(&package, folder)
}

impl Kernel {
    fn unpacked(package: &str, folder: &Path) -> Result<Kernel> {
        let release = package.strip_prefix("linux-image-").context("a kernel's package")?.to_owned();
        let root = folder.join(package);
        // Bookworm's kernels keep their modules in /lib, later ones in /usr/lib.
        let modules = ["lib/modules", "usr/lib/modules"].map(|place| root.join(place).join(&release));
        let modules = modules.into_iter().find(|modules| modules.is_dir());
        let modules = modules.with_context(|| format!("{package} holds no modules"))?;
        let image = root.join("boot").join(format!("vmlinuz-{release}"));
        ensure!(image.is_file(), "{package} holds no {}", image.display());
        Ok(Kernel { release, image, modules })
    }

    /// Reads these modules and all that they need. What is built in is left out.
    pub fn modules(&self, names: &[&str]) -> Result<Modules> {
        let mut paths = BTreeMap::new();
        collect(&self.modules.join("kernel"), &mut paths)?;
        let builtin = self.modules.join("modules.builtin");
        let builtin = fs::read_to_string(&builtin).with_context(|| format!("{}", builtin.display()))?;
        let builtin: BTreeSet<String> = builtin.lines().filter_map(|path| name(Path::new(path))).collect();
        let mut modules = Modules::default();
        for name in names.iter().filter(|name| !builtin.contains(**name)) {
            self.add(name, &paths, &mut modules)?;
        }
        Ok(modules)
    }

    fn add(&self, name: &str, paths: &BTreeMap<String, PathBuf>, modules: &mut Modules) -> Result<()> {
        if modules.files.contains_key(name) {
            return Ok(());
        }
        let path = paths.get(name).with_context(|| format!("{} has no module {name}", self.release))?;
        let content = if path.extension().is_some_and(|extension| extension == "xz") {
            let mut xz = Command::new("xz");
            let output = xz.args(["--decompress", "--stdout"]).arg(path).output();
            let output = output.context("xz could not be started: install Debian's package xz-utils")?;
            ensure!(
                output.status.success(),
                "{}: {}",
                path.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            output.stdout
        } else {
            fs::read(path).with_context(|| format!("{}", path.display()))?
        };
        let direct =
            depends(&content).with_context(|| format!("{} names no dependencies", path.display()))?;
        modules.files.insert(name.to_owned(), content);
        let mut needs: Vec<String> = Vec::new();
        for need in direct {
            self.add(&need, paths, modules)?;
            // The nearest comes first, and what it needs after it, as depmod writes it.
            let chain = modules.needs.get(&need).cloned().unwrap_or_default();
            for need in [need].into_iter().chain(chain) {
                needs.retain(|known| *known != need);
                needs.push(need);
            }
        }
        modules.needs.insert(name.to_owned(), needs);
        Ok(())
    }
}

/// A module's name, from that of its file: an underscore for each hyphen.
fn name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let stem = file.strip_suffix(".xz").unwrap_or(file).strip_suffix(".ko")?;
    Some(stem.replace('-', "_"))
}

fn collect(folder: &Path, paths: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if let Some(name) = name(&path) {
            paths.insert(name, path);
        }
    }
    Ok(())
}

/// The modules that a module names in its section `.modinfo`, whose strings end in a zero each.
fn depends(module: &[u8]) -> Option<Vec<String>> {
    const KEY: &[u8] = b"\0depends=";
    let start = module.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let value = module[start..].split(|byte| *byte == 0).next()?;
    let value = std::str::from_utf8(value).ok()?;
    Some(value.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

/// Names of a series' packages that hold signed kernels for clouds.
fn offered(series: &str) -> Result<Vec<String>> {
    let pattern = format!(r"^linux-image-{}\..*-cloud-amd64$", series.replace('.', r"\."));
    let listed = sh::output(Command::new("apt-cache").args(["search", "--names-only", &pattern]))?;
    Ok(listed.lines().filter_map(|line| Some(line.split_once(" - ")?.0.to_owned())).collect())
}

/// The highest version of this series among names of packages.
fn newest(series: &str, packages: Vec<String>) -> Option<String> {
    let prefix = format!("linux-image-{series}.");
    let numbers = |package: &String| -> Vec<u64> {
        package.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    };
    packages.into_iter().filter(|p| p.starts_with(&prefix) && p.ends_with("-cloud-amd64")).max_by_key(numbers)
}

fn unpacked(series: &str, folder: &Path) -> Option<String> {
    let entries = fs::read_dir(folder).ok()?;
    newest(series, entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

/// Fetches a package with apt, which checks its signature, and unpacks it as `folder`/PACKAGE.
fn download(package: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    // Whatever fails leaves nothing that looks unpacked.
    let temporary = tempfile::tempdir_in(folder).context("a temporary folder")?;
    let mut apt = Command::new("apt-get");
    // As root apt would change to a user that may not write there, and warn.
    apt.args(["--quiet", "--option", "APT::Sandbox::User=root", "download", package]);
    sh::run(apt.current_dir(temporary.path())).with_context(|| {
        format!("{package} cannot be downloaded: without a network, or with old lists of packages")
    })?;
    let mut files = fs::read_dir(temporary.path())?.filter_map(|entry| Some(entry.ok()?.path()));
    let deb = files.find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let deb = deb.with_context(|| format!("apt-get downloaded no {package}"))?;
    let tree = temporary.path().join("tree");
    sh::run(Command::new("dpkg-deb").arg("--extract").arg(&deb).arg(&tree))?;
    fs::rename(&tree, folder.join(package)).with_context(|| format!("{}", folder.join(package).display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_told_by_its_numbers() {
        let packages = [
            "linux-image-6.12-cloud-amd64",
            "linux-image-6.12.99+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64-unsigned",
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
        ];
        let newest = |series| super::newest(series, packages.map(str::to_owned).to_vec());
        assert_eq!(newest("6.12").as_deref(), Some("linux-image-6.12.117+deb12-cloud-amd64"));
        assert_eq!(newest("6.1").as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(newest("6.18"), None);
    }

    #[test]
    fn dependencies_are_read_from_a_module() {
        assert_eq!(
            depends(b"\x7fELF\0license=GPL\0depends=nf_conntrack,x-tables\0retpoline=Y\0"),
            Some(vec!["nf_conntrack".to_owned(), "x_tables".to_owned()])
        );
        assert_eq!(depends(b"\x7fELF\0license=GPL\0depends=\0retpoline=Y\0"), Some(vec![]));
        assert_eq!(depends(b"\x7fELF\0license=GPL\0"), None);
    }

    #[test]
    fn a_module_is_named_by_its_file() {
        assert_eq!(name(Path::new("kernel/net/xt_TCPOPTSTRIP.ko.xz")).as_deref(), Some("xt_TCPOPTSTRIP"));
        assert_eq!(name(Path::new("kernel/lib/crc32c-intel.ko")).as_deref(), Some("crc32c_intel"));
        assert_eq!(name(Path::new("modules.order")), None);
    }
}
