//! The shapes of the two inputs of an operator that broadcasts, of any rank.

use smidgen::Shape;

/// Shapes of two sides and of their output with neighbouring dimensions merged where neither side begins or ends to broadcast, so that they are no more
/// than three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sides {
    pub(super) shapes: [Shape; 2],
    pub(super) output: Shape,
}

impl Sides {
    /// The merged shapes of dimensions that are aligned at their ends; `None` if they do not broadcast to `output`, or not in three parts.
    pub(super) fn of(left: &[usize], right: &[usize], output: &[usize]) -> Option<Self> {
        let (mut shapes, mut merged) = ([[1u32; 4]; 2], [1u32; 4]);
        let mut last: Option<[bool; 2]> = None;
        let mut place = 4;
        for back in 1..=output.len().max(left.len()).max(right.len()) {
            let dim = |dims: &[usize]| dims.len().checked_sub(back).map_or(1, |index| dims[index]);
            let [a, b, both] = [left, right, output].map(dim);
            if a.max(b) != both || (a != both && a != 1) || (b != both && b != 1) {
                return None;
            }
            if both == 1 {
                continue;
            }
            let moves = [a == both, b == both];
            if last != Some(moves) {
                last = Some(moves);
                place -= 1;
                if place == 0 {
                    return None;
                }
            }
            let length = u32::try_from(both).ok()?;
            merged[place] = merged[place].checked_mul(length)?;
            for (shape, moves) in shapes.iter_mut().zip(moves) {
                if moves {
                    shape[place] = merged[place];
                }
            }
        }
        Some(Self { shapes: shapes.map(Shape), output: Shape(merged) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_are_merged_where_nothing_changes() {
        let sides = |left: &[usize], right: &[usize], output: &[usize]| {
            Sides::of(left, right, output).map(|found| (found.shapes.map(|shape| shape.0), found.output.0))
        };
        let found = sides(&[5, 2, 3, 4, 6], &[5, 1, 1, 4, 6], &[5, 2, 3, 4, 6]);
        assert_eq!(found, Some(([[1, 5, 6, 24], [1, 5, 1, 24]], [1, 5, 6, 24])));
        assert_eq!(sides(&[2, 3], &[], &[2, 3]), Some(([[1, 1, 1, 6], [1, 1, 1, 1]], [1, 1, 1, 6])));
        assert_eq!(sides(&[3], &[2, 3], &[2, 3]), Some(([[1, 1, 1, 3], [1, 1, 2, 3]], [1, 1, 2, 3])));
        assert_eq!(sides(&[2, 1, 3, 1], &[1, 4, 1, 5], &[2, 4, 3, 5]), None);
        assert_eq!(sides(&[3], &[2], &[3]), None);
        assert_eq!(sides(&[3], &[3], &[4]), None);
    }
}
