//! Metrics of any window as one Parquet file, for `vm-obs export parquet`.

use obs_types::{MetricKind, SeriesData};

use crate::ArchiveError;
use crate::metrics_write::{MetricsWriter, series_order};
use crate::parquet_file::Effort;

const NAME: &str = "metrics.parquet";

/// A file in the columns of a sealed hour (`docs/format/seal-metrics.md`), one row per sample. It
/// is no seal: no key, no record tree.
#[expect(missing_debug_implementations, reason = "the encoder is not printable")]
pub struct MetricsExport {
    writer: MetricsWriter,
}

impl MetricsExport {
    pub fn new() -> Result<Self, ArchiveError> {
        Ok(Self { writer: MetricsWriter::new(NAME, Effort::Standard)? })
    }

    /// The series of one metric, in any order; metrics come in order of their names.
    pub fn push(
        &mut self,
        mut series: Vec<SeriesData>,
        kind: MetricKind,
    ) -> Result<(), ArchiveError> {
        series.sort_by(|a, b| series_order(&a.labels, &b.labels));
        series.iter().try_for_each(|s| self.writer.push(s, kind))
    }

    /// The bytes of the file.
    pub fn finish(self) -> Result<Vec<u8>, ArchiveError> {
        let metadata = self.writer.metadata();
        self.writer.finish(&metadata)
    }
}
