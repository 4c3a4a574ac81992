use burn::lr_scheduler::LrScheduler;
use burn::optim::LearningRate;
use burn::tensor::backend::Backend;

use super::{PlateauState, Schedule};

impl LrScheduler for Schedule {
    /// Number of steps done, and the plateau's rate, best measure, bad epochs and cooldown.
    type Record<B: Backend> = (usize, Option<(f64, f64, usize, usize)>);

    fn step(&mut self) -> LearningRate {
        self.next_rate()
    }

    fn to_record<B: Backend>(&self) -> Self::Record<B> {
        let plateau = self.state.plateau.map(|state| (state.rate, state.best, state.bad_epochs, state.cooldown));
        (self.state.step, plateau)
    }

    fn load_record<B: Backend>(mut self, (step, plateau): Self::Record<B>) -> Self {
        self.state.step = step;
        let plateau =
            plateau.map(|(rate, best, bad_epochs, cooldown)| PlateauState { rate, best, bad_epochs, cooldown });
        // The record of another kind of schedule has no plateau for this one.
        if self.state.plateau.is_some() && plateau.is_some() {
            self.state.plateau = plateau;
        }
        self
    }
}
