//! Acts on the kernel and the machine.

mod bpf;
mod calls;
mod clock;
mod device;
mod module;
mod uring;
