//! From the bytes of a record to an [`Observation`].
//!
//! Pure and total: any bytes give an observation or a [`DecodeError`], never a panic. What is read is
//! checked against the lengths that the record itself gives, so a record cannot make the agent read
//! beyond it.
#![forbid(unsafe_code)]

mod dns;
mod operation;
mod path;
mod socket;
mod tail;

use crate::observation::{
    Act, ActId, Actor, BootTime, CgroupChange, CgroupId, Connect, Exec, Executable, Exit, FileId,
    KernelAction, Listen, Namespaces, Observation, Open, ProcessKey, Protocol, RuleNumber,
};
use norma_abi::{
    ABI_VERSION, ACTION_DENIED, ACTION_KILLED, ACTION_NONE, CGROUP_MADE, CGROUP_REMOVED, CgroupBody,
    ConnectBody, ExecBody, ExitBody, FLAG_ARGV_TRUNCATED, FLAG_ARGV_UNREADABLE, FLAG_ENVIRONMENT_TRUNCATED,
    FileFacts, ForkBody, Header, KIND_CGROUP, KIND_CONNECT, KIND_DNS, KIND_EXEC, KIND_EXIT, KIND_FILE,
    KIND_FORK, KIND_HOST, KIND_LISTEN, KIND_OPEN, KIND_PRIVILEGE, KIND_SOCKET, ListenBody, ORIGIN_ROOT_MOUNT,
    ORIGIN_UPPER, OpenBody,
};
use path::kernel_path;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use tail::{Tail, until_nul};
use zerocopy::FromBytes as _;

/// Bits of `f_mode`.
const FMODE_READ: u32 = 1 << 0;
const FMODE_WRITE: u32 = 1 << 1;
const FMODE_CREATED: u32 = 1 << 20;

/// Why bytes are not a record of this contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record ends before its fixed part does.
    #[error("record of {len} bytes ends before its {part}")]
    TooShort {
        /// Length of the record in bytes.
        len: usize,
        /// What is cut off.
        part: &'static str,
    },
    /// Kernel programs and agent are of different builds.
    #[error("record has version {found} of the kernel contract, this agent knows {ABI_VERSION}")]
    Version {
        /// The version in the record.
        found: u16,
    },
    /// A kind that this agent does not know.
    #[error("record is of the unknown kind {0}")]
    Kind(u16),
    /// The length in the header is not that of the record.
    #[error("record says that it has {said} bytes, but has {len}")]
    Length {
        /// What the header says.
        said: u32,
        /// Length of the record in bytes.
        len: usize,
    },
    /// The lengths of the tails do not add up to the record.
    #[error("record's {part} does not fit what is left of it")]
    Tail {
        /// The tail that does not fit, or `end` where bytes are left over.
        part: &'static str,
    },
    /// A field has a value that has no meaning.
    #[error("record's {field} has the unknown value {value}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
}

/// Decodes one record of the event ring.
pub fn decode(record: &[u8]) -> Result<Observation, DecodeError> {
    let len = record.len();
    let (header, rest) =
        Header::read_from_prefix(record).map_err(|_| DecodeError::TooShort { len, part: "header" })?;
    if header.abi != ABI_VERSION {
        return Err(DecodeError::Version { found: header.abi });
    }
    if header.len as usize != len {
        return Err(DecodeError::Length {
            said: header.len,
            len,
        });
    }
    let mut tail = Tail::new(rest, len);
    let act = match header.kind {
        KIND_EXEC => Act::Exec(exec(&header, &mut tail)?),
        KIND_FORK => fork(tail.body::<ForkBody>()?),
        KIND_EXIT => exit(tail.body::<ExitBody>()?),
        KIND_OPEN => Act::Open(open(&header, &mut tail)?),
        KIND_CONNECT => Act::Connect(connect(&tail.body()?)?),
        KIND_LISTEN => Act::Listen(listen(&tail.body()?)),
        KIND_CGROUP => Act::Cgroup(cgroup(&mut tail)?),
        KIND_FILE | KIND_PRIVILEGE | KIND_HOST => {
            Act::Operation(Box::new(operation::operation(&header, &mut tail)?))
        }
        KIND_SOCKET => Act::Socket(Box::new(socket::socket(&header, &mut tail)?)),
        KIND_DNS => Act::Dns(Box::new(socket::dns(&mut tail)?)),
        kind => return Err(DecodeError::Kind(kind)),
    };
    tail.end()?;
    Ok(Observation {
        cpu: header.cpu,
        seq: header.seq,
        at: BootTime(header.boot_ns),
        actor: actor(&header),
        act,
    })
}

fn actor(header: &Header) -> Actor {
    Actor {
        process: ProcessKey {
            pid: header.pid,
            start: BootTime(header.start_ns),
        },
        parent: ProcessKey {
            pid: header.ppid,
            start: BootTime(header.parent_start_ns),
        },
        tid: header.tid,
        uid: header.uid,
        gid: header.gid,
        euid: header.euid,
        cgroup: CgroupId(header.cgroup_id),
        namespaces: Namespaces {
            mnt: header.mnt_ns,
            pid: header.pid_ns,
            net: header.net_ns,
            user: header.user_ns,
        },
        comm: until_nul(&header.comm).iter().copied().collect(),
    }
}

fn exec(header: &Header, tail: &mut Tail<'_>) -> Result<Exec, DecodeError> {
    let body: ExecBody = tail.body()?;
    let program = executable(&body.file, tail.take(body.path_len, "path")?, header.flags);
    let script = tail.take(body.script_len, "path of the script")?;
    let filename = tail.take(body.filename_len, "filename")?.to_vec();
    let argv = tail.take(body.argv_len, "argv")?;
    // Each argument ends with NUL, so what follows the last NUL is an argument only where it was cut.
    let mut argv: Vec<Vec<u8>> = argv.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    argv.pop_if(|last| last.is_empty());
    let environment = variable_names(tail.take(body.environment_len, "environment")?);
    Ok(Exec {
        program,
        is_script: body.is_script != 0,
        script: (body.script.mode != 0).then(|| executable(&body.script, script, body.script_flags)),
        filename,
        argv,
        argv_truncated: header.flags & (FLAG_ARGV_TRUNCATED | FLAG_ARGV_UNREADABLE) != 0,
        environment,
        environment_truncated: header.flags & FLAG_ENVIRONMENT_TRUNCATED != 0,
        action: action(body.action, body.rule)?,
    })
}

fn executable(facts: &FileFacts, path: &[u8], flags: u32) -> Executable {
    Executable {
        path: kernel_path(path, flags),
        file: FileId {
            dev: facts.dev,
            inode: facts.inode,
        },
        mode: facts.mode,
        mtime_ns: facts.mtime_ns,
        ctime_ns: facts.ctime_ns,
        magic: facts.magic,
        links: facts.nlink,
        upper: facts.origin & ORIGIN_UPPER != 0,
        on_root: facts.origin & ORIGIN_ROOT_MOUNT != 0,
    }
}

/// The names of `NAME=value` texts. Values may be secrets: this is as far as they come. What has no `=` is no
/// variable, or was cut within its name.
fn variable_names(environment: &[u8]) -> Vec<Vec<u8>> {
    environment
        .split(|byte| *byte == 0)
        .filter_map(|variable| {
            let end = variable.iter().position(|byte| *byte == b'=')?;
            Some(variable[..end].to_vec())
        })
        .collect()
}

fn exit(body: ExitBody) -> Act {
    Act::Exit(Exit {
        status: body.status,
        runtime_ns: body.runtime_ns,
        user_ns: body.user_ns,
        system_ns: body.system_ns,
        max_rss_pages: body.max_rss_pages,
    })
}

fn fork(body: ForkBody) -> Act {
    Act::Fork(ProcessKey {
        pid: body.child_pid,
        start: BootTime(body.child_start_ns),
    })
}

fn open(header: &Header, tail: &mut Tail<'_>) -> Result<Open, DecodeError> {
    let body: OpenBody = tail.body()?;
    Ok(Open {
        path: kernel_path(tail.take(body.path_len, "path")?, header.flags),
        file: FileId {
            dev: body.dev,
            inode: body.inode,
        },
        mode: body.mode,
        flags: body.open_flags,
        read: body.file_mode & FMODE_READ != 0,
        write: body.file_mode & FMODE_WRITE != 0,
        created: body.file_mode & FMODE_CREATED != 0,
        id: act_id(body.identity),
    })
}

fn act_id(identity: u64) -> Option<ActId> {
    NonZeroU64::new(identity).map(ActId)
}

fn connect(body: &ConnectBody) -> Result<Connect, DecodeError> {
    let local = address(body.local_addr, body.local_port);
    Ok(Connect {
        remote: address(body.remote_addr, body.remote_port),
        local: (local.port() != 0).then_some(local),
        protocol: protocol(body.protocol),
        action: action(body.action, body.rule)?,
        cookie: body.cookie,
        id: act_id(body.identity),
    })
}

fn listen(body: &ListenBody) -> Listen {
    Listen {
        local: address(body.local_addr, body.local_port),
        protocol: protocol(body.protocol),
    }
}

fn cgroup(tail: &mut Tail<'_>) -> Result<CgroupChange, DecodeError> {
    let body: CgroupBody = tail.body()?;
    let removed = match body.operation {
        CGROUP_MADE => false,
        CGROUP_REMOVED => true,
        value => {
            return Err(DecodeError::Value {
                field: "control group operation",
                value,
            });
        }
    };
    Ok(CgroupChange {
        id: CgroupId(body.id),
        removed,
        path: tail.take(body.path_len, "path")?.to_vec(),
    })
}

fn action(action: u32, rule: u32) -> Result<KernelAction, DecodeError> {
    match action {
        ACTION_NONE => Ok(KernelAction::None),
        ACTION_DENIED => Ok(KernelAction::Denied(RuleNumber(rule))),
        ACTION_KILLED => Ok(KernelAction::Killed(RuleNumber(rule))),
        value => Err(DecodeError::Value {
            field: "action",
            value,
        }),
    }
}

fn address(addr: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(addr)).to_canonical(), port)
}

fn protocol(number: u16) -> Protocol {
    match number {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        other => Protocol::Other(other),
    }
}

#[cfg(test)]
mod tests;
