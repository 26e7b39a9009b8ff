//! Finds what can build the kernel programs: a compiler for the BPF target and the linker that goes with it.
//!
//! Only std is used, because two programs include this file: the agent's build script and the xtask.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the compiler to use, as the path of a `rustc` whose library source is installed.
pub const RUSTC_OVERRIDE: &str = "NORMA_EBPF_RUSTC";

/// A compiler and a linker that go together.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// The compiler; its library source is installed.
    pub rustc: PathBuf,
    /// The cargo that goes with it.
    pub cargo: PathBuf,
    /// `bpf-linker`.
    pub linker: PathBuf,
    /// LLVM major version of both.
    pub llvm: u32,
}

/// Why the kernel programs cannot be built.
#[derive(Debug)]
pub enum Missing {
    /// No `bpf-linker` was found.
    Linker,
    /// No compiler with library source was found.
    Compiler(
        /// What was looked at, and why it would not do.
        Vec<String>,
    ),
    /// Compilers were found, but none with the LLVM of the linker.
    Mismatch {
        /// The linker.
        linker: PathBuf,
        /// Its LLVM major version.
        linker_llvm: u32,
        /// The compilers with theirs.
        compilers: Vec<(PathBuf, u32)>,
    },
}

impl fmt::Display for Missing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linker => write!(
                out,
                "bpf-linker is neither on PATH nor in cargo's bin directory: run `cargo xtask setup`"
            ),
            Self::Compiler(looked_at) => write!(
                out,
                "no compiler for the BPF target was found ({}); run `cargo xtask setup`, or install \
                 `rustup toolchain install nightly --component rust-src`, or name a rustc with library \
                 source in {RUSTC_OVERRIDE}",
                looked_at.join("; ")
            ),
            Self::Mismatch {
                linker,
                linker_llvm,
                compilers,
            } => {
                write!(
                    out,
                    "{} is built with LLVM {linker_llvm}, but the compilers with library source use another: ",
                    linker.display()
                )?;
                for (index, (rustc, llvm)) in compilers.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(out, "{comma}{} (LLVM {llvm})", rustc.display())?;
                }
                write!(
                    out,
                    ". Programs linked so lose their type information without a word. Run `cargo xtask \
                     setup`, or build bpf-linker with `--no-default-features --features llvm-N` for that N"
                )
            }
        }
    }
}

impl std::error::Error for Missing {}

/// Finds a compiler and a linker with the same LLVM.
///
/// Compilers are tried in this order: the one that [`RUSTC_OVERRIDE`] names, nightly toolchains of rustup
/// with `rust-src`, the distribution's `/usr/bin/rustc` with its library source.
///
/// # Errors
/// [`Missing`] names what is missing and how to get it.
pub fn find() -> Result<Toolchain, Missing> {
    let linker = find_linker().ok_or(Missing::Linker)?;
    let linker_llvm = linker_llvm(&linker);
    let mut looked_at = Vec::new();
    let mut mismatched = Vec::new();
    for rustc in candidates() {
        match inspect(&rustc) {
            Err(why) => looked_at.push(format!("{}: {why}", rustc.display())),
            // A linker that does not tell its LLVM gets the benefit of the doubt.
            Ok((cargo, llvm)) if linker_llvm.is_none_or(|linker| linker == llvm) => {
                return Ok(Toolchain {
                    rustc,
                    cargo,
                    linker,
                    llvm,
                });
            }
            Ok((_, llvm)) => mismatched.push((rustc, llvm)),
        }
    }
    match linker_llvm {
        Some(linker_llvm) if !mismatched.is_empty() => Err(Missing::Mismatch {
            linker,
            linker_llvm,
            compilers: mismatched,
        }),
        _ => Err(Missing::Compiler(looked_at)),
    }
}

/// `bpf-linker` on PATH or in cargo's bin directory.
pub fn find_linker() -> Option<PathBuf> {
    let mut directories: Vec<PathBuf> = env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default();
    if let Some(home) = env::var_os("CARGO_HOME") {
        directories.push(PathBuf::from(home).join("bin"));
    }
    if let Some(home) = env::var_os("HOME") {
        directories.push(PathBuf::from(home).join(".cargo/bin"));
    }
    directories
        .into_iter()
        .map(|directory| directory.join("bpf-linker"))
        .find(|path| path.is_file())
}

/// LLVM major version that `bpf-linker` is built with, where it can be told.
///
/// The program does not print it. A dynamically linked one names `libLLVM.so.N`; a static one contains
/// LLVM's identification string, `LLVM` and the version.
pub fn linker_llvm(linker: &Path) -> Option<u32> {
    let bytes = fs::read(linker).ok()?;
    number_after(&bytes, b"libLLVM.so.", false)
        .or_else(|| number_after(&bytes, b"libLLVM-", false))
        .or_else(|| number_after(&bytes, b"LLVM", true))
}

/// The first number that follows `marker` directly, and if so wanted is followed by a dot and a digit.
fn number_after(bytes: &[u8], marker: &[u8], dotted: bool) -> Option<u32> {
    bytes
        .windows(marker.len())
        .enumerate()
        .filter(|(_, window)| *window == marker)
        .find_map(|(at, _)| {
            let rest = &bytes[at + marker.len()..];
            let digits = rest
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .take(3)
                .count();
            if dotted && !(rest.get(digits) == Some(&b'.') && rest.get(digits + 1)?.is_ascii_digit()) {
                return None;
            }
            std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
        })
}

fn candidates() -> Vec<PathBuf> {
    if let Some(rustc) = env::var_os(RUSTC_OVERRIDE) {
        return vec![PathBuf::from(rustc)];
    }
    let listed = output(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let mut found: Vec<PathBuf> = listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| name.starts_with("nightly"))
        .filter_map(|name| output(Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"])))
        .map(|sysroot| Path::new(sysroot.trim()).join("bin/rustc"))
        .collect();
    found.push(PathBuf::from("/usr/bin/rustc"));
    found
}

/// The cargo and the LLVM major version that go with a compiler, or why it will not do.
fn inspect(rustc: &Path) -> Result<(PathBuf, u32), String> {
    let version = output(Command::new(rustc).arg("-vV")).ok_or("does not run")?;
    let llvm = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .and_then(|llvm| llvm.split('.').next()?.parse().ok())
        .ok_or("does not tell its LLVM version")?;
    let sysroot =
        output(Command::new(rustc).args(["--print", "sysroot"])).ok_or("does not tell its sysroot")?;
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml");
    if !library.is_file() {
        return Err("its library source (rust-src) is not installed".to_owned());
    }
    let beside = rustc.with_file_name("cargo");
    if beside.is_file() {
        Ok((beside, llvm))
    } else {
        Err("there is no cargo beside it".to_owned())
    }
}

fn output(command: &mut Command) -> Option<String> {
    let output = command
        .env_remove("RUSTC")
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
