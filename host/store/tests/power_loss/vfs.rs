//! The shim: SQLite's default file system, with each change and each sync told to a [`Disk`] first.
//!
//! It becomes the default VFS of this process, so that the store under test is the product's, opened as the product opens it. Files in a
//! directory that is [mounted](mount) are shimmed; all others are left to the real file system.
//!
//! ```text
//! SQLite --- xWrite, xTruncate, xSync, xDelete, xOpen ---> Disk: recorded, or refused because the power is off
//!    |                                                       |
//!    +------ reads, locks, shared memory --------------------+---> the real file system, in whose cache the running program sees its files
//! ```
//!
//! Syncs end at the disk: the real files are never read after a cut, so nothing has to flush them.

#![expect(unsafe_code, reason = "a VFS is a table of C functions that SQLite calls")]

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use rusqlite::ffi;

use super::disk::{Disk, FileKey};

static MOUNTED: Mutex<BTreeMap<PathBuf, Arc<Disk>>> = Mutex::new(BTreeMap::new());

/// Puts the files of a directory onto a disk, until dropped. The directory holds what the disk holds.
pub(crate) fn mount(directory: &Path, disk: Arc<Disk>) -> Mounted {
    register();
    // SQLite resolves links before it opens a file.
    let directory = directory.canonicalize().expect("the directory is there");
    let before = mounted().insert(directory.clone(), disk);
    assert!(before.is_none(), "{} is mounted twice", directory.display());
    Mounted(directory)
}

/// A directory that is on a disk of ours.
pub(crate) struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        mounted().remove(&self.0);
    }
}

fn mounted() -> MutexGuard<'static, BTreeMap<PathBuf, Arc<Disk>>> {
    MOUNTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The shim with the VFS below it. SQLite gets a pointer to the first field.
#[repr(C)]
struct Shim {
    vfs: ffi::sqlite3_vfs,
    real: *mut ffi::sqlite3_vfs,
}

/// An open file of ours. The real one lies directly behind it, in the same allocation, which SQLite makes and frees.
#[repr(C)]
struct ShimFile {
    base: ffi::sqlite3_file,
    /// From `Box::into_raw`, until the file is closed.
    open: *mut OpenFile,
}

struct OpenFile {
    disk: Arc<Disk>,
    key: FileKey,
    /// SQLite's VFS for Unix syncs the directory at the first sync of a log or journal, and so does this one.
    sync_directory: AtomicBool,
}

/// The real file's offset in the allocation.
const REAL_OFFSET: usize = size_of::<ShimFile>();

// SQLite rounds each part of a file's allocation to 8 bytes, and so may we.
const _: () = assert!(REAL_OFFSET.is_multiple_of(8) && align_of::<ShimFile>() <= 8);

/// Version 2: with shared memory, which the log needs, and without mapping files, which would write past the shim.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

fn register() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // SAFETY: `sqlite3_vfs_find` initialises SQLite and gives its default VFS, which lives as long as the process. The shim is a copy of
        // it with two methods replaced; the others get the copy, which has the same `pAppData` and limits. It is leaked, so it lives as long.
        unsafe {
            let real = ffi::sqlite3_vfs_find(ptr::null());
            assert!(!real.is_null(), "SQLite has a default VFS");
            let mut vfs = *real;
            vfs.pNext = ptr::null_mut();
            vfs.zName = c"holdpoint-power-loss".as_ptr();
            vfs.szOsFile += c_int::try_from(REAL_OFFSET).expect("small");
            vfs.xOpen = Some(open);
            vfs.xDelete = Some(delete);
            let shim = Box::into_raw(Box::new(Shim { vfs, real }));
            assert_eq!(ffi::sqlite3_vfs_register(shim.cast(), 1), ffi::SQLITE_OK);
        }
    });
}

/// The disk that a path is on, and its name there.
///
/// # Safety
/// `path` is null or a string that ends with a null byte.
unsafe fn locate(path: *const c_char) -> Option<(Arc<Disk>, String)> {
    // Temporary files have no name.
    if path.is_null() {
        return None;
    }
    // SAFETY: not null, so a string by this function's contract; used only here.
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    let disk = Arc::clone(mounted().get(path.parent()?)?);
    Some((disk, path.file_name()?.to_str()?.to_owned()))
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    // SAFETY: `vfs` is the `Shim` that was registered, `path` is null or a string, and `file` has room for `szOsFile` bytes: a `ShimFile` and
    // the real file behind it. Of a file that is not ours the real VFS gets all of it, and its methods take the place of ours.
    unsafe {
        let real = (*vfs.cast::<Shim>()).real;
        let real_open = (*real).xOpen.expect("every VFS opens");
        (*file).pMethods = ptr::null();
        let Some((disk, name)) = locate(path) else { return real_open(real, path, file, flags, flags_out) };
        // Either it is not there and not to be created, or it cannot be created without power.
        let Ok(Some(key)) = disk.open(&name, flags & ffi::SQLITE_OPEN_CREATE != 0) else {
            return ffi::SQLITE_CANTOPEN;
        };
        let below = real_file(file);
        (*below).pMethods = ptr::null();
        let code = real_open(real, path, below, flags, flags_out);
        if code != ffi::SQLITE_OK {
            // As SQLite does with a file that failed to open and has methods.
            if let Some(methods) = (*below).pMethods.as_ref() {
                methods.xClose.expect("every file closes")(below);
            }
            return code;
        }
        let created_by = ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL;
        let sync_directory = flags & ffi::SQLITE_OPEN_CREATE != 0 && flags & created_by != 0;
        let opened = OpenFile { disk, key, sync_directory: AtomicBool::new(sync_directory) };
        (*file.cast::<ShimFile>()).open = Box::into_raw(Box::new(opened));
        (*file).pMethods = &raw const METHODS;
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, path: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: `vfs` is the `Shim` that was registered, and `path` is a string.
    unsafe {
        let real = (*vfs.cast::<Shim>()).real;
        let real_delete = (*real).xDelete.expect("every VFS deletes");
        let Some((disk, name)) = locate(path) else { return real_delete(real, path, sync_directory) };
        if disk.delete(&name, sync_directory != 0).is_err() {
            return ffi::SQLITE_IOERR_DELETE;
        }
        real_delete(real, path, 0)
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file once, so the box is taken back once; the real file is closed by its own method.
    unsafe {
        drop(Box::from_raw((*file.cast::<ShimFile>()).open));
        let real = real_file(file);
        (*(*real).pMethods).xClose.expect("every file closes")(real)
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    count: c_int,
    offset: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is one of ours and open, and `bytes` are `count` bytes for the length of the call.
    unsafe {
        let opened = opened(file);
        let written = std::slice::from_raw_parts(bytes.cast::<u8>(), size(count.into()));
        if opened.disk.write(opened.key, size(offset), written).is_err() {
            return ffi::SQLITE_IOERR_WRITE;
        }
        let real = real_file(file);
        (*(*real).pMethods).xWrite.expect("every file is written")(real, bytes, count, offset)
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: ffi::sqlite3_int64) -> c_int {
    // SAFETY: the file is one of ours and open.
    unsafe {
        let opened = opened(file);
        if opened.disk.truncate(opened.key, size(length)).is_err() {
            return ffi::SQLITE_IOERR_TRUNCATE;
        }
        let real = real_file(file);
        (*(*real).pMethods).xTruncate.expect("every file is truncated")(real, length)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: the file is one of ours and open.
    let opened = unsafe { opened(file) };
    match opened.disk.sync(opened.key, opened.sync_directory.swap(false, Ordering::Relaxed)) {
        Ok(()) => ffi::SQLITE_OK,
        Err(_) => ffi::SQLITE_IOERR_FSYNC,
    }
}

/// What is ours about an open file.
///
/// # Safety
/// `file` was opened by [`open`] and is not closed while the reference lives.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a OpenFile {
    // SAFETY: `open` is set before the file gets its methods and freed when it is closed.
    unsafe { &*(*file.cast::<ShimFile>()).open }
}

/// The real file behind ours.
///
/// # Safety
/// `file` is the beginning of an allocation of the shim's `szOsFile` bytes.
unsafe fn real_file(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: that allocation is larger than the offset, by the real VFS's `szOsFile`.
    unsafe { file.byte_add(REAL_OFFSET) }
}

/// Sizes and offsets of SQLite's: never negative.
fn size(number: ffi::sqlite3_int64) -> usize {
    usize::try_from(number).expect("SQLite's sizes and offsets are not negative")
}

/// Methods that are the real file's.
macro_rules! real_methods {
    ($($name:ident, $method:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(
            unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file, $($argument: $type),*) -> $result {
                // SAFETY: the file is one of ours and open; the arguments are as good for the real file's method as they are for ours.
                unsafe {
                    let real = real_file(file);
                    (*(*real).pMethods).$method.expect("the default VFS has the methods of version 2")(real, $($argument),*)
                }
            }
        )*
    };
}

real_methods! {
    read, xRead(bytes: *mut c_void, count: c_int, offset: ffi::sqlite3_int64) -> c_int;
    file_size, xFileSize(length: *mut ffi::sqlite3_int64) -> c_int;
    lock, xLock(level: c_int) -> c_int;
    unlock, xUnlock(level: c_int) -> c_int;
    check_reserved_lock, xCheckReservedLock(held: *mut c_int) -> c_int;
    file_control, xFileControl(operation: c_int, argument: *mut c_void) -> c_int;
    sector_size, xSectorSize() -> c_int;
    device_characteristics, xDeviceCharacteristics() -> c_int;
    shm_map, xShmMap(page: c_int, page_bytes: c_int, extend: c_int, memory: *mut *mut c_void) -> c_int;
    shm_lock, xShmLock(offset: c_int, count: c_int, flags: c_int) -> c_int;
    shm_barrier, xShmBarrier() -> ();
    shm_unmap, xShmUnmap(delete: c_int) -> c_int;
}
