//! Which distribution this is, and how one installs packages there.

use super::requirement::Requirement;

/// A family of distributions that share a package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Debian and Ubuntu.
    Debian,
    /// Fedora and its relatives.
    Fedora,
    /// Arch.
    Arch,
    /// Any other.
    Other,
}

impl Distribution {
    /// Reads os-release(5).
    pub fn of_this_machine() -> Self {
        Self::of(&std::fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    fn of(os_release: &str) -> Self {
        let ids = os_release
            .lines()
            .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
            .flat_map(|value| value.trim_matches('"').split(' '));
        for id in ids {
            match id {
                "debian" | "ubuntu" => return Self::Debian,
                "fedora" | "rhel" | "centos" => return Self::Fedora,
                "arch" => return Self::Arch,
                _ => {}
            }
        }
        Self::Other
    }

    /// For messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian => "Debian or Ubuntu",
            Self::Fedora => "Fedora or a relative",
            Self::Arch => "Arch Linux or a relative",
            Self::Other => "an unknown distribution",
        }
    }

    /// Whether `setup` installs packages by itself here.
    pub fn can_install(self) -> bool {
        self == Self::Debian
    }

    /// The packages that bring a requirement.
    pub fn packages(self, requirement: &Requirement) -> &'static [&'static str] {
        match self {
            Self::Debian => requirement.debian,
            Self::Fedora => requirement.fedora,
            Self::Arch => requirement.arch,
            Self::Other => &[],
        }
    }

    /// Commands that install packages.
    pub fn instructions(self, packages: &[&str]) -> Vec<String> {
        let list = packages.join(" ");
        match self {
            _ if packages.is_empty() && self != Self::Other => Vec::new(),
            Self::Debian => vec![
                "sudo apt-get update".to_owned(),
                format!("sudo apt-get install --no-install-recommends {list}"),
            ],
            Self::Fedora => vec![format!("sudo dnf install {list}")],
            Self::Arch => vec![format!("sudo pacman -S --needed {list}")],
            Self::Other => vec![
                "install with your package manager: a C compiler, runc, rsyslog with its OpenSSL network driver"
                    .to_owned(),
                "and, for the tests, Python 3 with venv and pip, and qemu, e2fsprogs, kmod, xz and zstd".to_owned(),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(os_release: &str, expected: Distribution) {
        assert_eq!(Distribution::of(os_release), expected, "{os_release}");
    }

    #[test]
    fn families_are_recognised_by_id_or_by_likeness() {
        check("ID=debian\nVERSION_ID=\"12\"\n", Distribution::Debian);
        check("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Distribution::Debian);
        check(
            "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
            Distribution::Fedora,
        );
        check("ID=manjaro\nID_LIKE=arch\n", Distribution::Arch);
        check("ID=nixos\n", Distribution::Other);
        check("", Distribution::Other);
    }

    #[test]
    fn every_requirement_has_packages_for_each_known_family() {
        for requirement in super::super::requirement::REQUIREMENTS {
            for family in [Distribution::Debian, Distribution::Fedora, Distribution::Arch] {
                assert!(
                    !family.packages(requirement).is_empty(),
                    "{} on {}",
                    requirement.name,
                    family.name()
                );
            }
        }
    }
}
