//! Measurements as pictures.
//!
//! *Place*: the suite of `yadkv bench` writes them beside its table.
//!
//! *Next stop*: [`crate::targets`].

use plotters::prelude::*;
use plotters::style::FontStyle;
use std::path::Path;

const SIZE: (u32, u32) = (800, 480);
const TITLE: (&str, u32) = ("sans-serif", 20);
const MARGIN: u32 = 16;
const LABELS_X: u32 = 40;
const LABELS_Y: u32 = 70;

/// One curve.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it shows.
    pub name: String,
    /// Its points, in the order of x.
    pub points: Vec<(f64, f64)>,
}

/// A picture that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct PlotError {
    path: String,
    reason: String,
}

/// Axes of a picture: what they show, and the names of places on x if they are not numbers.
#[derive(Clone, Copy, Debug)]
pub struct Axes<'a> {
    /// Above the picture.
    pub title: &'a str,
    /// Along x, on a logarithmic scale, or the names of x = 0, 1, …
    pub x: X<'a>,
    /// Along y, on a logarithmic scale.
    pub y: &'a str,
}

/// What is along x.
#[derive(Clone, Copy, Debug)]
pub enum X<'a> {
    /// Numbers, on a logarithmic scale.
    Log(&'a str),
    /// Places 0, 1, … with names.
    Names(&'a [&'a str]),
}

/// Writes a picture as SVG. Without a point there is none.
pub fn lines(path: &Path, axes: Axes<'_>, lines: &[Line]) -> Result<(), PlotError> {
    draw(path, axes, lines).map_err(|error| PlotError {
        path: path.display().to_string(),
        reason: error.to_string(),
    })
}

fn draw(path: &Path, axes: Axes<'_>, lines: &[Line]) -> Result<(), Box<dyn std::error::Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let Some(&first) = points().next() else {
        return Ok(());
    };
    let (mut least, mut most) = (first, first);
    for (x, y) in points() {
        least = (least.0.min(*x), least.1.min(*y));
        most = (most.0.max(*x), most.1.max(*y));
    }
    // Nothing is below a microsecond or one operation.
    let y = (least.1.max(1.0) / 2.0..most.1.max(2.0) * 2.0).log_scale();
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root);
    chart
        .caption(axes.title, TITLE)
        .margin(MARGIN)
        .x_label_area_size(LABELS_X)
        .y_label_area_size(LABELS_Y);
    let number = |value: &f64| format!("{value:.0}");
    match axes.x {
        X::Log(name) => {
            let x = (least.0.max(1.0)..most.0.max(2.0)).log_scale();
            let mut chart = chart.build_cartesian_2d(x, y)?;
            let mut mesh = chart.configure_mesh();
            mesh.x_desc(name).y_desc(axes.y);
            mesh.x_label_formatter(&number).y_label_formatter(&number);
            mesh.draw()?;
            series(&mut chart, lines)?;
        }
        X::Names(names) => {
            let x = 0.0..(names.len().max(2) - 1) as f64;
            let mut chart = chart.build_cartesian_2d(x, y)?;
            let name = |at: &f64| {
                names
                    .get(*at as usize)
                    .copied()
                    .unwrap_or_default()
                    .to_owned()
            };
            let mut mesh = chart.configure_mesh();
            mesh.y_desc(axes.y).x_labels(names.len());
            mesh.x_label_formatter(&name).y_label_formatter(&number);
            mesh.draw()?;
            series(&mut chart, lines)?;
        }
    }
    root.present()?;
    Ok(())
}

fn series<'a, X, Y>(
    chart: &mut ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    lines: &[Line],
) -> Result<(), Box<dyn std::error::Error>>
where
    X: Ranged<ValueType = f64>,
    Y: Ranged<ValueType = f64>,
{
    for (number, line) in lines.iter().enumerate() {
        let style = Palette99::pick(number).stroke_width(2);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style))
            .map_err(|error| error.to_string())?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .label_font(("sans-serif", 12, FontStyle::Normal))
        .draw()
        .map_err(|error| error.to_string())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_names_its_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let line = |name: &str, factor: f64| Line {
            name: name.into(),
            points: vec![(1.0, factor), (16.0, 8.0 * factor), (256.0, 30.0 * factor)],
        };
        for (file, x) in [("log", X::Log("clients")), ("names", X::Names(&["a", "b"]))] {
            let path = folder.path().join(file);
            let axes = Axes {
                title: "throughput",
                x,
                y: "operations a second",
            };
            lines(&path, axes, &[line("one", 10.0), line("other", 1000.0)]).expect("drawn");
            let text = std::fs::read_to_string(&path).expect("an image");
            assert!(
                ["throughput", "one", "other"]
                    .iter()
                    .all(|word| text.contains(word))
            );
        }
        lines(
            &folder.path().join("none"),
            Axes {
                title: "",
                x: X::Log(""),
                y: "",
            },
            &[],
        )
        .expect("nothing to draw");
    }
}
