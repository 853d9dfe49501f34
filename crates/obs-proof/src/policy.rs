//! C2SP tlog-policy: which log keys are trusted, and how many witnesses must have cosigned.
//!
//! ```text
//! log <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group <name> <any|all|N> <member>…
//! quorum <name|none>
//! ```
//! A name is defined before it is used; exactly one `quorum` line; `#` starts a comment line.

use std::collections::{BTreeMap, BTreeSet};

use crate::ProofError;
use crate::note::{KeyKind, VerifierKey};

/// A trust policy. It is pinned by whoever verifies, never taken from the data.
#[derive(Clone, Debug)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    witnesses: BTreeMap<String, VerifierKey>,
    /// Where a witness is asked, for those that say so.
    urls: BTreeMap<String, String>,
    groups: BTreeMap<String, Group>,
    quorum: Option<String>,
}

#[derive(Clone, Debug)]
struct Group {
    threshold: usize,
    members: Vec<String>,
}

impl Policy {
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let mut policy = Self {
            logs: Vec::new(),
            witnesses: BTreeMap::new(),
            urls: BTreeMap::new(),
            groups: BTreeMap::new(),
            quorum: None,
        };
        let mut quorum_seen = false;
        let mut used: BTreeSet<String> = BTreeSet::new();
        for (i, raw) in text.lines().enumerate() {
            let line = i + 1;
            let fail = |reason: String| ProofError::Policy { line, reason };
            let words: Vec<&str> = raw.split_ascii_whitespace().collect();
            match words.as_slice() {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["log", vkey] | ["log", vkey, _] => {
                    let key = VerifierKey::parse(vkey).map_err(|e| fail(e.to_string()))?;
                    if key.kind() != KeyKind::Ed25519 {
                        return Err(fail("a log key must be plain Ed25519".to_owned()));
                    }
                    policy.logs.push(key);
                }
                ["witness", name, vkey, url @ ..] if url.len() <= 1 => {
                    policy.check_new(name).map_err(fail)?;
                    let key = VerifierKey::parse(vkey)
                        .map_err(|e| ProofError::Policy { line, reason: e.to_string() })?;
                    let twice = policy.witnesses.values().any(|w| *w == key);
                    if key.kind() != KeyKind::CosignatureV1 || twice {
                        let reason = "a witness key must be cosignature/v1 and stand once";
                        return Err(ProofError::Policy { line, reason: reason.to_owned() });
                    }
                    policy.witnesses.insert((*name).to_owned(), key);
                    if let [url] = url {
                        policy.urls.insert((*name).to_owned(), (*url).to_owned());
                    }
                }
                ["group", name, threshold, members @ ..] => {
                    policy.check_new(name).map_err(fail)?;
                    let group = policy
                        .group(threshold, members, &mut used)
                        .map_err(|reason| ProofError::Policy { line, reason })?;
                    policy.groups.insert((*name).to_owned(), group);
                }
                ["quorum", name] => {
                    if std::mem::replace(&mut quorum_seen, true) {
                        return Err(fail("a second quorum line".to_owned()));
                    }
                    if *name != "none" {
                        policy.check_known(name).map_err(fail)?;
                        policy.quorum = Some((*name).to_owned());
                    }
                }
                [other, ..] => {
                    return Err(fail(format!(
                        "{other:?} with {} words is no log, witness, group or quorum line",
                        words.len()
                    )));
                }
            }
        }
        let end = text.lines().count();
        let fail = |reason: &str| ProofError::Policy { line: end, reason: reason.to_owned() };
        if policy.logs.is_empty() {
            return Err(fail("no log line"));
        }
        if !quorum_seen {
            return Err(fail("no quorum line"));
        }
        Ok(policy)
    }

    /// Trusts these log keys and asks for no witness.
    pub fn from_log_keys(logs: Vec<VerifierKey>) -> Self {
        Self {
            logs,
            witnesses: BTreeMap::new(),
            urls: BTreeMap::new(),
            groups: BTreeMap::new(),
            quorum: None,
        }
    }

    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// By the name that the policy gives them.
    pub fn witnesses(&self) -> impl Iterator<Item = (&str, &VerifierKey)> {
        self.witnesses.iter().map(|(name, key)| (name.as_str(), key))
    }

    /// Where a witness takes checkpoints, without the last part `/add-checkpoint`.
    pub fn witness_url(&self, name: &str) -> Option<&str> {
        self.urls.get(name).map(String::as_str)
    }

    pub fn asks_for_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Whether these witnesses (by the policy's names) make the quorum.
    pub fn quorum_met(&self, cosigned: &BTreeSet<&str>) -> bool {
        self.quorum.as_deref().is_none_or(|name| self.holds(name, cosigned))
    }

    /// Members are defined before their group, so this ends.
    fn holds(&self, name: &str, cosigned: &BTreeSet<&str>) -> bool {
        match self.groups.get(name) {
            Some(g) => g.members.iter().filter(|m| self.holds(m, cosigned)).count() >= g.threshold,
            None => cosigned.contains(name),
        }
    }

    fn group(
        &self,
        threshold: &str,
        members: &[&str],
        used: &mut BTreeSet<String>,
    ) -> Result<Group, String> {
        if members.is_empty() {
            return Err("a group needs members".to_owned());
        }
        for m in members {
            self.check_known(m)?;
            if !used.insert((*m).to_owned()) {
                return Err(format!("{m:?} is a member of two groups, or twice of one"));
            }
        }
        let threshold = match threshold {
            "any" => 1,
            "all" => members.len(),
            n => n.parse().map_err(|_n| format!("{n:?} is not any, all or a number"))?,
        };
        if threshold == 0 || threshold > members.len() {
            return Err(format!("{threshold} of {} members cannot be asked for", members.len()));
        }
        Ok(Group { threshold, members: members.iter().map(|m| (*m).to_owned()).collect() })
    }

    fn check_new(&self, name: &str) -> Result<(), String> {
        match name == "none" || self.check_known(name).is_ok() {
            true => Err(format!("the name {name:?} is taken")),
            false => Ok(()),
        }
    }

    fn check_known(&self, name: &str) -> Result<(), String> {
        match self.witnesses.contains_key(name) || self.groups.contains_key(name) {
            true => Ok(()),
            false => Err(format!("{name:?} is not defined above")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::SignerKey;

    fn vkey(name: &str, kind: KeyKind, seed: u8) -> String {
        SignerKey::from_seed(name, kind, &[seed; 32]).unwrap().verifier().to_string()
    }

    fn text() -> String {
        let mut out = format!("# trust\nlog {}\n", vkey("l", KeyKind::Ed25519, 1));
        for i in 2..6 {
            let key = vkey(&format!("w.example/{i}"), KeyKind::CosignatureV1, i);
            out.push_str(&format!("witness w{i} {key} https://w{i}.example\n"));
        }
        out + "group ours any w2 w3\ngroup q 2 ours w4 w5\nquorum q\n"
    }

    #[test]
    fn groups_nest() {
        let policy = Policy::parse(&text()).unwrap();
        assert_eq!(policy.witness_url("w3"), Some("https://w3.example"));
        for (names, met) in [
            (&["w2", "w3"][..], false),
            (&["w2", "w4"], true),
            (&["w4", "w5"], true),
            (&["w4"], false),
            (&[], false),
        ] {
            assert_eq!(policy.quorum_met(&names.iter().copied().collect()), met, "{names:?}");
        }
    }

    #[test]
    fn mistakes_name_their_line() {
        let log = format!("log {}\n", vkey("l", KeyKind::Ed25519, 1));
        let witness = format!("witness w {}\n", vkey("w", KeyKind::CosignatureV1, 2));
        for (bad, line) in [
            (log.clone(), 1),
            ("quorum none\n".to_owned(), 1),
            (format!("{log}quorum w\n"), 2),
            (format!("{log}{witness}{witness}quorum w\n"), 3),
            (format!("{log}{witness}group g 2 w\nquorum g\n"), 3),
            (format!("{log}{witness}group g any w w\nquorum g\n"), 3),
            (format!("{log}quorum none\nquorum none\n"), 3),
            (format!("{log}nonsense\nquorum none\n"), 2),
            (format!("log {}quorum none\n", vkey("l", KeyKind::CosignatureV1, 1)), 1),
        ] {
            match Policy::parse(&bad) {
                Err(ProofError::Policy { line: at, .. }) => assert_eq!(at, line, "{bad}"),
                other => panic!("{bad}: {other:?}"),
            }
        }
    }
}
