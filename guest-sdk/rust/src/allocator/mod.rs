//! Memory of a node: the first blocks come from an arena that is part of the initial linear memory, the rest from the standard allocator.
//!
//! Every call gets fresh memory, and a small node never needs more than its arena. So it never asks the host for more memory, which would change the
//! protection of pages: two system calls and an interrupt of the other processors for each call, several times what the call itself costs.
//!
//! The arena is a variable and not the memory behind `__heap_base`: newer standard libraries (dlmalloc from 0.2.13) take that for themselves, and so
//! do allocators of C.

mod arena;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};

use arena::{ALIGNMENT_MAX, Arena};

/// Twice what the nodes of the refund example need. Only pages that are touched cost anything.
#[cfg(target_arch = "wasm32")]
pub(crate) const ARENA_BYTES: usize = 64 << 10;

/// An arena of `BYTES`, a multiple of 16, with the standard allocator behind it.
#[repr(C, align(16))]
pub(crate) struct Allocator<const BYTES: usize> {
    /// Zeros, so that they take no room in the component.
    memory: UnsafeCell<[u8; BYTES]>,
    arena: Cell<Arena<BYTES>>,
}

const _: () = assert!(align_of::<Allocator<16>>() == ALIGNMENT_MAX);

// SAFETY: nothing is shared with other threads, as there are none: without atomics a module cannot have any.
#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics")))]
#[expect(unsafe_code, reason = "allocators are variables, and variables are shared in the eyes of the language")]
unsafe impl<const BYTES: usize> Sync for Allocator<BYTES> {}

impl<const BYTES: usize> Allocator<BYTES> {
    pub(crate) const fn new() -> Self {
        Self { memory: UnsafeCell::new([0; BYTES]), arena: Cell::new(Arena::new()) }
    }

    /// A block of the arena, if it has room for one.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let mut arena = self.arena.get();
        let at = arena.allocate(layout.size(), layout.align())?;
        self.arena.set(arena);
        // Within the memory, which begins at a multiple of every alignment that the arena accepts.
        Some(self.memory.get().cast::<u8>().wrapping_add(at))
    }

    /// Where in the arena a block lies; `None` for those of the standard allocator.
    fn offset(&self, block: *mut u8) -> Option<usize> {
        let offset = block.addr().wrapping_sub(self.memory.get().addr());
        (offset < BYTES).then_some(offset)
    }
}

// SAFETY: blocks of the arena are disjoint, within `memory`, aligned, and stay where they are until they are freed (see the tests of `Arena`);
// all others are the standard allocator's. Nothing here panics or allocates by itself.
#[expect(unsafe_code, reason = "a global allocator cannot be written without")]
unsafe impl<const BYTES: usize> GlobalAlloc for Allocator<BYTES> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(block) => block,
            // SAFETY: the caller's promises are those that the standard allocator wants.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(block) => {
                // SAFETY: the block has this size and nobody else knows it. It may have been in use before.
                unsafe { block.write_bytes(0, layout.size()) };
                block
            }
            // SAFETY: the caller's promises are those that the standard allocator wants.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match self.offset(block) {
            Some(at) => {
                let mut arena = self.arena.get();
                arena.free(at, layout.size());
                self.arena.set(arena);
            }
            // SAFETY: the block is not in the arena, so the standard allocator gave it.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(at) = self.offset(block) else {
            // SAFETY: the block is not in the arena, so the standard allocator gave it.
            return unsafe { System.realloc(block, layout, new_size) };
        };
        let mut arena = self.arena.get();
        if arena.resize(at, layout.size(), new_size) {
            self.arena.set(arena);
            return block;
        }
        // SAFETY: the caller promises that `new_size`, rounded up to the alignment, is a size that layouts may have.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: `new_size` is not zero, as the caller promises.
        let moved = unsafe { self.alloc(new_layout) };
        if !moved.is_null() {
            // SAFETY: both blocks are at least as long as the shorter of them, and the new one is disjoint from the old one, which is still taken.
            unsafe { block.copy_to_nonoverlapping(moved, layout.size().min(new_size)) };
            // SAFETY: the caller gave the block up with its layout, and nothing reads it any more.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}

#[cfg(test)]
#[expect(unsafe_code, reason = "the allocator's own interface")]
mod tests {
    use super::*;

    const BYTES: usize = 4096;

    /// A block that is in use: where, how long, and what it is full of.
    struct Block {
        start: *mut u8,
        layout: Layout,
        fill: u8,
    }

    impl Block {
        fn new(start: *mut u8, layout: Layout, fill: u8) -> Self {
            assert!(!start.is_null());
            assert_eq!(start.addr() % layout.align(), 0, "aligned");
            // SAFETY: the allocator gave as many bytes.
            unsafe { start.write_bytes(fill, layout.size()) };
            Self { start, layout, fill }
        }

        fn check(&self, length: usize) {
            // SAFETY: the block is in use and was filled.
            let bytes = unsafe { std::slice::from_raw_parts(self.start, length) };
            assert!(bytes.iter().all(|byte| *byte == self.fill), "nobody else wrote here");
        }
    }

    /// The same sequence for the same seed (SplitMix64).
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("below the bound")
        }

        fn layout(&mut self) -> Layout {
            // Mostly small; now and then longer than the arena, or aligned to more than it promises.
            let size = match self.below(20) {
                0 => 1 + self.below(2 * BYTES),
                1..=4 => 1 + self.below(600),
                _ => 1 + self.below(60),
            };
            Layout::from_size_align(size, 1 << self.below(7)).expect("small")
        }
    }

    fn in_arena(allocator: &Allocator<BYTES>, block: &Block) -> bool {
        allocator.offset(block.start).is_some()
    }

    /// Whatever is allocated, resized and freed in whatever order: no block overlaps another, moves without its contents, or leaves the arena.
    #[test]
    fn blocks_keep_what_is_written_to_them() {
        let (mut from_arena, mut from_system, mut in_place, mut moved_out) = (0, 0, 0, 0);
        for seed in 0..50 {
            let allocator = Box::new(Allocator::<BYTES>::new());
            let mut chance = Chance(seed);
            let mut live: Vec<Block> = Vec::new();
            for step in 0..400_u32 {
                let fill = (step % 255 + 1) as u8;
                match chance.below(8) {
                    0..=2 => {
                        let layout = chance.layout();
                        // SAFETY: no size is zero.
                        live.push(Block::new(unsafe { allocator.alloc(layout) }, layout, fill));
                    }
                    3 => {
                        let layout = chance.layout();
                        // SAFETY: no size is zero.
                        let start = unsafe { allocator.alloc_zeroed(layout) };
                        Block { start, layout, fill: 0 }.check(layout.size());
                        live.push(Block::new(start, layout, fill));
                    }
                    4..=5 if !live.is_empty() => {
                        // Half of the time the last one, as a growing list would be.
                        let index = if chance.below(2) == 0 { live.len() - 1 } else { chance.below(live.len()) };
                        let block = live.swap_remove(index);
                        let size = chance.layout().size();
                        let layout = Layout::from_size_align(size, block.layout.align()).expect("small");
                        let was_in_arena = in_arena(&allocator, &block);
                        // SAFETY: the block is in use with this layout, and no size is zero.
                        let start = unsafe { allocator.realloc(block.start, block.layout, size) };
                        Block { start, ..block }.check(size.min(block.layout.size()));
                        in_place += u32::from(was_in_arena && start == block.start && size > block.layout.size());
                        let block = Block::new(start, layout, fill);
                        moved_out += u32::from(was_in_arena && !in_arena(&allocator, &block));
                        live.push(block);
                    }
                    _ if !live.is_empty() => {
                        let index = if chance.below(2) == 0 { live.len() - 1 } else { chance.below(live.len()) };
                        let block = live.swap_remove(index);
                        block.check(block.layout.size());
                        // SAFETY: the block is in use with this layout.
                        unsafe { allocator.dealloc(block.start, block.layout) };
                    }
                    _ => {}
                }
                for block in &live {
                    block.check(block.layout.size());
                    let end = allocator.offset(block.start).map_or(0, |at| at + block.layout.size());
                    assert!(end <= BYTES, "within the arena");
                }
            }
            for block in live.drain(..) {
                from_arena += u32::from(in_arena(&allocator, &block));
                from_system += u32::from(!in_arena(&allocator, &block));
                // SAFETY: the block is in use with this layout.
                unsafe { allocator.dealloc(block.start, block.layout) };
            }
        }
        for count in [from_arena, from_system, in_place, moved_out] {
            assert!(count > 100, "each case was met: {from_arena}, {from_system}, {in_place}, {moved_out}");
        }
    }
}
