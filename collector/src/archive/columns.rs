//! The columns of an archive file, schema version 1: one row for each record.
//!
//! `payload` has the canonical bytes and `leaf_hash` their RFC 6962 leaf hash; every other column is read out of the
//! payload, so that files can be searched in place. docs/archive.md describes them.

use bytes::Bytes;
use norma_tlog::Hash;
use norma_wire::Event;
use norma_wire::audit::{Record, record::Body};
use norma_wire::json;
use norma_wire::pb::{self, Container};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int64Type,
};
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::RowGroupReader;
use parquet::file::writer::SerializedRowGroupWriter;
use parquet::schema::types::ColumnPath;
use prost::Message as _;
use std::io::Write;
use std::sync::Arc;

/// Name and version of the schema, in the file's metadata under [`SCHEMA_KEY`].
pub const SCHEMA: &str = "norma.dev/audit-parquet/v2";
/// Metadata key of the schema's name.
pub const SCHEMA_KEY: &str = "norma.schema";
/// Metadata key of the segment's manifest, as text.
pub const MANIFEST_KEY: &str = "norma.manifest";
/// Metadata key of the cluster's name.
pub const CLUSTER_KEY: &str = "norma.cluster";

/// The columns, in the notation of Parquet.
pub const MESSAGE: &str = "message norma_audit {
    required int64 record (INTEGER(64,false));
    required int64 received_time (TIMESTAMP(NANOS,true));
    required binary record_kind (STRING);
    optional binary node (STRING);
    optional binary epoch (STRING);
    optional int64 sequence (INTEGER(64,false));
    optional int64 event_time (TIMESTAMP(NANOS,true));
    optional binary event_kind (STRING);
    optional binary verdict (STRING);
    optional binary severity (STRING);
    optional binary workload (STRING);
    optional binary namespace (STRING);
    optional binary pod (STRING);
    optional binary container (STRING);
    optional binary container_id (STRING);
    optional binary image (STRING);
    required fixed_len_byte_array(32) leaf_hash;
    required binary payload;
}";

/// Columns that are not encrypted where the others are: from these a segment is proven without its key.
pub const PLAIN: [&str; 2] = ["record", "leaf_hash"];
/// Their places among all.
const RECORD: usize = 0;
const LEAF_HASH: usize = 16;

/// zstd beyond this costs much more time than it saves space.
const ZSTD_LEVEL: i32 = 3;

/// Rows that are not written yet.
#[derive(Debug, Default, PartialEq)]
pub struct Rows {
    record: Vec<i64>,
    received_time: Vec<i64>,
    record_kind: Vec<ByteArray>,
    node: Optional<ByteArray>,
    epoch: Optional<ByteArray>,
    sequence: Optional<i64>,
    event_time: Optional<i64>,
    event_kind: Optional<ByteArray>,
    verdict: Optional<ByteArray>,
    severity: Optional<ByteArray>,
    workload: Optional<ByteArray>,
    namespace: Optional<ByteArray>,
    pod: Optional<ByteArray>,
    container: Optional<ByteArray>,
    container_id: Optional<ByteArray>,
    image: Optional<ByteArray>,
    leaf_hash: Vec<FixedLenByteArray>,
    payload: Vec<ByteArray>,
    bytes: usize,
}

/// Values of a column that not every row has.
#[derive(Debug, PartialEq)]
struct Optional<T> {
    values: Vec<T>,
    /// 1 for each row that has a value, 0 for the others.
    levels: Vec<i16>,
}

impl<T> Default for Optional<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            levels: Vec::new(),
        }
    }
}

impl<T> Optional<T> {
    fn push(&mut self, value: Option<T>) {
        self.levels.push(i16::from(value.is_some()));
        self.values.extend(value);
    }
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.record.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.record.is_empty()
    }

    /// Bytes of their payloads.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The payload of each.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        self.payload.iter().map(ByteArray::data)
    }

    /// Adds the row of a record with this payload and this leaf in the tree of its segment.
    pub fn push(&mut self, record: &Record, payload: &[u8], leaf: Hash) {
        let event = match &record.body {
            Some(Body::Event(bytes)) => Event::decode(bytes.clone()).ok(),
            _ => None,
        };
        let place = Place::of(record, event.as_ref());
        let container = event.as_ref().and_then(|event| event.container.as_ref());
        let verdict = event.as_ref().and_then(|event| event.verdict.as_ref());
        let of_container = |value: fn(&Container) -> &String| container.and_then(|found| text(value(found)));
        self.record.push(record.index as i64);
        self.received_time.push(record.received_wall_ns as i64);
        let kind = crate::audit::show::record_kind(record.body.as_ref());
        self.record_kind.push(kind.into());
        self.node.push(place.node.as_deref().and_then(text));
        self.epoch.push(
            place
                .epoch
                .map(|epoch| format!("{epoch:016x}").into_bytes().into()),
        );
        self.sequence.push(place.sequence.map(|sequence| sequence as i64));
        self.event_time
            .push(event.as_ref().map(|event| event.wall_ns as i64));
        let name = |name: String| ByteArray::from(name.into_bytes());
        self.event_kind.push(
            event
                .as_ref()
                .map(|event| name(json::name::<pb::Kind>(event.kind))),
        );
        self.verdict
            .push(verdict.map(|verdict| name(json::name::<pb::VerdictKind>(verdict.kind))));
        self.severity
            .push(verdict.map(|verdict| name(json::name::<pb::Severity>(verdict.severity))));
        self.workload.push(of_container(|found| &found.workload));
        self.namespace.push(of_container(|found| &found.namespace));
        self.pod.push(of_container(|found| &found.pod));
        self.container.push(of_container(|found| &found.name));
        self.container_id.push(of_container(|found| &found.id));
        self.image.push(of_container(|found| &found.image));
        self.leaf_hash.push(leaf.0.to_vec().into());
        self.payload.push(Bytes::copy_from_slice(payload).into());
        self.bytes += payload.len();
    }

    /// Writes them as one row group.
    pub fn write<W: Write + Send>(&self, mut group: SerializedRowGroupWriter<'_, W>) -> Result<()> {
        put::<Int64Type, W>(&mut group, &self.record, None)?;
        put::<Int64Type, W>(&mut group, &self.received_time, None)?;
        put::<ByteArrayType, W>(&mut group, &self.record_kind, None)?;
        optional::<ByteArrayType, W>(&mut group, &self.node)?;
        optional::<ByteArrayType, W>(&mut group, &self.epoch)?;
        optional::<Int64Type, W>(&mut group, &self.sequence)?;
        optional::<Int64Type, W>(&mut group, &self.event_time)?;
        for column in self.texts() {
            optional::<ByteArrayType, W>(&mut group, column)?;
        }
        put::<FixedLenByteArrayType, W>(&mut group, &self.leaf_hash, None)?;
        put::<ByteArrayType, W>(&mut group, &self.payload, None)?;
        group.close().map(drop)
    }

    /// Reads a row group as it lies there.
    pub fn read(group: &dyn RowGroupReader) -> Result<Self> {
        let mut columns = Columns { group, next: 0 };
        let mut rows = Self {
            record: columns.required::<Int64Type>()?,
            received_time: columns.required::<Int64Type>()?,
            record_kind: columns.required::<ByteArrayType>()?,
            node: columns.optional::<ByteArrayType>()?,
            epoch: columns.optional::<ByteArrayType>()?,
            sequence: columns.optional::<Int64Type>()?,
            event_time: columns.optional::<Int64Type>()?,
            event_kind: columns.optional::<ByteArrayType>()?,
            verdict: columns.optional::<ByteArrayType>()?,
            severity: columns.optional::<ByteArrayType>()?,
            workload: columns.optional::<ByteArrayType>()?,
            namespace: columns.optional::<ByteArrayType>()?,
            pod: columns.optional::<ByteArrayType>()?,
            container: columns.optional::<ByteArrayType>()?,
            container_id: columns.optional::<ByteArrayType>()?,
            image: columns.optional::<ByteArrayType>()?,
            leaf_hash: columns.required::<FixedLenByteArrayType>()?,
            payload: columns.required::<ByteArrayType>()?,
            bytes: 0,
        };
        rows.bytes = rows.payloads().map(<[u8]>::len).sum();
        Ok(rows)
    }

    /// Reads from a row group what is never encrypted: index and leaf hash of each record.
    pub fn read_plain(group: &dyn RowGroupReader) -> Result<Vec<(u64, Hash)>> {
        let indexes = Columns { group, next: RECORD }.required::<Int64Type>()?;
        let leaves = Columns {
            group,
            next: LEAF_HASH,
        }
        .required::<FixedLenByteArrayType>()?;
        let leaves = leaves.iter().map(|leaf| {
            let bytes = leaf.data().try_into();
            bytes
                .map(Hash)
                .map_err(|_| ParquetError::General("a leaf hash has not 32 bytes".to_owned()))
        });
        let rows = indexes.into_iter().map(|index| index as u64).zip(leaves);
        rows.map(|(index, leaf)| Ok((index, leaf?))).collect()
    }

    fn texts(&self) -> [&Optional<ByteArray>; 9] {
        [
            &self.event_kind,
            &self.verdict,
            &self.severity,
            &self.workload,
            &self.namespace,
            &self.pod,
            &self.container,
            &self.container_id,
            &self.image,
        ]
    }
}

/// How files are written: the same bytes for the same records, by the same version of this program, unless they are
/// encrypted.
pub fn properties(
    metadata: Vec<KeyValue>,
    encryption: Option<Arc<FileEncryptionProperties>>,
) -> Result<WriterProperties> {
    let column = |name: &str| ColumnPath::from(name.to_owned());
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_key_value_metadata(Some(metadata));
    for name in ["record", "received_time", "sequence", "event_time"] {
        properties = properties
            .set_column_dictionary_enabled(column(name), false)
            .set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in ["leaf_hash", "payload"] {
        properties = properties
            .set_column_dictionary_enabled(column(name), false)
            .set_column_statistics_enabled(column(name), EnabledStatistics::None);
    }
    if let Some(encryption) = encryption {
        properties = properties.with_file_encryption_properties(encryption);
    }
    Ok(properties
        .set_column_compression(column("leaf_hash"), Compression::UNCOMPRESSED)
        .build())
}

/// Where in the sequences of nodes a record belongs.
#[derive(Default)]
struct Place {
    node: Option<String>,
    epoch: Option<u64>,
    sequence: Option<u64>,
}

impl Place {
    fn of(record: &Record, event: Option<&Event>) -> Self {
        let of = |node: &str, epoch, sequence| Self {
            node: Some(node.to_owned()),
            epoch: Some(epoch),
            sequence: Some(sequence),
        };
        match (&record.body, event.and_then(|event| event.id.as_ref())) {
            (_, Some(id)) => of(&id.node, id.epoch, id.sequence),
            (Some(Body::Rejected(rejected)), _) => of(&rejected.node, rejected.epoch, rejected.sequence),
            (Some(Body::Gap(gap)), _) => of(&gap.node, gap.epoch, gap.first_sequence),
            (Some(Body::NodeKey(key)), _) => Self {
                node: Some(key.node.clone()),
                ..Self::default()
            },
            (Some(Body::Enrolled(enrolled)), _) => Self {
                node: Some(enrolled.node.clone()),
                ..Self::default()
            },
            _ => Self::default(),
        }
    }
}

/// A text, where there is one.
fn text(value: impl AsRef<str>) -> Option<ByteArray> {
    let value = value.as_ref();
    (!value.is_empty()).then(|| value.into())
}

fn optional<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    column: &Optional<T::T>,
) -> Result<()> {
    put::<T, W>(group, &column.values, Some(&column.levels))
}

fn put<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<()> {
    let column = group.next_column()?;
    let mut column =
        column.ok_or_else(|| ParquetError::General("the schema has too few columns".to_owned()))?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}

/// The columns of a row group, one after the other.
struct Columns<'a> {
    group: &'a dyn RowGroupReader,
    next: usize,
}

impl Columns<'_> {
    fn required<T: DataType>(&mut self) -> Result<Vec<T::T>> {
        self.read::<T>(false).map(|column| column.values)
    }

    fn optional<T: DataType>(&mut self) -> Result<Optional<T::T>> {
        self.read::<T>(true)
    }

    fn read<T: DataType>(&mut self, has_levels: bool) -> Result<Optional<T::T>> {
        let rows = self.group.metadata().num_rows() as usize;
        let mut reader = get_typed_column_reader::<T>(self.group.get_column_reader(self.next)?);
        self.next += 1;
        let mut column = Optional::default();
        let mut read = 0;
        while read < rows {
            let levels = has_levels.then_some(&mut column.levels);
            let (records, _, _) = reader.read_records(rows - read, levels, None, &mut column.values)?;
            if records == 0 {
                return Err(ParquetError::EOF("a column has too few rows".to_owned()));
            }
            read += records;
        }
        Ok(column)
    }
}
