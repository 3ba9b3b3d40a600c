package pgspooltest

import (
	"fmt"
	"syscall"
)

// endWithParent lets a program end, at once, when the test is killed.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = quit }

// mountDisk makes a disk in memory at dir, and returns what removes it.
func mountDisk(dir string, bytes int64) (func() error, error) {
	size := fmt.Sprint("size=", bytes)
	if err := syscall.Mount("pgspooltest", dir, "tmpfs", 0, size); err != nil {
		return func() error { return nil }, fmt.Errorf(
			"pgspooltest: a disk of its own needs root, and the right to mount: %w", err,
		)
	}
	mounted := true
	return func() error {
		if !mounted {
			return nil
		}
		mounted = false
		return syscall.Unmount(dir, syscall.MNT_DETACH)
	}, nil
}
