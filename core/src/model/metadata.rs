//! What a model file says about itself, and how its input is made from raw samples.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::frontend::{Audio, Sensor};
use crate::operand::Quantization;

/// What a model file says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metadata<'a> {
    /// Name of the network.
    pub name: &'a str,
    /// Names of the classes in the order of the outputs, one a line; empty if there are none.
    pub labels: &'a str,
    /// Names of the steps, one a line, for reports; empty if there are none.
    pub step_names: &'a str,
    /// Where the model comes from: free text, JSON in files that the trainer writes.
    pub provenance: &'a str,
    /// What is done to a raw sample before it is the network's input.
    #[serde(borrow)]
    pub preprocessing: Preprocessing<'a>,
}

impl<'a> Metadata<'a> {
    /// The name of class `index`.
    pub fn label(&self, index: usize) -> Option<&'a str> {
        self.labels.lines().nth(index)
    }
}

/// What is done to a raw sample before it is the network's input. It is part of the model file, so that training and device
/// cannot drift apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Preprocessing<'a> {
    /// The caller gives the network's input itself.
    #[default]
    None,
    /// Bytes become `(byte / 255 - mean) / std`.
    Normalize {
        /// Mean of the training set, as a fraction of 255.
        mean: f32,
        /// Standard deviation of the training set, as a fraction of 255.
        std: f32,
    },
    /// Sound goes through a front end, since version 1.1 of the format; the axes of a motion sensor, or sound whose configuration has one of the fields for
    /// them, since 1.2.
    Audio(Audio<'a>),
}

/// [`Preprocessing`] as a file has it: what sound has no need of is a kind of its own, so that older readers take sound and refuse the rest.
#[derive(Serialize, Deserialize)]
enum Encoded<'a> {
    None,
    Normalize {
        mean: f32,
        std: f32,
    },
    #[serde(borrow)]
    Sound(Audio<'a>),
    Motion(#[serde(borrow)] Audio<'a>, Sensor),
}

impl Serialize for Preprocessing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let encoded = match *self {
            Self::None => Encoded::None,
            Self::Normalize { mean, std } => Encoded::Normalize { mean, std },
            Self::Audio(audio) if audio.config.sensor() == Sensor::SOUND => Encoded::Sound(audio),
            Self::Audio(audio) => Encoded::Motion(audio, audio.config.sensor()),
        };
        encoded.serialize(serializer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Preprocessing<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Encoded::deserialize(deserializer)? {
            Encoded::None => Self::None,
            Encoded::Normalize { mean, std } => Self::Normalize { mean, std },
            Encoded::Sound(audio) => Self::Audio(audio),
            // There is one encoding of everything.
            Encoded::Motion(_, Sensor::SOUND) => return Err(D::Error::custom("sound")),
            Encoded::Motion(audio, sensor) => {
                Self::Audio(Audio { config: audio.config.with_sensor(sensor), ..audio })
            }
        })
    }
}

impl Preprocessing<'_> {
    /// The lowest minor version of the format that has it.
    pub(super) fn minor_version(&self) -> u8 {
        match self {
            Self::None | Self::Normalize { .. } => 0,
            Self::Audio(audio) if audio.config.sensor() == Sensor::SOUND => 1,
            Self::Audio(_) => 2,
        }
    }

    /// Bytes of memory that a front end needs; 0 if there is none.
    pub fn front_end_bytes(&self) -> u32 {
        match self {
            Self::Audio(audio) => audio.config.memory_bytes(),
            Self::None | Self::Normalize { .. } => 0,
        }
    }

    /// Whether everything in it is in its range.
    pub(super) fn is_valid(&self) -> bool {
        match self {
            Self::Audio(audio) => audio.check().is_ok(),
            Self::None | Self::Normalize { .. } => true,
        }
    }

    /// The network's input for one raw byte. Without preprocessing for bytes that is the byte's value.
    pub fn apply(self, byte: u8) -> f32 {
        match self {
            Self::None | Self::Audio(_) => f32::from(byte),
            Self::Normalize { mean, std } => (f32::from(byte) / 255.0 - mean) / std,
        }
    }

    /// The network's int8 input for raw bytes; `input` and `bytes` have the same length.
    pub fn quantize(self, quantization: Quantization, bytes: &[u8], input: &mut [i8]) {
        for (input, &byte) in input.iter_mut().zip(bytes) {
            *input = quantization.quantize(self.apply(byte));
        }
    }
}

impl Quantization {
    /// The integer nearest to `real`, halves away from zero, saturated to int8; NaN gives the zero point.
    pub fn quantize(self, real: f32) -> i8 {
        let scaled = libm::roundf(real / self.scale);
        // A float to int cast saturates, and NaN becomes 0.
        (scaled as i32).saturating_add(self.zero_point).clamp(-128, 127) as i8
    }

    /// The real number that `integer` stands for.
    pub fn dequantize(self, integer: i8) -> f32 {
        (i32::from(integer).saturating_sub(self.zero_point)) as f32 * self.scale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantize_rounds_and_saturates() {
        let quantization = Quantization { scale: 0.5, zero_point: -3 };
        let quantized = [0.0, 0.25, -0.25, 0.24, 1e30, -1e30, f32::NAN].map(|x| quantization.quantize(x));
        assert_eq!(quantized, [-3, -2, -4, -3, 127, -128, -3]);
        assert_eq!(quantization.dequantize(-1), 1.0);
    }

    #[test]
    fn labels_are_lines() {
        let metadata = Metadata {
            name: "",
            labels: "zero\none",
            step_names: "",
            provenance: "",
            preprocessing: Preprocessing::None,
        };
        assert_eq!([0, 1, 2].map(|i| metadata.label(i)), [Some("zero"), Some("one"), None]);
    }
}
