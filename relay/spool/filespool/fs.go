package filespool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/postern-mail/postern/relay/spool"
)

// fsys is what the store needs of a file system, so that tests can break it.
type fsys interface {
	OpenFile(name string, flag int) (file, error)
	Remove(name string) error
	Rename(from, to string) error
	ReadDir(name string) ([]fs.DirEntry, error)
	// SyncDir makes the names in a directory durable. An error that is
	// errUntried came before the sync.
	SyncDir(name string) error
	// Free returns the bytes left for use; negative when that is not known.
	Free(name string) int64
}

type file interface {
	io.Reader
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// Sync makes the content durable.
	Sync() error
	Size() (int64, error)
}

// disk is the operating system's file system.
type disk struct {
	noSync bool
}

type diskFile struct {
	*os.File
	noSync bool
}

func (d disk) OpenFile(name string, flag int) (file, error) {
	f, err := os.OpenFile(name, flag|noFollow, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{f, d.noSync}, nil
}

func (disk) Remove(name string) error                   { return os.Remove(name) }
func (disk) Rename(from, to string) error               { return os.Rename(from, to) }
func (disk) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }
func (disk) Free(name string) int64                     { return freeBytes(name) }

func (d disk) SyncDir(name string) error {
	if d.noSync {
		return nil
	}
	return syncDir(name)
}

func (f diskFile) Sync() error {
	if f.noSync {
		return nil
	}
	return datasync(f.File)
}

func (f diskFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// errUntried marks the error of a sync that did not take place.
var errUntried = errors.New("not synced")

func untried(err error) error { return fmt.Errorf("%w: %w", errUntried, err) }

// full marks errors that mean a lack of room.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || noQuota(err) {
		return errors.Join(spool.ErrFull, err)
	}
	return err
}

// passes tells whether a sync failed for a lack of room, descriptors, memory or
// threads, or did not take place: a later one may succeed.
func passes(err error) bool {
	return errors.Is(err, errUntried) || errors.Is(full(err), spool.ErrFull) || scarce(err)
}

// writeFull writes all of p at off.
func writeFull(f file, p []byte, off int64) error {
	n, err := f.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return err
}
