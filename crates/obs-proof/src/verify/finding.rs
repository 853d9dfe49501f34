use std::fmt;

/// What a finding means for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Worth saying, nothing wrong: exit 0.
    Note,
    /// Something was changed, removed, added or forged: exit 1.
    Tampering,
    /// Something that should be there is not: exit 2.
    Incomplete,
    /// All holds, but not by as many witnesses as were asked for: exit 3.
    Policy,
    /// Could not be read: exit 5.
    Io,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident $class:ident $name:literal,)*) => {
        /// What was found. The names are part of the output format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $variant,)* }

        impl Code {
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }
        }
    };
}

codes! {
    /// The checkpoint carries no signature by the log.
    Unsigned Tampering "UNSIGNED",
    /// Signed in the log's name, but not by a trusted key, or the signature is wrong.
    BadLogSignature Tampering "BAD_LOG_SIGNATURE",
    CheckpointMalformed Tampering "CHECKPOINT_MALFORMED",
    /// A key statement in the log that does not hold, or does not continue the chain of its keys.
    KeyChainBroken Tampering "KEY_CHAIN_BROKEN",
    /// Signed by a key that was revoked or retired by then, and by no other that counts.
    KeyNotValid Tampering "KEY_NOT_VALID",
    /// A contract whose signature does not hold, or that says something else than its receipt.
    ContractInvalid Tampering "CONTRACT_INVALID",
    /// A contract by a key that was revoked by then.
    ActorRevoked Tampering "ACTOR_REVOKED",
    /// The checkpoint is of another log than the key that signed it.
    WrongOrigin Tampering "WRONG_ORIGIN",
    /// The log ends before the size that its checkpoint signs.
    Truncated Tampering "TRUNCATED",
    /// The lines do not give the signed root.
    RootMismatch Tampering "ROOT_MISMATCH",
    NotCanonical Tampering "NOT_CANONICAL",
    SeqOrder Tampering "SEQ_ORDER",
    /// `root_hash` of a receipt is not the root over the receipts before it.
    RootHashMismatch Tampering "ROOT_HASH_MISMATCH",
    TimestampBackwards Tampering "TIMESTAMP_BACKWARDS",
    /// `ROOT.observability.txt` is no root that this log ever had.
    RootFileMismatch Tampering "ROOT_FILE_MISMATCH",
    InconsistentWithState Tampering "INCONSISTENT_WITH_STATE",
    Rollback Tampering "ROLLBACK",
    ContentMismatch Tampering "CONTENT_MISMATCH",
    SizeMismatch Tampering "SIZE_MISMATCH",
    RecordsMismatch Tampering "RECORDS_MISMATCH",
    /// Two seals claim the same stream, hour and revision, or overlapping hours.
    DuplicateSeal Tampering "DUPLICATE_SEAL",
    /// A later revision does not name an earlier seal of its hour, or gives no reason.
    SealLinkBroken Tampering "SEAL_LINK_BROKEN",
    /// Sealed before the hour was over.
    SealedTooEarly Tampering "SEALED_TOO_EARLY",
    BadPath Tampering "BAD_PATH",
    /// A proof file that is damaged, or is none.
    ProofMalformed Tampering "PROOF_MALFORMED",
    /// The parts of a proof file do not belong together.
    ProofMismatch Tampering "PROOF_MISMATCH",
    NothingVerified Incomplete "NOTHING_VERIFIED",
    CheckpointMissing Incomplete "CHECKPOINT_MISSING",
    LogMissing Incomplete "LOG_MISSING",
    NoLogKey Incomplete "NO_LOG_KEY",
    RootFileMissing Incomplete "ROOT_FILE_MISSING",
    /// Hours of a stream that no seal and no `obs_gap` speaks for.
    PeriodGap Incomplete "PERIOD_GAP",
    FileMissing Incomplete "FILE_MISSING",
    /// A file lies in a cold store that this run cannot read.
    ColdNotChecked Incomplete "COLD_NOT_CHECKED",
    /// A seal lacks a field without which its file cannot be checked.
    SealIncomplete Incomplete "SEAL_INCOMPLETE",
    /// A contract by a key that the registry of actors does not have: nobody checked it.
    ActorUnknown Incomplete "ACTOR_UNKNOWN",
    /// A receipt of a format version that this verifier does not know.
    UnknownVersion Incomplete "UNKNOWN_VERSION",
    RecordsUnreadable Incomplete "RECORDS_UNREADABLE",
    /// Records were to be checked and nobody decodes this kind of file.
    RecordsNotChecked Incomplete "RECORDS_NOT_CHECKED",
    /// Two keys are to sign during an overlap, and one of them has not.
    KeySignatureMissing Policy "KEY_SIGNATURE_MISSING",
    WitnessQuorumMissing Policy "WITNESS_QUORUM_MISSING",
    /// A cosignature in a trusted witness' name that does not verify: it counts for nothing.
    BadWitnessSignature Policy "BAD_WITNESS_SIGNATURE",
    /// What the witnesses have cosigned is too far behind the newest receipt.
    WitnessStale Policy "WITNESS_STALE",
    IoError Io "IO_ERROR",
    /// No witness was asked for and none has cosigned.
    Unwitnessed Note "UNWITNESSED",
    /// Receipts behind the cosigned prefix: signed by the log's key alone.
    UnwitnessedTail Note "UNWITNESSED_TAIL",
    KeyFromData Note "KEY_FROM_DATA",
    /// Actors' keys were read from the folder itself.
    ActorsFromData Note "ACTORS_FROM_DATA",
    /// The trusted key was followed by another: that is the one to pin.
    KeyRotated Note "KEY_ROTATED",
    TornTailUnsigned Note "TORN_TAIL_UNSIGNED",
    UnsignedTail Note "UNSIGNED_TAIL",
    RootFileStale Note "ROOT_FILE_STALE",
    FilesNotChecked Note "FILES_NOT_CHECKED",
    UnreceiptedFile Note "UNRECEIPTED_FILE",
    /// A seal that says again what an earlier one said of the same file.
    RepeatedSeal Note "REPEATED_SEAL",
    /// Records whose content was removed on record; their leaf hashes are still in the tree.
    Redacted Note "REDACTED",
    DeclaredGap Note "DECLARED_GAP",
    DeclaredDeletion Note "DECLARED_DELETION",
    StateRemembered Note "STATE_REMEMBERED",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One thing that was found, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub code: Code,
    /// The code's class, but for a `ROOT_HASH_MISMATCH` under a policy whose quorum is missing.
    pub class: Class,
    /// Receipt number.
    pub seq: Option<u64>,
    /// Byte offset in the log.
    pub offset: Option<u64>,
    /// File, relative to the verified folder.
    pub path: Option<String>,
    /// How many things of this kind, where that is the finding.
    pub count: Option<u64>,
    pub detail: String,
}

impl Finding {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            class: code.class(),
            seq: None,
            offset: None,
            path: None,
            count: None,
            detail: detail.into(),
        }
    }

    pub(crate) fn at(mut self, seq: u64, offset: u64) -> Self {
        self.seq = Some(seq);
        self.offset = Some(offset);
        self
    }

    pub(crate) fn seq(mut self, seq: u64) -> Self {
        self.seq = Some(seq);
        self
    }

    pub(crate) fn path(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    pub(crate) fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// The code, with `:count` where the finding is a number of things.
    pub fn name(&self) -> String {
        match self.count {
            Some(n) => format!("{}:{n}", self.code),
            None => self.code.to_string(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(seq) = self.seq {
            write!(f, " seq {seq}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, " byte {offset}")?;
        }
        if let Some(path) = &self.path {
            write!(f, " {path}")?;
        }
        write!(f, ": {}", self.detail)
    }
}
