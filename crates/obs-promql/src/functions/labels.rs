//! Natural order of label values, for `sort_by_label`.

use std::cmp::Ordering;

fn chunks(s: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = s;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
        let Some((head, tail)) = rest.split_at_checked(end) else { break };
        out.push(head);
        rest = tail;
    }
    out
}

/// Runs of digits compare as numbers, the rest as text.
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (x, y) = (chunks(a), chunks(b));
    for (p, q) in x.iter().zip(&y) {
        let order = match (p.parse::<i64>(), q.parse::<i64>()) {
            (Ok(m), Ok(n)) => m.cmp(&n),
            _ => p.cmp(q),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    x.len().cmp(&y.len())
}
