//! The bytes of a stream, read ahead by a separate thread, so that no other thread blocks in the caller's reader.

use std::{
    collections::VecDeque,
    io::{self, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::DecodeLimits;

/// Bytes that are read from the caller's reader at one time.
const CHUNK: usize = 64 << 10;

/// Bytes that are read ahead of those that were taken or peeked at.
const READ_AHEAD: usize = 256 << 10;

/// A bounded queue between the caller's reader and the consumer of its bytes. Until [`ByteQueue::take`], bytes are
/// kept, so that they can be [peeked](ByteQueue::peek) at several times.
///
/// The thread that reads holds the caller's reader. It is never joined, because a read of a silent pipe returns only
/// when the other end writes or closes. It ends with the next read that returns after [`ByteQueue::stop`].
#[derive(Debug)]
pub(crate) struct ByteQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
    max_wait: Duration,
}

#[derive(Debug)]
struct QueueState {
    bytes: VecDeque<u8>,
    /// Bytes that were taken from the front.
    taken: u64,
    /// Most bytes that are kept, up to a chunk more.
    capacity: usize,
    end: Option<End>,
    /// Number of times that [`ByteQueue::cancel_peeks`] was called.
    canceled: u64,
}

/// Reason why no more bytes come.
#[derive(Debug)]
pub(crate) enum End {
    /// The reader has ended.
    Finished,
    /// The reader failed.
    Failed(io::Error),
    /// The reader gave more bytes than allowed.
    OverLimit,
    /// The reader gave no byte for longer than allowed.
    Silent,
    /// The caller wants no more.
    Stopped,
}

impl ByteQueue {
    /// Starts the thread that reads.
    pub(crate) fn start(reader: impl Read + Send + 'static, limits: &DecodeLimits) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self {
            state: Mutex::new(QueueState {
                bytes: VecDeque::new(),
                taken: 0,
                capacity: READ_AHEAD,
                end: None,
                canceled: 0,
            }),
            changed: Condvar::new(),
            max_wait: limits.max_source_wait,
        });
        let (filled, most) = (Arc::clone(&queue), limits.max_file_bytes);
        thread::Builder::new().name("stream-reader".into()).spawn(move || {
            // Ends the queue also if the caller's reader panics.
            let ended = EndOnDrop(filled);
            let end = ended.0.fill(reader, most);
            ended.0.end(end);
        })?;
        Ok(queue)
    }

    fn fill(&self, mut reader: impl Read, most: u64) -> End {
        let (mut chunk, mut left) = (vec![0; CHUNK], most);
        loop {
            let got = match reader.read(&mut chunk) {
                Ok(0) => return End::Finished,
                // A reader that returns more than the buffer's length breaks its contract.
                Ok(got) => got.min(CHUNK),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return End::Failed(error),
            };
            let allowed = got.min(usize::try_from(left).unwrap_or(usize::MAX));
            let mut state = self.lock();
            while state.bytes.len() >= state.capacity && state.end.is_none() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.end.is_some() {
                return End::Stopped;
            }
            state.bytes.extend(&chunk[..allowed]);
            drop(state);
            self.changed.notify_all();
            left -= allowed as u64;
            if allowed < got {
                return End::OverLimit;
            }
        }
    }

    /// Ends the stream here, unless it has ended already. Waiting readers return.
    fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// Ends the stream at once. Unread bytes are dropped, even if the source has already ended.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        if matches!(state.end, None | Some(End::Finished)) {
            state.end = Some(End::Stopped);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Ends all [`Peek`]s, as if the stream had ended there.
    pub(crate) fn cancel_peeks(&self) {
        self.lock().canceled += 1;
        self.changed.notify_all();
    }

    /// Returns a reader of the first `most` bytes, which leaves them in the queue.
    pub(crate) fn peek(self: &Arc<Self>, most: usize) -> Peek {
        Peek { queue: Arc::clone(self), at: 0, most, canceled: self.lock().canceled }
    }

    /// Returns the first bytes that have come and were not taken, at most `most`, without waiting for more.
    pub(crate) fn first_bytes(&self, most: usize) -> Vec<u8> {
        self.lock().bytes.iter().take(most).copied().collect()
    }

    /// Returns a reader of all bytes, which takes them out of the queue.
    pub(crate) fn take(self: &Arc<Self>) -> Take {
        self.lock().capacity = READ_AHEAD;
        Take(Arc::clone(self))
    }

    /// Returns the number of bytes that were taken.
    pub(crate) fn taken(&self) -> u64 {
        self.lock().taken
    }

    /// Calls `look` with the reason why no more bytes come.
    pub(crate) fn look_at_end<T>(&self, look: impl FnOnce(Option<&End>) -> T) -> T {
        look(self.lock().end.as_ref())
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `ready`, or until no more bytes come.
    fn wait_until(&self, ready: impl Fn(&QueueState) -> bool) -> MutexGuard<'_, QueueState> {
        let mut state = self.lock();
        while state.end.is_none() && !ready(&state) {
            let before = state.taken + state.bytes.len() as u64;
            if self.max_wait == Duration::MAX {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let same = |state: &mut QueueState| {
                state.end.is_none() && !ready(state) && state.taken + state.bytes.len() as u64 == before
            };
            let waited = self.changed.wait_timeout_while(state, self.max_wait, same);
            let (mut guard, result) = waited.unwrap_or_else(PoisonError::into_inner);
            if result.timed_out() {
                guard.end = Some(End::Silent);
                self.changed.notify_all();
            }
            state = guard;
        }
        state
    }
}

struct EndOnDrop(Arc<ByteQueue>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(End::Failed(io::Error::other("its reader panicked")));
    }
}

/// A reader of the first bytes of a [`ByteQueue`]. They stay in the queue.
pub(crate) struct Peek {
    queue: Arc<ByteQueue>,
    at: usize,
    most: usize,
    canceled: u64,
}

impl Read for Peek {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (at, canceled) = (self.at, self.canceled);
        if at >= self.most {
            return Ok(0);
        }
        // The queue grows by the bytes that were peeked at.
        let mut state = self.queue.lock();
        state.capacity = state.capacity.max(at.saturating_add(READ_AHEAD));
        drop(state);
        self.queue.changed.notify_all();
        let state = self.queue.wait_until(|state| state.bytes.len() > at || state.canceled != canceled);
        if state.canceled != canceled {
            return Ok(0);
        }
        let count = buffer.len().min(state.bytes.len().saturating_sub(at)).min(self.most - at);
        let mut rest = state.bytes.range(at..at + count);
        buffer[..count].fill_with(|| rest.next().copied().unwrap_or_default());
        self.at += count;
        Ok(count)
    }
}

/// A reader that takes the bytes out of a [`ByteQueue`]. After [`ByteQueue::stop`] it returns none.
#[derive(Debug)]
pub(crate) struct Take(Arc<ByteQueue>);

impl Read for Take {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.wait_until(|state| !state.bytes.is_empty());
        if matches!(state.end, Some(End::Stopped)) {
            return Ok(0);
        }
        let count = state.bytes.read(buffer)?;
        state.taken += count as u64;
        drop(state);
        self.0.changed.notify_all();
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use super::*;

    /// A reader whose chunks come from a channel.
    struct Chunks(mpsc::Receiver<Vec<u8>>);

    impl Read for Chunks {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Ok(chunk) = self.0.recv() else { return Ok(0) };
            buffer[..chunk.len()].copy_from_slice(&chunk);
            Ok(chunk.len())
        }
    }

    fn rest(mut reader: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn bytes_that_were_peeked_at_are_taken_again() {
        let bytes: Vec<u8> = (0..2_000_000u32).map(|n| (n % 251) as u8).collect();
        let queue = ByteQueue::start(io::Cursor::new(bytes.clone()), &DecodeLimits::default()).unwrap();
        assert_eq!(rest(queue.peek(10)), bytes[..10]);
        assert_eq!(rest(queue.peek(1 << 20)), bytes[..1 << 20]);
        assert_eq!(rest(queue.take()), bytes);
        assert!(queue.look_at_end(|end| matches!(end, Some(End::Finished))));
        assert_eq!(queue.taken(), 2_000_000);
        queue.stop();
        assert!(queue.look_at_end(|end| matches!(end, Some(End::Stopped))));
    }

    #[test]
    fn waiting_readers_return_when_they_are_canceled_or_the_queue_is_stopped() {
        let (sender, receiver) = mpsc::channel();
        let queue = ByteQueue::start(Chunks(receiver), &DecodeLimits::default()).unwrap();
        sender.send(vec![1, 2, 3]).unwrap();
        let mut peek = queue.peek(100);
        let mut first = [0; 3];
        peek.read_exact(&mut first).unwrap();
        let waiting = thread::spawn(move || rest(peek));
        queue.cancel_peeks();
        assert!(waiting.join().unwrap().is_empty());
        let mut take = queue.take();
        take.read_exact(&mut first).unwrap();
        let waiting = thread::spawn(move || rest(take));
        queue.stop();
        assert!(waiting.join().unwrap().is_empty());
    }

    #[test]
    fn a_stream_over_the_limit_is_cut_there() {
        let limits = DecodeLimits::default().with_max_file_bytes(100);
        let queue = ByteQueue::start(io::repeat(7), &limits).unwrap();
        assert_eq!(rest(queue.take()).len(), 100);
        assert!(queue.look_at_end(|end| matches!(end, Some(End::OverLimit))));
        let queue = ByteQueue::start(io::repeat(7).take(100), &limits).unwrap();
        assert_eq!(rest(queue.take()).len(), 100);
        assert!(queue.look_at_end(|end| matches!(end, Some(End::Finished))));
    }

    #[test]
    fn an_endless_stream_is_read_no_further_ahead_than_the_capacity() {
        let queue = ByteQueue::start(io::repeat(7), &DecodeLimits::unlimited()).unwrap();
        let mut peek = queue.peek(usize::MAX);
        for n in 1..=100 {
            peek.read_exact(&mut [0; 10_000]).unwrap();
            assert!(queue.lock().bytes.len() <= n * 10_000 + READ_AHEAD + CHUNK);
        }
        let mut take = queue.take();
        take.read_exact(&mut vec![0; 2_000_000]).unwrap();
        for _ in 0..1000 {
            take.read_exact(&mut [0; 10_000]).unwrap();
            assert!(queue.lock().bytes.len() <= READ_AHEAD + CHUNK);
        }
    }

    #[test]
    fn a_silent_a_failing_and_a_panicking_reader_end_the_stream() {
        let (_sender, receiver) = mpsc::channel();
        let limits = DecodeLimits::default().with_max_source_wait(Duration::from_millis(1));
        let queue = ByteQueue::start(Chunks(receiver), &limits).unwrap();
        assert!(rest(queue.take()).is_empty());
        assert!(queue.look_at_end(|end| matches!(end, Some(End::Silent))));

        struct Bad(bool);
        impl Read for Bad {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                if self.0 { panic!("a reader of the test panics") } else { Err(io::Error::other("unplugged")) }
            }
        }
        for (panics, told) in [(false, "unplugged"), (true, "panicked")] {
            let queue = ByteQueue::start(Bad(panics), &DecodeLimits::default()).unwrap();
            assert!(rest(queue.take()).is_empty());
            let failed =
                |end: Option<&End>| matches!(end, Some(End::Failed(error)) if error.to_string().contains(told));
            assert!(queue.look_at_end(failed), "{told}");
        }
    }
}
