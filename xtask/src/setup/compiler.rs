//! The eBPF tool chain: a compiler with its library source, and a bpf-linker on the same LLVM.
//!
//! What is there is found by the module that the agent's build script uses, so that both agree.

#[path = "../../../agent/build/toolchain.rs"]
#[expect(dead_code, reason = "the build script uses more of it")]
mod toolchain;

use super::distribution::Distribution;
use crate::run;
use anyhow::Result;
use std::path::Path;
use toolchain::Missing;

/// What is built, for messages.
pub const LINKER: &str = "bpf-linker 0.13.0";
const LINKER_VERSION: &str = "0.13.0";
/// LLVM releases that this bpf-linker can be built with.
const LINKER_LLVMS: std::ops::RangeInclusive<u32> = 21..=23;

/// Debian 12's compiler for web browsers, the only recent one there, and its LLVM.
const DEBIAN_LLVM: u32 = 22;
const DEBIAN_COMPILER: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];
const DEBIAN_LLVM_PACKAGES: &[&str] = &["llvm-22-dev", "libpolly-22-dev"];

/// What of the tool chain is missing, if anything.
#[derive(Debug)]
pub struct State {
    missing: Option<Missing>,
}

impl State {
    /// Looks at this machine, in the order in which the agent's build looks.
    pub fn find() -> Self {
        Self {
            missing: toolchain::find().err(),
        }
    }

    /// A compiler is there, and a linker that fits it.
    pub fn is_ready(&self) -> bool {
        self.missing.is_none()
    }

    /// bpf-linker is missing, or fits no compiler that is there.
    pub fn needs_linker_build(&self) -> bool {
        match &self.missing {
            None => false,
            Some(Missing::Linker | Missing::Mismatch { .. }) => true,
            // The compiler that will be installed may not fit the linker that is there.
            Some(Missing::Compiler(_)) => {
                let linker = toolchain::find_linker().and_then(|linker| toolchain::linker_llvm(&linker));
                linker.is_some_and(|llvm| llvm != DEBIAN_LLVM)
            }
        }
    }

    /// The LLVM that a new linker is built for: that of a compiler whose LLVM is installed, else Debian's.
    fn llvm(&self) -> u32 {
        let compilers = match &self.missing {
            Some(Missing::Mismatch { compilers, .. }) => compilers.as_slice(),
            _ => &[],
        };
        let usable = |llvm: &u32| LINKER_LLVMS.contains(llvm) && has_llvm(*llvm);
        compilers
            .iter()
            .map(|(_, llvm)| *llvm)
            .find(usable)
            .unwrap_or(DEBIAN_LLVM)
    }

    /// Debian packages that are missing for it.
    pub fn packages(&self) -> Vec<&'static str> {
        let mut packages = Vec::new();
        if self.is_ready() {
            return packages;
        }
        if !Path::new("/usr/bin/rustc").is_file()
            || !Path::new("/usr/bin/cargo").is_file()
            || matches!(self.missing, Some(Missing::Compiler(_)))
        {
            packages.extend(DEBIAN_COMPILER);
        }
        if self.needs_linker_build() && !has_llvm(self.llvm()) {
            packages.extend(DEBIAN_LLVM_PACKAGES);
        }
        packages
    }

    /// What is missing or does not fit, in words.
    pub fn explain(&self) -> Option<String> {
        self.missing
            .as_ref()
            .map(|missing| format!("tools for the kernel programs: {missing}"))
    }

    /// Builds bpf-linker where it is missing or does not fit.
    pub fn install_linker(&self) -> Result<()> {
        if !self.needs_linker_build() {
            return Ok(());
        }
        let mut command = run::cargo();
        command.current_dir(std::env::temp_dir());
        command
            .env("LLVM_PREFIX", prefix(self.llvm()))
            .env("CXXSTDLIB", "stdc++")
            .args(self.install_arguments());
        // The tool chain and flags of the xtask's own build must not leak into an unrelated one.
        for variable in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_TARGET_DIR",
            "RUSTC",
            "RUSTC_WRAPPER",
        ] {
            command.env_remove(variable);
        }
        run::with_progress(
            &format!("building {LINKER} for LLVM {}", self.llvm()),
            &mut command,
        )
    }

    fn install_arguments(&self) -> Vec<String> {
        let features = format!("llvm-{}", self.llvm());
        [
            "install",
            "bpf-linker",
            "--version",
            LINKER_VERSION,
            "--no-default-features",
            "--features",
            &features,
        ]
        .into_iter()
        .chain(["--locked", "--force"])
        .map(str::to_owned)
        .collect()
    }

    /// Commands for a machine on which nothing is installed automatically.
    pub fn instructions(&self, distribution: Distribution) -> Vec<String> {
        let linker = |prefix: &str, features: &str| {
            format!(
                "LLVM_PREFIX={prefix} CXXSTDLIB=stdc++ cargo install bpf-linker --version {LINKER_VERSION} \
                 --no-default-features --features {features} --locked --force"
            )
        };
        match (&self.missing, distribution) {
            (None, _) => Vec::new(),
            (Some(_), Distribution::Debian) if self.needs_linker_build() => {
                vec![linker(&prefix(self.llvm()), &format!("llvm-{}", self.llvm()))]
            }
            (Some(_), Distribution::Debian) => Vec::new(),
            (Some(_), _) => {
                let llvm = match distribution {
                    Distribution::Fedora => "sudo dnf install llvm-devel",
                    Distribution::Arch => "sudo pacman -S --needed llvm polly",
                    Distribution::Debian | Distribution::Other => {
                        "install LLVM's development files, with Polly"
                    }
                };
                let (first, last) = (LINKER_LLVMS.start(), LINKER_LLVMS.end());
                vec![
                    "rustup toolchain install nightly --component rust-src".to_owned(),
                    format!(
                        "rustc +nightly -vV     # its LLVM, NN: bpf-linker needs the same one ({first} to {last})"
                    ),
                    format!("{llvm}     # `llvm-config --version` must say NN"),
                    linker("$(llvm-config --prefix)", "llvm-NN"),
                ]
            }
        }
    }
}

fn prefix(llvm: u32) -> String {
    format!("/usr/lib/llvm-{llvm}")
}

fn has_llvm(llvm: u32) -> bool {
    Path::new(&prefix(llvm)).join("include/llvm-c/Core.h").is_file()
}
