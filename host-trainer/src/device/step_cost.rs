//! What a training step costs on a device.

use serde::Serialize;
use smidgen::{EntryKind, Model, Operand};

use super::{Device, DeviceError};
use crate::buffer::AlignedBytes;

/// Instructions of one training step, emulated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepCost {
    /// Of all steps of `train` and `update`.
    pub instructions: u64,
    /// Of what comes behind the loss: gradients and updates.
    pub backward_instructions: u64,
    /// The one of the other, `0.0..=1.0`.
    pub backward_share: f64,
}

impl Device {
    /// What one training step costs, each step of the program counted by itself; `None` for a model that does not learn.
    ///
    /// # Errors
    /// See [`DeviceError`].
    pub fn step_cost(&self, file: &[u8]) -> Result<Option<StepCost>, DeviceError> {
        let aligned = AlignedBytes::copy_of(file);
        let Ok(model) = Model::<smidgen::AllOperators>::from_bytes(aligned.as_slice()) else {
            return Ok(None);
        };
        let kinds = [EntryKind::Train, EntryKind::Update].map(|kind| model.entry(kind));
        let [Some(train), Some(update)] = kinds else { return Ok(None) };
        // Bytes that differ for the sample, zeros for the label and the step size: what is counted does not depend on them.
        let bytes = |operand: &Operand| operand.bytes().unwrap_or(0);
        let mut inputs = Vec::new();
        for (index, operand) in train.inputs.iter().enumerate() {
            let is_int8 = index == 0 && operand.element_type.bytes() == 1;
            let byte = |at: usize| if is_int8 { (at * 37 % 251) as u8 } else { 0 };
            inputs.extend((0..bytes(operand)).map(byte));
        }
        inputs.extend(std::iter::repeat_n(0, update.inputs.iter().map(bytes).sum()));
        let loss = model.steps(&train).flatten().position(|step| matches!(step.operator, 60..=68));
        let report = self.clone().traced(&[0]).train(file, &inputs)?;
        let (mut instructions, mut backward_instructions) = (0, 0);
        for step in &report.steps {
            let counted = step.instructions.unwrap_or(0);
            instructions += counted;
            let is_forward =
                step.entry == EntryKind::Train && loss.is_some_and(|loss| step.index as usize <= loss);
            backward_instructions += if is_forward { 0 } else { counted };
        }
        let backward_share = backward_instructions as f64 / instructions.max(1) as f64;
        Ok(Some(StepCost { instructions, backward_instructions, backward_share }))
    }
}
