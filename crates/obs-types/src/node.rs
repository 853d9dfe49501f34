use std::fmt;

const DID_PREFIX: &str = "did:vm:node:";

/// A node, written `brick-01` or `did:vm:node:brick-01`; both mean the same node everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

impl NodeName {
    pub fn new(name: &str) -> Self {
        Self(name.strip_prefix(DID_PREFIX).unwrap_or(name).to_owned())
    }

    /// `brick-01`
    pub fn short(&self) -> &str {
        &self.0
    }

    /// `did:vm:node:brick-01`
    pub fn did(&self) -> String {
        format!("{DID_PREFIX}{}", self.0)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_one_node() {
        assert_eq!(NodeName::new("did:vm:node:brick-01"), NodeName::new("brick-01"));
        assert_eq!(NodeName::new("brick-01").did(), "did:vm:node:brick-01");
    }
}
