//! What the metric and trace files share: writer settings, key-value metadata, and a Parquet
//! reader over [`Disk`].

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use obs_disk::Disk;
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, PageIndexPolicy, ParquetMetaDataReader};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::reader::{ChunkReader, Length};
use parquet::schema::types::ColumnPath;

use crate::ArchiveError;
use crate::redactions::Redactions;

/// Key-value metadata of every Parquet seal; the page `docs/format/seal-metrics.md` lists them.
pub(crate) const KEY_FORMAT: &str = "vmobs.format";
pub(crate) const KEY_HOUR: &str = "vmobs.hour";
pub(crate) const KEY_REVISION: &str = "vmobs.revision";
pub(crate) const KEY_HOUR_KEY: &str = "vmobs.hour_key";
pub(crate) const KEY_LEAF: &str = "vmobs.records.leaf";
pub(crate) const KEY_COUNT: &str = "vmobs.records.count";
pub(crate) const KEY_ROOT: &str = "vmobs.records.root";
/// Only in files of a format's second version.
pub(crate) const KEY_REDACTED: &str = "vmobs.records.redacted";

/// Rows of one write; also bounds what the builders hold.
pub(crate) const BATCH_ROWS: usize = 32_768;
/// A row group is what a reader must hold dictionaries for; ENGINE's hours are a few of them.
const ROW_GROUP_ROWS: usize = 1 << 20;
/// Attribute and label texts repeat for hours; the default of 1 MiB falls back to plain text too
/// soon for them.
const DICTIONARY_BYTES: usize = 16 << 20;

/// How much work goes into making a file small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// When an hour is sealed.
    Standard,
    /// When an old one is written anew.
    High,
}

/// Settings that do not depend on the machine, the time or the library's version, so that equal
/// rows give equal bytes.
pub(crate) fn writer_properties(effort: Effort) -> WriterPropertiesBuilder {
    let level = match effort {
        Effort::Standard => ZstdLevel::default(),
        Effort::High => ZstdLevel::try_new(15).unwrap_or_default(),
    };
    WriterProperties::builder()
        .set_created_by("vm-obs seal 1".to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
}

/// Turns the dictionary off and takes `encoding` for the named columns.
pub(crate) fn encode_columns(
    mut builder: WriterPropertiesBuilder,
    encoding: Encoding,
    columns: &[&str],
) -> WriterPropertiesBuilder {
    for name in columns {
        let path = ColumnPath::from(*name);
        builder = builder
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, encoding);
    }
    builder
}

/// Collects rows into the bytes of one file.
pub(crate) struct SealWriter {
    path: String,
    schema: SchemaRef,
    writer: ArrowWriter<Cursor<Vec<u8>>>,
}

impl SealWriter {
    pub(crate) fn new(
        path: &str,
        schema: SchemaRef,
        properties: WriterProperties,
    ) -> Result<Self, ArchiveError> {
        // Without Arrow's own schema copy the file means exactly what its Parquet schema says, to
        // every reader.
        let options =
            ArrowWriterOptions::new().with_properties(properties).with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(
            Cursor::new(Vec::new()),
            Arc::clone(&schema),
            options,
        )
        .map_err(|e| ArchiveError::encode(path, e))?;
        Ok(Self { path: path.to_owned(), schema, writer })
    }

    pub(crate) fn write(
        &mut self,
        columns: Vec<arrow_array::ArrayRef>,
    ) -> Result<(), ArchiveError> {
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|e| ArchiveError::encode(&self.path, e))
            .and_then(|batch| {
                self.writer.write(&batch).map_err(|e| ArchiveError::encode(&self.path, e))
            })
    }

    /// `metadata` in the order given.
    pub(crate) fn finish(mut self, metadata: &[(&str, String)]) -> Result<Vec<u8>, ArchiveError> {
        for (key, value) in metadata {
            self.writer.append_key_value_metadata(KeyValue::new((*key).to_owned(), value.clone()));
        }
        let path = self.path;
        let cursor = self.writer.into_inner().map_err(|e| ArchiveError::encode(&path, e))?;
        Ok(cursor.into_inner())
    }
}

/// Bytes that each column of a Parquet file takes, packed and with its dictionary; columns of one
/// list together.
pub fn column_bytes(file: Vec<u8>) -> Result<BTreeMap<String, u64>, ArchiveError> {
    let metadata = ParquetMetaDataReader::new()
        .parse_and_finish(&Bytes::from(file))
        .map_err(|e| ArchiveError::corrupt("the file", e.to_string()))?;
    let mut out = BTreeMap::new();
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let name = column.column_path().parts().first().cloned().unwrap_or_default();
        *out.entry(name).or_default() += column.compressed_size().unsigned_abs();
    }
    Ok(out)
}

/// An open sealed Parquet file: its footer is read, pages are fetched as they are needed.
pub(crate) struct SealReader {
    path: String,
    pages: DiskPages,
    metadata: ArrowReaderMetadata,
    keys: BTreeMap<String, String>,
    redactions: Redactions,
}

impl SealReader {
    /// Checks that the file says one of `formats` of itself: the second has redacted records.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        full_path: PathBuf,
        path: &str,
        formats: [&'static str; 2],
    ) -> Result<Self, ArchiveError> {
        let len = disk.len(&full_path).map_err(|source| ArchiveError::Disk {
            action: "open",
            path: full_path.clone(),
            source,
        })?;
        let pages = DiskPages { disk: Arc::clone(disk), path: full_path, len };
        Self::from_pages(pages, path, formats)
    }

    fn from_pages(
        pages: DiskPages,
        path: &str,
        formats: [&'static str; 2],
    ) -> Result<Self, ArchiveError> {
        let options = ArrowReaderOptions::new()
            .with_skip_arrow_metadata(true)
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata = guarded(path, || ArrowReaderMetadata::load(&pages, options))?;
        let keys: BTreeMap<String, String> = metadata
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .into_iter()
            .flatten()
            .filter_map(|kv| Some((kv.key.clone(), kv.value.clone()?)))
            .collect();
        let [whole, redacted] = formats;
        let mut redactions = Redactions::default();
        match keys.get(KEY_FORMAT) {
            Some(found) if found == whole => {}
            Some(found) if found == redacted => {
                let text = keys.get(KEY_REDACTED).map_or("", String::as_str);
                redactions = Redactions::parse(path, text)?;
            }
            found => {
                return Err(ArchiveError::UnknownFormat {
                    path: path.to_owned(),
                    found: found.cloned().unwrap_or_else(|| "none".to_owned()),
                    supported: redacted,
                });
            }
        }
        Ok(Self { path: path.to_owned(), pages, metadata, keys, redactions })
    }

    /// Records that have no row any more.
    pub(crate) fn redactions(&self) -> &Redactions {
        &self.redactions
    }

    pub(crate) fn key(&self, name: &str) -> Result<&str, ArchiveError> {
        self.keys
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| ArchiveError::corrupt(&self.path, format!("metadata {name} is missing")))
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T, ArchiveError> {
        let text = self.key(name)?;
        text.parse()
            .map_err(|_e| ArchiveError::corrupt(&self.path, format!("metadata {name} is {text:?}")))
    }

    pub(crate) fn row_count(&self) -> usize {
        usize::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Batches of the named columns over the selected rows; `None` is all rows.
    pub(crate) fn read(
        &self,
        columns: &[&str],
        selection: Option<RowSelection>,
    ) -> Result<Batches, ArchiveError> {
        let mask = ProjectionMask::columns(self.metadata.parquet_schema(), columns.iter().copied());
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.pages.clone(),
            self.metadata.clone(),
        )
        .with_projection(mask)
        .with_batch_size(8192);
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        let reader = guarded(&self.path, || builder.build())?;
        Ok(Batches { path: self.path.clone(), reader: Some(reader) })
    }
}

/// Batches of rows; ends behind the first error.
pub(crate) struct Batches {
    path: String,
    reader: Option<ParquetRecordBatchReader>,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        let reader = self.reader.as_mut()?;
        let result = guarded(&self.path, || reader.next().transpose());
        if result.is_err() {
            self.reader = None;
        }
        result.transpose()
    }
}

/// Runs the Parquet library on bytes from disk. Some damaged pages make it index out of bounds; a
/// damaged file must cost its own hour and not the process. What panicked is not used again.
fn guarded<T, E: std::fmt::Display>(
    path: &str,
    read: impl FnOnce() -> Result<T, E>,
) -> Result<T, ArchiveError> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|e| ArchiveError::corrupt(path, e)),
        Err(_panic) => Err(ArchiveError::corrupt(path, "its pages cannot be decoded")),
    }
}

/// Parquet's view of a file on [`Disk`].
#[derive(Clone)]
struct DiskPages {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    len: u64,
}

impl Length for DiskPages {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for DiskPages {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        // Only page headers are read this way, and they are small; the reader asks again behind
        // what it got.
        let rest = self.len.saturating_sub(start).min(64 << 10);
        self.get_bytes(start, usize::try_from(rest).unwrap_or(0)).map(Cursor::new)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if start.saturating_add(length as u64) > self.len {
            return Err(ParquetError::EOF(format!(
                "wanted bytes {start} to {} of {}",
                start.saturating_add(length as u64),
                self.len
            )));
        }
        self.disk
            .read_at(&self.path, start, length)
            .map(Bytes::from)
            .map_err(|e| ParquetError::External(Box::new(e)))
    }
}
