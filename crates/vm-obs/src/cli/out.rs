//! Where answers go: standard output, or a buffer in tests.

use std::io::{self, IsTerminal, Write};

/// Columns assumed where the terminal does not say.
const COLUMNS: usize = 100;

/// A sink for text, and what it can show.
pub(crate) struct Out {
    to: Box<dyn Write>,
    /// Bars, sparklines and fitted columns only where a person looks.
    pub(crate) terminal: bool,
    pub(crate) columns: usize,
}

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Out").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl Out {
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let columns = rustix::termios::tcgetwinsize(&stdout)
            .map(|size| usize::from(size.ws_col))
            .ok()
            .filter(|columns| *columns > 0);
        Self {
            to: Box::new(io::BufWriter::new(stdout)),
            terminal,
            columns: columns.unwrap_or(COLUMNS),
        }
    }

    /// One line; what the text holds is not interpreted.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        self.to.write_all(text.as_bytes())?;
        self.to.write_all(b"\n")
    }

    /// A line of text that came with the telemetry: control characters would steer the terminal.
    pub(crate) fn foreign_line(&mut self, text: &str) -> io::Result<()> {
        self.line(&printable(text))
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Replaces control characters, and those that turn the direction of writing, by their escapes; a
/// tab stays.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(c),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.extend(c.escape_unicode()),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
pub(crate) mod testing {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// What was written, for a test to look at.
    #[derive(Clone, Default)]
    pub(crate) struct Written(Rc<RefCell<Vec<u8>>>);

    impl Written {
        pub(crate) fn text(&self) -> String {
            String::from_utf8_lossy(&self.0.borrow()).into_owned()
        }
    }

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(crate) fn memory() -> (Out, Written) {
        let written = Written::default();
        (Out { to: Box::new(written.clone()), terminal: false, columns: 100 }, written)
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\n\tc"), "a\\u{1b}[31mb\\n\tc");
        assert_eq!(printable("a\u{202e}bü"), "a\\u{202e}bü");
    }
}
