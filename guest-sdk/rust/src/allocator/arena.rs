//! The arithmetic of the arena: which part of it is in use. Knows no memory, so that it is tested on the host.

/// Blocks begin and end on multiples of this, so that freeing the last one leaves no gap before the next.
const GRAIN: usize = 8;

/// What the arena's own address is a multiple of, and so the largest alignment that an offset can promise.
pub(super) const ALIGNMENT_MAX: usize = 16;

/// Gives out `BYTES` from low to high. The last block may grow, shrink and be freed; what is freed below it is lost until those above it are freed.
///
/// All positions are offsets into the arena. Callers hand in blocks that they got from it and that are alive, with their present size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arena<const BYTES: usize> {
    /// Every live block lies below.
    used: usize,
}

impl<const BYTES: usize> Arena<BYTES> {
    pub(super) const fn new() -> Self {
        Self { used: 0 }
    }

    /// Where a new block begins; `None` when it does not fit or wants a larger alignment than [`ALIGNMENT_MAX`].
    pub(super) fn allocate(&mut self, size: usize, alignment: usize) -> Option<usize> {
        if alignment > ALIGNMENT_MAX {
            return None;
        }
        let at = self.used.checked_next_multiple_of(alignment)?;
        self.used = end(at, size).filter(|end| *end <= BYTES)?;
        Some(at)
    }

    /// Takes the block back if it is the last one.
    pub(super) fn free(&mut self, at: usize, size: usize) {
        if self.is_last(at, size) {
            self.used = at;
        }
    }

    /// Whether the block now has the new size where it is: it shrinks, or is the last one and fits.
    pub(super) fn resize(&mut self, at: usize, size: usize, new_size: usize) -> bool {
        if !self.is_last(at, size) {
            return new_size <= size;
        }
        match end(at, new_size) {
            Some(end) if end <= BYTES => {
                self.used = end;
                true
            }
            _ => false,
        }
    }

    fn is_last(&self, at: usize, size: usize) -> bool {
        end(at, size) == Some(self.used)
    }
}

/// Where a block ends, its unused rest included.
fn end(at: usize, size: usize) -> Option<usize> {
    at.checked_add(size)?.checked_next_multiple_of(GRAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_block_comes_back() {
        let mut arena = Arena::<64>::new();
        assert_eq!(arena.allocate(3, 1), Some(0));
        assert_eq!(arena.allocate(9, 8), Some(8));
        assert_eq!(arena.allocate(1, 1), Some(24));
        arena.free(8, 9);
        assert_eq!(arena.allocate(1, 1), Some(32), "not the last: lost");
        arena.free(32, 1);
        arena.free(24, 1);
        assert_eq!(arena.allocate(40, 1), Some(24), "to the very end");
        assert_eq!(arena.allocate(1, 1), None);
    }

    #[test]
    fn the_last_block_grows_where_it_is() {
        let mut arena = Arena::<64>::new();
        assert_eq!(arena.allocate(8, 8), Some(0));
        assert_eq!(arena.allocate(8, 8), Some(8));
        assert!(arena.resize(8, 8, 56));
        assert!(!arena.resize(8, 56, 57), "beyond the end");
        assert!(!arena.resize(0, 8, 9), "not the last");
        assert!(arena.resize(0, 8, 1), "smaller always fits");
        assert!(arena.resize(8, 56, 8));
        assert_eq!(arena.allocate(8, 8), Some(16));
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let mut arena = Arena::<64>::new();
        for (size, alignment) in [(65, 1), (usize::MAX, 1), (usize::MAX - 7, 8), (isize::MAX as usize, 16), (1, 32)] {
            assert_eq!(arena.allocate(size, alignment), None, "{size} bytes at a multiple of {alignment}");
        }
        assert_eq!(arena.allocate(64, 16), Some(0));
        assert!(!arena.resize(0, 64, usize::MAX));
        assert_eq!(arena.allocate(1, 1), None);
    }
}
