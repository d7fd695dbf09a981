//! What the fuzz targets do with a fuzzer's bytes.

use smidgen::model::{HEADER_BYTES, LoadError, MAGIC, Model};
use smidgen::{AllOperators, OperatorSet};

use super::{
    AlignedBytes, FromBytes, Outcome, Parts, Scratch, edit_header, mutate, repair, run_file, sample,
};

/// The first byte of an input that is a file, not a list of changes. Below it, the byte chooses a sample to change.
const FILE: u8 = 0x80;

/// Takes `bytes` as a model file, or as changes to a sample, and loads and runs it.
///
/// If the first byte is 128 or more, the rest is a file, whose magic, version, length, checksum and set of operators are put right, so that a
/// fuzzer gets past them. Otherwise it chooses a sample, and the rest decides what is changed in it.
///
/// # Panics
/// If a model that was found valid does not run.
pub fn fuzz_model(bytes: &[u8], scratch: &mut Scratch) -> Option<Outcome> {
    let (&kind, rest) = bytes.split_first()?;
    if kind >= FILE {
        let mut file = AlignedBytes::copy_of(rest);
        put_right(&mut file);
        return Some(run_file(&file, scratch));
    }
    let mut samples = sample::all();
    let mut parts = samples.swap_remove(usize::from(kind) % samples.len());
    for changes in rest.chunks(16) {
        mutate(&mut parts, &mut FromBytes(changes));
    }
    Some(run_file(&parts.write(), scratch))
}

/// The input of [`fuzz_model`] that is the file of `parts`.
pub fn seed_of(parts: &Parts) -> Vec<u8> {
    [&[FILE], &*parts.write()].concat()
}

/// Puts right what a fuzzer would need luck to get right: magic, version, length, operators, checksum.
fn put_right(file: &mut [u8]) {
    let length = file.len() as u32;
    if file.len() < HEADER_BYTES {
        return;
    }
    file[..8].copy_from_slice(&[MAGIC[0], MAGIC[1], MAGIC[2], MAGIC[3], 1, 0, 0, 0]);
    file[68..80].fill(0);
    edit_header(file, |header| header.file_bytes = length);
    // All steps are checked before the set of operators is: it is what the loader did not complain of.
    if Model::<AllOperators>::from_bytes(file).err() == Some(LoadError::OperatorSet) {
        let used = Parts::steps_of(file).iter().fold(OperatorSet::EMPTY, |set, step| set.with(step.operator));
        edit_header(file, |header| header.operators = used);
    }
    repair(file);
}
