//! A flame graph: whom stacks have in common, and how much each has, as one picture.
//!
//! *Life of a picture*: stacks join in a tree, outermost first → each node is a bar as wide as its share, on those that it
//! was called from; its full name and share show under the pointer.
//!
//! *Limits*: bars narrower than [`WIDTH_MIN`] and higher than [`DEPTH_MAX`] are left out.
//!
//! *Next stop*: [`super::heap`].

use std::collections::BTreeMap;
use std::fmt::Write;

/// All in pixels.
const WIDTH: f64 = 1200.0;
const WIDTH_MIN: f64 = 0.5;
const ROW: usize = 16;
const CHARACTER: f64 = 7.0;
/// Room for the title.
const TOP: usize = 30;
/// Bars above each other.
const DEPTH_MAX: usize = 200;

#[derive(Default)]
struct Node {
    total: u64,
    callees: BTreeMap<String, Node>,
}

/// Stacks that have been joined.
#[derive(Default)]
pub(super) struct Flame(Node);

impl Flame {
    /// Adds a stack, outermost first.
    pub(super) fn add(&mut self, stack: impl Iterator<Item = String>, weight: u64) {
        let mut node = &mut self.0;
        node.total += weight;
        for name in stack.take(DEPTH_MAX) {
            node = node.callees.entry(name).or_default();
            node.total += weight;
        }
    }

    /// The picture.
    pub(super) fn svg(&self, title: &str) -> String {
        let all = self.0.total;
        let mut bars = String::new();
        let mut deepest = 0;
        let mut next = vec![("all", &self.0, 0.0, 0)];
        while let Some((name, node, left, depth)) = next.pop() {
            let width = share(node.total, all) * WIDTH;
            if width < WIDTH_MIN {
                continue;
            }
            deepest = deepest.max(depth);
            draw(&mut bars, name, (node.total, all), (left, width, depth));
            let mut left = left;
            for (name, callee) in &node.callees {
                next.push((name, callee, left, depth + 1));
                left += share(callee.total, all) * WIDTH;
            }
        }
        let height = TOP + (deepest + 1) * ROW;
        let title = escape(&format!("{title}: {all} samples"));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             font-family=\"monospace\" font-size=\"11\"><text x=\"4\" y=\"18\">{title}</text>\n{bars}</svg>\n"
        )
    }
}

fn share(part: u64, all: u64) -> f64 {
    part as f64 / all.max(1) as f64
}

/// One bar.
fn draw(
    out: &mut String,
    name: &str,
    (part, all): (u64, u64),
    (left, width, depth): (f64, f64, usize),
) {
    let top = TOP + depth * ROW;
    let percent = share(part, all) * 100.0;
    // The same colour for the same name, between yellow and red.
    let hue = name.bytes().fold(0u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    }) % 55;
    let fits = (width / CHARACTER) as usize;
    let shown: String = match fits {
        0..3 => String::new(),
        fits => name.chars().take(fits).collect(),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "<g><title>{} ({part}, {percent:.1} %)</title><rect x=\"{left:.1}\" y=\"{top}\" width=\"{width:.1}\" \
         height=\"{}\" fill=\"hsl({hue},80%,65%)\"/><text x=\"{:.1}\" y=\"{}\">{}</text></g>",
        escape(name),
        ROW - 1,
        left + 2.0,
        top + ROW - 4,
        escape(&shown),
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_wide_as_their_share() {
        let mut flame = Flame::default();
        let stack = |names: &str| {
            let names: Vec<_> = names.split(' ').map(str::to_owned).collect();
            names.into_iter()
        };
        flame.add(stack("main run<u8> read"), 3);
        flame.add(stack("main write"), 1);
        flame.add(stack("main seldom"), 0);
        let svg = flame.svg("a & b");
        for expected in [
            "a &amp; b: 4 samples",
            "<title>main (4, 100.0 %)</title><rect x=\"0.0\" y=\"46\" width=\"1200.0\"",
            "<title>run&lt;u8&gt; (3, 75.0 %)</title><rect x=\"0.0\" y=\"62\" width=\"900.0\"",
            "<title>read (3, 75.0 %)</title><rect x=\"0.0\" y=\"78\" width=\"900.0\"",
            "<title>write (1, 25.0 %)</title><rect x=\"900.0\" y=\"62\" width=\"300.0\"",
        ] {
            assert!(svg.contains(expected), "{expected}\n{svg}");
        }
        assert!(!svg.contains("seldom"), "{svg}");
        assert!(Flame::default().svg("nothing").contains("0 samples"));
    }
}
