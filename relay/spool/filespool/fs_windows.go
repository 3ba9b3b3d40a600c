package filespool

import (
	"errors"
	"os"
	"syscall"
)

const noFollow = 0

// check finds nothing: access is a matter of lists, which are inherited.
func check(string, os.FileInfo) (group bool, err error) { return false, nil }

func noQuota(err error) bool {
	const handleDiskFull, diskFull = syscall.Errno(39), syscall.Errno(112)
	return errors.Is(err, handleDiskFull) || errors.Is(err, diskFull)
}

// scarce tells of errors that mean a lack of handles or memory.
func scarce(err error) bool {
	const (
		tooManyOpenFiles  = syscall.Errno(4)
		notEnoughMemory   = syscall.Errno(8)
		outOfMemory       = syscall.Errno(14)
		noSystemResources = syscall.Errno(1450)
		commitmentLimit   = syscall.Errno(1455)
		notEnoughQuota    = syscall.Errno(1816)
	)
	switch e, _ := errors.AsType[syscall.Errno](err); e {
	case tooManyOpenFiles, notEnoughMemory, outOfMemory, noSystemResources, commitmentLimit,
		notEnoughQuota:
		return true
	}
	return false
}

// syncDir does nothing: NTFS keeps names in its journal, and a directory cannot
// be flushed.
func syncDir(string) error { return nil }

// lockFile opens the file so that nobody else can.
func lockFile(name string) (*os.File, error) {
	p, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(p, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil,
		syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	const sharingViolation = syscall.Errno(32)
	if errors.Is(err, sharingViolation) {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}

func unlockFile(f *os.File) { f.Close() }
