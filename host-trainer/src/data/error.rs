use std::path::PathBuf;

/// Why data could not be loaded or used: the file, the place in it, what was found, what was expected, and what to do.
///
/// `file` is a path, or the name of what is built into the program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The data directory is missing or is not a directory.
    #[error("{}: there is no such directory; give the directory that holds the data files", directory.display())]
    MissingDirectory {
        /// What was given.
        directory: PathBuf,
    },
    /// None of the names that a file may have exists in the directory.
    #[error("{}: found none of {}; put one of them there, or give another directory", directory.display(), names.join(", "))]
    MissingFile {
        /// Where the names were looked for.
        directory: PathBuf,
        /// All the names that were looked for.
        names: Vec<String>,
    },
    /// The operating system could not read the file.
    #[error("{file}: cannot be read: {cause}; check the path and its permissions")]
    Unreadable {
        /// The file.
        file: String,
        /// What the operating system said.
        #[source]
        cause: std::io::Error,
    },
    /// The file has no bytes.
    #[error("{file}: the file is empty (0 bytes), expected a file of {expected}; replace it, or remove it")]
    EmptyFile {
        /// The file.
        file: String,
        /// What kind of file was expected.
        expected: &'static str,
    },
    /// The first four bytes are not those of the expected kind of file.
    #[error(
        "{file}: bytes 0..4 are {found:#010x}, expected {expected:#010x} ({expected_kind}); it looks like {looks_like}; give the right file"
    )]
    WrongMagic {
        /// The file.
        file: String,
        /// The magic number found, big-endian.
        found: u32,
        /// The magic number of the expected kind.
        expected: u32,
        /// The expected kind in words.
        expected_kind: &'static str,
        /// What the file seems to be.
        looks_like: &'static str,
    },
    /// The file ends before its header or before the last byte that its header announces.
    #[error(
        "{file}: the file ends at byte {found}, expected {expected} bytes ({what}); it is truncated, download it again"
    )]
    Truncated {
        /// The file.
        file: String,
        /// What the expected length is made of.
        what: String,
        /// The length that was expected, in bytes.
        expected: u64,
        /// The length that was found, in bytes.
        found: u64,
    },
    /// The file goes on after the last byte that its header announces.
    #[error(
        "{file}: the file goes on after byte {expected}, where its last record ends ({what}); its header is wrong or something was appended, download it again"
    )]
    TrailingBytes {
        /// The file.
        file: String,
        /// What the expected length is made of.
        what: String,
        /// The length that was expected, in bytes.
        expected: u64,
    },
    /// A dimension in the header is zero.
    #[error("{file}: the {dimension} at byte {offset} is 0, expected at least 1; download it again")]
    ZeroDimension {
        /// The file.
        file: String,
        /// Which dimension: `number of images`, `height` and so on.
        dimension: &'static str,
        /// Where it is in the file.
        offset: u64,
    },
    /// The header announces more bytes than this program loads.
    #[error(
        "{file}: the header announces {what}, {found} bytes, expected at most {limit}; the header is wrong or the set has to be split"
    )]
    TooLarge {
        /// The file.
        file: String,
        /// What the length is made of.
        what: String,
        /// The announced length, in bytes.
        found: u128,
        /// The greatest length that is loaded, in bytes.
        limit: u64,
    },
    /// The gzip stream is damaged.
    #[error(
        "{file}: the gzip stream is corrupt after {decoded} decompressed bytes ({cause}); download it again"
    )]
    GzipCorrupt {
        /// The file.
        file: String,
        /// How many bytes came out before the damage.
        decoded: u64,
        /// What the decoder said.
        #[source]
        cause: std::io::Error,
    },
    /// The gzip stream breaks off.
    #[error(
        "{file}: the gzip stream breaks off at byte {length} of the file, after {decoded} decompressed bytes, expected its end mark; download it again"
    )]
    GzipTruncated {
        /// The file.
        file: String,
        /// The length of the file, in bytes.
        length: u64,
        /// How many bytes came out.
        decoded: u64,
    },
    /// There is not one label for each image.
    #[error(
        "{images_from} has {images} images, but {labels_from} has {labels} labels; the two must belong together"
    )]
    CountMismatch {
        /// The file (or dataset) of the images.
        images_from: String,
        /// How many images it has.
        images: u64,
        /// The file (or dataset) of the labels.
        labels_from: String,
        /// How many labels it has.
        labels: u64,
    },
    /// A label names no class.
    #[error(
        "{labels_from}: the label of record {record} is {label}, expected less than {classes}, the number of classes; give the right labels or more class names"
    )]
    LabelOutOfRange {
        /// The file (or dataset) of the labels.
        labels_from: String,
        /// The index of the label.
        record: u64,
        /// The label found.
        label: u32,
        /// How many classes there are.
        classes: usize,
    },
    /// A time series that cannot be read.
    #[error("{place}: {message}; correct or remove it")]
    Series {
        /// The file, and the line or row in it.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// A file of the classes' names has not one for each class.
    #[error(
        "{file}: there are {found} names, expected {expected}, one a line; download it again, or remove it to have numbers"
    )]
    ClassNames {
        /// The file.
        file: String,
        /// How many names it has.
        found: usize,
        /// How many classes there are.
        expected: usize,
    },
    /// A dataset without samples, or whose samples have no elements, or without classes.
    #[error("{dataset}: there are no {what}, expected at least one; give a set that has some")]
    EmptyDataset {
        /// The dataset.
        dataset: String,
        /// What is missing: `samples`, `classes`, or `elements in a sample`.
        what: &'static str,
    },
    /// The samples' bytes are not a whole number of samples.
    #[error(
        "{dataset}: {found} bytes are not a multiple of {sample_bytes}, the length of one sample of shape {shape:?}; give the shape of the samples"
    )]
    PartialSample {
        /// The dataset.
        dataset: String,
        /// How many bytes there are.
        found: usize,
        /// The length of one sample, in bytes.
        sample_bytes: u64,
        /// The shape `[H, W, C]` of one sample.
        shape: [usize; 3],
    },
    /// A sample was asked for that the dataset does not have.
    #[error("{dataset}: there is no sample {index}, expected an index less than {samples}")]
    NoSuchSample {
        /// The dataset.
        dataset: String,
        /// The index asked for.
        index: u32,
        /// How many samples there are.
        samples: usize,
    },
    /// Training and test set do not have the same kind of samples.
    #[error(
        "{train} has samples of shape {train_shape:?} in {train_classes} classes, but {test} has {test_shape:?} in {test_classes}; the two must belong together"
    )]
    SplitMismatch {
        /// The training set.
        train: String,
        /// Its samples' shape `[H, W, C]`.
        train_shape: [usize; 3],
        /// How many classes it has.
        train_classes: usize,
        /// The test set.
        test: String,
        /// Its samples' shape `[H, W, C]`.
        test_shape: [usize; 3],
        /// How many classes it has.
        test_classes: usize,
    },
    /// A file that cannot be decoded.
    #[error("{file}: not a PNG or JPEG image that can be read ({message}); replace or remove it")]
    NotAnImage {
        /// The file.
        file: String,
        /// What the decoder said.
        message: String,
    },
    /// An image of another size than the first.
    #[error(
        "{}: the image is {}x{} (height x width), {} is {}x{}; give all images one size, or set data.image_size",
        file.display(), found[0], found[1], like.display(), expected[0], expected[1]
    )]
    ImageSize {
        /// The file.
        file: PathBuf,
        /// Its height and width.
        found: [usize; 2],
        /// Those of the first.
        expected: [usize; 2],
        /// The first.
        like: PathBuf,
    },
    /// A class without samples.
    #[error("{}: there are no images of this class; add some, or remove the folder", directory.display())]
    EmptyClass {
        /// The folder.
        directory: PathBuf,
    },
    /// A class of which only one of training and test set has samples.
    #[error("{there} has the class {class:?}, {missing} does not; both need the same folders")]
    MissingClass {
        /// The class.
        class: String,
        /// The set that has it.
        there: String,
        /// The set that does not.
        missing: String,
    },
    /// A class that is to be left out, or to be trained on alone, and is not there.
    #[error("there is no class {class}, only {}", known.join(", "))]
    NoSuchClass {
        /// The class.
        class: String,
        /// The classes that there are.
        known: Vec<String>,
    },
    /// Masks that tell nothing apart.
    #[error(
        "{dataset}: the masks have only one value, {value}; expected one for each class, such as 0 and 255"
    )]
    OneClass {
        /// The data set.
        dataset: String,
        /// The value.
        value: String,
    },
    /// A class without samples to train on.
    #[error(
        "{dataset}: no sample to train on is of the class {class:?}; add some, lower data.validation_fraction, or name it in data.leave_out"
    )]
    NothingOfClass {
        /// The training set.
        dataset: String,
        /// The class.
        class: String,
    },
    /// A channel has the same value in all pixels of all samples, so nothing can be divided by its standard deviation.
    #[error(
        "{dataset}: channel {channel} is {value} in every pixel of every image, expected at least two values; such images teach nothing, give others"
    )]
    ConstantChannel {
        /// The dataset.
        dataset: String,
        /// Which channel.
        channel: usize,
        /// The value it has everywhere.
        value: u8,
    },
    /// Not a WAV file, or a damaged one.
    #[error("{file}: cannot be read as a WAV file: {message}; convert it, or leave it out")]
    NotAudio {
        /// The file.
        file: String,
        /// What the decoder said, and where.
        message: String,
    },
    /// A file whose name says no label.
    #[error(
        "{file}: it is not named as data.name_pattern says ({pattern:?}); rename it, move it away, or change the pattern"
    )]
    FileName {
        /// The file.
        file: String,
        /// The pattern.
        pattern: String,
    },
    /// A front end that cannot be.
    #[error("the recipe's [audio] or the model: {0}")]
    FrontEnd(#[from] smidgen::frontend::FrontEndError),
    /// A setting of the augmentation or normalization is out of its range.
    #[error("{name} is {found}, expected {expected}; change this setting")]
    Setting {
        /// The setting's name, as it is written in a recipe.
        name: &'static str,
        /// The value found.
        found: f32,
        /// The range it must be in.
        expected: &'static str,
    },
}
