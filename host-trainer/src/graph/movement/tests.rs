use smidgen::ops::movement::copy;

use super::*;

/// A tensor whose elements are their places, and more for every input.
fn input(dims: &[usize], index: usize) -> Vec<i32> {
    (0..dims.iter().product::<usize>()).map(|place| (place + 1000 * index) as i32).collect()
}

/// The output, by the core's copies; -1 where nothing comes.
fn apply(movement: &Movement, inputs: &[Vec<i32>]) -> Vec<i32> {
    let mut output = vec![movement.fill.unwrap_or(-1); movement.output.elements().unwrap()];
    for transfer in &movement.transfers {
        for params in transfer.copies().unwrap() {
            copy::forward(&params, &inputs[transfer.input], &mut output);
        }
    }
    output
}

/// All indices of a tensor, in the order of its elements.
fn indices(dims: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for &dim in dims {
        all = all.iter().flat_map(|index| (0..dim).map(|i| [&index[..], &[i]].concat())).collect();
    }
    all
}

fn place(dims: &[usize], index: &[usize]) -> usize {
    dims.iter().zip(index).fold(0, |place, (dim, index)| place * dim + index)
}

/// The output of which element `index` is what `of` says.
fn expected(dims: &[usize], of: impl Fn(&[usize]) -> i32) -> Vec<i32> {
    indices(dims).iter().map(|index| of(index)).collect()
}

#[test]
fn concatenation_and_pack() {
    for axis in 0..3 {
        let mut shapes = vec![vec![2, 3, 4]; 3];
        shapes[1][axis] = 1;
        let (movement, dims) = Movement::concatenation(&shapes, axis).unwrap();
        let inputs: Vec<_> = shapes.iter().enumerate().map(|(i, dims)| input(dims, i)).collect();
        let found = apply(&movement, &inputs);
        let of = |index: &[usize]| {
            let (mut index, mut from) = (index.to_vec(), 0);
            while index[axis] >= shapes[from][axis] {
                index[axis] -= shapes[from][axis];
                from += 1;
            }
            inputs[from][place(&shapes[from], &index)]
        };
        assert_eq!(found, expected(&dims, of), "axis {axis}");
        // The last axis but whole rows is one dimension; the first is one run.
        assert_eq!(movement.transfers[0].source.dims.len(), if axis == 0 { 1 } else { 2 });
    }
    assert_eq!(Movement::concatenation(&[vec![2, 3], vec![3, 2]], 1), None);
    for axis in 0..3 {
        let (movement, dims) = Movement::pack(&[2, 3], axis, 4).unwrap();
        let inputs: Vec<_> = (0..4).map(|i| input(&[2, 3], i)).collect();
        let of = |index: &[usize]| {
            let mut index = index.to_vec();
            let from = index.remove(axis);
            inputs[from][place(&[2, 3], &index)]
        };
        assert_eq!(apply(&movement, &inputs), expected(&dims, of), "axis {axis}");
    }
}

#[test]
fn slices_pads_and_mirrors() {
    let dims = [3, 4, 5];
    let x = input(&dims, 0);
    let ranges = [(2, -1, 3), (1, 2, 2), (0, 1, 5)];
    let found = Movement::slice(MovementKind::StridedSlice, &dims, &ranges, &[3, 2, 5]).unwrap();
    let of = |index: &[usize]| x[place(&dims, &[2 - index[0], 1 + 2 * index[1], index[2]])];
    assert_eq!(apply(&found, std::slice::from_ref(&x)), expected(&[3, 2, 5], of));

    let amounts = [(1, 0), (0, 2), (2, 1)];
    let (found, padded) = Movement::pad(&dims, &amounts, 77).unwrap();
    let inside = |index: &[usize]| -> Option<Vec<usize>> {
        let back = index.iter().zip(amounts.iter().zip(&dims));
        back.map(|(&i, (&(before, _), &dim))| i.checked_sub(before).filter(|&i| i < dim)).collect()
    };
    let of = |index: &[usize]| inside(index).map_or(77, |index| x[place(&dims, &index)]);
    assert_eq!(apply(&found, std::slice::from_ref(&x)), expected(&padded, of));

    for reflect in [true, false] {
        let amounts = [(2, 1), (0, 3), (1, 2)];
        let (found, padded) = Movement::mirror_pad(&dims, &amounts, reflect).unwrap();
        let of = |index: &[usize]| {
            let mirrored: Vec<usize> = (0..3)
                .map(|axis| {
                    let (i, dim) = (index[axis] as i64 - amounts[axis].0 as i64, dims[axis] as i64);
                    let edge = i64::from(!reflect);
                    let back = if i < 0 { -i - edge } else { i };
                    (if back >= dim { 2 * (dim - 1) - back + edge } else { back }) as usize
                })
                .collect();
            x[place(&dims, &mirrored)]
        };
        assert_eq!(apply(&found, std::slice::from_ref(&x)), expected(&padded, of), "reflect {reflect}");
    }
    assert_eq!(Movement::mirror_pad(&dims, &[(3, 0), (0, 0), (0, 0)], true), None);
    assert!(Movement::mirror_pad(&dims, &[(3, 0), (0, 0), (0, 0)], false).is_some());
}

#[test]
fn transposes_of_any_rank() {
    let cases: [(&[usize], &[usize]); 5] = [
        (&[2, 3], &[1, 0]),
        (&[2, 3, 4], &[2, 0, 1]),
        (&[2, 3, 4, 5], &[0, 3, 1, 2]),
        (&[2, 3, 2, 2, 3], &[4, 3, 2, 1, 0]),
        (&[2, 3, 2, 2, 3, 2], &[5, 1, 3, 0, 4, 2]),
    ];
    for (dims, order) in cases {
        let x = input(dims, 0);
        let (movement, output) = Movement::transpose(dims, order).unwrap();
        let of = |index: &[usize]| {
            let mut from = vec![0; dims.len()];
            order.iter().zip(index).for_each(|(&axis, &i)| from[axis] = i);
            x[place(dims, &from)]
        };
        assert_eq!(apply(&movement, std::slice::from_ref(&x)), expected(&output, of), "{dims:?} {order:?}");
    }
    assert_eq!(Movement::transpose(&[2, 3], &[0, 0]), None);
    // Nothing moves when only ones change their place.
    assert!(Movement::transpose(&[1, 3, 1, 4], &[1, 0, 3, 2]).unwrap().0.is_view());
}

#[test]
fn depth_and_space() {
    let (dims, block) = ([2, 2, 3, 12], 2);
    let x = input(&dims, 0);
    let (movement, output) = Movement::depth_and_space(dims, block, true).unwrap();
    assert_eq!(output, [2, 4, 6, 3]);
    let of = |index: &[usize]| {
        let &[n, y, x_, c] = index else { panic!() };
        x[place(&dims, &[n, y / block, x_ / block, (y % block * block + x_ % block) * 3 + c])]
    };
    let found = apply(&movement, std::slice::from_ref(&x));
    assert_eq!(found, expected(&output, of));
    assert!(movement.transfers[0].source.dims.len() <= 4);
    let (back, dims_back) = Movement::depth_and_space(output, block, false).unwrap();
    assert_eq!((apply(&back, &[found]), dims_back), (x, dims));
    assert_eq!(Movement::depth_and_space([1, 2, 2, 3], 2, true), None);
    assert_eq!(Movement::depth_and_space([1, 3, 2, 3], 2, false), None);
    assert_eq!(Movement::depth_and_space([1, 3, 2, 3], 0, false), None);
}

#[test]
fn gradients_fill_only_where_something_is_missing() {
    let operators = |movement: &Movement, elements| -> Vec<Operator> {
        movement.gradient(0, elements).unwrap().iter().map(|part| part.operator).collect()
    };
    let (joined, _) = Movement::concatenation(&[vec![2, 2], vec![2, 3]], 1).unwrap();
    assert_eq!(operators(&joined, 4), [Operator::Copy]);
    let slice = Movement::slice(MovementKind::Slice, &[4, 4], &[(1, 1, 2), (0, 1, 4)], &[2, 4]).unwrap();
    assert_eq!(operators(&slice, 16), [Operator::Fill, Operator::Copy]);
    let (mirrored, _) = Movement::mirror_pad(&[3], &[(1, 1)], true).unwrap();
    let expected = [Operator::Fill, Operator::CopyAdd, Operator::CopyAdd, Operator::CopyAdd];
    assert_eq!(operators(&mirrored, 3), expected);
}

#[test]
fn too_many_steps_are_refused() {
    // Reversed, eight dimensions stay eight; four are unrolled.
    let dims = [5; 8];
    let order: Vec<usize> = (0..8).rev().collect();
    assert_eq!(Movement::transpose(&dims, &order).unwrap().0.steps(), None);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut graph = crate::graph::Graph::new("net");
    let x = graph.add_activation("x", Shape([1, 1, 2, 3]));
    let (right, _) = Movement::transpose(&[2, 3], &[1, 0]).unwrap();
    let tensor = graph.tensor(x);
    assert_eq!(right.output(&[tensor]), Ok((Shape([1, 1, 3, 2]), ElementType::F32)));
    let mut beyond = right.clone();
    beyond.transfers[0].source.offset = 1;
    assert!(matches!(beyond.output(&[tensor]), Err(Problem::Movement { .. })));
    let mut missing = right.clone();
    missing.transfers.clear();
    assert!(matches!(missing.output(&[tensor]), Err(Problem::Number { .. })));
    let mut other = right;
    other.transfers[0].input = 1;
    assert!(matches!(other.output(&[tensor]), Err(Problem::InputCount { .. })));
}

#[test]
fn nearest_is_tensorflow_lites() {
    assert_eq!(nearest(2, 4, false, false), [0, 0, 1, 1]);
    assert_eq!(nearest(3, 2, false, false), [0, 1]);
    assert_eq!(nearest(3, 5, true, false), [0, 1, 1, 2, 2]);
    assert_eq!(nearest(2, 3, false, true), [0, 1, 1]);
    assert_eq!(nearest(5, 1, true, false), [0]);
}
