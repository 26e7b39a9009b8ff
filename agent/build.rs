//! Builds the kernel programs into `OUT_DIR`, from where the sensor includes them, and compiles the part of
//! the container runtime interface that identity speaks.
//!
//! `NORMA_SKIP_EBPF=1` puts an empty object there instead, for checking and fuzzing what does not touch
//! the kernel on machines without the tools; an agent built so says so when it is started.

#[path = "build/strip.rs"]
mod strip;
#[path = "build/toolchain.rs"]
mod toolchain;

use anyhow::{Context, bail};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use toolchain::Toolchain;

const SKIP: &str = "NORMA_SKIP_EBPF";
const PACKAGE: &str = "norma-ebpf";

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-env-changed={SKIP}");
    println!("cargo:rerun-if-env-changed={}", toolchain::RUSTC_OVERRIDE);
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=proto");
    compile_cri()?;
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..");
    for watched in [
        "agent-ebpf/src",
        "agent-ebpf/Cargo.toml",
        "agent-ebpf/abi",
        "Cargo.lock",
    ] {
        println!("cargo:rerun-if-changed={}", workspace.join(watched).display());
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    let object = out.join(PACKAGE);
    if env::var_os(SKIP).is_some_and(|value| value == "1") {
        println!("cargo:warning={SKIP}=1: this agent is built without its kernel programs");
        return fs::write(&object, []).context("write the empty object");
    }
    let toolchain = toolchain::find()?;
    println!("cargo:rerun-if-changed={}", toolchain.linker.display());
    // Seen with `cargo build -vv`.
    println!(
        "kernel programs: {} and {}, LLVM {}",
        toolchain.rustc.display(),
        toolchain.linker.display(),
        toolchain.llvm
    );
    let built = build(&toolchain, &workspace, &out.join("ebpf"))?;
    let programs = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
    let stripped = strip::debug_sections(&programs).with_context(|| format!("strip {}", built.display()))?;
    fs::write(&object, stripped).context("write the object")
}

/// The server half is for the tests, which stand in for a runtime.
fn compile_cri() -> anyhow::Result<()> {
    let descriptors = protox::compile(["cri.proto"], ["proto"]).context("compile proto/cri.proto")?;
    tonic_prost_build::configure()
        .compile_fds(descriptors)
        .context("generate the client of the container runtime interface")
}

fn build(toolchain: &Toolchain, workspace: &Path, target_dir: &Path) -> anyhow::Result<PathBuf> {
    let endian = variable("CARGO_CFG_TARGET_ENDIAN")?;
    let target = if endian == "big" {
        "bpfeb-unknown-none"
    } else {
        "bpfel-unknown-none"
    };
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    // Full debug information and --btf are load-bearing: without both the programs have no func_info.
    let flags = [
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        "-Cdebuginfo=2".to_owned(),
        "-Cpanic=abort".to_owned(),
        format!("-Clinker={}", toolchain.linker.display()),
        "-Clink-arg=--btf".to_owned(),
        "-Clink-arg=--disable-expand-memcpy-in-order".to_owned(),
    ];
    let mut command = Command::new(&toolchain.cargo);
    command
        .current_dir(workspace)
        .args([
            "build",
            "--release",
            "--package",
            PACKAGE,
            "--bin",
            PACKAGE,
            "--target",
            target,
        ])
        .args(["-Z", "build-std=core", "--target-dir"])
        .arg(target_dir);
    // What the outer build was told (target, flags, wrappers, instrumentation) is not for this one.
    for (name, _) in env::vars_os() {
        if is_outer(&name) {
            command.env_remove(name);
        }
    }
    command
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    let output = command
        .output()
        .with_context(|| format!("run {}", toolchain.cargo.display()))?;
    if !output.status.success() {
        bail!(
            "{} could not build the kernel programs:\n{}",
            toolchain.cargo.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(target_dir.join(target).join("release").join(PACKAGE))
}

fn is_outer(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    [
        "RUSTFLAGS",
        "RUSTC",
        "RUSTDOC",
        "CARGO_BUILD_",
        "CARGO_TARGET_",
        "CARGO_PROFILE_",
        "CARGO_ENCODED_",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix))
        || name == "RUSTUP_TOOLCHAIN"
}

fn variable(name: &str) -> anyhow::Result<String> {
    env::var(name).with_context(|| format!("cargo did not set {name}"))
}
