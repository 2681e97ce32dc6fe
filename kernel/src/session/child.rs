//! The kernel's end of the supervisor: its frames come in here, and interrupts go out.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::InputRequest;
use crate::error::{Error, Result};
use crate::supervisor::frame::Frame;
use crate::supervisor::{command, socket};

/// How long a cell may take to notice an interrupt.
const GRACE: Duration = Duration::from_secs(5);
/// Output kept for the next cell when nobody listens between cells.
const IDLE_FRAMES: usize = 4096;

/// What reaches the caller of a running cell.
pub enum Event {
    /// The supervisor said something.
    Frame(Frame),
    /// The supervisor is gone.
    Gone,
    /// The cell asks for input.
    Input(InputRequest, Sender<String>),
    /// A line of the cell that might be for a shell is Rust.
    IsCode,
    /// evcxr has finished with the cell.
    Done(super::worker::Outcome),
}

type IdleSink = Box<dyn FnMut(Frame) + Send>;

enum Route {
    Cell(SyncSender<Event>),
    Idle(Option<IdleSink>, Vec<Frame>),
}

/// What a session is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Phase {
    /// No cell.
    Idle,
    /// A cell is being compiled.
    Compiling,
    /// A cell runs.
    Running,
}

/// State shared by the session, its reader thread and its interrupt handles.
pub struct Shared {
    connection: Mutex<Option<UnixStream>>,
    route: Mutex<Route>,
    phase: AtomicU8,
    interrupts: AtomicU8,
    killed: AtomicBool,
    /// Counts cells, so that a late timer does not hit the next one.
    cell: AtomicU64,
    runtime: AtomicU64,
    /// The session's folder, as the system names it.
    folder: PathBuf,
    /// Held while compilers are ended and while a cell begins: those of a later cell are never among them.
    ending: Mutex<()>,
    /// Ends the compilers that work for a session's folder.
    end_compilers: fn(&Path),
}

impl Shared {
    /// Listens in `folder` for supervisors, and tells them `secret`.
    pub fn listen(folder: &Path, secret: &str) -> Result<Arc<Shared>> {
        Shared::listen_with(folder, secret, super::processes::end_compilers)
    }

    fn listen_with(folder: &Path, secret: &str, end_compilers: fn(&Path)) -> Result<Arc<Shared>> {
        let listener = socket::listen(folder).map_err(|e| Error::io(folder, e))?;
        let shared = Arc::new(Shared {
            connection: Mutex::new(None),
            route: Mutex::new(Route::Idle(None, Vec::new())),
            phase: AtomicU8::new(Phase::Idle as u8),
            interrupts: AtomicU8::new(0),
            killed: AtomicBool::new(false),
            cell: AtomicU64::new(0),
            runtime: AtomicU64::new(0),
            folder: folder.canonicalize().map_err(|e| Error::io(folder, e))?,
            ending: Mutex::new(()),
            end_compilers,
        });
        let weak = Arc::downgrade(&shared);
        let secret = secret.to_string();
        std::thread::spawn(move || {
            // One supervisor lives at a time, so their frames keep their order.
            while let Ok((stream, _)) = listener.accept() {
                let Some(shared) = weak.upgrade() else { return };
                shared.serve(stream, &secret);
            }
        });
        Ok(shared)
    }

    fn serve(&self, mut stream: UnixStream, secret: &str) {
        let welcomed = socket::welcome(&mut stream, secret);
        let Ok(mut reader) = welcomed.and_then(|()| stream.try_clone()) else {
            return;
        };
        match Frame::read(&mut reader) {
            Ok(Some(Frame::Hello { runtime })) => {
                self.runtime.store(runtime.into(), Ordering::SeqCst);
            }
            _ => return,
        }
        *self.lock_connection() = Some(stream);
        while let Ok(Some(frame)) = Frame::read(&mut reader) {
            if frame == Frame::Started {
                let _turn = self.turn();
                self.set_phase(Phase::Running);
                // Asked for while the cell was being compiled.
                if self.interrupts.load(Ordering::SeqCst) > 0 {
                    self.send(&[command::INTERRUPT]);
                }
            }
            self.deliver(Event::Frame(frame));
        }
        self.runtime.store(0, Ordering::SeqCst);
        *self.lock_connection() = None;
        self.deliver(Event::Gone);
    }

    fn deliver(&self, event: Event) {
        let sender = {
            let mut route = self.route.lock().unwrap_or_else(|e| e.into_inner());
            match &mut *route {
                Route::Cell(sender) => sender.clone(),
                Route::Idle(sink, kept) => {
                    if let Event::Frame(frame) = event {
                        match sink {
                            Some(sink) => sink(frame),
                            None if kept.len() < IDLE_FRAMES => kept.push(frame),
                            None => {}
                        }
                    }
                    return;
                }
            }
        };
        // A full queue makes the cell wait; a closed one means that the cell has been answered.
        let _ = sender.send(event);
    }

    /// Sends events to a cell from now on; returns what came before.
    pub fn begin_cell(&self, sender: SyncSender<Event>) -> (Option<IdleSink>, Vec<Frame>) {
        let _turn = self.turn();
        self.interrupts.store(0, Ordering::SeqCst);
        self.killed.store(false, Ordering::SeqCst);
        self.cell.fetch_add(1, Ordering::SeqCst);
        self.set_phase(Phase::Compiling);
        let mut route = self.route.lock().unwrap_or_else(|e| e.into_inner());
        match std::mem::replace(&mut *route, Route::Cell(sender)) {
            Route::Idle(sink, kept) => (sink, kept),
            Route::Cell(_) => (None, Vec::new()),
        }
    }

    /// The cell has been answered.
    pub fn end_cell(&self, sink: Option<IdleSink>) {
        *self.route.lock().unwrap_or_else(|e| e.into_inner()) = Route::Idle(sink, Vec::new());
        self.set_phase(Phase::Idle);
    }

    /// Forgets what was said so far: evcxr's trial cell.
    pub fn forget(&self) {
        if let Route::Idle(_, kept) = &mut *self.route.lock().unwrap_or_else(|e| e.into_inner()) {
            kept.clear();
        }
    }

    /// Sets what happens to output between cells.
    pub fn set_idle_sink(&self, sink: IdleSink) {
        if let Route::Idle(old, _) = &mut *self.route.lock().unwrap_or_else(|e| e.into_inner()) {
            *old = Some(sink);
        }
    }

    /// What the session is doing.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            1 => Phase::Compiling,
            2 => Phase::Running,
            _ => Phase::Idle,
        }
    }

    /// Notes what the session is doing.
    pub fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// Whether the cell was asked to end.
    pub fn interrupted(&self) -> bool {
        self.interrupts.load(Ordering::SeqCst) > 0
    }

    /// Whether we killed the child.
    pub fn killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }

    /// Process that runs the cells.
    pub fn runtime(&self) -> Option<u32> {
        match self.runtime.load(Ordering::SeqCst) {
            0 => None,
            id => Some(id as u32),
        }
    }

    /// Sends a command; false when there is no supervisor.
    pub fn send(&self, bytes: &[u8]) -> bool {
        match &mut *self.lock_connection() {
            Some(stream) => stream.write_all(bytes).is_ok(),
            None => false,
        }
    }

    /// Asks the running cell to end; see [`super::InterruptHandle::interrupt`].
    pub fn interrupt(self: &Arc<Self>) {
        let turn = self.turn();
        let phase = self.phase();
        if phase == Phase::Idle {
            return;
        }
        let before = self.interrupts.fetch_add(1, Ordering::SeqCst);
        if phase == Phase::Compiling {
            (self.end_compilers)(&self.folder);
            if before == 0 {
                self.end_later_compilers();
            }
            return;
        }
        drop(turn);
        if before > 0 {
            self.kill();
            return;
        }
        self.send(&[command::INTERRUPT]);
        let (weak, cell) = (Arc::downgrade(self), self.cell.load(Ordering::SeqCst));
        std::thread::spawn(move || {
            std::thread::sleep(GRACE);
            if let Some(shared) = weak.upgrade()
                && shared.cell.load(Ordering::SeqCst) == cell
                && shared.phase() == Phase::Running
            {
                shared.kill();
            }
        });
    }

    /// Ends the compilers of this cell; false when it is not being compiled any more.
    fn end_compilers_of(&self, cell: u64) -> bool {
        let _turn = self.turn();
        let goes_on = self.cell.load(Ordering::SeqCst) == cell && self.phase() == Phase::Compiling;
        if goes_on {
            (self.end_compilers)(&self.folder);
        }
        goes_on
    }

    /// A compiler that starts after the interrupt, for the same cell, ends as well.
    fn end_later_compilers(self: &Arc<Self>) {
        let (weak, cell) = (Arc::downgrade(self), self.cell.load(Ordering::SeqCst));
        std::thread::spawn(move || {
            while weak
                .upgrade()
                .is_some_and(|shared| shared.end_compilers_of(cell))
            {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
    }

    fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        self.send(&[command::KILL]);
    }

    /// Holds off the next cell while compilers are ended, and the other way round.
    fn turn(&self) -> MutexGuard<'_, ()> {
        self.ending.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn lock_connection(&self) -> std::sync::MutexGuard<'_, Option<UnixStream>> {
        self.connection.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    /// How often compilers were ended, and whether that is going on.
    static ENDED: AtomicU64 = AtomicU64::new(0);
    static ENDING: AtomicBool = AtomicBool::new(false);

    fn end_slowly(_: &Path) {
        ENDING.store(true, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        ENDED.fetch_add(1, Ordering::SeqCst);
        ENDING.store(false, Ordering::SeqCst);
    }

    #[test]
    fn an_interrupt_ends_no_compiler_of_a_later_cell() {
        let folder = tempfile::tempdir().unwrap();
        let shared = Shared::listen_with(folder.path(), "secret", end_slowly).unwrap();
        for _ in 0..5 {
            let (events, _inbox) = sync_channel(1);
            shared.begin_cell(events);
            let before = ENDED.load(Ordering::SeqCst);
            shared.interrupt();
            // Until a later compiler of the same cell is being ended.
            while !(ENDED.load(Ordering::SeqCst) > before && ENDING.load(Ordering::SeqCst)) {
                std::thread::yield_now();
            }
            shared.end_cell(None);
            let (events, _inbox) = sync_channel(1);
            shared.begin_cell(events);
            let begun = ENDED.load(Ordering::SeqCst);
            assert!(!ENDING.load(Ordering::SeqCst));
            std::thread::sleep(Duration::from_millis(80));
            assert_eq!(ENDED.load(Ordering::SeqCst), begun);
            assert!(!shared.interrupted());
            shared.end_cell(None);
        }
    }
}
