//! Faults of the file as a whole: header, checksum, sections, metadata.

use smidgen::checksum::crc32c;
use smidgen::model::{ALIGNMENT, CHECKSUM_START, HEADER_BYTES, Header, LoadError, Model};
use smidgen::{AllOperators, OperatorSet, Operators};
use smidgen_tests::faults::{AlignedBytes, Parts, edit_header, repair, sample};

use super::{in_step, load};

/// The sample with its header changed and its checksum repaired.
fn with_header(edit: impl FnOnce(&mut Header)) -> AlignedBytes {
    let mut file = sample::sum().write();
    edit_header(&mut file, edit);
    file
}

/// The sample's sections: metadata, entries, steps with their tail, weights. To be changed and joined again.
struct Sections([Vec<u8>; 4]);

impl Sections {
    fn of_sample() -> Self {
        let file = sample::sum().write();
        let h = Header::read(&file).unwrap();
        let bounds = [h.metadata_offset, h.entries_offset, h.steps_offset, h.weights_offset, h.file_bytes];
        let cut = |i: usize| file[bounds[i] as usize..bounds[i + 1] as usize].to_vec();
        Self([cut(0), cut(1), cut(2), cut(3)])
    }

    fn join(&self) -> AlignedBytes {
        let sample = sample::sum().write();
        let mut bytes = sample[..HEADER_BYTES].to_vec();
        let offsets = self.0.each_ref().map(|section| {
            let offset = bytes.len() as u32;
            bytes.extend(section);
            offset
        });
        let mut file = AlignedBytes::copy_of(&bytes);
        edit_header(&mut file, |header| {
            header.file_bytes = bytes.len() as u32;
            [header.metadata_offset, header.entries_offset, header.steps_offset, header.weights_offset] =
                offsets;
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
    for (version, is_known) in [((1, 0), true), ((0, 0), false), ((1, 1), false), ((2, 0), false)] {
        let expected = LoadError::UnsupportedVersion { found: version, expected: (1, 0) };
        let found = load(&with_header(|header| header.version = version));
        assert_eq!(found, if is_known { Ok(()) } else { Err(expected) });
    }
}

#[test]
fn reserved_bytes() {
    for (range, offset) in [(6..8, 6), (68..80, 68)] {
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
    let end = sections.join().len() - sections.0[3].len();
    sections.0[3].push(0);
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
    let Header { entries_offset, steps_offset, .. } = Header::read(&file).unwrap();
    let section = |offset: u32| Err(LoadError::Section { offset: offset as usize });
    let malformed = |offset: u32| Err(LoadError::Malformed { offset: offset as usize });
    let after = |edit: fn(&mut Header)| load(&with_header(edit));

    assert_eq!(after(|h| h.metadata_offset += 1), section(HEADER_BYTES as u32));
    assert_eq!(after(|h| h.entries_offset -= 1), malformed(HEADER_BYTES as u32));
    assert_eq!(after(|h| h.entries_offset += 1), section(entries_offset));
    assert!(matches!(after(|h| h.steps_offset += 1), Err(LoadError::Malformed { .. })));
    let place = in_step(0, 1);
    assert_eq!(after(|h| h.weights_offset += 16), Err(LoadError::OperandOutOfRange { place }));
    // Upside down, and far outside of the file.
    assert_eq!(after(|h| h.steps_offset = h.entries_offset - 1), section(entries_offset));
    assert_eq!(after(|h| h.weights_offset = 0xffff_fff0), section(0xffff_fff0));
    assert_eq!(after(|h| h.weights_offset = 0), section(steps_offset));
}

#[test]
fn bytes_between_sections() {
    for (section, spare) in [(0, 0), (1, 0)] {
        let mut sections = Sections::of_sample();
        let end: usize = sections.0[..=section].iter().map(Vec::len).sum();
        // Sixteen, so that the weights block stays aligned.
        sections.0[section].extend([spare; 16]);
        assert_eq!(load(&sections.join()), Err(LoadError::Section { offset: HEADER_BYTES + end }));
    }
}

#[test]
fn padding_is_short_and_zero() {
    // Three bytes more of name make thirteen bytes of padding.
    let file = Parts { name: "summer".to_owned(), ..sample::sum() }.write();
    let weights = Header::read(&file).unwrap().weights_offset as usize;
    let mut tail = [0; 15];
    (tail[0], tail[14]) = (13, 16);
    assert_eq!(file[weights - 15..weights], tail, "the padding, and the length of the block");
    for at in weights - 14..weights - 1 {
        let mut changed = file.clone();
        changed[at] = 1;
        repair(&mut changed);
        assert_eq!(load(&changed), Err(LoadError::Section { offset: weights - 15 }));
    }

    let mut sections = Sections::of_sample();
    let tail = sections.0[2].split_off(sections.0[2].len() - 2);
    assert_eq!(tail, [0, 16], "no padding, and the length of the block");
    let offset = HEADER_BYTES + sections.0.iter().take(3).map(Vec::len).sum::<usize>();
    sections.0[2].push(16);
    sections.0[2].extend([0; 16]);
    sections.0[2].push(16);
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
    // 2^32 - 1 of them, which nothing may loop over.
    let most = [0xff, 0xff, 0xff, 0xff, 0x0f];
    for section in [1, 2] {
        let mut sections = Sections::of_sample();
        sections.0[section].splice(..1, most);
        // Four bytes longer; twelve more of name keep the weights block aligned.
        sections.0[0].splice(..1, *b"\x0fmore than a ");
        let end: usize = sections.0[..=section].iter().map(Vec::len).sum();
        let Err(LoadError::Malformed { offset }) = load(&sections.join()) else {
            panic!("section {section}")
        };
        assert!(offset <= HEADER_BYTES + end, "section {section}: {offset}");
    }
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
