//! Norma's kernel programs.
//!
//! A probe (`probe`, one file per hook family) reads kernel objects through typed readers (`kernel`) and
//! hands a record to `emit`, which counts it whether or not the ring has room for it. Every loop has a
//! constant bound, nothing is believed that user space could change after the kernel has checked it, and
//! `verifier` keeps what the kernel's verifier forces on the code.
//!
//! On any other target than BPF this is an empty program, so that the workspace checks as a whole.
#![cfg_attr(
    target_arch = "bpf",
    no_std,
    no_main,
    feature(asm_experimental_arch, core_intrinsics)
)]
#![cfg_attr(
    target_arch = "bpf",
    expect(internal_features, reason = "the only way to an atomic addition")
)]

#[cfg(target_arch = "bpf")]
mod act;
#[cfg(target_arch = "bpf")]
mod emit;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod known;
#[cfg(target_arch = "bpf")]
mod path;
#[cfg(target_arch = "bpf")]
mod probe;
#[cfg(target_arch = "bpf")]
mod rules;
#[cfg(target_arch = "bpf")]
mod settings;
#[cfg(target_arch = "bpf")]
mod slot;
#[cfg(target_arch = "bpf")]
mod turn;
#[cfg(target_arch = "bpf")]
mod verifier;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

/// A panic that can be reached must be refused by the verifier, not turned into undefined behaviour.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
