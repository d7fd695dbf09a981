//! [`Learner`].

use crate::memory::elements;
use crate::model::EntryKind;
use crate::operand::{ElementType, Operand, Shape};
use crate::ops::Operators;
use crate::session::{Element, Observer, Session, SessionError};

/// The largest learning rate.
const LARGEST_RATE: f32 = 10.0;

/// When a learner gives up what it has learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Policy {
    /// So many skipped steps in a row put the parameters back to the last good ones; 0 for never.
    pub patience: u16,
}

impl Default for Policy {
    /// Three.
    fn default() -> Self {
        Self { patience: 3 }
    }
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Outcome {
    /// All gradients were good.
    Learned,
    /// The loss or a gradient was not finite, or too large. What was, counted as zero.
    Skipped,
    /// As `Skipped`, the last of too many in a row: parameters are the last good ones, moments are gone.
    RolledBack,
}

/// What a sample gave.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Loss {
    /// The loss before the step.
    pub value: f32,
    /// Whether the prediction was right.
    pub is_correct: bool,
    /// What became of the step; an evaluation is [`Outcome::Learned`] if its loss is finite.
    pub outcome: Outcome,
}

/// What a learner has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Counts {
    /// Steps, skipped ones included.
    pub steps: u32,
    /// Steps that were skipped, entirely or in part.
    pub skipped: u32,
    /// Times that the parameters were put back.
    pub rollbacks: u32,
}

/// How good the parameters are on samples that nothing was learned from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Score {
    /// Samples.
    pub samples: u32,
    /// Samples whose prediction was right.
    pub correct: u32,
    /// Sum of their losses.
    pub loss: f32,
}

impl Score {
    /// Counts a sample.
    pub fn add(&mut self, loss: Loss) {
        self.samples = self.samples.saturating_add(1);
        self.correct = self.correct.saturating_add(u32::from(loss.is_correct));
        self.loss += loss.value;
    }

    /// The gate for what is to be kept: of the same samples, no fewer are right, and every loss is finite.
    pub fn is_no_worse_than(&self, before: &Self) -> bool {
        self.samples == before.samples && self.correct >= before.correct && self.loss.is_finite()
    }
}

/// Why a learner was not made, or a sample not taken.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LearnError {
    /// The model lacks an entry, or the session refuses.
    Session(SessionError),
    /// The entry is not one for a learner: it takes a sample and a label, and gives the loss.
    Interface {
        /// The entry.
        kind: EntryKind,
    },
    /// The samples are of another type.
    InputType {
        /// What the model takes.
        expected: ElementType,
        /// What was given.
        found: ElementType,
    },
    /// The sample is of another length.
    InputLength {
        /// Elements that the model takes.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// There is no such class.
    Label {
        /// The number of classes.
        classes: u32,
        /// The label given.
        found: u32,
    },
    /// The learning rate is not in `0.0..=10.0`.
    LearningRate {
        /// What was given.
        found: f32,
    },
    /// Parameters are of another length.
    ParameterLength {
        /// Bytes that the model has.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Parameters to be loaded have one that is not a finite number.
    NotFinite {
        /// Its index.
        index: usize,
    },
}

impl core::fmt::Display for LearnError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::Session(error) => error.fmt(f),
            Self::Interface { kind } => {
                write!(f, "the entry {kind:?} does not take a sample and a label, or gives no loss")
            }
            Self::InputType { expected, found } => {
                write!(f, "the model takes samples of {expected:?}, {found:?} was given")
            }
            Self::InputLength { expected, found } => {
                write!(f, "the model takes samples of {expected} elements, {found} were given")
            }
            Self::Label { classes, found } => write!(f, "there are {classes} classes, the label is {found}"),
            Self::LearningRate { found } => {
                write!(f, "the learning rate is {found}, expected 0 to {LARGEST_RATE}")
            }
            Self::ParameterLength { expected, found } => {
                write!(f, "the model has {expected} bytes of parameters, {found} were given")
            }
            Self::NotFinite { index } => write!(f, "parameter {index} is not a finite number"),
        }
    }
}

impl core::error::Error for LearnError {}

impl From<SessionError> for LearnError {
    fn from(error: SessionError) -> Self {
        Self::Session(error)
    }
}

/// A session that learns.
#[derive(Debug)]
pub struct Learner<'m, 'a, O> {
    session: Session<'m, 'a, O>,
    classes: u32,
    /// Steps that an update takes; 1 if `train` updates by itself.
    samples_per_update: u32,
    /// Steps since the last update.
    pending: u32,
    policy: Policy,
    good: Option<&'a mut [u8]>,
    streak: u16,
    counts: Counts,
}

impl<'m, 'a, O: Operators> Learner<'m, 'a, O> {
    /// A learner in `session`. The parameters go on from where they are.
    ///
    /// # Errors
    /// [`LearnError::Session`] for a model without the entries `train`, `update` and `infer`, [`LearnError::Interface`] for one whose
    /// entries are not a learner's.
    pub fn new(session: Session<'m, 'a, O>, policy: Policy) -> Result<Self, LearnError> {
        let model = session.model();
        let entry = |kind| model.entry(kind).ok_or(SessionError::NoEntry { kind });
        let (train, update, infer) =
            (entry(EntryKind::Train)?, entry(EntryKind::Update)?, entry(EntryKind::Infer)?);
        let interface = |kind| LearnError::Interface { kind };
        let is = |operand: Option<&Operand>, shape: Shape, element_type| {
            operand.is_some_and(|found| (found.shape, found.element_type) == (shape, element_type))
        };
        let label = Shape::vector(1);
        let fits = is(train.inputs.get(1), label, ElementType::I32)
            && is(train.outputs.first(), Shape::vector(2), ElementType::F32)
            && train.outputs.get(1).is_none_or(|faults| is(Some(faults), label, ElementType::I32));
        if !fits {
            return Err(interface(EntryKind::Train));
        }
        if !is(update.inputs.first(), Shape::vector(4), ElementType::F32) {
            return Err(interface(EntryKind::Update));
        }
        let Some(&Operand { shape: Shape([.., classes]), .. }) = infer.outputs.first() else {
            return Err(interface(EntryKind::Infer));
        };
        let mut learner = Self {
            session,
            classes,
            samples_per_update: 1,
            pending: 0,
            policy,
            good: None,
            streak: 0,
            counts: Counts::default(),
        };
        // The conversion saturates; NaN gives 0.
        let [.., samples] = learner.hyperparameters()?;
        learner.samples_per_update = (*samples as u32).max(1);
        Ok(learner)
    }

    /// Gives the learner memory for the last good parameters, as many bytes as [`parameters`](Self::parameters) has, and fills it with those of
    /// now. Without it, the good parameters are the factory's.
    ///
    /// # Errors
    /// [`LearnError::ParameterLength`].
    pub fn keep_good(mut self, memory: &'a mut [u8]) -> Result<Self, LearnError> {
        let (expected, found) = (self.session.parameters().len(), memory.len());
        if expected != found {
            return Err(LearnError::ParameterLength { expected, found });
        }
        self.good = Some(memory);
        self.mark_good();
        Ok(self)
    }

    /// Says that the parameters of now are good: what a rollback goes back to, if there is memory for them ([`keep_good`](Self::keep_good)).
    pub fn mark_good(&mut self) {
        if let Some(good) = &mut self.good
            && good.len() == self.session.parameters().len()
        {
            good.copy_from_slice(self.session.parameters());
        }
    }

    /// Puts the parameters back to the last good ones, the factory's if none were kept, and forgets the moments.
    pub fn roll_back(&mut self) -> Result<(), LearnError> {
        let rate = self.learning_rate()?;
        self.session.reset();
        if let Some(good) = &self.good {
            self.session.load_parameters(good)?;
        }
        self.set_learning_rate(rate)?;
        (self.streak, self.pending) = (0, 0);
        self.counts.rollbacks = self.counts.rollbacks.saturating_add(1);
        Ok(())
    }

    /// Puts the parameters back to the factory's, forgets the moments, and takes the factory's as the last good ones.
    pub fn factory_reset(&mut self) -> Result<(), LearnError> {
        let rate = self.learning_rate()?;
        self.session.reset();
        self.mark_good();
        (self.streak, self.pending) = (0, 0);
        self.set_learning_rate(rate)
    }

    /// Takes over parameters that were kept somewhere else, and forgets the moments. Nothing changes if one of them is not finite.
    ///
    /// # Errors
    /// [`LearnError::ParameterLength`], [`LearnError::NotFinite`].
    pub fn load_parameters(&mut self, bytes: &[u8]) -> Result<(), LearnError> {
        let (expected, found) = (self.session.parameters().len(), bytes.len());
        if expected != found {
            return Err(LearnError::ParameterLength { expected, found });
        }
        for (index, &number) in bytes.as_chunks::<4>().0.iter().enumerate() {
            if !f32::from_le_bytes(number).is_finite() {
                return Err(LearnError::NotFinite { index });
            }
        }
        let rate = self.learning_rate()?;
        self.session.reset();
        self.session.load_parameters(bytes)?;
        (self.streak, self.pending) = (0, 0);
        self.set_learning_rate(rate)
    }

    /// The step size. It begins as the file says.
    ///
    /// # Errors
    /// Does not happen.
    pub fn learning_rate(&mut self) -> Result<f32, LearnError> {
        let [rate, ..] = self.hyperparameters()?;
        Ok(*rate)
    }

    /// Sets the step size.
    ///
    /// # Errors
    /// [`LearnError::LearningRate`].
    pub fn set_learning_rate(&mut self, rate: f32) -> Result<(), LearnError> {
        if !(0.0..=LARGEST_RATE).contains(&rate) {
            return Err(LearnError::LearningRate { found: rate });
        }
        let [place, ..] = self.hyperparameters()?;
        *place = rate;
        Ok(())
    }

    fn hyperparameters(&mut self) -> Result<&mut [f32; 4], LearnError> {
        let kind = EntryKind::Update;
        let values = self.session.input_mut::<f32>(kind, 0)?;
        values.first_chunk_mut().ok_or(LearnError::Interface { kind })
    }

    /// Learns one sample: forward, backward, and the update that belongs to it.
    ///
    /// # Errors
    /// [`LearnError::InputType`], [`LearnError::InputLength`], [`LearnError::Label`]: nothing has changed then.
    pub fn step<T: Element>(&mut self, input: &[T], label: u32) -> Result<Loss, LearnError> {
        self.step_observed(input, label, &mut ())
    }

    /// As [`step`](Self::step), and shows each step of the program to `observer`.
    ///
    /// # Errors
    /// As [`step`](Self::step).
    pub fn step_observed<T: Element>(
        &mut self,
        input: &[T],
        label: u32,
        observer: &mut impl Observer,
    ) -> Result<Loss, LearnError> {
        self.check_label(label)?;
        self.write_input(EntryKind::Train, input)?;
        self.step_written(label, observer)
    }

    /// As [`step_observed`](Self::step_observed), with the sample that the caller has written to the first input of the entry `train`
    /// ([`Session::input_bytes_mut`]), so that it needs no memory of its own.
    ///
    /// # Errors
    /// [`LearnError::Label`]: nothing has changed then.
    pub fn step_written(&mut self, label: u32, observer: &mut impl Observer) -> Result<Loss, LearnError> {
        self.check_label(label)?;
        self.write_label(EntryKind::Train, label)?;
        self.counts.steps = self.counts.steps.saturating_add(1);
        if !self.has_finite_input()? {
            let outcome = self.skip()?;
            return Ok(Loss { value: f32::NAN, is_correct: false, outcome });
        }
        let before = self.faults()?;
        self.session.run_observed(EntryKind::Train, observer)?;
        self.pending = self.pending.saturating_add(1);
        let [value, correct] = self.loss(EntryKind::Train)?;
        if self.pending >= self.samples_per_update {
            self.pending = 0;
            self.session.run_observed(EntryKind::Update, observer)?;
        }
        let is_good = value.is_finite() && self.faults()? == before;
        let outcome = if is_good {
            self.streak = 0;
            Outcome::Learned
        } else {
            self.skip()?
        };
        Ok(Loss { value, is_correct: correct > 0.5, outcome })
    }

    /// Counts a step that was skipped.
    fn skip(&mut self) -> Result<Outcome, LearnError> {
        self.counts.skipped = self.counts.skipped.saturating_add(1);
        self.streak = self.streak.saturating_add(1);
        if self.policy.patience != 0 && self.streak >= self.policy.patience {
            self.roll_back()?;
            Ok(Outcome::RolledBack)
        } else {
            Ok(Outcome::Skipped)
        }
    }

    /// Whether the sample to be learned has only finite numbers. An activation may turn others into some, and what came of them would be learned.
    fn has_finite_input(&mut self) -> Result<bool, LearnError> {
        let kind = EntryKind::Train;
        let entry = self.session.model().entry(kind).ok_or(SessionError::NoEntry { kind })?;
        if entry.inputs.first().is_none_or(|input| input.element_type != ElementType::F32) {
            return Ok(true);
        }
        Ok(self.session.input_mut::<f32>(kind, 0)?.iter().all(|value| value.is_finite()))
    }

    /// The loss of one sample. Learns nothing.
    ///
    /// # Errors
    /// As [`step`](Self::step), and [`LearnError::Session`] for a model without the entry `evaluate`.
    pub fn evaluate<T: Element>(&mut self, input: &[T], label: u32) -> Result<Loss, LearnError> {
        self.check_label(label)?;
        self.write_input(EntryKind::Evaluate, input)?;
        self.write_label(EntryKind::Evaluate, label)?;
        self.session.run(EntryKind::Evaluate)?;
        let [value, correct] = self.loss(EntryKind::Evaluate)?;
        let outcome = if value.is_finite() { Outcome::Learned } else { Outcome::Skipped };
        Ok(Loss { value, is_correct: correct > 0.5, outcome })
    }

    /// How good the parameters are on `samples`, inputs and labels.
    ///
    /// # Errors
    /// As [`evaluate`](Self::evaluate).
    pub fn score<'s, T: Element + 's>(
        &mut self,
        samples: impl IntoIterator<Item = (&'s [T], u32)>,
    ) -> Result<Score, LearnError> {
        let mut score = Score::default();
        for (input, label) in samples {
            score.add(self.evaluate(input, label)?);
        }
        Ok(score)
    }

    /// Keeps what was learned since the last good parameters if it is no worse than they were (`before`) on held-out samples (`now`), and goes back to them if it is
    /// worse. Returns whether it was kept.
    ///
    /// # Errors
    /// Does not happen.
    pub fn gate(&mut self, before: &Score, now: &Score) -> Result<bool, LearnError> {
        let keep = now.is_no_worse_than(before);
        if keep {
            self.mark_good();
        } else {
            self.roll_back()?;
        }
        Ok(keep)
    }

    /// The scores of one sample, with what has been learned.
    ///
    /// # Errors
    /// [`LearnError::InputType`], [`LearnError::InputLength`].
    pub fn infer<T: Element>(&mut self, input: &[T]) -> Result<&[f32], LearnError> {
        self.write_input(EntryKind::Infer, input)?;
        self.session.run(EntryKind::Infer)?;
        Ok(self.session.output(EntryKind::Infer, 0)?)
    }

    /// The parameters' bytes: f32, least significant byte first on every target that there is.
    pub fn parameters(&self) -> &[u8] {
        self.session.parameters()
    }

    /// The number of classes.
    pub fn classes(&self) -> u32 {
        self.classes
    }

    /// What has been done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The session.
    pub fn session(&self) -> &Session<'m, 'a, O> {
        &self.session
    }

    /// The session, to run its entries.
    pub fn session_mut(&mut self) -> &mut Session<'m, 'a, O> {
        &mut self.session
    }

    fn check_label(&self, label: u32) -> Result<(), LearnError> {
        if label < self.classes {
            Ok(())
        } else {
            Err(LearnError::Label { classes: self.classes, found: label })
        }
    }

    fn write_label(&mut self, kind: EntryKind, label: u32) -> Result<(), LearnError> {
        let place = self.session.input_mut::<i32>(kind, 1)?;
        place.iter_mut().for_each(|place| *place = label as i32);
        Ok(())
    }

    fn write_input<T: Element>(&mut self, kind: EntryKind, input: &[T]) -> Result<(), LearnError> {
        let entry = self.session.model().entry(kind).ok_or(SessionError::NoEntry { kind })?;
        let expected = entry.inputs.first().ok_or(LearnError::Interface { kind })?.element_type;
        if expected != T::TYPE {
            return Err(LearnError::InputType { expected, found: T::TYPE });
        }
        let place = self.session.input_mut::<T>(kind, 0)?;
        let (expected, found) = (place.len(), input.len());
        if expected != found {
            return Err(LearnError::InputLength { expected, found });
        }
        place.copy_from_slice(input);
        Ok(())
    }

    fn loss(&mut self, kind: EntryKind) -> Result<[f32; 2], LearnError> {
        let found = self.session.output::<f32>(kind, 0)?;
        found.first_chunk().copied().ok_or(LearnError::Interface { kind })
    }

    /// Gradients that were not used, as the program counts them.
    fn faults(&mut self) -> Result<i32, LearnError> {
        let model = self.session.model();
        let train = model.entry(EntryKind::Train).ok_or(SessionError::NoEntry { kind: EntryKind::Train })?;
        if train.outputs.len() < 2 {
            return Ok(0);
        }
        let bytes = self.session.output_bytes(EntryKind::Train, 1)?;
        let count = elements::<i32>(bytes).ok().and_then(|counts| counts.first().copied());
        count.ok_or(LearnError::Interface { kind: EntryKind::Train })
    }
}
