//! Leaves DWARF out of the compiled programs.
//!
//! LLVM makes BTF of it, which stays; nothing reads it afterwards. It is five sixths of the object, which every agent
//! has in its image and goes through at its start.

use anyhow::{Context, ensure};
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
    for section in &mut builder.sections {
        if &section.name[..] == b".BTF.ext"
            && let SectionData::Data(data) = &mut section.data
        {
            *data = without_lines(data)?.into();
        }
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

/// What `.BTF.ext` has besides the lines of the source: loaders keep each in several forms for each program.
fn without_lines(section: &[u8]) -> anyhow::Result<Vec<u8>> {
    /// Places in the header (Documentation/bpf/btf.rst) of its length, and of where lines and relocations begin and how
    /// long they are.
    const HEADER_LENGTH: usize = 4;
    const LINES: usize = 16;
    const LINES_LENGTH: usize = 20;
    const RELOCATIONS: usize = 24;
    const RELOCATIONS_LENGTH: usize = 28;
    /// Lines begin with the size of a record, also where there is none.
    const RECORD_SIZE: usize = 4;
    let word = |at: usize| -> anyhow::Result<usize> {
        let bytes = section.get(at..at + 4).context(".BTF.ext is cut off")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    let header = word(HEADER_LENGTH)?;
    let (lines, length) = (word(LINES)?, word(LINES_LENGTH)?);
    ensure!(
        word(RELOCATIONS)? == lines + length && word(RELOCATIONS_LENGTH)? == 0,
        ".BTF.ext has something behind its lines"
    );
    ensure!(length >= RECORD_SIZE, ".BTF.ext has no lines");
    let end = lines + RECORD_SIZE;
    let mut rest = section
        .get(..header + end)
        .context(".BTF.ext is cut off")?
        .to_vec();
    for (at, value) in [(LINES_LENGTH, RECORD_SIZE), (RELOCATIONS, end)] {
        rest[at..at + 4].copy_from_slice(&u32::try_from(value)?.to_le_bytes());
    }
    Ok(rest)
}
