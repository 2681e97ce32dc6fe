//! The process that runs the cells: loads what was compiled for each and calls it.
//!
//! It does what evcxr's own runtime does, but says what it has to say behind the session's secret, and goes
//! on when a cell cannot be loaded.

use std::ffi::c_void;
use std::io::{self, BufRead, Write};

use super::{WIRE, order};

/// What a compiled cell is: it gets the variables of the session and returns them.
type Cell = unsafe extern "C" fn(*mut c_void) -> *mut c_void;

/// The runtime's state.
struct Runtime {
    /// Stands before what is said to the kernel.
    secret: String,
    /// Kept loaded: variables and threads of earlier cells point into them.
    loaded: Vec<libloading::Library>,
    variables: *mut c_void,
}

/// Runs cells until there are no more requests; the first line of standard input is the session's secret.
pub fn run() -> io::Result<()> {
    let mut requests = io::stdin().lock().lines();
    let secret = requests.next().transpose()?.unwrap_or_default();
    // The library takes it from the environment, and out of it, when it is loaded: what a cell starts must not
    // know it.
    // SAFETY: this process has one thread.
    unsafe { std::env::set_var(WIRE, &secret) };
    order::begin(&secret)?;
    let mut runtime = Runtime {
        secret,
        loaded: Vec::new(),
        variables: std::ptr::null_mut(),
    };
    for request in requests {
        runtime.obey(&request?)?;
    }
    Ok(())
}

impl Runtime {
    fn obey(&mut self, request: &str) -> io::Result<()> {
        let cell = request
            .strip_prefix("LOAD_AND_RUN ")
            .and_then(|rest| rest.rsplit_once(' '));
        let Some((path, name)) = cell else {
            return Err(io::Error::other(format!("unknown request {request:?}")));
        };
        if let Err(error) = self.load_and_run(path, name) {
            let report = serde_json::json!({
                "message": format!("the compiled cell could not be loaded: {error}"),
            });
            self.say(&format!("panic {report}"))?;
            self.say("panicked")?;
        }
        self.say("complete")
    }

    fn load_and_run(&mut self, path: &str, name: &str) -> Result<(), libloading::Error> {
        // SAFETY: rustc has just compiled it from a cell; what its initialisers do is the user's affair.
        let library = unsafe { libloading::Library::new(path)? };
        // SAFETY: evcxr gives each cell this function of this type, and all cells the same store.
        unsafe {
            let cell = library.get::<Cell>(name)?;
            self.variables = cell(self.variables);
        }
        self.loaded.push(library);
        Ok(())
    }

    fn say(&self, word: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{}cell:{word}", self.secret)?;
        out.flush()
    }
}
