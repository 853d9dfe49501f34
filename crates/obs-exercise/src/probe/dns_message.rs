//! DNS messages (RFC 1035): a question out, sections in, records as text.

use std::net::{Ipv4Addr, Ipv6Addr};

const TYPES: [(&str, u16); 22] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("HINFO", 13),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("SRV", 33),
    ("NAPTR", 35),
    ("DNAME", 39),
    ("OPT", 41),
    ("DS", 43),
    ("RRSIG", 46),
    ("NSEC", 47),
    ("DNSKEY", 48),
    ("TLSA", 52),
    ("SVCB", 64),
    ("HTTPS", 65),
    ("ANY", 255),
    ("CAA", 257),
];
const CLASSES: [(&str, u16); 5] = [("IN", 1), ("CS", 2), ("CH", 3), ("HS", 4), ("ANY", 255)];
const RCODES: [(&str, u8); 11] = [
    ("NOERROR", 0),
    ("FORMERR", 1),
    ("SERVFAIL", 2),
    ("NXDOMAIN", 3),
    ("NOTIMP", 4),
    ("REFUSED", 5),
    ("YXDOMAIN", 6),
    ("YXRRSET", 7),
    ("NXRRSET", 8),
    ("NOTAUTH", 9),
    ("NOTZONE", 10),
];
/// Jumps within one name; more is a loop.
const POINTERS_MAX: usize = 64;

pub(super) fn type_number(name: &str) -> Option<u16> {
    TYPES.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

pub(super) fn class_number(name: &str) -> Option<u16> {
    CLASSES.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

pub(super) fn rcode_number(name: &str) -> Option<u8> {
    RCODES.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
}

/// A record as text, with its serial number where it is an SOA.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub(super) text: String,
    pub(super) serial: Option<u32>,
}

/// A decoded answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Message {
    pub(super) id: u16,
    pub(super) response: bool,
    pub(super) rcode: u8,
    pub(super) answer: Vec<Record>,
    pub(super) authority: Vec<Record>,
    pub(super) additional: Vec<Record>,
}

/// `None` for a name that does not fit.
pub(super) fn question(
    id: u16,
    name: &str,
    kind: u16,
    class: u16,
    recursion: bool,
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(64);
    out.extend(id.to_be_bytes());
    out.extend([u8::from(recursion), 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.').filter(|l| !l.is_empty()) {
        let length = u8::try_from(label.len()).ok().filter(|l| *l < 64)?;
        out.push(length);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out.extend(kind.to_be_bytes());
    out.extend(class.to_be_bytes());
    (out.len() < 300).then_some(out)
}

/// Err says what is wrong with the bytes.
pub(super) fn parse(bytes: &[u8]) -> Result<Message, &'static str> {
    let word = |at: usize| -> Result<u16, &'static str> {
        let pair = bytes.get(at..at + 2).ok_or("message is cut")?;
        Ok(u16::from_be_bytes([pair[0], pair[1]]))
    };
    let flags = word(2)?;
    let counts = [word(4)?, word(6)?, word(8)?, word(10)?];
    let mut at = 12;
    for _ in 0..counts[0] {
        let (_, after) = name(bytes, at)?;
        at = after + 4;
    }
    let mut sections = [Vec::new(), Vec::new(), Vec::new()];
    for (section, count) in sections.iter_mut().zip(counts.iter().skip(1)) {
        for _ in 0..*count {
            let (record, after) = record(bytes, at)?;
            section.push(record);
            at = after;
        }
    }
    let [answer, authority, additional] = sections;
    Ok(Message {
        id: word(0)?,
        response: flags & 0x8000 != 0,
        rcode: (flags & 0xf) as u8,
        answer,
        authority,
        additional,
    })
}

fn name(bytes: &[u8], start: usize) -> Result<(String, usize), &'static str> {
    let (mut at, mut after, mut jumps) = (start, None, 0);
    let mut out = String::new();
    loop {
        let length = usize::from(*bytes.get(at).ok_or("name is cut")?);
        match length {
            0 => {
                let end = after.unwrap_or(at + 1);
                return Ok((if out.is_empty() { ".".to_owned() } else { out }, end));
            }
            1..=63 => {
                let label = bytes.get(at + 1..at + 1 + length).ok_or("name is cut")?;
                for b in label {
                    match b {
                        b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b' ' => {
                            out.push('\\');
                            out.push(char::from(*b));
                        }
                        0x21..=0x7e => out.push(char::from(*b)),
                        other => out.push_str(&format!("\\{other:03}")),
                    }
                }
                out.push('.');
                at += 1 + length;
            }
            192..=255 => {
                let low = usize::from(*bytes.get(at + 1).ok_or("name is cut")?);
                after = after.or(Some(at + 2));
                at = (length & 0x3f) << 8 | low;
                jumps += 1;
                if jumps > POINTERS_MAX {
                    return Err("name points in a circle");
                }
            }
            _ => return Err("name has a reserved label"),
        }
    }
}

fn record(bytes: &[u8], start: usize) -> Result<(Record, usize), &'static str> {
    let (owner, at) = name(bytes, start)?;
    let fixed = bytes.get(at..at + 10).ok_or("record is cut")?;
    let kind = u16::from_be_bytes([fixed[0], fixed[1]]);
    let class = u16::from_be_bytes([fixed[2], fixed[3]]);
    let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
    let from = at + 10;
    let data = bytes.get(from..from + length).ok_or("record is cut")?;
    let shown = |all: &[(&str, u16)], n: u16, prefix: &str| {
        let known = all.iter().find(|(_, v)| *v == n).map(|(name, _)| (*name).to_owned());
        known.unwrap_or_else(|| format!("{prefix}{n}"))
    };
    let (text, serial) = rdata(bytes, from, data, kind)?;
    let kind = shown(&TYPES, kind, "TYPE");
    let class = shown(&CLASSES, class, "CLASS");
    Ok((Record { text: format!("{owner}\t{ttl}\t{class}\t{kind}\t{text}"), serial }, from + length))
}

fn rdata(
    bytes: &[u8],
    from: usize,
    data: &[u8],
    kind: u16,
) -> Result<(String, Option<u32>), &'static str> {
    let word = |at: usize| {
        data.get(at..at + 2).map(|p| u16::from_be_bytes([p[0], p[1]])).ok_or("record is cut")
    };
    let text = match kind {
        1 => {
            let octets: [u8; 4] = data.try_into().map_err(|_length| "A is not 4 bytes")?;
            Ipv4Addr::from(octets).to_string()
        }
        28 => {
            let octets: [u8; 16] = data.try_into().map_err(|_length| "AAAA is not 16 bytes")?;
            Ipv6Addr::from(octets).to_string()
        }
        2 | 5 | 12 | 39 => name(bytes, from)?.0,
        15 => format!("{} {}", word(0)?, name(bytes, from + 2)?.0),
        33 => format!("{} {} {} {}", word(0)?, word(2)?, word(4)?, name(bytes, from + 6)?.0),
        16 => strings(data)?,
        257 => {
            let length = usize::from(*data.get(1).ok_or("CAA is cut")?);
            let tag = data.get(2..2 + length).ok_or("CAA is cut")?;
            let value = data.get(2 + length..).unwrap_or_default();
            let flags = data.first().copied().unwrap_or(0);
            format!("{flags} {} {}", String::from_utf8_lossy(tag), quoted(value))
        }
        6 => {
            let (primary, at) = name(bytes, from)?;
            let (mailbox, at) = name(bytes, at)?;
            let rest = bytes.get(at..at + 20).ok_or("SOA is cut")?;
            let numbers: Vec<u32> = rest
                .chunks_exact(4)
                .map(|n| u32::from_be_bytes([n[0], n[1], n[2], n[3]]))
                .collect();
            let shown: Vec<String> = numbers.iter().map(u32::to_string).collect();
            let text = format!("{primary} {mailbox} {}", shown.join(" "));
            return Ok((text, numbers.first().copied()));
        }
        // RFC 3597: what is not known is shown as bytes.
        _ => {
            let hex: String = data.iter().map(|b| format!("{b:02x}")).collect();
            format!("\\# {} {hex}", data.len())
        }
    };
    Ok((text, None))
}

fn strings(data: &[u8]) -> Result<String, &'static str> {
    let mut out = Vec::new();
    let mut rest = data;
    while let Some((length, tail)) = rest.split_first() {
        let (text, tail) =
            tail.split_at_checked(usize::from(*length)).ok_or("character string is cut")?;
        out.push(quoted(text));
        rest = tail;
    }
    Ok(out.join(" "))
}

fn quoted(text: &[u8]) -> String {
    let mut out = String::from("\"");
    for b in text {
        match b {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(*b));
            }
            0x20..=0x7e => out.push(char::from(*b)),
            other => out.push_str(&format!("\\{other:03}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let mut m = question(7, "example.com", 1, 1, true).unwrap();
        m[2] |= 0x80;
        m[3] = 3;
        m[7] = 2;
        m[9] = 1;
        // A pointer to the question's name.
        m.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
        m.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 60, 0, 4, 3, b'a', b'"', b'b']);
        m.extend([0xc0, 12, 0, 6, 0, 1, 0, 0, 0, 60, 0, 24, 0xc0, 12, 0xc0, 12]);
        for n in [9u32, 1, 2, 3, 4] {
            m.extend(n.to_be_bytes());
        }
        let message = parse(&m).unwrap();
        assert_eq!((message.id, message.response, message.rcode), (7, true, 3));
        assert_eq!(message.answer[0].text, "example.com.\t60\tIN\tA\t127.0.0.1");
        assert_eq!(message.answer[1].text, "example.com.\t60\tIN\tTXT\t\"a\\\"b\"");
        assert_eq!(message.authority[0].serial, Some(9));
        for cut in 0..m.len() {
            // Nothing of it may panic, and nothing but the whole is good.
            assert!(parse(&m[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_name_that_points_to_itself_ends() {
        let mut m = vec![0; 12];
        m[5] = 1;
        m.extend([0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(parse(&m), Err("name points in a circle"));
        assert!(question(1, &"a".repeat(64), 1, 1, true).is_none());
    }
}
