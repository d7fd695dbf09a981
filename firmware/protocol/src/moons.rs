//! Two half circles that reach into each other, and that no straight line tells apart.

/// Points of two half circles with noise, one of each in turn.
#[derive(Clone, Debug)]
pub struct Moons(u64);

impl Moons {
    /// Points that begin with this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in `-1.0..1.0`.
    fn number(&mut self) -> f32 {
        // Knuth's MMIX generator; 24 bits are exact in f32.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// The next point and its class, 0 or 1.
    pub fn point(&mut self) -> ([f32; 2], u32) {
        let class = u32::from(self.number() > 0.0);
        // Rational points of the half circle: no function is needed that differs from library to library.
        let t = self.number();
        let (x, y) = (2.0 * t / (1.0 + t * t), (1.0 - t * t) / (1.0 + t * t));
        let [noise_x, noise_y] = [self.number() * 0.15, self.number() * 0.15];
        let (x, y) = if class == 0 { (x, y) } else { (1.0 - x, 0.5 - y) };
        ([x + noise_x, y + noise_y], class)
    }
}
