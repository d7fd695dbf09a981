//! The files, and how a result is compared with them.

use std::path::Path;

use smidgen::Shape;
use smidgen::geometry::Window;

/// Largest error, relative to the tensor's largest magnitude. The goldens are exact to half a unit in the last place (6e-8); smidgen adds
/// one rounding of 6e-8 for each of up to 45 terms of a sum, most of which cancel.
pub(crate) const TOLERANCE: f32 = 2e-6;

/// One tensor.
pub(crate) struct Golden {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
    pub(crate) integers: Vec<i32>,
}

impl Golden {
    /// `[N, H, W, C]`, with leading ones.
    pub(crate) fn shape(&self) -> Shape {
        let mut shape = [1; 4];
        for (to, &from) in shape.iter_mut().rev().zip(self.shape.iter().rev()) {
            *to = u32::try_from(from).unwrap();
        }
        Shape(shape)
    }

    pub(crate) fn pixels(&self) -> Shape {
        let [samples, channels] = self.shape[..] else { panic!("a matrix") };
        Shape([samples, 1, 1, channels].map(|dimension| u32::try_from(dimension).unwrap()))
    }
}

/// The cases of one file.
pub(crate) struct Goldens {
    bytes: Vec<u8>,
}

impl Goldens {
    pub(crate) fn load(file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens/pytorch").join(file);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { bytes }
    }

    pub(crate) fn tensors(&self) -> safetensors::SafeTensors<'_> {
        safetensors::SafeTensors::deserialize(&self.bytes).unwrap()
    }

    /// The cases whose names begin with `operator`, sorted. At least one.
    pub(crate) fn cases(&self, operator: &str) -> Vec<String> {
        let tensors = self.tensors();
        let mut cases: Vec<String> = tensors
            .names()
            .iter()
            .filter_map(|name| Some(name.rsplit_once('.')?.0.to_owned()))
            .filter(|case| case.starts_with(operator))
            .collect();
        cases.sort();
        cases.dedup();
        assert!(!cases.is_empty(), "no case of {operator}");
        cases
    }

    pub(crate) fn get(&self, case: &str, name: &str) -> Golden {
        self.find(case, name).unwrap_or_else(|| panic!("no {case}.{name}"))
    }

    /// The tensor `name` of a case, if it has one.
    pub(crate) fn find(&self, case: &str, name: &str) -> Option<Golden> {
        let tensors = self.tensors();
        let tensor = tensors.tensor(&format!("{case}.{name}")).ok()?;
        let words = tensor.data().chunks_exact(4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()));
        let (values, integers) = match tensor.dtype() {
            safetensors::Dtype::F32 => (words.map(f32::from_bits).collect(), vec![]),
            safetensors::Dtype::I32 => (vec![], words.map(u32::cast_signed).collect()),
            other => panic!("{case}.{name} is {other:?}"),
        };
        Some(Golden { shape: tensor.shape().to_vec(), values, integers })
    }

    pub(crate) fn values(&self, case: &str, name: &str) -> Vec<f32> {
        self.get(case, name).values
    }

    pub(crate) fn scalar(&self, case: &str, name: &str) -> f32 {
        self.get(case, name).values[0]
    }

    pub(crate) fn window(&self, case: &str) -> Window {
        Window::read(&self.get(case, "window").integers).unwrap().0
    }
}

/// The largest error of `found`, relative to the largest magnitude of `expected`, but at least 1.
pub(crate) fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len(), "number of elements");
    let largest = expected.iter().fold(1.0f32, |largest, x| largest.max(x.abs()));
    let difference = |(&found, &expected): (&f32, &f32)| {
        let difference = (found - expected).abs();
        // A NaN is as wrong as can be.
        if difference.is_nan() { f32::INFINITY } else { difference }
    };
    found.iter().zip(expected).map(difference).fold(0.0, f32::max) / largest
}

#[track_caller]
pub(crate) fn assert_close(goldens: &Goldens, case: &str, name: &str, found: &[f32], tolerance: f32) {
    let error = error(found, &goldens.values(case, name));
    assert!(error <= tolerance, "{case}.{name}: the largest error is {error:e}, more than {tolerance:e}");
}

/// Room for a tensor, filled with what no operator may leave there.
pub(crate) fn unwritten(like: &Golden) -> Vec<f32> {
    vec![f32::NAN; like.values.len()]
}
