use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::crops::Crops;
use crate::error::described;
use crate::panics::guarded;
use crate::{CombinedScore, FaceClassifier, Threads};

/// Limit on the faces of several requests in one call of the classifier. A classifier on a GPU divides them further.
const MAX_FACES: usize = 256;

/// A batcher for the faces of all analyses on one analyzer and its clones: requests that wait at the same time are
/// scored together.
///
/// It has no thread of its own. The first caller scores one batch for every waiting caller, then hands over to the
/// next.
#[derive(Clone, Default)]
pub(super) struct SharedBatcher(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    served: bool,
    waiting: VecDeque<Request>,
}

struct Request {
    crops: Crops,
    answer: SyncSender<Answer>,
}

enum Answer {
    Scored(Scored),
    /// The caller's request is first in the queue, and the caller must score the next batch.
    Serve,
}

/// Faces with the score of each, or the message of the failure.
pub(super) struct Scored {
    pub(super) crops: Crops,
    pub(super) scores: Vec<Result<CombinedScore, String>>,
}

impl SharedBatcher {
    /// Scores the faces and returns them with their scores. May score faces of other callers too, on `threads`.
    pub(super) fn score<C: FaceClassifier>(&self, classifier: &C, threads: &Threads, crops: Crops) -> Scored {
        // A thread of the pool must not wait here: the work it waits for may be further down on its own stack.
        if rayon::current_thread_index().is_some() {
            let scores = threads.install(|| classify(classifier, &crops));
            return Scored { crops, scores };
        }
        let (answer, answers) = sync_channel(1);
        let mut queue = self.queue();
        queue.waiting.push_back(Request { crops, answer });
        if std::mem::replace(&mut queue.served, true) {
            drop(queue);
            match answers.recv() {
                Ok(Answer::Scored(scored)) => return scored,
                Ok(Answer::Serve) => {}
                // Panics of the classifier are caught in `classify`.
                Err(_) => unreachable!("the scoring caller disconnected"),
            }
        } else {
            drop(queue);
        }
        let turn = Turn(self);
        let mut requests = self.take();
        let taken: Vec<usize> = requests.iter().map(|request| request.crops.len()).collect();
        let mut crops = Crops::default();
        requests.iter_mut().for_each(|request| crops.append(std::mem::take(&mut request.crops)));
        let mut scores = threads.install(|| classify(classifier, &crops));
        drop(turn);
        // Splits from the end, so that nothing is moved twice. The first request is the caller's own.
        for (request, count) in requests.iter().zip(taken).skip(1).rev() {
            let rest = crops.len() - count;
            let scored = Scored { crops: crops.split_off(rest), scores: scores.split_off(rest) };
            // A caller that has disconnected needs no answer.
            let _ = request.answer.send(Answer::Scored(scored));
        }
        Scored { crops, scores }
    }

    /// Removes the first request from the queue, and the next ones up to [`MAX_FACES`] faces in total.
    fn take(&self) -> Vec<Request> {
        let mut queue = self.queue();
        let (mut requests, mut faces) = (Vec::new(), 0);
        while let Some(next) = queue.waiting.front() {
            faces += next.crops.len();
            if !requests.is_empty() && faces > MAX_FACES {
                break;
            }
            requests.extend(queue.waiting.pop_front());
        }
        requests
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SharedBatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBatcher").field("waiting", &self.queue().waiting.len()).finish()
    }
}

/// A guard held while a caller scores a batch. Dropping it, also in a panic, lets the next caller score.
struct Turn<'a>(&'a SharedBatcher);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        loop {
            match queue.waiting.front() {
                None => {
                    queue.served = false;
                    return;
                }
                Some(next) if next.answer.send(Answer::Serve).is_ok() => return,
                Some(_) => queue.waiting.pop_front(),
            };
        }
    }
}

/// Returns the score of each face. A batch that fails is repeated face by face, so that only the face that causes
/// the failure is lost.
fn classify<C: FaceClassifier>(classifier: &C, crops: &Crops) -> Vec<Result<CombinedScore, String>> {
    let attempt = |crops: &Crops| {
        guarded(|| {
            let scores = classifier.classify_crops(crops.columns()).map_err(described)?;
            if scores.len() == crops.len() {
                Ok(scores)
            } else {
                Err(format!("the classifier gave {} scores for {} faces", scores.len(), crops.len()))
            }
        })
    };
    let checked = |score: CombinedScore| {
        let mut probabilities = std::iter::once(&score.fake_probability).chain(&score.by_model);
        match probabilities.find(|probability| !(0.0..=1.0).contains(*probability)) {
            None => Ok(score),
            Some(probability) => Err(format!("the classifier's probability is {probability}, outside 0..=1")),
        }
    };
    match attempt(crops) {
        Ok(scores) => scores.into_iter().map(checked).collect(),
        Err(message) if crops.len() == 1 => vec![Err(message)],
        Err(_) => (0..crops.len())
            .map(|face| attempt(&crops.of(face)).and_then(|scores| checked(scores[0].clone())))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::convert::Infallible;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    use image::RgbImage;

    use super::*;
    use crate::{FaceScore, ModelInfo};

    /// Classifier whose score is the face's width. Each call sends its number of faces, and waits for a signal.
    struct Gated {
        calls: Mutex<Sender<usize>>,
        gate: Mutex<Receiver<()>>,
    }

    impl FaceClassifier for Gated {
        type Error = Infallible;

        fn classify(&self, faces: &[RgbImage]) -> Result<Vec<FaceScore>, Infallible> {
            self.calls.lock().unwrap().send(faces.len()).unwrap();
            self.gate.lock().unwrap().recv().unwrap();
            Ok(faces.iter().map(|face| FaceScore::new(face.width() as f32 / 1000.0)).collect())
        }

        fn info(&self) -> ModelInfo {
            ModelInfo::new("gated")
        }
    }

    fn faces(widths: &[u32]) -> Crops {
        let mut crops = Crops::default();
        widths.iter().for_each(|&width| crops.push(vec![RgbImage::new(width, 1)]));
        crops
    }

    #[test]
    fn faces_that_wait_at_the_same_time_are_scored_together_and_each_caller_gets_its_own() {
        let ((calls, called), (open, gate)) = (channel(), channel());
        let classifier = Gated { calls: Mutex::new(calls), gate: Mutex::new(gate) };
        let (counter, pool) = (SharedBatcher::default(), Threads::new(1).unwrap());
        thread::scope(|scope| {
            let bring = |widths: &'static [u32]| {
                let (counter, classifier, pool) = (&counter, &classifier, &pool);
                scope.spawn(move || {
                    let scored = counter.score(classifier, pool, faces(widths));
                    let scores = scored.scores.into_iter().map(|score| score.unwrap().fake_probability);
                    let expected: Vec<f32> = widths.iter().map(|&width| width as f32 / 1000.0).collect();
                    assert_eq!(scores.collect::<Vec<_>>(), expected);
                    assert_eq!(scored.crops.columns(), faces(widths).columns());
                })
            };
            bring(&[1, 2]);
            assert_eq!(called.recv().unwrap(), 2);
            for widths in [&[3][..], &[4, 5, 6], &[7]] {
                bring(widths);
            }
            while counter.queue().waiting.len() < 3 {
                thread::yield_now();
            }
            open.send(()).unwrap();
            assert_eq!(called.recv().unwrap(), 5, "those who waited go together");
            open.send(()).unwrap();
        });
        assert!(called.try_recv().is_err());
        assert!(!counter.queue().served);
    }

    #[test]
    fn a_thread_of_the_pool_never_waits_in_the_queue() {
        let ((calls, called), (open, gate)) = (channel(), channel());
        let classifier = Gated { calls: Mutex::new(calls), gate: Mutex::new(gate) };
        let (counter, pool) = (SharedBatcher::default(), Threads::new(1).unwrap());
        counter.queue().served = true;
        open.send(()).unwrap();
        let scored = pool.install(|| counter.score(&classifier, &pool, faces(&[9])));
        assert_eq!((called.recv().unwrap(), scored.scores.len()), (1, 1));
    }
}
