//! Finds the compiler and the linker for eBPF programs. Standard library only.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A Rust compiler that has the source of its library, which eBPF targets are built from.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// The compiler.
    pub rustc: PathBuf,
    /// Major version of its LLVM.
    pub llvm: u32,
}

/// A bpf-linker.
#[derive(Clone, Debug)]
pub struct Linker {
    /// The program.
    pub path: PathBuf,
    /// Major version of the LLVM that it loads; `None` where that is built in and cannot be told.
    pub llvm: Option<u32>,
}

/// A rustup nightly with rust-src, else a distribution's rustc with its library source.
pub fn find_compiler() -> Option<Compiler> {
    rustup_nightlies()
        .into_iter()
        .chain([PathBuf::from("/usr/bin/rustc")])
        .find_map(|rustc| {
            let sysroot = first_line(Command::new(&rustc).args(["--print", "sysroot"]))?;
            let library = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core/Cargo.toml");
            let llvm = library.is_file().then(|| llvm_of(&rustc)).flatten()?;
            Some(Compiler { rustc, llvm })
        })
}

/// bpf-linker on the search path or in cargo's folder.
pub fn find_linker() -> Option<Linker> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let cargo = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(home()?.join(".cargo")));
    let path = std::env::split_paths(&path)
        .chain(cargo.map(|folder| folder.join("bin")))
        .map(|folder| folder.join("bpf-linker"))
        .find(|candidate| candidate.is_file())?;
    let llvm = std::fs::read(&path).ok().and_then(|image| loaded_llvm(&image));
    Some(Linker { path, llvm })
}

fn rustup_nightlies() -> Vec<PathBuf> {
    let Some(rustup) = std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(home()?.join(".rustup")))
    else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = std::fs::read_dir(rustup.join("toolchains"))
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("nightly"))
        .map(|entry| entry.path().join("bin/rustc"))
        .filter(|rustc| rustc.is_file())
        .collect();
    found.sort();
    found
}

fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from)
}

fn llvm_of(rustc: &Path) -> Option<u32> {
    let output = Command::new(rustc).arg("-vV").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned())
}

/// The major version in a `libLLVM.so.NN` or `libLLVM-NN.so` that a program names.
fn loaded_llvm(image: &[u8]) -> Option<u32> {
    let needle = b"libLLVM";
    let at = image.windows(needle.len()).position(|window| window == needle)?;
    let rest: String = image[at + needle.len()..]
        .iter()
        .take(8)
        .map(|byte| char::from(*byte))
        .collect();
    rest.trim_start_matches(['-', '.', 's', 'o'])
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_is_read_from_the_library_name() {
        assert_eq!(loaded_llvm(b"\0libLLVM.so.22.1\0"), Some(22));
        assert_eq!(loaded_llvm(b"\0libLLVM-21.so.1\0"), Some(21));
        assert_eq!(loaded_llvm(b"\0libc.so.6\0"), None);
    }
}
