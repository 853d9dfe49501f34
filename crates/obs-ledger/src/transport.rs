/// Sends requests to witnesses and anchors. `Err` is why nobody answered.
pub trait Transport: Send + Sync {
    /// Status and body.
    fn post(&self, url: &str, kind: &str, body: Vec<u8>) -> Result<(u16, Vec<u8>), String>;
    fn get(&self, url: &str) -> Result<(u16, Vec<u8>), String>;
}
