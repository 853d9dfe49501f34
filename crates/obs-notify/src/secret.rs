use std::fmt;

/// An address that carries a token in its path or user part; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// `Err` unless it is an http or https address.
    pub fn new(url: &str) -> Result<Self, String> {
        match reqwest::Url::parse(url) {
            Ok(u) if matches!(u.scheme(), "http" | "https") && u.has_host() => {
                Ok(Self(url.to_owned()))
            }
            // The text itself may be the secret, so the message does not repeat it.
            _ => Err("is not an http or https address".to_owned()),
        }
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}
