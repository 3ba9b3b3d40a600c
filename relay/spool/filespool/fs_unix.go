//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package filespool

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// noFollow refuses a symbolic link in the place of a file.
const noFollow = syscall.O_NOFOLLOW

// check refuses a file or directory, as which info describes it, through which
// somebody else could change the queue. group tells that its group could.
func check(name string, info os.FileInfo) (group bool, err error) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() && st.Uid != 0 {
		return false, fmt.Errorf("filespool: %s belongs to user %d, and this process runs as %d",
			name, st.Uid, os.Geteuid())
	}
	if info.Mode().Perm()&0o002 != 0 {
		return false, fmt.Errorf("filespool: everybody may write to %s: chmod o-w", name)
	}
	return info.Mode().Perm()&0o020 != 0, nil
}

func noQuota(err error) bool { return errors.Is(err, syscall.EDQUOT) }

// scarce tells of errors that mean a lack of descriptors, memory or threads.
func scarce(err error) bool {
	switch e, _ := errors.AsType[syscall.Errno](err); e {
	case syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN:
		return true
	}
	return false
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return untried(err)
	}
	defer d.Close()
	return d.Sync()
}

// lockFile takes the lock that ends with the process or with Close.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|noFollow, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, os.NewSyscallError("flock", err)
	}
	return f, nil
}

// unlockFile gives the lock free even while a process just being started has
// inherited the file.
func unlockFile(f *os.File) {
	syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	f.Close()
}
