//! Seeded mutations of every query of the public test files: the parser refuses or reads each
//! without a panic, and what it reads prints to a text that reads the same. Runs on a test
//! thread's stack of 2 MiB, as a server's threads have.

use std::collections::BTreeSet;

use obs_promql::{ParserOptions, parse, pretty};

/// Mutations of each query.
const ROUNDS: u64 = 30;

const PIECES: &[&str] = &[
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "`",
    ",",
    ":",
    "@",
    "offset ",
    "offset -5m ",
    "1h",
    "0",
    "-",
    "+",
    "^",
    "*",
    "</",
    ">/",
    "==",
    "bool ",
    "by (a)",
    "without ()",
    "on(a) ",
    "ignoring(b) ",
    "group_left(c) ",
    "group_right ",
    "fill(0) ",
    "fill_left(-1)",
    "anchored",
    "smoothed",
    "[5m:]",
    "[1m:10s]",
    "[step()*2]",
    "start()",
    "end()",
    "sum",
    "topk(1,",
    "rate(",
    "inf",
    "NaN",
    "0x1f",
    "1_000",
    "1e-3",
    "\u{e9}",
    "\\xff",
    "\u{0}",
    "\n",
    "#",
    " or ",
    " unless ",
    "info(",
    "{a=~\"(\"}",
    "((((((((((",
    "----------",
    "histogram_quantile(0.9, ",
    "min_of(1m, 2m)",
    "@ 1e300",
    "{\"m\"}",
];

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % n.max(1)
    }
}

fn queries(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let line = line.trim();
        let words = if line.starts_with("eval instant at ") {
            4
        } else if line.starts_with("eval range from ") {
            8
        } else {
            return None;
        };
        let mut rest = line;
        for _ in 0..words {
            rest = rest.trim_start().split_once(char::is_whitespace)?.1;
        }
        Some(rest.trim())
    })
}

/// A place between two characters.
fn place(text: &str, random: &mut Random) -> usize {
    let mut at = random.below(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn mutate(text: &str, all: &[String], random: &mut Random) -> String {
    let mut out = text.to_owned();
    for _ in 0..=random.below(3) {
        let (a, b) = (place(&out, random), place(&out, random));
        let (a, b) = (a.min(b), a.max(b));
        match random.below(6) {
            0 => out.replace_range(a..b, ""),
            1 => {
                let piece = out.get(a..b).unwrap_or_default().to_owned();
                out.insert_str(b, &piece);
            }
            2 | 3 => out.insert_str(a, PIECES[random.below(PIECES.len())]),
            4 => out.replace_range(a..b, PIECES[random.below(PIECES.len())]),
            _ => {
                let other = &all[random.below(all.len())];
                let from = place(other, random);
                out.replace_range(a.., other.get(from..).unwrap_or_default());
            }
        }
        if out.len() > 4_000 {
            break;
        }
    }
    out
}

#[test]
fn mutated_queries_neither_crash_the_parser_nor_change_when_printed() {
    let dir = super::vectors();
    if !dir.is_dir() {
        println!("skipped: no vectors");
        return;
    }
    let mut all: BTreeSet<String> = BTreeSet::new();
    for file in std::fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "test") {
            let text = std::fs::read_to_string(&path).unwrap();
            all.extend(queries(&text).map(str::to_owned));
        }
    }
    let all: Vec<String> = all.into_iter().collect();
    assert!(all.len() > 1_000, "only {} queries found", all.len());
    let options = ParserOptions::all();
    let read = |text: &str| parse(text, &options).ok().map(|e| (e.to_string(), pretty(&e)));
    let (mut tried, mut valid) = (0, 0);
    for (i, query) in all.iter().enumerate() {
        for round in 0..ROUNDS {
            let seed = i as u64 * ROUNDS + round;
            let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            // The first round is the query itself.
            let text = if round == 0 { query.clone() } else { mutate(query, &all, &mut random) };
            tried += 1;
            // The dialect takes more; it must not crash on any of it either.
            let _text = parse(&text, &ParserOptions::metricsql()).map(|e| e.to_string());
            let Some((canonical, long)) = read(&text) else { continue };
            valid += 1;
            for printed in [&canonical, &long] {
                let again = read(printed).map(|r| r.0);
                assert_eq!(again.as_ref(), Some(&canonical), "{text:?} printed as {printed:?}");
            }
        }
    }
    println!("{tried} texts, {valid} valid");
    assert!(valid > all.len() * 9 / 10, "{valid} valid texts of {} queries", all.len());
}
