//! What a run has shown, for people and for programs.
//!
//! [`Figures`] are the plain numbers; the table, the JSON and the HTML page all come from them, so that they agree.
//! The log of histograms comes from the measurements themselves. While a run is going on, there is [`ProgressLine`].

mod figures;
mod format;
pub mod hlog;
mod host;
pub mod html;
pub mod json;
pub mod limit;
mod plots;
mod progress;
mod svg;
pub mod table;
mod workload;

#[cfg(test)]
mod tests;

pub use crate::measure::Progress;
pub use figures::{
    CurvePoint, Errors, Figures, FlowFigures, Groups, Lag, Latency, LatencySecond, Second,
    ThreadFigures,
};
pub use format::{rate, time};
pub use host::Host;
pub use progress::ProgressLine;
pub(crate) use workload::values as workload_values;
