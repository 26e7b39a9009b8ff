//! The smallest program: what is measured around it is the kernel's work, not a dynamic loader's.

use anyhow::{Context as _, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// `exit(0)`, and the number by which ELF knows the processor.
#[cfg(target_arch = "x86_64")]
const PROGRAM: Option<(u16, &[u8])> = Some((
    62,
    // xor edi, edi; mov eax, 60; syscall
    &[0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05],
));
#[cfg(target_arch = "aarch64")]
const PROGRAM: Option<(u16, &[u8])> = Some((
    183,
    // mov x0, #0; mov x8, #93; svc #0
    &[
        0x00, 0x00, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4,
    ],
));
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const PROGRAM: Option<(u16, &[u8])> = None;

const HEADER_LEN: u16 = 64;
const SEGMENT_LEN: u16 = 56;
const ADDRESS: u64 = 0x40_0000;

/// Puts the program into `folder`; another does where the code of this processor is not known here.
pub fn program(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("nothing");
    let Some((machine, code)) = PROGRAM else {
        return Ok(PathBuf::from("/bin/true"));
    };
    if !path.exists() {
        fs::write(&path, image(machine, code)).with_context(|| path.display().to_string())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context("chmod")?;
    }
    Ok(path)
}

/// An ELF64 file of one segment, little-endian.
fn image(machine: u16, code: &[u8]) -> Vec<u8> {
    let start = u64::from(HEADER_LEN + SEGMENT_LEN);
    let len = start + code.len() as u64;
    let mut image = Vec::new();
    let mut put = |bytes: &[u8]| image.extend_from_slice(bytes);
    put(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    put(&2u16.to_le_bytes()); // ET_EXEC
    put(&machine.to_le_bytes());
    put(&1u32.to_le_bytes()); // version
    put(&(ADDRESS + start).to_le_bytes()); // entry
    put(&u64::from(HEADER_LEN).to_le_bytes()); // program headers
    put(&0u64.to_le_bytes()); // no section headers
    put(&0u32.to_le_bytes()); // flags
    for half in [HEADER_LEN, SEGMENT_LEN, 1, 0, 0, 0] {
        put(&half.to_le_bytes());
    }
    put(&1u32.to_le_bytes()); // PT_LOAD
    put(&5u32.to_le_bytes()); // readable, executable
    for word in [0, ADDRESS, ADDRESS, len, len, 0x1000] {
        put(&u64::to_le_bytes(word));
    }
    put(code);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_and_ends_well() {
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path()).unwrap();
        assert!(std::process::Command::new(program).status().unwrap().success());
    }
}
