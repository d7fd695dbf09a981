//! The arena over the steps of inference, drawn.

use std::fmt::Write;

use super::{escaped, grouped};
use crate::inspect::{MemoryMap, Use};

/// Size of the drawing, and the margins around what is drawn.
const SIZE: (f64, f64) = (900.0, 320.0);
const MARGIN: (f64, f64) = (70.0, 20.0);

/// A column for each step, from left to right; a rectangle for each tensor, the arena's first byte below.
pub(super) fn drawing(map: &MemoryMap, names: &[String], arena_bytes: usize) -> String {
    let steps = map.moments.len();
    if steps == 0 || map.used_bytes == 0 {
        return "<p>No step uses the arena.</p>\n".to_owned();
    }
    let (width, height) = (SIZE.0 - 2.0 * MARGIN.0, SIZE.1 - 2.0 * MARGIN.1);
    let column = width / steps as f64;
    let y = |byte: usize| MARGIN.1 + height * (1.0 - byte as f64 / map.used_bytes as f64);
    let mut svg = format!(
        "<p>{} bytes of arena; no plan for these steps in this order could do with less than {} without writing over what is read. \
         <i class=\"two\">■ written</i> <i class=\"one\">■ read</i> <i class=\"three\">■ kept for later</i></p>\n\
         <figure><svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Memory map\">\n",
        grouped(arena_bytes as u64),
        grouped(map.lower_bound as u64),
        SIZE.0,
        SIZE.1,
    );
    for (index, moment) in map.moments.iter().enumerate() {
        let x = MARGIN.0 + column * index as f64;
        let name = names.get(index).map_or_else(|| format!("step {index}"), |name| escaped(name));
        for tensor in &moment.tensors {
            let class = match tensor.used {
                Use::Written => "two",
                Use::Read => "one",
                Use::Kept => "three",
            };
            let (top, bottom) = (y(tensor.bytes.end), y(tensor.bytes.start));
            // Writing to a string cannot fail.
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{name}: bytes {} to {}, {} in use in all</title></rect>",
                column,
                bottom - top,
                grouped(tensor.bytes.start as u64),
                grouped(tensor.bytes.end as u64),
                grouped(moment.live_bytes as u64),
            );
        }
    }
    let text = |x: f64, y: f64, anchor: &str, text: &str| {
        format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>\n")
    };
    let (left, bottom) = (MARGIN.0 - 6.0, SIZE.1 - MARGIN.1);
    svg += &text(left, MARGIN.1 + 10.0, "end", &grouped(map.used_bytes as u64));
    svg += &text(left, bottom, "end", "0 bytes");
    svg += &text(MARGIN.0, bottom + 16.0, "start", "first step");
    svg += &text(SIZE.0 - MARGIN.0, bottom + 16.0, "end", &format!("step {steps}"));
    svg + "</svg></figure>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{Moment, Placed};

    #[test]
    fn every_tensor_is_a_rectangle_to_scale() {
        let placed = |bytes, used| Placed { bytes, used };
        let moments = vec![
            Moment { live_bytes: 50, tensors: vec![placed(0..50, Use::Written)] },
            Moment {
                live_bytes: 100,
                tensors: vec![placed(0..50, Use::Read), placed(50..100, Use::Written)],
            },
        ];
        let map = MemoryMap { used_bytes: 100, lower_bound: 100, moments };
        let page = drawing(&map, &["a<".to_owned()], 112);
        assert_eq!(page.matches("<rect").count(), 3);
        assert!(
            page.contains("<title>a&lt;: bytes 0 to 50") && page.contains("step 1: bytes 50 to 100"),
            "{page}"
        );
        // Half of the height, in the lower half, in the first column.
        assert!(page.contains("x=\"70.0\" y=\"160.0\" width=\"380.0\" height=\"140.0\""), "{page}");
        let none = MemoryMap { used_bytes: 0, lower_bound: 0, moments: vec![] };
        assert!(drawing(&none, &[], 0).contains("No step"));
    }
}
