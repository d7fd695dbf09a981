//! A few threads that work on one job after another, each job cut into numbered parts.
//!
//! A job is done when its parts are, whoever did them: nobody waits for a thread that the system has not woken yet or that another program keeps
//! from a core, unless it holds a part. Handing out a job costs a few atomic operations and no system call as long as the threads have something to
//! do. A thread that has nothing to do spins for a moment, then sleeps until it is called, so that its core goes to whoever has work.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What the threads share.
#[derive(Debug)]
pub(super) struct Team<J, E> {
    parts: usize,
    /// The next part of the present job that nobody has claimed; `parts` or more when there is none.
    next_part: AtomicUsize,
    /// Parts of the present job that are done, or never will be because of an error.
    done: AtomicUsize,
    stop: AtomicBool,
    broken: AtomicBool,
    job: Mutex<Option<J>>,
    error: Mutex<Option<E>>,
    /// Where the workers wait for parts to claim.
    work: Bell,
    /// Where the lead waits for the last part.
    end: Bell,
}

impl<J: Copy, E> Team<J, E> {
    pub(super) fn new(parts: usize) -> Self {
        Self {
            parts,
            next_part: AtomicUsize::new(parts),
            done: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            job: Mutex::new(None),
            error: Mutex::new(None),
            work: Bell::default(),
            end: Bell::default(),
        }
    }

    /// The thread that hands out the jobs. The workers end when it is dropped.
    pub(super) fn lead(&self) -> Member<'_, J, E> {
        Member { team: self }
    }

    /// Whether a worker panicked.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    /// A worker's life: does its share of each job until the lead is gone.
    pub(super) fn work(&self, mut part: impl FnMut(J, usize) -> Result<(), E>) {
        let _alarm = Alarm(self);
        let stopped = || self.stop.load(Ordering::Acquire);
        while !stopped() {
            self.share(&mut part);
            self.work.wait(|| self.next_part.load(Ordering::Acquire) < self.parts || stopped());
        }
    }

    /// Claims and does parts until none is left. An error stops everybody.
    fn share(&self, part: &mut impl FnMut(J, usize) -> Result<(), E>) {
        loop {
            // What is claimed is a part of the present job: the lead hands out no other before this part is done.
            let index = self.next_part.fetch_add(1, Ordering::AcqRel);
            if index >= self.parts {
                return;
            }
            let mut finished = 1;
            let job = *locked(&self.job);
            if let Some(Err(error)) = job.map(|job| part(job, index)) {
                locked(&self.error).get_or_insert(error);
                finished += self.parts.saturating_sub(self.next_part.swap(self.parts, Ordering::AcqRel));
            }
            if self.done.fetch_add(finished, Ordering::AcqRel) + finished == self.parts {
                self.end.ring();
            }
        }
    }
}

/// Breaks the team if its thread panics, so that the lead does not wait for it.
struct Alarm<'t, J, E>(&'t Team<J, E>);

impl<J, E> Drop for Alarm<'_, J, E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Release);
            self.0.end.ring();
        }
    }
}

/// The thread that hands out the jobs.
#[derive(Debug)]
pub(super) struct Member<'t, J, E> {
    team: &'t Team<J, E>,
}

impl<J: Copy, E> Member<'_, J, E> {
    /// Does a job together with the workers, and returns when all of it is done: the first error, if there was one.
    pub(super) fn run(&mut self, job: J, mut part: impl FnMut(J, usize) -> Result<(), E>) -> Result<(), E> {
        let team = self.team;
        *locked(&team.job) = Some(job);
        team.done.store(0, Ordering::Relaxed);
        team.next_part.store(0, Ordering::Release);
        team.work.ring();
        team.share(&mut part);
        team.end.wait(|| team.done.load(Ordering::Acquire) == team.parts || team.is_broken());
        match locked(&team.error).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl<J, E> Drop for Member<'_, J, E> {
    fn drop(&mut self) {
        self.team.stop.store(true, Ordering::Release);
        self.team.work.ring();
    }
}

/// Calls threads that wait for something to come true.
#[derive(Debug, Default)]
struct Bell {
    asleep: AtomicUsize,
    lock: Mutex<()>,
    rung: Condvar,
}

impl Bell {
    /// How often a waiting thread looks before it sleeps: some tens of microseconds, about what it takes to wake a thread.
    const LOOKS: u32 = 1_000;

    /// Returns when `ready` says so. Whoever makes that true rings afterwards.
    fn wait(&self, ready: impl Fn() -> bool) {
        for _ in 0..Self::LOOKS {
            if ready() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut guard = locked(&self.lock);
        self.asleep.fetch_add(1, Ordering::Relaxed);
        // With the fence in `ring`: either `ready` sees what was made true, or the ringer sees that this thread sleeps.
        fence(Ordering::SeqCst);
        while !ready() {
            guard = self.rung.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.asleep.fetch_sub(1, Ordering::Relaxed);
    }

    /// Wakes those who sleep; a system call only if somebody does.
    fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) > 0 {
            drop(locked(&self.lock));
            self.rung.notify_all();
        }
    }
}

/// A panic elsewhere breaks the team by other means; no lock guards anything half done.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_team<T>(
        threads: usize,
        parts: usize,
        body: impl FnOnce(&mut Member<'_, u64, usize>, &[AtomicUsize]) -> T,
    ) -> T {
        let team = Team::<u64, usize>::new(parts);
        let done: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(|| team.work(|job, part| count(&done, job, part)));
            }
            body(&mut team.lead(), &done)
        })
    }

    /// Counts a part; job 7 fails at part 3.
    fn count(done: &[AtomicUsize], job: u64, part: usize) -> Result<(), usize> {
        done[part].fetch_add(1, Ordering::Relaxed);
        if job == 7 && part == 3 { Err(part) } else { Ok(()) }
    }

    #[test]
    fn every_part_of_every_job_is_done_once() {
        for threads in 1..4 {
            with_team(threads, 5, |lead, done| {
                for job in 100..300 {
                    lead.run(job, |job, part| count(done, job, part)).unwrap();
                }
                assert!(done.iter().all(|part| part.load(Ordering::Relaxed) == 200));
            });
        }
    }

    #[test]
    fn an_error_reaches_the_lead_and_the_team_lives_on() {
        with_team(2, 5, |lead, done| {
            assert_eq!(lead.run(7, |job, part| count(done, job, part)), Err(3));
            assert_eq!(lead.run(8, |job, part| count(done, job, part)), Ok(()));
        });
    }

    #[test]
    fn a_worker_that_does_not_run_holds_nobody_up() {
        let team = Team::<u64, usize>::new(5);
        let done: Vec<AtomicUsize> = (0..5).map(|_| AtomicUsize::new(0)).collect();
        let (may_begin, begin) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let (team, done) = (&team, &done);
            scope.spawn(move || {
                begin.recv().unwrap();
                team.work(|job, part| count(done, job, part));
            });
            let mut lead = team.lead();
            for job in 100..103 {
                lead.run(job, |job, part| count(done, job, part)).unwrap();
            }
            may_begin.send(()).unwrap();
            lead.run(103, |job, part| count(done, job, part)).unwrap();
        });
        assert!(done.iter().all(|part| part.load(Ordering::Relaxed) == 4));
    }

    #[test]
    fn who_waits_for_long_sleeps_and_is_woken() {
        with_team(3, 4, |lead, done| {
            for job in 0..3 {
                std::thread::sleep(std::time::Duration::from_millis(20));
                lead.run(job, |job, part| {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    count(done, job, part)
                })
                .unwrap();
            }
            assert!(done.iter().all(|part| part.load(Ordering::Relaxed) == 3));
        });
    }

    #[test]
    fn a_panic_of_a_worker_ends_the_wait_of_the_lead() {
        let team = Team::<u64, usize>::new(2);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| team.work(|_, _| -> Result<(), usize> { panic!("on purpose") }));
            let mut lead = team.lead();
            while !team.is_broken() {
                lead.run(1, |_, _| {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    Ok(())
                })
                .unwrap();
            }
            drop(lead);
            assert!(worker.join().is_err());
        });
    }
}
