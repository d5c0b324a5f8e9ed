//! One process that tries the cases of one target, one after the other.
//!
//! A case fails where anything in the process panics, where it takes more processor time than the target's budget, or
//! where it makes the process grow by more than a limit. Its input is saved, and the worker goes on. Where the process
//! dies or hangs, its parent has the input from the scratch file.

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

/// The stack of the thread that tries the cases: that of the engine's own threads.
const STACK_BYTES: usize = 2 << 20;
/// How much one case may make the process grow, in KiB.
const MAX_GROWTH_KIB: u64 = 512 << 10;
/// How large the process may become, in KiB.
const MAX_SIZE_KIB: u64 = 2 << 20;
/// A case that took less than this cannot have touched much memory.
const QUICK: Duration = Duration::from_millis(3);
/// After so many kinds of findings a worker stops.
const MAX_KINDS: usize = 20;
/// How many shorter inputs are tried for a finding.
const MAX_SHORTER: usize = 400;
/// How long shorter inputs are looked for.
const MAX_SHORTENING: Duration = Duration::from_secs(10);

/// What a worker is to do.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// The name of the target.
    pub(crate) target: String,
    /// The campaign's seed.
    pub(crate) seed: u64,
    /// The number of the first case.
    pub(crate) from: u64,
    /// The number after that of the last case.
    pub(crate) until: u64,
    /// How long it may take.
    pub(crate) time: Duration,
    /// Where each case is noted.
    pub(crate) scratch: PathBuf,
}

/// Tries the cases on a thread of its own.
pub(crate) fn run(order: Order) -> Result<()> {
    panics::keep();
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
    /// How often each kind of finding was found.
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
        // The parent takes the numbers from the scratch file.
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

    /// What is wrong after a case, if anything is.
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
        // The system's count is not exact.
        let grown = self.largest_kib.saturating_sub(before);
        if grown > MAX_GROWTH_KIB {
            return Some(format!("it made the process grow by {grown} KiB"));
        }
        (before <= MAX_SIZE_KIB && self.largest_kib > MAX_SIZE_KIB)
            .then(|| format!("the process has become larger than {MAX_SIZE_KIB} KiB"))
    }

    /// Saves an input of a kind of finding that is new.
    fn found(&mut self, input: &[u8], problem: &str) -> Result<()> {
        let times = self.kinds.entry(shape(problem)).or_default();
        *times += 1;
        let is_new = *times == 1;
        // What the case left behind is of no use.
        self.target = targets::make(&self.order.target)?;
        if !is_new {
            return Ok(());
        }
        let input = self.shorter(input.to_vec(), problem)?;
        let path = findings::save(&self.order.target, &input, problem)?;
        println!("finding {} {}", path.display(), findings::first_line(problem));
        Ok(())
    }

    /// A shorter input with the same problem, where one is found soon.
    fn shorter(&mut self, mut input: Vec<u8>, problem: &str) -> Result<Vec<u8>> {
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
                let mut shorter = input.clone();
                shorter.drain(at..(at + len).min(input.len()));
                let failed = catch_unwind(AssertUnwindSafe(|| self.target.run(&shorter))).is_err();
                let seen = panics::take();
                if failed || !seen.is_empty() {
                    self.target = targets::make(&self.order.target)?;
                }
                if !seen.is_empty() && shape(&seen.join("\n")) == kind {
                    input = shorter;
                } else {
                    at += len;
                }
            }
            len /= 2;
        }
        Ok(input)
    }
}

/// The processor time of this process. Unlike the clock on the wall, it does not count what other programs take.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("a process's time is not negative")
}

/// How large this process was at most, in KiB; 0 where the system does not tell.
fn largest_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
