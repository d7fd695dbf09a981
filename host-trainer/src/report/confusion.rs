//! What is taken for what.

use super::escaped;
use crate::evaluate::Confusion;

/// A row for each label, a column for what it is taken for.
pub(super) fn confusion_table(confusion: &Confusion, class_names: &[String]) -> String {
    let name = |class: usize| escaped(class_names.get(class).map_or("", String::as_str));
    let head: String = (0..confusion.counts.len()).map(|class| format!("<th>{}</th>", name(class))).collect();
    let mut table = format!("<table>\n<tr><th></th>{head}<th>right</th></tr>\n");
    for (label, row) in confusion.counts.iter().enumerate() {
        let all = row.iter().sum::<usize>().max(1) as f64;
        let cells = row.iter().enumerate().map(|(class, &count)| {
            // Mistakes are what one looks for: the more of them, the redder.
            let shade =
                if class == label || count == 0 { 0.0 } else { (0.15 + 4.0 * count as f64 / all).min(0.8) };
            let kind = if class == label { " class=\"right\"" } else { "" };
            let text = if count == 0 { String::new() } else { count.to_string() };
            format!("<td{kind} style=\"background: rgb(214 48 49 / {shade:.2})\">{text}</td>")
        });
        let right = row.get(label).copied().unwrap_or(0) as f64 / all * 100.0;
        let cells: String = cells.collect();
        table += &format!("<tr><th>{}</th>{cells}<td>{right:.1} %</td></tr>\n", name(label));
    }
    table + "</table>\n"
}
