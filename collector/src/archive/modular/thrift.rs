//! The two things that are read from Parquet's own structures (Thrift, compact protocol) and that the crate `parquet`
//! does not tell. Everything here may come from anybody.

/// Fields that are read.
const ENCRYPTION_ALGORITHM: i64 = 8;
const AES_GCM_V1: i64 = 1;
const AAD_FILE_UNIQUE: i64 = 2;
/// Kinds of values.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const INTEGER: [u8; 3] = [4, 5, 6];
const I32: u8 = 5;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: [u8; 2] = [9, 10];
const MAP: u8 = 11;
const STRUCT: u8 = 12;
/// Far deeper than a footer is.
const DEPTH_MAX: u32 = 16;
/// Of a page's header: what it is, its size, and its compressed size, which all have.
const COMPRESSED_SIZE: usize = 3;

/// What the parts of an encrypted file are bound to, from its plaintext footer (`FileMetaData`).
pub fn file_unique(footer: &[u8]) -> Option<Vec<u8>> {
    let mut footer = Compact(footer);
    let mut algorithm = footer.find(ENCRYPTION_ALGORITHM, STRUCT)?;
    let mut gcm = algorithm.find(AES_GCM_V1, STRUCT)?;
    let mut unique = gcm.find(AAD_FILE_UNIQUE, BINARY)?;
    unique.binary().map(<[u8]>::to_vec)
}

/// The header of a page (`PageHeader`) with another compressed size.
pub fn with_compressed_size(header: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut rest = Compact(header);
    let mut before = 0;
    for _ in 0..COMPRESSED_SIZE {
        before = header.len() - rest.0.len();
        // The next field, an integer of 32 bits.
        (rest.byte()? == 1 << 4 | I32).then(|| rest.varint())??;
    }
    let mut changed = header[..=before].to_vec();
    let mut zigzag = u32::try_from(size).ok()?.checked_mul(2)?;
    while zigzag >= 0x80 {
        changed.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    changed.push(zigzag as u8);
    changed.extend_from_slice(rest.0);
    Some(changed)
}

/// What is not read yet.
#[derive(Clone, Copy)]
struct Compact<'a>(&'a [u8]);

impl<'a> Compact<'a> {
    /// The value of a field of the struct that begins here.
    fn find(&mut self, wanted: i64, kind: u8) -> Option<Self> {
        let mut id = 0;
        while let Some((found, next)) = self.field(id)? {
            if (next, found) == (wanted, kind) {
                return Some(*self);
            }
            self.skip(found, DEPTH_MAX)?;
            id = next;
        }
        None
    }

    /// Kind and number of the next field; `None` within where the struct ends.
    fn field(&mut self, before: i64) -> Option<Option<(u8, i64)>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Some(None);
        }
        let id = match byte >> 4 {
            0 => {
                let zigzag = self.varint()?;
                (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)
            }
            more => before.checked_add(i64::from(more))?,
        };
        Some(Some((byte & 0x0f, id)))
    }

    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            TRUE | FALSE => Some(()),
            BYTE => self.byte().map(drop),
            DOUBLE => self.take(8).map(drop),
            BINARY => self.binary().map(drop),
            MAP => {
                let count = self.varint()?;
                let kinds = if count > 0 { self.byte()? } else { 0 };
                for _ in 0..count {
                    self.element(kinds >> 4, depth)?;
                    self.element(kinds & 0x0f, depth)?;
                }
                Some(())
            }
            STRUCT => {
                let mut id = 0;
                while let Some((found, next)) = self.field(id)? {
                    self.skip(found, depth)?;
                    id = next;
                }
                Some(())
            }
            kind if INTEGER.contains(&kind) => self.varint().map(drop),
            kind if LIST.contains(&kind) => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => self.varint()?,
                    few => u64::from(few),
                };
                for _ in 0..count {
                    self.element(head & 0x0f, depth)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    /// An element of a collection, where also truth values take a byte.
    fn element(&mut self, kind: u8, depth: u32) -> Option<()> {
        match kind {
            TRUE | FALSE => self.byte().map(drop),
            other => self.skip(other, depth),
        }
    }

    fn binary(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_gets_another_size_and_keeps_the_rest() {
        // Type 0, sizes 300 and 200, then whatever follows.
        let header = [0x15, 0, 0x15, 0xd8, 0x04, 0x15, 0x90, 0x03, 0x2c, 9, 9];
        let changed = with_compressed_size(&header, 5).unwrap();
        assert_eq!(changed, [0x15, 0, 0x15, 0xd8, 0x04, 0x15, 10, 0x2c, 9, 9]);
        assert_eq!(with_compressed_size(&changed, 200).unwrap(), header);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = file_unique(&bytes);
            let _ = with_compressed_size(&bytes, 7);
        }
    }
}
