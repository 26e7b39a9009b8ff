//! The compiled programs, completed for the running kernel. See [`norma_abi::fixup`].

use norma_abi::fixup::{
    CALL, CAST, CAST_MARK, MARK, MOVE_NUMBER, NO_CAST, OFFSET_MARK, SETTING_MARK, WORD_MARK,
};
use norma_abi::{Offsets, Settings};
use object::{Object as _, ObjectSection as _, SectionKind};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// What the programs learn of the kernel that they meet.
pub struct Numbers {
    /// Where it keeps its fields.
    pub offsets: Offsets,
    /// Facts and choices.
    pub settings: Settings,
    /// How it makes typed addresses of numbers, if it does.
    pub cast: Option<Cast>,
}

/// BTF ids of what makes a number an address that can be loaded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// `bpf_rdonly_cast`.
    pub function: u32,
    /// A structure that begins with an integer of 64 bits.
    pub word: u32,
}

/// Why an object cannot be completed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// It is none.
    #[error("the kernel programs of this agent cannot be read: {0}")]
    Unreadable(#[from] object::Error),
    /// Agent and programs are not of one build.
    #[error("the kernel programs of this agent hold the unknown mark {0:#x}")]
    Unknown(u32),
    /// It holds no mark: it was not made by this build either.
    #[error("the kernel programs of this agent hold no marks")]
    Unmarked,
}

/// An object in memory that is aligned as the loader wants it.
pub struct Completed(Vec<u64>, usize);

impl Completed {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0.as_bytes()[..self.1]
    }
}

/// Puts the numbers into every marked instruction of an object.
pub fn complete(object: &[u8], numbers: &Numbers) -> Result<Completed, ObjectError> {
    let mut words = vec![0_u64; object.len().div_ceil(8)];
    words.as_mut_bytes()[..object.len()].copy_from_slice(object);
    let file = object::File::parse(object)?;
    let mut is_marked = false;
    for section in file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
    {
        let Some((start, len)) = section.file_range() else {
            continue;
        };
        let (start, len) = (start as usize, len as usize);
        for instruction in words.as_mut_bytes()[start..start + len].chunks_exact_mut(8) {
            let (Ok(code), Ok(number)) = (
                u64::read_from_bytes(instruction),
                i32::read_from_bytes(&instruction[4..]),
            ) else {
                continue;
            };
            let mark = number as u32;
            if code == CAST {
                let call = numbers.cast.map_or(NO_CAST, |cast| {
                    u64::from(cast.function) << 32 | CAST & u64::from(u32::MAX)
                });
                instruction.copy_from_slice(call.as_bytes());
            } else if instruction[0] == MOVE_NUMBER && mark & 0xffff_0000 == MARK {
                let number = numbers.at(mark).ok_or(ObjectError::Unknown(mark))?;
                instruction[4..].copy_from_slice(number.as_bytes());
            } else {
                continue;
            }
            is_marked = true;
        }
    }
    if !is_marked {
        return Err(ObjectError::Unmarked);
    }
    Ok(Completed(words, object.len()))
}

impl Numbers {
    fn at(&self, mark: u32) -> Option<u32> {
        const WORD: usize = size_of::<u32>();
        let of = |words: &[u8], first: u32| {
            let at = mark.checked_sub(first)? as usize;
            u32::read_from_bytes(words.chunks_exact(WORD).nth(at)?).ok()
        };
        match mark {
            WORD_MARK => Some(self.cast.map_or(0, |cast| cast.word)),
            SETTING_MARK.. => of(self.settings.as_bytes(), SETTING_MARK),
            _ => of(self.offsets.as_bytes(), OFFSET_MARK),
        }
    }
}

const _: () = assert!(CAST >> 32 == CAST_MARK as u64 && CAST as u8 == CALL);

#[cfg(test)]
mod tests {
    use super::super::OBJECT;
    use super::*;

    fn numbers(cast: Option<Cast>) -> Numbers {
        Numbers {
            offsets: Offsets::NONE,
            settings: Settings::default(),
            cast,
        }
    }

    fn instructions(object: &[u8]) -> Vec<u64> {
        let file = object::File::parse(object).unwrap();
        file.sections()
            .filter(|section| section.kind() == SectionKind::Text)
            .flat_map(|section| {
                let code = section.data().unwrap().to_vec();
                code.chunks_exact(8)
                    .map(|code| u64::read_from_bytes(code).unwrap())
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn programs_carry_types_and_nothing_for_debuggers() {
        if OBJECT.is_empty() {
            eprintln!("skipped: built without kernel programs");
            return;
        }
        let file = object::File::parse(OBJECT).unwrap();
        let names: Vec<&str> = file.sections().map(|section| section.name().unwrap()).collect();
        assert!(!names.iter().any(|name| name.contains("debug_")), "{names:?}");
        assert!(
            names.contains(&".BTF") && names.contains(&".BTF.ext"),
            "{names:?}"
        );
    }

    #[test]
    fn no_mark_is_left_and_nothing_else_changes() {
        if OBJECT.is_empty() {
            eprintln!("skipped: built without kernel programs");
            return;
        }
        let cast = Cast {
            function: 4711,
            word: 12,
        };
        for cast in [None, Some(cast)] {
            let completed = complete(OBJECT, &numbers(cast)).unwrap();
            assert_eq!(completed.bytes().len(), OBJECT.len());
            let (mut marks, mut calls) = (0, 0);
            for (before, after) in instructions(OBJECT)
                .into_iter()
                .zip(instructions(completed.bytes()))
            {
                let is_move = before as u8 == MOVE_NUMBER && (before >> 32) as u32 & 0xffff_0000 == MARK;
                if before == CAST {
                    calls += 1;
                    let expected = cast.map_or(NO_CAST, |_| 4711 << 32 | 0x2085);
                    assert_eq!(after, expected);
                } else if is_move {
                    marks += 1;
                    assert_ne!(after >> 32, before >> 32);
                    assert_eq!(after as u32, before as u32, "the register stays");
                } else {
                    assert_eq!(after, before);
                }
            }
            assert!(marks > 1000 && calls > 100, "{marks} {calls}");
        }
    }

    #[test]
    fn an_object_of_another_build_is_refused() {
        assert!(matches!(
            complete(b"not an object", &numbers(None)),
            Err(ObjectError::Unreadable(_))
        ));
    }
}
