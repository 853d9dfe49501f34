use std::borrow::Cow;

use obs_types::{LabelSet, TimestampNs};

use super::{ERROR_DETAILS_LABEL, ERROR_LABEL};
use crate::labels::Labels;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Stream,
    Metadata,
    Parsed,
}

#[derive(Debug)]
struct Label<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, str>,
    origin: Origin,
}

/// A line on its way through the pipeline. Names in `labels` are unique.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) timestamp: TimestampNs,
    pub(crate) line: Cow<'a, str>,
    stream: &'a LabelSet,
    labels: Vec<Label<'a>>,
    error: Option<Cow<'static, str>>,
    error_details: Option<String>,
}

/// Receives one extracted name and value.
pub(crate) type Set<'s, 'l> = &'s mut dyn FnMut(Cow<'l, str>, Cow<'l, str>);

/// Why a parser stage failed: the value of `__error__` and the details.
pub(crate) type StageFailure = (&'static str, String);

impl<'a> Entry<'a> {
    pub(crate) fn new(
        timestamp: TimestampNs,
        stream: &'a LabelSet,
        metadata: &'a LabelSet,
        line: &'a str,
    ) -> Self {
        let mut labels: Vec<Label<'a>> = Vec::with_capacity(16);
        for (name, value) in stream.iter() {
            labels.push(Label { name: name.into(), value: value.into(), origin: Origin::Stream });
        }
        for (name, value) in metadata.iter() {
            // The stream keeps its name; metadata that clashes is shown beside it.
            let name = if stream.get(name).is_some() {
                Cow::Owned(format!("{name}_extracted"))
            } else {
                Cow::Borrowed(name)
            };
            match labels.iter_mut().find(|l| l.name == name) {
                Some(l) => l.value = value.into(),
                None => labels.push(Label { name, value: value.into(), origin: Origin::Metadata }),
            }
        }
        Self {
            timestamp,
            line: Cow::Borrowed(line),
            stream,
            labels,
            error: None,
            error_details: None,
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        match name {
            ERROR_LABEL => self.error.as_deref(),
            ERROR_DETAILS_LABEL => self.error_details.as_deref(),
            _ => self.labels.iter().find(|l| l.name == name).map(|l| l.value.as_ref()),
        }
    }

    pub(crate) fn has_error(&self) -> bool {
        self.error.is_some()
    }

    /// Marks the entry; it goes on through the pipeline, where a filter may drop it.
    pub(crate) fn fail(&mut self, error: &'static str, details: String) {
        self.error = Some(Cow::Borrowed(error));
        self.error_details = Some(details);
    }

    /// Sets a label made by the pipeline, over one of the same name.
    pub(crate) fn set(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        if name == ERROR_DETAILS_LABEL {
            self.error_details = Some(value.into_owned());
            return;
        }
        match self.labels.iter_mut().find(|l| l.name == name) {
            Some(l) => {
                l.value = value;
                l.origin = Origin::Parsed;
            }
            None => self.labels.push(Label { name, value, origin: Origin::Parsed }),
        }
    }

    /// Sets a label that a parser found. A name of stream or metadata gets the suffix
    /// `_extracted`; what an earlier parser set stays.
    pub(crate) fn extract(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) {
        let clashes = self.stream.get(&name).is_some()
            || self.labels.iter().any(|l| l.name == name && l.origin == Origin::Metadata);
        let name = if clashes { Cow::Owned(format!("{name}_extracted")) } else { name };
        if self.labels.iter().any(|l| l.name == name && l.origin == Origin::Parsed) {
            return;
        }
        self.set(name, value);
    }

    /// Runs a parser over the line and takes what it finds as labels. Returns whether it could
    /// read the line; otherwise the entry is marked.
    pub(crate) fn parse_line(
        &mut self,
        parse: impl for<'l> Fn(&'l str, Set<'_, 'l>) -> Result<(), StageFailure>,
    ) -> bool {
        let outcome = match self.line {
            // Labels point into the stored line …
            Cow::Borrowed(line) => parse(line, &mut |n, v| self.extract(n, v)),
            // … unless an earlier stage made a new one.
            Cow::Owned(ref mut text) => {
                let text = std::mem::take(text);
                let outcome = parse(&text, &mut |n, v| {
                    self.extract(Cow::Owned(n.into_owned()), Cow::Owned(v.into_owned()));
                });
                self.line = Cow::Owned(text);
                outcome
            }
        };
        match outcome {
            Ok(()) => true,
            Err((error, details)) => {
                self.fail(error, details);
                false
            }
        }
    }

    /// A label that was asked for and not found is there and empty.
    pub(crate) fn set_missing<'n>(&mut self, names: impl Iterator<Item = &'n str>) {
        for name in names {
            if self.get(name).is_none() {
                self.set(Cow::Owned(name.to_owned()), Cow::Borrowed(""));
            }
        }
    }

    pub(crate) fn rename(&mut self, old: &str, new: &str) {
        let Some(at) = self.labels.iter().position(|l| l.name == old) else { return };
        let value = self.labels.remove(at).value;
        self.set(Cow::Owned(new.to_owned()), value);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        match name {
            ERROR_LABEL => self.error = None,
            ERROR_DETAILS_LABEL => self.error_details = None,
            _ => self.labels.retain(|l| l.name != name),
        }
    }

    /// Keeps the named labels; errors stay, or `keep` would hide them.
    pub(crate) fn retain(&mut self, names: &[&str]) {
        self.labels.retain(|l| names.contains(&l.name.as_ref()));
    }

    /// Every label with its current value, errors left out.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|l| (l.name.as_ref(), l.value.as_ref()))
    }

    fn errors(&self) -> impl Iterator<Item = (&str, &str)> {
        let error = self.error.as_deref().map(|e| (ERROR_LABEL, e));
        let details = self.error_details.as_deref().map(|e| (ERROR_DETAILS_LABEL, e));
        error.into_iter().chain(details)
    }

    pub(crate) fn labels(&self) -> Labels {
        Labels::from_pairs(self.iter().chain(self.errors()))
    }

    fn of(&self, origin: Origin) -> impl Iterator<Item = (&str, &str)> {
        self.labels
            .iter()
            .filter(move |l| l.origin == origin)
            .map(|l| (l.name.as_ref(), l.value.as_ref()))
    }

    pub(crate) fn metadata(&self) -> Labels {
        Labels::from_pairs(self.of(Origin::Metadata))
    }

    pub(crate) fn parsed(&self) -> Labels {
        Labels::from_pairs(self.of(Origin::Parsed).chain(self.errors()))
    }
}
