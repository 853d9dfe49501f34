use std::borrow::Cow;

use super::entry::{Entry, Set, StageFailure};
use super::json::{sanitized, unescape};

/// One `key=value` with its raw text, or what is wrong at a byte offset.
enum Pair<'l> {
    Good(&'l str, Cow<'l, str>),
    Bad(usize, &'static str),
}

/// Calls `set` for every pair. Without `strict`, what cannot be read is skipped.
pub(crate) fn parse<'l>(
    line: &'l str,
    strict: bool,
    keep_empty: bool,
    set: Set<'_, 'l>,
) -> Result<(), StageFailure> {
    each(line, strict, |key, value| {
        if value.is_empty() && !keep_empty {
            return;
        }
        let name = sanitized(key);
        if !name.is_empty() {
            set(name, value);
        }
    })
}

/// `logfmt label="key", …`: the wanted keys alone; a missing one gives an empty label, as the
/// reference does.
pub(crate) fn extract(entry: &mut Entry<'_>, strict: bool, keys: &[(String, String)]) {
    entry.parse_line(|line, set| {
        let mut found: Vec<Option<Cow<'_, str>>> = keys.iter().map(|_| None).collect();
        let outcome = each(line, strict, |key, value| {
            for (slot, (_, wanted)) in found.iter_mut().zip(keys) {
                if slot.is_none() && (wanted == key || *wanted == sanitized(key)) {
                    *slot = Some(value.clone());
                }
            }
        });
        for (slot, (label, _)) in found.into_iter().zip(keys) {
            if let Some(value) = slot {
                set(Cow::Owned(label.clone()), value);
            }
        }
        outcome
    });
    entry.set_missing(keys.iter().map(|(label, _)| label.as_str()));
}

fn each<'l>(
    line: &'l str,
    strict: bool,
    mut good: impl FnMut(&'l str, Cow<'l, str>),
) -> Result<(), StageFailure> {
    let mut at = 0;
    while let Some(pair) = next_pair(line, &mut at) {
        match pair {
            Pair::Good(key, value) => good(key, value),
            Pair::Bad(offset, what) if strict => {
                return Err((
                    "LogfmtParserErr",
                    format!("logfmt syntax error at pos {offset} : {what}"),
                ));
            }
            Pair::Bad(..) => {}
        }
    }
    Ok(())
}

/// Reads one pair from byte `at` on; `None` at the end of the line.
fn next_pair<'l>(line: &'l str, at: &mut usize) -> Option<Pair<'l>> {
    let bytes = line.as_bytes();
    let is = |i: usize, f: fn(&u8) -> bool| bytes.get(i).is_some_and(f);
    while is(*at, |b| *b <= b' ') {
        *at += 1;
    }
    if *at >= bytes.len() {
        return None;
    }
    let start = *at;
    while is(*at, |b| *b > b' ' && *b != b'=' && *b != b'"') {
        *at += 1;
    }
    let key = line.get(start..*at)?;
    if is(*at, |b| *b == b'"') {
        let offset = *at;
        skip_word(bytes, at);
        return Some(Pair::Bad(offset, "unexpected '\"'"));
    }
    if !is(*at, |b| *b == b'=') {
        return Some(Pair::Good(key, Cow::Borrowed("")));
    }
    if key.is_empty() {
        let offset = *at;
        skip_word(bytes, at);
        return Some(Pair::Bad(offset, "unexpected '='"));
    }
    *at += 1;
    if is(*at, |b| *b == b'"') {
        let open = *at + 1;
        *at = open;
        let mut escaped = false;
        while is(*at, |b| *b != b'"') {
            if is(*at, |b| *b == b'\\') {
                escaped = true;
                *at += 1;
            }
            *at += 1;
        }
        if *at >= bytes.len() {
            *at = bytes.len();
            return Some(Pair::Bad(open - 1, "unterminated quoted value"));
        }
        let raw = line.get(open..*at)?;
        *at += 1;
        let value = if escaped { unescape(raw) } else { Cow::Borrowed(raw) };
        return Some(Pair::Good(key, value));
    }
    let value_start = *at;
    while is(*at, |b| *b > b' ' && *b != b'=' && *b != b'"') {
        *at += 1;
    }
    if is(*at, |b| *b == b'=' || *b == b'"') {
        let offset = *at;
        skip_word(bytes, at);
        return Some(Pair::Bad(offset, "unexpected character in value"));
    }
    Some(Pair::Good(key, Cow::Borrowed(line.get(value_start..*at)?)))
}

fn skip_word(bytes: &[u8], at: &mut usize) {
    while bytes.get(*at).is_some_and(|b| *b > b' ') {
        *at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(line: &str, strict: bool) -> Result<Vec<(String, String)>, StageFailure> {
        let mut out = Vec::new();
        parse(line, strict, true, &mut |n, v| out.push((n.into_owned(), v.into_owned())))?;
        Ok(out)
    }

    #[test]
    fn pairs_quotes_and_rubbish() {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(
            all(r#"a=1 b="x \"y\" é" c d= =e f="g"#, false).unwrap(),
            [pair("a", "1"), pair("b", "x \"y\" é"), pair("c", ""), pair("d", "")]
        );
        let e = all(r#"a=1 f="g"#, true).unwrap_err();
        assert_eq!(e.0, "LogfmtParserErr");
        assert!(e.1.contains("pos 6"), "{}", e.1);
        assert!(all("é=ü\u{0}=\"\\", false).is_ok());
    }
}
