//! A worker process: it runs the cases of one target in sequence.
//!
//! A case fails if anything in the process panics, if it exceeds the processor time of the target, or if it makes the
//! process grow beyond a limit. Its input is saved, and the worker continues. If the process dies or hangs, its parent
//! has the input from the scratch file.

use std::{
    collections::HashMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    findings, panics,
    pool::{self, Pool, shape},
    random::Random,
    scratch::Scratch,
    targets::{self, Target},
};

/// The stack size of the thread that runs the cases: that of the engine's own threads.
const STACK_BYTES: usize = 2 << 20;
/// The limit for the growth of the process during one case, in KiB.
const MAX_GROWTH_KIB: u64 = 512 << 10;
/// The limit for the size of the process, in KiB.
const MAX_SIZE_KIB: u64 = 2 << 20;
/// A shorter case cannot have used much memory.
const QUICK: Duration = Duration::from_millis(3);
/// The number of kinds of findings after which a worker stops.
const MAX_KINDS: usize = 20;
/// The number of shorter inputs to try for a finding.
const MAX_SHORTER: usize = 400;
/// The time limit for the search for shorter inputs.
const MAX_SHORTENING: Duration = Duration::from_secs(10);

/// The cases that one worker runs.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// The name of the target.
    pub(crate) target: String,
    /// The campaign's seed.
    pub(crate) seed: u64,
    /// The number of the first case.
    pub(crate) from: u64,
    /// The number after the last case.
    pub(crate) until: u64,
    /// The time after which the worker stops, even if cases remain.
    pub(crate) time: Duration,
    /// The file for the progress.
    pub(crate) scratch: PathBuf,
}

/// Runs the cases on a separate thread.
pub(crate) fn run(order: Order) -> Result<()> {
    panics::record();
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let worker = thread.spawn(move || Worker::new(order)?.work())?;
    worker
        .join()
        .unwrap_or_else(|_| anyhow::bail!("the worker panicked: {}", panics::take().join("\n")))
}

struct Worker {
    order: Order,
    target: Box<dyn Target>,
    pool: Pool,
    random: Random,
    scratch: Scratch,
    accepted: u64,
    /// The number of findings of each kind.
    kinds: HashMap<String, u64>,
    largest_kib: u64,
}

impl Worker {
    fn new(order: Order) -> Result<Self> {
        let target = targets::make(&order.target)?;
        let mut inputs = pool::committed(&order.target)?;
        inputs.extend(target.seeds()?);
        Ok(Self {
            pool: Pool::new(inputs),
            random: Random::new(order.seed, order.from),
            scratch: Scratch::create(&order.scratch)?,
            accepted: 0,
            kinds: HashMap::new(),
            largest_kib: largest_kib(),
            target,
            order,
        })
    }

    fn work(mut self) -> Result<()> {
        let begun = Instant::now();
        for case in self.order.from..self.order.until {
            if begun.elapsed() >= self.order.time || self.kinds.len() >= MAX_KINDS {
                break;
            }
            let index = usize::try_from(case).unwrap_or(usize::MAX);
            let input = match self.pool.first().get(index) {
                Some(input) => input.clone(),
                None => self.target.mutate(&mut self.random, &self.pool),
            };
            self.case(case, &input)?;
        }
        // The parent reads the numbers from the scratch file.
        let learnt = (self.pool.len() - self.pool.first().len()) as u64;
        println!("accepted {} learnt {learnt}", self.accepted);
        for (kind, times) in &self.kinds {
            println!("times {times} {kind}");
        }
        Ok(())
    }

    fn case(&mut self, case: u64, input: &[u8]) -> Result<()> {
        let learnt = (self.pool.len() - self.pool.first().len()) as u64;
        self.scratch.note(case, self.accepted, learnt, input)?;
        let before = cpu_time();
        let verdict = catch_unwind(AssertUnwindSafe(|| self.target.run(input))).ok();
        let took = cpu_time().saturating_sub(before);
        let problem = self.problem(case, took);
        match (problem, verdict) {
            (None, Some(verdict)) => {
                self.accepted += u64::from(verdict.accepted);
                self.pool.learn(input, &verdict.answer);
            }
            (problem, _) => self.found(input, &problem.unwrap_or_default())?,
        }
        Ok(())
    }

    /// The problem after a case, if any.
    fn problem(&mut self, case: u64, took: Duration) -> Option<String> {
        let seen = panics::take();
        if !seen.is_empty() {
            return Some(seen.join("\n"));
        }
        let budget = self.target.budget();
        if took > budget {
            return Some(format!(
                "it took {took:?} of processor time, more than {budget:?}"
            ));
        }
        if took < QUICK && !case.is_multiple_of(64) {
            return None;
        }
        let before = std::mem::replace(&mut self.largest_kib, largest_kib());
        // The count of the operating system is not exact.
        let grown = self.largest_kib.saturating_sub(before);
        if grown > MAX_GROWTH_KIB {
            return Some(format!("it made the process grow by {grown} KiB"));
        }
        (before <= MAX_SIZE_KIB && self.largest_kib > MAX_SIZE_KIB)
            .then(|| format!("the process has become larger than {MAX_SIZE_KIB} KiB"))
    }

    /// Saves the input of a new kind of finding.
    fn found(&mut self, input: &[u8], problem: &str) -> Result<()> {
        let times = self.kinds.entry(shape(problem)).or_default();
        *times += 1;
        let is_new = *times == 1;
        // The state of the target after the case is unusable.
        self.target = targets::make(&self.order.target)?;
        if !is_new {
            return Ok(());
        }
        let input = self.shorten(input.to_vec(), problem)?;
        let path = findings::save(&self.order.target, &input, problem)?;
        println!("finding {} {}", path.display(), findings::first_line(problem));
        Ok(())
    }

    /// Searches for a shorter input with the same problem.
    fn shorten(&mut self, mut input: Vec<u8>, problem: &str) -> Result<Vec<u8>> {
        let kind = shape(problem);
        let (begun, mut tries) = (Instant::now(), 0);
        let mut len = input.len() / 2;
        while len > 0 {
            let mut at = 0;
            while at < input.len() {
                tries += 1;
                if tries > MAX_SHORTER || begun.elapsed() > MAX_SHORTENING {
                    return Ok(input);
                }
                let mut shorten = input.clone();
                shorten.drain(at..(at + len).min(input.len()));
                let failed = catch_unwind(AssertUnwindSafe(|| self.target.run(&shorten))).is_err();
                let seen = panics::take();
                if failed || !seen.is_empty() {
                    self.target = targets::make(&self.order.target)?;
                }
                if !seen.is_empty() && shape(&seen.join("\n")) == kind {
                    input = shorten;
                } else {
                    at += len;
                }
            }
            len /= 2;
        }
        Ok(input)
    }
}

/// The processor time of this process. Other programs do not affect it, unlike wall-clock time.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("a process's time is not negative")
}

/// The peak size of this process in KiB, or 0 if unknown.
fn largest_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
