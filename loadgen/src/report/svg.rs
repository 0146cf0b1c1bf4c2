//! Plots as SVG: axes, grid and lines. Colours and dashes are classes of the page's style, so that a plot suits a light
//! and a dark page, and lines are told apart without colours.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 36.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;
/// Names of lines stand above the plot, each with so much room.
const NAME_WIDTH: f64 = 136.0;

/// A plot.
pub(super) struct Plot {
    /// Unique in the page.
    pub id: &'static str,
    pub title: &'static str,
    /// What it shows, for who cannot see it.
    pub description: String,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
    /// Up to there on the x axis, nothing counts.
    pub shaded_to: f64,
}

/// A line through points; where there is no y there is a gap.
pub(super) struct Line {
    pub name: String,
    /// Class of its colour, from 0 to 4.
    pub color: usize,
    /// Class of its dashes, from 0 to 3.
    pub dash: usize,
    pub points: Vec<(f64, Option<f64>)>,
}

pub(super) struct Axis {
    pub label: &'static str,
    is_log: bool,
    from: f64,
    to: f64,
    /// Where there are grid lines, and what is written there.
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to more than `max`, with a tick at each round step.
    pub fn linear(label: &'static str, max: f64, text: fn(f64) -> String) -> Self {
        let max = if max > 0.0 { max * 1.02 } else { 1.0 };
        let step = round_step(max / 5.0, &[1.0, 2.0, 2.5, 5.0, 10.0]);
        let count = (max / step - 1e-9).ceil();
        Self {
            label,
            is_log: false,
            from: 0.0,
            to: count * step,
            ticks: (0..=count as u32)
                .map(|at| (f64::from(at) * step, text(f64::from(at) * step)))
                .collect(),
        }
    }

    /// From 0 to `seconds`, with ticks where a clock has them.
    pub fn time(label: &'static str, seconds: f64) -> Self {
        const STEPS: [f64; 13] = [
            1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0,
        ];
        let seconds = seconds.max(1.0);
        let step = STEPS.into_iter().find(|step| seconds / step <= 10.0);
        let step = step.unwrap_or((seconds / 36_000.0).ceil() * 3600.0);
        Self {
            label,
            is_log: false,
            from: 0.0,
            to: seconds,
            ticks: (0..=(seconds / step) as u64)
                .map(|at| {
                    (
                        at as f64 * step,
                        super::format::clock((at as f64 * step) as u64),
                    )
                })
                .collect(),
        }
    }

    /// Logarithmic, from `min` to `max` or to the next round values, and over one decade at least. It has ticks at 1, 2
    /// and 5 of each decade, or at 1 only if there are many.
    pub fn log(label: &'static str, min: f64, max: f64, text: fn(f64) -> String) -> Self {
        let (min, max) = if max > 0.0 { (min, max) } else { (1.0, 10.0) };
        let decades = min.log10().floor() as i32 - 1..=max.log10().ceil() as i32;
        let all = || {
            let decades = decades.clone();
            decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|part| part * 10_f64.powi(decade)))
        };
        // Tolerates what powers of ten lose.
        let from = all().rfind(|&at| at <= min * (1.0 + 1e-9)).unwrap_or(min);
        let to = all().find(|&at| at >= max * (1.0 - 1e-9) && at > from);
        let to = to.unwrap_or(max * 2.0);
        let from = from.min(to / 10.0);
        let has_room = (to / from).log10() <= 4.0;
        let is_shown = |at: f64| has_room || (at.log10() - at.log10().round()).abs() < 1e-6;
        Self {
            label,
            is_log: true,
            from,
            to,
            ticks: all()
                .filter(|at| (from * 0.999..=to * 1.001).contains(at) && is_shown(*at))
                .map(|at| (at, text(at)))
                .collect(),
        }
    }

    /// Logarithmic over 1/(1 - p), where each decade is one nine more; up to `max` of that.
    pub fn percentiles(label: &'static str, max: f64) -> Self {
        let max = max.max(10.0);
        let nines = max.log10().floor() as i32;
        let mut ticks = vec![(1.0, "0 %".to_owned())];
        if nines <= 6 {
            ticks.push((2.0, "50 %".to_owned()));
        }
        ticks.extend((1..=nines).map(|nines| {
            let at = 10_f64.powi(nines);
            (at, super::format::percentile(1.0 - 1.0 / at))
        }));
        Self {
            label,
            is_log: true,
            from: 1.0,
            to: max,
            ticks,
        }
    }

    /// How far along the axis a value is, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let part = match self.is_log {
            true => (value.max(self.from) / self.from).ln() / (self.to / self.from).ln(),
            false => (value - self.from) / (self.to - self.from),
        };
        part.clamp(0.0, 1.0)
    }
}

/// The lowest step of these, times a power of ten, that is not below `least`.
fn round_step(least: f64, steps: &[f64]) -> f64 {
    let decade = 10_f64.powf(least.log10().floor());
    let step = steps.iter().map(|step| step * decade);
    step.into_iter()
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(decade * 10.0)
}

impl Plot {
    /// As an SVG element of an HTML page.
    pub fn svg(&self) -> String {
        let mut svg = String::new();
        let id = self.id;
        let _ = write!(
            svg,
            "<svg role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-labelledby=\"{id}-title {id}-desc\">\n\
             <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n",
            escape(self.title),
            escape(&self.description),
        );
        self.draw_shade(&mut svg);
        self.draw_axes(&mut svg);
        for (at, line) in self.lines.iter().enumerate() {
            self.draw_name(&mut svg, at, line);
            self.draw_line(&mut svg, line);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.part(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.part(value) * (HEIGHT - TOP - BOTTOM)
    }

    fn draw_shade(&self, svg: &mut String) {
        if self.shaded_to > 0.0 {
            let width = self.x(self.shaded_to) - LEFT;
            let height = HEIGHT - TOP - BOTTOM;
            let _ = write!(
                svg,
                "<rect class=\"shade\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\"/>\n\
                 <text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">warm-up</text>\n",
                LEFT + 4.0,
                TOP + 14.0,
            );
        }
    }

    fn draw_axes(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (at, text) in &self.y.ticks {
            let (y, x) = (self.y(*at), LEFT - 8.0);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/>\n\
                 <text x=\"{x}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
                y + 4.0,
                escape(text),
            );
        }
        for (at, text) in &self.x.ticks {
            let x = self.x(*at);
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/>\n\
                 <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
                bottom + 17.0,
                escape(text),
            );
        }
        let (middle_x, middle_y) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
        let _ = write!(
            svg,
            "<path class=\"frame\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>\n\
             <text x=\"{middle_x}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n\
             <text transform=\"translate(14 {middle_y}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
            HEIGHT - 10.0,
            escape(self.x.label),
            escape(self.y.label),
        );
    }

    fn draw_name(&self, svg: &mut String, at: usize, line: &Line) {
        const PER_ROW: usize = 4;
        let x = LEFT + (at % PER_ROW) as f64 * (NAME_WIDTH + 20.0);
        let y = 12.0 + (at / PER_ROW) as f64 * 16.0;
        let _ = write!(
            svg,
            "<path class=\"line c{} d{}\" d=\"M{x} {y}h28\"/>\n<text x=\"{}\" y=\"{}\">{}</text>\n",
            line.color,
            line.dash,
            x + 34.0,
            y + 4.0,
            escape(&line.name),
        );
    }

    fn draw_line(&self, svg: &mut String, line: &Line) {
        let mut path = String::new();
        let mut is_drawn = false;
        for &(x, y) in &line.points {
            if let Some(y) = y {
                let command = if is_drawn { 'L' } else { 'M' };
                let _ = write!(path, "{command}{:.1} {:.1}", self.x(x), self.y(y));
                if !is_drawn {
                    // A point without a neighbour becomes a dot.
                    path.push_str("h0");
                }
            }
            is_drawn = y.is_some();
        }
        if !path.is_empty() {
            let (color, dash) = (line.color, line.dash);
            let _ = writeln!(svg, "<path class=\"line c{color} d{dash}\" d=\"{path}\"/>");
        }
    }
}

/// Text as it may stand in a page, in attributes too.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}
