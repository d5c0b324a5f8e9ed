//! Checks the links of pages to files and headings of the repository.

use std::path::Path;

use super::markdown::Markdown;
use crate::repository;

/// The broken links of a page, each with its line.
pub fn check_links(path: &str) -> Vec<String> {
    let file = repository().join(path);
    let page = Markdown::read(&std::fs::read_to_string(&file).expect("the page can be read"));
    let folder = file.parent().expect("a page is in a folder");
    let mut wrong = Vec::new();
    for (line, link) in &page.links {
        if let Some(problem) = problem(&page, folder, link) {
            wrong.push(format!("{path}:{line}: the link to `{link}`: {problem}"));
        }
    }
    wrong
}

fn problem(page: &Markdown, folder: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let other;
    let page = if path.is_empty() {
        page
    } else {
        let target = folder.join(path);
        if !target.exists() {
            return Some("there is no such file".to_owned());
        }
        if anchor.is_empty() || !path.ends_with(".md") {
            return None;
        }
        other = Markdown::read(&std::fs::read_to_string(&target).ok()?);
        &other
    };
    let found = anchor.is_empty() || page.anchors.iter().any(|has| has == anchor);
    (!found).then(|| "there is no such heading".to_owned())
}
