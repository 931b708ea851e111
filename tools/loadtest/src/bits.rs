//! A set of numbers below a bound, a bit for each.

/// A set of numbers below a bound.
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    /// An empty set for numbers below `len`.
    pub(crate) fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    /// Adds a number; false when it was in the set already.
    pub(crate) fn insert(&mut self, number: usize) -> bool {
        let (word, bit) = (&mut self.0[number / 64], 1 << (number % 64));
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_new_once() {
        let mut bits = Bits::new(130);
        for number in [0, 1, 63, 64, 129] {
            assert!(bits.insert(number), "{number}");
            assert!(!bits.insert(number), "{number}");
        }
    }
}
