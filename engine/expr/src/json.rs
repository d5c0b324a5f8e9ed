//! Parses JSON text into values, within the budget.
//!
//! serde_json would read a number with many digits as the nearest double. This reader keeps the text of such
//! a number, so that it compares exactly and is written as it was read.

use std::{collections::BTreeMap, sync::Arc};

use heddle_json::decimal::Decimal;

use super::{
    meter::{Meter, OBJECT_COST, Stop, wrong},
    plan::Path,
    value::{Key, Value, Written},
};

/// The depth limit, which is that of serde_json.
const MAX_DEPTH: usize = 128;

/// The cost of a number that keeps its text.
const WRITTEN_COST: usize = 3;

/// Reads the text at `path`.
pub(super) fn value(text: &str, path: &Path, meter: &Meter) -> Result<Value, Box<Stop>> {
    meter.charge_bytes(text.len())?;
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
        path,
        from: None,
        meter,
    };
    let value = reader.value()?;
    reader.space();
    match reader.at == text.len() {
        true => Ok(value),
        false => reader.malformed(),
    }
}

struct Reader<'r> {
    text: &'r str,
    at: usize,
    depth: usize,
    path: &'r Path,
    /// The path as text, if a number needs it.
    from: Option<Arc<str>>,
    meter: &'r Meter,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Value, Box<Stop>> {
        self.meter.charge(1)?;
        self.space();
        match self.next() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'[') => self.nested(Self::list),
            Some(b'{') => self.nested(Self::object),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => self.malformed(),
        }
    }

    fn next(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.next(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Skips whitespace and `sign`; returns false if `sign` is absent.
    fn takes(&mut self, sign: u8) -> bool {
        self.space();
        let found = self.next() == Some(sign);
        self.at += usize::from(found);
        found
    }

    fn unreadable<T>(&self, reason: &str) -> Result<T, Box<Stop>> {
        wrong(format!("{} cannot be read: {reason}", self.path))
    }

    fn malformed<T>(&self) -> Result<T, Box<Stop>> {
        self.unreadable(&format!("it is not JSON at byte {}", self.at))
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Box<Stop>> {
        if !self.text[self.at..].starts_with(word) {
            return self.malformed();
        }
        self.at += word.len();
        Ok(value)
    }

    fn nested(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<Value, Box<Stop>>,
    ) -> Result<Value, Box<Stop>> {
        if self.depth == MAX_DEPTH {
            return self.unreadable(&format!("it is nested more than {MAX_DEPTH} levels deep"));
        }
        self.at += 1;
        self.depth += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn list(&mut self) -> Result<Value, Box<Stop>> {
        let mut items = Vec::new();
        if self.takes(b']') {
            return Ok(Value::list(items));
        }
        loop {
            items.push(self.value()?);
            if self.takes(b']') {
                return Ok(Value::list(items));
            }
            if !self.takes(b',') {
                return self.malformed();
            }
        }
    }

    /// If a key is repeated, the last value counts.
    fn object(&mut self) -> Result<Value, Box<Stop>> {
        self.meter.charge(OBJECT_COST)?;
        let mut entries = BTreeMap::new();
        if self.takes(b'}') {
            return Ok(Value::Map(Arc::new(entries)));
        }
        loop {
            self.meter.charge(1)?;
            self.space();
            let key = self.string()?;
            if !self.takes(b':') {
                return self.malformed();
            }
            let value = self.value()?;
            entries.insert(Key::String(key), value);
            if self.takes(b'}') {
                return Ok(Value::Map(Arc::new(entries)));
            }
            if !self.takes(b',') {
                return self.malformed();
            }
        }
    }

    fn string(&mut self) -> Result<Arc<str>, Box<Stop>> {
        if self.next() != Some(b'"') {
            return self.malformed();
        }
        let begin = self.at + 1;
        let mut escaped = false;
        let mut end = begin;
        loop {
            match self.text.as_bytes().get(end) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    end += 2;
                }
                Some(_) => end += 1,
                None => return self.malformed(),
            }
        }
        self.at = end + 1;
        if !escaped {
            return Ok(self.text[begin..end].into());
        }
        match serde_json::from_str::<String>(&self.text[begin - 1..=end]) {
            Ok(text) => Ok(text.into()),
            Err(error) => self.unreadable(&error.to_string()),
        }
    }

    fn number(&mut self) -> Result<Value, Box<Stop>> {
        let begin = self.at;
        while matches!(self.next(), Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let text = &self.text[begin..self.at];
        let is_whole = !text.contains(['.', 'e', 'E']);
        if is_whole && text != "-0" {
            if let Ok(value) = text.parse::<i64>() {
                return Ok(Value::Int(value));
            }
            if let Ok(value) = text.parse::<u64>() {
                return Ok(Value::Uint(value));
            }
        }
        // A whole number beyond a uint keeps its text: calculating with its double would be inexact.
        let double = match is_whole && text != "-0" {
            true => None,
            false => Decimal::faithful_double(text),
        };
        if let Some(double) = double
            && serde_json::Number::from_f64(double).is_some_and(|number| number.to_string() == text)
        {
            return Ok(Value::Double(double));
        }
        if Decimal::parse(text).is_none() {
            return self.unreadable("it has a number whose exponent is too large");
        }
        self.meter.charge(WRITTEN_COST)?;
        let path = self.path;
        let from = self.from.get_or_insert_with(|| path.to_string().into());
        Ok(Value::Written(Arc::new(Written {
            text: text.into(),
            double,
            from: from.clone(),
        })))
    }
}
