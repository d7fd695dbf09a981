//! Every state of a flash that losses of power can lead to, however often the power goes.
//!
//! A device does something with its flash whenever it has power. The power goes at each of these operations, in each way ([`CUTS`]); from what that leaves the device goes on, and
//! the power goes again. A state that was seen before is not gone into again; nor is the rest of a run that begins in a state, and does operations, as a run before it did: what
//! it can leave is known. So the search ends, and has then seen all states that there are.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::nor::{CUTS, Cut, Nor, Operation};

/// What a device does.
pub trait Device<const PAGE: usize> {
    /// Starts with this flash, and says whether its work is done. Panics if it finds there what should not be.
    fn starts(&mut self, flash: &Nor<PAGE>) -> bool;

    /// Works on this flash to the end, and returns its operations. Panics if it cannot.
    fn works(&mut self, flash: &Nor<PAGE>) -> Vec<Operation>;
}

/// A search, and what it found.
#[derive(Debug)]
pub struct Search {
    /// Whether the device goes on after a second loss of power, too.
    is_endless: bool,
    /// States that were seen, by a fingerprint of their contents, and of which words were written since their page was erased.
    states: HashSet<u128>,
    /// States in which the rest of a run begins, and fingerprints of its operations.
    runs: HashSet<(u128, u128)>,
    /// Whether the work was done, by the contents that the device started with.
    found: HashMap<u128, bool>,
    /// States that were found.
    pub seen: usize,
    /// Starts: different contents.
    pub starts: usize,
    /// States in which its work was done.
    pub done: usize,
    /// States from which it went on.
    pub recoveries: usize,
    /// The most losses of power on the way to a state.
    pub losses: usize,
}

impl Search {
    fn new(is_endless: bool) -> Self {
        let (states, runs) = (HashSet::new(), HashSet::new());
        Self {
            is_endless,
            states,
            runs,
            found: HashMap::new(),
            seen: 0,
            starts: 0,
            done: 0,
            recoveries: 0,
            losses: 0,
        }
    }

    /// A search through two losses of power: the device goes on after the first one, and starts after the second one.
    #[must_use]
    pub fn twice() -> Self {
        Self::new(false)
    }

    /// A search through any number of them.
    #[must_use]
    pub fn endless() -> Self {
        Self::new(true)
    }

    /// Adds what another search found.
    pub fn add(&mut self, other: &Self) {
        self.seen += other.seen;
        self.starts += other.starts;
        self.done += other.done;
        self.recoveries += other.recoveries;
        self.losses = self.losses.max(other.losses);
    }

    /// The figures, in words.
    #[must_use]
    pub fn summary(&self) -> String {
        let Self { seen, starts, done, recoveries, losses, .. } = self;
        format!(
            "{seen} states with {starts} contents, {done} states with the work done; went on from {recoveries}, after up to {losses} losses of power"
        )
    }

    /// Lets the device work on `flash`, and starts it with what a first loss of power can leave. From those of these states at places that `is_chosen` takes the device goes on,
    /// and loses its power again, as often as that leads to a new state.
    pub fn search<const PAGE: usize>(
        &mut self,
        flash: &Nor<PAGE>,
        is_chosen: impl Fn(usize) -> bool,
        device: &mut impl Device<PAGE>,
    ) {
        let operations = device.works(flash);
        let mut now = Marked::new(flash.powered(None));
        self.note(&now, &operations);
        let mut undone = HashSet::new();
        for &operation in &operations {
            for cut in CUTS {
                now.with(operation, cut, |torn| {
                    if self.start(torn, 1, device) {
                        undone.insert(torn.mark);
                    }
                });
            }
            now.apply(operation, None);
        }
        self.start(&now, 0, device);
        let mut now = Marked::new(flash.powered(None));
        for (at, &operation) in operations.iter().enumerate() {
            for cut in CUTS.into_iter().filter(|_| is_chosen(at)) {
                let torn = now.with(operation, cut, |torn| undone.remove(&torn.mark).then(|| torn.clone()));
                torn.into_iter().for_each(|torn| self.go_on(torn, 1, device));
            }
            now.apply(operation, None);
        }
    }

    /// Notes all the states of a run. Returns how many of its operations were not noted before.
    fn note<const PAGE: usize>(&mut self, flash: &Marked<PAGE>, operations: &[Operation]) -> usize {
        let mut rest = 0;
        let mut rests = vec![0; operations.len()];
        for (place, operation) in rests.iter_mut().zip(operations).rev() {
            let [a, b] = match *operation {
                Operation::Write { place, word } => [place as u64, u64::from(u32::from_le_bytes(word))],
                Operation::Erase { page } => [page as u64, u64::MAX],
            };
            rest = mixed(rest as u64 ^ a, (rest >> 64) as u64 ^ b);
            *place = rest;
        }
        let mut now = flash.clone();
        for (at, (&operation, rest)) in operations.iter().zip(rests).enumerate() {
            if !self.runs.insert((now.mark, rest)) {
                return at;
            }
            now.apply(operation, None);
        }
        operations.len()
    }

    /// Starts the device if the state, after so many losses of power, is new. Returns whether it is to go on from it.
    fn start<const PAGE: usize>(
        &mut self,
        now: &Marked<PAGE>,
        losses: usize,
        device: &mut impl Device<PAGE>,
    ) -> bool {
        if !self.states.insert(now.mark) {
            return false;
        }
        self.seen += 1;
        // What a start finds are the contents only.
        let starts = &mut self.starts;
        let is_done = *self.found.entry(now.contents).or_insert_with(|| {
            *starts += 1;
            device.starts(&now.flash)
        });
        self.done += usize::from(is_done);
        self.losses = self.losses.max(losses);
        !is_done && (losses < 2 || self.is_endless)
    }

    /// Goes on from a state after so many losses of power, and loses it at every operation, in every way.
    fn go_on<const PAGE: usize>(
        &mut self,
        mut now: Marked<PAGE>,
        losses: usize,
        device: &mut impl Device<PAGE>,
    ) {
        self.recoveries += 1;
        let operations = device.works(&now.flash);
        let known = self.note(&now, &operations);
        for &operation in operations.iter().take(known) {
            for cut in CUTS {
                let torn = now
                    .with(operation, cut, |torn| self.start(torn, losses + 1, device).then(|| torn.clone()));
                torn.into_iter().for_each(|torn| self.go_on(torn, losses + 1, device));
            }
            now.apply(operation, None);
        }
        self.start(&now, losses, device);
    }
}

/// A flash, and its fingerprint beside it.
#[derive(Clone)]
struct Marked<const PAGE: usize> {
    flash: Nor<PAGE>,
    /// Of the contents.
    contents: u128,
    /// Of which words were written since their page was erased, too.
    mark: u128,
}

impl<const PAGE: usize> Marked<PAGE> {
    fn new(flash: Nor<PAGE>) -> Self {
        let mut marked = Self { flash, contents: 0, mark: 0 };
        marked.mix(0..marked.flash.words());
        marked
    }

    /// Puts words into the fingerprints that are not in them, or takes them out.
    fn mix(&mut self, words: Range<usize>) {
        for index in words {
            let (word, is_written) = self.flash.word(index);
            let contents = mixed(index as u64, u32::from_le_bytes(word).into());
            let written = if is_written { mixed(index as u64, u64::MAX) } else { 0 };
            self.contents ^= contents;
            self.mark ^= contents ^ written;
        }
    }

    fn apply(&mut self, operation: Operation, cut: Option<Cut>) {
        self.mix(operation.words::<PAGE>());
        self.flash.apply(operation, cut);
        self.mix(operation.words::<PAGE>());
    }

    /// What `look` finds in the state that a loss of power at this operation leaves.
    fn with<T>(&mut self, operation: Operation, cut: Cut, look: impl FnOnce(&Self) -> T) -> T {
        let words = operation.words::<PAGE>();
        let before: Vec<_> = words.clone().map(|index| self.flash.word(index)).collect();
        let (contents, mark) = (self.contents, self.mark);
        self.apply(operation, Some(cut));
        let found = look(self);
        words.zip(before).for_each(|(index, word)| self.flash.restore(index, word));
        (self.contents, self.mark) = (contents, mark);
        found
    }
}

/// 128 bits of two numbers: `SplitMix64`'s finalizer, twice for each half.
fn mixed(a: u64, b: u64) -> u128 {
    let finalize = |mut x: u64| {
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    };
    let half = |seed: u64| finalize(finalize(a.wrapping_add(seed)) ^ b.wrapping_add(seed.rotate_left(32)));
    u128::from(half(0x243f_6a88_85a3_08d3)) << 64 | u128::from(half(0x1319_8a2e_0370_7344))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 16;

    /// Writes the words 1, 2, 3 after erasing them, and is done with the third.
    struct Three {
        found: HashSet<Vec<u8>>,
    }

    impl Device<PAGE> for Three {
        fn starts(&mut self, flash: &Nor<PAGE>) -> bool {
            self.found.insert(flash.mapped().to_vec());
            flash.word(2).0 == [3; WORD]
        }

        fn works(&mut self, _: &Nor<PAGE>) -> Vec<Operation> {
            let words =
                [1, 2, 3].map(|n: u8| Operation::Write { place: usize::from(n - 1) * WORD, word: [n; WORD] });
            [vec![Operation::Erase { page: 0 }], words.to_vec()].concat()
        }
    }

    use crate::nor::WORD;

    /// All states, found without any short cut: a list of what every loss leaves, again and again until nothing is new.
    fn all(first: &Nor<PAGE>) -> HashSet<Vec<u8>> {
        let mut device = Three { found: HashSet::new() };
        let mut known: Vec<Nor<PAGE>> = vec![first.powered(None)];
        let mut next = 0;
        while next < known.len() {
            let mut now = known[next].powered(None);
            next += 1;
            let mut left = Vec::new();
            for operation in device.works(&now) {
                left.extend(CUTS.map(|cut| {
                    let mut torn = now.powered(None);
                    torn.apply(operation, Some(cut));
                    torn
                }));
                now.apply(operation, None);
            }
            left.push(now);
            for state in left {
                let word = |flash: &Nor<PAGE>| (0..4).map(|index| flash.word(index)).collect::<Vec<_>>();
                let is_new = known.iter().skip(1).all(|other| word(other) != word(&state));
                if is_new && !device.starts(&state) {
                    known.push(state);
                } else {
                    device.starts(&state);
                }
            }
        }
        device.found
    }

    #[test]
    fn a_search_finds_what_a_plain_one_finds() {
        let mut first = Nor::<PAGE>::new(1);
        first.mapped_mut().fill(0x5a);
        let mut device = Three { found: HashSet::new() };
        let mut search = Search::endless();
        search.search(&first, |_| true, &mut device);
        let expected = all(&first);
        assert!(search.losses > 2 && search.done > 0 && expected.len() > 15, "{search:?}");
        assert_eq!(device.found, expected);
        // One that goes on from nothing finds less.
        let mut once = Three { found: HashSet::new() };
        Search::endless().search(&first, |_| false, &mut once);
        assert!(once.found.len() < expected.len());
    }
}
