//! The picture of latency over load.
//!
//! Drawn as the other pictures of the documentation are: text, in whole pixels.

use crate::outcome::Curve;
use crate::plans::{OURS, YARDSTICK};
use crate::tables::whole;
use fluxlimit_load::report::Report;
use std::fmt::Write;

const WIDTH: f64 = 800.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 776.0;
const TOP: f64 = 84.0;
const BOTTOM: f64 = 364.0;

const STYLE: &str =
    "text { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #334155 }
  .title { font-size: 17px; font-weight: 600; fill: #0f172a }
  .small { font-size: 12px; fill: #64748b }
  .grid { stroke: #e2e8f0 }
  .axis { stroke: #94a3b8 }
  polyline { fill: none; stroke-width: 2 }
  .p50 { stroke-dasharray: 6 4 }";
/// Of the yardstick, of ours, of others.
const COLOURS: [&str; 5] = ["#64748b", "#1d4ed8", "#b45309", "#047857", "#a21caf"];

/// One line: how it is drawn, and its points.
struct Line {
    name: String,
    colour: &'static str,
    class: &'static str,
    points: Vec<(f64, f64)>,
}

/// What the axes reach to.
struct Axes {
    most_per_s: f64,
    /// Powers of ten of a microsecond.
    lowest: i32,
    highest: i32,
}

impl Axes {
    fn of(lines: &[Line]) -> Self {
        let points = || lines.iter().flat_map(|line| &line.points);
        let most_per_s = points().map(|point| point.0).fold(1.0, f64::max) * 1.05;
        let least_us = points().map(|point| point.1).fold(f64::MAX, f64::min).min(1e6);
        let most_us = points().map(|point| point.1).fold(1.0, f64::max);
        let lowest = least_us.max(1.0).log10().floor() as i32;
        Self { most_per_s, lowest, highest: (most_us.log10().ceil() as i32).max(lowest + 1) }
    }

    fn x(&self, per_s: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * per_s / self.most_per_s
    }

    fn y(&self, us: f64) -> f64 {
        let powers = f64::from(self.highest - self.lowest);
        BOTTOM - (BOTTOM - TOP) * (us.max(1.0).log10() - f64::from(self.lowest)) / powers
    }

    /// A round distance between the marks of the load, so that there are five to ten.
    fn step_per_s(&self) -> f64 {
        let power = 10_f64.powf((self.most_per_s / 5.0).log10().floor());
        let fits = |step: &f64| self.most_per_s / (step * power) <= 10.0;
        [1.0, 2.0, 5.0].into_iter().find(fits).unwrap_or(10.0) * power
    }
}

/// The picture of these curves.
pub(crate) fn svg(curves: &[Curve]) -> String {
    let lines: Vec<Line> = curves.iter().enumerate().flat_map(|(index, curve)| lines(index, curve)).collect();
    let axes = Axes::of(&lines);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {HEIGHT:.0}\" role=\"img\" aria-label=\"Latency over offered load\">\n\
         <style>\n  {STYLE}\n</style>\n<rect width=\"{WIDTH:.0}\" height=\"{HEIGHT:.0}\" fill=\"#fff\"/>\n\
         <text class=\"title\" x=\"{LEFT:.0}\" y=\"28\">Latency over offered load</text>\n",
    );
    grid(&mut svg, &axes);
    for (index, line) in lines.iter().enumerate() {
        draw(&mut svg, &axes, line);
        legend(&mut svg, index, line);
    }
    svg.push_str("</svg>\n");
    svg
}

fn lines(index: usize, curve: &Curve) -> [Line; 2] {
    let colour = match curve.name.as_str() {
        YARDSTICK => COLOURS[0],
        OURS => COLOURS[1],
        _ => COLOURS[2 + index % (COLOURS.len() - 2)],
    };
    let line = |class: &'static str, figure: fn(&Report) -> f64| Line {
        name: format!("{} {class}", curve.name),
        colour,
        class,
        points: curve.points.iter().map(|(offered, report)| (*offered, figure(report))).collect(),
    };
    [line("p50", |report| report.p50_us), line("p99", |report| report.p99_us)]
}

fn grid(svg: &mut String, axes: &Axes) {
    for power in axes.lowest..=axes.highest {
        let us = 10_f64.powi(power);
        let (y, label) =
            (axes.y(us), if us < 1e3 { format!("{us:.0} µs") } else { format!("{} ms", whole(us / 1e3)) });
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT:.0} {y:.0}H{RIGHT:.0}\"/><text class=\"small\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{label}</text>",
            LEFT - 8.0,
            y + 4.0,
        );
    }
    let step = axes.step_per_s();
    let mut per_s = 0.0;
    while per_s <= axes.most_per_s {
        let x = axes.x(per_s);
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{x:.0} {TOP:.0}V{BOTTOM:.0}\"/><text class=\"small\" x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            BOTTOM + 18.0,
            whole(per_s),
        );
        per_s += step;
    }
    let _ = writeln!(
        svg,
        "<path class=\"axis\" fill=\"none\" d=\"M{LEFT:.0} {TOP:.0}V{BOTTOM:.0}H{RIGHT:.0}\"/>\n\
         <text class=\"small\" x=\"{RIGHT:.0}\" y=\"{:.0}\" text-anchor=\"end\">requests a second, offered</text>",
        BOTTOM + 38.0,
    );
}

fn draw(svg: &mut String, axes: &Axes, line: &Line) {
    let points: Vec<String> =
        line.points.iter().map(|(per_s, us)| format!("{:.0},{:.0}", axes.x(*per_s), axes.y(*us))).collect();
    let _ = writeln!(
        svg,
        "<polyline class=\"{}\" stroke=\"{}\" points=\"{}\"/>",
        line.class,
        line.colour,
        points.join(" "),
    );
}

fn legend(svg: &mut String, index: usize, line: &Line) {
    let x = LEFT + (index / 2) as f64 * 180.0;
    let y = 48.0 + (index % 2) as f64 * 18.0;
    let _ = writeln!(
        svg,
        "<polyline class=\"{}\" stroke=\"{}\" points=\"{x:.0},{:.0} {:.0},{:.0}\"/><text x=\"{:.0}\" y=\"{y:.0}\">{}</text>",
        line.class,
        line.colour,
        y - 4.0,
        x + 32.0,
        y - 4.0,
        x + 40.0,
        escaped(&line.name),
    );
}

/// A name that somebody gave on the command line, as text of XML.
fn escaped(name: &str) -> String {
    name.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str, points: &[(f64, f64)]) -> Curve {
        let report = |us: f64| Report { p50_us: us, p99_us: us * 4.0, ..Report::default() };
        Curve {
            name: name.to_owned(),
            points: points.iter().map(|(per_s, us)| (*per_s, report(*us))).collect(),
        }
    }

    #[test]
    fn each_server_has_two_lines_inside_the_picture() {
        let curves = [
            curve(YARDSTICK, &[(30_000.0, 60.0), (270_000.0, 400.0)]),
            curve(OURS, &[(30_000.0, 70.0), (210_000.0, 900.0)]),
            curve("a<b", &[(30_000.0, 300.0)]),
        ];
        let svg = svg(&curves);
        assert_eq!(svg.matches("<polyline").count(), 12, "a line and its legend, twice for each");
        assert!(svg.contains("a&lt;b p99") && svg.contains(">100,000<") && svg.contains(">1 ms<"), "{svg}");
        for points in svg.split("points=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            for point in points.split(' ') {
                let (x, y) = point.split_once(',').expect("two numbers");
                let (x, y): (f64, f64) = (x.parse().expect("a number"), y.parse().expect("a number"));
                assert!((LEFT..=RIGHT).contains(&x) && (40.0..=BOTTOM).contains(&y), "{point}");
            }
        }
    }

    #[test]
    fn a_picture_of_nothing_is_a_picture() {
        assert!(svg(&[curve(OURS, &[])]).ends_with("</svg>\n"));
    }
}
