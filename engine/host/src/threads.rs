//! Pools of threads for work that may block.
//!
//! A thread that waits for a file system cannot be stopped. If its call ends first, the thread stays busy until the
//! system answers, and counts as *stuck*. The number of threads is limited for each plugin and for all plugins
//! together, so a plugin whose file system stalls holds only its own quota. Work waits for a free thread while a
//! thread of the pool may still become free, and fails at once if all of them are stuck.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
};

use crate::lock::lock;

/// How long an idle thread is kept.
const KEEP_IDLE: Duration = Duration::from_secs(10);

/// A pool of threads for one kind of work.
pub(crate) struct Threads {
    /// The kind of work in messages, such as `files`.
    work: &'static str,
    /// The name of the limit in the documentation.
    limit: &'static str,
    max_per_plugin: usize,
    all: Arc<ThreadQuota>,
    /// The plugins with active work.
    plugins: Mutex<HashMap<Arc<str>, Weak<ThreadQuota>>>,
    /// A runtime without tasks: only its blocking threads are used.
    runtime: Option<Runtime>,
}

/// Why work was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ThreadError {
    /// All threads that the plugin, or all plugins together, may have are stuck.
    #[error(
        "all {most} threads for {work} that {who} may have are stuck in work of calls that have ended ({limit}): \
         calls can use them again when the file system, or whatever they wait for, answers"
    )]
    Stuck {
        most: usize,
        work: &'static str,
        who: String,
        limit: String,
    },
    /// The work panicked, so there is no result.
    #[error("the work on a thread for {work} panicked")]
    Panicked { work: &'static str },
}

/// Work that no call waits for.
type DeferredWork = Box<dyn FnOnce() + Send>;

/// The threads that one plugin, or all plugins together, may have.
struct ThreadQuota {
    most: usize,
    free: Arc<Semaphore>,
    /// How many threads are stuck.
    stuck: watch::Sender<usize>,
    /// Work for the next thread that becomes free.
    deferred: Mutex<Vec<DeferredWork>>,
}

impl ThreadQuota {
    fn of(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            free: Arc::new(Semaphore::new(most)),
            stuck: watch::Sender::new(0),
            deferred: Mutex::default(),
        })
    }

    /// Runs the deferred work on a thread of the plugin.
    fn run_deferred(&self) {
        loop {
            let next = lock(&self.deferred).pop();
            match next {
                Some(work) => work(),
                None => return,
            }
        }
    }

    /// Waits for a free thread. Returns none if all threads are stuck.
    async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        let mut stuck = self.stuck.subscribe();
        tokio::select! {
            // A free thread has precedence.
            biased;
            free = self.free.clone().acquire_owned() => free.ok(),
            _ = stuck.wait_for(|stuck| *stuck >= self.most) => None,
        }
    }
}

/// Active work, and the quotas that its thread counts against.
struct Job {
    work: &'static str,
    /// The quota of its plugin, and that of all plugins.
    quotas: [Arc<ThreadQuota>; 2],
    phase: Mutex<Phase>,
    _free: [OwnedSemaphorePermit; 2],
}

/// The state of a job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A call waits for the job.
    Awaited,
    /// The call has ended, and the job has not.
    Stuck,
    Over,
}

impl Job {
    fn count(&self, stuck: bool) {
        for quota in &self.quotas {
            quota.stuck.send_modify(|count| match stuck {
                true => *count += 1,
                false => *count -= 1,
            });
        }
        if !stuck && *self.quotas[1].stuck.borrow() == 0 {
            tracing::info!("no thread for {} is stuck any more", self.work);
        }
    }
}

/// Ends the job and frees its thread on drop, even if the work panics.
struct RunningJob(Arc<Job>);

impl RunningJob {
    /// Ends the job: its thread is not stuck any more, even if it continues with deferred work.
    fn end(&self) {
        let mut phase = lock(&self.0.phase);
        if std::mem::replace(&mut *phase, Phase::Over) == Phase::Stuck {
            self.0.count(false);
        }
    }
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        self.end();
    }
}

/// Dropped when the call ends. If the job has not ended, its thread is stuck from here on.
struct JobWaiter<'a>(Weak<Job>, &'a Threads, &'a str);

impl Drop for JobWaiter<'_> {
    fn drop(&mut self) {
        let Some(work) = self.0.upgrade() else { return };
        let mut phase = lock(&work.phase);
        if *phase != Phase::Awaited {
            return;
        }
        *phase = Phase::Stuck;
        work.count(true);
        let Threads { work: what, all, .. } = self.1;
        tracing::warn!(
            "a call of plugin {} ended before its work on a thread: {} of {} threads for {what} are stuck",
            self.2,
            *all.stuck.borrow(),
            all.most
        );
    }
}

impl Threads {
    /// Creates a pool for `work`, with the number of threads for all plugins and for each plugin. No thread is started
    /// yet.
    pub(crate) fn new(
        work: &'static str,
        limit: &'static str,
        (most, max_per_plugin): (usize, usize),
    ) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(most)
            .thread_keep_alive(KEEP_IDLE)
            .thread_name(format!("heddle-{work}"))
            .build()?;
        Ok(Self {
            work,
            limit,
            max_per_plugin: max_per_plugin.min(most),
            all: ThreadQuota::of(most),
            plugins: Mutex::default(),
            runtime: Some(runtime),
        })
    }

    /// Runs work that may block, for a plugin.
    ///
    /// Dropping the future does not stop the work: see the introduction of this file.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        plugin: &Arc<str>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ThreadError> {
        let own = self.quota_of(plugin);
        let of_plugin = own
            .acquire()
            .await
            .ok_or_else(|| self.stuck(&own, Some(plugin)))?;
        let of_all = self
            .all
            .acquire()
            .await
            .ok_or_else(|| self.stuck(&self.all, None))?;
        let job = Arc::new(Job {
            work: self.work,
            quotas: [own, self.all.clone()],
            phase: Mutex::new(Phase::Awaited),
            _free: [of_plugin, of_all],
        });
        let awaiting = JobWaiter(Arc::downgrade(&job), self, plugin);
        let own = job.quotas[0].clone();
        let working = RunningJob(job);
        let runtime = self
            .runtime
            .as_ref()
            .expect("the runtime lives until the pool is dropped");
        let (done, is_done) = oneshot::channel();
        runtime.spawn_blocking(move || {
            let result = work();
            working.end();
            // The call may have ended.
            let _ = done.send(result);
            own.run_deferred();
            drop(working);
            // Deferred work may have arrived before the thread became free.
            own.run_deferred();
        });
        let result = is_done.await;
        drop(awaiting);
        // The sender is dropped without a result if the work panics.
        result.map_err(|_| ThreadError::Panicked { work: self.work })
    }

    /// Runs work that may block and that no call waits for, such as closing files. Uses only the plugin's own threads:
    /// if all of them are busy, the next one that becomes free runs the work.
    pub(crate) fn run_detached(&self, plugin: &Arc<str>, work: impl FnOnce() + Send + 'static) {
        let own = self.quota_of(plugin);
        lock(&own.deferred).push(Box::new(work));
        // A thread that missed the deferred work has been freed by now.
        let Ok(thread) = own.free.clone().try_acquire_owned() else {
            return;
        };
        let of_all = self.all.free.clone().try_acquire_owned().ok();
        let runtime = self
            .runtime
            .as_ref()
            .expect("the runtime lives until the pool is dropped");
        runtime.spawn_blocking(move || {
            own.run_deferred();
            drop((thread, of_all));
            // Deferred work may have arrived before the thread became free.
            own.run_deferred();
        });
    }

    fn quota_of(&self, plugin: &Arc<str>) -> Arc<ThreadQuota> {
        let mut plugins = lock(&self.plugins);
        if let Some(quota) = plugins.get(plugin).and_then(Weak::upgrade) {
            return quota;
        }
        // A quota lives as long as work of its plugin.
        plugins.retain(|_, quota| quota.strong_count() > 0);
        let quota = ThreadQuota::of(self.max_per_plugin);
        plugins.insert(plugin.clone(), Arc::downgrade(&quota));
        quota
    }

    fn stuck(&self, quota: &ThreadQuota, plugin: Option<&str>) -> ThreadError {
        let (who, limit) = match plugin {
            Some(plugin) => (format!("plugin `{plugin}`"), format!("{}_per_plugin", self.limit)),
            None => ("all plugins together".to_owned(), self.limit.to_owned()),
        };
        ThreadError::Stuck {
            most: quota.most,
            work: self.work,
            who,
            limit,
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A stuck thread must not delay the exit.
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use futures_util::{FutureExt, future::BoxFuture};

    use super::*;

    fn plugin(name: &str) -> Arc<str> {
        name.into()
    }

    /// A future of work that ends when the returned sender is dropped. The work has started.
    async fn stalled<'a>(threads: &'a Threads, name: &'a Arc<str>) -> (BoxFuture<'a, ()>, Sender<()>) {
        let (release, released): (Sender<()>, Receiver<()>) = channel();
        let (begun, has_begun) = oneshot::channel();
        let mut work = threads
            .run(name, move || {
                let _ = begun.send(());
                let _ = released.recv();
            })
            .map(|result| result.unwrap())
            .boxed();
        tokio::select! {
            () = &mut work => panic!("it ended before it was released"),
            begun = has_begun => begun.unwrap(),
        }
        (work, release)
    }

    async fn none_is_stuck(threads: &Threads) {
        let mut stuck = threads.all.stuck.subscribe();
        stuck.wait_for(|stuck| *stuck == 0).await.unwrap();
    }

    #[tokio::test]
    async fn work_gives_its_result_and_a_panic_is_an_error_that_holds_no_thread() {
        let threads = Threads::new("tests", "test_threads", (1, 1)).unwrap();
        let name = plugin("a");
        assert_eq!(threads.run(&name, || 7).await.unwrap(), 7);
        let error = threads.run(&name, || panic!("on purpose")).await.unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
        assert_eq!(threads.run(&name, || 8).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn work_waits_for_a_thread_that_is_busy_and_not_for_threads_that_are_all_stuck() {
        let threads = Threads::new("tests", "test_threads", (2, 1)).unwrap();
        let (a, b) = (plugin("a"), plugin("b"));
        let (busy, release) = stalled(&threads, &a).await;
        let mut waiting = Box::pin(threads.run(&a, || 1));
        assert!(waiting.as_mut().now_or_never().is_none(), "it waits");
        // The call ends and its thread does not; the waiting call gets the error.
        drop(busy);
        let error = waiting.await.unwrap_err().to_string();
        assert!(
            error.contains("all 1 threads for tests that plugin `a` may have")
                && error.contains("(test_threads_per_plugin)"),
            "{error}"
        );
        // Another plugin has a separate quota.
        assert_eq!(threads.run(&b, || 2).await.unwrap(), 2);
        let (also_busy, release_b) = stalled(&threads, &b).await;
        drop(also_busy);
        let error = threads.run(&plugin("c"), || 3).await.unwrap_err().to_string();
        assert!(
            error.contains("all 2 threads for tests that all plugins together may have")
                && error.contains("(test_threads)"),
            "{error}"
        );
        // When the system answers, all threads can be used again.
        drop((release, release_b));
        none_is_stuck(&threads).await;
        for name in [a, b] {
            assert_eq!(threads.run(&name, || 4).await.unwrap(), 4);
        }
    }

    #[tokio::test]
    async fn a_waiting_call_gets_the_thread_of_work_that_ends() {
        let threads = Threads::new("tests", "test_threads", (1, 1)).unwrap();
        let (a, b) = (plugin("a"), plugin("b"));
        let (busy, release) = stalled(&threads, &a).await;
        let mut waiting = Box::pin(threads.run(&b, || 1));
        assert!(waiting.as_mut().now_or_never().is_none(), "it waits");
        drop(release);
        let ((), one) = tokio::join!(busy, waiting);
        assert_eq!(one.unwrap(), 1);
    }

    #[tokio::test]
    async fn deferred_work_uses_no_more_threads_than_its_plugin_may() {
        let threads = Threads::new("tests", "test_threads", (2, 1)).unwrap();
        let (a, b) = (plugin("a"), plugin("b"));
        let (release, released): (Sender<()>, Receiver<()>) = channel();
        let released = Arc::new(Mutex::new(released));
        let (done, is_done) = channel();
        for _ in 0..10 {
            let (released, done) = (released.clone(), done.clone());
            threads.run_detached(&a, move || {
                let _ = lock(&released).recv();
                let _ = done.send(());
            });
        }
        // The other thread is free for another plugin.
        assert_eq!(threads.run(&b, || 1).await.unwrap(), 1);
        drop(release);
        tokio::task::spawn_blocking(move || (0..10).for_each(|_| is_done.recv().unwrap()))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_stuck_thread_holds_up_neither_its_pool_nor_the_exit() {
        let threads = Threads::new("tests", "test_threads", (1, 1)).unwrap();
        let name = plugin("a");
        let (busy, release) = stalled(&threads, &name).await;
        drop(busy);
        drop(threads);
        drop(release);
    }
}
