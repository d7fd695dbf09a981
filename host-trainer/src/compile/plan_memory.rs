//! Offsets from lifetimes.

use smidgen::{EntryKind, Space};

use super::error::CompileError;
use super::liveness::{Block, Blocks};
use super::overlaps::{Overlap, overlaps};
use super::phases::phases;
use super::program::{BufferId, Program};

/// Every buffer begins at a multiple of this many bytes.
pub(super) const ALIGNMENT: usize = smidgen::model::ALIGNMENT;

/// Large buffers of a program that trains begin at multiples of this many bytes, the lines of a host's cache: a vector that lies across two lines takes
/// two loads.
const LINE: usize = 64;
/// What a large buffer is: so many bytes that rounding them up does not matter.
const LARGE: usize = 4096;

/// Where the buffers of a program are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Byte offset of each buffer in its space; `None` for a buffer that nothing uses.
    pub offsets: Vec<Option<u32>>,
    /// How much of each space is used, in the order of [`Space::ALL`].
    pub spaces: [SpaceUse; 6],
}

/// How much of a space a plan uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceUse {
    /// Its length.
    pub bytes: usize,
    /// No plan of this order of steps can have fewer: the most bytes that are live at the same time, where those that an output may share with an
    /// input count once.
    pub lower_bound: usize,
}

impl MemoryPlan {
    /// How much of `space` is used.
    pub fn space(&self, space: Space) -> SpaceUse {
        self.spaces[space as usize]
    }
}

/// Gives each buffer an offset. Buffers of the arena and the chunk share bytes where their lifetimes do not meet, and where the step at which
/// they meet may write over what it reads ([`smidgen::ops::overlap`]); all others have their own.
///
/// One buffer after another is placed where it leaves the smallest gap (best fit): large ones first, or those that live long. If no such order reaches
/// the lower bound, others are tried, which are always the same.
///
/// # Errors
/// [`CompileError::Invariant`] if a buffer of the arena outlives a phase, or one of the arena or the chunk an entry.
pub fn plan_memory(program: &Program) -> Result<MemoryPlan, CompileError> {
    check_lifetimes(program)?;
    let blocks = Blocks::new(program);
    let overlaps = overlaps(program, &blocks);
    let is_training = program.entry(EntryKind::Train).is_some();
    let alignment = |bytes: usize| if is_training && bytes >= LARGE { LINE } else { ALIGNMENT };
    let mut offsets = vec![0; blocks.blocks.len()];
    let mut spaces = [SpaceUse::default(); 6];
    for space in Space::ALL {
        let members: Vec<usize> =
            (0..offsets.len()).filter(|&block| blocks.blocks[block].space == space).collect();
        let shared = matches!(space, Space::Arena | Space::Chunk);
        let bound = blocks.peak(space, ALIGNMENT, &overlaps);
        let placed = if shared {
            place_by_lifetime(&blocks.blocks, &members, &overlaps, bound, &alignment)
        } else {
            place_in_a_row(&blocks.blocks, &members, &alignment)
        };
        let mut bytes = 0;
        for (&block, offset) in members.iter().zip(placed) {
            offsets[block] = offset;
            bytes = bytes.max(offset + blocks.blocks[block].bytes.next_multiple_of(ALIGNMENT));
        }
        let lower_bound = if shared { bound } else { bytes };
        spaces[space as usize] = SpaceUse { bytes, lower_bound };
    }
    let offsets = blocks.of.iter().map(|block| block.map(|block| offsets[block] as u32)).collect();
    Ok(MemoryPlan { offsets, spaces })
}

/// What the offset of a block of so many bytes is a multiple of.
type Alignment<'a> = &'a dyn Fn(usize) -> usize;

fn place_in_a_row(blocks: &[Block], members: &[usize], alignment: Alignment<'_>) -> Vec<usize> {
    let mut end: usize = 0;
    let place = |&block: &usize| {
        let offset = end.next_multiple_of(alignment(blocks[block].bytes));
        end = offset + blocks[block].bytes.next_multiple_of(ALIGNMENT);
        offset
    };
    members.iter().map(place).collect()
}

/// Orders that are tried besides the planned ones.
const MORE_ORDERS: usize = 300;
/// Those of the order that places what overlaps first.
const MORE_OF_OVERLAPS: usize = 100;
/// With more blocks than this, only the planned orders are tried.
const FEW_BLOCKS: usize = 80;

fn place_by_lifetime(
    blocks: &[Block],
    members: &[usize],
    overlaps: &[Overlap],
    bound: usize,
    alignment: Alignment<'_>,
) -> Vec<usize> {
    let time = |index: usize| blocks[index].last - blocks[index].first + 1;
    let bytes = |index: usize| blocks[index].bytes;
    let largest = members.iter().map(|&block| blocks[block].bytes).max().unwrap_or(0);
    let in_overlap = |index: usize| overlaps.iter().any(|found| [found.input, found.output].contains(&index));
    // The last three go backwards in time: where each of many outputs may lie over its input, every input finds the place that its output has left it. What is small and lives long, as a label
    // does, would stand in the way of a chain that wanders: in the next to last, it goes into what the large ones leave. In the last, everything that does not overlap, as
    // scratch, goes into what the others leave.
    let keys: [&dyn Fn(usize) -> usize; 6] = [
        &bytes,
        &|index| bytes(index).saturating_mul(time(index)),
        &time,
        &|index| blocks[index].first,
        &|index| if bytes(index) > largest / 8 { largest + blocks[index].first } else { bytes(index) },
        &|index| if in_overlap(index) { usize::MAX / 2 + blocks[index].first } else { bytes(index) },
    ];
    let mut best: Option<(usize, Vec<usize>)> = None;
    let mut attempt = |order: &[usize], overlaps: &[Overlap]| {
        let offsets = best_fit(blocks, members, order, overlaps, alignment);
        let ends = members.iter().zip(&offsets).map(|(&block, offset)| offset + padded(&blocks[block]));
        let end = ends.max().unwrap_or(0);
        if best.as_ref().is_none_or(|&(least, _)| end < least) {
            best = Some((end, offsets));
        }
        best.as_ref().is_some_and(|&(least, _)| least <= bound)
    };
    let mut orders = keys.map(|key| {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by_key(|&member| (std::cmp::Reverse(key(members[member])), member));
        order
    });
    let planned = orders.clone();
    let mut is_reached = planned.iter().any(|order| attempt(order, overlaps));
    let tries = if members.len() <= FEW_BLOCKS { MORE_ORDERS + MORE_OF_OVERLAPS } else { 0 };
    // Knuth's MMIX generator.
    let mut state = 1u64;
    for index in 0..tries {
        if is_reached {
            break;
        }
        // Two blocks change places; of the last order, when all of the others have had their tries.
        let order = if index < MORE_ORDERS { index % 4 } else { orders.len() - 1 };
        let order = &mut orders[order];
        let mut any = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let (from, to) = (any(members.len()), any(members.len()));
        order.swap(from, to);
        is_reached = attempt(order, overlaps);
    }
    // A tensor between one that narrows and one that widens may have to get from one end of the arena to the other: there an output is better off apart.
    for left_out in (0..overlaps.len()).take_while(|_| tries > 0) {
        let (before, rest) = overlaps.split_at(left_out);
        let others: Vec<Overlap> = before.iter().chain(&rest[1..]).copied().collect();
        is_reached = is_reached || planned.iter().any(|order| attempt(order, &others));
    }
    best.map(|(_, offsets)| offsets).unwrap_or_default()
}

fn padded(block: &Block) -> usize {
    block.bytes.next_multiple_of(ALIGNMENT)
}

/// Places the members in this order, each where it leaves the smallest gap to those already placed that live at the same time.
fn best_fit(
    blocks: &[Block],
    members: &[usize],
    order: &[usize],
    overlaps: &[Overlap],
    alignment: Alignment<'_>,
) -> Vec<usize> {
    let mut offsets: Vec<Option<usize>> = vec![None; members.len()];
    for &member in order {
        let index = members[member];
        let length = padded(&blocks[index]) as i64;
        // Where the block may not begin because of another: between the two, which are allowed themselves.
        let mut forbidden: Vec<(i64, i64)> = Vec::new();
        let mut candidates = vec![0];
        for (&other, offset) in members.iter().zip(&offsets) {
            let meets =
                blocks[index].first <= blocks[other].last && blocks[other].first <= blocks[index].last;
            let (true, Some(start)) = (meets, *offset) else { continue };
            let (start, end) = (start as i64, (start + padded(&blocks[other])) as i64);
            let distance = |input: usize, output: usize| {
                let found = overlaps.iter().find(|found| (found.input, found.output) == (input, output));
                found.map(|found| found.distance.next_multiple_of(ALIGNMENT) as i64)
            };
            let (below, above) = if let Some(distance) = distance(other, index) {
                candidates.push(start - distance);
                ((start - length).max(start - distance), end)
            } else if let Some(distance) = distance(index, other) {
                (start - length, end.min(start + distance))
            } else {
                (start - length, end)
            };
            candidates.push(above);
            forbidden.push((below, above));
        }
        let is_allowed =
            |at: i64| at >= 0 && forbidden.iter().all(|&(below, above)| at <= below || at >= above);
        // What stays free between the block and the next one above it.
        let gap =
            |at: i64| forbidden.iter().filter(|&&(below, _)| below >= at).map(|&(below, _)| below - at).min();
        let multiple = alignment(blocks[index].bytes) as i64;
        let candidates =
            candidates.into_iter().map(|at: i64| (at + multiple - 1).div_euclid(multiple) * multiple);
        let candidates = candidates.filter(|&at| is_allowed(at));
        let best = candidates.min_by_key(|&at| (gap(at).unwrap_or(i64::MAX), at));
        offsets[member] = Some(best.unwrap_or(0) as usize);
    }
    offsets.into_iter().map(|offset| offset.unwrap_or(0)).collect()
}

/// What a step does with a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    WritePart,
    Change,
}

/// Nothing in the arena outlives a phase, nothing in arena or chunk an entry, and what is read was written before, all parts of it.
fn check_lifetimes(program: &Program) -> Result<(), CompileError> {
    let mut owner: Vec<Option<(usize, usize)>> = vec![None; program.buffers.len()];
    let mut was_read = vec![false; program.buffers.len()];
    for (index, entry) in program.entries.iter().enumerate() {
        let phases = phases(entry);
        let last_phase = phases.len().saturating_sub(1);
        let mut check = |id: BufferId, phase: usize, access: Access, step: &str| {
            let root = program.root(id);
            let buffer = program.buffer(root);
            let writes = access != Access::Read;
            let problem = match (buffer.space, owner[root.0]) {
                (Space::Constant | Space::Parameter | Space::State | Space::Gradient, _) => None,
                (_, None) if writes && access != Access::Change => {
                    owner[root.0] = Some((index, phase));
                    None
                }
                (_, None) => Some("is read before it is written"),
                (_, Some((other, _))) if other != index => Some("belongs to two entries"),
                (Space::Arena, Some((_, other))) if access == Access::Change && other == phase => None,
                (_, Some(_)) if matches!(access, Access::Write | Access::Change) => Some("is written twice"),
                (_, Some(_)) if writes && was_read[root.0] => Some("is read before all of it is written"),
                (Space::Chunk, Some((_, other))) if writes && other != phase => {
                    Some("is written in two phases")
                }
                (Space::Arena, Some((_, other))) if other != phase => Some("outlives its phase in the arena"),
                _ => None,
            };
            was_read[root.0] |= access == Access::Read;
            match problem {
                None => Ok(()),
                Some(problem) => {
                    let buffer = buffer.name.clone();
                    Err(CompileError::Invariant { step: step.to_owned(), buffer, problem })
                }
            }
        };
        entry.inputs.iter().try_for_each(|&id| check(id, 0, Access::Write, "(input)"))?;
        for (phase, range) in phases.into_iter().enumerate() {
            for step in &entry.steps[range] {
                step.reads.iter().try_for_each(|&id| check(id, phase, Access::Read, &step.name))?;
                let access = match step.operator {
                    _ if step.writes_parts() => Access::WritePart,
                    _ if step.changes() => Access::Change,
                    _ => Access::Write,
                };
                step.writes.iter().try_for_each(|&id| check(id, phase, access, &step.name))?;
            }
        }
        entry.outputs.iter().try_for_each(|&id| check(id, last_phase, Access::Read, "(output)"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use smidgen::{EntryKind, Operator, Schedule, Shape};

    use super::super::program::{VirtualEntry, VirtualStep};
    use super::*;
    use crate::compile::{
        Loss, Optimizer, TrainingOptions, differentiate, fuse_activation, group_phases, recompute, schedule,
    };
    use crate::graph::nets;

    /// Goes through the steps and keeps for every cell of [`ALIGNMENT`] bytes whose it is. The first read that does not find its own
    /// cells, or write that hits what its step reads and not in place.
    fn first_fault(program: &Program, plan: &MemoryPlan) -> Option<String> {
        let place = |id: BufferId| {
            let start = plan.offsets[id.0].unwrap() as usize / ALIGNMENT;
            (program.buffer(id).space, start..start + program.buffer(id).bytes().div_ceil(ALIGNMENT))
        };
        for entry in &program.entries {
            let mut owners = Space::ALL.map(|space| vec![None; plan.space(space).bytes / ALIGNMENT]);
            let lasting = (0..program.buffers.len()).map(BufferId).filter(|id| {
                !matches!(program.buffer(*id).space, Space::Arena | Space::Chunk)
                    && plan.offsets[id.0].is_some()
            });
            for id in lasting.chain(entry.inputs.iter().copied()) {
                let (space, range) = place(id);
                owners[space as usize][range].fill(Some(program.root(id)));
            }
            let is_there = |owners: &[Vec<Option<BufferId>>; 6], id: BufferId| {
                let (space, range) = place(id);
                owners[space as usize][range].iter().all(|&owner| owner == Some(program.root(id)))
            };
            for step in &entry.steps {
                if let Some(&lost) = step.reads.iter().find(|&&id| !is_there(&owners, id)) {
                    return Some(format!("{} reads {}, which is lost", step.name, program.buffer(lost).name));
                }
                for (w, &write) in step.writes.iter().enumerate() {
                    let (space, range) = place(write);
                    for (r, &read) in step.reads.iter().enumerate() {
                        let (read_space, read_range) = place(read);
                        let meet = space == read_space
                            && range.start < read_range.end
                            && read_range.start < range.end;
                        if meet && !(w == 0 && step.in_place == Some(r) && range == read_range) {
                            return Some(format!("{} overwrites {}", step.name, program.buffer(read).name));
                        }
                    }
                    owners[space as usize][range].fill(Some(program.root(write)));
                }
            }
            if let Some(&lost) = entry.outputs.iter().find(|&&id| !is_there(&owners, id)) {
                return Some(format!("the output {} is lost", program.buffer(lost).name));
            }
        }
        None
    }

    fn training(name: &str) -> Program {
        let options = TrainingOptions {
            chunk_samples: 2,
            chunks: 2,
            loss: match name {
                "autoencoder" => Loss::MeanSquaredError,
                _ => Loss::SoftmaxCrossEntropy { label_smoothing: 0.0 },
            },
            optimizer: Optimizer::Sgd { momentum: 0.9, weight_decay: 0.0, nesterov: false },
            ..TrainingOptions::default()
        };
        let graph = fuse_activation(nets::by_name(name).unwrap().build().unwrap());
        schedule(recompute(group_phases(differentiate(&graph, &options).unwrap())))
    }

    #[test]
    fn live_buffers_never_share_bytes() {
        for name in nets::NAMES {
            let program = training(name);
            let plan = plan_memory(&program).unwrap();
            assert_eq!(first_fault(&program, &plan), None, "{name}");
            assert!(
                plan.offsets.iter().flatten().all(|offset| (*offset as usize).is_multiple_of(ALIGNMENT)),
                "{name}"
            );
        }
    }

    #[test]
    fn the_check_notices_a_buffer_that_is_moved() {
        let program = training("mnist_ds_cnn");
        let plan = plan_memory(&program).unwrap();
        let shared = |id: &usize| matches!(program.buffers[*id].space, Space::Arena | Space::Chunk);
        let mut unnoticed = 0;
        let ids: Vec<usize> = (0..program.buffers.len()).filter(shared).collect();
        for &id in &ids {
            let mut moved = plan.clone();
            moved.offsets[id] = moved.offsets[id].map(|offset| if offset == 0 { 16 } else { offset - 16 });
            let bytes = plan.space(program.buffers[id].space).bytes;
            let fits = moved.offsets[id]
                .is_some_and(|offset| offset as usize + program.buffers[id].bytes() <= bytes);
            unnoticed += usize::from(fits && first_fault(&program, &moved).is_none());
        }
        // A small buffer may lie at the edge of a hole.
        assert!(unnoticed * 4 < ids.len(), "{unnoticed} of {} moves went unnoticed", ids.len());
    }

    fn block(bytes: usize, first: usize, last: usize) -> Block {
        Block { space: Space::Arena, bytes, first, last }
    }

    #[test]
    fn large_buffers_of_training_begin_at_lines_of_the_cache() {
        for name in nets::NAMES {
            let program = training(name);
            let plan = plan_memory(&program).unwrap();
            let large = (0..program.buffers.len()).filter(|&id| {
                let buffer = &program.buffers[id];
                buffer.view_of.is_none() && buffer.space != Space::Constant && buffer.bytes() >= LARGE
            });
            for offset in large.filter_map(|id| plan.offsets[id]) {
                assert!((offset as usize).is_multiple_of(LINE), "{name}");
            }
        }
    }

    #[test]
    fn the_smallest_gap_that_fits_is_taken() {
        // Gaps of 64 bytes at 16 and of 32 bytes at 96 between three blocks; 32 bytes go to the second.
        let blocks = [
            block(16, 0, 9),
            block(64, 0, 1),
            block(16, 0, 9),
            block(32, 0, 1),
            block(16, 0, 9),
            block(20, 5, 6),
        ];
        let offsets = best_fit(&blocks, &[0, 1, 2, 3, 4, 5], &[0, 1, 2, 3, 4, 5], &[], &|_| ALIGNMENT);
        assert_eq!(offsets, [0, 16, 80, 96, 128, 96]);
    }

    #[test]
    fn a_buffer_may_be_written_part_by_part_before_it_is_read() {
        let mut program = Program::default();
        let ids: Vec<BufferId> = (0..3)
            .map(|index| program.add_f32(format!("{index}"), Space::Arena, Shape::vector(4)).unwrap())
            .collect();
        let step = |operator, read: usize, write: usize| VirtualStep {
            name: "step".to_owned(),
            operator,
            schedule: Schedule::PerChunk,
            attributes: vec![],
            reads: vec![ids[read]],
            writes: vec![ids[write]],
            in_place: None,
        };
        let (copy, whole) = (|read, write| step(Operator::Copy, read, write), Operator::ActivationF32);
        let mut plan = |steps: Vec<VirtualStep>| {
            let (inputs, outputs) = (vec![ids[0]], vec![ids[steps.last().unwrap().writes[0].0]]);
            program.entries = vec![VirtualEntry { kind: EntryKind::Infer, steps, inputs, outputs }];
            plan_memory(&program).map(|plan| (plan.space(Space::Arena).bytes, first_fault(&program, &plan)))
        };
        // All three live while the second is written: its place is its own from the first part on.
        let parts = vec![copy(0, 1), step(whole, 0, 2), copy(2, 1)];
        assert_eq!(plan(parts).unwrap(), (48, None));
        let problem = |found: Result<_, CompileError>| match found {
            Err(CompileError::Invariant { problem, .. }) => Some(problem),
            _ => None,
        };
        let early = vec![copy(0, 1), step(whole, 1, 2), copy(2, 1)];
        assert_eq!(problem(plan(early)), Some("is read before all of it is written"));
        let twice = vec![copy(0, 1), step(whole, 0, 1)];
        assert_eq!(problem(plan(twice)), Some("is written twice"));
    }

    #[test]
    fn scratch_lies_around_what_overlaps() {
        let tensors = [block(800, 0, 0), block(800, 0, 1), block(800, 1, 2), block(800, 2, 2)];
        let scratch = [block(144, 0, 0), block(64, 1, 1), block(144, 2, 2)];
        let blocks: Vec<Block> = tensors.into_iter().chain(scratch).collect();
        let overlaps: Vec<Overlap> =
            (0..3).map(|time| Overlap { input: time, output: time + 1, distance: 0, time }).collect();
        let bound = Blocks { blocks: blocks.clone(), of: vec![] }.peak(Space::Arena, ALIGNMENT, &overlaps);
        let members: Vec<usize> = (0..blocks.len()).collect();
        let offsets = place_by_lifetime(&blocks, &members, &overlaps, bound, &|_| ALIGNMENT);
        let end = offsets.iter().zip(&blocks).map(|(offset, block)| offset + block.bytes).max();
        assert_eq!((end, bound), (Some(944), 944));
    }

    #[test]
    fn an_output_lies_over_its_input_no_further_than_it_may() {
        // One widens, the next narrows; the second of them reads what the first wrote.
        let blocks = [block(64, 0, 0), block(128, 0, 1), block(64, 1, 1)];
        let widens = Overlap { input: 0, output: 1, distance: 50, time: 0 };
        let narrows = Overlap { input: 1, output: 2, distance: 0, time: 1 };
        let plan = |overlaps: &[Overlap]| {
            let bound =
                Blocks { blocks: blocks.to_vec(), of: vec![] }.peak(Space::Arena, ALIGNMENT, overlaps);
            let offsets = place_by_lifetime(&blocks, &[0, 1, 2], overlaps, bound, &|_| ALIGNMENT);
            let end = offsets.iter().zip(&blocks).map(|(offset, block)| offset + block.bytes).max();
            (end.unwrap(), bound, offsets)
        };
        let (end, bound, _) = plan(&[]);
        assert_eq!((end, bound), (192, 192));
        let (end, bound, offsets) = plan(&[widens, narrows]);
        assert_eq!((end, bound), (128, 128));
        assert!(offsets[0] >= offsets[1] + 50 && offsets[2] <= offsets[1], "{offsets:?}");
        let far = Overlap { distance: 100, ..widens };
        assert_eq!((plan(&[far, narrows]).0, plan(&[far, narrows]).1), (176, 176));
    }

    #[test]
    fn what_outlives_its_phase_or_is_never_written_is_refused() {
        let mut program = Program::default();
        let ids: Vec<BufferId> = [Space::Arena, Space::Arena, Space::State]
            .into_iter()
            .map(|space| program.add_f32(format!("{space:?}"), space, Shape::vector(4)).unwrap())
            .collect();
        let step = |schedule, read: usize, write: usize| VirtualStep {
            name: "step".to_owned(),
            operator: Operator::ActivationF32,
            schedule,
            attributes: vec![0, 0],
            reads: vec![ids[read]],
            writes: vec![ids[write]],
            in_place: None,
        };
        let mut problem = |steps| {
            let inputs = vec![ids[0]];
            program.entries = vec![VirtualEntry { kind: EntryKind::Train, steps, inputs, outputs: vec![] }];
            match plan_memory(&program) {
                Err(CompileError::Invariant { problem, .. }) => Some(problem),
                _ => None,
            }
        };
        let (chunk, once) = (Schedule::PerChunk, Schedule::Once);
        assert_eq!(problem(vec![step(chunk, 0, 1)]), None);
        assert_eq!(problem(vec![step(chunk, 1, 0)]), Some("is read before it is written"));
        assert_eq!(problem(vec![step(chunk, 0, 0)]), Some("is written twice"));
        assert_eq!(
            problem(vec![step(chunk, 0, 1), step(once, 1, 2)]),
            Some("outlives its phase in the arena")
        );
    }
}
