//! What was made lately, shared between all who want it, up to a number of bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// By text; what was not asked for the longest goes first.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    state: Mutex<State<T>>,
    bytes_max: usize,
}

#[derive(Debug)]
struct State<T> {
    entries: HashMap<String, Entry<T>>,
    bytes: usize,
    /// Counts requests.
    clock: u64,
}

#[derive(Debug)]
struct Entry<T> {
    value: Arc<T>,
    bytes: usize,
    asked: u64,
}

/// Estimate of an entry without its texts.
const ENTRY_BYTES: usize = 128;

impl<T> Recent<T> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let state = State { entries: HashMap::new(), bytes: 0, clock: 0 };
        Self { state: Mutex::new(state), bytes_max }
    }

    /// The value of a text. `make` runs without a lock, where the text is not known, and tells how
    /// many bytes to count; `None` for what is not to be kept.
    pub(crate) fn get_or_make<E>(
        &self,
        text: &str,
        make: impl FnOnce() -> Result<(T, Option<usize>), E>,
    ) -> Result<Arc<T>, E> {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.clock += 1;
            let now = state.clock;
            if let Some(entry) = state.entries.get_mut(text) {
                entry.asked = now;
                return Ok(Arc::clone(&entry.value));
            }
        }
        let (value, bytes) = make()?;
        let value = Arc::new(value);
        let bytes = bytes.map(|b| b + text.len() + ENTRY_BYTES);
        if let Some(bytes) = bytes.filter(|b| *b <= self.bytes_max) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = Entry { value: Arc::clone(&value), bytes, asked: state.clock };
            state.bytes += bytes;
            // Two may have made it at once; the later one stays.
            if let Some(before) = state.entries.insert(text.to_owned(), entry) {
                state.bytes -= before.bytes;
            }
            while state.bytes > self.bytes_max {
                let oldest = state.entries.iter().min_by_key(|(_, e)| e.asked);
                let Some(text) = oldest.map(|(text, _)| text.clone()) else { break };
                state.bytes -= state.entries.remove(&text).map_or(0, |e| e.bytes);
            }
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_what_is_too_large_never_stays() {
        let room = 10 * (ENTRY_BYTES + 20);
        let recent: Recent<usize> = Recent::new(room);
        let mut made = 0;
        let mut ask = |i: usize, bytes: Option<usize>| {
            let text = format!("{i:020}");
            let before = made;
            let got = recent.get_or_make(&text, || {
                made += 1;
                Ok::<_, ()>((i, bytes))
            });
            assert_eq!(got.as_deref(), Ok(&i));
            let state = recent.state.lock().unwrap();
            let counted: usize = state.entries.values().map(|e| e.bytes).sum();
            assert_eq!(state.bytes, counted);
            assert!(counted <= room);
            made > before
        };
        for i in 0..10 {
            assert!(ask(i, Some(0)));
        }
        assert!(!ask(0, Some(0)));
        // The eleventh takes the place of 1, which was not asked for since.
        assert!(ask(10, Some(0)));
        assert!(!ask(0, Some(0)) && !ask(10, Some(0)));
        assert!(ask(1, Some(0)));
        for _ in 0..2 {
            assert!(ask(11, Some(room)));
            assert!(ask(12, None));
        }
        assert!(!ask(0, Some(0)));
        let failed = recent.get_or_make("x", || Err::<(usize, Option<usize>), _>("no"));
        assert_eq!(failed, Err("no"));
    }
}
