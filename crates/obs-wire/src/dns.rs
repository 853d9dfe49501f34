//! DNS messages as far as service discovery needs them: one question out, SRV, MX and NS records in.
//! Source: RFC 1035, RFC 2782.

use crate::WireError;

const WHAT: &str = "DNS message";
const CLASS_IN: u16 = 1;
/// Bytes of a name, and labels or pointers that it may be put together from.
const NAME_BYTES_MAX: usize = 255;
const NAME_PARTS_MAX: usize = 128;

/// The kinds of record that name a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsRecordType {
    Ns,
    Mx,
    Srv,
}

impl DnsRecordType {
    fn number(self) -> u16 {
        match self {
            Self::Ns => 2,
            Self::Mx => 15,
            Self::Srv => 33,
        }
    }
}

/// A host that a record names, without the dot at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsTarget {
    pub host: String,
    /// SRV only.
    pub port: Option<u16>,
}

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    pub id: u16,
    /// The answer did not fit; TCP has room.
    pub truncated: bool,
    /// 0 is success, 3 says that there is no such name.
    pub code: u8,
    /// Of the records of the asked kind, in their order.
    pub targets: Vec<DnsTarget>,
}

/// A question that asks the server to recurse. `Err` if `name` is no domain name.
pub fn encode_dns_query(id: u16, name: &str, kind: DnsRecordType) -> Result<Vec<u8>, WireError> {
    let wrong = || WireError::malformed(WHAT, format!("{name:?} is no domain name"));
    let mut out = Vec::with_capacity(name.len() + 18);
    for word in [id, 0x0100, 1, 0, 0, 0] {
        out.extend(word.to_be_bytes());
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() || name.len() + 2 > NAME_BYTES_MAX {
        return Err(wrong());
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..64).contains(n));
        out.push(length.ok_or_else(wrong)?);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out.extend(kind.number().to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    Ok(out)
}

/// Reads an answer; records of other kinds are passed over.
pub fn decode_dns_answer(message: &[u8], kind: DnsRecordType) -> Result<DnsAnswer, WireError> {
    let mut reader = Reader { message, at: 0 };
    let broken = |at: usize| WireError::malformed(WHAT, format!("broken at byte {at}"));
    read(&mut reader, kind).ok_or_else(|| broken(reader.at))
}

fn read(reader: &mut Reader<'_>, kind: DnsRecordType) -> Option<DnsAnswer> {
    let (id, flags) = (reader.u16()?, reader.u16()?);
    // Only an answer is one.
    if flags & 0x8000 == 0 {
        return None;
    }
    let (questions, answers) = (reader.u16()?, reader.u16()?);
    reader.skip(4)?;
    for _ in 0..questions {
        reader.name()?;
        reader.skip(4)?;
    }
    let truncated = flags & 0x0200 != 0;
    let mut out = DnsAnswer { id, truncated, code: (flags & 0xf) as u8, targets: Vec::new() };
    for _ in 0..answers {
        reader.name()?;
        let (of, class) = (reader.u16()?, reader.u16()?);
        reader.skip(4)?;
        let length = usize::from(reader.u16()?);
        let end = reader.at.checked_add(length).filter(|end| *end <= reader.message.len())?;
        if of == kind.number() && class == CLASS_IN {
            let mut port = None;
            match kind {
                DnsRecordType::Srv => {
                    reader.skip(4)?;
                    port = Some(reader.u16()?);
                }
                DnsRecordType::Mx => reader.skip(2)?,
                DnsRecordType::Ns => {}
            }
            out.targets.push(DnsTarget { host: reader.name()?, port });
        }
        reader.at = end;
    }
    Some(out)
}

struct Reader<'m> {
    message: &'m [u8],
    at: usize,
}

impl Reader<'_> {
    fn u16(&mut self) -> Option<u16> {
        let bytes = self.message.get(self.at..)?.first_chunk::<2>()?;
        self.at += 2;
        Some(u16::from_be_bytes(*bytes))
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes).filter(|at| *at <= self.message.len())?;
        Some(())
    }

    /// A name may end in a pointer to an earlier one; the reader goes on behind the pointer.
    fn name(&mut self) -> Option<String> {
        let mut out = String::new();
        let mut at = self.at;
        let mut behind = None;
        for _ in 0..NAME_PARTS_MAX {
            let length = usize::from(*self.message.get(at)?);
            match length {
                0 => {
                    self.at = behind.unwrap_or(at + 1);
                    return Some(out);
                }
                1..64 => {
                    let label = self.message.get(at + 1..at + 1 + length)?;
                    if out.len() + length + 1 > NAME_BYTES_MAX {
                        return None;
                    }
                    if !out.is_empty() {
                        out.push('.');
                    }
                    out.push_str(std::str::from_utf8(label).ok()?);
                    at += 1 + length;
                }
                192.. => {
                    let low = usize::from(*self.message.get(at + 1)?);
                    behind.get_or_insert(at + 2);
                    at = (length & 0x3f) << 8 | low;
                }
                _ => return None,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer to `query` with records given as type and data; names in data may point to the
    /// question's at byte 12.
    fn answer(query: &[u8], flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut out = query.to_vec();
        out[2..4].copy_from_slice(&flags.to_be_bytes());
        out[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
        for (kind, data) in records {
            out.extend([0xc0, 12]);
            out.extend(kind.to_be_bytes());
            out.extend([0, 1, 0, 0, 0, 60]);
            out.extend((data.len() as u16).to_be_bytes());
            out.extend(*data);
        }
        out
    }

    #[test]
    fn records_of_the_asked_kind_are_read() {
        let query = encode_dns_query(7, "_m._tcp.example.", DnsRecordType::Srv).unwrap();
        assert_eq!(query[12..], *b"\x02_m\x04_tcp\x07example\x00\x00\x21\x00\x01");
        let records: [(u16, &[u8]); 3] = [
            // Priority, weight, port 9100, "a" and a pointer to "example".
            (33, b"\x00\x01\x00\x02\x23\x8c\x01a\xc0\x14"),
            (16, b"\x04text"),
            (33, b"\x00\x01\x00\x02\x00\x50\x01b\x00"),
        ];
        let got = decode_dns_answer(&answer(&query, 0x8180, &records), DnsRecordType::Srv).unwrap();
        let target = |host: &str, port| DnsTarget { host: host.into(), port: Some(port) };
        assert_eq!(got.targets, [target("a.example", 9100), target("b", 80)]);
        assert_eq!((got.id, got.code, got.truncated), (7, 0, false));
        let none = decode_dns_answer(&answer(&query, 0x8383, &[]), DnsRecordType::Srv).unwrap();
        assert_eq!((none.code, none.truncated), (3, true));

        let mx: [(u16, &[u8]); 1] = [(15, b"\x00\x0a\x04mail\xc0\x14")];
        let got = decode_dns_answer(&answer(&query, 0x8180, &mx), DnsRecordType::Mx).unwrap();
        assert_eq!(got.targets, [DnsTarget { host: "mail.example".into(), port: None }]);
    }

    #[test]
    fn names_that_are_none_are_refused() {
        let long = "a.".repeat(200);
        for name in ["", ".", "a..b", &"x".repeat(64), &long] {
            assert!(encode_dns_query(1, name, DnsRecordType::Ns).is_err(), "{name}");
        }
    }

    #[test]
    fn broken_messages_are_refused_and_pointers_that_go_in_circles_end() {
        let query = encode_dns_query(7, "example", DnsRecordType::Ns).unwrap();
        let circle: [(u16, &[u8]); 1] = [(2, b"\xc0\x1f")];
        let message = answer(&query, 0x8180, &circle);
        assert_eq!(message.len() - 2, 37);
        let mut own = message.clone();
        own[38] = 37;
        assert!(decode_dns_answer(&own, DnsRecordType::Ns).is_err());
        // A question is no answer.
        assert!(decode_dns_answer(&query, DnsRecordType::Ns).is_err());
        let good: [(u16, &[u8]); 1] = [(2, b"\x02ns\xc0\x0c")];
        let good = answer(&query, 0x8180, &good);
        let whole = decode_dns_answer(&good, DnsRecordType::Ns).unwrap();
        assert_eq!(whole.targets[0].host, "ns.example");
        for cut in 0..good.len() {
            assert!(decode_dns_answer(&good[..cut], DnsRecordType::Ns).is_err(), "{cut}");
        }
        for at in 0..good.len() {
            for byte in [0, 1, 0x3f, 0x40, 0xc0, 0xff] {
                let mut changed = good.clone();
                changed[at] = byte;
                drop(decode_dns_answer(&changed, DnsRecordType::Ns));
            }
        }
    }
}
