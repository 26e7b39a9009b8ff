//! What the running kernel's BTF tells: field offsets and prototypes.

use super::SensorError;
use super::object::Cast;
use btf_rs::{Btf, Struct, Type};
use norma_abi::{ABSENT, FIELDS, Group, Offsets};
use std::collections::HashMap;
use zerocopy::IntoBytes as _;

/// Where the kernel keeps its BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel's types.
pub struct Kernel {
    /// For looking fields up.
    types: Btf,
    /// For aya, which attaches BTF tracepoints by it.
    pub loader: aya::Btf,
    /// Where the fields are.
    pub offsets: Resolved,
}

/// Offsets with what is missing among them.
pub struct Resolved {
    /// What the programs are given.
    pub values: Offsets,
    missing: HashMap<Group, Vec<String>>,
}

impl Kernel {
    /// Reads [`VMLINUX`].
    pub fn read() -> Result<Self, SensorError> {
        let failed = |reason: String| SensorError::Btf { reason };
        let bytes = std::fs::read(VMLINUX).map_err(|error| failed(error.to_string()))?;
        let types = Btf::from_bytes(&bytes).map_err(|error| failed(error.to_string()))?;
        let loader = aya::Btf::from_sys_fs().map_err(|error| failed(error.to_string()))?;
        let offsets = Resolved::look_up(&types);
        Ok(Self {
            types,
            loader,
            offsets,
        })
    }

    /// Whether `sched_process_exit` has a second argument, which says if the thread was the last (6.16).
    pub fn exit_tells_group_dead(&self) -> bool {
        // The first parameter of such a prototype is the probe's own data.
        self.tracepoint_parameters("sched_process_exit")
            .is_some_and(|count| count == 3)
    }

    /// Whether `io_uring_submit_sqe` gives the opcode as an argument of its own (before 5.19).
    pub fn sqe_tells_opcode(&self) -> bool {
        self.tracepoint_parameters("io_uring_submit_sqe")
            .is_some_and(|count| count > 3)
    }

    /// Distance from an inode of an overlay to the name that the upper layer has for it.
    ///
    /// Where the overlay filesystem is a module, its types may not be there (yet). In all kernels since 4.13 the
    /// name follows the inode.
    pub fn overlay_upper(&self) -> u32 {
        let known = || {
            let name = member(&self.types, "ovl_inode", "__upperdentry")?;
            name.checked_sub(member(&self.types, "ovl_inode", "vfs_inode")?)
        };
        known().unwrap_or_else(|| self.structure_size("inode"))
    }

    /// How this kernel makes typed addresses of numbers; `None` before 6.2.
    pub fn cast(&self) -> Option<Cast> {
        let id = |name: &str, fits: fn(&Type) -> bool| {
            let ids = self.types.resolve_ids_by_name(name).ok()?;
            ids.into_iter()
                .find(|id| self.types.resolve_type_by_id(*id).is_ok_and(|found| fits(&found)))
        };
        Some(Cast {
            function: id("bpf_rdonly_cast", |found| matches!(found, Type::Func(_)))?,
            // Begins with `time64_t tv_sec`.
            word: id(
                "timespec64",
                |found| matches!(found, Type::Struct(structure) if !structure.members.is_empty()),
            )?,
        })
    }

    fn structure_size(&self, name: &str) -> u32 {
        self.types
            .resolve_types_by_name(name)
            .ok()
            .and_then(|found| {
                found.into_iter().find_map(|kind| match kind {
                    Type::Struct(structure) if !structure.members.is_empty() => Some(structure.size() as u32),
                    _ => None,
                })
            })
            .unwrap_or(0)
    }

    /// Whether the kernel has the helper that the enumerator of `enum bpf_func_id` stands for.
    pub fn has_helper(&self, enumerator: &str) -> bool {
        let Ok(found) = self.types.resolve_types_by_name("bpf_func_id") else {
            return false;
        };
        found.iter().any(|kind| match kind {
            Type::Enum(helpers) => helpers.members.iter().any(|member| {
                self.types
                    .resolve_name(member)
                    .is_ok_and(|name| name == enumerator)
            }),
            _ => false,
        })
    }

    /// How many parameters a function of the kernel has.
    pub fn function_parameters(&self, name: &str) -> Option<usize> {
        self.types
            .resolve_types_by_name(name)
            .ok()?
            .iter()
            .find_map(|found| {
                let Type::Func(function) = found else { return None };
                match self.types.resolve_chained_type(function).ok()? {
                    Type::FuncProto(prototype) => Some(prototype.parameters.len()),
                    _ => None,
                }
            })
    }

    /// Whether a function belongs to an interface to system calls that this kernel is built without: it would
    /// have the others of its kind, too.
    pub fn is_of_missing_interface(&self, function: &str) -> bool {
        const COMPAT: &str = "__ia32_";
        const NEVER_MISSING: &str = "__ia32_sys_unshare";
        function.starts_with(COMPAT) && self.function_parameters(NEVER_MISSING).is_none()
    }

    /// Distance from the lower end of a kernel stack to the registers that are saved on it at the entry from
    /// user space. Only kernels before 5.15 need it, where stacks have 16 KiB on x86-64 and arm64 and the
    /// registers lie at their very top.
    pub fn registers_on_stack(&self) -> u32 {
        const STACK: u32 = 16 << 10;
        STACK.saturating_sub(self.structure_size("pt_regs"))
    }

    fn tracepoint_parameters(&self, tracepoint: &str) -> Option<usize> {
        let name = format!("btf_trace_{tracepoint}");
        self.types
            .resolve_types_by_name(&name)
            .ok()?
            .iter()
            .find_map(|found| {
                let Type::Typedef(alias) = found else { return None };
                self.types.chained_type_iter(alias).find_map(|part| match part {
                    Type::FuncProto(prototype) => Some(prototype.parameters.len()),
                    _ => None,
                })
            })
    }
}

impl Resolved {
    /// Looks all fields of the contract up.
    fn look_up(types: &Btf) -> Self {
        let mut values = Offsets::NONE;
        let mut missing = HashMap::<Group, Vec<String>>::new();
        for (field, value) in FIELDS.iter().zip(values.as_mut_bytes().chunks_exact_mut(4)) {
            let offset = field
                .paths
                .iter()
                .find_map(|path| member(types, field.structure, path));
            if offset.is_none() && !field.optional {
                missing
                    .entry(field.group)
                    .or_default()
                    .push(format!("{}.{}", field.structure, field.paths[0]));
            }
            value.copy_from_slice(&offset.unwrap_or(ABSENT).to_ne_bytes());
        }
        Self { values, missing }
    }

    /// Why programs of these groups cannot run on this kernel, if they cannot.
    pub fn lacking(&self, groups: &[Group]) -> Option<String> {
        let fields: Vec<&str> = groups
            .iter()
            .filter_map(|group| self.missing.get(group))
            .flatten()
            .map(String::as_str)
            .collect();
        (!fields.is_empty()).then(|| format!("this kernel has no {}", fields.join(", ")))
    }
}

/// Byte offset of a dotted path of members within a structure, plus what follows a `+`.
fn member(types: &Btf, structure: &str, path: &str) -> Option<u32> {
    let (path, beyond) = match path.split_once('+') {
        Some((path, beyond)) => (path, beyond.parse().ok()?),
        None => (path, 0),
    };
    let found = types.resolve_types_by_name(structure).ok()?;
    let start = found.into_iter().find_map(|kind| match kind {
        Type::Struct(structure) if !structure.members.is_empty() => Some(structure),
        _ => None,
    })?;
    let mut bits = 0;
    let mut within = Some(start);
    for name in path.split('.') {
        let (offset, inner) = find(types, &within?, name)?;
        bits += offset;
        within = inner;
    }
    Some(bits / 8 + beyond)
}

/// Bit offset of a named member, also inside anonymous members, and the structure that it is, if it is one.
///
/// A bit field counts as not there, for the programs read whole integers.
fn find(types: &Btf, within: &Struct, name: &str) -> Option<(u32, Option<Struct>)> {
    within.members.iter().find_map(|candidate| {
        let inner = || {
            let mut chain = types.chained_type_iter(candidate);
            chain.find_map(|part| match part {
                Type::Struct(inner) | Type::Union(inner) => Some(Some(inner)),
                Type::Typedef(_) | Type::Const(_) | Type::Volatile(_) | Type::TypeTag(_) => None,
                _ => Some(None),
            })?
        };
        match types.resolve_name(candidate).unwrap_or_default() {
            found if found == name => {
                let whole = candidate.bitfield_size().unwrap_or(0) == 0 && candidate.bit_offset() % 8 == 0;
                whole.then(|| (candidate.bit_offset(), inner()))
            }
            found if found.is_empty() => {
                let (offset, kind) = find(types, &inner()?, name)?;
                Some((candidate.bit_offset() + offset, kind))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_required_field_resolves_on_the_running_kernel() {
        let Ok(bytes) = std::fs::read(VMLINUX) else {
            eprintln!("skipped: this kernel has no {VMLINUX}");
            return;
        };
        let types = Btf::from_bytes(&bytes).unwrap();
        let resolved = Resolved::look_up(&types);
        assert!(resolved.missing.is_empty(), "{:?}", resolved.missing);
        let values = resolved.values;
        assert_eq!(
            values.file_mnt + 8,
            values.file_dentry,
            "struct path is a mount, then a dentry"
        );
        assert_eq!(values.mm_arg_start + 8, values.mm_arg_end);
        assert_eq!(values.cred_uid + 4, values.cred_gid);
        assert_eq!(values.sock_remote_v4 + 4, values.sock_local_v4);
    }

    #[test]
    fn what_is_missing_names_the_field() {
        let Ok(bytes) = std::fs::read(VMLINUX) else {
            eprintln!("skipped: this kernel has no {VMLINUX}");
            return;
        };
        let types = Btf::from_bytes(&bytes).unwrap();
        assert_eq!(member(&types, "task_struct", "no_such_field"), None);
        assert_eq!(member(&types, "no_such_struct", "pid"), None);
        assert_eq!(
            member(&types, "task_struct", "pid.deeper"),
            None,
            "an integer has no members"
        );
        let missing = HashMap::from([(Group::Exec, vec!["linux_binprm.file".to_owned()])]);
        let resolved = Resolved {
            values: Offsets::NONE,
            missing,
        };
        assert_eq!(resolved.lacking(&[Group::Actor]), None);
        assert!(
            resolved
                .lacking(&[Group::Actor, Group::Exec])
                .unwrap()
                .contains("linux_binprm.file")
        );
    }
}
