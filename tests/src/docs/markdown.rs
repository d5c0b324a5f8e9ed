//! Parses a page of Markdown: its code blocks with their info strings, and its links.

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A code block of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Its first line in the page.
    pub line: usize,
    /// The first word of its info string, such as `json`. Empty if absent, as in an indented block.
    pub language: String,
    /// The second word of its info string, such as `file`.
    pub tag: String,
    /// The value after `=` of the second word.
    pub value: String,
    /// Its lines between the fences.
    pub text: String,
}

/// The parts of a page.
#[derive(Debug, Default)]
pub struct Markdown {
    /// Its code blocks, in order.
    pub blocks: Vec<Block>,
    /// The targets of its links, each with its line.
    pub links: Vec<(usize, String)>,
    /// The anchors of its headings, by GitHub's rules.
    pub anchors: Vec<String>,
    /// Its inline code, each with its line.
    pub code: Vec<(usize, String)>,
}

impl Markdown {
    /// Parses a page.
    pub fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut block: Option<Block> = None;
        let mut heading: Option<String> = None;
        let options = Options::ENABLE_TABLES | Options::ENABLE_GFM;
        for (event, range) in Parser::new_ext(text, options).into_offset_iter() {
            let line = text[..range.start].matches('\n').count() + 1;
            match event {
                Event::Start(Tag::CodeBlock(kind)) => {
                    let info = match kind {
                        CodeBlockKind::Fenced(info) => info.to_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    block = Some(Block::begin(line, &info));
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let title = heading.take().unwrap_or_default();
                    page.anchors.push(anchor(&title));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push((line, dest_url.to_string()));
                }
                Event::Text(text) => {
                    if let Some(block) = &mut block {
                        block.text.push_str(&text);
                    } else if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                Event::Code(code) => {
                    page.code.push((line, code.to_string()));
                    if let Some(heading) = &mut heading {
                        heading.push_str(&code);
                    }
                }
                _ => {}
            }
        }
        page
    }
}

impl Block {
    fn begin(line: usize, info: &str) -> Self {
        let mut words = info.split_whitespace();
        let language = words.next().unwrap_or_default().to_owned();
        let (tag, value) = words
            .next()
            .map_or(("", ""), |word| word.split_once('=').unwrap_or((word, "")));
        Self {
            line,
            language,
            tag: tag.to_owned(),
            value: value.to_owned(),
            text: String::new(),
        }
    }
}

/// The anchor of a heading: lower case, without punctuation, `-` for spaces.
fn anchor(title: &str) -> String {
    let kept = title.to_lowercase();
    let kept = kept
        .chars()
        .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_its_line_its_language_its_tag_and_its_text() {
        let page = Markdown::read("# A\n\n```json graph=greet\n{\"a\": 1}\n```\n\n    indented\n");
        let [fenced, indented] = &page.blocks[..] else {
            panic!("{page:?}")
        };
        assert_eq!(
            (
                fenced.line,
                &*fenced.language,
                &*fenced.tag,
                &*fenced.value,
                &*fenced.text
            ),
            (3, "json", "graph", "greet", "{\"a\": 1}\n")
        );
        assert_eq!(
            (indented.line, &*indented.language, &*indented.text),
            (7, "", "indented\n")
        );
    }

    #[test]
    fn a_heading_has_the_anchor_that_github_gives_it() {
        let page = Markdown::read("# What `heddle` may do, and why\n");
        assert_eq!(page.anchors, ["what-heddle-may-do-and-why"]);
    }
}
