//! Writes the seeds of the fuzz targets below the directory named by the only argument, each target's into a directory of its own.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use smidgen_tests::faults::{idx_seeds, sample, seed_of, tflite_seeds};

fn main() -> io::Result<()> {
    let Some(directory) = env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("usage: fuzz_corpus DIRECTORY"));
    };
    let mut models: Vec<Vec<u8>> = sample::all().iter().map(seed_of).collect();
    // Lists of changes to each sample: none, and one.
    models.extend(
        (0..models.len() as u8).flat_map(|sample| [vec![sample], vec![sample, 9, 9, 9, 9, 0, 0, 0, 1]]),
    );
    write(&directory.join("model_load_and_run"), &models)?;
    write(&directory.join("idx"), &idx_seeds())?;
    let networks: Vec<Vec<u8>> = tflite_seeds()?.into_iter().map(|(_, file)| file).collect();
    write(&directory.join("tflite_import"), &networks)
}

fn write(directory: &Path, seeds: &[Vec<u8>]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    seeds
        .iter()
        .enumerate()
        .try_for_each(|(index, seed)| fs::write(directory.join(format!("seed_{index}")), seed))
}
