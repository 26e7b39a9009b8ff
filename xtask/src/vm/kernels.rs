//! The kernels of the matrix.

use super::debian::{Repository, Source};
use anyhow::{Result, bail};

/// A kernel and how it is booted.
#[derive(Debug)]
pub struct Kernel {
    /// As it is called on the command line and in the results.
    pub name: &'static str,
    /// Folder of the package, which kernels that differ in their parameters alone share.
    pub package: &'static str,
    /// Where in Debian it comes from.
    pub sources: &'static [Source],
    /// What is added to the kernel's command line.
    pub parameters: &'static str,
    /// Whether the end-to-end tests run on it unless told otherwise.
    pub end_to_end: bool,
    /// What it stands for.
    pub why: &'static str,
}

const fn main(suite: &'static str) -> Source {
    Source::new(Repository::Main, suite)
}

const fn security(suite: &'static str) -> Source {
    Source::new(Repository::Security, suite)
}

const BULLSEYE: &[Source] = &[security("bullseye-security")];

/// From the oldest that is supported to the newest that Debian has.
pub const KERNELS: &[Kernel] = &[
    Kernel {
        name: "5.10",
        package: "5.10",
        sources: BULLSEYE,
        parameters: "",
        end_to_end: false,
        why: "Debian 11; BPF is not among its active security modules",
    },
    Kernel {
        name: "5.10+lsm",
        package: "5.10",
        sources: BULLSEYE,
        parameters: "lsm=lockdown,capability,yama,bpf",
        end_to_end: false,
        why: "Debian 11 with BPF among the security modules",
    },
    Kernel {
        name: "6.1",
        package: "6.1",
        sources: &[main("bookworm"), security("bookworm-security")],
        parameters: "",
        end_to_end: false,
        why: "Debian 12",
    },
    Kernel {
        name: "6.12",
        package: "6.12",
        sources: &[main("trixie"), security("trixie-security")],
        parameters: "",
        end_to_end: true,
        why: "Debian 13",
    },
    Kernel {
        name: "newest",
        package: "newest",
        // Kernels alone are taken from here, and mirrors keep what they have longer than it says it is valid.
        sources: &[main("sid").however_old()],
        parameters: "",
        end_to_end: false,
        why: "the newest that Debian has",
    },
];

/// The kernels of these names; all where there are none.
pub fn named(names: &[String]) -> Result<Vec<&'static Kernel>> {
    if names.is_empty() {
        return Ok(KERNELS.iter().collect());
    }
    names.iter().map(|name| one(name)).collect()
}

fn one(name: &str) -> Result<&'static Kernel> {
    let found = KERNELS.iter().find(|kernel| kernel.name == name);
    match found {
        Some(kernel) => Ok(kernel),
        None => {
            let known: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
            bail!("there is no kernel `{name}`; there are: {}", known.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_is_not_there_is_answered_with_those_that_are() {
        let error = named(&["4.19".to_owned()]).unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no kernel `4.19`; there are: 5.10, 5.10+lsm, 6.1, 6.12, newest"
        );
    }
}
