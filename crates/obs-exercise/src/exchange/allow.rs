use std::net::IpAddr;

/// Hosts that may be aimed at: loopback always, others only by name.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts {
    names: Vec<String>,
}

/// A target that nobody allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host:?} is not this machine's loopback address and not allowed; name it with --allow-host {host}"
)]
pub struct Refused {
    pub host: String,
}

impl AllowedHosts {
    /// `names` are host names or addresses, each meant literally; `*` allows every host.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self { names: names.into_iter().map(|n| n.to_ascii_lowercase()).collect() }
    }

    /// `host` without port; brackets around an IPv6 address are taken off.
    pub fn check(&self, host: &str) -> Result<(), Refused> {
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let loopback = match bare.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => bare == "localhost",
        };
        if loopback || self.names.iter().any(|n| *n == bare || n == "*") {
            return Ok(());
        }
        Err(Refused { host: bare })
    }

    /// After resolution: a name that stands for loopback must not lead elsewhere.
    pub fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Refused> {
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if address.is_loopback() || self.names.iter().any(|n| *n == bare || n == "*") {
            return Ok(());
        }
        Err(Refused { host: address.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_free_and_others_go_by_name() {
        let none = AllowedHosts::default();
        for host in ["127.0.0.1", "127.9.9.9", "localhost", "[::1]", "::1"] {
            assert_eq!(none.check(host), Ok(()), "{host}");
        }
        for host in
            ["10.0.0.1", "example.com", "localhost.example.com", "0.0.0.0", "127.0.0.1.nip.io"]
        {
            assert!(none.check(host).unwrap_err().to_string().contains("--allow-host"), "{host}");
        }
        let one = AllowedHosts::new(["Example.com".to_owned()]);
        assert_eq!(one.check("example.COM"), Ok(()));
        assert!(one.check("www.example.com").is_err());
        assert!(none.check_address("localhost", "10.0.0.1".parse().unwrap()).is_err());
    }
}
