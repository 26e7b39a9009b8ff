//! The kernel and the machine. Nothing is changed: what would change is asked for in a way that fails, or
//! set to what it is.

mod refused;

use super::area::{Area, Group, known, text};
use super::file::openat_reading;
use super::sys::{self, Errno, From, Into, Layout, Sys};
use super::technique::{BPF_PROGRAM, COMPAT, KERNEL_MODULE, RAW_DEVICE};
use super::truth::{FileTruth, Truth};
use super::{Deed, deed, lacking};
use anyhow::{Context as _, Result, ensure};
use io_uring::opcode;
use rustix::fs::CWD;
use rustix::time::ClockId;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;
const BPF_PROG_TYPE_CGROUP_SKB: u32 = 8;
const BPF_CGROUP_INET_INGRESS: u32 = 0;
const KEY_SPEC_PROCESS_KEYRING: i32 = -2;
const KEYCTL_GET_KEYRING_ID: i32 = 0;
const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_TASK_CLOCK: u64 = 1;
const SO_ATTACH_BPF: i32 = 50;
const UFFD_USER_MODE_ONLY: i32 = 1;
/// More than the kernel takes, so that nothing is loaded.
const TOO_MANY_SEGMENTS: u64 = 17;
const ADJ_SETOFFSET: u32 = 0x100;

/// Deeds of this family.
const ALL: &[Deed] = &[
    deed(
        "module-init",
        "host.module-load",
        KERNEL_MODULE,
        "init_module(2) of what is no module",
        |_| no_module(&sys::host::init_module(b"this is no kernel module", c"")),
    ),
    deed(
        "module-finit",
        "host.module-load",
        KERNEL_MODULE,
        "finit_module(2) of what is no module",
        |area| {
            let path = area.file("module.ko")?;
            let file = OwnedFd::from(File::open(&path)?);
            let truth = no_module(&sys::host::finit_module(&file, c"", 0))?;
            Ok(truth.path(FileTruth::of(&file, "")?))
        },
    ),
    deed(
        "bpf-load",
        "host.bpf-load",
        BPF_PROGRAM,
        "bpf(BPF_PROG_LOAD) of a socket filter",
        |_| {
            sys::host::load(BPF_PROG_TYPE_SOCKET_FILTER, "deed_filter", 0)?;
            Ok(Truth::here()
                .fact("type", BPF_PROG_TYPE_SOCKET_FILTER)
                .fact("text", "deed_filter"))
        },
    ),
    deed(
        "bpf-attach",
        "host.bpf-attach",
        BPF_PROGRAM,
        "bpf(BPF_PROG_ATTACH) to a control group of its own",
        bpf_attach,
    ),
    deed(
        "bpf-attach-socket",
        "host.bpf-attach",
        BPF_PROGRAM,
        "setsockopt(SO_ATTACH_BPF)",
        |_| {
            let program = sys::host::load(BPF_PROG_TYPE_SOCKET_FILTER, "deed_filter", 0)?;
            let socket = sys::network::socket(libc::AF_UNIX, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)?;
            let descriptor = std::os::fd::AsRawFd::as_raw_fd(&program).to_ne_bytes();
            sys::network::set_option(&socket, libc::SOL_SOCKET, SO_ATTACH_BPF, &descriptor)?;
            Ok(Truth::here())
        },
    ),
    deed(
        "key-add",
        "host.keyctl",
        "",
        "add_key(2) to the process keyring",
        |_| {
            let key = sys::host::add_key(c"user", c"norma-deed", b"secret", KEY_SPEC_PROCESS_KEYRING)?;
            Ok(Truth::here().fact("key", key).fact("text", "norma-deed"))
        },
    ),
    deed(
        "key-control",
        "host.keyctl",
        "",
        "keyctl(KEYCTL_GET_KEYRING_ID)",
        |_| {
            let ring = sys::host::keyring(KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1)?;
            Ok(Truth::here()
                .fact("answer", ring)
                .fact("operation", KEYCTL_GET_KEYRING_ID))
        },
    ),
    deed(
        "key-control-compat",
        "host.keyctl",
        COMPAT,
        "keyctl(KEYCTL_GET_KEYRING_ID), by the 32-bit interface",
        |_| {
            let ring = sys::compat::keyring(KEYCTL_GET_KEYRING_ID, KEY_SPEC_PROCESS_KEYRING, 1)
                .context("the 32-bit interface of this kernel")?;
            Ok(Truth::here()
                .fact("answer", ring)
                .fact("operation", KEYCTL_GET_KEYRING_ID))
        },
    ),
    deed(
        "perf-event",
        "host.perf-event",
        "",
        "perf_event_open(2) of this process",
        |_| {
            let attributes = Layout::default()
                .u32(PERF_TYPE_SOFTWARE)
                .u32(64)
                .u64(PERF_COUNT_SW_TASK_CLOCK)
                .up_to(64)
                .end();
            sys::host::perf_event_open(From(&attributes), 0, -1, -1, 0)?;
            Ok(Truth::here()
                .fact("type", PERF_TYPE_SOFTWARE)
                .fact("config", PERF_COUNT_SW_TASK_CLOCK))
        },
    ),
    deed("userfaultfd", "host.userfaultfd", "", "userfaultfd(2)", |_| {
        let flags = libc::O_CLOEXEC | UFFD_USER_MODE_ONLY;
        // Before 5.11 there is no such flag, and none is needed by root.
        let flags = match sys::host::userfaultfd(flags) {
            Err(Errno::EINVAL) => sys::host::userfaultfd(libc::O_CLOEXEC).map(|_| libc::O_CLOEXEC),
            other => other.map(|_| flags),
        }?;
        Ok(Truth::here().fact("flags", flags))
    }),
    deed(
        "io-uring-setup",
        "host.io-uring-setup",
        "",
        "io_uring_setup(2)",
        |_| {
            let mut parameters = [0; 120];
            sys::host::io_uring_setup(4, Into(&mut parameters))?;
            Ok(Truth::here().fact("entries", 4))
        },
    ),
    deed(
        "io-uring-nop",
        "host.io-uring-op",
        "",
        "an io_uring request that does nothing",
        |_| {
            sys::uring::request(&opcode::Nop::new().build(), "nop")?.context("nop")?;
            Ok(Truth::here().fact("opcode", 0))
        },
    ),
    deed(
        "kexec",
        "host.kexec",
        "",
        "kexec_load(2) with more segments than there may be",
        |_| {
            let result = sys::host::kexec_load(0, TOO_MANY_SEGMENTS, sys::Null, 0);
            match result {
                Err(Errno::EINVAL | Errno::EADDRNOTAVAIL) => Ok(Truth::here().result(&result)),
                Err(errno) => Err(errno.into()),
                Ok(()) => anyhow::bail!("the kernel took it"),
            }
        },
    ),
    deed(
        "device-block",
        "host.device",
        RAW_DEVICE,
        "a block device is opened for reading",
        |_| {
            let (name, _) = block_device()?;
            let path = Path::new("/dev").join(name);
            device_opened(&path)
        },
    ),
    deed(
        "device-block-own-node",
        "host.device",
        RAW_DEVICE,
        "a block device is opened through a node that the program made",
        |area| {
            let (_, number) = block_device()?;
            let path = area.path("innocent");
            sys::file::mknodat(CWD, &text(&path)?, libc::S_IFBLK | 0o600, number)?;
            device_opened(&path)
        },
    ),
    deed(
        "device-memory",
        "host.device",
        RAW_DEVICE,
        "/dev/mem is opened",
        |_| device_opened(Path::new("/dev/mem")),
    ),
    deed(
        "device-kmsg",
        "host.device",
        RAW_DEVICE,
        "/dev/kmsg is opened",
        |_| device_opened(Path::new("/dev/kmsg")),
    ),
    deed(
        "clock-set",
        "host.clock-set",
        "",
        "clock_settime(2) of what the clock says",
        |_| {
            let now = rustix::time::clock_gettime(ClockId::Realtime);
            let time = Layout::default()
                .bytes(&now.tv_sec.to_ne_bytes())
                .bytes(&now.tv_nsec.to_ne_bytes())
                .end();
            sys::host::clock_settime(libc::CLOCK_REALTIME, From(&time))?;
            Ok(Truth::here()
                .fact("clock", libc::CLOCK_REALTIME)
                .fact("seconds", now.tv_sec))
        },
    ),
    deed(
        "clock-set-legacy",
        "host.clock-set",
        "",
        "settimeofday(2) of what the clock says",
        |_| {
            let now = rustix::time::clock_gettime(ClockId::Realtime);
            let time = Layout::default()
                .bytes(&now.tv_sec.to_ne_bytes())
                .bytes(&(now.tv_nsec / 1_000).to_ne_bytes())
                .end();
            sys::host::settimeofday(From(&time), sys::Null)?;
            Ok(Truth::here()
                .fact("clock", libc::CLOCK_REALTIME)
                .fact("seconds", now.tv_sec))
        },
    ),
    deed(
        "clock-adjust",
        "host.clock-set",
        "",
        "adjtimex(2) by nothing",
        |_| {
            let mut change = Layout::default().u32(ADJ_SETOFFSET).up_to(208).end();
            sys::host::adjtimex(Into(&mut change))?;
            Ok(Truth::here().fact("clock", libc::CLOCK_REALTIME))
        },
    ),
];

pub fn all() -> Vec<&'static [Deed]> {
    vec![ALL, refused::ALL]
}

/// The kernel looked at the image and found that it is no module.
fn no_module(result: &Sys<()>) -> Result<Truth> {
    match result {
        Err(Errno::ENOEXEC) => Ok(Truth::here().result(result)),
        Err(Errno::EKEYREJECTED | Errno::ENOKEY | Errno::EBADMSG) => Err(lacking(
            "this kernel takes signed modules only, and looks at the signature first",
        )),
        Err(errno) => Err((*errno).into()),
        Ok(()) => anyhow::bail!("the kernel took it"),
    }
}

fn bpf_attach(_: &Area) -> Result<Truth> {
    let group = Group::make()?;
    let folder = OwnedFd::from(File::open(group.path())?);
    // Lets every packet pass, and there is nobody in the group.
    let program = sys::host::load(BPF_PROG_TYPE_CGROUP_SKB, "deed_pass", 1)?;
    known(
        sys::host::attach(&folder, &program, BPF_CGROUP_INET_INGRESS),
        "programs of control groups",
    )?;
    sys::host::detach(&folder, &program, BPF_CGROUP_INET_INGRESS).context("taking it off")?;
    Ok(Truth::here().fact("attach-type", BPF_CGROUP_INET_INGRESS))
}

/// Name and number of a block device that there is.
fn block_device() -> Result<(PathBuf, u64)> {
    let none = || lacking("there is no block device here");
    for entry in fs::read_dir("/sys/block").map_err(|_| none())? {
        let name = PathBuf::from(entry?.file_name());
        let Ok(node) = fs::metadata(Path::new("/dev").join(&name)) else {
            continue;
        };
        // One without a medium cannot be opened.
        if File::open(Path::new("/dev").join(&name)).is_ok() {
            return Ok((name, node.rdev()));
        }
    }
    Err(none())
}

fn device_opened(path: &Path) -> Result<Truth> {
    let number = fs::metadata(path)
        .map_err(|error| lacking(format!("{}: {error}", path.display())))?
        .rdev();
    ensure!(number != 0, "{} is no device", path.display());
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    Ok(openat_reading(path)?.fact("device", major << 20 | minor))
}
