//! A stream of bits, the most significant first, and the variable-width numbers in it.

/// Widths of a varbit number by the count of leading ones of its prefix; the prefix of the last
/// has no closing zero.
const WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];
/// The same for the differences of timestamp differences in XOR chunks.
const TIME_WIDTHS: [u32; 5] = [0, 14, 17, 20, 64];

/// `None` wherever the stream ends early.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes that were begun.
    pub(super) fn position(&self) -> usize {
        self.at.div_ceil(8)
    }

    pub(super) fn bits(&mut self, count: u32) -> Option<u64> {
        let end = self.at.checked_add(count as usize)?;
        if end > self.bytes.len().checked_mul(8)? {
            return None;
        }
        let mut out = 0_u64;
        let mut left = count;
        while left > 0 {
            let byte = u64::from(*self.bytes.get(self.at / 8)?);
            let free = 8 - (self.at % 8) as u32;
            let take = free.min(left);
            let part = (byte >> (free - take)) & ((1 << take) - 1);
            out = (out << take) | part;
            self.at += take as usize;
            left -= take;
        }
        Some(out)
    }

    pub(super) fn float(&mut self) -> Option<f64> {
        self.bits(64).map(f64::from_bits)
    }

    fn prefix(&mut self, longest: usize) -> Option<usize> {
        let mut ones = 0;
        while ones < longest && self.bits(1)? == 1 {
            ones += 1;
        }
        Some(ones)
    }

    fn width(&mut self, widths: &[u32]) -> Option<u32> {
        let ones = self.prefix(widths.len() - 1)?;
        widths.get(ones).copied()
    }

    fn signed(&mut self, width: u32) -> Option<i64> {
        let bits = self.bits(width)?;
        Some(match width {
            0 => 0,
            64 => bits as i64,
            // The positive half is one wider than the negative.
            _ if bits > 1 << (width - 1) => bits as i64 - (1 << width),
            _ => bits as i64,
        })
    }

    pub(super) fn varbit_int(&mut self) -> Option<i64> {
        let width = self.width(&WIDTHS)?;
        self.signed(width)
    }

    pub(super) fn varbit_uint(&mut self) -> Option<u64> {
        let width = self.width(&WIDTHS)?;
        self.bits(width)
    }

    pub(super) fn time_difference(&mut self) -> Option<i64> {
        let width = self.width(&TIME_WIDTHS)?;
        self.signed(width)
    }

    /// An LEB128 number.
    pub(super) fn uvarint(&mut self) -> Option<u64> {
        let mut out = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.bits(8)?;
            out |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(out);
            }
        }
        None
    }

    /// A zigzag LEB128 number.
    pub(super) fn varint(&mut self) -> Option<i64> {
        self.uvarint().map(unzigzag)
    }
}

pub(super) fn unzigzag(n: u64) -> i64 {
    (n >> 1) as i64 ^ -((n & 1) as i64)
}

#[derive(Debug, Default)]
pub(super) struct BitWriter {
    pub(super) bytes: Vec<u8>,
    /// Bits used of the last byte; 0 means that it is full or there is none.
    used: u32,
}

impl BitWriter {
    pub(super) fn bits(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let free = 8 - self.used;
            let take = free.min(left);
            let part = (value >> (left - take)) & ((1 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part << (free - take)) as u8;
            }
            self.used = (self.used + take) % 8;
            left -= take;
        }
    }

    pub(super) fn float(&mut self, value: f64) {
        self.bits(value.to_bits(), 64);
    }

    /// As many ones as `ones`, and a zero unless that is the longest prefix.
    fn prefix(&mut self, ones: usize, longest: usize) {
        for _ in 0..ones {
            self.bits(1, 1);
        }
        if ones < longest {
            self.bits(0, 1);
        }
    }

    fn signed(&mut self, value: i64, widths: &[u32]) {
        let fits = |width: u32| match width {
            0 => value == 0,
            64 => true,
            _ => (-((1_i64 << (width - 1)) - 1)..=1 << (width - 1)).contains(&value),
        };
        let ones = widths.iter().position(|w| fits(*w)).unwrap_or(widths.len() - 1);
        self.prefix(ones, widths.len() - 1);
        self.bits(value as u64, widths.get(ones).copied().unwrap_or(64));
    }

    pub(super) fn varbit_int(&mut self, value: i64) {
        self.signed(value, &WIDTHS);
    }

    pub(super) fn varbit_uint(&mut self, value: u64) {
        let needed = 64 - value.leading_zeros();
        let ones = WIDTHS.iter().position(|w| *w >= needed).unwrap_or(WIDTHS.len() - 1);
        self.prefix(ones, WIDTHS.len() - 1);
        self.bits(value, WIDTHS.get(ones).copied().unwrap_or(64));
    }

    pub(super) fn time_difference(&mut self, value: i64) {
        self.signed(value, &TIME_WIDTHS);
    }

    pub(super) fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bits(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.bits(value, 8);
    }

    pub(super) fn varint(&mut self, value: i64) {
        self.uvarint((value << 1 ^ value >> 63) as u64);
    }
}

/// Floats as differences of bits from the one before: Gorilla's coding.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Xor {
    pub(super) value: f64,
    /// Leading and trailing zero bits of the last difference that named them.
    window: Option<(u32, u32)>,
}

impl Xor {
    pub(super) fn new(value: f64) -> Self {
        Self { value, window: None }
    }

    pub(super) fn read(&mut self, from: &mut BitReader<'_>) -> Option<f64> {
        if from.bits(1)? == 1 {
            if from.bits(1)? == 1 {
                let leading = from.bits(5)? as u32;
                let width = match from.bits(6)? as u32 {
                    // 64 does not fit into the six bits.
                    0 => 64,
                    width => width,
                };
                self.window = Some((leading, 64_u32.checked_sub(leading + width)?));
            }
            let (leading, trailing) = self.window.unwrap_or((0, 0));
            let difference = from.bits(64 - leading - trailing)? << trailing;
            self.value = f64::from_bits(self.value.to_bits() ^ difference);
        }
        Some(self.value)
    }

    pub(super) fn write(&mut self, value: f64, to: &mut BitWriter) {
        let difference = value.to_bits() ^ self.value.to_bits();
        self.value = value;
        if difference == 0 {
            to.bits(0, 1);
            return;
        }
        // Five bits say how many zeros lead.
        let leading = difference.leading_zeros().min(31);
        let trailing = difference.trailing_zeros();
        match self.window {
            Some((l, t)) if leading >= l && trailing >= t => {
                to.bits(0b10, 2);
                to.bits(difference >> t, 64 - l - t);
            }
            _ => {
                self.window = Some((leading, trailing));
                let width = 64 - leading - trailing;
                to.bits(0b11, 2);
                to.bits(u64::from(leading), 5);
                to.bits(u64::from(width % 64), 6);
                to.bits(difference >> trailing, width);
            }
        }
    }
}
