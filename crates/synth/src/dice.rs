//! The crate's own generator: SplitMix64 (Steele, Lea, Flood 2014), small and the same
//! on every machine. Not for keys. Refuses to draw from anything but its seed.

/// A reproducible stream of draws.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

/// The finaliser of SplitMix64: a bijection that mixes every bit into every other.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dice {
    /// The stream for one named thing of one seed: two names share no draws, so that
    /// a patient's content doesn't depend on how many patients there are.
    pub(crate) fn new(seed: u64, name: &str, number: u64) -> Self {
        let mut state = mix(seed ^ 0x5048_4941_4c00_0001);
        for byte in name.bytes() {
            state = mix(state ^ u64::from(byte)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        }
        Dice(mix(state ^ number.wrapping_mul(0xd134_2543_de82_ef95)))
    }

    /// The next 64 bits.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `n`; 0 when `n` is 0.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = high.saturating_sub(low).max(0) as u64;
        low + self.below(width + 1) as i64
    }

    /// True in `per_mille` of a thousand draws.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of a list.
    #[expect(clippy::indexing_slicing, reason = "the lists are this crate's own, none is empty")]
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// A bell-shaped draw around `mean`: about two thirds lie within `deviation`, and
    /// none further away than 3.5 deviations.
    pub(crate) fn around(&mut self, mean: i64, deviation: i64) -> i64 {
        let sum: i64 = (0..4).map(|_| self.below(2001) as i64 - 1000).sum();
        // The deviation of the sum of four uniform draws from -1000..=1000 is 1155.
        mean + sum * deviation / 1155
    }

    /// `n` decimal digits.
    pub(crate) fn digits(&mut self, n: usize) -> String {
        (0..n).map(|_| char::from(b'0' + self.below(10) as u8)).collect()
    }

    /// The place of a draw among weights; 0 when they are all nothing.
    pub(crate) fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut at = self.below(weights.iter().sum());
        for (place, weight) in weights.iter().enumerate() {
            if at < *weight {
                return place;
            }
            at -= weight;
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_draws_are_frozen() {
        let mut dice = Dice(0);
        // The published first outputs of SplitMix64 from state 0.
        assert_eq!(dice.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(dice.next(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn draws_stay_in_their_range() {
        let mut dice = Dice::new(3, "range", 1);
        let mut seen = [false; 5];
        for _ in 0..500 {
            let n = dice.between(-2, 2);
            seen[(n + 2) as usize] = true;
            assert!((65..=135).contains(&dice.around(100, 10)));
            assert!(!dice.chance(0) && dice.chance(1000));
        }
        assert_eq!(seen, [true; 5]);
    }

    #[test]
    fn names_and_numbers_separate_streams() {
        let first = |name, number| Dice::new(1, name, number).next();
        assert_ne!(first("a", 0), first("b", 0));
        assert_ne!(first("a", 0), first("a", 1));
        assert_ne!(Dice::new(1, "a", 0).next(), Dice::new(2, "a", 0).next());
    }
}
