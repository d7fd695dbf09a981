//! What the fuzz target of the IDX reader does.

use smidgen_trainer::data::{parse_images, parse_labels};

/// Reads `bytes` as images and as labels, and checks what the reader promises of what it accepts.
///
/// # Panics
/// If a promise is broken.
pub fn fuzz_idx(bytes: &[u8]) {
    if let Ok(images) = parse_images("input", bytes) {
        let dimensions = [images.count, images.height, images.width];
        assert!(dimensions.iter().all(|&dimension| dimension > 0));
        let product: u64 = dimensions.into_iter().map(u64::from).product();
        assert_eq!(product, images.pixels.len() as u64);
    }
    if let Ok(labels) = parse_labels("input", bytes) {
        assert!(!labels.is_empty());
    }
}

/// Inputs to start from: small valid files.
pub fn idx_seeds() -> Vec<Vec<u8>> {
    let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 2], [7u8; 12].as_slice()].concat();
    let labels = vec![0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3];
    // The labels, packed by gzip: a header, one stored block, CRC-32 and length.
    let packed = vec![
        0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1, 11, 0, 244, 255, 0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3, 0x8b,
        0xe5, 0xbd, 0xa4, 11, 0, 0, 0,
    ];
    vec![images, labels, packed]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Choices, Seeded};

    #[test]
    fn the_seeds_are_read() {
        let [images, labels, packed] = idx_seeds().try_into().unwrap();
        assert!(parse_images("images", &images).is_ok());
        assert_eq!(parse_labels("labels", &labels).unwrap(), [1, 2, 3]);
        assert_eq!(parse_labels("packed", &packed).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn changed_seeds_are_errors_or_keep_the_promises() {
        let mut choices = Seeded(11);
        for seed in idx_seeds() {
            for length in 0..seed.len() {
                fuzz_idx(&seed[..length]);
            }
            for at in 0..seed.len() {
                for change in 1..=255 {
                    let mut changed = seed.clone();
                    changed[at] ^= change;
                    fuzz_idx(&changed);
                }
            }
            for _ in 0..20_000 {
                let mut changed = seed.clone();
                for _ in 0..1 + choices.below(4) {
                    let at = choices.below(changed.len());
                    changed[at] = choices.next() as u8;
                }
                fuzz_idx(&changed);
            }
        }
    }
}
