//! The eBPF tool chain: a compiler with its library source, and a bpf-linker on the same LLVM.

use super::distribution::Distribution;
use crate::run;
use crate::toolchain::{self, Compiler, Linker};
use anyhow::Result;
use std::process::Command;

/// What is built, for messages.
pub const LINKER: &str = "bpf-linker 0.13.0";
const LINKER_VERSION: &str = "0.13.0";

/// LLVM of Debian's compiler, for a machine that has no compiler for eBPF yet.
const DEBIAN_LLVM: u32 = 22;
const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "rust-web-src"];

/// LLVM releases that this bpf-linker can be built with.
const LINKER_LLVMS: std::ops::RangeInclusive<u32> = 21..=23;

/// What of the tool chain is there.
#[derive(Debug)]
pub struct State {
    compiler: Option<Compiler>,
    linker: Option<Linker>,
}

impl State {
    /// Looks at this machine, in the order in which the agent's build looks.
    pub fn find() -> Self {
        Self {
            compiler: toolchain::find_compiler(),
            linker: toolchain::find_linker(),
        }
    }

    /// A compiler is there, and a linker that fits it.
    pub fn is_ready(&self) -> bool {
        self.compiler.is_some() && !self.needs_linker_build()
    }

    /// bpf-linker is missing, or is on another LLVM than the compiler (to be).
    pub fn needs_linker_build(&self) -> bool {
        self.linker
            .as_ref()
            .is_none_or(|linker| linker.llvm.is_some_and(|llvm| llvm != self.llvm()))
    }

    fn llvm(&self) -> u32 {
        self.compiler
            .as_ref()
            .map_or(DEBIAN_LLVM, |compiler| compiler.llvm)
    }

    fn has_llvm(&self) -> bool {
        std::path::Path::new(&self.llvm_prefix())
            .join("include/llvm-c/Core.h")
            .is_file()
    }

    fn llvm_prefix(&self) -> String {
        format!("/usr/lib/llvm-{}", self.llvm())
    }

    /// Packages that are missing for it.
    pub fn packages(&self, distribution: Distribution) -> &'static [&'static str] {
        if distribution != Distribution::Debian {
            return &[];
        }
        let needs_llvm = self.needs_linker_build() && !self.has_llvm();
        match (self.compiler.is_some(), needs_llvm, self.llvm()) {
            (true, false, _) => &[],
            (false, false, _) => DEBIAN_PACKAGES,
            (true, true, 21) => &["llvm-21-dev", "libpolly-21-dev"],
            (true, true, 23) => &["llvm-23-dev", "libpolly-23-dev"],
            (true, true, _) => &["llvm-22-dev", "libpolly-22-dev"],
            (false, true, _) => &["rustc-web", "rust-web-src", "llvm-22-dev", "libpolly-22-dev"],
        }
    }

    /// What is missing or does not fit, in words.
    pub fn explain(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.compiler.is_none() {
            lines.push(
                "eBPF compiler: a Rust compiler with its library source (rustup's nightly with rust-src, or the \
                 distribution's rustc); rustup's stable toolchain brings no such source here"
                    .to_owned(),
            );
        }
        match (&self.linker, &self.compiler) {
            (None, _) => lines.push("bpf-linker: links the kernel programs".to_owned()),
            (Some(linker), Some(compiler)) if self.needs_linker_build() => lines.push(format!(
                "bpf-linker: {} is built on LLVM {}, but {} is on LLVM {}; objects of one are not read right by \
                 the other",
                linker.path.display(),
                linker.llvm.unwrap_or_default(),
                compiler.rustc.display(),
                compiler.llvm
            )),
            _ => {}
        }
        lines
    }

    /// Builds bpf-linker where it is missing or does not fit.
    pub fn install_linker(&self) -> Result<()> {
        if !self.needs_linker_build() {
            return Ok(());
        }
        let mut command = run::cargo();
        command.current_dir(std::env::temp_dir());
        command
            .env("LLVM_PREFIX", self.llvm_prefix())
            .env("CXXSTDLIB", "stdc++")
            .args(self.install_arguments());
        forget_outer_cargo(&mut command);
        run::with_progress(
            &format!("building {LINKER} for LLVM {}", self.llvm()),
            &mut command,
        )
    }

    fn install_arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = ["install", "bpf-linker", "--version", LINKER_VERSION]
            .map(str::to_owned)
            .into();
        arguments.extend([
            "--no-default-features".to_owned(),
            "--features".to_owned(),
            format!("llvm-{}", self.llvm()),
        ]);
        arguments.extend(["--locked".to_owned(), "--force".to_owned()]);
        arguments
    }

    /// Commands for a machine on which nothing is installed automatically.
    pub fn instructions(&self, distribution: Distribution) -> Vec<String> {
        let mut lines = Vec::new();
        if self.compiler.is_none() && distribution != Distribution::Debian {
            lines.push("rustup toolchain install nightly --component rust-src".to_owned());
        }
        if !self.needs_linker_build() {
            return lines;
        }
        if self.compiler.is_none() && distribution != Distribution::Debian {
            lines.push(
                "rustc +nightly -vV    # says the LLVM version NN, of which bpf-linker needs the same"
                    .to_owned(),
            );
            lines.push(match distribution {
                Distribution::Fedora => {
                    "sudo dnf install llvm-devel    # check: llvm-config --version says NN".to_owned()
                }
                Distribution::Arch => {
                    "sudo pacman -S llvm polly    # check: llvm-config --version says NN".to_owned()
                }
                _ => "install the development files of LLVM NN with Polly".to_owned(),
            });
            lines.push(format!(
                "LLVM_PREFIX=$(llvm-config --prefix) CXXSTDLIB=stdc++ cargo install bpf-linker --version \
                 {LINKER_VERSION} --no-default-features --features llvm-NN --locked    # NN: {} to {}",
                LINKER_LLVMS.start(),
                LINKER_LLVMS.end()
            ));
            return lines;
        }
        lines.push(format!(
            "LLVM_PREFIX={} CXXSTDLIB=stdc++ cargo {}",
            self.llvm_prefix(),
            self.install_arguments().join(" ")
        ));
        lines
    }
}

/// The tool chain and flags of the xtask's own build must not leak into an unrelated one.
fn forget_outer_cargo(command: &mut Command) {
    for variable in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
        "RUSTC",
        "RUSTC_WRAPPER",
    ] {
        command.env_remove(variable);
    }
}
