//! `smidgen inspect`.

use std::fmt::Write;
use std::path::PathBuf;

use smidgen::frontend::{Audio, AudioConfig, Spacing};
use smidgen::{ElementType, Preprocessing, Quantization};
use smidgen_trainer::inspect::{
    EntryInspection, Inspection, Memory, MemoryMap, Moment, Tensor, Use, inspect,
};

use super::table::{Align, Table, grouped, printable};
use super::{Outcome, parse_model, print, print_json, read_model};

/// Show what is in a model file: steps, memory, quantization, provenance.
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// The model file
    #[arg(value_name = "MODEL.smg")]
    model: PathBuf,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(crate) fn run(&self) -> Outcome {
        let file = read_model(&self.model)?;
        let found = inspect(&parse_model(&self.model, &file)?);
        if self.json { print_json(&found) } else { print(&text(&found)?) }
    }
}

fn text(found: &Inspection<'_>) -> Result<String, std::fmt::Error> {
    let Inspection { name, format_version: (major, minor), labels, file_bytes, weights_bytes, .. } = found;
    let mut text = format!("{}, a model of format {major}.{minor}\n", printable(name));
    let mut line = |label: &str, value: String| writeln!(text, "  {label:<12}{value}");
    let (file_bytes, weights) = (grouped(*file_bytes as u64), grouped(*weights_bytes as u64));
    line("file", format!("{file_bytes} bytes, {weights} of them weights"))?;
    line("memory", memory(&found.memory))?;
    line(
        "RAM",
        format!(
            "{} bytes, {} of them stack; the arena needs at least {}",
            grouped(found.ram_bytes as u64),
            grouped(found.ram.stack_bytes as u64),
            grouped(found.ram.arena_lower_bound as u64)
        ),
    )?;
    if !labels.is_empty() {
        line("labels", printable(&labels.join(", ")))?;
    }
    match found.preprocessing {
        Preprocessing::None => {}
        Preprocessing::Normalize { mean, std } => line("input", format!("(byte / 255 - {mean}) / {std}"))?,
        Preprocessing::Audio(Audio { config, .. }) => {
            let AudioConfig { sample_rate, window_samples, hop_samples, frames, .. } = config;
            let (channels, memory) = (config.channels(), config.memory_bytes());
            let kind = match (config.coefficients, config.spacing) {
                (0, Spacing::Mel) => "mel bands",
                (0, Spacing::Linear) => "bands",
                _ => "cepstra",
            };
            let with = if config.rms { " and root mean squares" } else { "" };
            let axes = if config.axes == 1 { String::new() } else { format!(" of {} axes", config.axes) };
            let of = format!("of {window_samples} samples{axes} every {hop_samples} at {sample_rate} Hz");
            line(
                "input",
                format!("{frames} frames {of}, {channels} {kind}{with}, {memory} bytes of memory"),
            )?;
        }
    }
    for (label, value) in provenance(&found.provenance) {
        line(label, value)?;
    }
    for entry in &found.entries {
        entry_text(&mut text, entry)?;
    }
    Ok(text)
}

fn memory(memory: &Memory) -> String {
    let Memory { parameter_bytes, state_bytes, gradient_bytes, chunk_bytes, arena_bytes, total_bytes } =
        *memory;
    let spaces = [
        ("parameters", parameter_bytes),
        ("state", state_bytes),
        ("gradients", gradient_bytes),
        ("chunk", chunk_bytes),
        ("activations", arena_bytes),
    ];
    let parts = spaces.iter().filter(|(_, bytes)| *bytes > 0);
    let parts: Vec<_> = parts.map(|&(name, bytes)| format!("{name} {}", grouped(bytes.into()))).collect();
    format!("{} bytes of the caller's: {}", grouped(total_bytes as u64), parts.join(", "))
}

/// What the trainer says of where the model comes from; of other files the first words. `--json` has all of it.
fn provenance(value: &serde_json::Value) -> Vec<(&'static str, String)> {
    let text = |pointer: &str| {
        let text = value.pointer(pointer).and_then(serde_json::Value::as_str);
        text.filter(|text| !text.is_empty()).map(printable)
    };
    let mut lines = Vec::new();
    if let Some(trainer) = text("/trainer") {
        let recipe = text("/recipe/name").map(|name| format!(", recipe {name}")).unwrap_or_default();
        let net = text("/recipe/network/net").map(|net| format!(", network {net}")).unwrap_or_default();
        let seed = value.pointer("/recipe/training/seed").map(|seed| format!(", seed {seed}"));
        lines.push(("made by", format!("{trainer}{recipe}{net}{}", seed.unwrap_or_default())));
        lines.extend(text("/weights_hash").map(|hash| ("weights", format!("SHA-256 {hash}"))));
    } else if value.as_str() != Some("") {
        let all = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        lines.push(("provenance", printable(&all.chars().take(200).collect::<String>())));
    }
    lines
}

fn entry_text(text: &mut String, entry: &EntryInspection) -> std::fmt::Result {
    let kind = format!("{:?}", entry.kind).to_lowercase();
    let (steps, macs) = (entry.steps.len(), grouped(entry.macs));
    writeln!(text, "\n{kind}: {steps} steps, {macs} multiply-accumulates")?;
    for (label, tensors) in [("from", &entry.inputs), ("to", &entry.outputs)] {
        let tensors: Vec<_> = tensors.iter().map(described).collect();
        writeln!(text, "  {label:<12}{}", tensors.join("; "))?;
    }
    let mut table = Table::new([
        ("step", Align::Right),
        ("name", Align::Left),
        ("operator", Align::Left),
        ("input", Align::Left),
        ("output", Align::Left),
        ("kernel", Align::Left),
        ("stride", Align::Left),
        ("scale", Align::Left),
        ("zero", Align::Right),
        ("weights", Align::Right),
        ("MACs", Align::Right),
    ]);
    for step in &entry.steps {
        let shapes = |tensors: &[Tensor]| tensors.iter().map(shape).collect::<Vec<_>>().join(" ");
        let window = |pick: &dyn Fn(_) -> [usize; 2]| {
            step.window
                .map(|window| pick(window).map(|extent| extent.to_string()).join("×"))
                .unwrap_or_default()
        };
        let quantization = step.outputs.first().and_then(|output| output.quantization);
        let count = |number: u64| if number == 0 { String::new() } else { grouped(number) };
        table.row([
            step.index.to_string(),
            printable(&step.name),
            step.op.to_owned(),
            shapes(&step.inputs),
            shapes(&step.outputs),
            window(&|window| window.kernel),
            window(&|window| window.stride),
            quantization.map(|Quantization { scale, .. }| format!("{scale:.6}")).unwrap_or_default(),
            quantization.map(|Quantization { zero_point, .. }| zero_point.to_string()).unwrap_or_default(),
            count(step.weight_bytes as u64),
            count(step.macs),
        ]);
    }
    writeln!(text, "\n{table}")?;
    map_text(text, entry, &entry.memory_map)
}

/// Columns of the picture of the arena.
const WIDTH: usize = 64;

fn map_text(text: &mut String, entry: &EntryInspection, map: &MemoryMap) -> std::fmt::Result {
    let MemoryMap { used_bytes, lower_bound, moments } = map;
    let Some(column) = used_bytes.checked_add(WIDTH - 1).map(|bytes| (bytes / WIDTH).max(1)) else {
        return Ok(());
    };
    if moments.is_empty() || *used_bytes == 0 {
        return Ok(());
    }
    writeln!(
        text,
        "  The arena at each step: {} bytes, at least {} with these steps in this order.",
        grouped(*used_bytes as u64),
        grouped(*lower_bound as u64)
    )?;
    writeln!(text, "  A column is {column} bytes: W written, R read, = kept for later, · free.\n")?;
    let mut table = Table::new([
        ("step", Align::Right),
        ("operator", Align::Left),
        ("bytes", Align::Right),
        ("arena", Align::Left),
    ]);
    for (step, moment) in entry.steps.iter().zip(moments) {
        let peak = if moment.live_bytes == *lower_bound { " ← the most" } else { "" };
        let bytes = grouped(moment.live_bytes as u64);
        table.row([
            step.index.to_string(),
            step.op.to_owned(),
            bytes,
            format!("{}{peak}", picture(moment, column)),
        ]);
    }
    writeln!(text, "{table}")
}

fn picture(moment: &Moment, column: usize) -> String {
    let mut cells = [(None, '·'); WIDTH];
    for tensor in &moment.tensors {
        let mark = match tensor.used {
            Use::Kept => '=',
            Use::Read => 'R',
            Use::Written => 'W',
        };
        let columns = tensor.bytes.start / column..tensor.bytes.end.div_ceil(column);
        for cell in cells.get_mut(columns).unwrap_or_default() {
            *cell = (*cell).max((Some(tensor.used), mark));
        }
    }
    cells.iter().map(|(_, mark)| mark).collect()
}

/// The shape without the ones that stand before lower ranks.
fn shape(tensor: &Tensor) -> String {
    let [n, h, w, c] = tensor.shape;
    let skip = if n > 1 {
        0
    } else if h > 1 {
        1
    } else if w > 1 {
        2
    } else {
        3
    };
    let dims = [n, h, w, c].iter().skip(skip).map(ToString::to_string).collect::<Vec<_>>();
    dims.join("×")
}

fn described(tensor: &Tensor) -> String {
    let element_type = match tensor.element_type {
        ElementType::I8 => "int8",
        ElementType::U8 => "uint8",
        ElementType::I16 => "int16",
        ElementType::I32 => "int32",
        ElementType::F32 => "float32",
    };
    let quantization = tensor
        .quantization
        .map(|Quantization { scale, zero_point }| format!(", scale {scale}, zero point {zero_point}"));
    format!("{} {element_type}{}", shape(tensor), quantization.unwrap_or_default())
}
