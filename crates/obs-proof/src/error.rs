/// Why bytes were refused, or a proof does not hold. Messages name the place and the limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    #[error("{what} is not valid base64")]
    Base64 { what: &'static str },
    #[error("{what} is not {want} hexadecimal digits")]
    Hex { what: &'static str, want: usize },
    #[error("{what} has {got} bytes, {want} are needed")]
    Length { what: &'static str, want: usize, got: usize },
    #[error("{what}: {reason}")]
    Malformed { what: &'static str, reason: String },
    #[error("{what} has {got} bytes, the limit is {max}")]
    TooLarge { what: &'static str, got: usize, max: usize },
    #[error("key algorithm 0x{0:02x} is not supported")]
    UnsupportedAlgorithm(u8),
    #[error("signature of {name} does not verify")]
    BadSignature { name: String },
    #[error("no signature by a known key")]
    NoKnownSignature,
    #[error("index {index} is outside a tree of {size} leaves")]
    IndexOutOfRange { index: u64, size: u64 },
    #[error("size {size1} is larger than {size2}")]
    SizeOrder { size1: u64, size2: u64 },
    #[error("proof has {got} hashes, {want} are needed")]
    ProofLength { want: usize, got: usize },
    #[error("proof leads to another root")]
    RootMismatch,
    #[error("the tree node at level {level}, index {index} is not available")]
    MissingNode { level: u32, index: u64 },
    #[error("policy line {line}: {reason}")]
    Policy { line: usize, reason: String },
}

impl ProofError {
    pub(crate) fn malformed(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed { what, reason: reason.into() }
    }
}
