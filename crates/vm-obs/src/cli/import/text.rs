//! Files in the text formats, a part at a time: they may be larger than memory.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail};
use obs_types::{LabelSet, SeriesSamples};
use obs_wire::exposition::{ExpositionFormat, ParseCaps, parse};

use super::Wanted;
use super::store::Store;

/// A part is closed at the first line's end behind this.
const PART_BYTES: usize = 8 << 20;
const LINE_BYTES_MAX: usize = 1 << 20;

pub(super) fn import(file: &Path, wanted: &Wanted, store: &mut Store) -> anyhow::Result<()> {
    let shown = file.display().to_string();
    let input: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).with_context(|| format!("cannot read {shown}"))?)
    };
    let mut parts = Parts { input: BufReader::new(input), heads: Vec::new(), line: 0, done: false };
    let format = parts.format().with_context(|| shown.clone())?;
    while let Some((text, first_line, added)) = parts.next(format).with_context(|| shown.clone())? {
        let caps = ParseCaps {
            input_bytes_max: usize::MAX,
            line_bytes_max: LINE_BYTES_MAX,
            samples_max: usize::MAX,
            ..ParseCaps::default()
        };
        let parsed = parse(text.as_bytes(), format, caps).map_err(|e| {
            let line = first_line + e.line.saturating_sub(added);
            anyhow::anyhow!("{shown}, line {line}, column {}: {}", e.column, e.message)
        })?;
        store.metadata(parsed.metadata);
        let mut series: BTreeMap<LabelSet, SeriesSamples> = BTreeMap::new();
        for sample in parsed.series {
            let Some(t) = sample.timestamp else {
                bail!(
                    "{shown}, about line {first_line}: {} has no timestamp, so there is no telling \
                     when it was",
                    sample.labels
                );
            };
            if !wanted.time(t.0) || !wanted.series(&sample.labels) {
                continue;
            }
            let entry = series.entry(sample.labels).or_default();
            entry.samples.push((t, sample.value));
            entry.exemplars.extend(sample.exemplar.map(|e| e.into_exemplar(t)));
        }
        for (labels, mut samples) in series {
            samples.labels = labels;
            samples.samples.sort_by_key(|s| s.0);
            store.add(samples)?;
        }
        eprintln!("{shown}: {} lines, {} samples stored", parts.line, store.stored());
    }
    Ok(())
}

/// The lines of a file in parts that can be parsed alone.
struct Parts<'a> {
    input: BufReader<Box<dyn Read + 'a>>,
    /// The metadata lines that the family at the end of the last part had.
    heads: Vec<String>,
    /// Lines read so far.
    line: usize,
    done: bool,
}

impl Parts<'_> {
    /// OpenMetrics ends in `# EOF` and times are in seconds; Prometheus' text has milliseconds. The
    /// first timestamp tells them apart, because a file may be cut.
    fn format(&mut self) -> anyhow::Result<ExpositionFormat> {
        let start = self.input.fill_buf()?;
        let text = String::from_utf8_lossy(start);
        let sample = text.lines().find(|l| !l.is_empty() && !l.starts_with('#'));
        // Behind the labels: value, timestamp, perhaps an exemplar.
        let stamp = sample.and_then(|line| {
            let rest = line.split(" # ").next()?;
            let behind = rest.rsplit_once('}').map_or(rest, |(_, behind)| behind);
            let fields: Vec<&str> = behind.split_whitespace().collect();
            fields.last().filter(|_| fields.len() >= 2)?.parse::<f64>().ok()
        });
        // Seconds of the year 5138 are milliseconds of 1973.
        Ok(match stamp {
            Some(t) if t.abs() >= 1e11 => ExpositionFormat::Prometheus,
            _ => ExpositionFormat::OpenMetrics,
        })
    }

    /// The text, the number of its first own line, and how many lines stand before that.
    fn next(&mut self, format: ExpositionFormat) -> anyhow::Result<Option<(String, usize, usize)>> {
        if self.done {
            return Ok(None);
        }
        let mut text: String = self.heads.concat();
        let (added, first_line) = (self.heads.len(), self.line);
        let mut ended = false;
        while text.len() < PART_BYTES {
            let mut line = Vec::new();
            let limit = LINE_BYTES_MAX as u64 + 1;
            if self.input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
                self.done = true;
                break;
            }
            self.line += 1;
            if line.len() > LINE_BYTES_MAX {
                bail!("line {} is longer than {LINE_BYTES_MAX} bytes", self.line);
            }
            let mut line = String::from_utf8(line)
                .map_err(|_wrong| anyhow::anyhow!("line {} is not UTF-8", self.line))?;
            if !line.ends_with('\n') {
                line.push('\n');
            }
            if line.starts_with('#') {
                self.head(&line);
            }
            ended |= line.trim_end() == "# EOF";
            text.push_str(&line);
        }
        if text.len() == self.heads.concat().len() && first_line == self.line {
            return Ok(None);
        }
        if format == ExpositionFormat::OpenMetrics && !ended {
            text.push_str("# EOF\n");
        }
        Ok(Some((text, first_line, added)))
    }

    /// Keeps the lines of the newest family: the next part begins with them.
    fn head(&mut self, line: &str) {
        let family = |line: &str| line.split_whitespace().nth(2).map(str::to_owned);
        if self.heads.first().and_then(|l| family(l)) != family(line) {
            self.heads.clear();
        }
        if line.trim_end() != "# EOF" {
            self.heads.push(line.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &'static str) -> Parts<'static> {
        let input: Box<dyn Read> = Box::new(text.as_bytes());
        Parts { input: BufReader::new(input), heads: Vec::new(), line: 0, done: false }
    }

    #[test]
    fn formats_are_told_by_their_first_timestamp() {
        for (text, format) in [
            ("# TYPE a gauge\na{b=\"c d\"} 1 1765029600.5\n", ExpositionFormat::OpenMetrics),
            ("a 1 1765029600\n# EOF\n", ExpositionFormat::OpenMetrics),
            ("a{b=\"}\"} 1e3 1765029600500\n", ExpositionFormat::Prometheus),
            ("a 1 1765029600 # {t=\"x\"} 5 6\n", ExpositionFormat::OpenMetrics),
        ] {
            assert_eq!(parts(text).format().unwrap(), format, "{text}");
        }
    }

    #[test]
    fn a_part_repeats_the_head_of_its_family() {
        let mut p = parts("# HELP a x\n# TYPE a counter\na_total 1 1\n# TYPE b gauge\nb 2 1\n");
        let (text, first, added) = p.next(ExpositionFormat::OpenMetrics).unwrap().unwrap();
        assert!(text.ends_with("b 2 1\n# EOF\n"), "{text}");
        assert_eq!((first, added), (0, 0));
        assert_eq!(p.heads, ["# TYPE b gauge\n"]);
        assert!(p.next(ExpositionFormat::OpenMetrics).unwrap().is_none());
    }
}
