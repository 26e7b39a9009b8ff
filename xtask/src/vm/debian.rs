//! Packages of any Debian release, downloaded and unpacked without touching what is installed.
//!
//! apt does it, from a folder of its own, so that signatures and checksums are checked as always. The mirror,
//! and whatever else is configured of how it is reached, is the machine's own.

use crate::run;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Which of Debian's archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repository {
    /// Releases and their updates.
    Main,
    /// Security updates.
    Security,
}

/// A suite of an archive.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    repository: Repository,
    suite: &'static str,
    however_old: bool,
}

impl Source {
    /// A suite whose index must be as fresh as it promises to be.
    pub const fn new(repository: Repository, suite: &'static str) -> Self {
        Self {
            repository,
            suite,
            however_old: false,
        }
    }

    /// The same with an index of any age.
    pub const fn however_old(self) -> Self {
        Self {
            however_old: true,
            ..self
        }
    }
}

/// A processor architecture by Debian's name and by those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// x86_64.
    Amd64,
    /// aarch64.
    Arm64,
}

impl Architecture {
    /// What Debian calls it.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The machine's own, or the one of this name.
    pub fn named(name: Option<&str>) -> Result<Self> {
        match name.unwrap_or(std::env::consts::ARCH) {
            "x86_64" | "amd64" => Ok(Self::Amd64),
            "aarch64" | "arm64" => Ok(Self::Arm64),
            other => bail!("no kernels are known for the architecture `{other}`, only x86_64 and aarch64"),
        }
    }

    /// Whether programs for it run here.
    pub fn is_of_this_machine(self) -> bool {
        Self::named(None).is_ok_and(|own| own == self)
    }

    /// What the kernel calls it.
    pub fn kernel(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// What Rust calls Linux on it.
    pub fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// What another machine needs to build for it and to emulate it.
    pub fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Amd64 => &["gcc-x86-64-linux-gnu", "libc6-dev-amd64-cross", "qemu-system-x86"],
            Self::Arm64 => &[
                "gcc-aarch64-linux-gnu",
                "libc6-dev-arm64-cross",
                "qemu-system-arm",
            ],
        }
    }

    /// The program that emulates it.
    pub fn qemu(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-system-x86_64",
            Self::Arm64 => "qemu-system-aarch64",
        }
    }

    /// qemu's name for the board.
    pub fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "pc",
            Self::Arm64 => "virt",
        }
    }

    /// The kernel's name for the console.
    pub fn console(self) -> &'static str {
        match self {
            Self::Amd64 => "ttyS0",
            Self::Arm64 => "ttyAMA0",
        }
    }
}

/// The machine's own Debian release and mirrors.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Code name of the release.
    pub release: &'static str,
    main: String,
    security: String,
}

/// Releases whose programs a guest of the same release can run.
const RELEASES: &[&str] = &["bullseye", "bookworm", "trixie", "forky", "sid"];

impl Mirror {
    /// Reads it from the machine's apt.
    pub fn of_this_machine() -> Result<Self> {
        if run::find_program("apt-get").is_none() {
            bail!("kernels and the guest's programs come from Debian by apt, which is not here");
        }
        if !Path::new(KEYRING).is_file() {
            bail!("{KEYRING} is not here; the package debian-archive-keyring brings it");
        }
        let system = fs::read_to_string("/etc/os-release").context("/etc/os-release")?;
        let targets = run::output(apt("apt-get").args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE)",
            "Created-By: Packages",
        ]))?;
        Self::of(&system, &targets)
    }

    fn of(os_release: &str, targets: &str) -> Result<Self> {
        let codename = os_release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .unwrap_or("sid");
        let release = RELEASES
            .iter()
            .find(|release| **release == codename)
            .with_context(|| format!("this is not a release of Debian but `{codename}`"))?;
        let uri = |suites: &[&str]| {
            let mut rows = targets.lines().filter_map(|line| line.split_once(' '));
            rows.find(|(_, suite)| suites.contains(suite))
                .map(|(uri, _)| uri.to_owned())
        };
        let main = uri(&[*release, "stable", "testing", "unstable"])
            .with_context(|| format!("apt has no source for {release} here"))?;
        // They are neighbours on every full mirror; a release that has no security updates has no source either.
        let security = uri(&[&format!("{release}-security"), "stable-security"])
            .unwrap_or_else(|| format!("{}-security/", main.trim_end_matches('/')));
        Ok(Self {
            release,
            main,
            security,
        })
    }

    /// Where the programs of the machine's own release come from.
    pub fn own_sources(&self) -> Vec<Source> {
        let mut sources = vec![Source::new(Repository::Main, self.release)];
        match self.release {
            "bookworm" => sources.push(Source::new(Repository::Security, "bookworm-security")),
            "trixie" => sources.push(Source::new(Repository::Security, "trixie-security")),
            _ => {}
        }
        sources
    }

    fn line(&self, source: &Source, architecture: Architecture) -> String {
        let uri = match source.repository {
            Repository::Main => &self.main,
            Repository::Security => &self.security,
        };
        let age = if source.however_old {
            " check-valid-until=no"
        } else {
            ""
        };
        format!(
            "deb [arch={} signed-by={KEYRING}{age}] {uri} {} main\n",
            architecture.debian(),
            source.suite
        )
    }
}

/// apt for one architecture with sources of its own, and nothing installed.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    architecture: Architecture,
}

impl Apt {
    /// Prepares `folder` and reads the indices.
    pub fn new(
        folder: &Path,
        mirror: &Mirror,
        sources: &[Source],
        architecture: Architecture,
    ) -> Result<Self> {
        for part in ["state/lists/partial", "cache/archives/partial", "sources.d"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        let lines: String = sources
            .iter()
            .map(|source| mirror.line(source, architecture))
            .collect();
        fs::write(folder.join("sources.list"), lines).context("cannot write sources.list")?;
        fs::write(folder.join("status"), "").context("cannot write an empty status file")?;
        let apt = Self {
            folder: folder.to_owned(),
            architecture,
        };
        run::output(apt.command("apt-get").args(["-q", "--error-on=any", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = apt(program);
        let folder = |part: &str| self.folder.join(part).display().to_string();
        for (key, value) in [
            ("Dir::State", folder("state")),
            ("Dir::State::status", folder("status")),
            ("Dir::Cache", folder("cache")),
            ("Dir::Etc::sourcelist", folder("sources.list")),
            ("Dir::Etc::sourceparts", folder("sources.d")),
            ("APT::Architecture", self.architecture.debian().to_owned()),
            ("APT::Architectures", self.architecture.debian().to_owned()),
            // The folder need not be one that apt's own user may enter.
            ("APT::Sandbox::User", "root".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
            ("Acquire::Retries", "2".to_owned()),
            ("Debug::NoLocking", "1".to_owned()),
        ] {
            command.arg("-o").arg(format!("{key}={value}"));
        }
        command
    }

    /// What a package depends on whose name starts with one of `prefixes`, directly or through another such.
    pub fn dependencies(&self, package: &str, prefixes: &[&str]) -> Result<Vec<String>> {
        let mut found = vec![package.to_owned()];
        let mut next = 0;
        while let Some(package) = found.get(next).cloned() {
            next += 1;
            let listing = run::output(
                self.command("apt-cache")
                    .args(["depends", "--important", &package]),
            )?;
            for line in listing.lines() {
                let name = line
                    .trim_start_matches([' ', '|'])
                    .strip_prefix("Depends: ")
                    .unwrap_or_default();
                let wanted = prefixes.iter().any(|prefix| name.starts_with(prefix));
                if wanted && !found.iter().any(|known| known == name) {
                    found.push(name.to_owned());
                }
            }
        }
        Ok(found)
    }

    /// Downloads just these packages.
    pub fn download(&self, packages: &[String]) -> Result<Vec<PathBuf>> {
        let archives = self.empty_archives()?;
        let mut command = self.command("apt-get");
        command
            .args(["-q", "download"])
            .args(packages)
            .current_dir(&archives);
        run::with_progress(&format!("downloading {}", packages.join(" ")), &mut command)?;
        packages_in(&archives)
    }

    /// Downloads these packages with everything that they need.
    pub fn download_with_dependencies(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let archives = self.empty_archives()?;
        let mut command = self.command("apt-get");
        command
            .args([
                "-q",
                "-y",
                "--no-install-recommends",
                "--download-only",
                "install",
            ])
            .args(packages);
        run::with_progress("downloading the guest's programs", &mut command)?;
        packages_in(&archives)
    }

    /// Drops what was downloaded: it is unpacked.
    pub fn forget(&self) -> Result<()> {
        self.empty_archives().map(drop)
    }

    fn empty_archives(&self) -> Result<PathBuf> {
        let archives = self.folder.join("cache/archives");
        for package in packages_in(&archives)? {
            fs::remove_file(&package).with_context(|| package.display().to_string())?;
        }
        Ok(archives)
    }
}

fn apt(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env("LC_ALL", "C")
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn packages_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            packages.push(path);
        }
    }
    packages.sort();
    Ok(packages)
}

/// Unpacks a package's files over what is in `root`, as the user who runs this.
pub fn unpack(package: &Path, root: &Path) -> Result<()> {
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let files = archive.stdout.take().context("dpkg-deb has no output")?;
    let unpacked = Command::new("tar")
        // Folders such as /bin are links, which a package that is older than the links must not replace.
        .args([
            "--extract",
            "--keep-directory-symlink",
            "--no-same-owner",
            "--directory",
        ])
        .arg(root)
        .stdin(files)
        .status()
        .context("cannot start tar")?;
    let read = archive.wait().context("cannot wait for dpkg-deb")?;
    if !unpacked.success() || !read.success() {
        bail!("cannot unpack {}", package.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGETS: &str = "https://elsewhere.example/apt other-bookworm\n\
        http://mirror.example/debian/ bookworm\n\
        http://mirror.example/debian/ bookworm-updates\n\
        http://mirror.example/debian-security/ bookworm-security\n";

    fn sources(os_release: &str, targets: &str) -> String {
        let mirror = match Mirror::of(os_release, targets) {
            Ok(mirror) => mirror,
            Err(error) => return error.to_string(),
        };
        let sources = mirror.own_sources();
        let lines = sources
            .iter()
            .map(|source| mirror.line(source, Architecture::Arm64));
        lines.collect::<String>().replace(KEYRING, "KEYS")
    }

    #[test]
    fn the_machines_own_mirror_is_used() {
        assert_eq!(
            sources("VERSION_CODENAME=bookworm\n", TARGETS),
            "deb [arch=arm64 signed-by=KEYS] http://mirror.example/debian/ bookworm main\n\
             deb [arch=arm64 signed-by=KEYS] http://mirror.example/debian-security/ bookworm-security main\n"
        );
    }

    #[test]
    fn a_mirror_without_security_updates_has_them_next_to_it() {
        assert_eq!(
            sources("VERSION_CODENAME=trixie\n", "http://m.example/debian/ trixie\n"),
            "deb [arch=arm64 signed-by=KEYS] http://m.example/debian/ trixie main\n\
             deb [arch=arm64 signed-by=KEYS] http://m.example/debian-security/ trixie-security main\n"
        );
    }

    #[test]
    fn what_is_not_debian_is_told() {
        assert_eq!(
            sources("VERSION_CODENAME=noble\n", TARGETS),
            "this is not a release of Debian but `noble`"
        );
    }

    #[test]
    fn an_index_that_may_be_old_is_marked() {
        let mirror = Mirror::of("VERSION_CODENAME=bookworm\n", TARGETS).unwrap();
        let sid = Source::new(Repository::Main, "sid").however_old();
        assert!(
            mirror
                .line(&sid, Architecture::Amd64)
                .contains("check-valid-until=no] http://mirror.example/debian/ sid main")
        );
    }
}
