//! One picture per algorithm, and the numbers that the text beside it tells.
//!
//! All coordinates are whole pixels, so a picture is the same wherever it is drawn.

use std::fmt::Write;

use fluxlimit::algorithm::step;
use fluxlimit::limit::{Algorithm, Limit, LimitSpec, Unit};
use fluxlimit::time::Timestamp;

/// Hits per period of every limit that is drawn.
const COUNT: u32 = 10;
const PERIOD_S: u64 = 10;
const PERIOD_MS: u64 = PERIOD_S * 1000;

/// How much time a picture shows.
const SHOWN_S: u64 = 40;

/// Requests are drawn as one bar per half second.
const BAR_MS: u64 = 500;

const WIDTH: u64 = 800;
const HEIGHT: u64 = 372;
const LEFT: u64 = 48;
const PIXELS_PER_S: u64 = 18;
const RIGHT: u64 = LEFT + SHOWN_S * PIXELS_PER_S;

/// Where the bars stand, and how high one request is.
const BARS_BOTTOM: u64 = 184;
const BARS_TOP: u64 = 88;
const PIXELS_PER_REQUEST: u64 = 12;

/// Where the line stands, and how high one admitted request is.
const LINE_BOTTOM: u64 = 332;
const LINE_TOP: u64 = 232;
const PIXELS_PER_ADMITTED: u64 = 5;

const STYLE: &str =
    "text { font: 13px system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #334155 }
  .title { font-size: 17px; font-weight: 600; fill: #0f172a }
  .small { font-size: 12px; fill: #64748b }
  .grid { stroke: #e2e8f0 }
  .axis { stroke: #94a3b8 }
  .admitted { fill: #2563eb }
  .refused { fill: #fca5a5 }
  .area { fill: #dbeafe }
  .over { fill: #f97316; fill-opacity: .45 }
  .line { fill: none; stroke: #1d4ed8; stroke-width: 2 }
  .limit { stroke: #b91c1c; stroke-dasharray: 5 4 }
  .limit-name { font-size: 12px; fill: #b91c1c }";

/// What one algorithm made of the traffic; times in milliseconds from the left edge.
pub(crate) struct Plot {
    algorithm: Algorithm,
    admitted_ms: Vec<u64>,
    refused_ms: Vec<u64>,
}

/// How many requests were admitted in the period that ends at a time.
struct Level {
    from_ms: u64,
    admitted: u64,
}

/// The picture of each algorithm, in the order of the documentation.
pub(crate) fn plots() -> Vec<Plot> {
    Algorithm::ALL.into_iter().map(Plot::of).collect()
}

/// When requests come: two bursts on both sides of the tenth second, two a second for ten seconds, then a
/// burst after a pause.
fn traffic_ms() -> Vec<u64> {
    let burst = |start_ms: u64| (0..16).map(move |number| start_ms + number * 63);
    let mut times: Vec<u64> = burst(8_500).chain(burst(11_000)).collect();
    times.extend((0..20).map(|number| 16_000 + number * 500));
    times.extend(burst(33_000));
    times
}

fn limit(algorithm: Algorithm) -> Limit {
    let unit_multiplier = u32::try_from(PERIOD_S).expect("ten");
    let spec = LimitSpec { unit_multiplier, ..LimitSpec::new(algorithm, COUNT, Unit::Second) };
    Limit::new(spec).expect("these numbers make sense")
}

impl Plot {
    fn of(algorithm: Algorithm) -> Self {
        let limit = limit(algorithm);
        let (mut admitted_ms, mut refused_ms, mut stored) = (Vec::new(), Vec::new(), None);
        for at_ms in traffic_ms() {
            // Windows of ten seconds begin at the epoch, so the left edge is the start of one.
            let (verdict, next) = step(&limit, stored.as_ref(), Timestamp::from_ms(at_ms), 1);
            stored = next.or(stored);
            if verdict.allowed { &mut admitted_ms } else { &mut refused_ms }.push(at_ms);
        }
        Self { algorithm, admitted_ms, refused_ms }
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{}.svg", self.algorithm.name())
    }

    /// The row of this algorithm in the table of the documentation.
    pub(crate) fn row(&self) -> String {
        let (name, admitted, all) = (self.algorithm.name(), self.admitted_ms.len(), self.all());
        let (first, most) = (self.between(8_000, 10_000), self.most_in_a_period());
        let (second, last) = (self.between(11_000, 12_000), self.between(33_000, 34_000));
        format!("| `{name}` | {first} of 16 | {second} of 16 | {last} of 16 | {admitted} of {all} | {most} |")
    }

    fn all(&self) -> usize {
        self.admitted_ms.len() + self.refused_ms.len()
    }

    fn between(&self, from_ms: u64, to_ms: u64) -> usize {
        self.admitted_ms.iter().filter(|at_ms| (from_ms..to_ms).contains(at_ms)).count()
    }

    /// How the number of requests admitted in the last period changes.
    fn levels(&self) -> Vec<Level> {
        let ends = self.admitted_ms.iter().map(|at_ms| at_ms + PERIOD_MS);
        let mut changes: Vec<u64> = self.admitted_ms.iter().copied().chain(ends).collect();
        changes.sort_unstable();
        changes.dedup();
        changes.retain(|at_ms| *at_ms < SHOWN_S * 1000);
        let level = |at_ms: u64| {
            let is_in = |admitted_ms: &&u64| **admitted_ms <= at_ms && **admitted_ms + PERIOD_MS > at_ms;
            self.admitted_ms.iter().filter(is_in).count() as u64
        };
        changes.into_iter().map(|from_ms| Level { from_ms, admitted: level(from_ms) }).collect()
    }

    fn most_in_a_period(&self) -> u64 {
        self.levels().iter().map(|level| level.admitted).max().unwrap_or_default()
    }

    pub(crate) fn svg(&self) -> String {
        let mut svg = String::new();
        let mut put = |text: &str| writeln!(svg, "{text}").expect("writing to a string cannot fail");
        put(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" role=\"img\">"
        ));
        put(&format!("<title>{}: {}</title>", self.algorithm.name(), self.summary()));
        put(&format!("<style>\n  {STYLE}\n</style>"));
        put(&format!("<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\" fill=\"#ffffff\"/>"));
        put(&self.head());
        put(&grid());
        put(&self.bars());
        put(&self.line());
        put("</svg>");
        svg
    }

    fn summary(&self) -> String {
        let (admitted, all) = (self.admitted_ms.len(), self.all());
        format!(
            "{admitted} of {all} requests admitted, at most {} in any {PERIOD_S} seconds",
            self.most_in_a_period()
        )
    }

    fn head(&self) -> String {
        let burst = if self.algorithm.is_bucket() {
            format!(", burst {}", limit(self.algorithm).capacity())
        } else {
            String::new()
        };
        let name = self.algorithm.name();
        let legend = RIGHT - 150;
        format!(
            "<text class=\"title\" x=\"{LEFT}\" y=\"32\">{name}: {COUNT} per {PERIOD_S} seconds{burst}</text>\n\
             <text x=\"{LEFT}\" y=\"52\">{}</text>\n\
             <text class=\"small\" x=\"{LEFT}\" y=\"{}\">requests in each half second</text>\n\
             <text class=\"small\" x=\"{LEFT}\" y=\"{}\">admitted in the last {PERIOD_S} seconds</text>\n\
             <rect class=\"admitted\" x=\"{legend}\" y=\"22\" width=\"11\" height=\"11\" rx=\"2\"/>\
             <text x=\"{}\" y=\"32\">admitted</text>\n\
             <rect class=\"refused\" x=\"{}\" y=\"22\" width=\"11\" height=\"11\" rx=\"2\"/>\
             <text x=\"{}\" y=\"32\">refused</text>",
            self.summary(),
            BARS_TOP - 8,
            LINE_TOP - 8,
            legend + 16,
            legend + 84,
            legend + 100,
        )
    }

    fn bars(&self) -> String {
        let mut bars = String::new();
        let in_bar = |times: &[u64], bar: u64| {
            times.iter().filter(|at_ms| **at_ms / BAR_MS == bar).count() as u64 * PIXELS_PER_REQUEST
        };
        let width = x(BAR_MS) - LEFT - 1;
        let mut put = |class: &str, bar: u64, bottom: u64, height: u64| {
            if height > 0 {
                let (left, top) = (x(bar * BAR_MS), bottom - height);
                writeln!(
                    bars,
                    "<rect class=\"{class}\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"/>"
                )
                .expect("writing to a string cannot fail");
            }
        };
        for bar in 0..SHOWN_S * 1000 / BAR_MS {
            let admitted = in_bar(&self.admitted_ms, bar);
            put("admitted", bar, BARS_BOTTOM, admitted);
            put("refused", bar, BARS_BOTTOM - admitted, in_bar(&self.refused_ms, bar));
        }
        bars.push_str(&axis(BARS_BOTTOM));
        bars
    }

    fn line(&self) -> String {
        let (mut line, mut over) = (format!("M{LEFT} {LINE_BOTTOM}"), String::new());
        let levels = self.levels();
        for (index, level) in levels.iter().enumerate() {
            let end_ms = levels.get(index + 1).map_or(SHOWN_S * 1000, |next| next.from_ms);
            let (from, to, top) = (x(level.from_ms), x(end_ms), line_y(level.admitted));
            write!(line, "H{from}V{top}").expect("writing to a string cannot fail");
            if level.admitted > u64::from(COUNT) && to > from {
                let (width, height) = (to - from, line_y(COUNT.into()) - top);
                writeln!(
                    over,
                    "<rect class=\"over\" x=\"{from}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"/>"
                )
                .expect("writing to a string cannot fail");
            }
        }
        write!(line, "H{RIGHT}").expect("writing to a string cannot fail");
        let limit = line_y(COUNT.into());
        format!(
            "<path class=\"area\" d=\"{line}V{LINE_BOTTOM}Z\"/>\n{over}\
             <path class=\"line\" d=\"{line}\"/>\n\
             <path class=\"limit\" d=\"M{LEFT} {limit}H{RIGHT}\"/>\n\
             <text class=\"limit-name\" x=\"{RIGHT}\" y=\"{}\" text-anchor=\"end\">the limit: {COUNT}</text>\n{}",
            limit - 5,
            axis(LINE_BOTTOM),
        )
    }
}

/// A line at every start of a fixed window, with its time.
fn grid() -> String {
    let mut grid = String::new();
    for at_s in (0..=SHOWN_S).step_by(usize::try_from(PERIOD_S).expect("ten")) {
        let (x, label) = (x(at_s * 1000), LINE_BOTTOM + 18);
        writeln!(
            grid,
            "<path class=\"grid\" d=\"M{x} {BARS_TOP}V{BARS_BOTTOM}M{x} {LINE_TOP}V{LINE_BOTTOM}\"/>\
             <text class=\"small\" x=\"{x}\" y=\"{label}\" text-anchor=\"middle\">{at_s} s</text>"
        )
        .expect("writing to a string cannot fail");
    }
    for admitted in [0, 10, 20] {
        let (x, y) = (LEFT - 8, line_y(admitted) + 4);
        writeln!(grid, "<text class=\"small\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{admitted}</text>")
            .expect("writing to a string cannot fail");
    }
    for requests in [0, 4, 8] {
        let (x, y) = (LEFT - 8, BARS_BOTTOM - requests * PIXELS_PER_REQUEST + 4);
        writeln!(grid, "<text class=\"small\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{requests}</text>")
            .expect("writing to a string cannot fail");
    }
    grid
}

fn axis(y: u64) -> String {
    format!("<path class=\"axis\" d=\"M{LEFT} {y}H{RIGHT}\"/>")
}

fn x(at_ms: u64) -> u64 {
    LEFT + at_ms * PIXELS_PER_S / 1000
}

fn line_y(admitted: u64) -> u64 {
    LINE_BOTTOM - admitted * PIXELS_PER_ADMITTED
}
