use obs_types::LabelSet;

use super::TsdbError;
use super::layout::Reader;

const MAGIC: u32 = 0xbaaa_d700;
const VERSION: u8 = 2;
/// Six places and a checksum at the end of the file.
const TOC_BYTES: usize = 6 * 8 + 4;
/// Series lie at multiples of this.
const ALIGNMENT: u64 = 16;

/// Where a chunk of a series is, and the times that it covers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkMeta {
    pub min_ms: i64,
    pub max_ms: i64,
    /// From 0; the file is named one higher.
    pub segment: u32,
    pub offset: u32,
}

/// One series with its chunks, by time.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexSeries {
    /// What tombstones call it.
    pub reference: u64,
    pub labels: LabelSet,
    pub chunks: Vec<ChunkMeta>,
}

/// The index of a block. Sections that are not needed to read everything are not looked at.
#[derive(Debug)]
pub struct Index<'a> {
    file: &'a str,
    bytes: &'a [u8],
    symbols: Vec<&'a str>,
    /// References of all series, in label order.
    references: Vec<u32>,
}

impl<'a> Index<'a> {
    /// `file` is the name that errors carry.
    pub fn open(file: &'a str, bytes: &'a [u8]) -> Result<Self, TsdbError> {
        let mut header = Reader::new(file, bytes, 0);
        if header.u32()? != MAGIC {
            return Err(TsdbError::new(file, 0, "this is no index of a block"));
        }
        match header.u8()? {
            VERSION => {}
            other => {
                let message = format!("index version {other}; version {VERSION} can be read");
                return Err(TsdbError::new(file, 4, message));
            }
        }
        let at = bytes
            .len()
            .checked_sub(TOC_BYTES)
            .ok_or_else(|| TsdbError::new(file, bytes.len(), "the table of contents is missing"))?;
        let toc = bytes.get(at..).unwrap_or_default();
        let mut reader = Reader::new(file, toc, at);
        let mut places = [0_u64; 6];
        for place in &mut places {
            *place = reader.u64()?;
        }
        reader.checksum(toc.get(..TOC_BYTES - 4).unwrap_or_default())?;
        let [symbols_at, _series, _label_indices, _label_offsets, _postings, postings_offsets] =
            places;
        let mut index = Self { file, bytes, symbols: Vec::new(), references: Vec::new() };
        index.symbols = index.read_symbols(symbols_at)?;
        let all = index.all_postings(postings_offsets)?;
        index.references = index.read_postings(all)?;
        Ok(index)
    }

    pub fn series_count(&self) -> usize {
        self.references.len()
    }

    /// Every series, in label order.
    pub fn series(&self) -> impl Iterator<Item = Result<IndexSeries, TsdbError>> + '_ {
        self.references.iter().map(|r| self.read_series(*r))
    }

    /// A section of a stated length that a checksum follows.
    fn section(&self, at: u64) -> Result<Reader<'a, 'a>, TsdbError> {
        let mut reader = self.at(at)?;
        let length = reader.u32()? as usize;
        let start = reader.position();
        let content = reader.bytes(length)?;
        reader.checksum(content)?;
        Ok(Reader::new(self.file, content, start))
    }

    fn at(&self, at: u64) -> Result<Reader<'a, 'a>, TsdbError> {
        let start = usize::try_from(at).unwrap_or(usize::MAX);
        let rest = self.bytes.get(start..).ok_or_else(|| {
            let end = self.bytes.len();
            TsdbError::new(self.file, end, format!("byte {at} is named, the file ends here"))
        })?;
        Ok(Reader::new(self.file, rest, start))
    }

    fn read_symbols(&self, at: u64) -> Result<Vec<&'a str>, TsdbError> {
        let mut reader = self.section(at)?;
        let count = reader.u32()? as usize;
        if count > reader.left() {
            return Err(reader.error(format!("{count} symbols do not fit")));
        }
        (0..count).map(|_| reader.text()).collect()
    }

    /// Where the list of all series is: the postings of the empty name and value.
    fn all_postings(&self, at: u64) -> Result<u64, TsdbError> {
        let mut reader = self.section(at)?;
        for _ in 0..reader.u32()? {
            let keys = reader.u8()?;
            if keys != 2 {
                return Err(reader.error(format!("an entry has {keys} keys, 2 are known")));
            }
            let (name, value) = (reader.text()?, reader.text()?);
            let place = reader.uvarint()?;
            if name.is_empty() && value.is_empty() {
                return Ok(place);
            }
        }
        Err(reader.error("the list of all series is missing"))
    }

    fn read_postings(&self, at: u64) -> Result<Vec<u32>, TsdbError> {
        let mut reader = self.section(at)?;
        let count = reader.u32()? as usize;
        if count > reader.left() / 4 {
            return Err(reader.error(format!("{count} series do not fit")));
        }
        (0..count).map(|_| reader.u32()).collect()
    }

    fn symbol(&self, reader: &mut Reader<'a, 'a>) -> Result<&'a str, TsdbError> {
        let number = reader.uvarint_usize()?;
        let count = self.symbols.len();
        self.symbols
            .get(number)
            .copied()
            .ok_or_else(|| reader.error(format!("symbol {number} of {count} is named")))
    }

    fn read_series(&self, reference: u32) -> Result<IndexSeries, TsdbError> {
        let mut outer = self.at(u64::from(reference) * ALIGNMENT)?;
        let length = outer.uvarint_usize()?;
        let start = outer.position();
        let content = outer.bytes(length)?;
        outer.checksum(content)?;
        let mut reader = Reader::new(self.file, content, start);
        let mut pairs = Vec::new();
        for _ in 0..reader.uvarint()? {
            let name = self.symbol(&mut reader)?;
            pairs.push((name, self.symbol(&mut reader)?));
        }
        let labels = LabelSet::from_pairs(pairs);
        let mut chunks: Vec<ChunkMeta> = Vec::new();
        let (mut max_before, mut place) = (0_i64, 0_u64);
        for index in 0..reader.uvarint()? {
            let (min_ms, span) = if index == 0 {
                let min = reader.varint()?;
                let span = reader.uvarint()?;
                place = reader.uvarint()?;
                (min, span)
            } else {
                let min = max_before.wrapping_add(reader.uvarint()? as i64);
                let span = reader.uvarint()?;
                place = place.wrapping_add(reader.varint()? as u64);
                (min, span)
            };
            max_before = min_ms.wrapping_add(span as i64);
            chunks.push(ChunkMeta {
                min_ms,
                max_ms: max_before,
                segment: (place >> 32) as u32,
                offset: place as u32,
            });
        }
        Ok(IndexSeries { reference: u64::from(reference), labels, chunks })
    }
}
