//! Keeping hold of everything a program starts, however it tries to get away.
//!
//! Each program has a job object. What its processes start belongs to the job as well, and nothing
//! lets them leave it. The system ends the whole job when its last handle is closed: also when the
//! executor is suddenly gone.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::process::ExitCode;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_ACTIVE_PROCESS,
    JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectBasicAccountingInformation, JobObjectExtendedLimitInformation,
    QueryInformationJobObject, SetInformationJobObject, TerminateJobObject,
};

use super::call::{check, len_u32};

/// What a killed program is said to have answered: as for whoever kills by hand.
const KILLED: u32 = 1;

/// Processes of one program at a time. More than any build uses, and few enough for the machine to
/// stay usable; who asks for one more is refused it.
const PROCESSES_MAX: u32 = 4096;

/// The processes of one program. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Job(OwnedHandle);

impl Job {
    pub(super) fn new() -> io::Result<Job> {
        // Why at all: the standard library knows no jobs. Why sound: no pointer is given but
        // nulls, and the handle is checked before it is owned.
        #[expect(unsafe_code, reason = "a new job object")]
        let job = unsafe {
            let job = CreateJobObjectW(ptr::null(), ptr::null());
            if job.is_null() {
                return Err(io::Error::last_os_error());
            }
            Job(OwnedHandle::from_raw_handle(job))
        };
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        // A crash must not stop at a window that nobody sees. No limits of the user interface: a
        // job with such cannot be inside another one, as those of services and containers are.
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
            | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION
            | JOB_OBJECT_LIMIT_ACTIVE_PROCESS;
        limits.BasicLimitInformation.ActiveProcessLimit = PROCESSES_MAX;
        // Why at all: that is how a job is told. Why sound: the record is of the class that is
        // named, and its size is its own.
        #[expect(unsafe_code, reason = "the limits of a job object")]
        let done = unsafe {
            SetInformationJobObject(
                job.0.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                ptr::from_ref(&limits).cast(),
                len_u32(size_of_val(&limits)),
            )
        };
        check(done)?;
        Ok(job)
    }

    /// Takes a process in, which has not started anything yet.
    pub(super) fn adopt(&self, process: &OwnedHandle) -> io::Result<()> {
        // Why at all: as above. Why sound: both handles are open.
        #[expect(unsafe_code, reason = "a process enters a job object")]
        let done =
            unsafe { AssignProcessToJobObject(self.0.as_raw_handle(), process.as_raw_handle()) };
        check(done)
    }

    /// Ends all its processes. Returns at once; nobody is left a moment later.
    pub(super) fn end(&self) {
        // Why at all: as above. Why sound: the handle is open.
        #[expect(unsafe_code, reason = "the end of a job's processes")]
        let done = unsafe { TerminateJobObject(self.0.as_raw_handle(), KILLED) };
        if let Err(error) = check(done) {
            tracing::warn!(%error, "processes could not be ended");
        }
    }

    /// Whether one of its processes runs.
    pub(super) fn is_alive(&self) -> bool {
        let mut found = JOBOBJECT_BASIC_ACCOUNTING_INFORMATION::default();
        // Why at all: as above. Why sound: the record is of the class that is named, and its size
        // is its own.
        #[expect(unsafe_code, reason = "the number of a job's processes")]
        let done = unsafe {
            QueryInformationJobObject(
                self.0.as_raw_handle(),
                JobObjectBasicAccountingInformation,
                (&raw mut found).cast(),
                len_u32(size_of_val(&found)),
                ptr::null_mut(),
            )
        };
        done != 0 && found.ActiveProcesses > 0
    }
}

/// The jobs that were ended and may not be empty yet.
#[derive(Debug, Default)]
pub(super) struct Ended(Mutex<Vec<Arc<Job>>>);

impl Ended {
    pub(super) fn end(&self, job: &Arc<Job>) {
        job.end();
        let mut jobs = self.jobs();
        jobs.retain(|job| job.is_alive());
        jobs.push(Arc::clone(job));
    }

    /// Waits until all of them are empty.
    pub(super) async fn settled(&self) {
        const PAUSE: Duration = Duration::from_millis(2);
        const PAUSES_MAX: u32 = 2500;
        for _ in 0..PAUSES_MAX {
            let left = {
                let mut jobs = self.jobs();
                jobs.retain(|job| job.is_alive());
                jobs.len()
            };
            if left == 0 {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        tracing::warn!("killed processes do not end");
    }

    fn jobs(&self) -> MutexGuard<'_, Vec<Arc<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all programs of one session, and all that descends from them, have in common.
///
/// Dropping it ends those that are left, programs that exited long ago included: a daemon they
/// left behind is theirs.
#[derive(Debug)]
pub struct Lineage {
    ended: Arc<Ended>,
    jobs: Mutex<Jobs>,
}

#[derive(Debug, Default)]
struct Jobs {
    all: Vec<Arc<Job>>,
    /// From how many on it is worth looking for empty ones.
    look_at: usize,
}

/// Looking costs a call for each; below so many nobody looks.
const LOOK_FROM: usize = 32;

impl Lineage {
    pub(super) fn new(ended: Arc<Ended>) -> Lineage {
        Lineage {
            ended,
            jobs: Mutex::default(),
        }
    }

    /// Ends everything of this session. Returns at once; nobody is left a moment later.
    pub fn end(&self) {
        let jobs = std::mem::take(&mut self.jobs().all);
        for job in jobs.iter().filter(|job| job.is_alive()) {
            self.ended.end(job);
        }
    }

    /// The place of one more program.
    pub(super) fn origin(&self) -> io::Result<Origin> {
        let job = Arc::new(Job::new()?);
        let mut jobs = self.jobs();
        if jobs.all.len() >= jobs.look_at.max(LOOK_FROM) {
            // One that somebody else holds may not have its first process yet.
            jobs.all
                .retain(|job| Arc::strong_count(job) > 1 || job.is_alive());
            jobs.look_at = jobs.all.len() * 2;
        }
        jobs.all.push(Arc::clone(&job));
        drop(jobs);
        Ok(Origin {
            job,
            ended: Arc::clone(&self.ended),
        })
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lineage {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where one program belongs, and who ends what becomes of it.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) job: Arc<Job>,
    ended: Arc<Ended>,
}

impl Origin {
    /// Ends the program and what it started.
    pub(super) fn end(&self) {
        self.ended.end(&self.job);
    }
}

/// Serves on this thread: there are no orphans to look after.
pub fn keep_house(serve: impl FnOnce() -> u8 + Send + 'static) -> ExitCode {
    ExitCode::from(serve())
}
