//! A run on disk.

use super::FddaTrace;
use super::run::Run;
use super::student::{Student, StudentState};
use crate::Result;
use crate::nn::StateTensor;
use crate::train::Optimiser;

/// What moves in a run.
#[derive(serde::Serialize, serde::Deserialize)]
pub(super) struct State {
    step: usize,
    generator: Option<Vec<StateTensor>>,
    students: Vec<StudentState>,
    trace: FddaTrace,
}

impl State {
    pub fn of(run: &Run) -> Result<State> {
        let generator = run.generator.as_ref().map(|made| made.adam.state());
        Ok(State {
            step: run.done,
            generator: generator.transpose()?,
            students: run
                .students
                .iter()
                .map(Student::state)
                .collect::<Result<_>>()?,
            trace: run.trace.clone(),
        })
    }

    pub fn put(self, run: &mut Run) -> Result<()> {
        if let (Some(made), Some(state)) = (&mut run.generator, &self.generator) {
            made.adam.restore(state)?;
        }
        for (student, state) in run.students.iter_mut().zip(self.students) {
            student.restore(state)?;
        }
        (run.trace, run.done) = (self.trace, self.step);
        Ok(())
    }
}
