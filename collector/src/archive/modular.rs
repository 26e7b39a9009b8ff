//! Archive files whose contents are encrypted, in the standard form (Parquet Modular Encryption, AES-GCM, plaintext
//! footer): everybody can read how many records there are and their leaf hashes, and with the segment's key all of it.
//!
//! The crate `parquet` writes this form, and reads it through Arrow alone, which Norma has no other use for. What is
//! missing is done here: pages are decrypted, and given to its reader as those of a file that never was encrypted.
//! Footers are read and checked by the crate.

mod thrift;

use super::columns::{MESSAGE, PLAIN};
use super::keys::SegmentKey;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;
use parquet::bloom_filter::Sbbf;
use parquet::column::page::PageReader;
use parquet::encryption::decrypt::FileDecryptionProperties;
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
use parquet::file::reader::{ChunkReader as _, Length as _, RowGroupReader};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::record::reader::RowIter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::Type;
use std::fs::File;
use std::sync::Arc;

/// Before each encrypted part: its length.
const LENGTH: usize = 4;
/// At the end of a file: length of the footer, and `PAR1`.
const END: usize = 8;
/// Kinds of encrypted parts, as the format numbers them.
const DATA_PAGE: u8 = 2;
const DICTIONARY_PAGE: u8 = 3;
const DATA_PAGE_HEADER: u8 = 4;
const DICTIONARY_PAGE_HEADER: u8 = 5;
/// Before the pages of a column that was decrypted: no offset is 0, which some hold for none.
const BEFORE: usize = 4;

/// How a file is encrypted with this key.
pub fn encryption(key: &SegmentKey) -> Result<Arc<FileEncryptionProperties>> {
    let mut properties = FileEncryptionProperties::builder(key.bytes.to_vec())
        .with_plaintext_footer(true)
        .with_footer_key_metadata(reference(key, true));
    for column in encrypted_columns()? {
        let bytes = key.bytes.to_vec();
        properties = properties.with_column_key_and_metadata(&column, bytes, reference(key, false));
    }
    properties.build()
}

/// What the file says of its key, in the form of Parquet's key management tools (`PKMT1`), by which other readers ask
/// for it: instead of a wrapped key it has the name of the file that has one.
fn reference(key: &SegmentKey, is_of_footer: bool) -> Vec<u8> {
    let mut material = serde_json::json!({
        "keyMaterialType": "PKMT1",
        "internalStorage": true,
        "isFooterKey": is_of_footer,
        "masterKeyID": key.name,
        "wrappedDEK": key.name,
        "doubleWrapping": false,
    });
    if is_of_footer {
        material["kmsInstanceID"] = "norma".into();
        material["kmsInstanceURL"] = "norma".into();
    }
    material.to_string().into_bytes()
}

fn encrypted_columns() -> Result<Vec<String>> {
    let schema = parse_message_type(MESSAGE)?;
    let names = schema.get_fields().iter().map(|column| column.name().to_owned());
    Ok(names.filter(|name| !PLAIN.contains(&name.as_str())).collect())
}

/// Whether a file's contents are encrypted.
pub fn is_encrypted(metadata: &ParquetMetaData) -> bool {
    let mut columns = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
    columns.any(|column| column.crypto_metadata().is_some())
}

/// A file that is read with its key.
pub struct Opened {
    file: File,
    metadata: ParquetMetaData,
    /// What this file's parts are bound to.
    unique: Vec<u8>,
    key: LessSafeKey,
}

impl Opened {
    /// Reads the footer of `file`, and checks that this key has signed it.
    pub fn new(file: File, key: &SegmentKey) -> Result<Self> {
        let mut properties = FileDecryptionProperties::builder(key.bytes.to_vec());
        for column in encrypted_columns()? {
            properties = properties.with_column_key(&column, key.bytes.to_vec());
        }
        let metadata = ParquetMetaDataReader::new()
            .with_decryption_properties(Some(properties.build()?))
            .parse_and_finish(&file)?;
        let end = file.get_bytes(file.len().saturating_sub(END as u64), END)?;
        let length = end.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize;
        let footer = file.get_bytes(file.len().saturating_sub((END + length) as u64), length)?;
        let unique = thrift::file_unique(&footer).ok_or_else(|| {
            ParquetError::General("its footer does not say what its parts are bound to".to_owned())
        })?;
        let unbound = UnboundKey::new(&AES_256_GCM, &key.bytes).map_err(|_| {
            ParquetError::General("the cryptographic library does not take the key".to_owned())
        })?;
        Ok(Self {
            file,
            metadata,
            unique,
            key: LessSafeKey::new(unbound),
        })
    }

    /// Number of its row groups.
    pub fn groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    /// A row group, whose columns are decrypted when they are read.
    pub fn group(&self, number: usize) -> impl RowGroupReader + '_ {
        Group { of: self, number }
    }

    /// Decrypts one part at the beginning of `rest`, which is then after it.
    fn part(&self, rest: &mut &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        let (length, after) = rest.split_first_chunk::<LENGTH>()?;
        let (part, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (nonce, sealed) = part.split_first_chunk::<NONCE_LEN>()?;
        let mut content = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(aad), &mut content);
        let length = opened.ok()?.len();
        content.truncate(length);
        *rest = after;
        Some(content)
    }

    /// What binds a part to its place.
    fn place(&self, kind: u8, group: usize, column: usize, page: Option<usize>) -> Option<Vec<u8>> {
        let mut aad = self.unique.clone();
        aad.push(kind);
        for number in [Some(group), Some(column), page].into_iter().flatten() {
            aad.extend_from_slice(&i16::try_from(number).ok()?.to_le_bytes());
        }
        Some(aad)
    }

    /// Decrypts the pages of a column, and says where the first data page begins.
    fn column(
        &self,
        group: usize,
        column: usize,
        sealed: &[u8],
        has_dictionary: bool,
    ) -> Result<(Vec<u8>, usize)> {
        let mut plain = vec![0; BEFORE];
        let mut first_data = BEFORE;
        let mut rest = sealed;
        let mut page = 0;
        let mut is_dictionary = has_dictionary;
        while !rest.is_empty() {
            let at = sealed.len() - rest.len();
            let (header_kind, page_kind, number) = if is_dictionary {
                (DICTIONARY_PAGE_HEADER, DICTIONARY_PAGE, None)
            } else {
                (DATA_PAGE_HEADER, DATA_PAGE, Some(page))
            };
            let mut next = |kind| self.part(&mut rest, &self.place(kind, group, column, number)?);
            let parts = next(header_kind).and_then(|header| {
                let content = next(page_kind)?;
                thrift::with_compressed_size(&header, content.len()).map(|header| (header, content))
            });
            let Some((header, content)) = parts else {
                return Err(ParquetError::General(format!(
                    "page {page} (byte {at} of the column) does not decrypt: it was changed, moved or cut off"
                )));
            };
            plain.extend_from_slice(&header);
            plain.extend_from_slice(&content);
            if is_dictionary {
                first_data = plain.len();
                is_dictionary = false;
            } else {
                page += 1;
            }
        }
        Ok((plain, first_data))
    }
}

struct Group<'a> {
    of: &'a Opened,
    number: usize,
}

impl Group<'_> {
    fn pages(&self, column: usize) -> Result<Box<dyn PageReader>> {
        let metadata = self.metadata().column(column);
        let dictionary = metadata.dictionary_page_offset();
        let begin = dictionary.unwrap_or(metadata.data_page_offset());
        let length = metadata.compressed_size();
        let (Ok(begin), Ok(length)) = (u64::try_from(begin), usize::try_from(length)) else {
            return Err(ParquetError::General("its place in the file is none".to_owned()));
        };
        if begin.saturating_add(length as u64) > self.of.file.len() {
            return Err(ParquetError::General("its place is beyond the file".to_owned()));
        }
        let rows = usize::try_from(self.metadata().num_rows())
            .map_err(|_| ParquetError::General("it has a negative number of rows".to_owned()))?;
        let bytes = self.of.file.get_bytes(begin, length)?;
        let (plain, first_data) = match metadata.crypto_metadata() {
            Some(_) => self
                .of
                .column(self.number, column, &bytes, dictionary.is_some())?,
            None => {
                let first_data = usize::try_from(metadata.data_page_offset() - begin as i64).unwrap_or(0);
                ([&[0; BEFORE], bytes.as_ref()].concat(), BEFORE + first_data)
            }
        };
        let moved = metadata
            .clone()
            .into_builder()
            .set_total_compressed_size((plain.len() - BEFORE) as i64)
            .set_data_page_offset(first_data as i64)
            .set_dictionary_page_offset(dictionary.map(|_| BEFORE as i64))
            .build()?;
        Ok(Box::new(SerializedPageReader::new(
            Arc::new(Bytes::from(plain)),
            &moved,
            rows,
            None,
        )?))
    }
}

impl RowGroupReader for Group<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.of.metadata.row_group(self.number)
    }

    fn num_columns(&self) -> usize {
        self.metadata().num_columns()
    }

    fn get_column_page_reader(&self, column: usize) -> Result<Box<dyn PageReader>> {
        self.pages(column).map_err(|error| {
            let name = self.metadata().column(column).column_path().string();
            ParquetError::General(format!("row group {}, column {name}: {error}", self.number))
        })
    }

    fn get_column_bloom_filter(&self, _: usize) -> Option<&Sbbf> {
        None
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Result<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}
