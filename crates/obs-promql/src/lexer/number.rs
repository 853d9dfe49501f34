//! Numbers and durations.

use super::{Lexer, Tok, is_alnum};
use crate::text::{duration_unit_ms, number_suffix, quote};

impl Lexer<'_> {
    /// A number with an optional suffix (`8K`, `1.5Gi`), or a duration of decimal parts and steps
    /// (`1.5h`, `2i`).
    fn metricsql_number(&mut self) -> Result<bool, String> {
        let begin = self.at;
        if self.text.get(begin..).is_some_and(|t| t.starts_with("0x") || t.starts_with("0X")) {
            return match self.scan_number() {
                true => self.emit(Tok::Number),
                false => Err(format!("bad number syntax: {}", quote(self.word()))),
            };
        }
        let mut tok = Tok::Number;
        loop {
            while self.eat(|c| c.is_ascii_digit() || c == '_' || c == '.') {}
            if tok == Tok::Number {
                self.exponent();
            }
            let letters = self.at;
            while self.eat(|c| c.is_ascii_alphabetic()) {}
            let unit = self.text.get(letters..self.at).unwrap_or("");
            let more = self.peek().is_some_and(|c| c.is_ascii_digit());
            if tok == Tok::Number && !more && (unit.is_empty() || number_suffix(unit).is_some()) {
                break;
            }
            tok = Tok::Duration;
            if duration_unit_ms(unit).is_none() {
                return Err(format!("bad number or duration syntax: {}", quote(self.word())));
            }
            if !more {
                break;
            }
        }
        if self.peek().is_some_and(is_alnum) {
            self.next();
            return Err(format!("bad number or duration syntax: {}", quote(self.word())));
        }
        self.emit(tok)
    }

    /// `e-5`; nothing where no digit follows.
    fn exponent(&mut self) {
        let before = self.at;
        if self.eat(|c| c == 'e' || c == 'E') {
            self.eat(|c| c == '+' || c == '-');
            if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
                self.at = before;
            }
            while self.eat(|c| c.is_ascii_digit()) {}
        }
    }

    pub(super) fn number_or_duration(&mut self) -> Result<bool, String> {
        if self.metricsql {
            return self.metricsql_number();
        }
        if self.scan_number() {
            return self.emit(Tok::Number);
        }
        if self.scan_duration() {
            return self.emit(Tok::Duration);
        }
        Err(format!("bad number or duration syntax: {}", quote(self.word())))
    }

    fn scan_number(&mut self) -> bool {
        let begin = self.at;
        let mut hex = false;
        if self.eat(|c| c == '0') && self.eat(|c| c == 'x' || c == 'X') {
            self.eat(|c| c == '_');
            hex = true;
        }
        let digit = |c: char| if hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
        self.eat(|c| c == '.');
        self.eat(digit);
        let (mut dot, mut exp) = (false, false);
        while let Some(c) = self.peek() {
            if c == '.' {
                self.next();
                if dot || self.eat(|c| c == '_' || c == '.') || hex {
                    return false;
                }
                dot = true;
            } else if !hex && (c == 'e' || c == 'E') {
                self.next();
                if exp {
                    return false;
                }
                exp = true;
                self.eat(|c| c == '+' || c == '-');
                if self.eat(|c| "._eE".contains(c)) || self.peek().is_none() {
                    return false;
                }
            } else if c == '_' {
                self.next();
                if self.eat(|c| "._eE".contains(c)) || self.peek().is_none() {
                    return false;
                }
            } else if digit(c) {
                self.next();
            } else {
                break;
            }
        }
        self.at > begin && !self.peek().is_some_and(is_alnum)
    }

    fn scan_duration(&mut self) -> bool {
        if !self.eat(|c| "smhdwy".contains(c)) {
            return false;
        }
        self.eat(|c| c == 's');
        while self.eat(|c| c.is_ascii_digit()) {
            while self.eat(|c| c.is_ascii_digit()) {}
            if !self.eat(|c| "smhdw".contains(c)) {
                return false;
            }
            self.eat(|c| c == 's');
        }
        !self.peek().is_some_and(is_alnum)
    }
}
