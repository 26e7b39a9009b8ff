//! Devices that give raw access to what the kernel otherwise guards.

use crate::act;
use aya_ebpf::macros::cgroup_device;
use aya_ebpf::programs::DeviceContext;
use norma_abi::{ACT_PERMITTED, KIND_HOST, OP_DEVICE};

/// The control group program that decides next is asked, too.
const ALLOW: i32 = 1;

const BLOCK: u32 = 1;
/// Major numbers of character devices; see devices.txt of the kernel.
const MEMORY: u32 = 1;
const MISC: u32 = 10;
const SCSI_GENERIC: u32 = 21;
const MACHINE_REGISTERS: u32 = 202;
/// Minors of [`MEMORY`]: mem, kmem, port, kmsg.
const MEM: u32 = 1;
const KMEM: u32 = 2;
const PORT: u32 = 4;
const KMSG: u32 = 11;
/// Minors of [`MISC`]: nvram, tun, fuse, kvm, device mapper, loop control, vhost-net, userfaultfd has none.
const NVRAM: u32 = 144;
const TUN: u32 = 200;
const FUSE: u32 = 229;
const KVM: u32 = 232;
const MAPPER: u32 = 236;
const LOOP_CONTROL: u32 = 237;
const VHOST_NET: u32 = 238;

/// A device is opened or made. Runs for every device, terminals and /dev/null among them, so what is not of
/// interest leaves at once.
#[cgroup_device]
pub fn device_access(ctx: DeviceContext) -> i32 {
    // SAFETY: the verifier checks accesses to the context.
    let (access, major, minor) = unsafe {
        let device = ctx.device;
        ((*device).access_type, (*device).major, (*device).minor)
    };
    let kind = access & 0xffff;
    if is_raw(kind, major, minor) {
        act::report_untyped(KIND_HOST, |act| {
            act.op(OP_DEVICE, ACT_PERMITTED);
            let number = u64::from(major) << 20 | u64::from(minor);
            act.args([number, u64::from(access >> 16), u64::from(kind), 0]);
            Some(())
        });
    }
    ALLOW
}

#[inline(always)]
fn is_raw(kind: u32, major: u32, minor: u32) -> bool {
    kind == BLOCK
        || match major {
            MEMORY => matches!(minor, MEM | KMEM | PORT | KMSG),
            MISC => matches!(
                minor,
                NVRAM | TUN | FUSE | KVM | MAPPER | LOOP_CONTROL | VHOST_NET
            ),
            SCSI_GENERIC | MACHINE_REGISTERS => true,
            _ => false,
        }
}
