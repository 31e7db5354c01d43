//! Counting by key in bounded memory: exact up to a capacity, then Space-Saving (Metwally, Agrawal, El Abbadi:
//! "Efficient computation of frequent and top-k elements in data streams", 2005), which keeps the heavy groups and
//! an upper bound of each count's error.

use hashbrown::{DefaultHashBuilder, HashTable};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Groups counted exactly before Space-Saving begins, where nothing else is said.
pub const DEFAULT_CAPACITY: usize = 150_000;

/// One group.
#[derive(Debug, Clone)]
pub struct Group<K, V> {
    /// What the sockets have in common.
    pub key: K,
    /// What was gathered of them since the group was (last) admitted.
    pub value: V,
    // 32 bits each: there are many groups, and no host has that many sockets.
    count: u32,
    error: u32,
}

impl<K, V> Group<K, V> {
    /// Sockets counted: exact when the error is 0, else at most this many and at least this many less the error.
    pub fn count(&self) -> u64 {
        u64::from(self.count)
    }

    /// By how much the count may be too high.
    pub fn error(&self) -> u64 {
        u64::from(self.error)
    }

    /// Sockets that were certainly seen.
    pub fn at_least(&self) -> u64 {
        u64::from(self.count - self.error)
    }
}

/// Groups of sockets by key.
#[derive(Debug, Clone)]
pub struct Groups<K, V> {
    capacity: usize,
    hasher: DefaultHashBuilder,
    index: HashTable<u32>,
    entries: Vec<Group<K, V>>,
    total: u64,
    saving: Option<SpaceSaving>,
}

/// Entries ordered by count, so that the smallest is found and an increment is done in constant time: runs of equal
/// counts lie together, and an increment swaps an entry to the front of its run.
#[derive(Debug, Clone)]
struct SpaceSaving {
    /// Entry numbers, by falling count.
    order: Vec<u32>,
    /// Where each entry stands in `order`.
    position: Vec<u32>,
    /// For each count, where its run begins in `order`.
    runs: Runs,
}

/// Where the run of each count begins. Most groups are small: their counts index a table.
#[derive(Debug, Clone)]
struct Runs {
    small: Vec<u32>,
    large: HashMap<u32, u32, DefaultHashBuilder>,
}

impl Runs {
    const SMALL: usize = 1024;
    const NONE: u32 = u32::MAX;

    fn new() -> Runs {
        Runs { small: vec![Runs::NONE; Runs::SMALL], large: HashMap::default() }
    }

    fn get(&self, count: u32) -> Option<u32> {
        match self.small.get(count as usize) {
            Some(start) => Some(*start).filter(|s| *s != Runs::NONE),
            None => self.large.get(&count).copied(),
        }
    }

    fn set(&mut self, count: u32, start: Option<u32>) {
        match (self.small.get_mut(count as usize), start) {
            (Some(slot), start) => *slot = start.unwrap_or(Runs::NONE),
            (None, Some(start)) => {
                self.large.insert(count, start);
            }
            (None, None) => {
                self.large.remove(&count);
            }
        }
    }

    /// Says where a run begins if it is new.
    fn begin(&mut self, count: u32, start: u32) {
        if self.get(count).is_none() {
            self.set(count, Some(start));
        }
    }
}

impl<K: Hash + Eq + Copy, V: Default> Groups<K, V> {
    /// Empty, exact for up to `capacity` (at least 1) groups.
    pub fn new(capacity: usize) -> Groups<K, V> {
        Groups {
            capacity: capacity.clamp(1, u32::MAX as usize),
            hasher: DefaultHashBuilder::default(),
            index: HashTable::new(),
            entries: Vec::new(),
            total: 0,
            saving: None,
        }
    }

    /// Counts one socket for `key` and gives what is gathered for its group.
    pub fn add(&mut self, key: K) -> &mut V {
        self.total += 1;
        let hash = self.hasher.hash_one(key);
        let found = self.index.find(hash, |i| self.entries[*i as usize].key == key).copied();
        let slot = match found {
            Some(slot) => slot,
            None if self.entries.len() < self.capacity => {
                // Grow in steps: doubling would hold three times the memory for a moment.
                if self.entries.len() == self.entries.capacity() {
                    let step = (self.entries.len() / 4).max(64).min(self.capacity - self.entries.len());
                    self.entries.reserve_exact(step);
                }
                let slot = self.entries.len() as u32;
                self.entries.push(Group { key, value: V::default(), count: 0, error: 0 });
                let (entries, hasher) = (&self.entries, &self.hasher);
                self.index.insert_unique(hash, slot, |i| hasher.hash_one(entries[*i as usize].key));
                slot
            }
            None => self.replace_smallest(hash, key),
        };
        if let Some(saving) = &mut self.saving {
            saving.increment(slot, self.entries[slot as usize].count, &self.entries);
        }
        let entry = &mut self.entries[slot as usize];
        entry.count = entry.count.saturating_add(1);
        &mut entry.value
    }

    fn replace_smallest(&mut self, hash: u64, key: K) -> u32 {
        if self.saving.is_none() {
            self.saving = Some(SpaceSaving::new(&self.entries));
            // Every new group now removes an old one; in a table that is mostly empty that leaves no tombstones.
            let (entries, hasher) = (&self.entries, &self.hasher);
            self.index.reserve(entries.len() * 2, |i| hasher.hash_one(entries[*i as usize].key));
        }
        let slot = self.saving.as_ref().map_or(0, SpaceSaving::smallest);
        let entries = &mut self.entries;
        let old_hash = self.hasher.hash_one(entries[slot as usize].key);
        if let Ok(found) = self.index.find_entry(old_hash, |i| *i == slot) {
            found.remove();
        }
        let entry = &mut entries[slot as usize];
        *entry = Group { key, value: V::default(), count: entry.count, error: entry.count };
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.index.insert_unique(hash, slot, |i| hasher.hash_one(entries[*i as usize].key));
        slot
    }

    /// The group of a key, if it is held.
    pub fn get(&self, key: &K) -> Option<&Group<K, V>> {
        let hash = self.hasher.hash_one(key);
        self.index.find(hash, |i| self.entries[*i as usize].key == *key).map(|i| &self.entries[*i as usize])
    }

    /// Every group held, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &Group<K, V>> {
        self.entries.iter()
    }

    /// The groups held, largest first; equal ones by key.
    pub fn largest(&self, n: usize) -> Vec<&Group<K, V>>
    where
        K: Ord,
    {
        self.largest_of(n, |_| true)
    }

    /// The largest of the groups that are wanted.
    pub fn largest_of(&self, n: usize, wanted: impl Fn(&Group<K, V>) -> bool) -> Vec<&Group<K, V>>
    where
        K: Ord,
    {
        let order = |a: &&Group<K, V>, b: &&Group<K, V>| b.count.cmp(&a.count).then(a.key.cmp(&b.key));
        // A few more than asked for at a time: there may be 150,000.
        let most = n.saturating_mul(2).saturating_add(64);
        let mut largest: Vec<&Group<K, V>> = Vec::new();
        for group in self.entries.iter().filter(|g| n > 0 && wanted(g)) {
            largest.push(group);
            if largest.len() == most {
                largest.select_nth_unstable_by(n - 1, order);
                largest.truncate(n);
            }
        }
        largest.sort_unstable_by(order);
        largest.truncate(n);
        largest
    }

    /// Sockets counted, in all groups.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Groups held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether every group is held and every count exact.
    pub fn is_exact(&self) -> bool {
        self.saving.is_none()
    }

    /// By how much a count may be too high at the most; also the largest count that a group not held can have.
    pub fn error_bound(&self) -> u64 {
        self.saving.as_ref().map_or(0, |s| self.entries[s.smallest() as usize].count())
    }
}

impl<K: Hash + Eq + Copy, V: Default> Groups<K, V> {
    /// The same groups under other keys; groups that come to have one key are not joined.
    pub fn map_keys(self, mut other: impl FnMut(K) -> K) -> Groups<K, V> {
        let exact = self.is_exact();
        let entries = self.entries.into_iter().map(|g| Group { key: other(g.key), ..g }).collect();
        Groups::from_parts(self.capacity, self.total, exact, entries)
    }

    fn from_parts(capacity: usize, total: u64, exact: bool, entries: Vec<Group<K, V>>) -> Groups<K, V> {
        let mut groups = Groups::new(capacity.max(entries.len()));
        (groups.total, groups.entries) = (total, entries);
        for (slot, group) in groups.entries.iter().enumerate() {
            let (entries, hasher) = (&groups.entries, &groups.hasher);
            let hash = hasher.hash_one(group.key);
            groups.index.insert_unique(hash, slot as u32, |i| hasher.hash_one(entries[*i as usize].key));
        }
        if !exact {
            groups.saving = Some(SpaceSaving::new(&groups.entries));
        }
        groups
    }
}

/// Groups as they are written: what an index can be made of again is left out.
#[derive(Serialize)]
struct Written<'a, K, V> {
    capacity: usize,
    total: u64,
    exact: bool,
    entries: Vec<(&'a K, &'a V, u32, u32)>,
}

#[derive(Deserialize)]
struct Read<K, V> {
    capacity: usize,
    total: u64,
    exact: bool,
    entries: Vec<(K, V, u32, u32)>,
}

impl<K: Serialize, V: Serialize> Serialize for Groups<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = self.entries.iter().map(|g| (&g.key, &g.value, g.count, g.error)).collect();
        let exact = self.saving.is_none();
        Written { capacity: self.capacity, total: self.total, exact, entries }.serialize(serializer)
    }
}

impl<'de, K, V> Deserialize<'de> for Groups<K, V>
where
    K: Deserialize<'de> + Hash + Eq + Copy,
    V: Deserialize<'de> + Default,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Groups<K, V>, D::Error> {
        let read = Read::<K, V>::deserialize(deserializer)?;
        let mut sum = 0u64;
        let mut entries = Vec::with_capacity(read.entries.len());
        for (key, value, count, error) in read.entries {
            if error > count {
                return Err(serde::de::Error::custom("a group's error is larger than its count"));
            }
            sum += u64::from(count);
            entries.push(Group { key, value, count, error });
        }
        if sum > u64::from(u32::MAX) {
            return Err(serde::de::Error::custom("groups of more sockets than a host has"));
        }
        // Without an entry, Space-Saving has nothing to replace.
        let exact = read.exact || entries.is_empty();
        Ok(Groups::from_parts(read.capacity, read.total, exact, entries))
    }
}

impl<K: Hash + Eq + Copy, V: Default> Default for Groups<K, V> {
    fn default() -> Self {
        Groups::new(DEFAULT_CAPACITY)
    }
}

impl SpaceSaving {
    fn new<K, V>(entries: &[Group<K, V>]) -> SpaceSaving {
        let mut order: Vec<u32> = (0..entries.len() as u32).collect();
        order.sort_unstable_by_key(|i| std::cmp::Reverse(entries[*i as usize].count));
        let mut position = vec![0; order.len()];
        let mut runs = Runs::new();
        for (at, slot) in order.iter().enumerate() {
            position[*slot as usize] = at as u32;
            runs.begin(entries[*slot as usize].count, at as u32);
        }
        SpaceSaving { order, position, runs }
    }

    fn smallest(&self) -> u32 {
        self.order.last().copied().unwrap_or(0)
    }

    /// Moves an entry, whose count is about to go from `count` to `count + 1`, to where it then belongs.
    fn increment<K, V>(&mut self, slot: u32, count: u32, entries: &[Group<K, V>]) {
        let here = self.position[slot as usize];
        let first = self.runs.get(count).unwrap_or(here);
        let other = self.order[first as usize];
        self.order.swap(first as usize, here as usize);
        self.position[other as usize] = here;
        self.position[slot as usize] = first;
        let next_in_run =
            self.order.get(first as usize + 1).is_some_and(|s| entries[*s as usize].count == count);
        self.runs.set(count, next_in_run.then_some(first + 1));
        self.runs.begin(count.saturating_add(1), first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_are_exact_below_the_capacity() {
        let mut groups: Groups<u32, u64> = Groups::new(10);
        for i in 0..1000u32 {
            *groups.add(i % 10) += 1;
        }
        assert!(groups.is_exact());
        assert_eq!(groups.error_bound(), 0);
        assert!(groups.iter().all(|g| g.count() == 100 && g.error() == 0 && g.value == 100));
        let keys = |found: Vec<&Group<u32, u64>>| found.iter().map(|g| g.key).collect::<Vec<_>>();
        assert_eq!(keys(groups.largest(3)), [0, 1, 2]);
        assert_eq!(keys(groups.largest_of(2, |g| g.key > 4)), [5, 6]);
        assert_eq!((groups.largest(0).len(), groups.largest(usize::MAX).len()), (0, 10));
    }

    #[test]
    fn groups_are_the_same_when_they_are_read_again() {
        for capacity in [4, 100] {
            let mut groups: Groups<u32, u64> = Groups::new(capacity);
            for i in 0..50u32 {
                *groups.add(i % 7) += 1;
            }
            let text = serde_json::to_string(&groups).expect("groups are written");
            let mut again: Groups<u32, u64> = serde_json::from_str(&text).expect("groups are read");
            let of = |g: &Groups<u32, u64>| {
                let all: Vec<_> =
                    g.largest(9).iter().map(|g| (g.key, g.count(), g.error(), g.value)).collect();
                (all, g.total(), g.is_exact(), g.error_bound())
            };
            assert_eq!(of(&again), of(&groups));
            *groups.add(3) += 1;
            *again.add(3) += 1;
            assert_eq!(of(&again).1, of(&groups).1);
            assert_eq!(again.get(&3).map(|g| g.count()), groups.get(&3).map(|g| g.count()));
        }
        assert!(
            serde_json::from_str::<Groups<u32, u64>>(
                r#"{"capacity":1,"total":1,"exact":true,"entries":[[1,1,1,2]]}"#
            )
            .is_err()
        );
        let empty = r#"{"capacity":1,"total":0,"exact":false,"entries":[]}"#;
        assert!(serde_json::from_str::<Groups<u32, u64>>(empty).expect("groups").is_exact());
    }

    #[test]
    fn the_largest_of_many_are_found() {
        let mut groups: Groups<u32, ()> = Groups::new(10_000);
        for key in 0..1000u32 {
            for _ in 0..=(key * 7919) % 1000 {
                groups.add(key);
            }
        }
        let mut sizes: Vec<u64> = groups.iter().map(Group::count).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(groups.largest(20).iter().map(|g| g.count()).collect::<Vec<_>>(), sizes[..20]);
    }

    proptest! {
        /// Space-Saving's own guarantees: no count is too low, none is too high by more than its error, and every
        /// group whose true count passes the bound is held.
        #[test]
        fn space_saving_keeps_its_promises(keys in prop::collection::vec(0u16..200, 1..3000), capacity in 1usize..50) {
            let mut truth: HashMap<u16, u64> = HashMap::new();
            let mut groups: Groups<u16, ()> = Groups::new(capacity);
            for key in &keys {
                *truth.entry(*key).or_default() += 1;
                groups.add(*key);
            }
            prop_assert_eq!(groups.total(), keys.len() as u64);
            prop_assert!(groups.len() <= capacity);
            for group in groups.iter() {
                let real: u64 = truth[&group.key];
                prop_assert!(group.count() >= real && group.at_least() <= real);
            }
            for (key, real) in &truth {
                prop_assert!(*real <= groups.error_bound() || groups.get(key).is_some());
            }
            if truth.len() <= capacity {
                prop_assert!(groups.is_exact());
            }
        }
    }
}
