//! Decompression that stops at a limit.

use std::borrow::Cow;
use std::io::Read;

use crate::{WireCaps, WireError};

/// `Content-Encoding` of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    Zstd,
    /// Raw blocks, as remote write and Loki push use them.
    Snappy,
    /// zlib framing; raw deflate is understood too, some clients send it.
    Deflate,
}

impl Encoding {
    /// `None`, `""` and `identity` mean no compression.
    pub fn from_header(value: Option<&str>) -> Result<Self, WireError> {
        let name = value.unwrap_or("").trim().to_ascii_lowercase();
        Ok(match name.as_str() {
            "" | "identity" => Self::Identity,
            "gzip" | "x-gzip" => Self::Gzip,
            "zstd" => Self::Zstd,
            "snappy" => Self::Snappy,
            "deflate" => Self::Deflate,
            _ => {
                return Err(WireError::Unsupported { what: "content encoding", value: name });
            }
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Identity => "body",
            Self::Gzip => "gzip body",
            Self::Zstd => "zstd body",
            Self::Snappy => "snappy body",
            Self::Deflate => "deflate body",
        }
    }
}

/// The plain bytes. Never allocates more than the caps allow.
pub fn decompress<'a>(
    body: &'a [u8],
    encoding: Encoding,
    caps: &WireCaps,
) -> Result<Cow<'a, [u8]>, WireError> {
    match decompress_or_size(body, encoding, caps)? {
        Plain::Ready(plain) => Ok(plain),
        Plain::Snappy(_) => {
            let malformed = |e: snap::Error| WireError::malformed(encoding.name(), e.to_string());
            snap::raw::Decoder::new().decompress_vec(body).map(Cow::Owned).map_err(malformed)
        }
    }
}

enum Plain<'a> {
    Ready(Cow<'a, [u8]>),
    /// A snappy block still to be unpacked, of this plain size.
    Snappy(usize),
}

fn decompress_or_size<'a>(
    body: &'a [u8],
    encoding: Encoding,
    caps: &WireCaps,
) -> Result<Plain<'a>, WireError> {
    let what = encoding.name();
    if body.len() > caps.compressed_bytes_max {
        return Err(WireError::TooLarge {
            what,
            got: body.len() as u64,
            limit: caps.compressed_bytes_max as u64,
        });
    }
    let plain = match encoding {
        Encoding::Identity if body.len() > caps.output_bytes_max => Err(WireError::TooLarge {
            what,
            got: body.len() as u64,
            limit: caps.output_bytes_max as u64,
        }),
        Encoding::Identity => Ok(Cow::Borrowed(body)),
        Encoding::Gzip => read_capped(flate2::read::MultiGzDecoder::new(body), what, caps),
        Encoding::Zstd => {
            let mut reader = zstd::stream::read::Decoder::new(body)
                .map_err(|e| WireError::malformed(what, e.to_string()))?;
            // A frame may ask for a window of gigabytes; 8 MiB is what encoders use by default.
            reader.window_log_max(27).map_err(|e| WireError::malformed(what, e.to_string()))?;
            read_capped(reader, what, caps)
        }
        Encoding::Deflate => {
            read_capped(flate2::read::ZlibDecoder::new(body), what, caps).or_else(|e| match e {
                WireError::Malformed { .. } => {
                    read_capped(flate2::read::DeflateDecoder::new(body), what, caps)
                }
                other => Err(other),
            })
        }
        Encoding::Snappy => return snappy_size(body, what, caps).map(Plain::Snappy),
    };
    plain.map(Plain::Ready)
}

/// As [`decompress`], into a buffer that callers keep between bodies; only snappy uses it. Its
/// contents before and after are of no account.
pub fn decompress_into<'a>(
    body: &'a [u8],
    encoding: Encoding,
    caps: &WireCaps,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], WireError> {
    match decompress_or_size(body, encoding, caps)? {
        Plain::Ready(Cow::Borrowed(plain)) => Ok(plain),
        Plain::Ready(Cow::Owned(plain)) => {
            *buffer = plain;
            Ok(buffer)
        }
        Plain::Snappy(size) => {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let out = buffer.get_mut(..size).unwrap_or_default();
            let malformed = |e: snap::Error| WireError::malformed(encoding.name(), e.to_string());
            snap::raw::Decoder::new().decompress(body, out).map_err(malformed)?;
            Ok(out)
        }
    }
}

/// A raw snappy block states its size first, so a bomb is refused before it is unpacked.
fn snappy_size(body: &[u8], what: &'static str, caps: &WireCaps) -> Result<usize, WireError> {
    let malformed = |e: snap::Error| WireError::malformed(what, e.to_string());
    let size = snap::raw::decompress_len(body).map_err(malformed)?;
    if size > caps.output_bytes_max {
        return Err(WireError::Bomb { what, limit: caps.output_bytes_max as u64 });
    }
    // One element of at most 3 bytes gives at most 64 bytes, so a claim beyond that ratio is a lie
    // that would only cost memory.
    if size > body.len().saturating_mul(64) {
        return Err(WireError::malformed(what, "stated size cannot be reached"));
    }
    Ok(size)
}

fn read_capped<'a>(
    reader: impl Read,
    what: &'static str,
    caps: &WireCaps,
) -> Result<Cow<'a, [u8]>, WireError> {
    let limit = caps.output_bytes_max as u64;
    let mut out = Vec::new();
    reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|e| WireError::malformed(what, e.to_string()))?;
    if out.len() as u64 > limit {
        return Err(WireError::Bomb { what, limit });
    }
    Ok(Cow::Owned(out))
}

/// A raw snappy block. Bodies of 4 GiB and more cannot be written.
pub fn snappy_compress(bytes: &[u8]) -> Result<Vec<u8>, WireError> {
    snap::raw::Encoder::new()
        .compress_vec(bytes)
        .map_err(|e| WireError::malformed("snappy input", e.to_string()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const ALL: [Encoding; 4] =
        [Encoding::Gzip, Encoding::Zstd, Encoding::Snappy, Encoding::Deflate];

    fn compress(bytes: &[u8], encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Identity => bytes.to_vec(),
            Encoding::Gzip => {
                let mut w = flate2::write::GzEncoder::new(Vec::new(), Default::default());
                w.write_all(bytes).unwrap();
                w.finish().unwrap()
            }
            Encoding::Deflate => {
                let mut w = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
                w.write_all(bytes).unwrap();
                w.finish().unwrap()
            }
            Encoding::Zstd => zstd::encode_all(bytes, 1).unwrap(),
            Encoding::Snappy => snappy_compress(bytes).unwrap(),
        }
    }

    #[test]
    fn bombs_are_refused() {
        let zeros = vec![0; 1 << 20];
        let caps = WireCaps { output_bytes_max: 1000, ..WireCaps::default() };
        for encoding in ALL {
            let small = compress(&zeros, encoding);
            let got = decompress(&small, encoding, &caps).unwrap_err();
            assert_eq!(got.reason(), "bomb", "{encoding:?}");
            assert!(got.is_limit());
            let exact = WireCaps { output_bytes_max: 1 << 20, ..caps };
            assert_eq!(decompress(&small, encoding, &exact).unwrap().len(), 1 << 20);
        }
        // A header that claims 2 GiB behind ten bytes.
        let lie = [0x80, 0x80, 0x80, 0x80, 0x08, 0, 0, 0, 0, 0];
        let wide = WireCaps { output_bytes_max: usize::MAX, ..caps };
        assert_eq!(decompress(&lie, Encoding::Snappy, &wide).unwrap_err().reason(), "malformed");
        assert_eq!(
            decompress(&zeros, Encoding::Identity, &caps).unwrap_err().reason(),
            "too_large"
        );
    }

    #[test]
    fn headers_are_read() {
        assert_eq!(Encoding::from_header(None), Ok(Encoding::Identity));
        assert_eq!(Encoding::from_header(Some("GZIP")), Ok(Encoding::Gzip));
        assert!(Encoding::from_header(Some("br")).is_err());
    }

    proptest! {
        #[test]
        fn round_trips(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            for encoding in ALL {
                let packed = compress(&bytes, encoding);
                let back = decompress(&packed, encoding, &WireCaps::default()).unwrap();
                prop_assert_eq!(back.as_ref(), bytes.as_slice());
                let mut buffer = vec![7; 100];
                let kept =
                    decompress_into(&packed, encoding, &WireCaps::default(), &mut buffer).unwrap();
                prop_assert_eq!(kept, bytes.as_slice());
            }
        }

        #[test]
        fn any_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let caps = WireCaps { output_bytes_max: 4096, ..WireCaps::default() };
            for encoding in ALL {
                let mut buffer = vec![7; 10];
                let into = decompress_into(&bytes, encoding, &caps, &mut buffer).map(<[u8]>::to_vec);
                match decompress(&bytes, encoding, &caps) {
                    Ok(out) => {
                        prop_assert!(out.len() <= 4096);
                        prop_assert_eq!(into.unwrap(), out.into_owned());
                    }
                    Err(_) => prop_assert!(into.is_err()),
                }
            }
        }
    }
}
