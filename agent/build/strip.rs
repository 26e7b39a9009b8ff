//! Leaves DWARF out of the compiled programs.
//!
//! LLVM makes BTF of it, which stays; nothing reads it afterwards. It is three quarters of the object, which every agent
//! has in its image and goes through at its start.

use anyhow::Context;
use object::build::elf::{Builder, SectionData};
use object::elf;

/// The object without sections for debuggers and without relocations of BTF, which loaders do not apply.
pub fn debug_sections(object: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("it is no ELF object")?;
    for section in &mut builder.sections {
        let name = &section.name[..];
        section.delete = [&b".debug_"[..], b".rel.debug_", b".rel.BTF"]
            .iter()
            .any(|beginning| name.starts_with(beginning));
    }
    // LLVM keeps the names of sections and of symbols in one table, for which this writer has two.
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder
        .write(&mut stripped)
        .context("it cannot be written anew")?;
    Ok(stripped)
}
