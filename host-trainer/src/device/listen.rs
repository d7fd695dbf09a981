//! Listening on a device.

use smidgen::frontend::{AudioConfig, DetectorConfig, FrontEnd, Spotter, SpotterError, Watcher};
use smidgen::{AllOperators, Model, Preprocessing, Session};
use smidgen_protocol::machine::Machine;
use smidgen_protocol::{Job, Record, Run};

use super::firmware::{self, Optimize, Variant};
use super::host::refused;
use super::report::Done;
use super::{Device, DeviceError, Target, qemu};
use crate::buffer::AlignedBytes;

/// The features of a stream of samples.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureReport {
    /// Of all complete frames, one after another.
    pub features: Vec<f32>,
    /// Instructions of each frame; none are counted on the host.
    pub instructions: Vec<u64>,
    /// Bytes of memory that the front end takes.
    pub memory_bytes: u32,
    /// The most stack that a frame took.
    pub stack_peak_bytes: u32,
}

/// What was heard in a stream of samples.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenReport {
    /// One for each inference.
    pub heard: Vec<Heard>,
    /// Instructions since the inference before: features, inference and detection.
    pub instructions: Vec<u64>,
    /// Bytes of memory that session, front end and features take.
    pub memory_bytes: u32,
    /// The most stack that a block of samples took.
    pub stack_peak_bytes: u32,
}

/// An inference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Samples before it.
    pub sample: u32,
    /// The class that was heard with it, if one was.
    pub class: Option<u8>,
    /// The network's outputs.
    pub scores: Vec<i8>,
}

/// How unlike what is normal a stream of samples is.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchReport {
    /// One for each inference: samples before it, and the anomaly score.
    pub scores: Vec<(u32, f32)>,
    /// Instructions since the inference before: features, inference and score.
    pub instructions: Vec<u64>,
    /// Bytes of memory that session, front end and features take.
    pub memory_bytes: u32,
    /// The most stack that a block of samples took.
    pub stack_peak_bytes: u32,
}

/// What an application takes of a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of flash, the model among them.
    pub flash_bytes: usize,
    /// Bytes of RAM for statics: session, front end and features among them.
    pub static_bytes: usize,
}

/// Samples of a block, as the image has them.
const BLOCK: usize = 64;

impl Device {
    /// The features of a stream of samples, by the front end of the model: on an image into which the model is built, or here.
    ///
    /// # Errors
    /// See [`DeviceError`]. A model that takes no sound is refused.
    pub fn features(&self, model: &[u8], samples: &[i16]) -> Result<FeatureReport, DeviceError> {
        let aligned = AlignedBytes::copy_of(model);
        let (model_view, config) = listening(aligned.as_slice())?;
        let Some(machine) = self.target.machine() else { return features_here(&model_view, samples) };
        let expected = config.frames_in(samples.len()) * config.channels() * 4;
        let measured = self.run_listener(machine, model, samples, Variant::Features)?;
        self.check_length(expected, measured.outputs.len())?;
        Ok(FeatureReport {
            features: measured
                .outputs
                .as_chunks::<4>()
                .0
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect(),
            instructions: measured.instructions,
            memory_bytes: measured.memory_bytes,
            stack_peak_bytes: measured.stack_peak_bytes,
        })
    }

    /// Listens to a stream of samples, in blocks as a microphone gives them; what is left of the last block is left out.
    ///
    /// # Errors
    /// See [`DeviceError`]. A model that takes no sound is refused.
    pub fn listen(&self, model: &[u8], samples: &[i16]) -> Result<ListenReport, DeviceError> {
        let aligned = AlignedBytes::copy_of(model);
        let (model_view, config) = listening(aligned.as_slice())?;
        let samples = samples.as_chunks::<BLOCK>().0.as_flattened();
        let Some(machine) = self.target.machine() else { return listen_here(model_view, &config, samples) };
        let classes = model_view.header().output_bytes as usize;
        let measured = self.run_listener(machine, model, samples, Variant::Listener)?;
        let record = 5 + classes;
        self.check_length(measured.instructions.len() * record, measured.outputs.len())?;
        let heard = measured.outputs.chunks_exact(record).map(|bytes| Heard {
            sample: u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
            class: (bytes[4] != u8::MAX).then_some(bytes[4]),
            scores: bytes[5..].iter().map(|byte| byte.cast_signed()).collect(),
        });
        Ok(ListenReport {
            heard: heard.collect(),
            instructions: measured.instructions,
            memory_bytes: measured.memory_bytes,
            stack_peak_bytes: measured.stack_peak_bytes,
        })
    }

    /// Looks for anomalies in a stream of samples, in blocks as [`listen`](Self::listen).
    ///
    /// # Errors
    /// See [`DeviceError`]. A model that takes no sound, or does not give back what it takes, is refused.
    pub fn watch(&self, model: &[u8], samples: &[i16]) -> Result<WatchReport, DeviceError> {
        let aligned = AlignedBytes::copy_of(model);
        let (model_view, config) = listening(aligned.as_slice())?;
        let header = model_view.header();
        if header.input_bytes != header.output_bytes {
            let error = SpotterError::NoReconstruction;
            return Err(refused(&error, &error));
        }
        let samples = samples.as_chunks::<BLOCK>().0.as_flattened();
        let Some(machine) = self.target.machine() else { return watch_here(model_view, &config, samples) };
        let measured = self.run_listener(machine, model, samples, Variant::Watcher)?;
        self.check_length(measured.instructions.len() * 8, measured.outputs.len())?;
        let scores = measured.outputs.as_chunks::<4>().0.as_chunks::<2>().0.iter();
        Ok(WatchReport {
            scores: scores.map(|&[at, score]| (u32::from_le_bytes(at), f32::from_le_bytes(score))).collect(),
            instructions: measured.instructions,
            memory_bytes: measured.memory_bytes,
            stack_peak_bytes: measured.stack_peak_bytes,
        })
    }

    /// What an application that listens with this model takes of the chip, without its stack.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn listening_footprint(&self, model: &[u8]) -> Result<Footprint, DeviceError> {
        let machine = self.machine()?;
        let image = firmware::embedded(machine, model, Variant::ListeningApplication, Optimize::Size)?;
        let [flash_bytes, static_bytes] = firmware::footprint(&image, machine.flash, machine.ram)?;
        Ok(Footprint { flash_bytes, static_bytes })
    }

    fn check_length(&self, expected: usize, found: usize) -> Result<(), DeviceError> {
        let error = DeviceError::Outputs { target: self.target, expected, found };
        if expected == found { Ok(()) } else { Err(error) }
    }

    fn run_listener(
        &self,
        machine: &'static Machine,
        model: &[u8],
        samples: &[i16],
        variant: Variant,
    ) -> Result<Measured, DeviceError> {
        let image = firmware::embedded(machine, model, variant, Optimize::Size)?;
        let inputs: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        // The image takes samples until they end, and reads no request.
        let job = Job::Run(Run::default());
        let work = qemu::Work { model: None, inputs: &inputs, job: &job };
        let done = qemu::run(self.target, machine, &image, &work, self.time_limit)?;
        Measured::of(self.target, machine, done)
    }
}

/// What an image that listens left behind.
struct Measured {
    outputs: Vec<u8>,
    instructions: Vec<u64>,
    memory_bytes: u32,
    stack_peak_bytes: u32,
}

impl Measured {
    fn of(target: Target, machine: &Machine, done: Done) -> Result<Self, DeviceError> {
        let incomplete = |message: &str| DeviceError::Records { target, message: message.to_owned() };
        let mut found =
            Self { outputs: done.outputs, instructions: Vec::new(), memory_bytes: 0, stack_peak_bytes: 0 };
        let (mut between, mut records, mut is_finished) = (0, done.records.as_slice(), false);
        while !records.is_empty() {
            let (record, rest) =
                postcard::take_from_bytes(records).map_err(|_| incomplete("one does not decode"))?;
            records = rest;
            match record {
                Record::Calibrated { empty, .. } => between = empty,
                Record::Loaded { memory_bytes, .. } => found.memory_bytes = memory_bytes,
                Record::Ran { ticks, stack_bytes, .. } => {
                    found.instructions.push(machine.instructions(ticks.saturating_sub(between).into()));
                    found.stack_peak_bytes = found.stack_peak_bytes.max(stack_bytes.unwrap_or(0));
                }
                Record::Finished => is_finished = true,
                _ => return Err(incomplete("one that does not belong there")),
            }
        }
        if is_finished { Ok(found) } else { Err(incomplete("the last one is missing")) }
    }
}

/// The model in `file`, and the front end that it has.
fn listening(file: &[u8]) -> Result<(Model<'_>, AudioConfig), DeviceError> {
    let model = Model::<AllOperators>::from_bytes(file).map_err(|error| refused(&error, &error))?;
    match model.metadata().preprocessing {
        Preprocessing::Audio(audio) => Ok((model, audio.config)),
        _ => Err(refused(&format_args!("NotAListener"), &"the model takes no sound")),
    }
}

fn features_here(model: &Model<'_>, samples: &[i16]) -> Result<FeatureReport, DeviceError> {
    let Preprocessing::Audio(audio) = model.metadata().preprocessing else {
        return Err(refused(&format_args!("NotAListener"), &"the model takes no sound"));
    };
    let memory_bytes = audio.config.memory_bytes();
    let mut memory = AlignedBytes::zeroed(memory_bytes as usize);
    let mut front_end =
        FrontEnd::new(&audio, memory.as_mut_slice()).map_err(|error| refused(&error, &error))?;
    let (mut features, mut left) = (Vec::new(), samples);
    while let Some(rest) = front_end.push(left) {
        features.extend_from_slice(front_end.features());
        left = rest;
    }
    Ok(FeatureReport { features, instructions: Vec::new(), memory_bytes, stack_peak_bytes: 0 })
}

/// The memory of an application that listens.
struct Memory {
    arena: AlignedBytes,
    front_end: AlignedBytes,
    frames: Vec<i8>,
}

impl Memory {
    fn of(model: &Model<'_>, config: &AudioConfig) -> Self {
        Self {
            arena: AlignedBytes::zeroed(model.arena_bytes()),
            front_end: AlignedBytes::zeroed(config.memory_bytes() as usize),
            frames: vec![0; model.header().input_bytes as usize],
        }
    }

    fn bytes(&self) -> u32 {
        (self.arena.as_slice().len() + self.front_end.as_slice().len() + self.frames.len()) as u32
    }
}

fn listen_here(model: Model<'_>, config: &AudioConfig, samples: &[i16]) -> Result<ListenReport, DeviceError> {
    let mut memory = Memory::of(&model, config);
    let memory_bytes = memory.bytes();
    let Memory { arena, front_end, frames } = &mut memory;
    let detector = DetectorConfig::for_labels(model.metadata().labels);
    let session = Session::new(model, arena.as_mut_slice()).map_err(|error| refused(&error, &error))?;
    let mut spotter = Spotter::new(session, front_end.as_mut_slice(), frames, detector)
        .map_err(|error| refused(&error, &error))?;
    let (mut heard, mut left) = (Vec::new(), samples);
    while let Some(rest) = spotter.push(left) {
        left = rest;
        let found = spotter.infer().map_err(|error| refused(&error, &error))?;
        heard.push(Heard {
            sample: (samples.len() - left.len()) as u32,
            class: found.map(|found| found.class as u8),
            scores: spotter.scores().map_err(|error| refused(&error, &error))?.to_vec(),
        });
    }
    Ok(ListenReport { heard, instructions: Vec::new(), memory_bytes, stack_peak_bytes: 0 })
}

fn watch_here(model: Model<'_>, config: &AudioConfig, samples: &[i16]) -> Result<WatchReport, DeviceError> {
    let mut memory = Memory::of(&model, config);
    let memory_bytes = memory.bytes();
    let Memory { arena, front_end, frames } = &mut memory;
    let session = Session::new(model, arena.as_mut_slice()).map_err(|error| refused(&error, &error))?;
    let mut watcher =
        Watcher::new(session, front_end.as_mut_slice(), frames).map_err(|error| refused(&error, &error))?;
    let (mut scores, mut left) = (Vec::new(), samples);
    while let Some(rest) = watcher.push(left) {
        left = rest;
        let score = watcher.infer().map_err(|error| refused(&error, &error))?;
        scores.push(((samples.len() - left.len()) as u32, score));
    }
    Ok(WatchReport { scores, instructions: Vec::new(), memory_bytes, stack_peak_bytes: 0 })
}

/// Whether a model goes from what a microphone gives to classes.
///
/// # Errors
/// [`DeviceError::Refused`] if not.
pub(super) fn check(model: &[u8]) -> Result<(), DeviceError> {
    match listening(AlignedBytes::copy_of(model).as_slice())?.1.axes {
        1 => Ok(()),
        axes => Err(refused(
            &format_args!("NotAListener"),
            &format!("the model takes motion, of {axes} axes, and no sound"),
        )),
    }
}
