//! A device in the field gets a new model: whatever happens to its power and whatever is in its flash, it boots with a whole one.
//!
//! By default a sample of the recoveries and of the images is tried. `SMIDGEN_UPDATE_STRIDE=1` tries every recovery, `SMIDGEN_BOOT_IMAGES=10000000`
//! tries so many images.

use std::collections::HashMap;

use smidgen::checksum::crc32c;
use smidgen::model::{MemoryLengths, ModelParts, NewEntry, write};
use smidgen::{
    AllOperators, ElementType, EntryKind, Metadata, NewStep, Operand, Operator, Preprocessing, Quantization,
    Schedule, Shape, Space,
};
use smidgen_tests::nor::{Fault, Nor, Operation, WORD};
use smidgen_tests::reach::{self, Search};
use smidgen_update::{
    Booted, Device, Installer, Layout, PACKAGE_BYTES, Package, Policy, SLOT_HEAD_BYTES, UpdateError, boot,
};

const DEVICE: Device = Device { kind: 7, built_in_version: 1, memory_bytes: 64, front_end_bytes: 0 };

/// A valid model of about `length` bytes, with its version in it, and one step: the softmax of four numbers.
fn model(version: u32, length: usize) -> Vec<u8> {
    model_with(version, length, 16)
}

fn model_with(version: u32, length: usize, arena: u32) -> Vec<u8> {
    let logits = Operand {
        space: Space::Arena,
        element_type: ElementType::F32,
        offset: 0,
        shape: Shape::vector(4),
        quantization: Quantization::NONE,
    };
    let softmax = NewStep {
        operator: Operator::Softmax as u8,
        schedule: Schedule::PerChunk,
        attributes: Default::default(),
        reads: [logits].into_iter().collect(),
        writes: [logits].into_iter().collect(),
    };
    let noise = |index: u32| (index.wrapping_mul(version.wrapping_mul(0x9e37_79b9) | 1) >> 11) as u8;
    // Runs of ones, as an erased flash has them, belong to it.
    let weight = |index: u32| if index % 9_000 < 4_500 { noise(index) } else { 0xff };
    let weights: Vec<u8> = (0..length as u32 / 16 * 16).map(weight).collect();
    let (name, entry) = ("softmax", EntryKind::Infer);
    let parts = ModelParts {
        metadata: Metadata {
            name,
            labels: "",
            step_names: "",
            provenance: "",
            preprocessing: Preprocessing::None,
        },
        entries: &[NewEntry {
            kind: entry,
            first_step: 0,
            step_count: 1,
            inputs: &[logits],
            outputs: &[logits],
        }],
        steps: &[softmax],
        memory: MemoryLengths { arena, ..MemoryLengths::default() },
        weights: &weights,
        initial_parameters: None,
        initial_state: None,
    };
    let mut file = vec![0; weights.len() + 1_000];
    let length = write(&parts, &mut file).expect("there is room");
    file.truncate(length);
    file
}

fn package(file: &[u8], version: u32) -> Vec<u8> {
    [&Package::of(file, DEVICE.kind, version).to_bytes()[..], file].concat()
}

fn start<'f, const PAGE: usize>(flash: &'f Nor<PAGE>, layout: &Layout) -> Booted<'f, AllOperators> {
    boot(flash.mapped(), layout, &DEVICE)
}

type Result1 = Result<smidgen_update::Installed, UpdateError<Fault, core::convert::Infallible>>;

/// Boots and takes a package; the flash after it, or as far as that came.
fn install<const PAGE: usize>(
    mut flash: Nor<PAGE>,
    layout: &Layout,
    package: &[u8],
    policy: Policy,
) -> (Nor<PAGE>, Result1) {
    let copy = flash.clone();
    let booted = start(&copy, layout);
    let done = Installer::new(&mut flash, layout.clone(), DEVICE, &booted, policy).install(package);
    (flash, done)
}

fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A device that gets a package, again and again until it has the model.
struct Receiver<'a> {
    layout: Layout,
    package: &'a [u8],
    versions: [u32; 2],
    resumed: usize,
}

impl<const PAGE: usize> reach::Device<PAGE> for Receiver<'_> {
    fn starts(&mut self, flash: &Nor<PAGE>) -> bool {
        let booted = start(flash, &self.layout);
        let [old, new] = self.versions;
        assert!([old, new].contains(&booted.version), "neither {old} nor {new} but {}", booted.version);
        assert_eq!(booted.slot().is_none(), booted.version == 1);
        booted.version == new
    }

    fn works(&mut self, flash: &Nor<PAGE>) -> Vec<Operation> {
        let (done, installed) = install(flash.powered(None), &self.layout, self.package, Policy::default());
        self.resumed += usize::from(installed.expect("it can be taken").resumed_bytes > 0);
        done.log
    }
}

/// Three updates, from the model that is built in and from slot to slot, whose power goes. Returns what all searches found, and how many transfers were resumed.
fn updates_that_lose_power<const PAGE: usize>(
    pages: usize,
    bytes: usize,
    stride: usize,
    search: fn() -> Search,
) -> (Search, usize) {
    let layout = Layout::split(0..(pages * PAGE) as u32, PAGE as u32);
    let (mut total, mut resumed) = (search(), 0);
    let mut flash = Nor::<PAGE>::new(pages);
    for version in 2..=4 {
        let package = package(&model(version, bytes), version);
        let versions = [version - 1, version];
        assert_eq!(start(&flash, &layout).version, versions[0]);
        let (done, installed) = install(flash.powered(None), &layout, &package, Policy::default());
        assert_eq!(installed.unwrap().resumed_bytes, 0);
        let operations = done.log.len();
        assert!(operations > bytes / WORD);
        let mut receiver = Receiver { layout: layout.clone(), package: &package, versions, resumed: 0 };
        let mut search = search();
        // The end is where the file is whole and the record comes.
        let is_end = |at: usize| at + 40 > operations && at.is_multiple_of(7);
        let is_chosen = |at: usize| at.is_multiple_of(stride) || is_end(at);
        search.search(&flash, is_chosen, &mut receiver);
        println!("version {version}: {}, {} resumed", search.summary(), receiver.resumed);
        total.add(&search);
        resumed += receiver.resumed;
        flash = done;
    }
    (total, resumed)
}

/// Every first loss of power with a model of 64 KB; from a sample of the states that they leave, or from all of them, every second one.
#[test]
fn a_loss_of_power_at_any_write_or_erase_leaves_the_old_model_or_the_new_one() {
    const PAGE: usize = 4096;
    const BYTES: usize = 64 * 1024;
    let stride = number("SMIDGEN_UPDATE_STRIDE", 499);
    let pages = 2 * (BYTES / PAGE + 1);
    let (found, resumed) = updates_that_lose_power::<PAGE>(pages, BYTES, stride, Search::twice);
    println!("in all: {}, {resumed} resumed", found.summary());
    assert!(found.seen > 180_000 && found.recoveries > 100 && found.done > 0 && resumed > 100);
}

/// Every loss of power after every other, with a model of less than 1 KB, in slots of several pages, and in slots of a page each.
#[test]
fn losses_of_power_after_losses_of_power_leave_the_old_model_or_the_new_one() {
    let (found, resumed) = updates_that_lose_power::<256>(10, 300, 1, Search::endless);
    println!("pages of 256 bytes: {}, {resumed} resumed", found.summary());
    assert!(found.losses > 3 && resumed > 500);
    let (found, resumed) = updates_that_lose_power::<1024>(2, 300, 1, Search::endless);
    println!("a page for each slot: {}, {resumed} resumed", found.summary());
    assert!(found.losses > 3 && resumed == 0);
}

#[test]
fn a_transfer_goes_on_where_it_broke_off() {
    const PAGE: usize = 1024;
    let layout = Layout::split(0..40 * 1024, PAGE as u32);
    let package = package(&model(2, 15_000), 2);
    let (half, broken) = install(Nor::<PAGE>::new(40), &layout, &package[..9_000], Policy::default());
    assert_eq!(broken, Err(UpdateError::Ended));
    assert_eq!(start(&half, &layout).version, 1);
    // From the start again, or only what is missing.
    let (whole, done) = install(half.powered(None), &layout, &package, Policy::default());
    // Of the 8,912 bytes that came, the last 4,400 are ones, as an erased flash has them: it goes on at the page before them.
    assert_eq!(done.unwrap().resumed_bytes, 4 * 1024 - SLOT_HEAD_BYTES);
    assert_eq!(start(&whole, &layout).version, 2);
    let head = Package::from_bytes(package.first_chunk().unwrap()).unwrap();
    let mut flash = half.powered(None);
    let copy = flash.clone();
    let mut installer =
        Installer::new(&mut flash, layout.clone(), DEVICE, &start(&copy, &layout), Policy::default());
    let offset = installer.resumes_at(&head).unwrap() as usize;
    assert_eq!(installer.resume(&head, &package[PACKAGE_BYTES + offset..]).unwrap().version, 2);
    assert_eq!(flash.mapped(), whole.mapped());
    // Another package begins anew.
    let other = self::package(&model(3, 15_000), 3);
    let (flash, done) = install(half.powered(None), &layout, &other, Policy::default());
    assert_eq!((done.unwrap().resumed_bytes, start(&flash, &layout).version), (0, 3));
}

#[test]
fn what_does_not_belong_there_is_refused_and_the_present_model_stays() {
    const PAGE: usize = 1024;
    let layout = Layout::split(0..40 * 1024, PAGE as u32);
    let (flash, done) =
        install(Nor::<PAGE>::new(40), &layout, &package(&model(5, 3_000), 5), Policy::default());
    done.unwrap();
    let refused = |package: &[u8], policy: Policy| {
        let (flash, done) = install(flash.powered(None), &layout, package, policy);
        assert_eq!(start(&flash, &layout).version, 5);
        done.unwrap_err()
    };
    let file = model(6, 3_000);
    let none = Policy::default();
    assert_eq!(refused(&package(&file, 5), none), UpdateError::Version { present: 5, found: 5 });
    assert_eq!(refused(&package(&file, 4), none), UpdateError::Version { present: 5, found: 4 });
    let other = [&Package::of(&file, 8, 6).to_bytes()[..], &file].concat();
    assert_eq!(refused(&other, none), UpdateError::Kind { expected: 7, found: 8 });
    let long = model(6, 30_000);
    assert!(matches!(refused(&package(&long, 6), none), UpdateError::TooLong { .. }));
    assert_eq!(refused(b"SMGU", none), UpdateError::Ended);
    assert_eq!(refused(&[0; 500], none), UpdateError::NotAPackage);
    assert!(matches!(refused(&package(&[1; 500], 6), none), UpdateError::Model(_)));
    assert_eq!(refused(&package(&model_with(6, 3_000, 128), 6), none), UpdateError::DoesNotFit);
    // Asked for, an older one is taken.
    let (older, done) =
        install(flash.powered(None), &layout, &package(&file, 4), Policy { allow_downgrade: true, ..none });
    assert_eq!((done.unwrap().version, start(&older, &layout).version), (4, 4));
}

#[test]
fn a_damaged_slot_gives_way_to_the_other_one_and_then_to_the_model_built_in() {
    const PAGE: usize = 1024;
    let layout = Layout::split(0..12 * 1024, PAGE as u32);
    let mut flash = Nor::<PAGE>::new(12);
    for version in [2, 3] {
        let (next, done) =
            install(flash, &layout, &package(&model(version, 2_000), version), Policy::default());
        done.unwrap();
        flash = next;
    }
    let newest = start(&flash, &layout).slot().unwrap();
    for damage in [layout.slots[newest].start + 700, layout.slots[newest].start + 9] {
        let mut damaged = flash.clone();
        damaged.mapped_mut()[damage as usize] ^= 4;
        assert_eq!(start(&damaged, &layout).version, 2);
        damaged.mapped_mut()[layout.slots[1 - newest].start as usize + 200] ^= 1;
        let booted = start(&damaged, &layout);
        assert_eq!((booted.version, booted.slot(), booted.model.is_none()), (1, None, true));
    }
}

#[test]
fn every_single_bit_of_a_signed_package_counts() {
    const PAGE: usize = 1024;
    let layout = Layout::split(0..6 * 1024, PAGE as u32);
    let pair = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new([7; 32]));
    let signed = |file: &[u8]| {
        let head = Package::of(file, DEVICE.kind, 2);
        let signature = *pair.sk.sign([&head.signed_bytes()[..], file].concat(), None);
        [&Package { signature, ..head }.to_bytes()[..], file].concat()
    };
    let file = model(2, 64);
    let good = signed(&file);
    let policy = Policy { public_key: Some(*pair.pk), ..Policy::default() };
    let try_it = |package: &[u8]| {
        let (flash, done) = install(Nor::<PAGE>::new(6), &layout, package, policy);
        (start(&flash, &layout).version, done)
    };
    let (version, done) = try_it(&good);
    done.unwrap();
    assert_eq!(version, 2);
    let mut reasons: HashMap<String, usize> = HashMap::new();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // An attacker repairs the checksums, of the file and of the head.
        for repair in [false, true] {
            if repair {
                let found = Package { checksum: crc32c(&bad[PACKAGE_BYTES..]), ..head_of(&bad) };
                bad[..PACKAGE_BYTES].copy_from_slice(&found.to_bytes());
                if bad == good {
                    continue;
                }
            }
            let (version, done) = try_it(&bad);
            let error = done.expect_err("a change");
            assert_eq!(version, 1, "bit {bit}");
            let name = format!("{error:?}");
            *reasons.entry(name.split([' ', '(']).next().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    println!("{} bits: {reasons:?}", good.len() * 8);
    assert!(reasons["Signature"] > file.len() * 8, "{reasons:?}");
    // Somebody else's signature, and none.
    let other = ed25519_compact::KeyPair::from_seed(ed25519_compact::Seed::new([8; 32]));
    let other = Policy { public_key: Some(*other.pk), ..Policy::default() };
    assert_eq!(install(Nor::<PAGE>::new(6), &layout, &good, other).1, Err(UpdateError::Signature));
    assert_eq!(try_it(&package(&file, 2)).1, Err(UpdateError::Signature));
}

/// The head's fields, of bytes that may be damaged.
fn head_of(package: &[u8]) -> Package {
    let word = |at: usize| u32::from_le_bytes(package[at..at + 4].try_into().unwrap());
    let signature = package[24..PACKAGE_BYTES].try_into().unwrap();
    Package { kind: word(4), version: word(8), length: word(12), checksum: word(16), signature }
}

/// Any contents of the flash: a boot gives a model that is whole, or the one that is built in.
#[test]
fn a_boot_takes_any_flash() {
    const PAGE: usize = 128;
    let layout = Layout::split(0..(2 + 2 * 6) * 128, PAGE as u32);
    let mut flash = Nor::<PAGE>::new(14);
    for version in [2, 3] {
        let (next, done) = install(flash, &layout, &package(&model(version, 64), version), Policy::default());
        done.unwrap();
        flash = next;
    }
    let mut random = 0x1234_5678_9abc_def0_u64;
    let mut next = move |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 20) as usize % bound
    };
    let images = number("SMIDGEN_BOOT_IMAGES", 100_000);
    let (mut from_flash, mut built_in) = (0, 0);
    let mut image = flash.clone();
    for _ in 0..images {
        image.mapped_mut().copy_from_slice(flash.mapped());
        let length = image.mapped().len();
        match next(8) {
            // Nothing is left of what was there.
            0 => image.mapped_mut().fill_with(|| next(256) as u8),
            kind => {
                for _ in 0..1 + next(6) {
                    let at = match next(3) {
                        0 => next(256),
                        _ => next(length),
                    };
                    image.mapped_mut()[at] = next(256) as u8;
                }
                // The records' checksums, and that of a model file, are made to fit, so that what is behind them is reached.
                if kind > 3 {
                    repair(&mut image, &layout, kind > 5);
                }
            }
        }
        let booted = start(&image, &layout);
        match booted.model {
            Some(model) => {
                assert!(model.arena_bytes() <= DEVICE.memory_bytes);
                let _: Metadata<'_> = model.metadata();
                from_flash += 1;
            }
            None => {
                assert_eq!(booted.version, 1);
                built_in += 1;
            }
        }
    }
    println!("{images} images: {from_flash} boots from flash, {built_in} of the model built in");
    assert!(from_flash > images / 20 && built_in > images / 20);
}

/// Makes checksums fit what they cover.
fn repair<const PAGE: usize>(image: &mut Nor<PAGE>, layout: &Layout, files_too: bool) {
    for slot in &layout.slots {
        let record = slot.start as usize;
        let slot = record + SLOT_HEAD_BYTES as usize;
        let bytes = image.mapped_mut();
        let length = u32::from_le_bytes(bytes[record + 16..record + 20].try_into().unwrap()) as usize;
        if let Some(file) = bytes.get_mut(slot..slot.saturating_add(length)).filter(|file| file.len() > 12) {
            if files_too {
                let checksum = crc32c(&file[12..]).to_le_bytes();
                file[8..12].copy_from_slice(&checksum);
            }
            let checksum = crc32c(file).to_le_bytes();
            bytes[record + 20..record + 24].copy_from_slice(&checksum);
        }
        let checksum = crc32c(&bytes[record..record + 24]).to_le_bytes();
        bytes[record + 24..record + 28].copy_from_slice(&checksum);
    }
}

/// What the order is for: an installer that writes its record before the file would boot a mixture, were it not for the checksums; and one
/// without them does.
#[test]
fn a_record_before_its_file_is_not_believed() {
    const PAGE: usize = 1024;
    let layout = Layout::split(0..12 * 1024, PAGE as u32);
    let (mut flash, done) =
        install(Nor::<PAGE>::new(12), &layout, &package(&model(2, 2_000), 2), Policy::default());
    done.unwrap();
    assert_eq!(start(&flash, &layout).version, 2);
    let slot = layout.slots[start(&flash, &layout).slot().unwrap()].start as usize;
    // The file is only half there; its record is whole.
    flash.mapped_mut()[slot + 1_000..slot + 2_000].fill(0xff);
    assert_eq!(start(&flash, &layout).version, 1);
}
