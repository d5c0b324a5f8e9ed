//! Mutates WebAssembly by its sections. The sizes of sections stay correct, also in nested modules and components, so
//! most of a mutated component is still parsed.

use super::bytes;
use crate::random::Random;

/// The bytes of `\0asm` and the version.
const HEAD: usize = 8;
/// The ids of the sections of a component that hold a module or a component.
const NESTED: [u8; 2] = [1, 4];
/// The maximum number of repetitions of a section.
const MAX_REPEATS: usize = 60;

/// The sections of a module or a component.
#[derive(Clone, Debug, PartialEq)]
struct Binary {
    head: [u8; HEAD],
    sections: Vec<Section>,
}

#[derive(Clone, Debug, PartialEq)]
struct Section {
    id: u8,
    content: Content,
}

#[derive(Clone, Debug, PartialEq)]
enum Content {
    Bytes(Vec<u8>),
    Binary(Box<Binary>),
}

/// Mutates a binary in a few places. None if it has no sections.
pub(crate) fn mutate(random: &mut Random, input: &[u8], donor: &[u8], max_len: usize) -> Option<Vec<u8>> {
    let mut binary = Binary::read(input)?;
    let donor = Binary::read(donor);
    for _ in 0..random.few() {
        binary.change(random, donor.as_ref());
    }
    let mut written = binary.write();
    written.truncate(max_len);
    Some(written)
}

impl Binary {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (head, mut rest) = bytes.split_first_chunk::<HEAD>()?;
        if !head.starts_with(b"\0asm") {
            return None;
        }
        let is_component = head[6] != 0;
        let mut sections = Vec::new();
        while let Some((&id, after)) = rest.split_first() {
            let (len, after) = read_leb(after)?;
            let (content, after) = after.split_at_checked(len)?;
            let nested = (is_component && NESTED.contains(&id)).then(|| Self::read(content));
            let content = match nested.flatten() {
                Some(binary) => Content::Binary(Box::new(binary)),
                None => Content::Bytes(content.to_vec()),
            };
            sections.push(Section { id, content });
            rest = after;
        }
        (!sections.is_empty()).then_some(Self {
            head: *head,
            sections,
        })
    }

    fn write(&self) -> Vec<u8> {
        let mut bytes = self.head.to_vec();
        for section in &self.sections {
            let content = match &section.content {
                Content::Bytes(content) => content.clone(),
                Content::Binary(binary) => binary.write(),
            };
            bytes.push(section.id);
            write_leb(&mut bytes, content.len());
            bytes.extend_from_slice(&content);
        }
        bytes
    }

    fn change(&mut self, random: &mut Random, donor: Option<&Self>) {
        if self.sections.is_empty() {
            return;
        }
        let at = random.below(0..self.sections.len());
        match random.below(0..14) {
            0 => drop(self.sections.remove(at)),
            1 => {
                let other = random.below(0..self.sections.len());
                self.sections.swap(at, other);
            }
            2 => self.sections.insert(at, self.sections[at].clone()),
            3 if self.sections[at].len() < 200 => {
                let copies = vec![self.sections[at].clone(); random.below(1..MAX_REPEATS)];
                self.sections.splice(at..at, copies);
            }
            4 => {
                if let Some(section) = donor.and_then(|donor| donor.any(random)) {
                    self.sections.insert(at, section);
                }
            }
            5 => {
                if let Some(section) = donor.and_then(|donor| donor.any(random)) {
                    self.sections[at] = section;
                }
            }
            6 => self.sections[at].id = random.below(0..13) as u8,
            7 => {
                // Nest the whole in itself.
                let copy = Content::Binary(Box::new(self.clone()));
                self.sections.insert(at, Section { id: 4, content: copy });
            }
            _ => match &mut self.sections[at].content {
                Content::Binary(binary) => binary.change(random, donor),
                Content::Bytes(content) => {
                    let other = donor.and_then(|donor| donor.any(random));
                    let other = match other.map(|section| section.content) {
                        Some(Content::Bytes(bytes)) => bytes,
                        _ => Vec::new(),
                    };
                    let len = content.len() + 1_000;
                    bytes::mutate(random, content, &other, len);
                }
            },
        }
    }

    /// A random section at any depth.
    fn any(&self, random: &mut Random) -> Option<Section> {
        if self.sections.is_empty() {
            return None;
        }
        let section = random.of(&self.sections);
        match &section.content {
            Content::Binary(binary) if random.one_in(2) => binary.any(random),
            _ => Some(section.clone()),
        }
    }
}

impl Section {
    fn len(&self) -> usize {
        match &self.content {
            Content::Bytes(bytes) => bytes.len(),
            Content::Binary(binary) => binary.sections.iter().map(Self::len).sum(),
        }
    }
}

fn read_leb(mut bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (mut value, mut shift) = (0_usize, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        value |= usize::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((value, rest));
        }
        (bytes, shift) = (rest, shift + 7);
        if shift > 28 {
            return None;
        }
    }
}

fn write_leb(bytes: &mut Vec<u8>, mut value: usize) {
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component that contains a module with one custom section.
    const NESTED_MODULE: &[u8] = b"\0asm\x0d\0\x01\0\x01\x0d\0asm\x01\0\0\0\x00\x03\x01ab\x00\x02\x01x";

    #[test]
    fn a_binary_that_is_read_is_written_unchanged() {
        let binary = Binary::read(NESTED_MODULE).expect("it has sections");
        assert!(
            matches!(binary.sections[0].content, Content::Binary(_)),
            "{binary:?}"
        );
        assert_eq!(binary.write(), NESTED_MODULE);
    }

    #[test]
    fn a_changed_binary_still_has_sections() {
        let mut random = Random::new(1, 0);
        let read = (0..200).filter(|_| {
            let changed = mutate(&mut random, NESTED_MODULE, NESTED_MODULE, 10_000).expect("it has sections");
            Binary::read(&changed).is_some()
        });
        assert!(read.count() > 150);
    }
}
