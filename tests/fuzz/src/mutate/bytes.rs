//! Mutates arbitrary bytes.

use crate::random::Random;

/// Critical numbers as little-endian bytes of 1, 2, 4 or 8.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

/// Mutates bytes in a few places, with parts of another input, `donor`.
pub(crate) fn mutate(random: &mut Random, bytes: &mut Vec<u8>, donor: &[u8], max_len: usize) {
    for _ in 0..random.few() {
        mutate_once(random, bytes, donor);
    }
    bytes.truncate(max_len);
}

fn mutate_once(random: &mut Random, bytes: &mut Vec<u8>, donor: &[u8]) {
    if bytes.is_empty() {
        bytes.push(random.byte());
        return;
    }
    let at = random.below(0..bytes.len());
    match random.below(0..10) {
        0 => bytes[at] ^= 1 << random.below(0..8),
        1 => bytes[at] = random.byte(),
        2 => bytes[at] = bytes[at].wrapping_add(*random.of(&[1, 255, 16, 240])),
        3 => bytes.insert(at, random.byte()),
        4 => {
            let part = random.part(bytes.len());
            bytes.drain(part);
        }
        5 => {
            let part = bytes[random.part(bytes.len())].to_vec();
            bytes.splice(at..at, part);
        }
        6 => {
            let part = donor[random.part(donor.len())].to_vec();
            bytes.splice(at..at, part);
        }
        7 => {
            let part = donor[random.part(donor.len())].to_vec();
            let end = (at + part.len()).min(bytes.len());
            bytes.splice(at..end, part);
        }
        8 => {
            let edge = random.of(&EDGES).to_le_bytes();
            let len = *random.of(&[1, 2, 4, 8]);
            let end = (at + len).min(bytes.len());
            bytes[at..end].copy_from_slice(&edge[..end - at]);
        }
        _ => bytes.truncate(at),
    }
}
