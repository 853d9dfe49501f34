use std::net::IpAddr;

use crate::error::ParseError;

/// `ip("10.0.0.1")`, `ip("10.0.0.1-10.0.0.9")`, `ip("10.0.0.0/8")`, and the same for IPv6.
/// Bounds are inclusive, in one numeric space per family.
#[derive(Clone, Debug)]
pub(crate) struct IpMatcher {
    v6: bool,
    first: u128,
    last: u128,
}

impl IpMatcher {
    pub(crate) fn parse(text: &str) -> Result<Self, ParseError> {
        Self::read(text).ok_or_else(|| {
            ParseError::whole(format!("ip: invalid pattern: {}", crate::unit::quote(text)))
        })
    }

    fn read(text: &str) -> Option<Self> {
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let width = if address.is_ipv6() { 128u32 } else { 32 };
            let bits: u32 = bits.parse().ok().filter(|b| *b <= width)?;
            let host = width - bits;
            // A shift by the full width would overflow.
            let mask = if host == 128 { u128::MAX } else { (1u128 << host) - 1 };
            let first = number(address) & !mask;
            return Some(Self { v6: address.is_ipv6(), first, last: first | mask });
        }
        if let Some((first, last)) = text.split_once('-') {
            let (first, last): (IpAddr, IpAddr) =
                (first.trim().parse().ok()?, last.trim().parse().ok()?);
            if first.is_ipv6() != last.is_ipv6() || number(first) > number(last) {
                return None;
            }
            return Some(Self { v6: first.is_ipv6(), first: number(first), last: number(last) });
        }
        let address: IpAddr = text.parse().ok()?;
        Some(Self { v6: address.is_ipv6(), first: number(address), last: number(address) })
    }

    fn holds(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.v6 && (self.first..=self.last).contains(&number(address))
    }

    /// Whether any address in the text lies in the range.
    pub(crate) fn found_in(&self, text: &str) -> bool {
        text.split(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':'))
            .filter(|run| run.len() >= 2)
            .any(|run| self.run_holds(run))
    }

    /// A run such as `10.0.0.1:80` or `::1.` holds an address with something around it.
    fn run_holds(&self, run: &str) -> bool {
        let parsed = |t: &str| t.parse::<IpAddr>().is_ok_and(|a| self.holds(a));
        if parsed(run) || parsed(run.trim_matches('.')) {
            return true;
        }
        if run.contains('.') {
            run.split(':').any(|part| parsed(part.trim_matches('.')))
        } else {
            parsed(run.trim_end_matches(':'))
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_addresses_among_text() {
        let m = IpMatcher::parse("10.0.0.0/8").unwrap();
        assert!(m.found_in("from 10.1.2.3:8080 to x"));
        assert!(m.found_in("(10.255.255.255)."));
        assert!(!m.found_in("from 11.1.2.3 v10.0"));
        let m = IpMatcher::parse("2001:db8::1-2001:db8::5").unwrap();
        assert!(m.found_in("peer=2001:db8::3 ok"));
        assert!(!m.found_in("peer=2001:db8::6 ok"));
        assert!(IpMatcher::parse("::/0").unwrap().found_in("::1"));
    }

    #[test]
    fn bad_patterns_are_named() {
        for bad in ["", "x", "1.2.3.4/33", "1.2.3.9-1.2.3.4", "1.2.3.4-::1"] {
            let e = IpMatcher::parse(bad).unwrap_err().to_string();
            assert!(e.contains("ip: invalid pattern"), "{e}");
        }
    }
}
