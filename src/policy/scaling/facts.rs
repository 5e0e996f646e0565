//! What was measured of one pool.

/// One thing to be measured.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading<T> {
    /// What it is.
    Value(T),
    /// Its source fails: nothing is known, so the pool does not shrink.
    Missing,
    /// There is nothing to measure, such as the memory of a pool whose handlers are requests to others.
    /// The signal is left out and keeps nothing from happening.
    NoSource,
}

/// What was measured of one pool at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// CPU of each worker's work as a share of `cpu_request`; `None` for a worker without a sample, such as
    /// one that has just started.
    pub cpu: Reading<Vec<Option<f64>>>,
    /// Memory of each worker's work as a share of `memory_request_bytes`.
    pub memory: Reading<Vec<Option<f64>>>,
    /// This node's part of the jobs that could run now and wait for a worker. Jobs that a pause or a breaker
    /// holds are not among them: more workers cannot help them.
    pub waiting: Reading<f64>,
    /// Jobs of its queue that were refused for load, a second. The pool must see them, or load that is shed
    /// would never make it grow.
    pub shed_per_s: f64,
    /// Workers with a job, those that are leaving left out.
    pub busy: usize,
    /// Arrivals and run times, for "latency".
    pub flow: Reading<Flow>,
    /// The machine.
    pub headroom: Headroom,
}

/// What arrives, and how long it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flow {
    /// Jobs a second that arrive for this node, refused ones left out.
    pub arrivals_per_s: f64,
    /// The mean run time of one, in seconds.
    pub run_s: f64,
}

/// What the machine has room for. A figure that is not known limits nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Headroom {
    /// Cores that the service may use.
    pub cores: Option<f64>,
    /// The share of them in use, 0 to 1.
    pub cpu_pressure: Option<f64>,
    /// The share of the service's memory in use, 0 to 1.
    pub memory_pressure: Option<f64>,
    /// Cores that one worker of the pool uses.
    pub cpu_per_worker: Option<f64>,
    /// Memory that the service may use, in bytes.
    pub memory_limit_bytes: Option<f64>,
    /// Memory in use by everything but the pool's work, in bytes.
    pub memory_base_bytes: f64,
    /// Memory of one worker's work, in bytes: the 95th percentile.
    pub memory_per_worker_bytes: Option<f64>,
}
