//! Links between videos that must stay in one split.

use std::collections::HashMap;
use std::fmt;

use super::SplitBy;
use crate::{Label, Row};

/// A property of a video that two splits must not share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Link<'a> {
    /// A person seen in it, as body or as face.
    Person(&'a str),
    /// The SHA-256 of the file.
    File(&'a str),
    /// The video itself, or the original of a fake one.
    Video(Label, &'a str),
}

impl fmt::Display for Link<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(id) => write!(f, "person {id}"),
            Self::File(sha256) => write!(f, "the file with SHA-256 {sha256}"),
            Self::Video(label, name) => write!(f, "{label} video {name}"),
        }
    }
}

pub(super) fn links(row: &Row, by: SplitBy) -> Vec<Link<'_>> {
    let mut links = vec![Link::Video(row.label, &row.video)];
    links.extend(row.original.as_deref().map(|original| Link::Video(Label::Real, original)));
    links.extend(row.sha256.as_deref().map(Link::File));
    if by == SplitBy::Person {
        links.extend(row.target_id.iter().chain(&row.source_id).map(|id| Link::Person(id)));
    }
    links
}

/// Disjoint sets with union by size and path halving (Tarjan & van Leeuwen, 1984).
#[derive(Debug, Default)]
pub(super) struct Groups<'a> {
    numbers: HashMap<Link<'a>, usize>,
    parents: Vec<usize>,
    sizes: Vec<usize>,
}

impl<'a> Groups<'a> {
    /// Merges the groups of these links into one.
    pub(super) fn join(&mut self, links: &[Link<'a>]) {
        let Some((&first, others)) = links.split_first() else { return };
        for &link in others {
            let (mut large, mut small) = (self.of(first), self.of(link));
            if large == small {
                continue;
            }
            if self.sizes[large] < self.sizes[small] {
                std::mem::swap(&mut large, &mut small);
            }
            self.parents[small] = large;
            self.sizes[large] += self.sizes[small];
        }
    }

    /// Returns the group of a link. A link that was not joined with another one has its own group.
    pub(super) fn of(&mut self, link: Link<'a>) -> usize {
        let fresh = self.parents.len();
        let mut number = *self.numbers.entry(link).or_insert(fresh);
        if number == fresh {
            self.parents.push(fresh);
            self.sizes.push(1);
        }
        while self.parents[number] != number {
            self.parents[number] = self.parents[self.parents[number]];
            number = self.parents[number];
        }
        number
    }
}
