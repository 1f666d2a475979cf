//! Numbers that look random and are the same for the same seed.

/// A sequence that a seed decides. Good enough to choose where a link breaks; of no use for
/// secrets.
#[derive(Clone, Debug)]
pub struct Luck(u64);

impl Luck {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Luck {
        Luck(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        // SplitMix64: every seed is a good one, also 0, 1, 2.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number from `from` up to, not including, `to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.draw() % (to - from).max(1)
    }

    /// True about once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.draw().is_multiple_of(times)
    }
}
