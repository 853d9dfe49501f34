use obs_types::NativeHistogram;

use super::bits::{BitReader, BitWriter, Xor};
use super::layout::Reader;
use super::{TsdbError, histogram};

const MAGIC: u32 = 0x85bd_40dd;
const VERSION: u8 = 1;

/// How the samples of a chunk are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkEncoding {
    Xor,
    Histogram,
    FloatHistogram,
}

impl ChunkEncoding {
    /// As files and remote read number them.
    pub fn number(self) -> u8 {
        match self {
            Self::Xor => 1,
            Self::Histogram => 2,
            Self::FloatHistogram => 3,
        }
    }

    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Xor, Self::Histogram, Self::FloatHistogram]
            .into_iter()
            .find(|e| e.number() == number)
    }
}

/// Samples of one chunk, ascending in time: floats or histograms.
#[derive(Clone, Debug)]
pub enum Samples {
    Floats(Vec<(i64, f64)>),
    Histograms(Vec<(i64, NativeHistogram)>),
}

/// The coded samples of one chunk.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    pub encoding: ChunkEncoding,
    pub data: &'a [u8],
    /// Where `data` lies in its file.
    pub offset: usize,
}

/// The chunk at `offset` of a segment file, its checksum verified.
pub fn chunk_at<'a>(file: &str, segment: &'a [u8], offset: u32) -> Result<Chunk<'a>, TsdbError> {
    let mut header = Reader::new(file, segment, 0);
    if header.u32()? != MAGIC {
        return Err(TsdbError::new(file, 0, "this is no file of chunks"));
    }
    match header.u8()? {
        VERSION => {}
        other => return Err(TsdbError::new(file, 4, format!("version {other} is not known"))),
    }
    let start = offset as usize;
    let rest = segment
        .get(start..)
        .filter(|_| start >= 8)
        .ok_or_else(|| TsdbError::new(file, start, "the index points past the end"))?;
    let mut reader = Reader::new(file, rest, start);
    let length = reader.uvarint_usize()?;
    let at = reader.position();
    // The encoding byte is covered by the checksum, not by the length.
    let covered = reader.bytes(
        length.checked_add(1).ok_or_else(|| TsdbError::new(file, start, "impossible length"))?,
    )?;
    reader.checksum(covered)?;
    let (number, data) =
        covered.split_first().ok_or_else(|| TsdbError::new(file, at, "the chunk is empty"))?;
    let encoding = ChunkEncoding::from_number(*number)
        .ok_or_else(|| TsdbError::new(file, at, format!("chunk encoding {number} is not known")))?;
    Ok(Chunk { encoding, data, offset: at + 1 })
}

impl Chunk<'_> {
    pub fn samples(&self, file: &str) -> Result<Samples, TsdbError> {
        let count = match self.data {
            [high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Err(TsdbError::new(file, self.offset, "the chunk has no header")),
        };
        let ended = |at: usize, index: usize| {
            TsdbError::new(
                file,
                self.offset + at,
                format!("the chunk ends in sample {index} of {count}"),
            )
        };
        let samples = match self.encoding {
            ChunkEncoding::Xor => {
                let bits = BitReader::new(self.data.get(2..).unwrap_or_default());
                Samples::Floats(floats(bits, count).map_err(|(at, n)| ended(2 + at, n))?)
            }
            ChunkEncoding::Histogram | ChunkEncoding::FloatHistogram => {
                let [_, _, flags, rest @ ..] = self.data else { return Err(ended(0, 0)) };
                let bits = BitReader::new(rest);
                let float = self.encoding == ChunkEncoding::FloatHistogram;
                let all = histogram::read(bits, *flags, count, float)
                    .map_err(|(at, n)| ended(3 + at, n))?;
                for (n, (_, h)) in all.iter().enumerate().filter(|(_, (_, h))| !h.is_stale()) {
                    h.validate().map_err(|why| {
                        TsdbError::new(file, self.offset, format!("histogram {n}: {why}"))
                    })?;
                }
                Samples::Histograms(all)
            }
        };
        let times: Vec<i64> = match &samples {
            Samples::Floats(all) => all.iter().map(|s| s.0).collect(),
            Samples::Histograms(all) => all.iter().map(|s| s.0).collect(),
        };
        if !times.is_sorted_by(|a, b| a < b) {
            return Err(TsdbError::new(file, self.offset, "the times do not ascend"));
        }
        Ok(samples)
    }
}

/// `Err` carries the byte and the number of the sample in which the data ends.
fn floats(mut bits: BitReader<'_>, count: usize) -> Result<Vec<(i64, f64)>, (usize, usize)> {
    let mut out = Vec::with_capacity(count);
    let (mut t, mut delta, mut value) = (0_i64, 0_i64, Xor::default());
    for index in 0..count {
        let mut next = || {
            match index {
                0 => {
                    t = bits.varint()?;
                    value = Xor::new(bits.float()?);
                }
                1 => {
                    delta = bits.uvarint()? as i64;
                    t = t.wrapping_add(delta);
                    value.read(&mut bits)?;
                }
                _ => {
                    delta = delta.wrapping_add(bits.time_difference()?);
                    t = t.wrapping_add(delta);
                    value.read(&mut bits)?;
                }
            }
            Some((t, value.value))
        };
        let sample = next();
        out.push(sample.ok_or((bits.position(), index))?);
    }
    Ok(out)
}

/// The data of an XOR chunk. At most 65 535 samples, ascending in time.
pub fn encode_xor(samples: &[(i64, f64)]) -> Vec<u8> {
    debug_assert!(samples.len() <= usize::from(u16::MAX));
    let mut out = BitWriter::default();
    out.bits(samples.len() as u64, 16);
    let (mut before, mut delta, mut value) = (0_i64, 0_i64, Xor::default());
    for (index, (t, v)) in samples.iter().enumerate() {
        let step = t.wrapping_sub(before);
        match index {
            0 => {
                out.varint(*t);
                out.float(*v);
                value = Xor::new(*v);
            }
            1 => {
                out.uvarint(step as u64);
                value.write(*v, &mut out);
            }
            _ => {
                out.time_difference(step.wrapping_sub(delta));
                value.write(*v, &mut out);
            }
        }
        if index > 0 {
            delta = step;
        }
        before = *t;
    }
    out.bytes
}

/// The data of a float histogram chunk. All histograms have the spans, schema, zero threshold,
/// custom bounds and reset hint of the first; at most 65 535.
pub fn encode_float_histogram(samples: &[(i64, &NativeHistogram)]) -> Vec<u8> {
    debug_assert!(samples.len() <= usize::from(u16::MAX));
    histogram::write(samples)
}
