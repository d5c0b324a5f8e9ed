//! Measures, clips, cleans and escapes text.

/// A font with its size in pixels.
#[derive(Clone, Copy)]
pub(super) enum Font {
    /// The system's sans serif, semi-bold, for names.
    Name,
    /// The system's sans serif, for details.
    Regular,
    /// The system's monospace, for labels.
    Code,
    /// A larger sans serif, semi-bold, for the title.
    Title,
}

impl Font {
    pub(super) fn size(self) -> f64 {
        match self {
            Self::Name => 13.5,
            Self::Regular => 11.5,
            Self::Code => 11.0,
            Self::Title => 15.0,
        }
    }
}

/// The widths of the characters from space to `~` in Helvetica, in thousandths of the font size.
const SANS: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, // space to /
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556, // 0 to ?
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778, // @ to O
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, // P to _
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, // ` to o
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584, // p to ~
];

/// The factors of the usual system fonts relative to Helvetica, and of semi-bold relative to regular.
const SYSTEM: f64 = 1.07;
const BOLD: f64 = 1.08;

/// Estimates the width of a text in pixels.
pub(super) fn width(text: &str, font: Font) -> f64 {
    text.chars().map(|letter| advance(letter, font)).sum::<f64>()
}

fn advance(letter: char, font: Font) -> f64 {
    let code = u32::from(letter);
    let plain = match code {
        0x20..=0x7e => f64::from(SANS[code as usize - 0x20]) / 1000.0,
        // Combining marks and joiners.
        0x300..=0x36f | 0x483..=0x489 | 0x200b..=0x200f | 0x202a..=0x202e | 0x2066..=0x2069 => 0.0,
        0x20d0..=0x20ff | 0xfe00..=0xfe0f | 0xfe20..=0xfe2f => 0.0,
        // Hangul, kana, ideographs, full-width forms, emoji and everything above.
        0x1100..=0x11ff | 0x2600..=0x27bf | 0x2e80..=0xd7ff | 0xf900..=0xfaff => 1.05,
        0xff00..=0xff60 | 0x1_0000.. => 1.2,
        _ => 0.64,
    };
    let factor = match font {
        Font::Code if (0x20..=0x7e).contains(&code) => return 0.602 * font.size(),
        Font::Code | Font::Regular => SYSTEM,
        Font::Name | Font::Title => SYSTEM * BOLD,
    };
    plain * factor * font.size()
}

/// Clips a text that is wider than `room` and appends `…`. None if the text fits.
pub(super) fn clip(text: &str, font: Font, room: f64) -> Option<String> {
    if width(text, font) <= room {
        return None;
    }
    let mut used = advance('…', font);
    let kept = text.chars().take_while(|letter| {
        used += advance(*letter, font);
        used <= room
    });
    let kept: String = kept.collect();
    Some(format!("{}…", kept.trim_end_matches([' ', '\u{200d}'])))
}

/// Replaces line breaks by spaces, and characters that XML, YAML, DOT or Mermaid forbid by U+FFFD.
pub(super) fn sanitize(text: &str) -> String {
    let fit = |letter: char| match letter {
        '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}' => ' ',
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        letter => letter,
    };
    text.chars().map(fit).collect()
}

/// Escapes a text for an element or a quoted attribute of XML.
pub(super) fn escape_xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in sanitize(text).chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
    out
}
