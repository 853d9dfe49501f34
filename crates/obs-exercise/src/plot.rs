//! Line plots as inline SVG, for reports that load nothing. Colours are attributes or classes of
//! the page's own style sheet.

use std::fmt::Write as _;

use obs_types::html_escaped;

/// Where the drawing lies: width and height of the whole, and what is left free around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}

/// One line, its points in ascending x; a gap where y is not finite.
#[derive(Clone, Debug)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    /// Attributes that give the path its colour.
    pub(crate) look: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What is drawn. The ranges of both axes are not empty.
#[derive(Clone, Debug)]
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) frame: Frame,
    pub(crate) x: (f64, f64),
    pub(crate) y: (f64, f64),
    /// Places below the axis, how the text lies to them, the text.
    pub(crate) x_marks: Vec<(f64, &'static str, String)>,
    /// A grid line each.
    pub(crate) y_marks: Vec<(f64, String)>,
    /// Attributes of the grid's lines.
    pub(crate) grid: &'static str,
    /// Between two values of y, as far as they lie within.
    pub(crate) band: Option<(f64, f64)>,
    pub(crate) lines: Vec<Line<'a>>,
}

impl Plot<'_> {
    /// The element; `extra` is drawn into it, such as a legend.
    pub(crate) fn svg(&self, extra: &str) -> String {
        let f = self.frame;
        let (right, floor) = (f.width - f.right, f.height - f.bottom);
        let x = |v: f64| f.left + (v - self.x.0) / (self.x.1 - self.x.0) * (right - f.left);
        let y = |v: f64| f.top + (self.y.1 - v) / (self.y.1 - self.y.0) * (floor - f.top);
        let mut out = format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">",
            f.width,
            f.height,
            html_escaped(self.title)
        );
        // Writing to a string does not fail.
        if let Some((from, to)) = self.band {
            let (top, bottom) = (y(to.min(self.y.1)), y(from.max(self.y.0)));
            if bottom > top {
                let _written = write!(
                    out,
                    "<rect class=\"band\" x=\"{}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                    f.left,
                    right - f.left,
                    bottom - top
                );
            }
        }
        for (v, text) in &self.y_marks {
            let _written = write!(
                out,
                "<line {} x1=\"{}\" x2=\"{right:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                self.grid,
                f.left,
                f.left - 5.0,
                y(*v) + 3.5,
                html_escaped(text),
                at = y(*v),
            );
        }
        for (v, anchor, text) in &self.x_marks {
            let _written = write!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                x(*v),
                f.height - 5.0,
                html_escaped(text)
            );
        }
        out.push_str(extra);
        for line in &self.lines {
            let mut path = String::new();
            let mut pen_down = false;
            for (at, v) in &line.points {
                if !v.is_finite() {
                    pen_down = false;
                    continue;
                }
                let command = if pen_down { 'L' } else { 'M' };
                let _written = write!(path, "{command}{:.1} {:.1}", x(*at), y(*v));
                // A point alone between gaps is still one.
                if !pen_down {
                    path.push_str("h.1");
                }
                pen_down = true;
            }
            let _written = write!(
                out,
                "<path d=\"{path}\" {}><title>{}</title></path>",
                line.look,
                html_escaped(line.name)
            );
        }
        out.push_str("</svg>");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stop_at_gaps_and_names_are_text() {
        let plot = Plot {
            title: "a & b",
            frame: Frame {
                width: 120.0,
                height: 70.0,
                left: 10.0,
                right: 10.0,
                top: 10.0,
                bottom: 10.0,
            },
            x: (0.0, 10.0),
            y: (0.0, 1.0),
            x_marks: vec![(0.0, "start", "0 s".to_owned())],
            y_marks: vec![(1.0, "1".to_owned())],
            grid: "class=\"grid\"",
            band: Some((0.5, 2.0)),
            lines: vec![Line {
                name: "<p>",
                look: "class=\"c0\"".to_owned(),
                points: vec![(0.0, 0.0), (5.0, 1.0), (6.0, f64::NAN), (10.0, 0.5)],
            }],
        };
        assert_eq!(
            plot.svg("<g/>"),
            "<svg viewBox=\"0 0 120 70\" role=\"img\" aria-label=\"a &amp; b\">\
             <rect class=\"band\" x=\"10\" y=\"10.0\" width=\"100.0\" height=\"25.0\"/>\
             <line class=\"grid\" x1=\"10\" x2=\"110.0\" y1=\"10.0\" y2=\"10.0\"/>\
             <text x=\"5.0\" y=\"13.5\" text-anchor=\"end\">1</text>\
             <text x=\"10.0\" y=\"65.0\" text-anchor=\"start\">0 s</text><g/>\
             <path d=\"M10.0 60.0h.1L60.0 10.0M110.0 35.0h.1\" class=\"c0\">\
             <title>&lt;p&gt;</title></path></svg>"
        );
    }
}
