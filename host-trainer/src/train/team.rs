//! A few threads that work on one job after another, each job cut into numbered parts.
//!
//! Handing out a job costs two atomic operations and no system call as long as the threads have something to do; a thread that waits for long
//! yields, then sleeps, so that an idle team does not take a core from others.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What the threads share.
#[derive(Debug)]
pub(super) struct Team<J, E> {
    threads: usize,
    parts: usize,
    /// Counts the jobs handed out.
    generation: AtomicUsize,
    /// Counts the workers that have ended the present job.
    arrived: AtomicUsize,
    /// The next part of the present job that nobody has claimed.
    next_part: AtomicUsize,
    stop: AtomicBool,
    broken: AtomicBool,
    job: Mutex<Option<J>>,
    error: Mutex<Option<E>>,
}

impl<J: Copy, E> Team<J, E> {
    pub(super) fn new(threads: usize, parts: usize) -> Self {
        Self {
            threads,
            parts,
            generation: AtomicUsize::new(0),
            arrived: AtomicUsize::new(0),
            next_part: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            job: Mutex::new(None),
            error: Mutex::new(None),
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
        let mut seen = 0;
        loop {
            let mut wait = Wait::default();
            while self.generation.load(Ordering::Acquire) == seen {
                if self.stop.load(Ordering::Acquire) {
                    return;
                }
                wait.once();
            }
            seen += 1;
            let job = *self.job.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(job) = job {
                self.share(job, &mut part);
            }
            self.arrived.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Claims and does parts until none is left. An error stops everybody.
    fn share(&self, job: J, part: &mut impl FnMut(J, usize) -> Result<(), E>) {
        loop {
            let index = self.next_part.fetch_add(1, Ordering::Relaxed);
            if index >= self.parts {
                return;
            }
            if let Err(error) = part(job, index) {
                self.next_part.store(self.parts, Ordering::Relaxed);
                self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
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
        *team.job.lock().unwrap_or_else(PoisonError::into_inner) = Some(job);
        team.next_part.store(0, Ordering::Relaxed);
        team.arrived.store(0, Ordering::Relaxed);
        team.generation.fetch_add(1, Ordering::Release);
        team.share(job, &mut part);
        let mut wait = Wait::default();
        while team.arrived.load(Ordering::Acquire) < team.threads - 1 && !team.is_broken() {
            wait.once();
        }
        match team.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

impl<J, E> Drop for Member<'_, J, E> {
    fn drop(&mut self) {
        self.team.stop.store(true, Ordering::Release);
    }
}

/// Waits a little longer each time: spins, then yields, then sleeps.
#[derive(Default)]
struct Wait(u32);

impl Wait {
    const SPINS: u32 = 2_000;
    const YIELDS: u32 = 2_000;

    fn once(&mut self) {
        self.0 = self.0.saturating_add(1);
        if self.0 < Self::SPINS {
            std::hint::spin_loop();
        } else if self.0 < Self::SPINS + Self::YIELDS {
            std::thread::yield_now();
        } else {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_team<T>(
        threads: usize,
        parts: usize,
        body: impl FnOnce(&mut Member<'_, u64, usize>, &[AtomicUsize]) -> T,
    ) -> T {
        let team = Team::<u64, usize>::new(threads, parts);
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
}
