//! What follows the header of a record.

use super::DecodeError;
use zerocopy::FromBytes;

/// The part of a record that is still to be decoded.
pub struct Tail<'a> {
    left: &'a [u8],
    record_len: usize,
}

impl<'a> Tail<'a> {
    /// `left` is what follows the header of a record of `record_len` bytes.
    pub fn new(left: &'a [u8], record_len: usize) -> Self {
        Self { left, record_len }
    }

    /// Takes the fixed body.
    pub fn body<T: FromBytes>(&mut self) -> Result<T, DecodeError> {
        let (body, left) = T::read_from_prefix(self.left).map_err(|_| DecodeError::TooShort {
            len: self.record_len,
            part: "body",
        })?;
        self.left = left;
        Ok(body)
    }

    /// Takes `len` bytes that are the tail called `part`.
    pub fn take(&mut self, len: u32, part: &'static str) -> Result<&'a [u8], DecodeError> {
        let (taken, left) = self
            .left
            .split_at_checked(len as usize)
            .ok_or(DecodeError::Tail { part })?;
        self.left = left;
        Ok(taken)
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.left.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Tail { part: "end" })
        }
    }
}

/// The bytes before the first NUL, all of them where there is none.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}
