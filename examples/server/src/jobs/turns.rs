//! The order of the queue: clients take turns, so that one with many videos does not make the others wait for all of
//! them.

use std::collections::VecDeque;

/// The waiting items, by client. Each client's items keep their order of arrival.
#[derive(Debug)]
pub(super) struct Turns<T> {
    /// The client whose turn is next comes first. Each client has at least one item.
    clients: VecDeque<(String, VecDeque<T>)>,
    /// The client that had the last turn.
    last: String,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { clients: VecDeque::new(), last: String::new() }
    }
}

impl Turns<String> {
    /// Returns the waiting items of a shared queue, each with its client. The client whose turn is next comes first.
    pub(super) fn of_waiting(items: Vec<(String, String)>) -> Self {
        let mut turns = Self::default();
        for (item, client) in items {
            turns.push(&client, item);
        }
        turns
    }
}

impl<T> Turns<T> {
    pub(super) fn len(&self) -> usize {
        self.clients.iter().map(|(_, items)| items.len()).sum()
    }

    /// Adds an item of a client, after those of the same client.
    pub(super) fn push(&mut self, client: &str, item: T) {
        if let Some((_, items)) = self.clients.iter_mut().find(|(name, _)| name == client) {
            return items.push_back(item);
        }
        // A new client comes before the one that just had its turn, so that two clients alternate from the start.
        let before = self.clients.back().is_some_and(|(name, _)| *name == self.last) && client != self.last;
        let place = self.clients.len() - usize::from(before);
        self.clients.insert(place, (client.to_owned(), VecDeque::from([item])));
    }

    /// Takes the next item of the client whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (client, mut items) = self.clients.pop_front()?;
        let item = items.pop_front();
        self.last.clone_from(&client);
        if !items.is_empty() {
            self.clients.push_back((client, items));
        }
        item
    }

    /// Removes the first item for which `is_wanted` is true.
    pub(super) fn remove(&mut self, is_wanted: impl Fn(&T) -> bool) -> Option<T> {
        let (client, place) = self.find(is_wanted)?;
        let (_, items) = self.clients.get_mut(client)?;
        let item = items.remove(place);
        if items.is_empty() {
            self.clients.remove(client);
        }
        item
    }

    /// Returns the number of items that come before the first for which `is_wanted` is true, if no more arrive.
    pub(super) fn position(&self, is_wanted: impl Fn(&T) -> bool) -> Option<usize> {
        let (client, place) = self.find(is_wanted)?;
        // A client before this one has one more turn until then.
        let before = |(other, (_, items)): (usize, &(String, VecDeque<T>))| match other {
            _ if other == client => place,
            _ => items.len().min(place + usize::from(other < client)),
        };
        Some(self.clients.iter().enumerate().map(before).sum())
    }

    /// Takes all items.
    pub(super) fn drain(&mut self) -> Vec<T> {
        std::mem::take(&mut self.clients).into_iter().flat_map(|(_, items)| items).collect()
    }

    fn find(&self, is_wanted: impl Fn(&T) -> bool) -> Option<(usize, usize)> {
        let places = self.clients.iter().enumerate();
        let mut found = places.filter_map(|(client, (_, items))| Some((client, items.iter().position(&is_wanted)?)));
        found.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(items: &[&'static str]) -> Turns<&'static str> {
        let mut turns = Turns::default();
        for &item in items {
            turns.push(&item[..1], item);
        }
        turns
    }

    fn order(mut turns: Turns<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| turns.pop()).collect()
    }

    #[test]
    fn clients_take_turns_and_each_keeps_its_own_order() {
        assert_eq!(order(turns(&["a1", "a2", "a3", "b1", "c1", "c2"])), ["a1", "b1", "c1", "a2", "c2", "a3"]);
    }

    #[test]
    fn a_new_client_comes_before_one_that_just_had_its_turn() {
        let mut turns = turns(&["a1", "a2", "a3"]);
        assert_eq!(turns.pop(), Some("a1"));
        turns.push("b", "b1");
        turns.push("c", "c1");
        assert_eq!(order(turns), ["b1", "c1", "a2", "a3"]);
    }

    #[test]
    fn a_client_that_always_has_one_item_waiting_does_not_keep_the_others_from_their_turn() {
        let mut turns = turns(&["a1", "a2", "a3"]);
        turns.push("b", "b1");
        let mut order = Vec::new();
        while let Some(item) = turns.pop() {
            order.push(item);
            if item.starts_with('b') && order.len() < 6 {
                turns.push("b", "b+");
            }
        }
        assert_eq!(order, ["a1", "b1", "a2", "b+", "a3", "b+"]);
    }

    #[test]
    fn the_position_is_the_number_of_turns_until_then() {
        let items = ["a1", "a2", "a3", "b1", "c1", "c2", "a4"];
        for skipped in 0..items.len() {
            let mut turns = turns(&items);
            for _ in 0..skipped {
                turns.pop();
            }
            let positions: Vec<_> = items.iter().filter_map(|item| turns.position(|of| of == item)).collect();
            let mut expected: Vec<(&str, usize)> = order(turns).into_iter().zip(0..).collect();
            expected.sort_by_key(|(item, _)| items.iter().position(|of| of == item));
            assert_eq!(positions, expected.into_iter().map(|(_, place)| place).collect::<Vec<_>>(), "{skipped}");
        }
    }

    #[test]
    fn a_removed_item_leaves_no_turn_behind() {
        let mut turns = turns(&["a1", "b1", "a2"]);
        assert_eq!(turns.remove(|item| *item == "b1"), Some("b1"));
        assert_eq!(turns.remove(|item| *item == "b1"), None);
        assert_eq!((turns.len(), turns.clients.len()), (2, 1));
        assert_eq!(turns.drain(), ["a1", "a2"]);
        assert_eq!(turns.len(), 0);
    }
}
