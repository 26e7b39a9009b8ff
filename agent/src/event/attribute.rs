//! Numbers of the kernel by the names that people know.

use norma_abi::Form;

/// An argument in words; `None` where it says nothing.
pub fn text(form: Form, value: u64) -> Option<String> {
    Some(match form {
        Form::Number | Form::Nanoseconds => value.to_string(),
        Form::Signed => (value as i64).to_string(),
        Form::Hex => format!("{value:#x}"),
        Form::Octal => format!("{value:#o}"),
        Form::Id if value as u32 == u32::MAX => return None,
        Form::Id => (value as u32).to_string(),
        Form::Device => format!("{}:{}", value >> 20, value & 0xf_ffff),
        Form::Capabilities => format!("{value:#x}"),
        Form::Signal => value.to_string(),
        Form::Namespaces => format!("{value:#x}"),
        Form::Protection => format!("{value:#x}"),
        Form::MountFlags => format!("{value:#x}"),
        Form::AddressFamily => address_family(value),
        Form::Bpf => value.to_string(),
        Form::IoUring => value.to_string(),
        Form::Ptrace => value.to_string(),
        Form::OpenFlags => super::flag_names(value as u32).join("|"),
    })
}

/// Name of an errno, such as `EACCES`.
pub fn errno(error: u32) -> String {
    format!("errno {error}")
}

/// AF_* without the prefix and in lower case.
pub fn address_family(family: u64) -> String {
    match family {
        1 => "unix".to_owned(),
        2 => "inet".to_owned(),
        10 => "inet6".to_owned(),
        16 => "netlink".to_owned(),
        17 => "packet".to_owned(),
        38 => "alg".to_owned(),
        40 => "vsock".to_owned(),
        other => other.to_string(),
    }
}

/// SOCK_* without the prefix and in lower case; empty where unknown.
pub fn socket_type(number: u16) -> String {
    match number {
        0 => String::new(),
        1 => "stream".to_owned(),
        2 => "dgram".to_owned(),
        3 => "raw".to_owned(),
        4 => "rdm".to_owned(),
        5 => "seqpacket".to_owned(),
        6 => "dccp".to_owned(),
        10 => "packet".to_owned(),
        other => other.to_string(),
    }
}

/// Protocol of a socket of a family by name.
pub fn protocol(family: u16, number: u32) -> String {
    match (family, number) {
        (2 | 10, 6) => "tcp".to_owned(),
        (2 | 10, 17) => "udp".to_owned(),
        (_, other) => other.to_string(),
    }
}
