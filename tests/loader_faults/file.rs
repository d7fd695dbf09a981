//! Faults of the file as a whole: header, checksum, sections, metadata.

use smidgen::checksum::crc32c;
use smidgen::frontend::{Audio, AudioConfig, Detrend, Spacing};
use smidgen::model::{ALIGNMENT, CHECKSUM_START, HEADER_BYTES, Header, LoadError, Model};
use smidgen::{AllOperators, OperatorSet, Operators, Preprocessing};
use smidgen_tests::faults::{AlignedBytes, Parts, edit_header, repair, sample};

use super::load;

/// The sample with its header changed and its checksum repaired.
fn with_header(edit: impl FnOnce(&mut Header)) -> AlignedBytes {
    let mut file = sample::sum().write();
    edit_header(&mut file, edit);
    file
}

/// The sample's sections: metadata with the padding after them, entries, steps, padding, weights. To be changed and joined again.
struct Sections([Vec<u8>; 5]);

const METADATA: usize = 0;
const ENTRIES: usize = 1;
const STEPS: usize = 2;
const PADDING: usize = 3;
const WEIGHTS: usize = 4;

impl Sections {
    fn of(parts: &Parts) -> Self {
        let file = parts.write();
        let h = Header::read(&file).unwrap();
        let bounds = [
            h.metadata_offset,
            h.entries_offset,
            h.steps_offset,
            h.steps_end,
            h.weights_offset,
            h.file_bytes,
        ];
        Self(core::array::from_fn(|i| file[bounds[i] as usize..bounds[i + 1] as usize].to_vec()))
    }

    fn of_sample() -> Self {
        Self::of(&sample::sum())
    }

    /// Where `section` begins.
    fn start(&self, section: usize) -> usize {
        HEADER_BYTES + self.0[..section].iter().map(Vec::len).sum::<usize>()
    }

    fn join(&self) -> AlignedBytes {
        let sample = sample::sum().write();
        let bytes = [&sample[..HEADER_BYTES], &self.0.concat()].concat();
        let mut file = AlignedBytes::copy_of(&bytes);
        edit_header(&mut file, |header| {
            header.file_bytes = bytes.len() as u32;
            let start = |section| self.start(section) as u32;
            (header.metadata_offset, header.entries_offset) = (start(METADATA), start(ENTRIES));
            (header.steps_offset, header.steps_end) = (start(STEPS), start(PADDING));
            header.weights_offset = start(WEIGHTS);
        });
        file
    }
}

#[test]
fn the_samples_are_valid() {
    for parts in sample::all() {
        assert_eq!(load(&parts.write()), Ok(()), "{}", parts.name);
    }
    assert_eq!(load(&Sections::of_sample().join()), Ok(()));
}

#[test]
fn wrong_magic() {
    let mut file = sample::sum().write();
    file[0] = b'T';
    repair(&mut file);
    assert_eq!(load(&file), Err(LoadError::WrongMagic { found: *b"TMDG" }));
}

#[test]
fn wrong_version() {
    let load_as = |version| load(&with_header(|header| header.version = version));
    assert_eq!(load_as((1, 0)), Ok(()));
    for found in [(0, 0), (1, 3), (2, 0)] {
        assert_eq!(load_as(found), Err(LoadError::UnsupportedVersion { found, expected: (1, 2) }));
    }
    // It has no front end.
    for found in [(1, 1), (1, 2)] {
        assert_eq!(load_as(found), Err(LoadError::VersionWithoutNeed { found, expected: (1, 0) }));
    }
}

#[test]
fn reserved_bytes() {
    // The front end's memory is reserved in version 1.0.
    for (range, offset) in [(6..8, 6), (72..76, 72), (76..80, 76)] {
        for at in range {
            let mut file = sample::sum().write();
            file[at] = 1;
            repair(&mut file);
            assert_eq!(load(&file), Err(LoadError::Reserved { offset }), "byte {at}");
        }
    }
}

#[test]
fn wrong_checksum() {
    let mut file = sample::sum().write();
    let expected = crc32c(&file[CHECKSUM_START..]);
    *file.last_mut().unwrap() ^= 1;
    let found = crc32c(&file[CHECKSUM_START..]);
    assert_eq!(load(&file), Err(LoadError::WrongChecksum { expected, found }));
}

#[test]
fn truncation() {
    let mut file = sample::sum().write();
    for length in 0..file.len() {
        let expected = if length < HEADER_BYTES { HEADER_BYTES } else { file.len() };
        assert_eq!(load(&file[..length]), Err(LoadError::Truncated { expected, found: length }));
    }
    edit_header(&mut file, |header| header.file_bytes += 1);
    let error = LoadError::Truncated { expected: file.len() + 1, found: file.len() };
    assert_eq!(load(&file), Err(error));
}

#[test]
fn truncation_that_the_header_admits() {
    for parts in sample::all() {
        let file = parts.write();
        for length in HEADER_BYTES..file.len() {
            let mut file = AlignedBytes::copy_of(&file[..length]);
            edit_header(&mut file, |header| header.file_bytes = length as u32);
            assert!(load(&file).is_err(), "{} cut to {length} bytes", parts.name);
        }
    }
}

#[test]
fn trailing_bytes() {
    let file = sample::sum().write();
    let longer = AlignedBytes::copy_of(&[&file, [0u8; 3].as_slice()].concat());
    let error = LoadError::TrailingBytes { expected: file.len(), found: file.len() + 3 };
    assert_eq!(load(&longer), Err(error));
}

#[test]
fn trailing_bytes_that_the_header_admits() {
    let mut sections = Sections::of_sample();
    let end = sections.start(WEIGHTS);
    sections.0[WEIGHTS].push(0);
    let Err(LoadError::Section { offset }) = load(&sections.join()) else { panic!("a longer weights block") };
    assert!(offset < end, "the length before the weights block is what is wrong");
}

#[test]
fn misaligned_block() {
    let file = sample::sum().write();
    let mut block = AlignedBytes::zeroed(file.len() + ALIGNMENT);
    for shift in 1..ALIGNMENT {
        block[shift..][..file.len()].copy_from_slice(&file);
        let found = load(&block[shift..][..file.len()]);
        assert_eq!(found, Err(LoadError::MisalignedBlock { found: shift }));
    }
    let offset = Header::read(&file).unwrap().weights_offset;
    let found = load(&with_header(|header| header.weights_offset -= 1));
    assert_eq!(found, Err(LoadError::MisalignedBlock { found: offset as usize - 1 }));
}

#[test]
fn sections_that_do_not_join() {
    let file = sample::sum().write();
    let Header { entries_offset, steps_offset, steps_end, .. } = Header::read(&file).unwrap();
    let section = |offset: u32| Err(LoadError::Section { offset: offset as usize });
    let malformed = |offset: u32| Err(LoadError::Malformed { offset: offset as usize });
    let after = |edit: fn(&mut Header)| load(&with_header(edit));

    assert_eq!(after(|h| h.metadata_offset += 1), section(HEADER_BYTES as u32));
    assert_eq!(
        after(|h| h.entries_offset -= 1),
        Err(LoadError::MisalignedBlock { found: entries_offset as usize - 1 })
    );
    assert_eq!(after(|h| h.entries_offset -= 16), malformed(HEADER_BYTES as u32));
    assert!(matches!(after(|h| h.entries_offset += 16), Err(LoadError::Section { .. })));
    // The records before and after the boundary are cut.
    for shift in [4, 0u32.wrapping_sub(4)] {
        let found = load(&with_header(|h| h.steps_offset = h.steps_offset.wrapping_add(shift)));
        assert!(found.is_err(), "{shift}");
    }
    // The second step loses its end; bytes after it are no step.
    assert!(matches!(after(|h| h.steps_end -= 4), Err(LoadError::Section { .. })));
    assert!(matches!(after(|h| h.steps_end += 4), Err(LoadError::Section { .. })));
    assert!(matches!(after(|h| h.weights_offset += 16), Err(LoadError::Section { .. })));
    // Upside down, and far outside of the file.
    assert_eq!(after(|h| h.steps_offset = h.entries_offset - 1), section(entries_offset));
    assert_eq!(after(|h| h.steps_end = h.steps_offset - 1), section(steps_offset));
    assert_eq!(after(|h| h.weights_offset = 0xffff_fff0), section(steps_end));
    assert_eq!(after(|h| h.weights_offset = 0), section(steps_end));
}

#[test]
fn bytes_between_sections() {
    for section in [METADATA, PADDING] {
        let mut sections = Sections::of_sample();
        // Sixteen, so that the blocks stay aligned.
        sections.0[section].extend([0; 16]);
        assert!(matches!(load(&sections.join()), Err(LoadError::Section { .. })), "section {section}");
    }
    for section in [ENTRIES, STEPS] {
        let mut sections = Sections::of_sample();
        sections.0[section].extend([0; 16]);
        // The length of the block of both stands before them.
        assert!(matches!(load(&sections.join()), Err(LoadError::Section { .. })), "section {section}");
    }
}

#[test]
fn a_block_that_is_longer_than_its_records() {
    let parts = sample::sum();
    let header = Header::read(&parts.write()).unwrap();
    let program = (header.steps_end - header.entries_offset) as usize;
    assert!(program + 16 > 127, "the length takes two bytes");
    for section in [ENTRIES, STEPS] {
        let mut sections = Sections::of(&parts);
        let end = sections.start(section + 1);
        sections.0[section].extend([0xff; 16]);
        let length = (((program + 16) % 128) | 128) as u8;
        let at = sections.0[METADATA].len() - 2;
        sections.0[METADATA][at..].copy_from_slice(&[length, ((program + 16) / 128) as u8]);
        let found = load(&sections.join());
        assert_eq!(found, Err(LoadError::Malformed { offset: end }), "section {section}");
    }
}

#[test]
fn padding_is_short_and_zero() {
    let file = sample::sum().write();
    let header = Header::read(&file).unwrap();
    for (block, length_bytes) in [(header.entries_offset as usize, 2), (header.weights_offset as usize, 1)] {
        let count = (0..16).find(|&count| file[block - length_bytes - count - 1] as usize == count).unwrap();
        let start = block - length_bytes - count - 1;
        for at in start + 1..block - length_bytes {
            let mut changed = file.clone();
            changed[at] = 1;
            repair(&mut changed);
            assert_eq!(load(&changed), Err(LoadError::Section { offset: start }));
        }
    }

    let mut sections = Sections::of_sample();
    let offset = sections.start(PADDING);
    let count = sections.0[PADDING][0];
    sections.0[PADDING].splice(..1, [[count + 16].as_slice(), &[0; 16]].concat());
    assert_eq!(load(&sections.join()), Err(LoadError::Section { offset }));
}

#[test]
fn metadata_that_is_not_text() {
    let mut file = sample::sum().write();
    assert_eq!(file[HEADER_BYTES..][..4], *b"\x03sum");
    file[HEADER_BYTES + 1] = 0xff;
    repair(&mut file);
    assert_eq!(load(&file), Err(LoadError::Malformed { offset: HEADER_BYTES }));
}

#[test]
fn counts_beyond_the_file() {
    // Attributes, reads and writes of a step; inputs and outputs of an entry.
    for (section, count) in [(STEPS, 2..4), (STEPS, 4..6), (STEPS, 6..8), (ENTRIES, 2..3), (ENTRIES, 3..4)] {
        let mut sections = Sections::of_sample();
        let offset = sections.start(section);
        sections.0[section][count.clone()].fill(0xff);
        assert_eq!(load(&sections.join()), Err(LoadError::Malformed { offset }), "{section} {count:?}");
    }
    let mut sections = Sections::of_sample();
    sections.0[ENTRIES][8..12].fill(0xff);
    assert_eq!(load(&sections.join()), Err(LoadError::Entry { entry: 0 }), "2^32 - 1 steps");
}

#[test]
fn wrong_operator_set() {
    let found = load(&with_header(|header| header.operators = header.operators.with(200)));
    assert_eq!(found, Err(LoadError::OperatorSet), "an operator too many");
    let found = load(&with_header(|header| header.operators = OperatorSet::EMPTY));
    assert_eq!(found, Err(LoadError::OperatorSet), "an operator too few");
}

#[test]
fn operator_that_is_not_linked() {
    struct OnlyActivation;
    impl Operators for OnlyActivation {
        const SET: OperatorSet = OperatorSet::EMPTY.with(20);
    }
    let file = sample::sum().write();
    let error = Model::<OnlyActivation>::from_bytes(&file).unwrap_err();
    assert_eq!(error, LoadError::UnknownOperator { step: 0, code: 30 });
    assert!(Model::<AllOperators>::from_bytes(&file).is_ok());
}

#[test]
fn front_ends_that_cannot_be() {
    let with =
        |audio: Audio<'static>| Parts { preprocessing: Preprocessing::Audio(audio), ..sample::sum() }.write();
    let good = Audio { config: AudioConfig::SPEECH_8_KHZ, normalization: &[] };
    let file = with(good);
    assert_eq!((load(&file), Header::read(&file).unwrap().version), (Ok(()), (1, 1)));
    let mut too_new = file.clone();
    too_new[5] = 2;
    let versions = LoadError::VersionWithoutNeed { found: (1, 2), expected: (1, 1) };
    assert_eq!(load(&too_new), Err(versions));
    let config = AudioConfig { hop_samples: 0, ..good.config };
    assert_eq!(load(&with(Audio { config, ..good })), Err(LoadError::Preprocessing));
    assert_eq!(load(&with(Audio { normalization: &[0; 8], ..good })), Err(LoadError::Preprocessing));
    let mut other_memory = with(good);
    other_memory[72] ^= 1;
    repair(&mut other_memory);
    assert_eq!(load(&other_memory), Err(LoadError::Preprocessing));
}

/// What only motion sensors need came with 1.2: older readers refuse the version, and sound is the 1.1 that they know.
#[test]
fn front_ends_for_motion() {
    let with =
        |audio: Audio<'static>| Parts { preprocessing: Preprocessing::Audio(audio), ..sample::sum() }.write();
    let sound = AudioConfig::SPEECH_8_KHZ;
    for config in [
        AudioConfig::MOTION_50_HZ,
        AudioConfig { detrend: Detrend::Mean, ..sound },
        AudioConfig { rms: true, ..sound },
        AudioConfig { spacing: Spacing::Linear, ..sound },
        AudioConfig { axes: 2, ..sound },
    ] {
        let audio = Audio { config, normalization: &[] };
        let file = with(audio);
        assert_eq!((load(&file), Header::read(&file).unwrap().version), (Ok(()), (1, 2)));
        let model = Model::<AllOperators>::from_bytes(&file).unwrap();
        assert_eq!(model.metadata().preprocessing, Preprocessing::Audio(audio));
        let mut too_old = file.clone();
        too_old[5] = 1;
        assert_eq!(load(&too_old), Err(LoadError::Preprocessing));
    }
    // The same sound in the words for motion would be a second encoding of it.
    let mut file = with(Audio { config: AudioConfig { axes: 2, ..sound }, normalization: &[] });
    let header = Header::read(&file).unwrap();
    let metadata = &mut file[header.metadata_offset as usize..header.entries_offset as usize];
    let axes = metadata.windows(4).rposition(|bytes| bytes == [2, 0, 0, 0]).unwrap();
    metadata[axes] = 1;
    repair(&mut file);
    assert!(matches!(load(&file), Err(LoadError::Malformed { .. })));
}
